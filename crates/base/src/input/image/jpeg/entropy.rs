//! The entropy-coded data of one scan: Huffman codes, and the coefficients they stand for (ITU-T T.81, annexes F and G).
//! Where a marker comes too early the bits are taken as zeros, as libjpeg does; where the file ends it is an error.

use super::{Frame, broken, truncated};
use crate::Result;
use std::rc::Rc;

/// Natural position of each coefficient in the order of the file.
pub(super) const ZIGZAG: [usize; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20,
    13, 6, 7, 14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59,
    52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// Codes of up to this many bits are found by one look-up.
const FAST_BITS: u32 = 10;

/// A Huffman table.
pub(super) struct Huffman {
    /// By the next `FAST_BITS` bits: length << 8 | value, 0 if the code is longer.
    fast: Vec<u16>,
    /// By the same bits, where they hold a coefficient's code and its number: the number << 16 | zeros before it << 8 | bits of both;
    /// 0 where they do not.
    whole: Vec<u32>,
    /// By length: the first code beyond that length, left-aligned to 16 bits, and the number to add to a code of that
    /// length to find its value.
    ends: [(u32, i32); 17],
    values: Vec<u8>,
}

impl Huffman {
    /// From the number of codes of each length 1..=16 and the values in order of their codes.
    pub(super) fn new(counts: &[u8; 16], values: &[u8]) -> Result<Self> {
        let (mut fast, mut ends) = (vec![0; 1 << FAST_BITS], [(0, 0); 17]);
        let (mut code, mut used) = (0u32, 0usize);
        for (length, &count) in (1u32..).zip(counts) {
            ends[length as usize].1 = used as i32 - code as i32;
            for &value in values.iter().skip(used).take(count.into()) {
                if length <= FAST_BITS {
                    let start = (code << (FAST_BITS - length)) as usize;
                    let slots = fast.get_mut(start..start + (1 << (FAST_BITS - length)));
                    slots
                        .ok_or_else(|| broken("JPEG Huffman table"))?
                        .fill((length << 8) as u16 | u16::from(value));
                }
                code += 1;
            }
            used += usize::from(count);
            if code > 1 << length {
                return Err(broken("JPEG Huffman table"));
            }
            ends[length as usize].0 = code << (16 - length);
            code <<= 1;
        }
        let whole = (0..).zip(&fast).map(|(bits, &entry)| whole(bits, entry)).collect();
        Ok(Self { fast, whole, ends, values: values.to_vec() })
    }
}

/// [`Huffman::whole`] of the next `FAST_BITS` bits, whose code is the `entry` of [`Huffman::fast`].
fn whole(bits: u32, entry: u16) -> u32 {
    let (length, zeros, size) =
        (u32::from(entry >> 8), u32::from(entry >> 4 & 15), u32::from(entry & 15));
    if length == 0 || size == 0 || length + size > FAST_BITS {
        return 0;
    }
    let number = (bits >> (FAST_BITS - length - size) & ((1 << size) - 1)) as i32;
    (extended(number, size) << 16) as u32 | zeros << 8 | (length + size)
}

/// The number that `size` bits stand for, of which the first tells the sign (T.81, F.2.2.1).
fn extended(bits: i32, size: u32) -> i32 {
    if size > 0 && bits < 1 << (size - 1) { bits - (1 << size) + 1 } else { bits }
}

/// Reads bits, first the high ones of a byte; drops the zero after each 0xFF and stops at a marker.
struct Bits<'a> {
    rest: &'a [u8],
    buffer: u64,
    /// Valid bits of the buffer, its highest ones.
    count: u32,
    /// How many bits that are not in the file were given out or wait in the buffer.
    padding: u32,
}

impl<'a> Bits<'a> {
    fn new(rest: &'a [u8]) -> Self {
        Self { rest, buffer: 0, count: 0, padding: 0 }
    }

