//! Mutations that know nothing of a format, and those of numbers and words that most formats have.

use crate::random::Random;

/// Longest input that a mutation makes, in bytes.
pub const LEN_MAX: usize = 1 << 20;

/// Lengths and counts at which code goes wrong.
pub const NUMBERS: [u64; 32] = [
    0,
    1,
    2,
    3,
    4,
    5,
    7,
    8,
    15,
    16,
    20,
    31,
    32,
    63,
    64,
    100,
    127,
    128,
    255,
    256,
    1_000,
    1_023,
    4_096,
    65_519,
    65_520,
    65_535,
    65_536,
    0x7fff_ffff,
    0xffff_ffff,
    1 << 32,
    i64::MAX as u64,
    u64::MAX,
];

/// Makes a new input: a seed, changed in one to eight places.
pub fn bytes(corpus: &[Vec<u8>], dictionary: &[&[u8]], random: &mut Random) -> Vec<u8> {
    let mut input = pick(corpus, random).cloned().unwrap_or_default();
    for _ in 0..1 + random.below(4) * random.below(3) {
        once(&mut input, corpus, dictionary, random);
    }
    input.truncate(LEN_MAX);
    input
}

/// One of them.
pub fn pick<'a, T>(of: &'a [T], random: &mut Random) -> Option<&'a T> {
    of.get(random.below(of.len()))
}

/// A number at which code goes wrong, or near one.
pub fn number(random: &mut Random) -> u64 {
    let number = NUMBERS[random.below(NUMBERS.len())];
    match random.below(4) {
        0 => number.wrapping_add(1),
        1 => number.wrapping_sub(1),
        _ => number,
    }
}

/// Changes the input in one place.
pub fn once(input: &mut Vec<u8>, corpus: &[Vec<u8>], dictionary: &[&[u8]], random: &mut Random) {
    let at = random.below(input.len() + 1);
    match random.below(14) {
        0 | 1 => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
        2 => {
            if let Some(byte) = input.get_mut(at) {
                *byte = random.next() as u8;
            }
        }
        3 => binary_number(input, at, random),
        4 | 5 => decimal_number(input, at, random),
        6 => drop(input.drain(part(input.len(), random))),
        7 => {
            let copy = input[part(input.len(), random)].to_vec();
            insert(input, at, &copy);
        }
        8 => {
            let copy = input[part(input.len(), random)].to_vec();
            for _ in 0..random.below(64) {
                insert(input, at, &copy);
            }
        }
        9 => {
            if let Some(other) = pick(corpus, random) {
                let piece = other[part(other.len(), random)].to_vec();
                insert(input, at, &piece);
            }
        }
        10 => {
            if let Some(other) = pick(corpus, random) {
                input.truncate(at);
                input.extend_from_slice(&other[random.below(other.len() + 1)..]);
            }
        }
        11 | 12 => word(input, at, dictionary, random),
        _ => input.truncate(at),
    }
}

/// Some part of a length; mostly a short one.
fn part(len: usize, random: &mut Random) -> std::ops::Range<usize> {
    let start = random.below(len + 1);
    let most = if random.once_in(4) { len - start } else { (len - start).min(32) };
    start..start + random.below(most + 1)
}

fn insert(input: &mut Vec<u8>, at: usize, piece: &[u8]) {
    if input.len() + piece.len() <= LEN_MAX {
        let at = at.min(input.len());
        input.splice(at..at, piece.iter().copied());
    }
}

/// Puts a word of the format in, or in the place of as many bytes.
fn word(input: &mut Vec<u8>, at: usize, dictionary: &[&[u8]], random: &mut Random) {
    let Some(word) = pick(dictionary, random) else { return };
    let end = if random.once_in(2) { at } else { input.len().min(at + word.len()) };
    input.splice(at..end, word.iter().copied());
}

/// Puts a number of 1, 2, 4 or 8 bytes in the place of as many.
fn binary_number(input: &mut [u8], at: usize, random: &mut Random) {
    let number = number(random);
    let width = 1 << random.below(4);
    let (big, little) = (number.to_be_bytes(), number.to_le_bytes());
    let number = if random.once_in(2) { &big[8 - width..] } else { &little[..width] };
    if let Some(place) = input.get_mut(at..at + width) {
        place.copy_from_slice(number);
    }
}

/// Puts a number in digits in the place of the next one that is written in digits.
fn decimal_number(input: &mut Vec<u8>, at: usize, random: &mut Random) {
    let is_digit = |byte: &u8| byte.is_ascii_digit();
    let start = input[at..].iter().position(is_digit).map_or(at, |skipped| at + skipped);
    let end = start + input[start..].iter().take_while(|byte| is_digit(byte)).count();
    let number = number(random);
    let text = match random.below(6) {
        0 => format!("-{number}"),
        1 => format!("{number}{number}"),
        2 => format!("0{number}"),
        3 => format!("{number:04x}"),
        _ => number.to_string(),
    };
    input.splice(start..end, text.into_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_differ_and_stay_within_their_length() {
        let corpus = vec![b"want 12345 a\n".to_vec(), Vec::new(), vec![7; LEN_MAX]];
        let dictionary: [&[u8]; 2] = [b"done", b"\0"];
        let mut random = Random::new(1);
        let mut seen = std::collections::HashSet::new();
        for _ in 0..2_000 {
            let input = bytes(&corpus, &dictionary, &mut random);
            assert!(input.len() <= LEN_MAX);
            seen.insert(input);
        }
        assert!(seen.len() > 1_000, "{}", seen.len());
        assert!(bytes(&[], &[], &mut random).len() < 1_000, "from nothing too");
    }
}
