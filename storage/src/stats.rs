//! What a store has, in numbers: content as users count it, content that is distinct, and what that
//! takes on the disk.

use std::collections::HashMap;

use crate::chunks::ChunkMeta;
use crate::db::{Family, Snapshot};
use crate::error::Result;
use crate::gc::content::mark_came;
use crate::gc::ids::ShortSet;
use crate::id::{ChunkId, FileId, ObjectId, RepoId};
use crate::lease::short;
use crate::manifest::{FileHead, chunk_ids};
use crate::objects::row::Row;
use crate::outbox::damaged;
use crate::store::Store;

/// Ids that are sorted at once.
const UNSORTED_MAX: usize = 4 << 20;

/// Content, all lengths in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ContentStats {
    /// Git objects, each once.
    pub object_count: u64,
    /// Their length, inflated.
    pub object_len: u64,
    /// Their length as stored.
    pub object_stored_len: u64,
    /// LFS files, each once.
    pub file_count: u64,
    /// Their length.
    pub file_len: u64,
    /// Chunks, each once.
    pub chunk_count: u64,
    /// Their length, decoded.
    pub chunk_len: u64,
    /// Their length as stored.
    pub chunk_stored_len: u64,
}

impl ContentStats {
    /// Objects and chunks, each once, in bytes.
    pub fn unique_len(&self) -> u64 {
        self.object_len.saturating_add(self.chunk_len)
    }

    /// The same as stored, in bytes.
    pub fn stored_len(&self) -> u64 {
        self.object_stored_len.saturating_add(self.chunk_stored_len)
    }

    fn add_object(&mut self, row: &Row<'_>) {
        self.object_count += 1;
        self.object_len = self.object_len.saturating_add(row.header.len);
        self.object_stored_len = self.object_stored_len.saturating_add(row.body.len());
    }

    fn add_file(&mut self, len: u64) {
        self.file_count += 1;
        self.file_len = self.file_len.saturating_add(len);
    }

    fn add_chunk(&mut self, meta: &ChunkMeta) {
        self.chunk_count += 1;
        self.chunk_len += u64::from(meta.len);
        self.chunk_stored_len += u64::from(meta.stored_len);
    }
}

/// What a whole store has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StoreStats {
    /// All of it.
    pub all: ContentStats,
    /// What all repositories have, each for itself, in bytes: objects inflated, and files.
    pub logical_len: u64,
    /// Of all of it, the objects and chunks that no repository has any more.
    pub garbage: ContentStats,
}

impl Store {
    /// Counts the whole store. Reads every row but those of chunks; in memory are up to twelve
    /// bytes an object, then eight a chunk.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn stats(&self) -> Result<StoreStats> {
        let snapshot = self.db().snapshot();
        let mut stats = StoreStats::default();
        count_objects(&snapshot, &mut stats)?;
        count_files(&snapshot, &mut stats)?;
        count_chunks(&snapshot, &mut stats)?;
        Ok(stats)
    }

    /// Counts what a repository has here, as if there were no other.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn repo_stats(&self, repo: RepoId) -> Result<ContentStats> {
        let snapshot = self.db().snapshot();
        let mut stats = ContentStats::default();
        let mut objects = snapshot.cursor(Family::Object, &[]);
        for id in snapshot.members(repo) {
            let id = id?;
            if let Some(value) = objects.find(id.as_bytes())? {
                stats.add_object(&Row::parse(&id, value)?);
            }
        }
        let mut chunks: Vec<ChunkId> = Vec::new();
        for row in snapshot.scan(Family::RepoFile, &repo.0.to_be_bytes()) {
            let id = file_in(&row?.0)?;
            let Some(head) = self.files().head(&id)? else { continue };
            stats.add_file(head.len);
            for row in snapshot.scan(Family::FileSegment, id.as_bytes()) {
                chunks.extend(chunk_ids(&row?.1));
            }
            if chunks.len() >= UNSORTED_MAX {
                chunks.sort_unstable();
                chunks.dedup();
            }
        }
        chunks.sort_unstable();
        chunks.dedup();
        let mut metas = snapshot.cursor(Family::ChunkMeta, &[]);
        for id in chunks {
            if let Some(value) = metas.find(id.as_bytes())? {
                stats.add_chunk(&ChunkMeta::decode(id.as_bytes(), value)?);
            }
        }
        Ok(stats)
    }
}

