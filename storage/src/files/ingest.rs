//! Takes a file in: one pass over a stream gives the whole SHA-256, the chunks, their hashes, and
//! their rows.
//!
//! A file of one run (1 MiB) is done in place. A longer one is spread over threads with short
//! queues between them: the caller's reads and cuts, one hashes the whole, the others hash, look
//! up, encode and write chunks. Memory is a dozen runs and what [`ChunkWriter`] holds, whatever the
//! file's length.
//!
//! Invariant: until the last batch nothing names the chunks; an ingest that fails, is interrupted
//! or gets other bytes than were announced leaves the old state.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ScopedJoinHandle};

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::holders::put_segment;
use super::{FileStore, NO_REPO};
use crate::chunk::chunker::{Chunker, Run};
use crate::chunks::{ChunkWriter, Rows, WriteLimits};
use crate::db::{Durability, Family};
use crate::error::{Result, StoreError};
use crate::id::{FileId, RepoId};
use crate::manifest::{ChunkRef, FILE_LEN_MAX, ManifestBuilder};
use crate::progress::Progress;
use crate::read::Pointer;

/// Runs that wait before a thread: enough that none idles, few enough to stay in the cache.
const QUEUE_LEN: usize = 2;

/// Threads that hash and encode chunks: more than this outrun any one reading thread.
const WORKERS_MAX: usize = 8;

/// Segment rows are committed at this size, so that no batch grows with the file.
const BATCH_LEN: usize = 4 << 20;

/// What an ingest did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileReport {
    /// The file's SHA-256.
    pub id: FileId,
    /// Its length in bytes.
    pub len: u64,
    /// Chunks that it consists of.
    pub chunk_count: u64,
    /// Chunks that were not stored before.
    pub new_chunk_count: u64,
    /// Their plain bytes.
    pub new_len: u64,
    /// The bytes that they take in the store.
    pub stored_len: u64,
}

/// How much one ingest may take, and what it keeps in memory.
#[derive(Clone, Copy)]
pub(super) struct IngestLimits {
    pub(super) file_len: u64,
    pub(super) write: WriteLimits,
    /// A push is to name the file: until then it is kept for a time.
    pub(super) is_for_push: bool,
}

/// What the threads of one ingest share.
struct Ingest<'a> {
    files: &'a FileStore,
    writer: ChunkWriter<'a>,
    is_for_push: bool,
    manifest: Mutex<InOrder>,
    failed: AtomicBool,
}

/// The manifest, and the chunks of runs that were done before an earlier one.
struct InOrder {
    manifest: ManifestBuilder,
    next: u64,
    early: BTreeMap<u64, Vec<ChunkRef>>,
}

/// What is read, how much of it may come, and who is told.
struct Source<'a, R> {
    chunker: Chunker<R>,
    len_max: u64,
    expect: Option<Pointer>,
    told: u64,
    progress: &'a dyn Progress,
}

impl FileStore {
    /// Takes a file in and gives `repo` (none: the owner's own files) a right to it.
    ///
    /// The stream is read to its end even if the file is here: it is the proof of having the bytes.
    /// With `expect`, no more is read than one byte over what was announced. Calls `advance` of
    /// `progress` with the bytes read; phases are the caller's to start.
    ///
    /// # Errors
    /// [`StoreError::FileLenMismatch`] and [`StoreError::FileHashMismatch`] when the bytes are not
    /// what `expect` says, [`StoreError::Limit`], [`StoreError::Interrupted`], [`StoreError::Io`]
    /// from the stream.
    pub fn ingest(
        &self,
        repo: Option<RepoId>,
        input: &mut dyn Read,
        expect: Option<Pointer>,
        progress: &dyn Progress,
    ) -> Result<FileReport> {
        let limits = IngestLimits {
            file_len: FILE_LEN_MAX,
            write: WriteLimits::default(),
            is_for_push: false,
        };
        self.ingest_limited(repo, input, expect, progress, limits)
    }

    /// As [`Self::ingest`], of a file that a push is going to name: it stays for
    /// [`UNNAMED_TIME_S`](super::UNNAMED_TIME_S) though nothing names it yet.
    ///
    /// # Errors
    /// As [`Self::ingest`].
    pub fn ingest_for_push(
        &self,
        repo: RepoId,
        input: &mut dyn Read,
        expect: Pointer,
        progress: &dyn Progress,
    ) -> Result<FileReport> {
        let limits = IngestLimits {
            file_len: FILE_LEN_MAX,
            write: WriteLimits::default(),
            is_for_push: true,
        };
        self.ingest_limited(Some(repo), input, Some(expect), progress, limits)
    }

