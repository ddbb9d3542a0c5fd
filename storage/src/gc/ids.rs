//! Ids by their first eight bytes: sets of what lives, eight bytes an id, and lists of what goes,
//! on the disk.
//!
//! Invariant: such a set only ever says what *stays*. Two ids that share their first eight bytes
//! both stay when one does.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use crate::error::{Result, StoreError};

/// Ids that are sorted at once: 32 MiB.
const UNSORTED_MAX: usize = 4 << 20;

/// A set that is filled first and asked afterwards.
#[derive(Default)]
pub(crate) struct ShortSet {
    sorted: Vec<u64>,
    unsorted: Vec<u64>,
}

impl ShortSet {
    /// Adds an id.
    pub(crate) fn add(&mut self, id: u64) {
        if self.unsorted.is_empty() && self.sorted.last().is_none_or(|last| *last < id) {
            self.sorted.push(id);
            return;
        }
        self.unsorted.push(id);
        if self.unsorted.len() >= UNSORTED_MAX {
            self.sort();
        }
    }

    /// Ends the filling.
    pub(crate) fn finish(mut self) -> Self {
        self.sort();
        self.unsorted = Vec::new();
        self
    }

    /// Merges from the back, in place.
    fn sort(&mut self) {
        let Self { sorted, unsorted } = self;
        unsorted.sort_unstable();
        unsorted.dedup();
        let (mut left, mut right) = (sorted.len(), unsorted.len());
        sorted.reserve_exact(right);
        sorted.resize(left + right, 0);
        let mut to = left + right;
        while right > 0 {
            to -= 1;
            if left > 0 && sorted[left - 1] > unsorted[right - 1] {
                left -= 1;
                sorted[to] = sorted[left];
            } else {
                right -= 1;
                sorted[to] = unsorted[right];
            }
        }
        unsorted.clear();
        sorted.dedup();
    }

    /// Whether the id is in the set.
    pub(crate) fn has(&self, id: u64) -> bool {
        self.sorted.binary_search(&id).is_ok()
    }

    /// Answers for ids that ascend.
    pub(crate) fn ascending(&self) -> Ascending<'_> {
        Ascending { rest: &self.sorted }
    }
}

/// Answers for ids that ascend, each in a step or a few.
pub(crate) struct Ascending<'a> {
    rest: &'a [u64],
}

impl Ascending<'_> {
    /// Whether the id, which is not below the one asked for before, is in the set.
    pub(crate) fn has(&mut self, id: u64) -> bool {
        // By steps of doubling length: what is asked for may be dense or sparse.
        let mut step = 1;
        while self.rest.get(step - 1).is_some_and(|at| *at < id) {
            self.rest = &self.rest[step..];
            step *= 2;
            if self.rest.len() < step {
                break;
            }
        }
        self.rest = &self.rest[self.rest.partition_point(|at| *at < id)..];
        self.rest.first() == Some(&id)
    }
}

/// Records of one length in a nameless file.
pub(super) struct Spool<const N: usize> {
    file: BufWriter<File>,
    count: u64,
}

/// Bytes of a spool that wait in memory.
const BUFFER_LEN: usize = 8 << 10;

impl<const N: usize> Spool<N> {
    pub(super) fn new(tmp: &Path) -> Result<Self> {
        let file = tempfile::tempfile_in(tmp).map_err(failed)?;
        Ok(Self { file: BufWriter::with_capacity(BUFFER_LEN, file), count: 0 })
    }

    pub(super) fn push(&mut self, record: &[u8; N]) -> Result<()> {
        self.count += 1;
        self.file.write_all(record).map_err(failed)
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The records in their order.
    pub(super) fn read(self) -> Result<impl Iterator<Item = Result<[u8; N]>>> {
        let mut file = self.file.into_inner().map_err(|e| failed(e.into_error()))?;
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        let mut file = BufReader::with_capacity(64 << 10, file);
        Ok((0..self.count).map(move |_| {
            let mut record = [0; N];
            file.read_exact(&mut record).map_err(failed)?;
            Ok(record)
        }))
    }
}

fn failed(error: std::io::Error) -> StoreError {
    StoreError::io("a temporary file of gc", error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_was_added_in_whatever_order() {
        let spread = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for count in [0u64, 1, 2, 5, 1_000, 50_000] {
            let mut set = ShortSet::default();
            for n in 0..count {
                set.add(if n % 3 == 0 { n } else { spread(n) });
                set.add(spread(n / 2));
                if n % 7_000 == 6_999 {
                    set.sort();
                }
            }
            let set = set.finish();
            assert!(set.sorted.is_sorted_by(|a, b| a < b));
            let mut asked: Vec<u64> = (0..count + 50).flat_map(|n| [n, spread(n)]).collect();
            asked.sort_unstable();
            let mut ascending = set.ascending();
            for id in asked {
                assert_eq!(ascending.has(id), set.has(id), "{id} of {count}");
            }
            assert!((0..count / 2).all(|n| set.has(spread(n))));
        }
    }
}
