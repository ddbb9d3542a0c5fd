//! Files, whole and chunk by chunk; chunks that no file has; rights to files.
//!
//! Nothing but the hash of the whole proves a file's list of chunks, so each file is read in order
//! and hashed, and its chunks on the way: one that several files have is read with each. A file may
//! be longer than a run: what the hash is in the middle of is then noted beside the place.

use sha2::digest::common::hazmat::{SerializableState, SerializedState};
use sha2::{Digest, Sha256};

use super::Run;
use super::fault::{self, Look};
use super::finding::DamagedThing;
use super::scan::Scan;
use crate::chunks::ChunkMeta;
use crate::db::{Cursor, Family, OwnedRow, keys};
use crate::error::Result;
use crate::gc::ShortSet;
use crate::id::{ChunkId, FileId, RepoId};
use crate::lease::short;
use crate::manifest::{ChunkRef, FileHead, Segment};
use crate::progress::Unit;
use crate::row::RowReader;

/// Chunks that are hashed between two places at which a run can end: some 20 MB.
const GROUP_COUNT: usize = 256;

/// A file in the middle.
struct Hashing {
    whole: Sha256,
    /// Segments that are hashed, and chunks of the next one.
    segment: u32,
    chunk: u32,
    /// Something of it is damaged: the hash means nothing.
    is_bad: bool,
}

impl Hashing {
    fn new() -> Self {
        Self { whole: Sha256::new(), segment: 0, chunk: 0, is_bad: false }
    }

    /// For [`super::place::Place::file`]; `head` is the file's row, which has to be the same then.
    fn encode(&self, head: &[u8]) -> Vec<u8> {
        let mut state = crc32fast::hash(head).to_be_bytes().to_vec();
        state.extend_from_slice(&self.segment.to_be_bytes());
        state.extend_from_slice(&self.chunk.to_be_bytes());
        state.push(u8::from(self.is_bad));
        state.extend_from_slice(&self.whole.serialize());
        state
    }

    fn decode(state: &[u8], head: &[u8]) -> Option<Self> {
        let mut row = RowReader::new(state);
        if row.u32()? != crc32fast::hash(head) {
            return None;
        }
        let (segment, chunk, is_bad) = (row.u32()?, row.u32()?, row.u8()? != 0);
        let whole = SerializedState::<Sha256>::try_from(row.rest()).ok()?;
        Some(Self { whole: Sha256::deserialize(&whole).ok()?, segment, chunk, is_bad })
    }
}

