//! Inputs that are pkt-lines: taken apart leniently, changed line by line, and framed again so that
//! a change gets past the lengths.

use super::mutate;
use crate::random::Random;

/// A piece of such an input.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Piece {
    /// `0000` to `0003`.
    Mark(u8),
    /// A line of data.
    Data(Vec<u8>),
    /// What is no line: a pack, or the rest after a bad length.
    Raw(Vec<u8>),
}

/// Longest data of a line.
const DATA_LEN_MAX: usize = 65_516;

/// Takes an input apart. Whatever follows the first bad length is one raw piece.
pub fn split(mut input: &[u8]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    while let Some((len, rest)) = length(input) {
        match len {
            0..=3 => {
                pieces.push(Piece::Mark(len as u8));
                input = rest;
            }
            _ => {
                let Some((data, after)) = rest.split_at_checked(len - 4) else { break };
                pieces.push(Piece::Data(data.to_vec()));
                input = after;
            }
        }
    }
    if !input.is_empty() {
        pieces.push(Piece::Raw(input.to_vec()));
    }
    pieces
}

fn length(input: &[u8]) -> Option<(usize, &[u8])> {
    let (head, rest) = input.split_at_checked(4)?;
    let text = std::str::from_utf8(head).ok().filter(|t| !t.contains('+'))?;
    usize::from_str_radix(text, 16).ok().map(|len| (len, rest))
}

/// Puts pieces together with right lengths.
pub fn join(pieces: &[Piece]) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Mark(mark) => out.extend(format!("{mark:04x}").bytes()),
            Piece::Data(data) => {
                let data = &data[..data.len().min(DATA_LEN_MAX)];
                out.extend(format!("{:04x}", data.len() + 4).bytes());
                out.extend_from_slice(data);
            }
            Piece::Raw(raw) => out.extend_from_slice(raw),
        }
    }
    out
}

/// A new input: half of them changed line by line with right lengths, a few with one length wrong,
/// the others changed anywhere.
pub fn lines(corpus: &[Vec<u8>], dictionary: &[&[u8]], random: &mut Random) -> Vec<u8> {
    if random.once_in(4) {
        return mutate::bytes(corpus, dictionary, random);
    }
    let mut pieces = mutate::pick(corpus, random).map_or_else(Vec::new, |seed| split(seed));
    for _ in 0..1 + random.below(4) {
        change(&mut pieces, corpus, dictionary, random);
    }
    let mut input = join(&pieces);
    if random.once_in(16) {
        wrong_length(&mut input, random);
    }
    input.truncate(mutate::LEN_MAX);
    input
}

fn change(pieces: &mut Vec<Piece>, corpus: &[Vec<u8>], dictionary: &[&[u8]], random: &mut Random) {
    let at = random.below(pieces.len() + 1);
    match random.below(9) {
        0..=3 => {
            if let Some(Piece::Data(data) | Piece::Raw(data)) = pieces.get_mut(at) {
                mutate::once(data, corpus, dictionary, random);
            }
        }
        4 => pieces.insert(at, Piece::Mark(random.below(4) as u8)),
        5 => {
            if at < pieces.len() {
                pieces.remove(at);
            }
        }
        6 => {
            if let Some(piece) = pieces.get(at).cloned() {
                let count = 1 + random.below(3) * random.below(40);
                let to = random.below(pieces.len() + 1);
                pieces.splice(to..to, std::iter::repeat_n(piece, count));
            }
        }
        7 => {
            let other = random.below(pieces.len());
            if at < pieces.len() {
                pieces.swap(at, other);
            }
        }
        _ => {
            let other = mutate::pick(corpus, random).map_or_else(Vec::new, |seed| split(seed));
            if let Some(piece) = mutate::pick(&other, random) {
                pieces.insert(at, piece.clone());
            }
        }
    }
}

/// Writes a wrong length somewhere.
fn wrong_length(input: &mut [u8], random: &mut Random) {
    let lengths: [&[u8; 4]; 8] =
        [b"0001", b"0002", b"0003", b"0004", b"fff0", b"fff1", b"ffff", b"00G0"];
    let at = random.below(input.len().saturating_sub(3));
    if let Some(place) = input.get_mut(at..at + 4) {
        place.copy_from_slice(lengths[random.below(lengths.len())]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_apart_can_be_put_together() {
        for input in
            [&b"0008want0000"[..], b"0004PACK and so on", b"0001000200030009done\n", b"", b"00"]
        {
            assert_eq!(join(&split(input)), input);
        }
        let pieces = split(b"0008want0001PACK");
        let expected =
            [Piece::Data(b"want".to_vec()), Piece::Mark(1), Piece::Raw(b"PACK".to_vec())];
        assert_eq!(pieces, expected);
    }

    #[test]
    fn most_new_inputs_have_right_lengths() {
        let corpus = vec![b"0008want0008have0009done\n0000".to_vec()];
        let mut random = Random::new(2);
        let inputs = (0..1_000).map(|_| lines(&corpus, &[b"deepen 1"], &mut random));
        let good = inputs.filter(|i| !split(i).iter().any(|p| matches!(p, Piece::Raw(_)))).count();
        assert!(good > 500, "{good}");
    }
}
