//! Mutations of an input, from a seed alone: the same seed gives the same inputs on every machine.

/// What an input's bytes are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Anything.
    Bytes,
    /// Text with numbers, quotes and brackets.
    Text,
    /// A length of 8 bytes, so much JSON, and data: the length is kept right mostly.
    Safetensors,
}

/// Xorshift64*, which is enough to choose bytes.
pub struct Random(u64);

impl Random {
    /// From a seed.
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next 64 bits.
    pub fn word(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Below `n`; 0 if that is 0.
    pub fn below(&mut self, n: usize) -> usize {
        (self.word() >> 33) as usize % n.max(1)
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// Numbers at which lengths, counts and shapes break.
const NUMBERS: &[u64] = &[
    0,
    1,
    2,
    3,
    7,
    8,
    16,
    64,
    127,
    128,
    255,
    256,
    1000,
    4096,
    0x7fff,
    0x8000,
    0xffff,
    0x1_0000,
    1 << 24,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    1 << 32,
    1 << 40,
    1 << 53,
    1 << 60,
    1 << 62,
    i64::MAX as u64,
    1 << 63,
    u64::MAX - 1,
    u64::MAX,
];

/// Pieces of text that readers stumble over.
const WORDS: &[&str] = &[
    "-1",
    "1e308",
    "-1e999",
    "0.5",
    "NaN",
    "null",
    "true",
    "{}",
    "[]",
    "\"\"",
    "{",
    "[",
    "}",
    "]",
    ",",
    ":",
    "\"",
    "'",
    "\\u0000",
    "18446744073709551615",
    "9223372036854775807",
    "4294967296",
    "1152921504606846976",
    "\n",
    "\u{feff}",
    "é",
    "(",
    ")",
];

/// One to a few changes; `other` is an input to splice in.
pub fn mutate(random: &mut Random, form: Form, input: &[u8], other: &[u8]) -> Vec<u8> {
    if form == Form::Safetensors && input.len() > 8 && random.below(8) > 0 {
        let length = u64::from_le_bytes(input[..8].try_into().unwrap_or_default()) as usize;
        let header = input.get(8..8usize.saturating_add(length).min(input.len())).unwrap_or(&[]);
        let data = input.get(8 + header.len()..).unwrap_or(&[]);
        let header = mutate(random, Form::Text, header, other.get(8..).unwrap_or(&[]));
        return [&(header.len() as u64).to_le_bytes()[..], &header, data].concat();
    }
    let mut out = input.to_vec();
    for _ in 0..1 + random.below(4) {
        match form {
            Form::Text if random.below(4) > 0 => text(random, &mut out),
            _ => bytes(random, &mut out, other),
        }
        out.truncate(1 << 16);
    }
    out
}

fn bytes(random: &mut Random, out: &mut Vec<u8>, other: &[u8]) {
    let at = random.below(out.len() + 1);
    let rest = out.len() - at;
    match random.below(10) {
        0 if rest > 0 => out[at] ^= 1 << random.below(8),
        1 if rest > 0 => out[at] = random.word() as u8,
        2 => out.truncate(at),
        3 => {
            let n = random.below(rest.min(16) + 1);
            out.drain(at..at + n);
        }
        4 => {
            let n = random.below(rest.min(32) + 1);
            let piece = out[at..at + n].to_vec();
            let times = *random.pick(&[1, 1, 2, 20]);
            out.splice(at..at, piece.repeat(times));
        }
        5 => {
            let from = random.below(other.len() + 1);
            let n = random.below((other.len() - from).min(64) + 1);
            out.splice(at..at, other[from..from + n].iter().copied());
        }
        6 => {
            let from = random.below(other.len() + 1);
            out.truncate(at);
            out.extend_from_slice(&other[from..]);
        }
        7 if rest > 0 => {
            let n = random.below(rest.min(8) + 1);
            let with = *random.pick(&[0, 0xff, 0x80, 0x7f]);
            out[at..at + n].fill(with);
        }
        // A number of any width, in either order.
        _ => {
            let number = *random.pick(NUMBERS);
            let width = *random.pick(&[1usize, 2, 4, 8]);
            let little = number.to_le_bytes();
            for n in 0..width.min(rest) {
                out[at + n] = if random.0 & 8 == 0 { little[n] } else { little[width - 1 - n] };
            }
        }
    }
}

fn text(random: &mut Random, out: &mut Vec<u8>) {
    let digit = |b: &u8| b.is_ascii_digit();
    let from = random.below(out.len() + 1);
    match random.below(5) {
        // A number becomes another.
        0..=1 => {
            let Some(start) = out[from..].iter().position(digit).map(|n| from + n) else { return };
            let end = out[start..].iter().position(|b| !digit(b)).map_or(out.len(), |n| start + n);
            let number = random.pick(NUMBERS).to_string();
            out.splice(start..end, number.bytes());
        }
        2 => {
            let word = *random.pick(WORDS);
            let times = *random.pick(&[1, 1, 1, 200]);
            out.splice(from..from, word.repeat(times).bytes());
        }
        // A quoted text becomes something else.
        3 => {
            let quote = |b: &u8| *b == b'"';
            let Some(start) = out[from..].iter().position(quote).map(|n| from + n) else { return };
            let Some(end) = out[start + 1..].iter().position(quote).map(|n| start + n + 2) else { return };
            let word = *random.pick(WORDS);
            out.splice(start..end, word.bytes());
        }
        _ => {
            let n = random.below((out.len() - from).min(40) + 1);
            let piece = out[from..from + n].to_vec();
            let at = random.below(out.len() + 1);
            out.splice(at..at, piece);
        }
    }
}