    /// Afterwards the buffer holds at least 32 bits.
    fn fill(&mut self) {
        if self.count <= 32
            && let Some((&four, after)) = self.rest.split_first_chunk::<4>()
            && four.iter().all(|&byte| byte != 0xff)
        {
            self.buffer |= u64::from(u32::from_be_bytes(four)) << (32 - self.count);
            self.count += 32;
            self.rest = after;
            return;
        }
        while self.count <= 56 {
            let byte = match self.rest {
                [0xff, 0x00, after @ ..] => {
                    self.rest = after;
                    0xff
                }
                [byte @ 0..=0xfe, after @ ..] => {
                    self.rest = after;
                    *byte
                }
                _ => {
                    self.padding = self.padding.saturating_add(8);
                    0
                }
            };
            self.buffer |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
    }

    /// Whether bits were used that a longer file would have had.
    fn is_past_end(&self) -> bool {
        self.padding > self.count && self.rest.len() < 2
    }

    /// `n` bits, n in 0..=16.
    fn take(&mut self, n: u32) -> i32 {
        if n == 0 {
            return 0;
        }
        if self.count < n {
            self.fill();
        }
        let bits = (self.buffer >> (64 - n)) as i32;
        self.skip(n);
        bits
    }

    fn skip(&mut self, n: u32) {
        self.buffer <<= n;
        self.count -= n;
    }

    /// A number of `size` bits whose first bit tells the sign.
    fn signed(&mut self, size: u32) -> i32 {
        extended(self.take(size), size)
    }

    /// (zeros, number) of the next coefficient, if its code and number are found by one look-up.
    fn coefficient(&mut self, table: &Huffman) -> Option<(usize, i32)> {
        if self.count < FAST_BITS {
            self.fill();
        }
        let entry = table.whole[(self.buffer >> (64 - FAST_BITS)) as usize];
        if entry == 0 {
            return None;
        }
        self.skip(entry & 0xff);
        Some(((entry >> 8 & 0xff) as usize, entry as i32 >> 16))
    }

    /// The value of the next code; 0 if there is no such code, as in libjpeg.
    fn code(&mut self, table: &Huffman) -> u8 {
        if self.count < 16 {
            self.fill();
        }
        let entry = table.fast[(self.buffer >> (64 - FAST_BITS)) as usize];
        if entry != 0 {
            self.skip(u32::from(entry >> 8));
            return entry as u8;
        }
        let next = (self.buffer >> 48) as u32;
        let Some(length) =
            (FAST_BITS + 1..=16).find(|&length| next < table.ends[length as usize].0)
        else {
            self.skip(16);
            return 0;
        };
        self.skip(length);
        let index = (next >> (16 - length)) as i32 + table.ends[length as usize].1;
        table.values.get(index as usize).copied().unwrap_or(0)
    }

    /// To the start of the next interval: drops what is left of the byte and the restart marker, if it is there.
    fn restart(&mut self) {
        (self.buffer, self.count, self.padding) = (0, 0, 0);
        if let Some(at) =
            self.rest.windows(2).position(|pair| pair[0] == 0xff && !matches!(pair[1], 0 | 0xff))
        {
            let is_restart = matches!(self.rest[at + 1], 0xd0..=0xd7);
            self.rest = &self.rest[if is_restart { at + 2 } else { at }..];
        }
    }
}

/// Which coefficients a scan holds.
#[derive(Clone, Copy)]
pub(super) enum Coding {
    /// All of them.
    Sequential,
    /// Those from `first` to `last` (zigzag), down to bit `low`; `refine` adds that bit alone.
    Progressive { first: usize, last: usize, refine: bool, low: u32 },
}

/// One component of a scan, with its tables.
pub(super) struct Member {
    /// Its number.
    pub(super) component: usize,
    pub(super) dc: Option<Rc<Huffman>>,
    pub(super) ac: Option<Rc<Huffman>>,
}

/// A scan, and how far it was read.
pub(super) struct Scan<'a> {
    coding: Coding,
    members: Vec<Member>,
    restart_interval: usize,
    bits: Bits<'a>,
    run: Run,
    /// MCUs, or blocks of a single component, that were read.
    units: usize,
}

/// What one block leaves to the next.
#[derive(Default)]
struct Run {
    /// Last DC coefficient of each component.
    dc: [i32; 4],
    /// Blocks that have no more coefficients in this band.
    end_of_band: u32,
}

impl<'a> Scan<'a> {
    /// A scan of at least one member whose blocks begin at the start of `data`; `data` goes on to the end of the file.
    pub(super) fn new(
        coding: Coding,
        members: Vec<Member>,
        restart_interval: usize,
        data: &'a [u8],
    ) -> Self {
        let (bits, run) = (Bits::new(data), Run::default());
        Self { coding, members, restart_interval, bits, run, units: 0 }
    }

