//! Chroma at twice the resolution, the way libjpeg and libwebp share: 3/4 of the nearer sample and 1/4 of the farther.

/// Writes `values` twice as dense to `out`: 3 · nearer + farther, plus a bias of its side, over 2^`BITS`.
/// At the edges a value stands for its missing neighbour.
/// # Panics
/// If there are no values.
pub(super) fn double<const BITS: u32>(values: &[u16], out: &mut Vec<u8>, [left, right]: [u16; 2]) {
    let pair = |before: u16, this: u16, after: u16| {
        [((3 * this + before + left) >> BITS) as u8, ((3 * this + after + right) >> BITS) as u8]
    };
    let n = values.len();
    out.resize(2 * n, 0);
    let pairs = out.as_chunks_mut::<2>().0;
    for (out, window) in pairs[1..].iter_mut().zip(values.windows(3)) {
        *out = pair(window[0], window[1], window[2]);
    }
    pairs[n - 1] = pair(values[n.saturating_sub(2)], values[n - 1], values[n - 1]);
    pairs[0] = pair(values[0], values[0], values[1.min(n - 1)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_output_leans_to_its_nearer_value() {
        let doubled = |values: &[u16]| {
            let mut out = Vec::new();
            double::<2>(values, &mut out, [1, 2]);
            out
        };
        assert_eq!(doubled(&[8]), [8, 8]);
        assert_eq!(doubled(&[0, 100]), [0, 25, 75, 100]);
        assert_eq!(doubled(&[0, 100, 0]), [0, 25, 75, 75, 25, 0]);
    }
}
