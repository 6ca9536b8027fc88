//! Weights to fewer bits: for each output of a Q8 weight the scale, for each group of 32 of a Q4 weight the ratio, with the
//! least squared error of a few candidates. Clipping the largest weights a little buys all others a finer step.

use super::packed::{Format, GROUP, GROUP_BYTES, Lines, NR, SIXTEEN};
use bytes::Bytes;

/// What the positive weights, and the negative ones, of two neighbouring pairs may add up to, so that the pairs' products
/// can be added in 16 bits whatever the activations: 127·258 < 2¹⁵. The pairs are the first, or the second, of two quads.
/// Processors without a dot product of bytes then widen one sum instead of two, which takes 3 multiplications where it
/// took 4. Encoders keep to it: the rare weights that would not fit are reduced. (Sums of four pairs would take 5 where it
/// took 8, but scales would have to be coarser: a third more error for 7 % more speed.)
pub const MAX_SUM: i16 = 258;
/// Where the weights of such a sum stand among eight along k; the others two further on.
const SUMMED: [usize; 4] = [0, 1, 4, 5];

/// Scales that are tried, in units of the one that makes the largest weight 127: below 1 the largest are clipped.
const FACTORS: [f32; 13] = [2.0, 1.6, 1.3, 1.15, 1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6];
/// The largest ratio that a group is given: it widens -8 to -112, so that few sums have to be reduced.
const MAX_RATIO: f32 = 14336.0;
/// A weight of a group is ratio / `RATIO_ONE` of the output's scale, times q.
const RATIO_ONE: f32 = 1024.0;

/// Panels and scales of `values`, (`n`, `k`) row-major, for any format but F32.
pub fn panels(values: &[f32], k: usize, n: usize, format: Format) -> (Bytes, Vec<f32>) {
    let mut panels = Lines::zeroed(format.bytes(k, n));
    let mut scales = vec![0.0; if format.is_quantised() { n.next_multiple_of(NR) } else { 0 }];
    for (p, panel) in panels.bytes().chunks_exact_mut(format.panel_bytes(k)).enumerate() {
        for o in 0..NR.min(n - p * NR) {
            let row = &values[(p * NR + o) * k..][..k];
            match format {
                Format::F32 => unreachable!("f32 panels are not encoded"),
                Format::F16 => {
                    for (value, &x) in
                        panel.as_chunks_mut().0.iter_mut().skip(o).step_by(NR).zip(row)
                    {
                        *value = half(x).to_le_bytes();
                    }
                }
                Format::Q8 => scales[p * NR + o] = output_q8(panel, row, o),
                Format::Q4 => scales[p * NR + o] = output_q4(panel, row, o),
            }
        }
    }
    (panels.into(), scales)
}

/// The nearest half; beyond the largest one, that.
fn half(x: f32) -> u16 {
    half::f16::from_f32(x.clamp(-65504.0, 65504.0)).to_bits()
}

/// Writes one output's bytes into its panel and returns its scale.
fn output_q8(panel: &mut [u8], row: &[f32], o: usize) -> f32 {
    let largest = row.iter().fold(0.0f32, |max, x| max.max(x.abs()));
    let mut best = (f32::MAX, 0.0);
    let mut quantised = vec![0; row.len().next_multiple_of(SIXTEEN)];
    for factor in FACTORS {
        let scale = factor * largest / 127.0;
        let error = quantise(&mut quantised, row, scale);
        if error < best.0 {
            best = (error, scale);
        }
    }
    quantise(&mut quantised, row, best.1);
    for (k, q) in quantised.into_iter().enumerate() {
        panel[k / 4 * 4 * NR + 4 * o + k % 4] = q as u8;
    }
    best.1
}

/// `q` = `row` / `scale`, rounded, within -127..=127 and sums within [`MAX_SUM`]; returns the squared error.
fn quantise(q: &mut [i8], row: &[f32], scale: f32) -> f32 {
    let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    for (q, x) in q.iter_mut().zip(row) {
        *q = (x * inverse).round_ties_even().clamp(-127.0, 127.0) as i8;
    }
    fit(q, i16::from, |q| q - q.signum());
    row.iter().zip(q).map(|(x, q)| (x - scale * f32::from(*q)).powi(2)).sum()
}

/// Moves weights towards zero, the largest first, until every sum is within [`MAX_SUM`].
fn fit<T: Copy>(q: &mut [T], weight: impl Fn(T) -> i16, nearer_zero: impl Fn(T) -> T) {
    for pairs in q.as_chunks_mut::<8>().0 {
        for half in [0, 2] {
            let at = SUMMED.map(|i| i + half);
            for sign in [1, -1] {
                let part = |q: T| (sign * weight(q)).max(0);
                while at.iter().map(|&i| part(pairs[i])).sum::<i16>() > MAX_SUM {
                    let largest = at.into_iter().max_by_key(|&i| part(pairs[i])).unwrap_or(half);
                    pairs[largest] = nearer_zero(pairs[largest]);
                }
            }
        }
    }
}

/// Writes one output's ratios and halves of bytes into its panel and returns its scale.
fn output_q4(panel: &mut [u8], row: &[f32], o: usize) -> f32 {
    let steps: Vec<f32> = row.chunks(GROUP).map(step_of_group).collect();
    let scale = steps.iter().fold(0.0f32, |max, x| max.max(x.abs())) * RATIO_ONE / MAX_RATIO;
    let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    for ((group, row), step) in
        panel.chunks_exact_mut(GROUP_BYTES).zip(row.chunks(GROUP)).zip(steps)
    {
        let ratio = (step * inverse * RATIO_ONE).round().clamp(0.0, MAX_RATIO) as u16;
        group[2 * o..2 * o + 2].copy_from_slice(&ratio.to_le_bytes());
        let wide: [i8; 16] =
            std::array::from_fn(|q| (((q as i32 - 8) * i32::from(ratio) + 512) >> 10) as i8);
        let mut quantised = [8u8; GROUP]; // positions in `wide`; 8 is zero
        for (q, x) in quantised.iter_mut().zip(row) {
            *q = nearest(&wide, x * inverse);
        }
        let weight = |q: u8| i16::from(wide[usize::from(q)]);
        fit(&mut quantised, weight, |q| if weight(q) > 0 { q - 1 } else { q + 1 });
        for (k, q) in quantised.into_iter().enumerate() {
            let byte = &mut group[2 * NR + k / 4 * 16 + o % 4 * 4 + k % 4];
            *byte = if o < 4 { *byte & 0xf0 | q } else { *byte & 0x0f | q << 4 };
        }
    }
    scale
}

/// The position of the value nearest to `x` in ascending `wide`.
fn nearest(wide: &[i8; 16], x: f32) -> u8 {
    let above = wide.partition_point(|&w| f32::from(w) < x).clamp(1, 15);
    let (low, high) = (f32::from(wide[above - 1]), f32::from(wide[above]));
    (if x - low < high - x { above - 1 } else { above }) as u8
}

/// The step of a group's sixteen values with the least squared error.
fn step_of_group(row: &[f32]) -> f32 {
    let largest = row.iter().fold(0.0f32, |max, x| max.max(x.abs()));
    let mut best = (f32::MAX, 0.0);
    for i in 0..24 {
        let step = largest / (5.0 + 0.2 * i as f32);
        if step == 0.0 {
            break;
        }
        let error: f32 = row
            .iter()
            .map(|x| (x - step * (x / step).round_ties_even().clamp(-8.0, 7.0)).powi(2))
            .sum();
        if error < best.0 {
            best = (error, step);
        }
    }
    best.1
}
