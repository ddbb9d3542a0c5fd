//! Sorted ids that are looked up often, by where each stands among them.

use crate::error::{Result, StoreError};
use crate::id::ObjectId;

/// Sorted ids with a table of where each leading pair of bytes begins: SHA-1s spread evenly, so
/// what is left to search is short.
pub(crate) struct IdTable<'a> {
    ids: &'a [ObjectId],
    /// Leading bits that the table tells apart.
    bits: u32,
    starts: Vec<u32>,
}

impl<'a> IdTable<'a> {
    /// Makes the table.
    ///
    /// # Errors
    /// [`StoreError::Limit`] for more than a pack may have.
    pub(crate) fn new(ids: &'a [ObjectId]) -> Result<Self> {
        assert!(ids.is_sorted_by(|a, b| a < b), "the ids ascend, each once");
        let count = u32::try_from(ids.len()).map_err(|_| StoreError::Limit {
            what: "objects at once",
            limit: u64::from(u32::MAX),
            actual: ids.len() as u64,
        })?;
        let bits = count.checked_ilog2().unwrap_or(0).clamp(4, 16);
        let mut starts = Vec::with_capacity((1 << bits) + 1);
        for (index, id) in ids.iter().enumerate() {
            let lead = lead(id, bits);
            while starts.len() <= lead {
                starts.push(index as u32);
            }
        }
        starts.resize((1 << bits) + 1, count);
        Ok(Self { ids, bits, starts })
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u32 {
        self.starts.last().copied().unwrap_or(0)
    }

    /// The position of an id.
    pub(crate) fn find(&self, id: &ObjectId) -> Option<u32> {
        let lead = lead(id, self.bits);
        let start = self.starts[lead];
        let range = start as usize..self.starts[lead + 1] as usize;
        let found = self.ids[range].binary_search(id).ok()?;
        Some(start + found as u32)
    }
}

fn lead(id: &ObjectId, bits: u32) -> usize {
    let [first, second, ..] = *id.as_bytes();
    usize::from(u16::from_be_bytes([first, second])) >> (16 - bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_is_there_and_nothing_else() {
        for count in [0u32, 1, 2, 15, 16, 300, 70_000] {
            let id = |n: u32| {
                let mut bytes = [0; 20];
                bytes[..4].copy_from_slice(&n.wrapping_mul(0x9e37_79b1).to_be_bytes());
                ObjectId::from_bytes(bytes)
            };
            let mut ids: Vec<ObjectId> = (0..count).map(id).collect();
            ids.sort_unstable();
            let table = IdTable::new(&ids).expect("few enough");
            assert_eq!(table.count(), count);
            for (index, id) in ids.iter().enumerate() {
                assert_eq!(table.find(id), Some(index as u32));
            }
            for n in count..count + 100 {
                assert_eq!(table.find(&id(n)), None);
            }
            assert_eq!(table.find(&ObjectId::from_bytes([0xff; 20])), None);
        }
    }
}
