//! A file that comes chunk by chunk, in many calls and perhaps over several runs of the program.
//!
//! What has come is kept by rows in the family `lease`, durable when the call returns. The file is
//! put together by an ordinary ingest that reads the chunks in the file's order: the whole is
//! hashed before its head is written, and the manifest is what the store itself cuts.
//!
//! Invariant: a chunk counts as there when a base file has it, to which the repository has a right,
//! or when it has come for this file into this repository. What else is stored makes no
//! difference to any answer: it would tell what others have.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};

use bytes::Bytes;

use super::ingest::FileReport;
use super::{FileStore, NO_REPO};
use crate::chunk::CHUNK_LEN_MAX;
use crate::chunk::chunker::Run;
use crate::chunks::{ChunkWriter, Rows, WriteLimits};
use crate::db::{Durability, Family, keys};
use crate::error::{Result, StoreError};
use crate::id::{ChunkId, FileId, RepoId};
use crate::manifest::{ChunkRef, FILE_LEN_MAX};
use crate::outbox::damaged;
use crate::progress::Progress;
use crate::read::Pointer;
use crate::repos::now_unix;
use crate::row::RowReader;

/// Chunks that are looked up at once: 2.3 MiB of ids.
const WINDOW: usize = 1 << 16;

/// Uploads by chunks that are under way or given up, in one repository.
const UPLOADS_MAX: usize = 10_000;

/// Calls that encode and write chunks at once: each holds its chunks four times over.
pub(super) const ADDS_MAX: usize = 2;

/// Files that are put together at once: each keeps every processor busy.
pub(super) const FINISHES_MAX: usize = 2;

/// Bytes of an entry in the spooled list.
const ENTRY_LEN: usize = ChunkId::LEN + 4;

const RECORD_VERSION: u8 = 1;

/// The upload of one file into one repository. It is there from the first chunk on; opening it
/// writes nothing.
pub struct PartialUpload<'a> {
    files: &'a FileStore,
    repo: RepoId,
    file: Pointer,
}

/// The chunks of a file in order, all of them there.
pub struct PlannedFile {
    spool: File,
}

/// What is known of an upload.
#[derive(Clone, Copy, Default)]
struct Record {
    /// Length of the file as announced last.
    len: u64,
    /// Bytes of the chunks that have come.
    received: u64,
    /// When the last ones came, in seconds since 1970.
    used_unix: u64,
}

impl FileStore {
    /// Opens the upload of `file` into `repo` by chunks.
    pub fn partial_upload(&self, repo: RepoId, file: Pointer) -> PartialUpload<'_> {
        PartialUpload { files: self, repo, file }
    }

    /// Forgets uploads to which nothing has come for `age_max_s` seconds; says how many. Their
    /// chunks go with the next collection.
    ///
    /// # Errors
    /// When the database fails.
    pub fn expire_uploads(&self, age_max_s: u64) -> Result<u64> {
        let db = &self.inner.db;
        let oldest = now_unix().saturating_sub(age_max_s);
        let mut count = 0;
        for row in db.scan(Family::Lease, b"u") {
            let (key, value) = row?;
            if Record::decode(&key, &value)?.used_unix >= oldest {
                continue;
            }
            let (repo, file) = split_key(&key)?;
            let _alone = self.inner.rights.stripe(&file).lock();
            self.forget_upload(repo, &file)?;
            count += 1;
        }
        Ok(count)
    }

    fn forget_upload(&self, repo: RepoId, file: &FileId) -> Result<()> {
        let mut batch = self.inner.db.batch();
        batch.delete(Family::Lease, &keys::lease_upload(repo, file));
        batch.delete_prefix(Family::Lease, &keys::lease_upload_chunks(repo, file));
        self.inner.db.commit(batch, Durability::Synced)
    }
}

