//! What publishers signed of the chunk lists of files: kept so that it can be told on with the
//! signature. It is bytes here; whoever tells it checks it first.
//!
//! Invariant: written in one batch with the chunks that it is of. It outlives them when the file
//! has become whole, whose own rows have the same chunks.

use super::{PartialStore, SIGNED, damaged, offset_in};
use crate::db::{Batch, Family};
use crate::error::Result;
use crate::id::FileId;
use crate::read::ChunkSpan;
use crate::source::{PageSignature, SIGNED_CHUNKS};

/// A run of chunks and its signature.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SignedRun {
    /// Where its first chunk begins.
    pub(crate) offset: u64,
    /// How many chunks: 1 to [`SIGNED_CHUNKS`].
    pub(crate) count: u16,
    pub(crate) signature: PageSignature,
}

impl SignedRun {
    /// The signature of these chunks; `None` when they are none, or too many.
    pub(crate) fn new(spans: &[ChunkSpan], signature: PageSignature) -> Option<Self> {
        let count = u16::try_from(spans.len()).ok()?;
        let offset = spans.first()?.offset;
        (spans.len() <= SIGNED_CHUNKS).then_some(Self { offset, count, signature })
    }
}

impl PartialStore {
    pub(super) fn add_signed(&self, batch: &mut Batch<'_>, file: &FileId, run: &SignedRun) {
        let mut value = run.count.to_be_bytes().to_vec();
        value.extend_from_slice(run.signature.as_bytes());
        batch.put(Family::Partial, &self.place_key(SIGNED, file, run.offset), &value);
    }

    /// The last signature of a file whose chunks begin at or before `offset`.
    pub(crate) fn signed_up_to(&self, file: &FileId, offset: u64) -> Result<Option<SignedRun>> {
        let prefix = self.key(SIGNED, file.as_bytes());
        let key = self.place_key(SIGNED, file, offset);
        let row = self.db.last_up_to(Family::Partial, &prefix, &key)?;
        row.map(|(key, value)| decode(&key, &value)).transpose()
    }

    /// The chunks of a signature, as they were told; `None` when they are not all known any more.
    pub(crate) fn told_run(
        &self,
        file: &FileId,
        run: &SignedRun,
    ) -> Result<Option<Vec<ChunkSpan>>> {
        let (mut spans, mut at) = (Vec::with_capacity(run.count.into()), run.offset);
        while spans.len() < usize::from(run.count) {
            let page = self.page_up_to(file, at)?.unwrap_or_default();
            let before = spans.len();
            let room = usize::from(run.count) - before;
            spans.extend(page.into_iter().skip_while(|span| span.offset < at).take(room));
            match spans.get(before..).unwrap_or_default() {
                [first, ..] if first.offset == at => {}
                _ => return Ok(None),
            }
            at = spans.last().map_or(at, |last| last.offset + u64::from(last.chunk.len));
        }
        Ok(Some(spans))
    }
}

fn decode(key: &[u8], row: &[u8]) -> Result<SignedRun> {
    let read = || {
        let (count, signature) = row.split_first_chunk::<2>()?;
        let count = u16::from_be_bytes(*count);
        let is_good = (1..=SIGNED_CHUNKS).contains(&usize::from(count));
        let signature = signature.try_into().ok().filter(|_| is_good)?;
        Some((count, PageSignature::from_bytes(signature)))
    };
    let (count, signature) = read().ok_or_else(|| damaged(key, "it is no signature"))?;
    Ok(SignedRun { offset: offset_in(key)?, count, signature })
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::id::{ChunkId, RepoId};
    use crate::manifest::ChunkRef;
    use crate::testing::TestDb;

    fn spans(count: u32) -> Vec<ChunkSpan> {
        let span = |n: u32| ChunkSpan {
            chunk: ChunkRef { id: ChunkId::from_bytes([n as u8; 32]), len: 10 },
            offset: u64::from(n) * 10,
        };
        (0..count).map(span).collect()
    }

    #[test]
    fn signed_chunks_are_found_however_they_were_told() {
        let test = TestDb::new();
        let rows = PartialStore::new(test.db.clone(), RepoId(1));
        let (file, all) = (FileId::from_bytes([7; 32]), spans(9));
        let signature = PageSignature::from_bytes([1; 64]);
        let run = SignedRun::new(&all[2..7], signature).expect("chunks");
        rows.put_page(&file, &all[..3], &[]).expect("written");
        rows.put_page(&file, &all[3..4], &[run]).expect("written");
        assert_eq!(rows.signed_up_to(&file, 19).expect("read"), None);
        assert_eq!(rows.signed_up_to(&file, 66).expect("read"), Some(run));
        assert_eq!(rows.told_run(&file, &run).expect("read"), None, "a part of them is not known");
        rows.put_page(&file, &all[5..], &[]).expect("written");
        assert_eq!(rows.told_run(&file, &run).expect("read"), None, "there is a gap");
        rows.put_page(&file, &all[4..5], &[]).expect("written");
        assert_eq!(rows.told_run(&file, &run).expect("read").as_deref(), Some(&all[2..7]));
        let inside = SignedRun { offset: 21, ..run };
        assert_eq!(rows.told_run(&file, &inside).expect("read"), None, "no chunk begins there");
    }

    #[test]
    fn rows_that_are_no_signatures_are_damage() {
        let test = TestDb::new();
        let rows = PartialStore::new(test.db.clone(), RepoId(1));
        let file = FileId::from_bytes([7; 32]);
        let limit = u16::try_from(SIGNED_CHUNKS).expect("few");
        let good = |count: u16| [&count.to_be_bytes()[..], &[5; 64]].concat();
        let read = |row: &[u8]| {
            let mut batch = test.db.batch();
            batch.put(Family::Partial, &rows.place_key(SIGNED, &file, 30), row);
            test.db.commit(batch, crate::db::Durability::Logged).expect("written");
            rows.signed_up_to(&file, 30)
        };
        assert!(read(&good(limit)).expect("at the limit").is_some());
        for wrong in
            [&good(0)[..], &good(limit + 1), &good(1)[..65], &[&good(1)[..], &[0]].concat()]
        {
            read(wrong).expect_err("damaged");
        }
    }
}