fn count_objects(snapshot: &Snapshot<'_>, stats: &mut StoreStats) -> Result<()> {
    let holders = Tally::of_members(snapshot)?;
    let mut rest = &holders.sorted[..];
    let mut cursor = snapshot.cursor(Family::Object, &[]);
    while let Some((key, value)) = cursor.at()? {
        let id = ObjectId::from_slice(key);
        let id = id.ok_or_else(|| damaged(Family::Object, key, "no object's key"))?;
        let row = Row::parse(&id, value)?;
        let at = short(key);
        while rest.first().is_some_and(|(id, _)| *id < at) {
            rest = &rest[1..];
        }
        let count = rest.first().filter(|(id, _)| *id == at).map_or(0, |(_, count)| *count);
        stats.all.add_object(&row);
        if count == 0 {
            stats.garbage.add_object(&row);
        }
        let len = row.header.len.saturating_mul(u64::from(count));
        stats.logical_len = stats.logical_len.saturating_add(len);
        cursor.advance();
    }
    Ok(())
}

fn count_files(snapshot: &Snapshot<'_>, stats: &mut StoreStats) -> Result<()> {
    let mut rights: HashMap<FileId, u64> = HashMap::new();
    for row in snapshot.scan(Family::RepoFile, &[]) {
        *rights.entry(file_in(&row?.0)?).or_default() += 1;
    }
    for row in snapshot.scan(Family::File, &[]) {
        let (key, value) = row?;
        let id = FileId::from_slice(&key);
        let id = id.ok_or_else(|| damaged(Family::File, &key, "no file's key"))?;
        let len = FileHead::decode(&id, &value)?.len;
        stats.all.add_file(len);
        let count = rights.get(&id).copied().unwrap_or(0);
        stats.logical_len = stats.logical_len.saturating_add(len.saturating_mul(count));
    }
    Ok(())
}

fn count_chunks(snapshot: &Snapshot<'_>, stats: &mut StoreStats) -> Result<()> {
    let mut living = ShortSet::default();
    let mut cursor = snapshot.cursor(Family::FileSegment, &[]);
    while let Some((_, row)) = cursor.at()? {
        chunk_ids(row).for_each(|chunk| living.add(short(chunk.as_bytes())));
        cursor.advance();
    }
    mark_came(snapshot, &mut living, &|_| false)?;
    let living = living.finish();
    let mut at_once = living.ascending();
    let mut cursor = snapshot.cursor(Family::ChunkMeta, &[]);
    while let Some((key, value)) = cursor.at()? {
        let meta = ChunkMeta::decode(key, value)?;
        stats.all.add_chunk(&meta);
        if !at_once.has(short(key)) {
            stats.garbage.add_chunk(&meta);
        }
        cursor.advance();
    }
    Ok(())
}

/// The file of a right's key.
fn file_in(key: &[u8]) -> Result<FileId> {
    let id = key.get(4..).and_then(FileId::from_slice);
    id.ok_or_else(|| damaged(Family::RepoFile, key, "no right's key"))
}

/// How often each of many ids was added, told apart by their first eight bytes: for sums, which a
/// twin in 2⁶⁴ hardly moves.
#[derive(Default)]
struct Tally {
    /// Ascending.
    sorted: Vec<(u64, u32)>,
    unsorted: Vec<u64>,
}

impl Tally {
    /// How many repositories have each object.
    fn of_members(snapshot: &Snapshot<'_>) -> Result<Self> {
        let mut tally = Self::default();
        let mut cursor = snapshot.cursor(Family::RepoObject, &[]);
        while let Some((key, _)) = cursor.at()? {
            let id = key.get(4..).filter(|id| id.len() == ObjectId::LEN);
            let id = id.ok_or_else(|| damaged(Family::RepoObject, key, "no member's key"))?;
            tally.unsorted.push(short(id));
            if tally.unsorted.len() == UNSORTED_MAX {
                tally.settle();
            }
            cursor.advance();
        }
        tally.settle();
        Ok(tally)
    }

    fn settle(&mut self) {
        let mut new = std::mem::take(&mut self.unsorted);
        new.sort_unstable();
        let mut old = std::mem::take(&mut self.sorted).into_iter().peekable();
        let mut new = new.into_iter().peekable();
        loop {
            let at = match (old.peek(), new.peek()) {
                (Some((a, _)), Some(b)) => *a.min(b),
                (Some((a, _)), None) => *a,
                (None, Some(b)) => *b,
                (None, None) => return,
            };
            let mut count = old.next_if(|(id, _)| *id == at).map_or(0, |(_, count)| count);
            while new.next_if_eq(&at).is_some() {
                count += 1;
            }
            self.sorted.push((at, count));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn a_tally_counts_across_its_sorted_parts() {
        let mut tally = Tally::default();
        for part in [&[5, 1, 5][..], &[], &[9, 1, 0], &[5]] {
            tally.unsorted.extend(part);
            tally.settle();
        }
        assert_eq!(tally.sorted, [(0, 1), (1, 2), (5, 3), (9, 1)]);
    }
}