impl PartialUpload<'_> {
    /// Which of the chunks have to come: neither in a base file that the repository has a right to
    /// nor come before for this file. Bases that the repository does not have count for nothing.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn missing(&self, bases: &[FileId], chunks: &[ChunkRef]) -> Result<Vec<bool>> {
        let mut missing = vec![true; chunks.len()];
        for (flags, chunks) in missing.chunks_mut(WINDOW).zip(chunks.chunks(WINDOW)) {
            self.look_up(bases, chunks, flags)?;
        }
        Ok(missing)
    }

    /// Clears the flag of each chunk that is there.
    fn look_up(&self, bases: &[FileId], chunks: &[ChunkRef], flags: &mut [bool]) -> Result<()> {
        let db = &self.files.inner.db;
        let keys: Vec<_> = chunks
            .iter()
            .map(|chunk| keys::lease_upload_chunk(self.repo, &self.file.file, &chunk.id))
            .collect();
        let rows = db.multi_get(Family::Lease, keys.iter(), false)?;
        for ((flag, chunk), row) in flags.iter_mut().zip(chunks).zip(rows) {
            *flag = row.is_none_or(|row| *row != chunk.len.to_be_bytes()[..]);
        }
        let mut wanted: HashMap<ChunkId, u32> = chunks
            .iter()
            .zip(&*flags)
            .filter(|(_, flag)| **flag)
            .map(|(chunk, _)| (chunk.id, 0))
            .collect();
        let mut left = wanted.len();
        // The file itself is a base once it is whole: its end may be asked for twice.
        for base in bases.iter().chain([&self.file.file]) {
            if left == 0 {
                break;
            }
            // Until the file is put together the upload counts on it.
            if !self.files.has_for_push(self.repo, base)? {
                continue;
            }
            for span in self.files.spans_of(base)? {
                let chunk = span?.chunk;
                if let Some(len) = wanted.get_mut(&chunk.id)
                    && *len == 0
                {
                    *len = chunk.len;
                    left -= 1;
                }
            }
        }
        for (flag, chunk) in flags.iter_mut().zip(chunks).filter(|(flag, _)| **flag) {
            *flag = wanted.get(&chunk.id) != Some(&chunk.len);
        }
        Ok(())
    }

    /// Keeps chunks: `ends` says where each ends in `bytes`. Returns when they are durable. No
    /// more is kept than twice the file's bytes: when more comes, what came before is forgotten.
    ///
    /// # Errors
    /// [`StoreError::Limit`] for a chunk of an impossible length, and for more bytes at once than
    /// the file has.
    pub fn add(&self, bytes: Bytes, ends: Vec<usize>) -> Result<Vec<ChunkRef>> {
        check_ends(bytes.len(), &ends)?;
        let inner = &self.files.inner;
        let db = &inner.db;
        let _place = inner.adding.enter(&|| true);
        let _stay = self.files.stay();
        // One batch whatever it holds: the caller bounds it.
        let limits = WriteLimits { held_len: usize::MAX, ..WriteLimits::default() };
        let writer = ChunkWriter::new(&inner.chunks, limits);
        let chunks = writer.add(&Run { bytes, ends }, &mut Rows::default())?;
        let mut batch = db.batch();
        // Its lease holds until the rows in the family `lease` do.
        let _new = writer.finish(&mut batch)?;

        let _alone = inner.rights.stripe(&self.file.file).lock();
        let mut record = self.record()?;
        let mut fresh = self.fresh(&chunks)?;
        let len_of =
            |fresh: &HashMap<ChunkId, u32>| fresh.values().map(|len| u64::from(*len)).sum();
        if record.received.saturating_add(len_of(&fresh)) > self.file.len.saturating_mul(2) {
            // A good part of what came before was not of this file: it begins anew.
            batch.delete(Family::Lease, &keys::lease_upload(self.repo, &self.file.file));
            let rows = keys::lease_upload_chunks(self.repo, &self.file.file);
            batch.delete_prefix(Family::Lease, &rows);
            record = Record::default();
            fresh = chunks.iter().map(|chunk| (chunk.id, chunk.len)).collect();
        }
        let fresh_len = len_of(&fresh);
        if fresh_len > self.file.len {
            let (what, limit) = ("bytes sent of the file", self.file.len);
            return Err(StoreError::Limit { what, limit, actual: fresh_len });
        }
        record.received += fresh_len;
        for (chunk, len) in &fresh {
            let key = keys::lease_upload_chunk(self.repo, &self.file.file, chunk);
            batch.put(Family::Lease, &key, &len.to_be_bytes());
        }
        record.used_unix = now_unix();
        record.len = self.file.len;
        batch.put(Family::Lease, &keys::lease_upload(self.repo, &self.file.file), &record.encode());
        db.commit_into_unlocked(self.repo, batch)?;
        Ok(chunks)
    }

    /// The chunks that have not come before, each once.
    fn fresh(&self, chunks: &[ChunkRef]) -> Result<HashMap<ChunkId, u32>> {
        let keys: Vec<_> = chunks
            .iter()
            .map(|chunk| keys::lease_upload_chunk(self.repo, &self.file.file, &chunk.id))
            .collect();
        let rows = self.files.inner.db.multi_get(Family::Lease, keys.iter(), false)?;
        let fresh = chunks.iter().zip(rows).filter(|(_, row)| row.is_none());
        Ok(fresh.map(|(chunk, _)| (chunk.id, chunk.len)).collect())
    }

    /// The upload's record; a new one when there is none yet.
    fn record(&self) -> Result<Record> {
        let db = &self.files.inner.db;
        let key = keys::lease_upload(self.repo, &self.file.file);
        if let Some(row) = db.get(Family::Lease, &key)? {
            return Record::decode(&key, &row);
        }
        let count =
            db.scan(Family::Lease, &keys::lease_uploads(self.repo)).take(UPLOADS_MAX).count();
        if count == UPLOADS_MAX {
            let (limit, actual) = (UPLOADS_MAX as u64, UPLOADS_MAX as u64 + 1);
            return Err(StoreError::Limit { what: "uploads under way", limit, actual });
        }
        Ok(Record::default())
    }

    /// Takes the list of all chunks of the file in order, and looks whether they are there. The
    /// list waits in a nameless file.
    ///
    /// # Errors
    /// [`StoreError::MissingChunk`] with the first that is not there;
    /// [`StoreError::FileLenMismatch`] when they do not add up to the file's length.
    pub fn plan(
        &self,
        bases: &[FileId],
        chunks: &mut dyn Iterator<Item = ChunkRef>,
    ) -> Result<PlannedFile> {
        let io = |e| StoreError::io("writing a temporary file of the store", e);
        let mut spool =
            BufWriter::new(tempfile::tempfile_in(self.files.inner.db.tmp()).map_err(io)?);
        let mut len = 0u64;
        loop {
            let window: Vec<ChunkRef> = (&mut *chunks).take(WINDOW).collect();
            if window.is_empty() {
                break;
            }
            len += window.iter().map(|chunk| u64::from(chunk.len)).sum::<u64>();
            self.check_len(len, len > self.file.len)?;
            let missing = self.missing(bases, &window)?;
            if let Some((chunk, _)) = window.iter().zip(missing).find(|(_, missing)| *missing) {
                return Err(StoreError::MissingChunk { id: chunk.id, file: self.file.file });
            }
            for chunk in &window {
                spool.write_all(chunk.id.as_bytes()).map_err(io)?;
                spool.write_all(&chunk.len.to_be_bytes()).map_err(io)?;
            }
        }
        self.check_len(len, len != self.file.len || len > FILE_LEN_MAX)?;
        Ok(PlannedFile { spool: spool.into_inner().map_err(|e| io(e.into_error()))? })
    }

    fn check_len(&self, actual: u64, is_wrong: bool) -> Result<()> {
        let Pointer { file: id, len: expected } = self.file;
        if is_wrong { Err(StoreError::FileLenMismatch { id, expected, actual }) } else { Ok(()) }
    }

    /// Puts the file together, gives the repository its right to it and forgets the upload.
    /// `progress` is advanced by the bytes that have been hashed; by 0, every second, while other
    /// files are put together first.
    ///
    /// # Errors
    /// [`StoreError::FileHashMismatch`] when the chunks are not the file; as [`FileStore::ingest`].
    pub fn finish(&self, plan: PlannedFile, progress: &dyn Progress) -> Result<FileReport> {
        let io = |e| StoreError::io("reading a temporary file of the store", e);
        let goes_on = || {
            progress.advance(0);
            !progress.interrupted()
        };
        let place = self.files.inner.finishing.enter(&goes_on);
        let _place = place.ok_or(StoreError::Interrupted)?;
        let mut spool = plan.spool;
        spool.seek(SeekFrom::Start(0)).map_err(io)?;
        let mut content = Content {
            files: self.files,
            file: self.file.file,
            entries: BufReader::new(spool),
            at_hand: Bytes::new(),
            failure: None,
        };
        assert!(self.repo != NO_REPO, "an upload belongs to a repository");
        let taken = self.files.ingest_for_push(self.repo, &mut content, self.file, progress);
        if let Some(error) = content.failure {
            return Err(error);
        }
        let report = taken?;
        let _alone = self.files.inner.rights.stripe(&self.file.file).lock();
        self.files.forget_upload(self.repo, &self.file.file)?;
        Ok(report)
    }
}

