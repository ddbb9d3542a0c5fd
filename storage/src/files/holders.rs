//! The way back: which files have a chunk, which repositories a file.
//!
//! Rows say where to look and prove nothing: ids are cut in half in them, and files and rights may
//! have gone since. Whoever follows one checks each link.

use super::FileStore;
use crate::db::{Batch, Family, keys};
use crate::error::{Result, StoreError};
use crate::id::{ChunkId, FileId, RepoId};
use crate::manifest::{self, ChunkRef};

/// Files that a chunk is looked for in, at most. A chunk that more files share may go unfound.
pub(crate) const FILES_TRIED_MAX: usize = 256;

/// Rights that are looked at for one chunk, at most, of all its files together.
pub(crate) const RIGHTS_TRIED_MAX: usize = 4_096;

/// Adds a segment's row, and for each chunk of it the row that leads back to the file.
pub(super) fn put_segment(batch: &mut Batch<'_>, file: &FileId, index: u32, row: &[u8]) {
    batch.put(Family::FileSegment, &keys::file_segment(file, index), row);
    let chunks = manifest::chunk_ids(row);
    let mut keys: Vec<_> = chunks.map(|chunk| keys::chunk_file(&chunk, file)).collect();
    keys.sort_unstable();
    keys.dedup();
    for key in keys {
        batch.put(Family::ChunkFile, &key, &index.to_be_bytes());
    }
}

impl FileStore {
    /// A file that has the chunk and to which a repository has a right for which `is_open` holds,
    /// with the chunk as the file's manifest names it. What is looked at is bounded: `None` does
    /// not prove that there is no such file.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) fn find_open_file(
        &self,
        chunk: &ChunkId,
        is_open: &dyn Fn(RepoId) -> Result<bool>,
    ) -> Result<Option<(FileId, ChunkRef)>> {
        let mut rights_left = RIGHTS_TRIED_MAX;
        let rows = self.inner.db.scan_few(Family::ChunkFile, &keys::chunk_files(chunk));
        for row in rows.take(FILES_TRIED_MAX) {
            let (key, value) = row?;
            let (half, segment) = split(&key, &value)?;
            for file in self.files_named(half) {
                let file = file?;
                if !self.has_open_right(&file, is_open, &mut rights_left)? {
                    continue;
                }
                if let Some(found) = self.chunk_in_segment(&file, segment, chunk)? {
                    return Ok(Some((file, found)));
                }
            }
        }
        Ok(None)
    }

    /// The files whose id begins so: one, as a rule.
    fn files_named(&self, half: &[u8]) -> impl Iterator<Item = Result<FileId>> + '_ {
        self.inner.db.scan_few(Family::File, half).map(|row| {
            let (key, _) = row?;
            FileId::from_slice(&key).ok_or_else(|| damaged(Family::File, &key))
        })
    }

    fn has_open_right(
        &self,
        file: &FileId,
        is_open: &dyn Fn(RepoId) -> Result<bool>,
        rights_left: &mut usize,
    ) -> Result<bool> {
        for row in self.inner.db.scan_few(Family::FileRepo, file.as_bytes()) {
            let Some(left) = rights_left.checked_sub(1) else { return Ok(false) };
            *rights_left = left;
            let (key, _) = row?;
            let repo = key.get(FileId::LEN..).and_then(|repo| repo.try_into().ok());
            let repo = repo.ok_or_else(|| damaged(Family::FileRepo, &key))?;
            let repo = RepoId(u32::from_be_bytes(repo));
            if is_open(repo)? && self.has(repo, file)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn chunk_in_segment(
        &self,
        file: &FileId,
        index: u32,
        chunk: &ChunkId,
    ) -> Result<Option<ChunkRef>> {
        let Some(head) = self.head(file)?.filter(|head| index < head.segment_count()) else {
            return Ok(None);
        };
        Ok(self.segment(file, &head, index)?.find(chunk))
    }
}

/// The first half of the file's id, and the segment.
fn split<'a>(key: &'a [u8], value: &[u8]) -> Result<(&'a [u8], u32)> {
    let half = key.get(keys::HALF_LEN..).filter(|half| half.len() == keys::HALF_LEN);
    let segment = value.try_into().ok().map(u32::from_be_bytes);
    half.zip(segment).ok_or_else(|| damaged(Family::ChunkFile, key))
}

fn damaged(family: Family, key: &[u8]) -> StoreError {
    crate::outbox::damaged(family, key, "not a row of this family")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestDb;

    #[test]
    fn a_segment_leads_back_from_each_chunk_once_and_in_order() {
        let test = TestDb::new();
        let ids = [9, 3, 9, 5].map(|byte| ChunkId::from_bytes([byte; 32]));
        let row: Vec<u8> =
            ids.iter().flat_map(|id| [&id.as_bytes()[..], &[0, 0, 64, 0]].concat()).collect();
        let mut batch = test.db.batch();
        put_segment(&mut batch, &FileId::from_bytes([0xf1; 32]), 258, &row);
        test.db.commit(batch, crate::db::Durability::Synced).expect("written");
        let line = |byte: &str| (byte.repeat(16) + &"f1".repeat(16), "00000102".to_owned());
        assert_eq!(test.rows(Family::ChunkFile), ["03", "05", "09"].map(line));
        assert_eq!(test.rows(Family::FileSegment).len(), 1);
    }
}
