//! CLIP's merges, out of the file in which `scripts/make-merges.mjs` codes them: a range coder (Martin 1979) and counts
//! that follow what was read. A merge is its first id, then the second's kind, given how the first ends, then which of its
//! kind. The script counts as this file does, step by step: what is changed here is changed there, and the file made anew.

/// Pairs of ids; the pair at `rank` becomes the id `512 + rank`. `coded` begins with their number.
pub(super) fn read(coded: &[u8]) -> Vec<(u16, u16)> {
    let (n_merges, coded) = coded.split_first_chunk().expect("the file begins with a number");
    let mut coder = Coder { code: 0, range: 1, rest: coded };
    let mut firsts = Choice::new();
    let mut kinds: [Option<Choice>; 256] = [const { None }; 256];
    let mut seconds: [Choice; N_KINDS] = std::array::from_fn(|_| Choice::new());
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
struct Choice {
    numbers: Vec<u16>,
    /// At each place, from 1, the sum of the weights of as many numbers as its lowest bit says (Fenwick 1994).
    sums: Vec<u32>,
    total: u32,
}

impl Choice {
    fn new() -> Self {
        Self { numbers: Vec::new(), sums: vec![0], total: 0 }
    }

    fn of_kinds() -> Self {
        let mut choice = Self::new();
        (0..N_KINDS).for_each(|kind| choice.push(kind));
        choice
    }

    fn push(&mut self, number: usize) {
        let (mut sum, mut step, place) = (1, 1, self.sums.len());
        while place & step == 0 {
            sum += self.sums[place - step];
            step *= 2;
        }
        self.numbers.push(number as u16);
        self.sums.push(sum);
        self.total += 1;
    }

    /// Reads a number, and adds `more` to its weight. Not inlined: a call that has begun stays as slow as it began.
    #[inline(never)]
    fn draw(&mut self, coder: &mut Coder, more: u32) -> usize {
        let share = coder.share(self.total);
        let (mut place, mut before, mut own) = (0, 0, self.total);
        let mut step = 1 << self.numbers.len().ilog2();
        while step > 0 {
            match self.sums.get_mut(place + step) {
                Some(sum) if before + *sum > share => {
                    own = *sum; // the number is one of these
                    *sum += more;
                }
                Some(sum) => {
                    own -= *sum;
                    before += *sum;
                    place += step;
                }
                None => {}
            }
            step /= 2;
        }
        self.total += more;
        coder.take(before, own);
        self.numbers[place].into()
    }
}

/// `code` is where in the current `range` the file's number lies.
struct Coder<'a> {
    code: u32,
    range: u32,
    rest: &'a [u8],
}

impl Coder<'_> {
    /// Where the file's number lies when the range is cut into `total` parts, which [`Self::take`] must follow.
    fn share(&mut self, total: u32) -> u32 {
        while self.range < 1 << 24 {
            let byte = self.rest.split_off_first().copied().unwrap_or(0);
            (self.code, self.range) = (self.code << 8 | u32::from(byte), self.range << 8);
        }
        self.range /= total;
        self.code / self.range
    }

    /// Goes on in the part of weight `own` that has `before` below it.
    fn take(&mut self, before: u32, own: u32) {
        self.code -= self.range * before;
        self.range *= own;
    }
}
