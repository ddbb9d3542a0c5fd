//! LFS content: files as chunks, written in one pass, read anywhere.
//!
//! A file is visible when its head row is: the head is written last, in a synced batch, after its
//! chunks and segments are as durable as it will be. The right of a repository to a file is a row
//! of its own, and only an ingest of the bytes, or a caller that knows of the right, makes one.
//!
//! Nothing that is read is trusted: every byte that leaves has been checked against its chunk's
//! hash.

mod cache;
mod gate;
pub(crate) mod holders;
mod ingest;
mod keep;
mod partial;
mod reader;
pub(crate) mod rights;
mod spans;
mod sweep;
#[cfg(test)]
mod tests;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use lru::LruCache;
use parking_lot::{Mutex, RwLock};

use crate::chunk::chunker::BufferPool;
use crate::chunks::ChunkStore;
use crate::db::{Db, Family, keys};
use crate::error::{Result, StoreError};
use crate::id::{ChunkId, FileId, RepoId};
use crate::manifest::{ChunkRef, FileHead, Segment};
use crate::read::ChunkSpan;
use cache::ChunkCache;
use gate::Gate;
pub use ingest::FileReport;
pub use partial::{PartialUpload, PlannedFile};
pub use reader::FileReader;
use rights::RightsBook;
pub use rights::UNNAMED_TIME_S;
pub use spans::FileSpans;

/// Decoded heads kept. A head is small but for very large files (25 bytes per GB).
const HEADS_CACHED: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");

/// Decoded segments kept, each up to 200 KB: enough for readers at 32 places.
const SEGMENTS_CACHED: NonZeroUsize = NonZeroUsize::new(32).expect("not zero");

/// The repository that stands for none: files that the owner added without one.
pub const NO_REPO: RepoId = RepoId(0);

/// The stored files. Clones share it.
#[derive(Clone)]
pub struct FileStore {
    inner: Arc<Inner>,
}

struct Inner {
    db: Arc<Db>,
    chunks: ChunkStore,
    buffers: Arc<BufferPool>,
    heads: Mutex<LruCache<FileId, Arc<FileHead>>>,
    segments: Mutex<LruCache<(FileId, u32), Arc<Segment>>>,
    decoded: ChunkCache,
    rights: RightsBook,
    /// Chunks that are being kept, and files that are being put together, at once.
    adding: Gate,
    finishing: Gate,
    /// Held for reading by whoever counts on chunks that are here, until a row names them.
    sweep: RwLock<()>,
    /// Counts heads that went: what was read before is not kept after.
    gone: AtomicU64,
}