    pub(super) fn ingest_limited(
        &self,
        repo: Option<RepoId>,
        input: &mut dyn Read,
        expect: Option<Pointer>,
        progress: &dyn Progress,
        limits: IngestLimits,
    ) -> Result<FileReport> {
        let len_max = expect.map_or(limits.file_len, |pointer| pointer.len);
        if len_max > limits.file_len {
            return Err(too_long(limits.file_len, len_max));
        }
        let _stay = self.stay();
        let chunker = Chunker::new(input.take(len_max + 1), &self.inner.buffers);
        let mut source = Source { chunker, len_max, expect, told: 0, progress };
        let ingest = Ingest {
            files: self,
            writer: ChunkWriter::new(&self.inner.chunks, limits.write),
            is_for_push: limits.is_for_push,
            manifest: Mutex::new(InOrder::new()),
            failed: AtomicBool::new(false),
        };
        let id = ingest.take_in(&mut source).and_then(|id| source.check(&id).map(|()| id));
        match id {
            Ok(id) => ingest.finish(repo.unwrap_or(NO_REPO), id),
            Err(error) => {
                // What has come is kept for a second try, unless it is the database that fails.
                if !matches!(error, StoreError::Db { .. } | StoreError::DiskFull { .. }) {
                    ingest.writer.abandon();
                }
                Err(error)
            }
        }
    }
}

impl<R: Read> Source<'_, R> {
    /// The next chunks, unless too much has come or the caller wants to stop.
    fn next(&mut self) -> Result<Option<Run>> {
        if self.progress.interrupted() {
            return Err(StoreError::Interrupted);
        }
        let run = self.chunker.next_run().map_err(|e| StoreError::io("reading the content", e))?;
        let read = self.chunker.read_len();
        self.progress.advance(read - self.told);
        self.told = read;
        if read > self.len_max {
            return Err(match self.expect {
                Some(Pointer { file, len }) => {
                    StoreError::FileLenMismatch { id: file, expected: len, actual: read }
                }
                None => too_long(self.len_max, read),
            });
        }
        Ok(run)
    }

    /// Compares what came with what was announced.
    fn check(&self, actual: &FileId) -> Result<()> {
        let Some(Pointer { file, len }) = self.expect else { return Ok(()) };
        if self.told != len {
            return Err(StoreError::FileLenMismatch { id: file, expected: len, actual: self.told });
        }
        if *actual != file {
            return Err(StoreError::FileHashMismatch { expected: file, actual: *actual });
        }
        Ok(())
    }
}