/// The planned chunks' bytes, one after the other.
struct Content<'a> {
    files: &'a FileStore,
    file: FileId,
    entries: BufReader<File>,
    at_hand: Bytes,
    failure: Option<StoreError>,
}

impl Content<'_> {
    /// The next chunk's bytes; empty at the end.
    fn next_chunk(&mut self) -> Result<Bytes> {
        let io = |e| StoreError::io("reading a temporary file of the store", e);
        let mut entry = [0; ENTRY_LEN];
        if self.entries.fill_buf().map_err(io)?.is_empty() {
            return Ok(Bytes::new());
        }
        self.entries.read_exact(&mut entry).map_err(io)?;
        let (id, len) = entry.split_at(ChunkId::LEN);
        let id = ChunkId::from_slice(id).expect("split at its length");
        let len = u32::from_be_bytes(len.try_into().expect("four bytes are left"));
        self.files.chunk(&self.file, &ChunkRef { id, len })
    }
}

impl Read for Content<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.at_hand.is_empty() {
            self.at_hand = self.next_chunk().map_err(|error| {
                let told = io::Error::other(error.to_string());
                self.failure = Some(error);
                told
            })?;
        }
        let count = out.len().min(self.at_hand.len());
        out[..count].copy_from_slice(&self.at_hand.split_to(count));
        Ok(count)
    }
}

