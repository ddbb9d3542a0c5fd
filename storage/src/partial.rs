//! What sources have told of content that is not here yet: lengths of blobs, manifests of files;
//! and which chunks of such files have come.
//!
//! Nothing that was told is proven. The rows belong to one repository, give nobody a right to
//! anything, and go when the content itself is here or the repository is deleted. They are written
//! without a sync: losing them costs a question.
//!
//! Invariant: what was told is read by the repository's [`crate::ReadThrough`] alone. Of it others
//! are told only what its publisher signed ([`signed`]), with the signature. That a chunk came is a
//! fact: a row says that these bytes, which have that hash, were
//! fetched for this place of this file and for this repository. Only such chunks are served while
//! the file is not whole ([`crate::HeldFile`]), to who names file, offset, id and length. A chunk
//! that is stored for another repository counts for nothing here: an answer that depended on it
//! would tell what others have.

#![deny(clippy::indexing_slicing)]

mod signed;

use std::sync::Arc;

use crate::chunk::CHUNK_LEN_MAX;
use crate::db::{Batch, Db, Durability, Family};
use crate::error::{Result, StoreError};
use crate::id::{ChunkId, FileId, ObjectId, RepoId};
use crate::manifest::{ChunkRef, FILE_LEN_MAX};
use crate::read::ChunkSpan;
pub(crate) use signed::SignedRun;

