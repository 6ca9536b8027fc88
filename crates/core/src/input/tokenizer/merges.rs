//! CLIP's merges, out of the file in which `scripts/make-merges.mjs` codes them: a range coder (Martin 1979) and counts
//! that follow what was read. A merge is its first id, then the second's kind, given how the first ends, then which of its
//! kind. The script counts as this file does, step by step: what is changed here is changed there, and the file made anew.

/// Pairs of ids; the pair at `rank` becomes the id `512 + rank`. `coded` begins with their number.
pub(super) fn read(coded: &[u8]) -> Vec<(u16, u16)> {
    let (n_merges, coded) = coded.split_first_chunk().expect("the file begins with a number");
    let mut coder = Coder { code: 0, range: 1, rest: coded };
    let mut firsts = Choice::default();
    let mut kinds: [Option<Choice>; 256] = [const { None }; 256];
    let mut seconds = [const { Choice::new() }; N_KINDS];
    let mut tokens: Vec<Token> = Vec::new();
    let mut pairs = Vec::with_capacity(u16::from_le_bytes(*n_merges).into());
    loop {
        let id = tokens.len();
        let token = if id < N_KINDS {
            Token { begin: id as u8, end: id as u8, ends_word: id >= 256 }
        } else if pairs.len() < pairs.capacity() {
            let first = firsts.draw(&mut coder, 1);
            let Token { begin, end, .. } = tokens[first];
            let kind =
                kinds[usize::from(end)].get_or_insert_with(Choice::of_kinds).draw(&mut coder, 32);
            let second = seconds[kind].draw(&mut coder, 4);
            pairs.push((first as u16, second as u16));
            Token { begin, ..tokens[second] }
        } else {
            return pairs;
        };
        if !token.ends_word {
            firsts.push(id);
        }
        seconds[token.kind()].push(id);
        tokens.push(token);
    }
}

/// What is known of a token: its first and its last byte, as ids below 256, and whether it ends a word.
#[derive(Clone, Copy)]
struct Token {
    begin: u8,
    end: u8,
    ends_word: bool,
}

const N_KINDS: usize = 512;

impl Token {
    fn kind(self) -> usize {
        usize::from(self.ends_word) << 8 | usize::from(self.begin)
    }
}

/// Numbers of which one comes next, each with its weight: 1, and more whenever it came.
#[derive(Default)]
struct Choice {
    numbers: Vec<u16>,
    /// Sums of weights, each of as many as the lowest bit of its place says (Fenwick 1994): places count from 1.
    sums: Vec<u32>,
    total: u32,
}

impl Choice {
    const fn new() -> Self {
        Self { numbers: Vec::new(), sums: Vec::new(), total: 0 }
    }

    fn of_kinds() -> Self {
        let mut choice = Self::new();
        (0..N_KINDS).for_each(|kind| choice.push(kind));
        choice
    }

    fn push(&mut self, number: usize) {
        self.numbers.push(number as u16);
        self.sums.push(1 + self.sum_before(self.numbers.len()));
        self.total += 1;
    }

    /// The part of the sum at `place` that is not its own weight.
    fn sum_before(&self, place: usize) -> u32 {
        let steps = (0..place.trailing_zeros()).map(|bit| 1 << bit);
        steps.map(|step| self.sums[place - step - 1]).sum()
    }

    /// Reads a number, and adds `more` to its weight.
    fn draw(&mut self, coder: &mut Coder, more: u32) -> usize {
        let share = coder.share(self.total);
        let (mut before, mut place) = (0, 0);
        for bit in (0..=self.sums.len().ilog2()).rev() {
            let next = place + (1 << bit);
            if let Some(sum) = self.sums.get(next - 1)
                && before + sum <= share
            {
                (before, place) = (before + sum, next);
            }
        }
        let number = self.numbers[place];
        place += 1;
        coder.take(before, self.sums[place - 1] - self.sum_before(place));
        self.total += more;
        while let Some(sum) = self.sums.get_mut(place - 1) {
            *sum += more;
            place += 1 << place.trailing_zeros();
        }
        number.into()
    }
}

/// `code` is where in the current `range` the file's number lies.
struct Coder<'a> {
    code: u64,
    range: u64,
    rest: &'a [u8],
}

impl Coder<'_> {
    /// Where the file's number lies when the range is cut into `total` parts, which [`Self::take`] must follow.
    fn share(&mut self, total: u32) -> u32 {
        while self.range < 1 << 32 {
            let byte = self.rest.split_off_first().copied().unwrap_or(0);
            (self.code, self.range) = (self.code << 8 | u64::from(byte), self.range << 8);
        }
        self.range /= u64::from(total);
        (self.code / self.range) as u32
    }

    /// Goes on in the part of weight `own` that has `before` below it.
    fn take(&mut self, before: u32, own: u32) {
        self.code -= self.range * u64::from(before);
        self.range *= u64::from(own);
    }
}
