//! Decoded pieces of content, bounded in bytes, each loaded once however many readers wait for it.
//!
//! A piece is a chunk of a file or a window of a blob. Loading happens outside the lock, and only
//! there: the lock is held to look up, to enter and to evict. A load that fails is told to all who
//! waited, and is tried again by the next.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use lru::LruCache;
use mega_storage::{ChunkId, ObjectId};
use parking_lot::{Condvar, Mutex};

use crate::errno::FsError;

/// What a piece is of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum PieceKey {
    /// A chunk.
    Chunk(ChunkId),
    /// A window of a blob, by its index.
    Blob(ObjectId, u64),
}

/// Why a piece is loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    /// A reader waits for it.
    Demand,
    /// It lies ahead of a reader.
    Ahead,
}

struct Ready {
    bytes: Bytes,
    /// Loaded ahead and not read yet.
    is_ahead: bool,
}

struct Flight {
    result: Mutex<Option<Result<Bytes, FsError>>>,
    landed: Condvar,
    is_demanded: AtomicBool,
}

#[derive(Default)]
struct Inner {
    /// `None` until the first piece, so that an idle mount costs nothing.
    ready: Option<LruCache<PieceKey, Ready>>,
    flights: HashMap<PieceKey, Arc<Flight>>,
    held_len: usize,
    ahead_len: usize,
}

/// The cache of one mount.
pub(crate) struct PieceCache {
    inner: Mutex<Inner>,
    len_max: usize,
}

impl PieceCache {
    /// A cache of at most `len_max` bytes, besides what is being loaded.
    pub(crate) fn new(len_max: usize) -> Self {
        Self { inner: Mutex::new(Inner::default()), len_max }
    }

    /// Whether there is room to load more ahead of readers: half the cache is theirs.
    pub(crate) fn has_room_ahead(&self) -> bool {
        self.inner.lock().ahead_len < self.len_max / 2
    }

    /// Whether the piece is here or on its way.
    pub(crate) fn contains(&self, key: &PieceKey) -> bool {
        let inner = self.inner.lock();
        inner.flights.contains_key(key) || inner.ready.as_ref().is_some_and(|r| r.contains(key))
    }

    /// The piece, from here, from whoever is loading it, or from `load`.
    ///
    /// # Errors
    /// What `load` failed with.
    pub(crate) fn get_or_load(
        &self,
        key: PieceKey,
        purpose: Purpose,
        load: impl FnOnce() -> Result<Bytes, FsError>,
    ) -> Result<Bytes, FsError> {
        let flight = {
            let mut inner = self.inner.lock();
            if let Some(bytes) = inner.find(&key, purpose) {
                return Ok(bytes);
            }
            if let Some(flight) = inner.flights.get(&key).cloned() {
                drop(inner);
                if purpose == Purpose::Demand {
                    flight.is_demanded.store(true, Ordering::Relaxed);
                }
                return flight.wait();
            }
            let flight = Arc::new(Flight {
                result: Mutex::new(None),
                landed: Condvar::new(),
                is_demanded: AtomicBool::new(purpose == Purpose::Demand),
            });
            inner.flights.insert(key, flight.clone());
            flight
        };
        let landing = Landing { cache: self, key, flight };
        let result = load();
        landing.land(result.clone());
        result
    }
}

impl Inner {
    fn find(&mut self, key: &PieceKey, purpose: Purpose) -> Option<Bytes> {
        let ready = self.ready.as_mut()?.get_mut(key)?;
        if purpose == Purpose::Demand && std::mem::take(&mut ready.is_ahead) {
            self.ahead_len -= ready.bytes.len();
        }
        Some(ready.bytes.clone())
    }

    fn enter(&mut self, key: PieceKey, bytes: Bytes, is_ahead: bool, len_max: usize) {
        self.held_len += bytes.len();
        self.ahead_len += if is_ahead { bytes.len() } else { 0 };
        let ready = self.ready.get_or_insert_with(LruCache::unbounded);
        let replaced = ready.push(key, Ready { bytes, is_ahead });
        debug_assert!(replaced.is_none(), "a flight is alone with its key");
        while self.held_len > len_max {
            let Some((_, gone)) = ready.pop_lru() else {
                break;
            };
            self.held_len -= gone.bytes.len();
            self.ahead_len -= if gone.is_ahead { gone.bytes.len() } else { 0 };
        }
    }
}

impl Flight {
    fn wait(&self) -> Result<Bytes, FsError> {
        let mut result = self.result.lock();
        loop {
            match &*result {
                Some(result) => return result.clone(),
                None => self.landed.wait(&mut result),
            }
        }
    }
}