const BLOB: u8 = b'b';
const FILE: u8 = b'f';
const PAGE: u8 = b'p';
const CAME: u8 = b'c';
const PIN: u8 = b'n';
const PIN_VERSION: u8 = 1;
const USE: u8 = b'u';
const SIGNED: u8 = b's';

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
        key(self.repo, kind, rest)
    }

    fn place_key(&self, kind: u8, file: &FileId, offset: u64) -> Vec<u8> {
        let mut key = self.key(kind, file.as_bytes());
        key.extend_from_slice(&offset.to_be_bytes());
        key
    }

    fn page_key(&self, file: &FileId, start: u64) -> Vec<u8> {
        self.place_key(PAGE, file, start)
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

    /// The files that were told of, with their lengths, by id.
    pub(crate) fn told_files(&self) -> impl Iterator<Item = Result<(FileId, u64)>> + '_ {
        let rows = self.db.scan(Family::Partial, &self.key(FILE, &[]));
        rows.map(|row| {
            let (key, value) = row?;
            let file = key.get(5..).and_then(FileId::from_slice);
            Ok((file.ok_or_else(|| damaged(&key, "not a file's key"))?, number(&key, &value)?))
        })
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

    /// Keeps a page: chunks without gaps, and in one batch what was signed of them.
    pub(crate) fn put_page(
        &self,
        file: &FileId,
        spans: &[ChunkSpan],
        signed: &[SignedRun],
    ) -> Result<()> {
        if spans.is_empty() {
            return Ok(());
        }
        let mut batch = self.db.batch();
        self.add_page(&mut batch, file, spans);
        for run in signed {
            self.add_signed(&mut batch, file, run);
        }
        self.db.commit(batch, Durability::Logged)
    }

    /// Keeps a page, and that all of its chunks came if they did.
    pub(crate) fn put_page_that_came(
        &self,
        file: &FileId,
        spans: &[ChunkSpan],
        came: bool,
    ) -> Result<()> {
        let mut batch = self.db.batch();
        self.add_page(&mut batch, file, spans);
        for span in spans.iter().filter(|_| came) {
            self.put_came(&mut batch, file, span);
        }
        self.db.commit(batch, Durability::Logged)
    }

    fn add_page(&self, batch: &mut Batch<'_>, file: &FileId, spans: &[ChunkSpan]) {
        let Some(first) = spans.first() else { return };
        let mut value = Vec::with_capacity(spans.len() * ENTRY_LEN);
        for span in spans {
            value.extend_from_slice(span.chunk.id.as_bytes());
            value.extend_from_slice(&span.chunk.len.to_be_bytes());
        }
        batch.put(Family::Partial, &self.page_key(file, first.offset), &value);
    }

    /// Notes, in the batch that keeps it, that a chunk came for its place in the file.
    pub(crate) fn put_came(&self, batch: &mut Batch<'_>, file: &FileId, span: &ChunkSpan) {
        let mut value = span.chunk.id.as_bytes().to_vec();
        value.extend_from_slice(&span.chunk.len.to_be_bytes());
        batch.put(Family::Partial, &self.place_key(CAME, file, span.offset), &value);
    }

    /// Whether just this chunk came for the place.
    pub(crate) fn has_come(&self, file: &FileId, span: &ChunkSpan) -> Result<bool> {
        let key = self.place_key(CAME, file, span.offset);
        let Some(row) = self.db.get(Family::Partial, &key)? else { return Ok(false) };
        Ok(decode_came(&key, &row)? == *span)
    }

    /// The chunks of a file that came, ascending.
    pub(crate) fn came(&self, file: &FileId) -> impl Iterator<Item = Result<ChunkSpan>> + '_ {
        let rows = self.db.scan(Family::Partial, &self.key(CAME, file.as_bytes()));
        rows.map(|row| row.and_then(|(key, value)| decode_came(&key, &value)))
    }

    /// As [`Self::came`], those at and after an offset.
    pub(crate) fn came_from(
        &self,
        file: &FileId,
        offset: u64,
    ) -> impl Iterator<Item = Result<ChunkSpan>> + '_ {
        let prefix = self.key(CAME, file.as_bytes());
        let rows = self.db.scan_from(Family::Partial, &prefix, &self.place_key(CAME, file, offset));
        rows.map(|row| row.and_then(|(key, value)| decode_came(&key, &value)))
    }

    /// Removes, in the batch that removes it, that a chunk came for a place.
    pub(crate) fn take_came(&self, batch: &mut Batch<'_>, file: &FileId, offset: u64) {
        batch.delete(Family::Partial, &self.place_key(CAME, file, offset));
    }

    /// Every chunk that came: its file and its length.
    pub(crate) fn came_of_all(&self) -> impl Iterator<Item = Result<(FileId, u64)>> + '_ {
        self.db.scan(Family::Partial, &self.key(CAME, &[])).map(|row| {
            let (key, value) = row?;
            let file = file_in(&key)?;
            Ok((file, decode_came(&key, &value)?.chunk.len.into()))
        })
    }

    /// Every chunk that came.
    pub(crate) fn chunks_of_all(&self) -> impl Iterator<Item = Result<ChunkId>> + '_ {
        let rows = self.db.scan_few(Family::Partial, &self.key(CAME, &[]));
        rows.map(|row| row.and_then(|(key, value)| Ok(decode_came(&key, &value)?.chunk.id)))
    }

    /// Notes when a file was read, in seconds since 1970.
    pub(crate) fn put_use(&self, file: &FileId, now_unix: u64) -> Result<()> {
        let mut batch = self.db.batch();
        batch.put(Family::Partial, &self.key(USE, file.as_bytes()), &now_unix.to_be_bytes());
        self.db.commit(batch, Durability::Logged)
    }

    /// When a file was read last; 0 when that is not known.
    pub(crate) fn used_unix(&self, file: &FileId) -> Result<u64> {
        let key = self.key(USE, file.as_bytes());
        let row = self.db.get(Family::Partial, &key)?;
        Ok(row.map(|row| number(&key, &row)).transpose()?.unwrap_or(0))
    }

    /// When each file was read last.
    pub(crate) fn uses(&self) -> impl Iterator<Item = Result<(FileId, u64)>> + '_ {
        self.db.scan(Family::Partial, &self.key(USE, &[])).map(|row| {
            let (key, value) = row?;
            Ok((file_in(&key)?, number(&key, &value)?))
        })
    }

    /// Forgets when a file was read.
    pub(crate) fn drop_use(&self, file: &FileId) -> Result<()> {
        let mut batch = self.db.batch();
        batch.delete(Family::Partial, &self.key(USE, file.as_bytes()));
        self.db.commit(batch, Durability::Logged)
    }

    /// Whether the repository's content stays whatever the limit.
    pub(crate) fn is_pinned(&self) -> Result<bool> {
        self.db.contains(Family::Partial, &self.key(PIN, &[]))
    }

    /// Says whether it does.
    pub(crate) fn set_pinned(&self, is_pinned: bool) -> Result<()> {
        let mut batch = self.db.batch();
        match is_pinned {
            true => batch.put(Family::Partial, &self.key(PIN, &[]), &[PIN_VERSION]),
            false => batch.delete(Family::Partial, &self.key(PIN, &[])),
        }
        self.db.commit(batch, Durability::Synced)
    }

    /// Forgets what was told of a file and what came of it, since it is here whole or about to be
    /// told anew. What was signed stays: it is as true of the whole file.
    pub(crate) fn drop_told(&self, file: &FileId) -> Result<()> {
        self.drop_kinds(file, &[PAGE, CAME])
    }

    /// Forgets all that was told of a file, signed or not, and what came of it.
    pub(crate) fn drop_file(&self, file: &FileId) -> Result<()> {
        self.drop_kinds(file, &[PAGE, CAME, SIGNED])
    }

    fn drop_kinds(&self, file: &FileId, kinds: &[u8]) -> Result<()> {
        let mut batch = self.db.batch();
        batch.delete(Family::Partial, &self.key(FILE, file.as_bytes()));
        for kind in kinds {
            batch.delete_prefix(Family::Partial, &self.key(*kind, file.as_bytes()));
        }
        self.db.commit(batch, Durability::Logged)
    }
}

