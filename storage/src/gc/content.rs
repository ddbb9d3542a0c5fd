//! Heads of files that nobody has a right to, segments without a head, chunks that no file has.

use super::ids::ShortSet;
use super::{AROUND_MAX, BATCH_COUNT, Point, Run};
use crate::chunks::ChunkMeta;
use crate::db::{Durability, Family, Snapshot, keys};
use crate::error::{Result, StoreError};
use crate::id::{ChunkId, FileId, RepoId};
use crate::lease::{ContentLeases, short};
use crate::manifest::{FileHead, chunk_ids};
use crate::outbox::damaged;

/// Bytes of a chunk in a segment's row.
const CHUNK_REF_LEN: usize = ChunkId::LEN + 4;
/// Heads that go in one hold of the lock: each is looked up in several ways.
const HEAD_COUNT: usize = 64;
/// The kind of rows in `partial` that say that a chunk came.
const CAME: u8 = b'c';

/// Ends the sweep however it ends.
struct Sweeping(ContentLeases);

impl Drop for Sweeping {
    fn drop(&mut self) {
        self.0.lock().end_sweeping();
    }
}

/// Marks the chunks of what is being filled, and of uploads. `is_gone`: the repository does not
/// count.
pub(crate) fn mark_came(
    snapshot: &Snapshot<'_>,
    living: &mut ShortSet,
    is_gone: &dyn Fn(RepoId) -> bool,
) -> Result<()> {
    let mut cursor = snapshot.cursor(Family::Partial, &[]);
    while let Some((key, value)) = cursor.at()? {
        let repo = key.first_chunk().map(|repo| RepoId(u32::from_be_bytes(*repo)));
        if key.get(4) == Some(&CAME) && !repo.is_some_and(is_gone) {
            let id = value.first_chunk::<{ ChunkId::LEN }>();
            let id = id.ok_or_else(|| damaged(Family::Partial, key, "it is no chunk"))?;
            living.add(short(id));
        }
        cursor.advance();
    }
    let mut cursor = snapshot.cursor(Family::Lease, b"v");
    while let Some((key, _)) = cursor.at()? {
        let id = key.last_chunk::<{ ChunkId::LEN }>();
        let id = id.ok_or_else(|| damaged(Family::Lease, key, "no chunk's key"))?;
        living.add(short(id));
        cursor.advance();
    }
    Ok(())
}

