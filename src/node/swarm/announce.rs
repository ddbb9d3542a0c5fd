//! What this store tells the network, kept true: which repositories it serves, which large files of
//! them it holds, and the records of those that are public.
//!
//! A thread looks at the store once a second. What is new is told at once, a record that changed no
//! more often than every [`RECORD_GAP`], what is no longer so is taken back: nobody is answered
//! from then on, nodes that heard of it forget it when its life ends.
//!
//! Invariant: nothing of a repository that is not public, here or at the peer it is a copy of, goes
//! to the DHT.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use mega_storage::{DhtKey, Repo, RepoId, SeedPolicy, Store, Visibility};
use tokio::sync::Semaphore;

use super::directory::RepoDirectory;
use super::follows::Follows;
use super::key_of;
use crate::node::NodeError;
use crate::swarm::net::{Net, NetError};
use crate::swarm::record::{RepoRecord, file_key, forks_key, name_key, providers_key};

/// How often the store is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// All is looked at anew after this, also when nothing seems to have changed: files that came.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// Shortest time between two records of one repository that are sent out.
const RECORD_GAP: Duration = Duration::from_secs(5);
/// Files from this length on are announced by themselves, in bytes.
pub(super) const FILE_LEN_MIN: u64 = 16 << 20;
/// Keys of repositories and files that one node announces; beyond, files are found by their
/// repositories alone.
const KEYS_MAX: usize = 4000;
/// Records that are on their way into the DHT at a time.
const PUTS_AT_ONCE: usize = 8;

/// What the network should be told.
#[derive(Default)]
struct Wanted {
    keys: HashSet<DhtKey>,
    values: HashMap<DhtKey, Vec<u8>>,
    open: HashSet<RepoId>,
}

/// What was looked at: while it stays the same, there is nothing new.
#[derive(PartialEq, Eq)]
struct Looked {
    refs: u64,
    follows: u64,
    serves: bool,
    repos: Vec<(RepoId, String, Visibility)>,
    /// Of copies.
    policies: Vec<SeedPolicy>,
}

/// What it works with.
pub(super) struct Announcer {
    pub(super) store: Store,
    pub(super) directory: Arc<RepoDirectory>,
    pub(super) follows: Arc<Follows>,
    pub(super) net: Net,
    /// The store's own public repositories are announced, too.
    pub(super) serves: Arc<AtomicBool>,
}

/// What has been told.
struct Told {
    keys: HashSet<DhtKey>,
    values: HashMap<DhtKey, (Vec<u8>, Instant)>,
    puts: Arc<Semaphore>,
}