impl Run<'_> {
    /// Hashes all files.
    pub(super) fn files(&mut self) -> Result<()> {
        let len = self.db.family_len(Family::Chunk).ok();
        self.progress.start("hashing files", len, Unit::Bytes);
        let mut scan = Scan::from(Family::File, &self.place.key);
        while let Some(part) = scan.part(self.db)? {
            if let Some(gap) = part.gap {
                self.add(gap.thing(Family::File), gap.reason);
            }
            self.report.row_count += part.rows.len() as u64;
            for (key, value) in &part.rows {
                if self.place.key != **key {
                    self.place.key = key.to_vec();
                    self.place.file.clear();
                }
                match FileId::from_slice(key) {
                    Some(file) => self.file(&file, value)?,
                    None => self.add_row(Family::File, key, "its key does not have 32 bytes"),
                }
            }
            self.place.file.clear();
            self.place.key = scan.next().to_vec();
            self.pace.moved();
            self.place.save_if_due(self.db);
            self.pace.spend(0)?;
        }
        Ok(())
    }

    fn file(&mut self, id: &FileId, row: &[u8]) -> Result<()> {
        let head = match FileHead::decode(id, row) {
            Ok(head) => head,
            Err(error) => return self.add_file(id, fault::reason_of(error)?),
        };
        let state = Hashing::decode(&self.place.file, row);
        let mut hashing = state.unwrap_or_else(Hashing::new);
        while hashing.segment < head.segment_count() {
            match self.segment_of(id, &head, hashing.segment)? {
                Look::Sound(segment) if !self.segment(id, row, &segment, &mut hashing)? => {
                    return Ok(());
                }
                Look::Sound(_) => {}
                Look::Absent => return Ok(()),
                Look::Bad(reason) => return self.add_file(id, reason),
            }
            hashing.segment += 1;
            hashing.chunk = 0;
        }
        if hashing.is_bad {
            return Ok(());
        }
        if FileId::from_bytes(hashing.whole.finalize().into()) != *id {
            return self.add_file(id, "its chunks together are another file".to_owned());
        }
        self.report.file_count += 1;
        Ok(())
    }

    fn add_file(&mut self, id: &FileId, reason: String) -> Result<()> {
        self.add(DamagedThing::File(*id), reason);
        Ok(())
    }

    /// One segment's row. [`Look::Absent`]: the file has gone.
    fn segment_of(&self, id: &FileId, head: &FileHead, index: u32) -> Result<Look<Segment>> {
        let row = match self.db.get(Family::FileSegment, &keys::file_segment(id, index)) {
            Ok(Some(row)) => row,
            Ok(None) if self.has_gone(id)? => return Ok(Look::Absent),
            Ok(None) => return Ok(Look::Bad(format!("segment {index} is missing"))),
            Err(error) => return fault::reason_of(error).map(Look::Bad),
        };
        Ok(match Segment::decode(id, head, index, &row) {
            Ok(segment) => Look::Sound(segment),
            Err(error) => Look::Bad(fault::reason_of(error)?),
        })
    }

    /// Whether a file that was there has gone: to gc, or to the cache's limit.
    fn has_gone(&self, id: &FileId) -> Result<bool> {
        fault::is_absent(self.db, Family::File, id.as_bytes())
    }

    /// Hashes a segment's chunks; `false` when the file has gone.
    fn segment(
        &mut self,
        id: &FileId,
        head: &[u8],
        segment: &Segment,
        hashing: &mut Hashing,
    ) -> Result<bool> {
        let rest = segment.spans().get(hashing.chunk as usize..).unwrap_or_default();
        for spans in rest.chunks(GROUP_COUNT) {
            let chunks: Vec<ChunkRef> = spans.iter().map(|span| span.chunk).collect();
            let metas = self.metas(&chunks)?;
            for (chunk, meta) in chunks.iter().zip(metas) {
                if !self.chunk_of(id, chunk, meta, hashing)? {
                    return Ok(false);
                }
            }
            hashing.chunk += spans.len() as u32;
            self.place.file = hashing.encode(head);
            self.pace.moved();
            self.place.save_if_due(self.db);
        }
        Ok(true)
    }

    /// Hashes a chunk of a file; `false` when the file has gone.
    fn chunk_of(
        &mut self,
        id: &FileId,
        chunk: &ChunkRef,
        meta: Result<Option<ChunkMeta>, String>,
        hashing: &mut Hashing,
    ) -> Result<bool> {
        let (bad, read_len) = match fault::chunk(self.db, chunk)? {
            Look::Sound((plain, stored_len)) => {
                hashing.whole.update(&plain);
                self.report.chunk_count += 1;
                let noted = meta.and_then(|meta| check_meta(meta, chunk, stored_len));
                (noted.err(), stored_len as u64)
            }
            Look::Absent if self.has_gone(id)? => return Ok(false),
            Look::Absent => {
                hashing.is_bad = true;
                (Some("its bytes are missing".to_owned()), 0)
            }
            Look::Bad(reason) => {
                hashing.is_bad = true;
                (Some(reason), u64::from(chunk.len))
            }
        };
        if let Some(reason) = bad {
            self.add_of_file(DamagedThing::Chunk(chunk.id), reason, id);
        }
        self.pace.spend(read_len)?;
        Ok(true)
    }

    /// What is noted of chunks; what is wrong where nothing can be read.
    fn metas(&self, chunks: &[ChunkRef]) -> Result<Vec<Result<Option<ChunkMeta>, String>>> {
        let decode = |chunk: &ChunkRef, row: Option<&[u8]>| {
            let meta = row.map(|row| ChunkMeta::decode(chunk.id.as_bytes(), row)).transpose();
            meta.map_err(|error| error.to_string())
        };
        let keys = chunks.iter().map(|chunk| chunk.id.as_bytes());
        match self.db.multi_get(Family::ChunkMeta, keys, false) {
            Ok(rows) => Ok(chunks
                .iter()
                .zip(rows)
                .map(|(chunk, row)| decode(chunk, row.as_deref()))
                .collect()),
            Err(error) => {
                fault::reason_of(error)?;
                let get =
                    |chunk: &ChunkRef| match self.db.get(Family::ChunkMeta, chunk.id.as_bytes()) {
                        Ok(row) => Ok(decode(chunk, row.as_deref())),
                        Err(error) => fault::reason_of(error).map(Err),
                    };
                chunks.iter().map(get).collect()
            }
        }
    }

    /// Hashes the chunks that no file has: of what is being filled or uploaded, and what is left.
    pub(super) fn chunks(&mut self) -> Result<()> {
        let files = self.file_fronts()?;
        let db = self.db;
        self.each_part(Family::ChunkMeta, "hashing other chunks", |run, rows| {
            let snapshot = db.snapshot();
            let mut back = snapshot.cursor(Family::ChunkFile, &[]);
            for (key, value) in rows {
                run.lone_chunk(key, value, &files, &mut back)?;
            }
            Ok(())
        })
    }

    /// All files, by the front of their ids.
    fn file_fronts(&self) -> Result<ShortSet> {
        let mut files = ShortSet::default();
        let mut scan = Scan::from(Family::File, &[]);
        while let Some(part) = scan.part(self.db)? {
            part.rows.iter().for_each(|(key, _)| files.add(short(key)));
        }
        Ok(files.finish())
    }

    fn lone_chunk(
        &mut self,
        key: &[u8],
        value: &[u8],
        files: &ShortSet,
        back: &mut Cursor<'_>,
    ) -> Result<()> {
        let Some(id) = ChunkId::from_slice(key) else {
            self.add_row(Family::ChunkMeta, key, "its key does not have 32 bytes");
            return Ok(());
        };
        let meta = match ChunkMeta::decode(key, value) {
            Ok(meta) => meta,
            Err(error) => {
                self.add(DamagedThing::Chunk(id), error.to_string());
                return Ok(());
            }
        };
        if is_in_a_file(&id, files, back) {
            return Ok(());
        }
        match fault::chunk(self.db, &ChunkRef { id, len: meta.len })? {
            Look::Sound((_, stored_len)) => {
                self.report.chunk_count += 1;
                self.pace.spend(stored_len as u64)?;
            }
            Look::Absent if fault::is_absent(self.db, Family::ChunkMeta, key)? => {}
            Look::Absent => self.add(DamagedThing::Chunk(id), "its bytes are missing"),
            Look::Bad(reason) => self.add(DamagedThing::Chunk(id), reason),
        }
        Ok(())
    }

    /// Looks for the file of each right, and for the way back from it.
    pub(super) fn rights(&mut self) -> Result<()> {
        self.each_part(Family::RepoFile, "looking for files", |run, rows| {
            rows.iter().try_for_each(|row| run.right(row))
        })
    }

    fn right(&mut self, (key, value): &OwnedRow) -> Result<()> {
        let Some((repo, file)) = right_of(key).filter(|_| matches!(value.len(), 0 | 8 | 9)) else {
            self.add_row(Family::RepoFile, key, "not a right to a file");
            return Ok(());
        };
        let is_there = |family, key: &[u8]| match self.db.contains(family, key) {
            Ok(true) => Ok(None),
            Ok(false) => Ok(Some("it is not here, and a repository has a right to it".to_owned())),
            Err(error) => fault::reason_of(error).map(Some),
        };
        let head = is_there(Family::File, file.as_bytes())?;
        let back = is_there(Family::FileRepo, &keys::file_repo(&file, repo))?;
        if head.is_none() && back.is_none() || fault::is_absent(self.db, Family::RepoFile, key)? {
            return Ok(());
        }
        if let Some(reason) = head {
            self.add(DamagedThing::File(file), reason);
        }
        if back.is_some() {
            let reason = "nothing leads back from the file to the repository";
            self.add(DamagedThing::Right(repo, file), reason);
        }
        Ok(())
    }
}

