//! Sets of object ids: 21 bytes an id.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::LazyLock;

use crate::id::ObjectId;

/// A set of ids.
pub(super) type IdSet = HashSet<ObjectId, IdHashes>;
/// A map from ids.
pub(super) type IdMap<V> = HashMap<ObjectId, V, IdHashes>;

/// Random, so that nobody can make ids that fall into one place.
static SEED: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(0u8));

/// Makes hashers of ids: an id is a hash already, so a part of it is mixed once.
#[derive(Clone)]
pub(super) struct IdHashes {
    seed: u64,
}

impl Default for IdHashes {
    fn default() -> Self {
        Self { seed: *SEED }
    }
}

impl BuildHasher for IdHashes {
    type Hasher = IdHasher;

    fn build_hasher(&self) -> IdHasher {
        IdHasher { state: self.seed }
    }
}

pub(super) struct IdHasher {
    state: u64,
}

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        let head = bytes.first_chunk::<8>().map_or(0, |head| u64::from_le_bytes(*head));
        let mixed =
            u128::from(head ^ self.state) * u128::from(0x9e37_79b9_7f4a_7c15u64 | self.state);
        self.state = mixed as u64 ^ (mixed >> 64) as u64;
    }

    /// The length, which is the same for all ids.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.state
    }
}

/// The ids sorted, each once.
pub(super) fn sorted(ids: impl IntoIterator<Item = ObjectId>) -> Vec<ObjectId> {
    let mut ids: Vec<ObjectId> = ids.into_iter().collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}
