//! Fuzzing on stable Rust: mutated inputs against a target, with every panic, wrong answer, long
//! run and hungry run caught, written to a file and made smaller.
//!
//! This crate has the mutations and the loop; the targets are in `tests/fuzz/`, where the engine
//! and the server can be named. A test of that binary plays its target for two seconds; `cargo x
//! fuzz` plays one for longer by running that same test with variables set. There is no guidance by
//! coverage: that would compile RocksDB again with instruments. In its place an input is kept as a
//! seed when it ends in a way that none before it did ([`Ending`]).

mod failure;
mod meter;
pub mod mutate;
pub mod pkt;
mod play;
mod task;

pub use failure::Failure;
pub use meter::{Meter, NoMeter};
pub use play::{Plan, Report, Tally, play};
pub use task::run;

/// How a good run ended: two runs that went the same way give the same number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Ending(pub u64);

impl Ending {
    /// By a message: digits, words of hexadecimal digits and what stands in quotes do not count.
    pub fn of(message: &str) -> Self {
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        let mut quote = None;
        for byte in message.bytes().filter(|byte| !byte.is_ascii_hexdigit()) {
            match quote {
                Some(open) if open == byte => quote = None,
                Some(_) => continue,
                None if b"'\"`".contains(&byte) => quote = Some(byte),
                None => {}
            }
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        Self(hash)
    }

    /// With a count, of which only the magnitude matters.
    pub fn and(self, count: usize) -> Self {
        let magnitude = u64::from(usize::BITS - count.leading_zeros());
        Self((self.0 ^ magnitude.wrapping_add(1)).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}

/// Something that takes bytes from outside.
pub trait Target {
    /// Its name, as `cargo x fuzz` takes it.
    fn name(&self) -> &'static str;

    /// Good inputs to start from.
    fn seeds(&mut self) -> Vec<Vec<u8>>;

    /// Words that its format knows.
    fn dictionary(&self) -> &'static [&'static [u8]] {
        &[]
    }

    /// Makes a new input of old ones.
    fn mutate(&mut self, corpus: &[Vec<u8>], random: &mut crate::random::Random) -> Vec<u8> {
        mutate::bytes(corpus, self.dictionary(), random)
    }

    /// Feeds one input, and holds what came of it to whatever is known to be right.
    ///
    /// # Errors
    /// What is wrong with the answer. An input that is refused as it should be is no error.
    fn feed(&mut self, input: &[u8]) -> Result<Ending, String>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_differ_by_what_happened_alone() {
        assert_eq!(Ending::of("bad line 12 'x y'"), Ending::of("bad line 7 'z'"));
        assert_ne!(Ending::of("bad line 'x'"), Ending::of("no line 'x'"));
        assert_eq!(Ending::of("a").and(5), Ending::of("a").and(6));
        assert_ne!(Ending::of("a").and(5), Ending::of("a").and(50));
    }
}