/// For each repository, ascending, whether it was told of the file.
pub(crate) fn were_told(db: &Db, repos: &[RepoId], file: &FileId) -> Result<Vec<bool>> {
    let keys: Vec<_> = repos.iter().map(|repo| key(*repo, FILE, file.as_bytes())).collect();
    let rows = db.multi_get(Family::Partial, &keys, true)?;
    Ok(rows.iter().map(Option::is_some).collect())
}

fn key(repo: RepoId, kind: u8, rest: &[u8]) -> Vec<u8> {
    let mut key = repo.0.to_be_bytes().to_vec();
    key.push(kind);
    key.extend_from_slice(rest);
    key
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
    let mut offset = offset_in(key)?;
    let (entries, rest) = row.as_chunks::<ENTRY_LEN>();
    if entries.is_empty() || !rest.is_empty() {
        return Err(damaged(key, "it is no run of chunks"));
    }
    let mut spans = Vec::with_capacity(entries.len());
    for entry in entries {
        let chunk = decode_chunk(key, entry)?;
        spans.push(ChunkSpan { chunk, offset });
        offset += u64::from(chunk.len);
    }
    Ok(spans)
}

fn decode_came(key: &[u8], row: &[u8]) -> Result<ChunkSpan> {
    let entry = row.try_into().map_err(|_| damaged(key, "it is no chunk"))?;
    Ok(ChunkSpan { chunk: decode_chunk(key, entry)?, offset: offset_in(key)? })
}

/// The file in a key, after the repository and the kind.
fn file_in(key: &[u8]) -> Result<FileId> {
    let file = key.get(5..5 + FileId::LEN).and_then(FileId::from_slice);
    file.ok_or_else(|| damaged(key, "its key is too short"))
}

/// The offset at the end of a key.
fn offset_in(key: &[u8]) -> Result<u64> {
    let offset = key.last_chunk::<8>().ok_or_else(|| damaged(key, "its key is too short"))?;
    let offset = u64::from_be_bytes(*offset);
    match offset > FILE_LEN_MAX {
        true => Err(damaged(key, "no file is that long")),
        false => Ok(offset),
    }
}