/// Ends a flight; also when the load panicked, so that nobody waits for ever.
struct Landing<'a> {
    cache: &'a PieceCache,
    key: PieceKey,
    flight: Arc<Flight>,
}

impl Landing<'_> {
    fn land(&self, result: Result<Bytes, FsError>) {
        let mut inner = self.cache.inner.lock();
        // Once it has landed another flight may be under way for the same piece: that one is not
        // ours to end.
        if !inner.flights.get(&self.key).is_some_and(|found| Arc::ptr_eq(found, &self.flight)) {
            return;
        }
        inner.flights.remove(&self.key);
        if let Ok(bytes) = &result {
            let is_ahead = !self.flight.is_demanded.load(Ordering::Relaxed);
            inner.enter(self.key, bytes.clone(), is_ahead, self.cache.len_max);
        }
        drop(inner);
        *self.flight.result.lock() = Some(result);
        self.flight.landed.notify_all();
    }
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        self.land(Err(FsError::Panicked));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::sync::atomic::AtomicUsize;

    fn key(n: u8) -> PieceKey {
        PieceKey::Blob(ObjectId::from_bytes([n; 20]), 0)
    }

    fn bytes(len: usize) -> Result<Bytes, FsError> {
        Ok(Bytes::from(vec![7; len]))
    }

    #[test]
    fn holds_no_more_than_it_may_and_drops_the_oldest() {
        let cache = PieceCache::new(100);
        for n in 0..5 {
            cache.get_or_load(key(n), Purpose::Demand, || bytes(30)).expect("loaded");
        }
        assert_eq!(cache.inner.lock().held_len, 90);
        assert!(!cache.contains(&key(1)) && cache.contains(&key(2)));
    }

    #[test]
    fn what_was_loaded_ahead_counts_until_it_is_read_or_dropped() {
        let cache = PieceCache::new(100);
        for n in 0..3 {
            cache.get_or_load(key(n), Purpose::Ahead, || bytes(30)).expect("loaded");
        }
        assert!(!cache.has_room_ahead());
        cache.get_or_load(key(0), Purpose::Demand, || unreachable!("it is here")).expect("found");
        cache.get_or_load(key(1), Purpose::Ahead, || unreachable!("it is here")).expect("found");
        assert_eq!(cache.inner.lock().ahead_len, 60);
        cache.get_or_load(key(9), Purpose::Demand, || bytes(100)).expect("loaded");
        assert_eq!(cache.inner.lock().ahead_len, 0);
        assert!(cache.has_room_ahead());
    }

    #[test]
    fn many_readers_load_once_and_a_failure_is_tried_again() {
        let cache = PieceCache::new(100);
        let (loads, barrier) = (AtomicUsize::new(0), Barrier::new(8));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    barrier.wait();
                    let load = || {
                        loads.fetch_add(1, Ordering::SeqCst);
                        bytes(10)
                    };
                    let piece = cache.get_or_load(key(1), Purpose::Demand, load);
                    assert_eq!(piece.expect("loaded").len(), 10);
                });
            }
        });
        assert_eq!(loads.load(Ordering::SeqCst), 1);
        let fail = || Err(FsError::Absent(ObjectId::NULL));
        assert!(cache.get_or_load(key(2), Purpose::Demand, fail).is_err());
        assert!(cache.get_or_load(key(2), Purpose::Demand, || bytes(1)).is_ok());
    }

    #[test]
    fn the_end_of_a_load_leaves_the_next_one_of_the_same_piece_alone() {
        let cache = PieceCache::new(100);
        let fly = || {
            let (result, landed, is_demanded) = Default::default();
            let flight = Arc::new(Flight { result, landed, is_demanded });
            cache.inner.lock().flights.insert(key(1), flight.clone());
            Landing { cache: &cache, key: key(1), flight }
        };
        let first = fly();
        first.land(Err(FsError::Panicked));
        let second = fly();
        drop(first);
        assert!(cache.contains(&key(1)), "it is still loaded");
        second.land(bytes(10));
        assert_eq!(second.flight.wait().expect("who waited is told").len(), 10);
    }

    #[test]
    fn a_load_that_panics_frees_who_waits() {
        let cache = PieceCache::new(100);
        let load = || {
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                cache.get_or_load(key(1), Purpose::Demand, || panic!("on purpose"))
            }))
        };
        assert!(load().is_err());
        assert!(!cache.contains(&key(1)));
    }
}
