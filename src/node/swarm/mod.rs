//! The node as a peer: its identity, what it serves, what it announces, and the repositories that
//! it reads from others.

mod announce;
mod book;
mod directory;
mod follows;
mod git;
mod lookup;
mod peer_source;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};
use libp2p::Multiaddr;
use libp2p::kad::RecordKey;
use mega_storage::{Repo, RepoKey, Store};
use tokio::runtime::{Builder, Runtime};

use announce::Announcer;
use book::StoreBook;
pub use book::unix_now;
use directory::RepoDirectory;
use follows::{Follows, Upkeep};
use git::PeerGit;
pub use git::{PeerGitStream, open_git};
pub use lookup::Discovery;
pub(super) use lookup::resolve;
pub(super) use peer_source::{PeerSource, bind, local_name};

use super::{Node, NodeError};
use crate::audit::Audit;
use crate::http::Series;
use crate::swarm::exchange::{
    BULK, ExchangeOptions, GIT, GIT_STREAMS_MAX, PeerStatus, Swarm, URGENT,
};
use crate::swarm::identity::Identity;
use crate::swarm::net::{Net, NetOptions, NetUse, ValueCheck};
use crate::swarm::record::{self, DhtKey, RepoRecord, RepoSought};
use crate::swarm::schedule::Rates;
use crate::swarm::serve::{Answerer, UplinkLimits};
use crate::swarm::threads::{Threads, name_of};

/// How often addresses that are being opened are looked at.
const LISTEN_LOOK: Duration = Duration::from_millis(5);
/// How long each part of the end is waited for. All that waits for peers wakes at once: this is for
/// what is in the middle of reading or writing the store.
const END_TIME: Duration = Duration::from_secs(10);

/// How the node takes part.
#[derive(Clone, Debug, Default)]
pub struct SwarmOptions {
    /// The network: the peers to know it from beside those of the store.
    pub net: NetOptions,
    /// Bytes a second that may come.
    pub download: Option<u64>,
    /// Bytes a second that may go.
    pub upload: Option<u64>,
}

/// The node's part in the swarm. It ends when it is dropped: nobody waits for a peer any more, and
/// no thread of its own is left that could use the store.
pub struct NodeSwarm {
    identity: Arc<Identity>,
    directory: Arc<RepoDirectory>,
    follows: Arc<Follows>,
    serves: Arc<AtomicBool>,
    swarm: Swarm,
    listen_count: usize,
    /// Bytes that upstreams gave.
    upstream_len: Arc<AtomicU64>,
    /// What looks after followed repositories ends with it.
    upkeep: Option<Sender<()>>,
    /// What announces, and what looks after followed repositories.
    threads: Threads,
    runtime: Option<Runtime>,
}

impl Drop for NodeSwarm {
    fn drop(&mut self) {
        self.follows.end();
        self.upkeep = None;
        let mut is_over = self.swarm.end(END_TIME);
        is_over &= self.threads.join(END_TIME);
        if let Some(runtime) = self.runtime.take() {
            // Not here: a thread that runs tasks of another runtime may not wait for this one.
            let end = move || runtime.shutdown_timeout(END_TIME);
            let name = name_of("end", &self.identity.peer_id());
            let ending = std::thread::Builder::new().name(name).spawn(end);
            is_over &= ending.is_ok_and(|thread| thread.join().is_ok());
        }
        is_over &= self.swarm.join(END_TIME);
        if !is_over {
            tracing::warn!("a thread of the swarm has not ended in time");
        }
    }
}

/// Records are right when they keep every rule for their key.
struct RecordCheck;

impl ValueCheck for RecordCheck {
    fn is_good(&self, key: &[u8], new: &[u8], old: Option<&[u8]>) -> bool {
        let Some(key) = DhtKey::from_slice(key) else { return false };
        let now = unix_now();
        let old = old.and_then(|old| record::check(old, now).ok());
        let highest = old.as_ref().map(RepoRecord::as_highest);
        record::accept_in_dht(new, &key, now, highest).is_ok()
    }
}