    /// Reads the blocks of MCU row number `strip`; those before were read.
    pub(super) fn read_strip(&mut self, frame: &mut Frame, strip: usize) -> Result<()> {
        // One component: its blocks without padding. Several: MCUs of h x v blocks each.
        let single = self.members.len() == 1;
        let (across, rows) = if single {
            let component = &frame.components[self.members[0].component];
            let down = component.height.div_ceil(8);
            (component.width.div_ceil(8), strip * component.v..down.min((strip + 1) * component.v))
        } else {
            (frame.width.div_ceil(8 * frame.h_max), strip..strip + 1)
        };
        for (y, x) in rows.flat_map(|y| (0..across).map(move |x| (y, x))) {
            let interval = self.restart_interval;
            if interval > 0 && self.units > 0 && self.units.is_multiple_of(interval) {
                self.bits.restart();
                self.run = Run::default();
            }
            self.units += 1;
            for i in 0..self.members.len() {
                let component = &frame.components[self.members[i].component];
                let (h, v) = if single { (1, 1) } else { (component.h, component.v) };
                for block in 0..h * v {
                    self.read_block(frame, i, x * h + block % h, y * v + block / h)?;
                }
            }
            if self.bits.is_past_end() {
                return Err(truncated());
            }
        }
        Ok(())
    }

    /// Reads the block in column `x` and row `y` of blocks of member number `i`.
    fn read_block(&mut self, frame: &mut Frame, i: usize, x: usize, y: usize) -> Result<()> {
        let Self { coding, members, bits, run, .. } = self;
        let Member { component: index, ref dc, ref ac } = members[i];
        let component = &mut frame.components[index];
        let block = y % component.v * component.blocks_across + x;
        let missing = || broken("JPEG without its Huffman table");
        let (dc, ac) = (|| dc.as_deref().ok_or_else(missing), || ac.as_deref().ok_or_else(missing));
        match *coding {
            Coding::Sequential => {
                let mut coefficients = [0; 64];
                coefficients[0] = next_dc(bits, &mut run.dc[index], dc()?) as i16;
                read_band(bits, &mut coefficients, ac()?, 1, 63, 0);
                component.store(x, y, &coefficients);
            }
            Coding::Progressive { first: 0, refine: false, low, .. } => {
                let value = next_dc(bits, &mut run.dc[index], dc()?);
                component.coefficients[block][0] = (value << low) as i16;
            }
            Coding::Progressive { first: 0, low, .. } => {
                component.coefficients[block][0] |= (bits.take(1) << low) as i16;
            }
            Coding::Progressive { first, last, refine: false, low } => {
                if run.end_of_band > 0 {
                    run.end_of_band -= 1;
                } else {
                    let coefficients = &mut component.coefficients[block];
                    run.end_of_band = read_band(bits, coefficients, ac()?, first, last, low);
                }
            }
            Coding::Progressive { first, last, low, .. } => {
                let coefficients = &mut component.coefficients[block];
                let (band, bit) = ((first, last), 1 << low);
                refine_band(bits, coefficients, ac()?, band, bit, &mut run.end_of_band);
            }
        }
        Ok(())
    }
}

fn next_dc(bits: &mut Bits, last: &mut i32, table: &Huffman) -> i32 {
    let size = u32::from(bits.code(table)).min(16);
    *last = last.wrapping_add(bits.signed(size));
    *last
}

/// New coefficients from `first` to `last`, times 2^`low`. Returns how many blocks after this one have none.
fn read_band(
    bits: &mut Bits,
    block: &mut [i16; 64],
    table: &Huffman,
    first: usize,
    last: usize,
    low: u32,
) -> u32 {
    let mut k = first;
    while k <= last {
        if let Some((zeros, value)) = bits.coefficient(table) {
            k += zeros;
            if k <= last {
                block[ZIGZAG[k]] = (value << low) as i16;
            }
            k += 1;
            continue;
        }
        let code = bits.code(table);
        let (zeros, size) = (usize::from(code >> 4), u32::from(code & 15));
        if size > 0 {
            k += zeros;
            let value = bits.signed(size);
            if k <= last {
                block[ZIGZAG[k]] = (value << low) as i16;
            }
            k += 1;
        } else if zeros == 15 {
            k += 16;
        } else {
            return (1 << zeros) - 1 + bits.take(zeros as u32) as u32;
        }
    }
    0
}