impl Ingest<'_> {
    /// Reads the stream to its end; returns the hash of the whole.
    fn take_in(&self, source: &mut Source<'_, impl Read>) -> Result<FileId> {
        let first = source.next()?;
        if !source.chunker.is_done() {
            return self.take_in_parallel(first, source);
        }
        let Some(run) = first else { return Ok(hash_file(&[])) };
        let chunks = self.writer.add(&run, &mut Rows::default())?;
        let id = match chunks[..] {
            [whole] => FileId::from_bytes(*whole.id.as_bytes()),
            _ => hash_file(&run.bytes),
        };
        self.place(0, chunks)?;
        Ok(id)
    }

    fn take_in_parallel(
        &self,
        first: Option<Run>,
        source: &mut Source<'_, impl Read>,
    ) -> Result<FileId> {
        thread::scope(|scope| {
            let (whole, whole_queue) = bounded::<Bytes>(QUEUE_LEN);
            let (runs, run_queue) = bounded::<(u64, Run)>(QUEUE_LEN);
            let hasher = thread::Builder::new()
                .name("file-hash".into())
                .spawn_scoped(scope, move || hash_stream(&whole_queue))
                .map_err(no_thread)?;
            let worker_count = thread::available_parallelism().map_or(2, |n| n.get());
            let mut workers = Vec::new();
            for _ in 0..worker_count.clamp(1, WORKERS_MAX) {
                let queue = run_queue.clone();
                let worker = thread::Builder::new()
                    .name("file-chunks".into())
                    .spawn_scoped(scope, move || self.work(&queue))
                    .map_err(no_thread)?;
                workers.push(worker);
            }
            drop(run_queue);
            let fed = self.feed(first, source, &whole, &runs);
            drop((whole, runs));
            let id = join(hasher);
            let worked: Vec<Result<()>> = workers.into_iter().map(join).collect();
            // A worker's error is the cause when feeding stopped because of it.
            worked.into_iter().collect::<Result<()>>()?;
            fed.map(|()| id)
        })
    }

    /// Reads runs and hands them to the threads until the end or until one of them fails.
    fn feed(
        &self,
        first: Option<Run>,
        source: &mut Source<'_, impl Read>,
        whole: &Sender<Bytes>,
        runs: &Sender<(u64, Run)>,
    ) -> Result<()> {
        let mut next = first;
        let mut number = 0;
        while let Some(run) = next {
            let sent = whole.send(run.bytes.clone()).is_ok() && runs.send((number, run)).is_ok();
            if !sent || self.failed.load(Ordering::Relaxed) {
                return Ok(());
            }
            number += 1;
            next = source.next()?;
        }
        Ok(())
    }

    /// Hashes, encodes and writes the chunks of runs until there are no more.
    fn work(&self, queue: &Receiver<(u64, Run)>) -> Result<()> {
        let mut rows = Rows::default();
        for (number, run) in queue {
            let done = self.writer.add(&run, &mut rows).and_then(|c| self.place(number, c));
            if done.is_err() {
                self.failed.store(true, Ordering::Relaxed);
                return done;
            }
        }
        Ok(())
    }

    /// Enters the chunks of a run into the manifest, in the order of the runs.
    fn place(&self, number: u64, chunks: Vec<ChunkRef>) -> Result<()> {
        let mut in_order = self.manifest.lock();
        in_order.early.insert(number, chunks);
        loop {
            let number = in_order.next;
            let Some(chunks) = in_order.early.remove(&number) else { return Ok(()) };
            for chunk in &chunks {
                in_order.manifest.push(chunk, self.files.inner.db.tmp())?;
            }
            in_order.next += 1;
        }
    }

    /// Makes the file visible: chunks, then segments, then the head with the right of `repo`.
    fn finish(self, repo: RepoId, id: FileId) -> Result<FileReport> {
        let db = &self.files.inner.db;
        let in_order = self.manifest.into_inner();
        assert!(in_order.early.is_empty(), "every run has been placed");
        let mut batch = db.batch();
        let new = self.writer.finish(&mut batch)?;
        // Before the look-up: from here on gc lets the file be.
        new.lease.rely_on_file(&id);
        let (head, segments) = in_order.manifest.finish()?;
        let report = FileReport {
            id,
            len: head.len,
            chunk_count: head.chunk_count,
            new_chunk_count: new.count,
            new_len: new.len,
            stored_len: new.stored_len,
        };
        if !db.contains(Family::File, id.as_bytes())? {
            for (index, row) in (0u32..).zip(segments) {
                put_segment(&mut batch, &id, index, &row?);
                if batch.len() > BATCH_LEN {
                    db.commit(std::mem::replace(&mut batch, db.batch()), Durability::Synced)?;
                }
            }
            batch.put(Family::File, id.as_bytes(), &head.encode());
        } else if new.count == 0 && !self.is_for_push && self.files.has(repo, &id)? {
            return Ok(report);
        }
        self.files.commit_right(repo, &id, head.len, self.is_for_push, batch)?;
        Ok(report)
    }
}

impl InOrder {
    fn new() -> Self {
        Self { manifest: ManifestBuilder::new(), next: 0, early: BTreeMap::new() }
    }
}

fn hash_file(bytes: &[u8]) -> FileId {
    FileId::from_bytes(Sha256::digest(bytes).into())
}

fn hash_stream(queue: &Receiver<Bytes>) -> FileId {
    let mut hasher = Sha256::new();
    for bytes in queue {
        hasher.update(&bytes);
    }
    FileId::from_bytes(hasher.finalize().into())
}

fn join<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn no_thread(error: std::io::Error) -> StoreError {
    StoreError::io("starting a thread", error)
}

fn too_long(limit: u64, actual: u64) -> StoreError {
    StoreError::Limit { what: "length of a file", limit, actual }
}
