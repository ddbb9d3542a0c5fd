//! What was inflated lately, least recently used out first, bounded by bytes.

use std::hash::Hash;

use bytes::Bytes;
use lru::LruCache;
use parking_lot::Mutex;

/// What an entry costs beside its bytes: the key, the list and the table.
const ENTRY_LEN: usize = 120;

/// Something that holds bytes.
pub(crate) trait Weigh {
    /// How many.
    fn len(&self) -> usize;
}

impl Weigh for Bytes {
    fn len(&self) -> usize {
        self.as_ref().len()
    }
}

/// A cache of inflated bytes, safe to share between threads.
pub(crate) struct BaseCache<K, V> {
    state: Mutex<State<K, V>>,
    len_max: usize,
}

struct State<K, V> {
    entries: LruCache<K, V>,
    len: usize,
}

impl<K: Hash + Eq + Copy, V: Clone + Weigh> BaseCache<K, V> {
    /// A cache that holds at most `len_max` bytes.
    pub(crate) fn new(len_max: usize) -> Self {
        let state = State { entries: LruCache::unbounded(), len: 0 };
        Self { state: Mutex::new(state), len_max }
    }

    /// A cached value.
    pub(crate) fn get(&self, key: &K) -> Option<V> {
        self.state.lock().entries.get(key).cloned()
    }

    /// Forgets one.
    pub(crate) fn remove(&self, key: &K) {
        let mut state = self.state.lock();
        if let Some(old) = state.entries.pop(key) {
            state.len -= old.len() + ENTRY_LEN;
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        let mut state = self.state.lock();
        state.entries.clear();
        state.len = 0;
    }

    /// Keeps a value, unless it alone would take more than a quarter of the cache.
    pub(crate) fn put(&self, key: K, value: V) {
        let cost = value.len() + ENTRY_LEN;
        if cost > self.len_max / 4 {
            return;
        }
        let mut state = self.state.lock();
        if let Some(old) = state.entries.put(key, value) {
            state.len -= old.len() + ENTRY_LEN;
        }
        state.len += cost;
        while state.len > self.len_max {
            let Some((_, out)) = state.entries.pop_lru() else { break };
            state.len -= out.len() + ENTRY_LEN;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_within_its_bytes_and_keeps_the_recent() {
        let cache = BaseCache::new(10 * (1000 + ENTRY_LEN));
        for key in 0..20u32 {
            cache.put(key, Bytes::from(vec![0; 1000]));
            assert!(cache.state.lock().len <= cache.len_max);
        }
        assert!(cache.get(&9).is_none());
        assert!(cache.get(&10).is_some());
        cache.put(99, Bytes::from(vec![0; 6000]));
        assert!(cache.get(&99).is_none(), "too large a share");
    }
}
