//! What a peer says it has of a file.
//!
//! Only a claim: who says he has a chunk and then has not is asked for others, and after some such
//! claims for nothing. The lists come from outside: whatever their numbers, nothing here panics.

#![deny(clippy::indexing_slicing)]

/// What a peer has of a file, as the wire says it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Have {
    /// Nothing yet.
    None,
    /// All of it.
    All,
    /// Runs of bytes, each offset and length; ascending, not touching.
    Runs(Vec<(u64, u64)>),
    /// Granules of `1 << shift` bytes. Bit `i` is bit `i % 8`, counted from the least, of byte
    /// `i / 8`; set, it says that every byte of the granule is there.
    Bits {
        /// Granule's length as a power of two.
        shift: u8,
        /// The bits.
        bytes: Vec<u8>,
    },
}

impl Have {
    /// Whether all of `offset..offset + len` is there.
    pub fn covers(&self, offset: u64, len: u64) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Runs(runs) => {
                let after = runs.partition_point(|run| run.0 <= offset);
                let run = after.checked_sub(1).and_then(|index| runs.get(index));
                run.is_some_and(|run| offset.saturating_add(len) <= run.0.saturating_add(run.1))
            }
            Self::Bits { shift, bytes } => {
                let last = offset.saturating_add(len.saturating_sub(1));
                let granule = |at: u64| at.checked_shr(u32::from(*shift));
                let (Some(first), Some(last)) = (granule(offset), granule(last)) else {
                    return false;
                };
                // A chunk has few granules; a longer stretch is looked at no further than the list.
                last < bytes.len() as u64 * 8 && (first..=last).all(|index| bit(bytes, index))
            }
        }
    }

    /// The first offset from `offset` on that is there.
    pub(super) fn next(&self, offset: u64) -> Option<u64> {
        match self {
            Self::None => None,
            Self::All => Some(offset),
            Self::Runs(runs) => {
                let index = runs.partition_point(|run| run.0.saturating_add(run.1) <= offset);
                runs.get(index).map(|run| run.0.max(offset))
            }
            Self::Bits { shift, bytes } => {
                let first = offset.checked_shr(u32::from(*shift))?;
                if bit(bytes, first) {
                    return Some(offset);
                }
                let next = next_bit(bytes, first)?;
                next.checked_mul(1u64.checked_shl(u32::from(*shift))?)
            }
        }
    }

    /// Whether it may grow.
    pub(super) fn is_partial(&self) -> bool {
        *self != Self::All
    }

    /// Bytes that it takes in memory.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::None | Self::All => 0,
            Self::Runs(runs) => runs.len() * size_of::<(u64, u64)>(),
            Self::Bits { bytes, .. } => bytes.len(),
        }
    }
}

fn bit(bytes: &[u8], index: u64) -> bool {
    let byte = usize::try_from(index / 8).ok().and_then(|byte| bytes.get(byte));
    byte.is_some_and(|byte| byte >> (index % 8) & 1 == 1)
}

/// The first set bit after `index`, which is not set.
fn next_bit(bytes: &[u8], index: u64) -> Option<u64> {
    let start = usize::try_from(index / 8).ok()?;
    let first = *bytes.get(start)?;
    let rest = first & !(((1u16 << (index % 8 + 1)) - 1) as u8);
    if rest != 0 {
        return Some(start as u64 * 8 + u64::from(rest.trailing_zeros()));
    }
    let tail = bytes.get(start + 1..)?;
    let zeros = tail.iter().take_while(|byte| **byte == 0).count();
    let byte = tail.get(zeros)?;
    Some((start + 1 + zeros) as u64 * 8 + u64::from(byte.trailing_zeros()))
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes of the model file.
    const LEN: u64 = 4096;

    /// The bytes that a list says are there, one by one.
    fn model(have: &Have) -> Vec<bool> {
        let is_here = |at: u64| match have {
            Have::None => false,
            Have::All => true,
            Have::Runs(runs) => runs.iter().any(|run| (run.0..run.0 + run.1).contains(&at)),
            Have::Bits { shift, bytes } => {
                let index = (at >> shift) as usize;
                index / 8 < bytes.len() && bytes[index / 8] >> (index % 8) & 1 == 1
            }
        };
        (0..LEN).map(is_here).collect()
    }

    fn any_have() -> impl Strategy<Value = Have> {
        let runs = prop::collection::vec((1u64..60, 1u64..60), 0..40).prop_map(|steps| {
            let mut at = 0;
            let runs = steps.into_iter().map(|(gap, len)| {
                let run = (at + gap, len);
                at += gap + len;
                run
            });
            Have::Runs(runs.collect())
        });
        let bits = (3u8..9, prop::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 0..80))
            .prop_map(|(shift, bytes)| Have::Bits { shift, bytes });
        prop_oneof![Just(Have::None), Just(Have::All), runs, bits]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn a_list_says_what_its_bytes_say(have in any_have(), at in 0..LEN, len in 1u64..200) {
            let here = model(&have);
            let len = len.min(LEN - at);
            let range = at as usize..(at + len) as usize;
            prop_assert_eq!(have.covers(at, len), here[range].iter().all(|is_here| *is_here));
            let next = (at..LEN).find(|at| here[*at as usize]);
            prop_assert_eq!(have.next(at).filter(|next| *next < LEN), next);
        }

        #[test]
        fn no_numbers_make_it_panic(
            runs in prop::collection::vec((any::<u64>(), any::<u64>()), 0..8),
            shift: u8,
            bytes: Vec<u8>,
            at: u64,
            len: u64,
        ) {
            for have in [Have::Runs(runs), Have::Bits { shift, bytes }] {
                have.covers(at, len);
                have.next(at);
            }
        }
    }

    #[test]
    fn ends_are_exact() {
        let runs = Have::Runs(vec![(10, 5), (20, 5)]);
        assert!(runs.covers(10, 5) && !runs.covers(10, 6) && !runs.covers(9, 2));
        assert_eq!((runs.next(0), runs.next(14), runs.next(15)), (Some(10), Some(14), Some(20)));
        assert_eq!(runs.next(25), None);
        let bits = Have::Bits { shift: 12, bytes: vec![0b1000_0001, 0, 1] };
        assert!(bits.covers(0, 4096) && !bits.covers(0, 4097) && bits.covers(7 << 12, 4096));
        assert_eq!(bits.next(4096), Some(7 << 12));
        assert_eq!(bits.next(8 << 12), Some(16 << 12));
        assert_eq!(bits.next(17 << 12), None);
    }
}
