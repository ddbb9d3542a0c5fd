//! What sources have told of content that is not here yet: lengths of blobs, manifests of files.
//!
//! Nothing in these rows is proven. They belong to one repository, are read only by its
//! [`crate::ReadThrough`], give nobody a right to anything, and go when the content itself is here
//! or the repository is deleted. They are written without a sync: losing them costs a question.

#![deny(clippy::indexing_slicing)]

use std::sync::Arc;

use crate::chunk::CHUNK_LEN_MAX;
use crate::db::{Db, Durability, Family};
use crate::error::{Result, StoreError};
use crate::id::{ChunkId, FileId, ObjectId, RepoId};
use crate::manifest::{ChunkRef, FILE_LEN_MAX};
use crate::read::ChunkSpan;

const BLOB: u8 = b'b';
const FILE: u8 = b'f';
const PAGE: u8 = b'p';

/// Bytes of one chunk in a page.
const ENTRY_LEN: usize = ChunkId::LEN + 4;

/// The rows of one repository.
pub(crate) struct PartialStore {
    db: Arc<Db>,
    repo: RepoId,
}

impl PartialStore {
    pub(crate) fn new(db: Arc<Db>, repo: RepoId) -> Self {
        Self { db, repo }
    }

    fn key(&self, kind: u8, rest: &[u8]) -> Vec<u8> {
        let mut key = self.repo.0.to_be_bytes().to_vec();
        key.push(kind);
        key.extend_from_slice(rest);
        key
    }

    fn page_key(&self, file: &FileId, start: u64) -> Vec<u8> {
        let mut key = self.key(PAGE, file.as_bytes());
        key.extend_from_slice(&start.to_be_bytes());
        key
    }

    /// Lengths of blobs as told, in the order of `ids`.
    pub(crate) fn blob_lens(&self, ids: &[ObjectId]) -> Result<Vec<Option<u64>>> {
        let keys: Vec<_> = ids.iter().map(|id| self.key(BLOB, id.as_bytes())).collect();
        let rows = self.db.multi_get(Family::Partial, &keys, false)?;
        keys.iter()
            .zip(rows)
            .map(|(key, row)| row.map(|row| number(key, &row)).transpose())
            .collect()
    }

    /// Keeps lengths of blobs.
    pub(crate) fn put_blob_lens(&self, lens: &[(ObjectId, u64)]) -> Result<()> {
        let mut batch = self.db.batch();
        for (id, len) in lens {
            batch.put(Family::Partial, &self.key(BLOB, id.as_bytes()), &len.to_be_bytes());
        }
        self.db.commit(batch, Durability::Logged)
    }

    /// Forgets lengths of blobs that are here now.
    pub(crate) fn drop_blob_lens(&self, ids: &[ObjectId]) -> Result<()> {
        let mut batch = self.db.batch();
        for id in ids {
            batch.delete(Family::Partial, &self.key(BLOB, id.as_bytes()));
        }
        self.db.commit(batch, Durability::Logged)
    }

    /// The length of a file as told.
    pub(crate) fn file_len(&self, file: &FileId) -> Result<Option<u64>> {
        let key = self.key(FILE, file.as_bytes());
        self.db.get(Family::Partial, &key)?.map(|row| number(&key, &row)).transpose()
    }

    /// Keeps lengths of files.
    pub(crate) fn put_file_lens(&self, lens: &[(FileId, u64)]) -> Result<()> {
        let mut batch = self.db.batch();
        for (file, len) in lens {
            batch.put(Family::Partial, &self.key(FILE, file.as_bytes()), &len.to_be_bytes());
        }
        self.db.commit(batch, Durability::Logged)
    }

    /// The last page of a file that starts at or before `offset`.
    pub(crate) fn page_up_to(&self, file: &FileId, offset: u64) -> Result<Option<Vec<ChunkSpan>>> {
        let prefix = self.key(PAGE, file.as_bytes());
        let row = self.db.last_up_to(Family::Partial, &prefix, &self.page_key(file, offset))?;
        row.map(|(key, value)| decode_page(&key, &value)).transpose()
    }

    /// The first page of a file that starts at or after `offset`.
    pub(crate) fn page_from(&self, file: &FileId, offset: u64) -> Result<Option<Vec<ChunkSpan>>> {
        let prefix = self.key(PAGE, file.as_bytes());
        let from = self.page_key(file, offset);
        let row = self.db.scan_from(Family::Partial, &prefix, &from).next().transpose()?;
        row.map(|(key, value)| decode_page(&key, &value)).transpose()
    }