/// One more bit, worth `bit`, of the coefficients from `first` to `last`: of those that are not zero yet, and new ones.
fn refine_band(
    bits: &mut Bits,
    block: &mut [i16; 64],
    table: &Huffman,
    (first, last): (usize, usize),
    bit: i16,
    end_of_band: &mut u32,
) {
    let refine = |bits: &mut Bits, coefficient: &mut i16| {
        if bits.take(1) == 1 && *coefficient & bit == 0 {
            *coefficient = coefficient.wrapping_add(if *coefficient > 0 { bit } else { -bit });
        }
    };
    let mut k = first;
    while *end_of_band == 0 && k <= last {
        let code = bits.code(table);
        let (mut zeros, size) = (code >> 4, code & 15);
        let mut new = 0;
        if size > 0 {
            new = if bits.take(1) == 1 { bit } else { -bit };
        } else if zeros < 15 {
            *end_of_band = (1 << zeros) + bits.take(zeros.into()) as u32;
            break;
        }
        while k <= last {
            let coefficient = &mut block[ZIGZAG[k]];
            if *coefficient != 0 {
                refine(bits, coefficient);
            } else if zeros == 0 {
                *coefficient = new;
                k += 1;
                break;
            } else {
                zeros -= 1;
            }
            k += 1;
        }
    }
    if *end_of_band > 0 {
        for &position in ZIGZAG.get(k..=last).unwrap_or_default() {
            if block[position] != 0 {
                refine(bits, &mut block[position]);
            }
        }
        *end_of_band -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of T.81, table K.3: DC of luminance.
    fn luminance() -> Huffman {
        Huffman::new(
            &[0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0],
            &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
        )
        .unwrap()
    }

    #[test]
    fn codes_short_and_long_are_read() {
        // One code of each length 1..=16: k ones and a zero, the value being k.
        let table = Huffman::new(&[1; 16], &std::array::from_fn::<u8, 16, _>(|i| i as u8)).unwrap();
        for k in 0..16u32 {
            let word = (0xffff_u32 << (16 - k)) as u16; // k ones, then zeros
            let [high, low] = word.to_be_bytes();
            let stuffed: Vec<u8> = [high, low, 0x55]
                .into_iter()
                .flat_map(|byte| if byte == 0xff { vec![0xff, 0] } else { vec![byte] })
                .collect();
            let mut bits = Bits::new(&stuffed);
            assert_eq!(u32::from(bits.code(&table)), k);
            assert!(!bits.is_past_end());
        }
        // 00 is category 0, 010 is 1, 111111110 is 11.
        let mut bits = Bits::new(&[0b0001_0111, 0b1111_1000]);
        assert_eq!([0; 3].map(|_| bits.code(&luminance())), [0, 1, 11]);
    }

    #[test]
    fn signed_numbers_follow_the_standard() {
        // Size 3: 000 is -7, 011 is -4, 100 is 4, 111 is 7.
        let mut bits = Bits::new(&[0b0000_1110, 0b0111_0000]);
        assert_eq!([0; 4].map(|_| bits.signed(3)), [-7, -4, 4, 7]);
        assert_eq!(bits.signed(0), 0);
    }

    #[test]
    fn the_end_of_the_file_is_noticed_and_a_marker_gives_zeros() {
        let mut bits = Bits::new(&[0xab]);
        assert_eq!((bits.take(8), bits.is_past_end()), (0xab, false));
        assert_eq!((bits.take(1), bits.is_past_end()), (0, true));
        let mut bits = Bits::new(&[0xab, 0xff, 0xd9]);
        assert_eq!((bits.take(16), bits.is_past_end()), (0xab00, false));
    }

    #[test]
    fn tables_with_too_many_codes_are_refused() {
        assert!(
            Huffman::new(&[3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[1, 2, 3]).is_err()
        );
        assert!(Huffman::new(&[255; 16], &[0; 255 * 16]).is_err());
    }
}
