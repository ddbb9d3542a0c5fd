//! What peers call the repositories of this store, and the records that it signs of them.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use mega_storage::{
    Bound, ObjectId, RefName, RefTarget, Repo, RepoId, RepoKey, Store, StoreError, SwarmRepo,
};
use parking_lot::Mutex;

use super::book::unix_now;
use crate::node::NodeError;
use crate::swarm::identity::Identity;
use crate::swarm::record::{
    PublishError, RecordClaims, RefsHasher, RepoRecord, new_nonce, peer_bytes, publish, repo_key,
};
use crate::swarm::serve::Directory;

/// How long a record holds, in seconds: two days.
const RECORD_LIFE_S: u64 = 48 * 3600;
/// A record is signed anew when less is left of it, in seconds.
const RECORD_LEFT_S: u64 = 36 * 3600;

/// The repositories of a store among peers.
pub(super) struct RepoDirectory {
    store: Store,
    identity: Arc<Identity>,
    /// Records that say what is so now, and the version of references that they say it of.
    made: Mutex<HashMap<RepoId, (u64, RepoRecord)>>,
}

impl RepoDirectory {
    pub(super) fn new(store: &Store, identity: &Arc<Identity>) -> Self {
        Self { store: store.clone(), identity: identity.clone(), made: Mutex::default() }
    }

    /// What the repository is to peers; it becomes something now when it was nothing.
    fn identify(&self, repo: &Repo) -> Result<SwarmRepo, NodeError> {
        if let Some(known) = self.store.swarm().repo(repo.id)? {
            return Ok(known);
        }
        let origin = self.identity.peer_id();
        let nonce = new_nonce().map_err(|error| {
            NodeError::io("reading random bytes", std::io::Error::other(error.to_string()))
        })?;
        let rid = repo_key(&origin, &nonce, &repo.name);
        let new = SwarmRepo { rid, nonce, origin: peer_bytes(&origin), name: repo.name.clone() };
        Ok(match self.store.swarm().bind(repo.id, &new)? {
            Bound::New | Bound::Elsewhere(_) => new,
            Bound::Known(known) => known,
        })
    }

    /// This store's record of a repository, as it is now.
    pub(super) fn own_record(&self, repo: &Repo) -> Result<Option<RepoRecord>, NodeError> {
        let version = self.store.refs().version();
        let now = unix_now();
        if let Some((at, record)) = self.made.lock().get(&repo.id)
            && *at == version
            && record.claims().eol_unix > now + RECORD_LEFT_S
        {
            return Ok(Some(record.clone()));
        }
        let known = self.identify(repo)?;
        let Ok(origin) = libp2p::PeerId::from_bytes(known.origin.as_bytes()) else {
            return Ok(None);
        };
        let (refs, head) = self.refs(repo)?;
        let claims = RecordClaims {
            rid: known.rid,
            origin,
            nonce: known.nonce,
            called: (known.name != repo.name).then(|| repo.name.clone()),
            name: known.name,
            publisher: self.identity.peer_id(),
            refs,
            head,
            seq: 0,
            issued_unix: now,
            eol_unix: now + RECORD_LIFE_S,
            addresses: Vec::new(),
            forks: Vec::new(),
        };
        let record = match publish(self.store.swarm(), &self.identity, claims) {
            Ok(record) => record,
            Err(PublishError::Store(error)) => return Err(error.into()),
            Err(PublishError::Record(error)) => {
                tracing::error!(repo = %repo.name, %error, "a record of our own is refused: a bug");
                return Ok(None);
            }
        };
        self.made.lock().insert(repo.id, (version, record.clone()));
        Ok(Some(record))
    }

    fn refs(
        &self,
        repo: &Repo,
    ) -> Result<(crate::swarm::record::RefsDigest, Option<ObjectId>), NodeError> {
        let settings = self.store.settings(repo.id)?;
        let mut hash = RefsHasher::default();
        let mut head = None;
        for (name, target) in self.store.refs().list(repo.id, b"")? {
            if settings.hides_from_fetch(&name) {
                continue;
            }
            let id = self.store.refs().resolve(repo.id, &name)?;
            if name == RefName::head() {
                head = id;
            }
            let to = match &target {
                RefTarget::Symbolic(to) => Some(to),
                RefTarget::Direct(_) => None,
            };
            hash.add(&name, id.as_ref(), to).map_err(|error| {
                NodeError::io("listing references", std::io::Error::other(error.to_string()))
            })?;
        }
        Ok((hash.finish(), head))
    }
}

impl Directory for RepoDirectory {
    fn repo(&self, key: &RepoKey) -> Result<Option<RepoId>, StoreError> {
        self.store.swarm().find_rid(key)
    }

    fn record(&self, repo: &Repo) -> Result<Option<Bytes>, StoreError> {
        match self.own_record(repo) {
            Ok(record) => Ok(record.map(|record| Bytes::copy_from_slice(record.bytes()))),
            Err(NodeError::Store(error)) => Err(error),
            Err(error) => {
                tracing::error!(%error, "a record cannot be made");
                Ok(None)
            }
        }
    }
}