    /// Keeps a page: chunks without gaps.
    pub(crate) fn put_page(&self, file: &FileId, spans: &[ChunkSpan]) -> Result<()> {
        let Some(first) = spans.first() else { return Ok(()) };
        let mut value = Vec::with_capacity(spans.len() * ENTRY_LEN);
        for span in spans {
            value.extend_from_slice(span.chunk.id.as_bytes());
            value.extend_from_slice(&span.chunk.len.to_be_bytes());
        }
        let mut batch = self.db.batch();
        batch.put(Family::Partial, &self.page_key(file, first.offset), &value);
        self.db.commit(batch, Durability::Logged)
    }

    /// Forgets all that was told of a file.
    pub(crate) fn drop_file(&self, file: &FileId) -> Result<()> {
        let mut batch = self.db.batch();
        batch.delete(Family::Partial, &self.key(FILE, file.as_bytes()));
        batch.delete_prefix(Family::Partial, &self.key(PAGE, file.as_bytes()));
        self.db.commit(batch, Durability::Logged)
    }
}

fn damaged(key: &[u8], reason: &'static str) -> StoreError {
    let key = key.iter().map(|b| format!("{b:02x}")).collect();
    StoreError::DamagedRow { family: Family::Partial.name(), key, reason }
}

fn number(key: &[u8], row: &[u8]) -> Result<u64> {
    let bytes = row.try_into().map_err(|_| damaged(key, "it does not have 8 bytes"))?;
    Ok(u64::from_be_bytes(bytes))
}

fn decode_page(key: &[u8], row: &[u8]) -> Result<Vec<ChunkSpan>> {
    let start = key.last_chunk::<8>().ok_or_else(|| damaged(key, "its key is too short"))?;
    let mut offset = u64::from_be_bytes(*start);
    let (entries, rest) = row.as_chunks::<ENTRY_LEN>();
    if entries.is_empty() || !rest.is_empty() || offset > FILE_LEN_MAX {
        return Err(damaged(key, "it is no run of chunks"));
    }
    let mut spans = Vec::with_capacity(entries.len());
    for entry in entries {
        let (id, len) = entry.split_first_chunk::<32>().ok_or_else(|| damaged(key, "too short"))?;
        let len = u32::from_be_bytes(len.try_into().map_err(|_| damaged(key, "too short"))?);
        if len == 0 || len > CHUNK_LEN_MAX {
            return Err(damaged(key, "a chunk's length is impossible"));
        }
        spans.push(ChunkSpan { chunk: ChunkRef { id: ChunkId::from_bytes(*id), len }, offset });
        offset += u64::from(len);
    }
    Ok(spans)
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::testing::TestDb;

    fn span(n: u8, offset: u64, len: u32) -> ChunkSpan {
        ChunkSpan { chunk: ChunkRef { id: ChunkId::from_bytes([n; 32]), len }, offset }
    }

    #[test]
    fn rows_are_those_of_the_format_and_pages_are_found_by_any_byte() {
        let test = TestDb::new();
        let rows = PartialStore::new(test.db.clone(), RepoId(258));
        let file = FileId::from_bytes([7; 32]);
        rows.put_blob_lens(&[(ObjectId::from_bytes([1; 20]), 5)]).expect("written");
        rows.put_file_lens(&[(file, 300)]).expect("written");
        let page = vec![span(2, 100, 50), span(3, 150, 10)];
        rows.put_page(&file, &page).expect("written");
        let repeat = |byte: &str, count| byte.repeat(count);
        let expected = [
            (format!("0000010262{}", repeat("01", 20)), "0000000000000005".to_owned()),
            (format!("0000010266{}", repeat("07", 32)), "000000000000012c".to_owned()),
            (
                format!("0000010270{}0000000000000064", repeat("07", 32)),
                format!("{}00000032{}0000000a", repeat("02", 32), repeat("03", 32)),
            ),
        ];
        assert_eq!(test.rows(Family::Partial), expected);
        assert_eq!(rows.page_up_to(&file, 99).expect("read"), None);
        assert_eq!(rows.page_up_to(&file, 100).expect("read").as_ref(), Some(&page));
        assert_eq!(rows.page_up_to(&file, 1 << 40).expect("read").as_ref(), Some(&page));
        assert_eq!(rows.page_from(&file, 7).expect("read").as_ref(), Some(&page));
        assert_eq!(rows.page_from(&file, 101).expect("read"), None);
        let other = PartialStore::new(test.db.clone(), RepoId(259));
        assert_eq!(other.page_up_to(&file, 100).expect("read"), None);
        rows.drop_file(&file).expect("written");
        assert_eq!(rows.file_len(&file).expect("read"), None);
        assert_eq!(rows.page_from(&file, 0).expect("read"), None);
    }
}