/// The repository and the file in a key of `repo_file`.
fn right_of(key: &[u8]) -> Option<(RepoId, FileId)> {
    let (repo, file) = key.split_first_chunk::<4>()?;
    Some((RepoId(u32::from_be_bytes(*repo)), FileId::from_slice(file)?))
}

/// Compares what is noted of a chunk with what it is.
fn check_meta(meta: Option<ChunkMeta>, chunk: &ChunkRef, stored_len: usize) -> Result<(), String> {
    match meta {
        None => Err("it is not noted in 'chunk_meta'".to_owned()),
        Some(meta) if meta.len != chunk.len => Err("it is noted with another length".to_owned()),
        Some(meta) if meta.stored_len as usize != stored_len => {
            Err("its row is noted with another length".to_owned())
        }
        Some(_) => Ok(()),
    }
}

/// Whether a file that is here leads to the chunk. What cannot be read leads nowhere.
fn is_in_a_file(id: &ChunkId, files: &ShortSet, back: &mut Cursor<'_>) -> bool {
    let front = keys::chunk_files(id);
    back.seek(&front);
    while let Ok(Some((key, _))) = back.at() {
        let Some(file) = key.strip_prefix(&front[..]) else { return false };
        if files.has(short(file)) {
            return true;
        }
        back.advance();
    }
    false
}
