//! Reads a repository that is filled as it is read: what is here first, then the sources, verified,
//! kept.
//!
//! - **Objects** come as packs and go through the same ingest as a push: hashed with collision
//!   detection, limited, committed whole or not at all. The repository becomes their owner. A
//!   directory that is missing brings those around it along, the more of them the longer a walk
//!   goes on.
//! - **Lengths of blobs** that are not here are what a source says that has them from the publisher
//!   itself; one that has not brings the blobs. They are kept apart, and a blob
//!   that comes with another length can not be read in this repository until it is opened anew:
//!   the length has been shown, and bytes that do not fit it would be wrong bytes.
//! - **Chunks** are verified one by one against the ids that the manifest names, and kept as any
//!   other chunk: in the stored form in which they came, if they came in one. The **manifest**
//!   itself has no hash, so that a source tells it as the publisher does, and peers only with its
//!   signature: the publisher alone could show wrong bytes of a file, and not of a chunk. It is
//!   kept as told (see [`crate::partial`]), gives no right to anything, and is served on only with
//!   the signature. The chunks that came are, before the file is whole: to who
//!   names file, offset, id and length by a manifest of its own, which this one's lies cannot
//!   reach. When the last chunk is here the whole file is hashed: only when that is the file's id
//!   does it become a file of this repository like any other; else all that was told of it is
//!   dropped, and the source counted as a liar.
//! - One fetch however many readers wait; they share its failure too. A reader waits no longer than
//!   [`ReadThroughOptions::wait`].
//! - Everything that has come is kept: a process that is killed goes on where it was.
//!
//! Invariant: what another repository of this store has is used to save a transfer only for
//! chunks that a manifest of this one names, and never makes this repository its owner before the
//! whole file is proven.

mod chunks;
mod flights;
mod lens;
mod manifest;
mod meter;
mod objects;
mod sources;
#[cfg(test)]
mod tests;
mod uses;
mod walk;
mod whole;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::error::{Result, StoreError};
use crate::id::{FileId, ObjectId, RepoId};
use crate::manifest::ChunkRef;
use crate::object::{Object, ObjectKind};
use crate::partial::PartialStore;
use crate::read::{ChunkSpan, Content, ObjectStat, Pointer, ReadStore, Urgency};
use crate::repos::Repo;
use crate::source::{ChunkSource, ObjectSource, ObjectWant};
use crate::store::Store;
use crate::view::View;
use chunks::Fetchers;
use flights::{Failure, Flight, Flights};
use manifest::Files;
use sources::{Counters, Panel, Tracked};
pub use sources::{FetchCounts, Note, Sources};
use uses::Uses;
use walk::Walk;

/// How a repository is filled.
#[derive(Clone)]
pub struct ReadThroughOptions {
    /// Longest that a reader waits for what it asked for.
    pub wait: Duration,
    /// How long a source that could not be reached is left alone.
    pub rest: Duration,
    /// Transfers of chunks at a time.
    pub transfer_count: usize,
    /// Bytes of chunks that may be on their way before anybody asked for them.
    pub ahead_len_max: u64,
    /// Is told of sources that fail or lie.
    pub note: Arc<Note>,
}

impl Default for ReadThroughOptions {
    fn default() -> Self {
        Self {
            wait: Duration::from_secs(30),
            rest: Duration::from_secs(3),
            transfer_count: 4,
            ahead_len_max: 32 << 20,
            note: Arc::new(|_| ()),
        }
    }
}

/// A repository over its sources.
pub struct ReadThrough {
    shared: Arc<Shared>,
    fetchers: Fetchers,
}

/// What readers and the threads that fetch share.
struct Shared {
    store: Store,
    repo: RepoId,
    /// Of a repository that is filled as it is read: its content may go again.
    uses: Option<Uses>,
    view: View,
    partial: PartialStore,
    options: ReadThroughOptions,
    counters: Arc<Counters>,
    object_sources: Panel<dyn ObjectSource>,
    chunk_sources: Panel<dyn ChunkSource>,
    object_flights: Flights<ObjectId, ()>,
    len_flights: Flights<ObjectId, bool>,
    chunk_flights: Flights<crate::id::ChunkId, Bytes>,
    page_flights: Flights<(FileId, u64), ()>,
    whole_flights: Flights<FileId, ()>,
    walk: Mutex<Walk>,
    files: Mutex<Files>,
    /// Blobs that came with another length than was told of them.
    mistold: Mutex<HashSet<ObjectId>>,
    has_failed_to_keep: AtomicBool,
    closing: AtomicBool,
}