impl NodeSwarm {
    fn start(store: &Store, audit: &Arc<Audit>, options: &SwarmOptions) -> Result<Self, NodeError> {
        let identity = Arc::new(Identity::open_or_create(store.path())?);
        let book = Arc::new(StoreBook::new(store));
        let directory = Arc::new(RepoDirectory::new(store, &identity));
        let runtime = Builder::new_multi_thread()
            .enable_all()
            .worker_threads(2)
            .thread_name(name_of("swarm", &identity.peer_id()))
            .max_blocking_threads(64 + GIT_STREAMS_MAX)
            .build()
            .map_err(|error| NodeError::io("starting threads for the swarm", error))?;
        let mut net = options.net.clone();
        net.bootstrap.extend(book.known()?);
        let used = NetUse { check: Arc::new(RecordCheck), accept: vec![URGENT, BULK, GIT] };
        let (net, events) = Net::start(identity.keypair(), net, used, runtime.handle())?;
        let answerer = Arc::new(Answerer::new(store, directory.clone()));
        let git = PeerGit::new(store, audit, &answerer, &book, net.waits());
        let exchange = ExchangeOptions {
            answerer: Some(answerer),
            git: Some(Arc::new(git)),
            book: book.clone(),
            download: Rates { all: options.download, peer: None },
            upload: UplinkLimits { all: options.upload, peer: None },
        };
        for (peer, left) in book.banned_now()? {
            runtime.block_on(net.ban(peer, left));
        }
        let swarm = Swarm::start(net, events, exchange)?;
        let (kicks, kicked) = bounded(1);
        let (upkeep, ended) = bounded(0);
        let (follows, serves) = (Arc::new(Follows::new(kicks)), Arc::new(AtomicBool::new(false)));
        let announcer = Announcer {
            store: store.clone(),
            directory: directory.clone(),
            follows: follows.clone(),
            net: swarm.net().clone(),
            serves: serves.clone(),
        };
        let failed = |error| NodeError::io("starting threads for the swarm", error);
        let mut threads = Threads::default();
        let name = |what| name_of(what, &identity.peer_id());
        threads.start(name("tell"), move || announcer.run(&kicked)).map_err(failed)?;
        let keeper = Upkeep {
            store: store.clone(),
            swarm: swarm.clone(),
            directory: directory.clone(),
            follows: follows.clone(),
        };
        threads.start(name("follow"), move || keeper.run(&ended)).map_err(failed)?;
        Ok(Self {
            identity,
            directory,
            follows,
            serves,
            swarm,
            listen_count: options.net.listen.len(),
            upstream_len: Arc::default(),
            upkeep: Some(upkeep),
            threads,
            runtime: Some(runtime),
        })
    }

    /// Who this is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Where peers find it, each address with its peer id; waits up to `wait` for those that are
    /// being opened.
    pub fn addresses(&self, wait: Duration) -> Vec<Multiaddr> {
        let net = self.swarm.net();
        let all = async {
            let mut look = tokio::time::interval(LISTEN_LOOK);
            loop {
                look.tick().await;
                let own = net.own_state().await.unwrap_or_default();
                if own.listening.len() >= self.listen_count {
                    return;
                }
            }
        };
        let own = net.block_on(async {
            let _ = tokio::time::timeout(wait, all).await;
            net.own_state().await
        });
        let own = own.flatten().unwrap_or_default();
        let full = |address: Multiaddr| address.with_p2p(self.identity.peer_id()).ok();
        own.listening.into_iter().filter_map(full).collect()
    }