impl FileStore {
    pub(crate) fn new(db: Arc<Db>, chunk_cache_len: usize) -> Self {
        let inner = Inner {
            chunks: ChunkStore::new(db.clone()),
            db,
            buffers: Arc::default(),
            heads: Mutex::new(LruCache::new(HEADS_CACHED)),
            segments: Mutex::new(LruCache::new(SEGMENTS_CACHED)),
            decoded: ChunkCache::new(chunk_cache_len),
            rights: RightsBook::default(),
            adding: Gate::new(partial::ADDS_MAX),
            finishing: Gate::new(partial::FINISHES_MAX),
            sweep: RwLock::new(()),
            gone: AtomicU64::new(0),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The head of a file, whoever has a right to it; `None` when the file is not here.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn head(&self, id: &FileId) -> Result<Option<Arc<FileHead>>> {
        if let Some(head) = self.inner.heads.lock().get(id) {
            return Ok(Some(head.clone()));
        }
        let gone = self.inner.gone.load(Ordering::Acquire);
        let Some(row) = self.inner.db.get(Family::File, id.as_bytes())? else { return Ok(None) };
        let head = Arc::new(FileHead::decode(id, &row)?);
        let mut heads = self.inner.heads.lock();
        if self.inner.gone.load(Ordering::Acquire) == gone {
            heads.put(*id, head.clone());
        }
        Ok(Some(head))
    }

    /// The files that `repo` has a right to, in the order of their ids.
    pub fn files(&self, repo: RepoId) -> impl Iterator<Item = Result<FileId>> + '_ {
        self.inner.db.scan(Family::RepoFile, &repo.0.to_be_bytes()).map(|row| {
            let (key, _) = row?;
            let id = key.get(4..).and_then(FileId::from_slice);
            id.ok_or_else(|| StoreError::DamagedRow {
                family: Family::RepoFile.name(),
                key: format!("{key:02x?}"),
                reason: "the key does not have 36 bytes",
            })
        })
    }

    /// The chunks that cover `offset..offset + len`, clipped to the file's end, in order. The first
    /// may begin before `offset` and the last end after it.
    ///
    /// # Errors
    /// [`StoreError::MissingFile`] when the file is not here.
    pub fn chunk_spans(&self, id: &FileId, offset: u64, len: u64) -> Result<Vec<ChunkSpan>> {
        self.spans(id, offset, len)?.collect()
    }

    /// A decoded segment of the file; the last ones read are kept.
    fn segment(&self, id: &FileId, head: &FileHead, index: u32) -> Result<Arc<Segment>> {
        if let Some(segment) = self.inner.segments.lock().get(&(*id, index)) {
            return Ok(segment.clone());
        }
        let gone = self.inner.gone.load(Ordering::Acquire);
        let row = self.inner.db.get(Family::FileSegment, &keys::file_segment(id, index))?;
        let row = row.ok_or_else(|| StoreError::DamagedRow {
            family: Family::FileSegment.name(),
            key: format!("{id}/{index}"),
            reason: "it is missing, though the file's head is there",
        })?;
        let segment = Arc::new(Segment::decode(id, head, index, &row)?);
        let mut segments = self.inner.segments.lock();
        if self.inner.gone.load(Ordering::Acquire) == gone {
            segments.put((*id, index), segment.clone());
        }
        Ok(segment)
    }

    /// One chunk of the file, decoded and verified. Not kept: for callers that read each chunk
    /// once.
    ///
    /// # Errors
    /// [`StoreError::MissingChunk`] or [`StoreError::DamagedChunk`].
    pub fn chunk(&self, file: &FileId, chunk: &ChunkRef) -> Result<Bytes> {
        let missing = || StoreError::MissingChunk { id: chunk.id, file: *file };
        self.inner.chunks.get(chunk)?.ok_or_else(missing)
    }

    /// As [`Self::chunk`], through the cache of decoded chunks: many readers decode it once.
    ///
    /// # Errors
    /// As [`Self::chunk`].
    pub fn cached_chunk(&self, file: &FileId, chunk: &ChunkRef) -> Result<Bytes> {
        let plain = self.inner.decoded.get_or_load(chunk, || self.chunk(file, chunk))?;
        if plain.len() as u64 != u64::from(chunk.len) {
            // Another file's manifest gave the right length, and the cache knows the chunk by its
            // id alone.
            let reason = "a manifest gives it another length";
            return Err(StoreError::DamagedChunk { id: chunk.id, reason });
        }
        Ok(plain)
    }

    /// Reads at `offset` into `out`; returns the bytes read, fewer than asked only at the file's
    /// end.
    ///
    /// # Errors
    /// [`StoreError::MissingFile`], [`StoreError::MissingChunk`], [`StoreError::DamagedChunk`].
    pub fn read_at(&self, id: &FileId, offset: u64, out: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        for span in self.spans(id, offset, out.len() as u64)? {
            let span = span?;
            let plain = self.cached_chunk(id, &span.chunk)?;
            let skip = usize::try_from(offset.saturating_sub(span.offset))
                .expect("the first span has the byte at the offset");
            let part = &plain[skip..];
            let count = part.len().min(out.len() - filled);
            out[filled..filled + count].copy_from_slice(&part[..count]);
            filled += count;
        }
        Ok(filled)
    }

    /// A chunk by its id alone, verified, whichever file has it; `None` when it is not stored. Only
    /// for an owner from whom nothing is hidden.
    ///
    /// # Errors
    /// [`StoreError::DamagedChunk`].
    pub fn plain_chunk(&self, id: &ChunkId) -> Result<Option<Bytes>> {
        let meta = self.inner.chunks.metas(&[*id])?.pop().flatten();
        let Some(meta) = meta else { return Ok(None) };
        self.inner.chunks.get(&ChunkRef { id: *id, len: meta.len })
    }
}