impl ReadThrough {
    /// Opens the readers' door to `repo`, filled from `sources`. They are asked for nothing yet.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn new(
        store: &Store,
        repo: &Repo,
        sources: &Sources,
        options: ReadThroughOptions,
    ) -> Result<Self> {
        let counters = Arc::new(Counters::default());
        let (rest, note) = (options.rest, options.note.clone());
        let objects = sources.objects.iter().map(|s| Tracked::new(s, s.name())).collect();
        let chunks = sources.chunks.iter().map(|s| Tracked::new(s, s.name())).collect();
        let shared = Arc::new(Shared {
            store: store.clone(),
            repo: repo.id,
            uses: repo.partial.then(Uses::default),
            view: store.view(repo.id),
            partial: store.partial(repo.id),
            object_sources: Panel::new(objects, counters.clone(), rest, note.clone()),
            chunk_sources: Panel::new(chunks, counters.clone(), rest, note),
            counters,
            object_flights: Flights::new(),
            len_flights: Flights::new(),
            chunk_flights: Flights::new(),
            page_flights: Flights::new(),
            whole_flights: Flights::new(),
            walk: Mutex::default(),
            files: Mutex::default(),
            mistold: Mutex::default(),
            has_failed_to_keep: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            options,
        });
        let fetchers = Fetchers::start(&shared)?;
        Ok(Self { shared, fetchers })
    }

    /// Brings objects that are not here, with what the hints name. Those that are here are not
    /// asked for.
    ///
    /// # Errors
    /// [`StoreError::MissingObject`] for one that no source has, [`StoreError::NotFetched`].
    pub fn fetch(&self, want: &ObjectWant<'_>) -> Result<()> {
        self.shared.bring(want)
    }

    /// Brings those of `want` that are not here, as far as sources have them; those that did not
    /// come, each with the reason. A source may have sent a part: asking again goes on.
    ///
    /// # Errors
    /// When the store fails.
    pub fn fetch_some(&self, want: &ObjectWant<'_>) -> Result<Vec<(ObjectId, StoreError)>> {
        let mut missing = Vec::new();
        for ids in want.ids.chunks(crate::source::OBJECTS_MAX) {
            missing.extend(self.shared.obtain(&ObjectWant { ids, ..*want })?);
        }
        Ok(missing.into_iter().map(|(id, why)| (id, objects::failure_of(id, why))).collect())
    }

    /// Brings what is not here of the chunks that begin in `len` bytes of a file from `offset`, on
    /// this thread; how many bytes came. Who reads meanwhile goes first.
    ///
    /// # Errors
    /// [`StoreError::MissingFile`] and [`StoreError::MissingChunk`] for what no source has,
    /// [`StoreError::NotFetched`]. What came stays.
    pub fn bring(&self, file: &FileId, offset: u64, len: u64) -> Result<u64> {
        let mut spans = self.chunk_spans(file, offset, len)?;
        // The first one belongs to the run before, where that goes on at the same time.
        spans.retain(|span| span.offset >= offset);
        self.shared.bring_run(file, &spans)
    }

    /// Makes a file of its chunks when all are here; whether it is one now, its hash proven.
    ///
    /// # Errors
    /// When the store fails.
    pub fn complete(&self, file: &FileId) -> Result<bool> {
        if !self.shared.store.files().has(self.shared.repo, file)? {
            self.shared.finish_file(file)?;
        }
        self.shared.store.files().has(self.shared.repo, file)
    }

    /// What has been fetched since this was opened.
    pub fn counts(&self) -> FetchCounts {
        self.shared.counters.snapshot()
    }

    /// The repository as it is here, without the sources.
    pub fn local(&self) -> &View {
        &self.shared.view
    }
}

impl Drop for ReadThrough {
    fn drop(&mut self) {
        // The threads see it at their next chunk.
        self.shared.closing.store(true, Ordering::Relaxed);
    }
}

impl ReadStore for ReadThrough {
    fn stat(&self, ids: &[ObjectId]) -> Result<Vec<Option<ObjectStat>>> {
        self.shared.stat(ids)
    }

