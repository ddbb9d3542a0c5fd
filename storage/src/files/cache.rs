//! Decoded chunks, kept while there is room. However many readers want a chunk, one decodes it and
//! the others wait.
//!
//! The lock is held for a look-up, never while decoding. Errors are not kept: each waiter of a
//! failed load tries for itself and gets its own error.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use lru::LruCache;
use parking_lot::{Condvar, Mutex};

use crate::error::Result;
use crate::id::ChunkId;
use crate::manifest::ChunkRef;

/// Decoded chunks, bounded by their bytes.
pub(super) struct ChunkCache {
    state: Mutex<State>,
    len_max: usize,
}

struct State {
    ready: LruCache<ChunkId, Bytes>,
    len: usize,
    loading: HashMap<ChunkId, Arc<Load>>,
}

/// A chunk that somebody is decoding.
#[derive(Default)]
struct Load {
    outcome: Mutex<Outcome>,
    finished: Condvar,
}

#[derive(Default)]
enum Outcome {
    #[default]
    Pending,
    Failed,
    Done(Bytes),
}

/// Ends a load however its thread leaves it, so that nobody waits for a thread that has gone.
struct LoadGuard<'a> {
    cache: &'a ChunkCache,
    id: ChunkId,
    load: Arc<Load>,
    plain: Option<Bytes>,
}

impl ChunkCache {
    /// A cache of at most `len_max` bytes.
    pub(super) fn new(len_max: usize) -> Self {
        let state = State { ready: LruCache::unbounded(), len: 0, loading: HashMap::new() };
        Self { state: Mutex::new(state), len_max }
    }

    /// The chunk: kept, or from another reader's `load`, or from this one's.
    pub(super) fn get_or_load(
        &self,
        chunk: &ChunkRef,
        load: impl FnOnce() -> Result<Bytes>,
    ) -> Result<Bytes> {
        loop {
            let other = {
                let mut state = self.state.lock();
                if let Some(plain) = state.ready.get(&chunk.id) {
                    return Ok(plain.clone());
                }
                match state.loading.get(&chunk.id) {
                    Some(other) => other.clone(),
                    None => {
                        let ours = Arc::new(Load::default());
                        state.loading.insert(chunk.id, ours.clone());
                        drop(state);
                        let mut guard =
                            LoadGuard { cache: self, id: chunk.id, load: ours, plain: None };
                        let plain = load()?;
                        guard.plain = Some(plain.clone());
                        return Ok(plain);
                    }
                }
            };
            if let Some(plain) = other.wait() {
                return Ok(plain);
            }
        }
    }

    /// Ends a load and keeps what it brought.
    fn finish(&self, id: ChunkId, plain: Option<&Bytes>) {
        let mut state = self.state.lock();
        state.loading.remove(&id);
        let Some(plain) = plain.filter(|plain| plain.len() <= self.len_max) else { return };
        state.len += plain.len();
        if let Some((_, old)) = state.ready.push(id, plain.clone()) {
            state.len -= old.len();
        }
        while state.len > self.len_max {
            let Some((_, old)) = state.ready.pop_lru() else { break };
            state.len -= old.len();
        }
    }
}

impl Load {
    /// Waits for the loading thread; `None` when it failed.
    fn wait(&self) -> Option<Bytes> {
        let mut outcome = self.outcome.lock();
        loop {
            match &*outcome {
                Outcome::Pending => self.finished.wait(&mut outcome),
                Outcome::Failed => return None,
                Outcome::Done(plain) => return Some(plain.clone()),
            }
        }
    }
}

impl Drop for LoadGuard<'_> {
    fn drop(&mut self) {
        self.cache.finish(self.id, self.plain.as_ref());
        *self.load.outcome.lock() = match self.plain.take() {
            Some(plain) => Outcome::Done(plain),
            None => Outcome::Failed,
        };
        self.load.finished.notify_all();
    }
}
