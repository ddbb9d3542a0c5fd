//! What a record says, as types; nothing here has been proven.

use libp2p::{Multiaddr, PeerId};
use mega_storage::{DhtKey, ObjectId, RepoKey, RepoName, RepoNonce};

use super::key::{Slot, name_key, repo_key};
use super::refs::RefsDigest;

/// Most forks that a record names.
pub const RECORD_FORKS_MAX: usize = 16;

/// The content of a record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordClaims {
    /// The repository.
    pub rid: RepoKey,
    /// The peer that made it.
    pub origin: PeerId,
    /// The nonce in its id.
    pub nonce: RepoNonce,
    /// The name in its id: the one that it had when it was made.
    pub name: RepoName,
    /// What its publisher calls it, when that is another name.
    pub called: Option<RepoName>,
    /// Who says all this: the origin, or who forked it.
    pub publisher: PeerId,
    /// Its references at the publisher.
    pub refs: RefsDigest,
    /// The commit that HEAD leads to; absent while it is empty.
    pub head: Option<ObjectId>,
    /// Rises with every record of this publisher.
    pub seq: u64,
    /// When it was signed, in seconds since 1970.
    pub issued_unix: u64,
    /// Until when it holds, in seconds since 1970.
    pub eol_unix: u64,
    /// Everybody may read it at its publisher: only then may others serve it on, and only then is
    /// its record in the DHT.
    pub is_public: bool,
    /// Where the publisher can be reached.
    pub addresses: Vec<Multiaddr>,
    /// Forks that the publisher knows of: a hint.
    pub forks: Vec<ForkHint>,
}

/// A fork, as somebody else than its publisher tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ForkHint {
    /// Who publishes it.
    pub peer: PeerId,
    /// The number of its newest record.
    pub seq: u64,
    /// The commit that its HEAD leads to.
    pub head: Option<ObjectId>,
    /// When that record was signed, in seconds since 1970.
    pub issued_unix: u64,
}

impl RecordClaims {
    /// Where the record belongs.
    pub fn slot(&self) -> Slot {
        Slot { rid: self.rid, publisher: self.publisher }
    }

    /// Whether this is where the record belongs: its slot's place, or that of the name which its
    /// publisher gives it.
    pub fn belongs_at(&self, key: &DhtKey) -> bool {
        self.slot().key() == *key || name_key(&self.publisher, self.current_name()) == *key
    }

    /// What its publisher calls the repository.
    pub fn current_name(&self) -> &RepoName {
        self.called.as_ref().unwrap_or(&self.name)
    }

    /// The id that origin, nonce and name make.
    pub fn derived_rid(&self) -> RepoKey {
        repo_key(&self.origin, &self.nonce, &self.name)
    }
}