impl Record {
    fn encode(&self) -> Vec<u8> {
        let mut value = vec![RECORD_VERSION];
        for number in [self.len, self.received, self.used_unix] {
            value.extend_from_slice(&number.to_be_bytes());
        }
        value
    }

    fn decode(key: &[u8], value: &[u8]) -> Result<Self> {
        let read = || {
            let mut row = RowReader::new(value);
            if row.u8()? != RECORD_VERSION {
                return None;
            }
            let record = Self { len: row.u64()?, received: row.u64()?, used_unix: row.u64()? };
            row.rest().is_empty().then_some(record)
        };
        read().ok_or_else(|| damaged(Family::Lease, key, "not an upload"))
    }
}

/// Repository and file of an upload's key.
fn split_key(key: &[u8]) -> Result<(RepoId, FileId)> {
    let read = || {
        let repo = key.get(1..5)?.try_into().ok().map(u32::from_be_bytes)?;
        Some((RepoId(repo), FileId::from_slice(key.get(5..)?)?))
    };
    read().ok_or_else(|| damaged(Family::Lease, key, "not an upload's key"))
}

/// Refuses chunks of impossible lengths.
fn check_ends(len: usize, ends: &[usize]) -> Result<()> {
    let mut start = 0;
    for &end in ends {
        let chunk_len = end.saturating_sub(start) as u64;
        let limit = u64::from(CHUNK_LEN_MAX);
        if chunk_len == 0 || chunk_len > limit {
            return Err(StoreError::Limit { what: "bytes of a chunk", limit, actual: chunk_len });
        }
        start = end;
    }
    assert!(start == len, "the last chunk ends where the bytes do");
    Ok(())
}
