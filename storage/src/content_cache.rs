//! Content of repositories that are filled as they are read: how much there is, which of it stays,
//! and what goes when it exceeds a limit.
//!
//! What counts, and goes, is the content of large files: of a file that only such repositories
//! have, none of them pinned. It goes least recently used file first. Git objects stay, and so does
//! a chunk that a file of any other repository has. What went is fetched again when it is read: the
//! file is then one that is being filled, its chunk list kept as told.
//!
//! Invariants:
//! - Chunks are removed while nobody takes content in (`FileStore::sweep`): an ingest that found a
//!   chunk here finds it until its manifest stands.
//! - A row that says that a chunk came goes in one batch with the chunk. A crash leaves the old
//!   state or the new one of each batch.
//! - Nothing that was read a moment ago goes ([`IN_USE_TIME`]): readers are in the middle of it.

mod evict;
mod survey;
#[cfg(test)]
mod tests;

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lru::LruCache;
use parking_lot::Mutex;

use crate::db::{Durability, Family};
use crate::error::Result;
use crate::id::{ChunkId, RepoId};
use crate::name::RepoName;
use crate::outbox::damaged;
use crate::store::Store;

pub use evict::EvictReport;

/// What was touched so lately is in use.
pub const IN_USE_TIME: Duration = Duration::from_secs(2);
/// Chunks that are remembered as touched: 16 GiB a minute at their usual length.
const TOUCHED_MAX: NonZeroUsize = NonZeroUsize::new(1 << 14).expect("not zero");

/// The limit's row in `store`.
const LIMIT_KEY: &[u8] = b"cache_limit";
/// Nobody has counted yet.
const UNKNOWN: u64 = u64::MAX;

/// What is known without looking, and what is in use.
pub(crate) struct CacheState {
    /// Bytes that may go: as counted last, and what came since.
    len: AtomicU64,
    /// Counts removals: who remembers that chunks are here looks again when it has changed.
    epoch: AtomicU64,
    touched: Mutex<LruCache<ChunkId, Instant>>,
    /// Bytes that went since the database was told to give their place back.
    gone: AtomicU64,
    /// One removal at a time.
    turn: Mutex<()>,
}

impl Default for CacheState {
    fn default() -> Self {
        Self {
            len: AtomicU64::new(UNKNOWN),
            epoch: AtomicU64::new(0),
            touched: Mutex::new(LruCache::new(TOUCHED_MAX)),
            gone: AtomicU64::new(0),
            turn: Mutex::new(()),
        }
    }
}

impl CacheState {
    /// Changes with every removal.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Says that chunks have gone.
    pub(crate) fn bump(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    /// Notes that somebody reads a chunk.
    pub(crate) fn touch(&self, chunk: &ChunkId) {
        self.touched.lock().put(*chunk, Instant::now());
    }

    fn is_in_use(&self, chunk: &ChunkId) -> bool {
        self.touched.lock().peek(chunk).is_some_and(|at| at.elapsed() < IN_USE_TIME)
    }

    /// Notes that content came that may go.
    pub(crate) fn came(&self, len: u64) {
        let add = |known: u64| (known != UNKNOWN).then(|| known.saturating_add(len));
        let _ = self.len.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }
}

/// Content of repositories that are filled as they are read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CacheUse {
    /// Most bytes that may stay of what may go.
    pub limit_len: Option<u64>,
    /// Bytes that may go: plain bytes, each file's once.
    pub len: u64,
    /// By repository.
    pub repos: Vec<CachedRepo>,
}

/// One of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CachedRepo {
    /// Its name.
    pub name: RepoName,
    /// Its content stays.
    pub is_pinned: bool,
    /// Large files of which something is here.
    pub file_count: u64,
    /// Their bytes that are here.
    pub len: u64,
}

impl Store {
    /// Most bytes of content that may stay of what may go; `None` for no limit.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn cache_limit(&self) -> Result<Option<u64>> {
        let Some(row) = self.db().get(Family::Store, LIMIT_KEY)? else { return Ok(None) };
        let bytes = row.as_ref().try_into();
        let bytes = bytes.map_err(|_| damaged(Family::Store, LIMIT_KEY, "not a length"))?;
        Ok(Some(u64::from_be_bytes(bytes)))
    }

    /// Sets the limit. What exceeds it goes with the next [`Store::evict`].
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn set_cache_limit(&self, limit_len: Option<u64>) -> Result<()> {
        let mut batch = self.db().batch();
        match limit_len {
            Some(len) => batch.put(Family::Store, LIMIT_KEY, &len.to_be_bytes()),
            None => batch.delete(Family::Store, LIMIT_KEY),
        }
        self.db().commit(batch, Durability::Synced)
    }

    /// Whether there may be more content than the limit allows: by what was counted last and what
    /// came since. The first call counts.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn is_cache_over(&self) -> Result<bool> {
        let Some(limit) = self.cache_limit()? else { return Ok(false) };
        let len = match self.cache_state().len.load(Ordering::Relaxed) {
            UNKNOWN => self.cache_use()?.len,
            len => len,
        };
        Ok(len > limit)
    }

    /// Whether a repository is pinned: then its content stays whatever the limit.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn is_pinned(&self, repo: RepoId) -> Result<bool> {
        self.partial(repo).is_pinned()
    }

    /// Pins a repository, or lets its content go again.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn set_pinned(&self, repo: RepoId, is_pinned: bool) -> Result<()> {
        self.partial(repo).set_pinned(is_pinned)?;
        self.cache_state().len.store(UNKNOWN, Ordering::Relaxed);
        Ok(())
    }
}
