//! The definition of each kind of kernel, in plain code: what runs where nothing better is known.

use super::{A_STRIDE, Kernel, Operands, Word};
use crate::kernels::gemm::packed::NR;

pub fn run(kernel: Kernel, tile: &mut [u32], x: Operands) {
    for i in 0..x.height {
        let there = if x.add { std::array::from_fn(|j| tile[i * NR + j]) } else { [0; NR] };
        let mut floats = there.map(f32::from_bits);
        let mut integers = there.map(|sum| sum as i32);
        let steps = x.b.as_chunks::<{ 4 * NR }>().0;
        for (a, b) in x.a[i * A_STRIDE..][..x.steps].iter().zip(steps) {
            let weights = b.as_chunks::<4>().0;
            match kernel.word() {
                Word::Float => {
                    let a = f32::from_bits(*a);
                    floats
                        .iter_mut()
                        .zip(weights)
                        .for_each(|(sum, &w)| *sum += a * f32::from_le_bytes(w));
                }
                Word::Bytes => {
                    let a = a.to_le_bytes().map(i32::from);
                    for (sum, w) in integers.iter_mut().zip(weights) {
                        *sum += (0..4).map(|j| a[j] * i32::from(w[j] as i8)).sum::<i32>();
                    }
                }
                Word::Halves => {
                    let halves = |x: u32| [x as i16, (x >> 16) as i16].map(i32::from);
                    let a = halves(*a);
                    for (sum, &w) in integers.iter_mut().zip(weights) {
                        let w = halves(u32::from_le_bytes(w));
                        *sum += a[0] * w[0] + a[1] * w[1];
                    }
                }
            }
        }
        for j in 0..NR {
            tile[i * NR + j] = match kernel.word() {
                Word::Float => floats[j].to_bits(),
                _ => integers[j] as u32,
            };
        }
    }
}