fn decode_chunk(key: &[u8], entry: &[u8; ENTRY_LEN]) -> Result<ChunkRef> {
    let (id, len) = entry.split_first_chunk::<32>().ok_or_else(|| damaged(key, "too short"))?;
    let len = u32::from_be_bytes(len.try_into().map_err(|_| damaged(key, "too short"))?);
    match len == 0 || len > CHUNK_LEN_MAX {
        true => Err(damaged(key, "a chunk's length is impossible")),
        false => Ok(ChunkRef { id: ChunkId::from_bytes(*id), len }),
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::source::PageSignature;
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
        let signature = PageSignature::from_bytes([9; 64]);
        let run = SignedRun { offset: 100, count: 2, signature };
        rows.put_page(&file, &page, &[run]).expect("written");
        let mut batch = test.db.batch();
        rows.put_came(&mut batch, &file, &page[1]);
        test.db.commit(batch, Durability::Logged).expect("written");
        rows.set_pinned(true).expect("written");
        rows.put_use(&file, 1_700_000_000).expect("written");
        let repeat = |byte: &str, count| byte.repeat(count);
        let expected = [
            (format!("0000010262{}", repeat("01", 20)), "0000000000000005".to_owned()),
            (
                format!("0000010263{}0000000000000096", repeat("07", 32)),
                format!("{}0000000a", repeat("03", 32)),
            ),
            (format!("0000010266{}", repeat("07", 32)), "000000000000012c".to_owned()),
            ("000001026e".to_owned(), "01".to_owned()),
            (
                format!("0000010270{}0000000000000064", repeat("07", 32)),
                format!("{}00000032{}0000000a", repeat("02", 32), repeat("03", 32)),
            ),
            (
                format!("0000010273{}0000000000000064", repeat("07", 32)),
                format!("0002{}", repeat("09", 64)),
            ),
            (format!("0000010275{}", repeat("07", 32)), "000000006553f100".to_owned()),
        ];
        assert_eq!(test.rows(Family::Partial), expected);
        let told = |rows: &PartialStore| rows.told_files().collect::<Result<Vec<_>>>();
        assert_eq!(told(&rows).expect("read"), [(file, 300)]);
        assert_eq!(rows.used_unix(&file).expect("read"), 1_700_000_000);
        assert!(rows.is_pinned().expect("read"));
        assert_eq!(rows.page_up_to(&file, 99).expect("read"), None);
        assert_eq!(rows.page_up_to(&file, 100).expect("read").as_ref(), Some(&page));
        assert_eq!(rows.page_up_to(&file, 1 << 40).expect("read").as_ref(), Some(&page));
        assert_eq!(rows.page_from(&file, 7).expect("read").as_ref(), Some(&page));
        assert_eq!(rows.page_from(&file, 101).expect("read"), None);
        let came = |rows: &PartialStore| -> Vec<ChunkSpan> {
            rows.came(&file).map(|span| span.expect("read")).collect()
        };
        assert_eq!(came(&rows), [page[1]]);
        assert!(rows.has_come(&file, &page[1]).expect("read"));
        for other in [page[0], span(4, 150, 10), span(3, 150, 11), span(3, 151, 10)] {
            assert!(!rows.has_come(&file, &other).expect("read"), "{other:?}");
        }
        let other = PartialStore::new(test.db.clone(), RepoId(259));
        assert!(told(&other).expect("read").is_empty());
        assert_eq!(other.page_up_to(&file, 100).expect("read"), None);
        assert!(!other.has_come(&file, &page[1]).expect("read") && came(&other).is_empty());
        let repos = [RepoId(257), RepoId(258), RepoId(259)];
        assert_eq!(were_told(&test.db, &repos, &file).expect("read"), [false, true, false]);
        assert_eq!(rows.signed_up_to(&file, 99).expect("read"), None);
        assert_eq!(other.signed_up_to(&file, 100).expect("read"), None);
        rows.drop_told(&file).expect("written");
        assert_eq!(rows.signed_up_to(&file, 1 << 40).expect("read"), Some(run));
        assert_eq!(rows.told_run(&file, &run).expect("read"), None, "the chunks have gone");
        rows.drop_file(&file).expect("written");
        assert_eq!(rows.signed_up_to(&file, 100).expect("read"), None);
        assert!(came(&rows).is_empty());
        assert_eq!(rows.file_len(&file).expect("read"), None);
        assert_eq!(rows.page_from(&file, 0).expect("read"), None);
    }
}