impl Run<'_> {
    /// Removes files and chunks that nobody has.
    pub(super) fn content(&mut self) -> Result<()> {
        let leases = self.store.files().leases().clone();
        leases.lock().begin_sweeping();
        let _sweeping = Sweeping(leases);
        self.heads()?;
        self.chunks()
    }

    fn heads(&mut self) -> Result<()> {
        self.start("looking for files");
        let snapshot = {
            // A fork, whose rights are copied under it, is in the snapshot whole or not at all.
            let _lock = self.db.commit_lock();
            self.db.snapshot()
        };
        self.at(Point::FilesBegun)?;
        let dead = self.dead_heads(&snapshot)?;
        drop(snapshot);
        self.at(Point::FilesMarked)?;
        for part in dead.chunks(HEAD_COUNT) {
            let mut lens = Vec::with_capacity(part.len());
            for file in part {
                lens.push((*file, self.store.files().head(file)?.map_or(0, |head| head.len)));
            }
            let gone = match self.options.dry_run {
                true => part.to_vec(),
                false => self.store.files().drop_heads(part)?,
            };
            let went = lens.iter().filter(|(file, _)| gone.binary_search(file).is_ok());
            self.report.file_len += went.map(|(_, len)| len).sum::<u64>();
            self.report.file_count += gone.len() as u64;
            self.gone_rows.add(Family::File, gone.len() as u64);
            if self.options.dry_run {
                self.planned.files.extend(&gone);
            } else {
                self.gone_files.extend(&gone);
                self.at(Point::HeadsGone)?;
            }
            self.step(part.len())?;
        }
        Ok(())
    }

    /// Files without a right, ascending.
    fn dead_heads(&self, snapshot: &Snapshot<'_>) -> Result<Vec<FileId>> {
        let mut held = ShortSet::default();
        for row in snapshot.scan(Family::RepoFile, &[]) {
            let (key, _) = row?;
            let read = || {
                let (repo, file) = key.split_first_chunk()?;
                Some((RepoId(u32::from_be_bytes(*repo)), FileId::from_slice(file)?))
            };
            let right = read().ok_or_else(|| damaged(Family::RepoFile, &key, "no right's key"))?;
            let planned = &self.planned;
            if !planned.rights.contains(&right) && !planned.repos.contains(&right.0) {
                held.add(short(right.1.as_bytes()));
            }
        }
        for row in snapshot.scan(Family::Gone, b"f") {
            let (key, _) = row?;
            let read = || {
                let (at, file) = key.get(5..)?.split_first_chunk()?;
                Some((u64::from_be_bytes(*at), FileId::from_slice(file)?))
            };
            let (at, file) = read().ok_or_else(|| damaged(Family::Gone, &key, "no file's key"))?;
            if self.is_within_grace(at) {
                held.add(short(file.as_bytes()));
            } else if !self.options.dry_run {
                let mut batch = self.db.batch();
                batch.delete(Family::Gone, &key);
                self.db.commit(batch, Durability::Logged)?;
            }
        }
        let held = held.finish();
        let mut at_once = held.ascending();
        let mut dead = Vec::new();
        for row in snapshot.scan(Family::File, &[]) {
            let (key, _) = row?;
            let file = FileId::from_slice(&key);
            let file = file.ok_or_else(|| damaged(Family::File, &key, "no file's key"))?;
            if !at_once.has(short(&key)) {
                dead.push(file);
            }
        }
        Ok(dead)
    }

    fn chunks(&mut self) -> Result<()> {
        self.start("looking for chunks");
        let snapshot = self.db.snapshot();
        self.at(Point::ChunksBegun)?;
        let mut living = ShortSet::default();
        let headless = self.mark_segments(&snapshot, &mut living)?;
        mark_came(&snapshot, &mut living, &|repo| self.planned.repos.contains(&repo))?;
        let living = living.finish();
        self.at(Point::ChunksMarked)?;
        if !self.options.dry_run {
            for (file, index) in headless {
                self.drop_segment(&file, index)?;
            }
        }
        self.sweep_chunks(&snapshot, &living)
    }

    /// Marks the chunks of files; returns the segments that have no head.
    fn mark_segments(
        &self,
        snapshot: &Snapshot<'_>,
        living: &mut ShortSet,
    ) -> Result<Vec<(FileId, u32)>> {
        let mut segments = snapshot.cursor(Family::FileSegment, &[]);
        let mut headless = Vec::new();
        for row in snapshot.scan(Family::File, &[]) {
            let (key, value) = row?;
            let id = FileId::from_slice(&key);
            let id = id.ok_or_else(|| damaged(Family::File, &key, "no file's key"))?;
            self.headless(&mut segments, Some(&id), &mut headless)?;
            let count = FileHead::decode(&id, &value)?.segment_count();
            for index in 0..count {
                let at = segments.at()?;
                let row = at.filter(|(key, _)| **key == keys::file_segment(&id, index)[..]);
                // Invariant I3: without it nobody knows which chunks are the file's.
                let missing = || damaged(Family::FileSegment, &key, "a segment of it is missing");
                let (key, row) = row.ok_or_else(missing)?;
                if row.is_empty() || row.len() % CHUNK_REF_LEN != 0 {
                    return Err(damaged(Family::FileSegment, key, "it is no run of chunks"));
                }
                if !self.planned.files.contains(&id) {
                    chunk_ids(row).for_each(|chunk| living.add(short(chunk.as_bytes())));
                }
                segments.advance();
                self.step(1)?;
            }
            self.headless(&mut segments, Some(&id), &mut headless)?;
            while let Some((key, _)) =
                segments.at()?.filter(|(key, _)| key.starts_with(&id.as_bytes()[..]))
            {
                headless.push(segment_of(key)?);
                segments.advance();
            }
        }
        self.headless(&mut segments, None, &mut headless)?;
        Ok(headless)
    }

    /// Segments before those of a file.
    fn headless(
        &self,
        segments: &mut crate::db::Cursor<'_>,
        below: Option<&FileId>,
        headless: &mut Vec<(FileId, u32)>,
    ) -> Result<()> {
        while let Some((key, _)) = segments.at()? {
            let (file, index) = segment_of(key)?;
            if below.is_some_and(|below| file >= *below) {
                break;
            }
            headless.push((file, index));
            segments.advance();
        }
        Ok(())
    }

    /// Removes a segment that has no head, with what leads back from its chunks.
    fn drop_segment(&mut self, file: &FileId, index: u32) -> Result<()> {
        let key = keys::file_segment(file, index);
        let Some(row) = self.db.get(Family::FileSegment, &key)? else { return Ok(()) };
        let mut back: Vec<_> =
            chunk_ids(&row).map(|chunk| keys::chunk_file(&chunk, file)).collect();
        drop(row);
        back.sort_unstable();
        back.dedup();
        let parts: Vec<_> = back.chunks(BATCH_COUNT).collect();
        for (number, part) in parts.iter().enumerate() {
            let mut leases = self.store.files().leases().lock();
            if leases.swept_around().files.contains(file)
                || self.db.contains(Family::File, file.as_bytes())?
            {
                return Ok(());
            }
            let mut batch = self.db.batch();
            part.iter().for_each(|key| batch.delete(Family::ChunkFile, key));
            if number + 1 == parts.len() {
                batch.delete(Family::FileSegment, &key);
            }
            self.db.commit(batch, Durability::Logged)?;
        }
        self.gone_rows.add(Family::ChunkFile, back.len() as u64);
        self.gone_rows.add(Family::FileSegment, 1);
        self.step(back.len())
    }

    fn sweep_chunks(&mut self, snapshot: &Snapshot<'_>, living: &ShortSet) -> Result<()> {
        self.start("removing chunks");
        let mut at_once = living.ascending();
        let mut cursor = snapshot.cursor(Family::ChunkMeta, &[]);
        let mut dead: Vec<([u8; ChunkId::LEN], u32)> = Vec::with_capacity(BATCH_COUNT);
        let mut count = 0;
        while let Some((key, value)) = cursor.at()? {
            if !at_once.has(short(key)) {
                let meta = ChunkMeta::decode(key, value)?;
                let id = key.try_into();
                let id = id.map_err(|_| damaged(Family::ChunkMeta, key, "no chunk's key"))?;
                if !self.is_within_grace(meta.written_unix) {
                    dead.push((id, meta.stored_len));
                }
            }
            cursor.advance();
            count += 1;
            if count % 16_384 == 0 {
                self.step(16_384)?;
            }
            if dead.len() == BATCH_COUNT && !self.sweep_chunk_batch(&mut dead)? {
                return Ok(());
            }
        }
        self.sweep_chunk_batch(&mut dead).map(|_| ())
    }

    /// Removes chunks; whether to go on.
    fn sweep_chunk_batch(&mut self, dead: &mut Vec<([u8; ChunkId::LEN], u32)>) -> Result<bool> {
        let mut goes_on = true;
        if self.options.dry_run {
            self.count_chunks(dead);
            dead.clear();
            return Ok(true);
        }
        {
            let mut leases = self.store.files().leases().lock();
            let around = leases.swept_around();
            dead.retain(|(id, _)| !around.chunks.contains(&short(id)));
            let mut batch = self.db.batch();
            for (id, _) in dead.iter() {
                batch.delete(Family::Chunk, id);
                batch.delete(Family::ChunkMeta, id);
            }
            self.db.commit(batch, Durability::Logged)?;
            self.store.cache_state().bump();
            goes_on &= around.chunks.len() <= AROUND_MAX;
        }
        self.count_chunks(dead);
        self.gone_rows.add(Family::Chunk, dead.len() as u64);
        self.gone_rows.add(Family::ChunkMeta, dead.len() as u64);
        dead.clear();
        if !goes_on {
            let note = "so much came meanwhile that some chunks were left for the next time";
            self.report.notes.push(note.to_owned());
        }
        self.at(Point::ChunksGone)?;
        Ok(goes_on)
    }

    fn count_chunks(&mut self, dead: &[([u8; ChunkId::LEN], u32)]) {
        self.report.chunk_count += dead.len() as u64;
        self.report.chunk_len += dead.iter().map(|(_, len)| u64::from(*len)).sum::<u64>();
    }
}

fn segment_of(key: &[u8]) -> Result<(FileId, u32)> {
    let read = || {
        let (file, index) = key.split_at_checked(FileId::LEN)?;
        Some((FileId::from_slice(file)?, u32::from_be_bytes(index.try_into().ok()?)))
    };
    let bad: fn(&[u8]) -> StoreError = |key| damaged(Family::FileSegment, key, "no segment's key");
    read().ok_or_else(|| bad(key))
}
