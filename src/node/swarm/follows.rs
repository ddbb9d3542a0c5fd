//! The repositories of other peers that are read here, and what is known of them now: a thread asks
//! their publishers from time to time whether they are still public, and brings the references that
//! others will be told.
//!
//! Invariant: references are kept only as the publisher's signed record says that they are: who
//! fetches them from this store holds them to the same record.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use libp2p::PeerId;
use mega_storage::{
    Expect, ObjectWant, ReadThrough, RefEdit, RefName, RefTarget, RefTransaction, Repo, RepoId,
    RepoKey, SeedPolicy, Store,
};
use parking_lot::Mutex;

use super::directory::{RepoDirectory, publisher_of};
use super::lookup;
use crate::node::NodeError;
use crate::swarm::exchange::{Following, Swarm};
use crate::swarm::fetcher::Fetcher;
use crate::swarm::record::{RefsDigest, RefsHasher, RepoRecord, Slot};
use crate::swarm::wire::RefLine;

/// How often a publisher is asked, about.
const ASK_AGAIN: Duration = Duration::from_secs(60);
/// How often it is looked who is due.
const LOOK: Duration = Duration::from_secs(1);
/// Pages of references that are brought: 8,192 references. Of a repository that has more, others
/// find the commit that its record names.
pub(super) const REF_PAGES: usize = 8;
/// Objects in one question.
const OBJECTS_AT_ONCE: usize = 2048;

/// One repository that is read from peers.
pub(super) struct Follow {
    pub(super) repo: Repo,
    pub(super) peer: PeerId,
    pub(super) fetcher: Arc<Fetcher>,
    /// Set when reading begins; gone when the last reader has.
    pub(super) through: OnceLock<Weak<ReadThrough>>,
    pub(super) _following: Following,
}

impl Follow {
    /// Whether the last reader has gone, or whoever would have read has given it up.
    fn is_over(self: &Arc<Self>) -> bool {
        match self.through.get() {
            Some(through) => through.strong_count() == 0,
            None => Arc::strong_count(self) == 1,
        }
    }
}

/// All of them.
pub(super) struct Follows {
    live: Mutex<Vec<Arc<Follow>>>,
    /// Those whose publishers said that they are not there for us any more.
    withdrawn: Mutex<HashSet<RepoKey>>,
    version: AtomicU64,
    kicks: Mutex<Option<Sender<()>>>,
}

impl Follows {
    /// `kicks` gets a word at each change.
    pub(super) fn new(kicks: Sender<()>) -> Self {
        let (live, withdrawn, version) = Default::default();
        Self { live, withdrawn, version, kicks: Mutex::new(Some(kicks)) }
    }

    pub(super) fn add(&self, follow: Arc<Follow>) {
        self.live.lock().push(follow);
        self.changed();
    }

    /// Changes with what is read, what is withdrawn, and the records of these.
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    pub(super) fn is_read(&self, repo: RepoId) -> bool {
        let is_it =
            |f: &Arc<Follow>| f.repo.id == repo && f.through.get().is_some() && !f.is_over();
        self.live.lock().iter().any(is_it)
    }

    pub(super) fn is_withdrawn(&self, rid: &RepoKey) -> bool {
        self.withdrawn.lock().contains(rid)
    }

    /// Says that something is another than it was.
    pub(super) fn changed(&self) {
        self.version.fetch_add(1, Ordering::AcqRel);
        if let Some(kicks) = &*self.kicks.lock() {
            let _ = kicks.try_send(());
        }
    }

    /// Lets the threads end.
    pub(super) fn end(&self) {
        *self.kicks.lock() = None;
        self.live.lock().clear();
    }

    fn set_withdrawn(&self, rid: RepoKey, is_withdrawn: bool) -> bool {
        let mut all = self.withdrawn.lock();
        if is_withdrawn { all.insert(rid) } else { all.remove(&rid) }
    }

    fn forget_ended(&self) {
        let mut live = self.live.lock();
        let before = live.len();
        // What they follow ends with them, outside of the lock.
        let (over, rest): (Vec<_>, Vec<_>) = live.drain(..).partition(|f| f.is_over());
        *live = rest;
        let is_less = live.len() < before;
        drop(live);
        drop(over);
        if is_less {
            self.changed();
        }
    }
}

/// A copy, and its reader when there is one.
type Candidate = (Repo, Option<Arc<Follow>>);

/// The thread's tools.
pub(super) struct Upkeep {
    pub(super) store: Store,
    pub(super) swarm: Swarm,
    pub(super) directory: Arc<RepoDirectory>,
    pub(super) follows: Arc<Follows>,
}