    /// How it does, for `/metrics`. Blocks for a moment.
    pub fn series(&self) -> Vec<Series> {
        let net = self.swarm.net();
        let connected = net.block_on(net.peers()).flatten().map_or(0, |peers| peers.len());
        let (all, peers) = self.swarm.status();
        let counts = all.progress.counts;
        let sum = |of: fn(&PeerStatus) -> u64| peers.iter().map(of).sum::<u64>();
        let gauge = |name, doc, value| Series { name, doc, is_counter: false, value };
        let total = |name, doc, value| Series { name, doc, is_counter: true, value };
        let wasted = counts.duplicate_len + counts.unwanted_len;
        vec![
            gauge("swarm_peers", "Peers connected now.", connected as u64),
            gauge("swarm_repositories", "Repositories read from peers.", all.followed as u64),
            total("swarm_in_bytes_total", "Bytes of chunks from peers.", counts.good_len),
            total(
                "swarm_upstream_bytes_total",
                "Bytes of packs and chunks from upstreams, in place of peers.",
                self.upstream_len.load(Ordering::Relaxed),
            ),
            total("swarm_wasted_bytes_total", "Bytes that came twice or too late.", wasted),
            total("swarm_out_bytes_total", "Bytes of content to peers.", sum(|p| p.sent_len)),
            total("swarm_chunks_verified_total", "Chunks that were right.", counts.good),
            total("swarm_chunks_wrong_total", "Chunks with wrong bytes.", counts.bad),
            total("swarm_requests_failed_total", "Requests that broke off.", counts.failures),
            total("swarm_failures_total", "Connections that failed.", sum(|p| p.failures)),
            total("swarm_bans_total", "Peers banned.", sum(|p| p.bans.into())),
        ]
    }

    /// The exchange with peers.
    pub fn exchange(&self) -> &Swarm {
        &self.swarm
    }

    /// Announces every public repository of the store from now on, each change of them, and the
    /// copies of others' that are to be served on always.
    pub fn announce(&self) {
        self.serves.store(true, Ordering::Release);
        self.follows.changed();
    }

    /// Finds out what the network knows of a repository. Blocks.
    ///
    /// # Errors
    /// When nobody knows of it, or the store cannot be read.
    pub fn discover(&self, store: &Store, sought: &RepoSought) -> Result<Discovery, NodeError> {
        lookup::discover(store, self, sought)
    }

    /// Whether the last that was heard of a copy's origin is that everybody may read it there.
    pub(super) fn is_public_there(&self, repo: &Repo) -> Result<bool, NodeError> {
        Ok(self.directory.followed_is_public(repo)?)
    }

    /// The key by which peers know a repository; `None` when it has none yet.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn repo_key(
        &self,
        store: &Store,
        repo: mega_storage::RepoId,
    ) -> Result<Option<RepoKey>, NodeError> {
        Ok(store.swarm().repo(repo)?.map(|known| known.rid))
    }
}

/// The record of a repository here as peers get it: this store's own, or of one that is a copy the
/// last that its publisher signed; `None` when that has ended.
///
/// # Errors
/// When the store cannot be read.
pub fn repo_record(node: &Node, repo: &Repo) -> Result<Option<RepoRecord>, NodeError> {
    let identity = Arc::new(Identity::open_or_create(node.store.path())?);
    let directory = RepoDirectory::new(&node.store, &identity);
    match repo.partial {
        true => Ok(directory.followed_record(repo)?),
        false => directory.own_record(repo),
    }
}

fn key_of(key: &DhtKey) -> RecordKey {
    RecordKey::new(key.as_bytes())
}

impl Node {
    /// The node as a peer, started when it was not.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn swarm(&self, options: &SwarmOptions) -> Result<Arc<NodeSwarm>, NodeError> {
        let mut started = self.swarm.lock();
        if let Some(swarm) = started.as_ref() {
            return Ok(swarm.clone());
        }
        let swarm = Arc::new(NodeSwarm::start(&self.store, &self.audit, options)?);
        *started = Some(swarm.clone());
        Ok(swarm)
    }

    /// The node as a peer, when it is one.
    pub fn running_swarm(&self) -> Option<Arc<NodeSwarm>> {
        self.swarm.lock().clone()
    }
}