impl Announcer {
    /// Runs until `kicks` or the network ends; each word in it has the store looked at at once.
    pub(super) fn run(self, kicks: &Receiver<()>) {
        let puts = Arc::new(Semaphore::new(PUTS_AT_ONCE));
        let mut told = Told { keys: HashSet::new(), values: HashMap::new(), puts };
        let mut last: Option<(Looked, Instant)> = None;
        loop {
            match self.look(&mut told, &mut last) {
                Ok(()) => {}
                Err(NodeError::Net(NetError::Stopped)) => return,
                Err(error) => tracing::warn!(%error, "what is served cannot be announced"),
            }
            match kicks.recv_timeout(LOOK) {
                Ok(()) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn look(&self, told: &mut Told, last: &mut Option<(Looked, Instant)>) -> Result<(), NodeError> {
        let repos = self.store.repos().list()?;
        let copies = repos.iter().filter(|repo| repo.partial);
        let policies = copies.map(|repo| Ok(self.store.settings(repo.id)?.seed()));
        let looked = Looked {
            refs: self.store.refs().version(),
            follows: self.follows.version(),
            serves: self.serves.load(Ordering::Acquire),
            repos: repos.iter().map(|r| (r.id, r.name.to_string(), r.visibility)).collect(),
            policies: policies.collect::<Result<_, NodeError>>()?,
        };
        let is_same =
            |(before, at): &(Looked, Instant)| *before == looked && at.elapsed() < LOOK_AGAIN;
        if last.as_ref().is_some_and(is_same) {
            return Ok(());
        }
        let wanted = self.wanted(&repos, looked.serves)?;
        self.directory.set_open(wanted.open.clone());
        match self.tell(wanted, told)? {
            true => *last = Some((looked, Instant::now())),
            // Some came too soon after the ones before.
            false => *last = None,
        }
        Ok(())
    }

    fn wanted(&self, repos: &[Repo], serves: bool) -> Result<Wanted, NodeError> {
        let mut wanted = Wanted::default();
        let mut files = BTreeMap::new();
        for repo in repos {
            let record = match self.record(repo, serves)? {
                Some(record) if record.claims().is_public => record,
                _ => continue,
            };
            let claims = record.claims();
            wanted.keys.insert(providers_key(&claims.rid));
            if repo.partial {
                wanted.open.insert(repo.id);
            } else {
                wanted.keys.insert(forks_key(&claims.rid));
            }
            let at_name = name_key(&claims.publisher, claims.current_name());
            for key in [claims.slot().key(), at_name] {
                wanted.values.insert(key, record.bytes().to_vec());
            }
            for (file, len) in self.store.held_files(repo.id, FILE_LEN_MIN, KEYS_MAX)? {
                files.insert(std::cmp::Reverse((len, file)), ());
            }
        }
        let room = KEYS_MAX.saturating_sub(wanted.keys.len());
        let largest = files.into_keys().take(room).map(|std::cmp::Reverse((_, file))| file);
        wanted.keys.extend(largest.map(|file| file_key(&file)));
        Ok(wanted)
    }

    /// The record of a repository that may be announced now, when it says that it is public.
    fn record(&self, repo: &Repo, serves: bool) -> Result<Option<RepoRecord>, NodeError> {
        if !repo.partial {
            let is_ours = serves && repo.visibility == Visibility::Public;
            return if is_ours { self.directory.own_record(repo) } else { Ok(None) };
        }
        let Some(rid) = self.store.swarm().repo(repo.id)?.map(|known| known.rid) else {
            return Ok(None);
        };
        let is_mounted = self.follows.is_read(repo.id);
        let may = match self.store.settings(repo.id)?.seed() {
            SeedPolicy::Always => serves || is_mounted,
            SeedPolicy::Mounted => is_mounted,
            SeedPolicy::Never => false,
        };
        if !may || self.follows.is_withdrawn(&rid) {
            return Ok(None);
        }
        Ok(self.directory.followed_record(repo)?)
    }

    /// Tells what is new and takes back what is over; whether all could be told.
    fn tell(&self, wanted: Wanted, told: &mut Told) -> Result<bool, NetError> {
        let net = &self.net;
        for key in told.keys.difference(&wanted.keys) {
            net.block_on(net.unprovide(key_of(key)))?;
        }
        for key in wanted.keys.difference(&told.keys) {
            net.block_on(net.provide(key_of(key)))?;
        }
        told.keys = wanted.keys;
        for key in told.values.keys().filter(|key| !wanted.values.contains_key(*key)) {
            net.block_on(net.unput(key_of(key)))?;
        }
        told.values.retain(|key, _| wanted.values.contains_key(key));
        let mut is_all = true;
        for (key, value) in wanted.values {
            match told.values.get(&key) {
                Some((known, _)) if *known == value => continue,
                Some((_, at)) if at.elapsed() < RECORD_GAP => {
                    is_all = false;
                    continue;
                }
                _ => {}
            }
            told.values.insert(key, (value.clone(), Instant::now()));
            let (net, puts) = (net.clone(), told.puts.clone());
            self.net.runtime().spawn(async move {
                let _permit = puts.acquire().await;
                if let Err(error) = net.put(key_of(&key), value).await {
                    tracing::debug!(%error, "a record is not in the DHT yet");
                }
            });
        }
        Ok(is_all)
    }
}