impl Upkeep {
    /// Runs until `stop` or the network ends.
    pub(super) fn run(self, stop: &Receiver<()>) {
        let mut due: HashMap<RepoId, Instant> = HashMap::new();
        loop {
            self.follows.forget_ended();
            match self.candidates() {
                Ok(candidates) => {
                    due.retain(|id, _| candidates.iter().any(|(repo, _)| repo.id == *id));
                    for (repo, follow) in candidates {
                        if self.swarm.net().waits().has_ended() {
                            return;
                        }
                        if due.get(&repo.id).is_some_and(|at| *at > Instant::now()) {
                            continue;
                        }
                        if let Err(error) = self.look_after(&repo, follow.as_deref()) {
                            tracing::debug!(%error, repo = %repo.name, "its publisher is away");
                        }
                        due.insert(repo.id, Instant::now() + pause(repo.id, due.len()));
                    }
                }
                Err(error) => tracing::warn!(%error, "repositories of other peers"),
            }
            match stop.recv_timeout(LOOK) {
                Ok(()) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Copies that are read now, and those that are to be served on always.
    fn candidates(&self) -> Result<Vec<Candidate>, NodeError> {
        let live = self.follows.live.lock().clone();
        let read = live.into_iter().filter(|follow| follow.through.get().is_some());
        let mut all: Vec<_> = read.map(|follow| (follow.repo.clone(), Some(follow))).collect();
        for (id, _) in self.store.swarm().repos()? {
            let is_new = !all.iter().any(|(repo, _)| repo.id == id);
            if !is_new || self.store.settings(id)?.seed() != SeedPolicy::Always {
                continue;
            }
            let repo = self.store.repos().record(id)?;
            all.extend(repo.filter(|repo| repo.partial).map(|repo| (repo, None)));
        }
        Ok(all)
    }

    /// Finds out whether it is still there and public, and brings its references.
    pub(super) fn look_after(&self, repo: &Repo, follow: Option<&Follow>) -> Result<(), NodeError> {
        let Some((peer, name)) = publisher_of(repo) else { return Ok(()) };
        let Some(rid) = self.store.swarm().repo(repo.id)?.map(|known| known.rid) else {
            return Ok(());
        };
        match lookup::ask(&self.store, &self.swarm, peer, &name) {
            Ok(record) => {
                let record = record.filter(|record| record.claims().rid == rid);
                if self.follows.set_withdrawn(rid, record.is_none()) {
                    tracing::info!(repo = %repo.name, "is served on: {}", record.is_some());
                }
                if let (Some(record), Some(follow)) = (record, follow) {
                    self.bring_refs(follow, peer, &record)?;
                }
            }
            Err(NodeError::Net(_)) if self.directory.followed_is_public(repo)? => {
                lookup::search(&self.store, &self.swarm, &Slot { rid, publisher: peer }.key())?;
            }
            Err(error) => return Err(error),
        }
        self.follows.changed();
        Ok(())
    }

    /// Brings all references when they are not those of the record.
    fn bring_refs(
        &self,
        follow: &Follow,
        peer: PeerId,
        record: &RepoRecord,
    ) -> Result<(), NodeError> {
        let Some(through) = follow.through.get().and_then(Weak::upgrade) else { return Ok(()) };
        let (digest, _) = self.directory.refs(&follow.repo)?;
        if digest == record.claims().refs {
            return Ok(());
        }
        let lines = match follow.fetcher.refs_of(peer, &[], REF_PAGES) {
            Ok(Some(lines)) => lines,
            Ok(None) => return Ok(()),
            Err(error) => {
                tracing::debug!(%error, "its references are not brought");
                return Ok(());
            }
        };
        if digest_of(&lines) != Some(record.claims().refs) {
            // They moved between the two questions; next time.
            return Ok(());
        }
        let mut ids: Vec<_> = lines.iter().filter_map(|line| line.id).collect();
        ids.sort_unstable();
        ids.dedup();
        for ids in ids.chunks(OBJECTS_AT_ONCE) {
            through.fetch(&ObjectWant { history: 1, ..ObjectWant::exactly(ids) })?;
        }
        let mut edits: HashMap<RefName, Option<RefTarget>> = HashMap::new();
        for (name, _) in self.store.refs().list(follow.repo.id, b"")? {
            edits.insert(name, None);
        }
        for line in lines {
            let direct = line.id.map(RefTarget::Direct);
            edits.insert(line.name, line.target.map(RefTarget::Symbolic).or(direct));
        }
        let edit = |(name, new)| RefEdit { name, expect: Expect::Any, new };
        let edits = edits.into_iter().map(edit).collect();
        self.store.refs().apply(follow.repo.id, &RefTransaction { edits })?;
        Ok(())
    }
}

/// The digest of references as a peer told them; `None` when they are not in their order.
pub(super) fn digest_of(lines: &[RefLine]) -> Option<RefsDigest> {
    let mut hash = RefsHasher::default();
    for line in lines {
        hash.add(&line.name, line.id.as_ref(), line.target.as_ref()).ok()?;
    }
    Some(hash.finish())
}

/// Time to the next question, spread so that those that began together do not stay together.
fn pause(repo: RepoId, salt: usize) -> Duration {
    let salt = u32::try_from(salt).unwrap_or(0);
    let spread = repo.0.wrapping_mul(41).wrapping_add(salt.wrapping_mul(13)) % 103;
    ASK_AGAIN * (205 + spread) / 256
}
