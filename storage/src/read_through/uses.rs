//! When files were read last, for who removes content; and telling a file that was removed from one
//! that is damaged.

use std::num::NonZeroUsize;

use lru::LruCache;
use parking_lot::Mutex;

use super::{Result, Shared};
use crate::error::StoreError;
use crate::id::{ChunkId, FileId};
use crate::repos::now_unix;

/// A file's last use is written no more often, in seconds.
const USE_PAUSE_S: u64 = 60;
/// Files whose last written use is remembered.
const USES_MAX: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");

/// What was written, in seconds since 1970.
pub(super) struct Uses(Mutex<LruCache<FileId, u64>>);

impl Default for Uses {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(USES_MAX)))
    }
}

impl Shared {
    /// Notes that a chunk of a file is read.
    pub(super) fn note_read(&self, file: &FileId, chunk: &ChunkId) {
        if self.uses.is_some() {
            self.store.cache_state().touch(chunk);
            self.note_use(file);
        }
    }

    /// Notes that a file is read: a row now and then.
    pub(super) fn note_use(&self, file: &FileId) {
        let Some(Uses(written)) = &self.uses else { return };
        let now = now_unix();
        {
            let mut written = written.lock();
            if written.get(file).is_some_and(|at| now < at.saturating_add(USE_PAUSE_S)) {
                return;
            }
            written.put(*file, now);
        }
        // Without the row it goes sooner than it should: no reason to fail a read.
        let _ = self.partial.put_use(file, now);
    }

    /// Notes that content came and was kept.
    pub(super) fn note_kept(&self, len: u64) {
        if self.uses.is_some() && !self.partial.is_pinned().unwrap_or(false) {
            self.store.cache_state().came(len);
        }
    }

    /// Whether a file could not be read because it is not, or no more, here whole.
    pub(super) fn is_not_whole(&self, file: &FileId, error: &StoreError) -> Result<bool> {
        match error {
            StoreError::MissingFile { .. } => Ok(true),
            StoreError::MissingChunk { .. } | StoreError::DamagedRow { .. } => {
                Ok(!self.store.files().has(self.repo, file)?)
            }
            _ => Ok(false),
        }
    }
}