    fn object(&self, id: &ObjectId) -> Result<Object> {
        self.shared.check_told(id)?;
        match self.shared.view.object(id) {
            Err(StoreError::MissingObject { id: missing }) if missing == *id => {
                self.shared.bring_one(id)?;
            }
            Ok(object) => {
                if object.kind == ObjectKind::Tree {
                    self.shared.note_listed(&object.data)?;
                }
                return Ok(object);
            }
            failed => return failed,
        }
        self.shared.view.object(id)
    }

    fn file_len(&self, id: &FileId) -> Result<Option<u64>> {
        match self.shared.view.file_len(id)? {
            Some(len) => Ok(Some(len)),
            None => self.shared.told_file_len(id),
        }
    }

    fn file_lens(&self, pointers: &[Pointer]) -> Result<Vec<Option<u64>>> {
        self.shared.file_lens(pointers)
    }

    fn expect(&self, file: &FileId, spans: &[ChunkSpan], urgency: Urgency) {
        self.fetchers.expect(&self.shared, file, spans, urgency);
    }

    fn chunk_spans(&self, id: &FileId, offset: u64, len: u64) -> Result<Vec<ChunkSpan>> {
        match self.shared.view.chunk_spans(id, offset, len) {
            Err(error) if self.shared.is_not_whole(id, &error)? => {
                self.shared.told_spans(id, offset, len)
            }
            found => found,
        }
    }

    fn chunk(&self, file: &FileId, chunk: &ChunkRef) -> Result<Bytes> {
        if let Some(plain) = self.shared.local_chunk(file, chunk)? {
            return Ok(plain);
        }
        self.fetchers.fetch(&self.shared, file, chunk)
    }

    fn read_at(&self, content: &Content, offset: u64, out: &mut [u8]) -> Result<usize> {
        match content {
            Content::Blob(id) => self.read_blob(content, id, offset, out),
            Content::File(id) => match self.shared.view.read_at(content, offset, out) {
                Err(error) if self.shared.is_not_whole(id, &error)? => {
                    self.read_file(id, offset, out)
                }
                read => {
                    self.shared.note_use(id);
                    read
                }
            },
        }
    }

    fn resident(&self, content: &Content) -> Result<u64> {
        match content {
            Content::Blob(_) => self.shared.view.resident(content),
            Content::File(id) => match self.shared.view.resident(content)? {
                0 => self.shared.resident_of_told(id),
                len => Ok(len),
            },
        }
    }
}

impl ReadThrough {
    fn read_blob(
        &self,
        content: &Content,
        id: &ObjectId,
        offset: u64,
        out: &mut [u8],
    ) -> Result<usize> {
        self.shared.check_told(id)?;
        match self.shared.view.read_at(content, offset, out) {
            Err(StoreError::MissingObject { id: missing }) if missing == *id => {}
            read => return read,
        }
        self.shared.bring_blob(id)?;
        self.shared.check_told(id)?;
        self.shared.view.read_at(content, offset, out)
    }

    fn read_file(&self, id: &FileId, offset: u64, out: &mut [u8]) -> Result<usize> {
        let spans = self.shared.told_spans(id, offset, out.len() as u64)?;
        self.expect(id, &spans, Urgency::Now);
        let mut filled = 0;
        for span in &spans {
            let plain = self.chunk(id, &span.chunk)?;
            let skip = usize::try_from(offset.saturating_sub(span.offset)).unwrap_or(usize::MAX);
            let part = plain.get(skip..).unwrap_or_default();
            let count = part.len().min(out.len() - filled);
            out[filled..filled + count].copy_from_slice(&part[..count]);
            filled += count;
        }
        Ok(filled)
    }
}

impl Shared {
    fn deadline(&self) -> Instant {
        Instant::now() + self.options.wait
    }

    /// Waits for a fetch that another reader makes. `absent` makes the error for what no source
    /// has.
    fn join<V: Clone>(
        &self,
        flight: &Flight<V>,
        deadline: Instant,
        what: impl FnOnce() -> String,
        absent: impl FnOnce() -> StoreError,
    ) -> Result<V> {
        match flight.wait(deadline) {
            Some(Ok(value)) => Ok(value),
            Some(Err(Failure::Absent)) => Err(absent()),
            Some(Err(Failure::Failed(reason))) => {
                Err(StoreError::NotFetched { what: what(), reason: reason.to_string() })
            }
            None => Err(StoreError::NotFetched {
                what: what(),
                reason: format!("nothing came within {} s", self.options.wait.as_secs()),
            }),
        }
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }
}
