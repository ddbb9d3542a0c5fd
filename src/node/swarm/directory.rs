//! What peers call the repositories of this store, and the records that it signs of them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use libp2p::PeerId;
use mega_storage::{
    Bound, ObjectId, RefName, RefTarget, Repo, RepoId, RepoKey, RepoName, Store, StoreError,
    SwarmRepo, Visibility,
};
use parking_lot::{Mutex, RwLock};

use super::book::unix_now;
use crate::node::NodeError;
use crate::swarm::identity::Identity;
use crate::swarm::record::{
    P2pTarget, P2pUrl, PublishError, RecordClaims, RefsDigest, RefsHasher, RepoRecord, Slot,
    new_nonce, peer_bytes, publish, remembered, repo_key,
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
    /// Copies of others' repositories that are served on now.
    open: RwLock<HashSet<RepoId>>,
}

/// Whose repository a partial one is a copy of, and what it is called there.
pub(super) fn publisher_of(repo: &Repo) -> Option<(PeerId, RepoName)> {
    let url: P2pUrl = repo.origin.as_deref()?.parse().ok()?;
    match url.target {
        P2pTarget::Repo { name, .. } if repo.partial => Some((url.peer, name)),
        _ => None,
    }
}

impl RepoDirectory {
    pub(super) fn new(store: &Store, identity: &Arc<Identity>) -> Self {
        Self {
            store: store.clone(),
            identity: identity.clone(),
            made: Mutex::default(),
            open: RwLock::default(),
        }
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

    /// Sets which copies of others' repositories are served on.
    pub(super) fn set_open(&self, open: HashSet<RepoId>) {
        *self.open.write() = open;
    }

    /// The newest record seen of the repository that a partial one is a copy of, while it holds.
    pub(super) fn followed_record(&self, repo: &Repo) -> Result<Option<RepoRecord>, StoreError> {
        let Some((publisher, _)) = publisher_of(repo) else { return Ok(None) };
        let Some(known) = self.store.swarm().repo(repo.id)? else { return Ok(None) };
        remembered(self.store.swarm(), &Slot { rid: known.rid, publisher }, unix_now())
    }

    /// Whether the last that was heard of it is that everybody may read it.
    pub(super) fn followed_is_public(&self, repo: &Repo) -> Result<bool, StoreError> {
        Ok(self.followed_record(repo)?.is_some_and(|record| record.claims().is_public))
    }

    /// This store's record of a repository of its own, as it is now; `None` for a copy of another
    /// peer's. A new one is signed only when it says something else, or the last one ends soon.
    pub(super) fn own_record(&self, repo: &Repo) -> Result<Option<RepoRecord>, NodeError> {
        if repo.partial {
            return Ok(None);
        }
        let version = self.store.refs().version();
        let (now, is_public) = (unix_now(), repo.visibility == Visibility::Public);
        let mut made = self.made.lock();
        if let Some((at, record)) = made.get(&repo.id)
            && *at == version
            && record.claims().eol_unix > now + RECORD_LEFT_S
            && record.claims().is_public == is_public
            && *record.claims().current_name() == repo.name
        {
            return Ok(Some(record.clone()));
        }
        let known = self.identify(repo)?;
        let Ok(origin) = PeerId::from_bytes(known.origin.as_bytes()) else {
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
            is_public,
            addresses: Vec::new(),
            forks: Vec::new(),
        };
        let Some(record) = self.sign(repo, claims, now)? else { return Ok(None) };
        made.insert(repo.id, (version, record.clone()));
        Ok(Some(record))
    }

    /// The record that says so: the last one, or a new one.
    fn sign(
        &self,
        repo: &Repo,
        claims: RecordClaims,
        now: u64,
    ) -> Result<Option<RepoRecord>, NodeError> {
        let swarm = self.store.swarm();
        if let Some(last) = remembered(swarm, &claims.slot(), now)?
            && last.claims().eol_unix > now + RECORD_LEFT_S
        {
            let RecordClaims { seq, issued_unix, eol_unix, .. } = *last.claims();
            if *last.claims() == (RecordClaims { seq, issued_unix, eol_unix, ..claims.clone() }) {
                return Ok(Some(last));
            }
        }
        match publish(swarm, &self.identity, claims) {
            Ok(record) => Ok(Some(record)),
            Err(PublishError::Store(error)) => Err(error.into()),
            Err(PublishError::Record(error)) => {
                tracing::error!(repo = %repo.name, %error, "a record of our own is refused: a bug");
                Ok(None)
            }
        }
    }

    /// What peers see of a repository's references: the digest, and the commit of HEAD.
    pub(super) fn refs(&self, repo: &Repo) -> Result<(RefsDigest, Option<ObjectId>), NodeError> {
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
        if repo.partial {
            let record = self.followed_record(repo)?;
            return Ok(record.map(|record| Bytes::copy_from_slice(record.bytes())));
        }
        match self.own_record(repo) {
            Ok(record) => Ok(record.map(|record| Bytes::copy_from_slice(record.bytes()))),
            Err(NodeError::Store(error)) => Err(error),
            Err(error) => {
                tracing::error!(%error, "a record cannot be made");
                Ok(None)
            }
        }
    }

    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn serves_on(&self, repo: RepoId) -> bool {
        self.open.read().contains(&repo)
    }
}
