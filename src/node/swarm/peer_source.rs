//! A repository at a peer, as a source that a repository here is filled from.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use libp2p::PeerId;
use mega_storage::{
    ChunkSource, NameError, ObjectSource, ReadThrough, RefName, Repo, RepoKey, RepoName,
    SourceError, SourceResult, Store, SwarmRepo,
};

use super::book::{StoreBook, unix_now};
use super::follows::{Follow, REF_PAGES, digest_of};
use super::{NodeSwarm, lookup};
use crate::http::client::{HttpSource, RemoteRef};
use crate::node::NodeError;
use crate::swarm::exchange::Swarm;
use crate::swarm::fetcher::{Fetcher, FurtherPeers};
use crate::swarm::hedge::{HEDGE_AFTER, Hedge, Upstream};
use crate::swarm::net::NetError;
use crate::swarm::record::{self, RepoRecord, Slot, peer_bytes};
use crate::swarm::wire::RefLine;

/// Peers after the first that are asked for objects which those before do not have.
const FURTHER_PEERS: usize = 3;

/// What the copy here of a peer's repository is called.
pub(in crate::node) fn local_name(peer: &PeerId, name: &RepoName) -> Result<RepoName, NameError> {
    let joint = if name.as_str().split('/').count() < 4 { '/' } else { '-' };
    RepoName::new(&format!("{peer}{joint}{name}"))
}

/// How long whoever serves a repository is waited for when its publisher is away.
const FIRST_PEER_TIME: Duration = Duration::from_secs(10);

/// One repository, read from peers.
#[derive(Clone)]
pub(in crate::node) struct PeerSource {
    follow: Arc<Follow>,
    store: Store,
    swarm: Swarm,
    rid: RepoKey,
    shown: String,
    beside: Option<Beside>,
}

/// The server beside them.
#[derive(Clone)]
struct Beside {
    server: Arc<HttpSource>,
    upstream: Arc<Upstream>,
    hedge: Arc<Hedge>,
}

impl PeerSource {
    /// Reads the repository of this key, of which `repo` is the copy here; `peer`, its publisher,
    /// is asked for it first, and others that the DHT names when it is public.
    pub(in crate::node) fn new(
        store: &Store,
        swarm: &NodeSwarm,
        peer: PeerId,
        rid: RepoKey,
        repo: &Repo,
        shown: String,
        wait: Duration,
    ) -> Result<Self, NodeError> {
        let addresses = StoreBook::addresses(store, &peer)?;
        let is_public = swarm.is_public_there(repo)?;
        let exchange = swarm.exchange().clone();
        let follow = Arc::new(Follow {
            repo: repo.clone(),
            peer,
            fetcher: Arc::new(Fetcher::new(&exchange, rid, peer, shown.clone(), wait)),
            through: OnceLock::new(),
            _following: exchange.follow(rid, vec![(peer, addresses)], is_public),
        });
        swarm.follows.add(follow.clone());
        Ok(Self { follow, store: store.clone(), swarm: exchange, rid, shown, beside: None })
    }

    /// The same with a server that is asked what peers do not answer in time.
    pub(in crate::node) fn beside(self, swarm: &NodeSwarm, server: HttpSource) -> Self {
        let server = Arc::new(server);
        let upstream = Arc::new(Upstream::new(&server, &swarm.upstream_len));
        let hedge = Arc::new(Hedge::new(&self.follow.fetcher, &upstream, HEDGE_AFTER));
        Self { beside: Some(Beside { server, upstream, hedge }), ..self }
    }

    /// What is asked beside peers.
    pub(in crate::node) fn upstream(&self) -> Option<&Arc<Upstream>> {
        self.beside.as_ref().map(|beside| &beside.upstream)
    }

    /// Notes who reads: it is followed, and may be served on, for as long as that is there.
    pub(in crate::node) fn read_by(&self, swarm: &NodeSwarm, through: &Arc<ReadThrough>) {
        let _ = self.follow.through.set(Arc::downgrade(through));
        swarm.follows.changed();
    }

    pub(in crate::node) fn refs(&self, names: &[RefName]) -> SourceResult<Vec<RemoteRef>> {
        let mut asked = vec![RefName::head()];
        asked.extend(names.iter().cloned());
        asked.sort();
        asked.dedup();
        let Some(Beside { server, hedge, .. }) = &self.beside else {
            return self.lines(&asked, names);
        };
        let (this, server) = (self.clone(), server.clone());
        let (names, same) = (names.to_vec(), names.to_vec());
        hedge.ask_one(move || this.lines(&asked, &names), move || server.refs(&same))
    }

    /// All references that it shows.
    pub(in crate::node) fn all_refs(&self) -> SourceResult<Vec<RemoteRef>> {
        self.lines(&[], &[])
    }

    /// Those of `asked`, or all when there are none; of `names`, HEAD may be all that is found.
    fn lines(&self, asked: &[RefName], names: &[RefName]) -> SourceResult<Vec<RemoteRef>> {
        let peer = self.follow.peer;
        let addresses = StoreBook::addresses(&self.store, &peer).unwrap_or_default();
        let connect = self.swarm.net().connect(peer, addresses);
        let lines = match self.swarm.net().block_on(connect).flatten() {
            Ok(()) => self.follow.fetcher.refs_of(peer, asked, usize::MAX)?,
            Err(error) => self.refs_of_others(asked, names, &error)?,
        };
        let Some(lines) = lines else {
            let reason = "it has no such repository, or does not show it".to_owned();
            return Err(SourceError::Refused { reason });
        };
        let line = |line: RefLine| RemoteRef { name: line.name, id: line.id, target: line.target };
        Ok(lines.into_iter().map(line).collect())
    }

    /// The references as others have them, while the publisher is away: all that they have must be
    /// what its signed record says. Else there is the commit that the record itself names.
    fn refs_of_others(
        &self,
        asked: &[RefName],
        names: &[RefName],
        error: &NetError,
    ) -> SourceResult<Option<Vec<RefLine>>> {
        let away = || SourceError::Unreachable { reason: error.to_string() };
        let record = self.newest_record().map_err(|error| {
            tracing::debug!(%error, "no record");
            away()
        })?;
        let record = record.filter(|record| record.claims().is_public).ok_or_else(away)?;
        let claims = record.claims();
        for peer in self.follow.fetcher.ready(FIRST_PEER_TIME) {
            match self.follow.fetcher.refs_of(peer, &[], REF_PAGES) {
                Ok(Some(mut lines)) if digest_of(&lines) == Some(claims.refs) => {
                    if !asked.is_empty() {
                        lines.retain(|line| asked.binary_search(&line.name).is_ok());
                    }
                    return Ok(Some(lines));
                }
                Ok(_) => {}
                Err(error) => tracing::debug!(%peer, %error, "references"),
            }
        }
        match claims.head {
            Some(head) if names.contains(&RefName::head()) => {
                Ok(Some(vec![RefLine { name: RefName::head(), id: Some(head), target: None }]))
            }
            _ => Err(away()),
        }
    }

    /// The newest record that the DHT has, or that was seen before.
    fn newest_record(&self) -> Result<Option<RepoRecord>, NodeError> {
        let slot = Slot { rid: self.rid, publisher: self.follow.peer };
        match lookup::search(&self.store, &self.swarm, &slot.key())? {
            Some(record) => Ok(Some(record)),
            None => Ok(record::remembered(self.store.swarm(), &slot, unix_now())?),
        }
    }

    pub(in crate::node) fn shown(&self) -> String {
        self.shown.clone()
    }

    /// All peers, and once more those after the first ones: each may have a part. Where the first
    /// answer may be a server's, all of them once more.
    pub(in crate::node) fn objects(&self) -> Vec<Arc<dyn ObjectSource>> {
        let fetcher = &self.follow.fetcher;
        let (first, skip): (Arc<dyn ObjectSource>, _) = match &self.beside {
            Some(beside) => (beside.hedge.clone(), 0),
            None => (fetcher.clone(), 1),
        };
        let further = (skip..=FURTHER_PEERS).map(|skip| FurtherPeers::new(fetcher, skip));
        let further = further.map(|peers| Arc::new(peers) as Arc<dyn ObjectSource>);
        std::iter::once(first).chain(further).collect()
    }

    pub(in crate::node) fn chunks(&self) -> Arc<dyn ChunkSource> {
        match &self.beside {
            Some(beside) => beside.hedge.clone(),
            None => self.follow.fetcher.clone(),
        }
    }
}

/// Notes that a repository here is filled from the one that a record is of.
pub(in crate::node) fn bind(
    store: &Store,
    repo: &Repo,
    record: &RepoRecord,
) -> Result<(), NodeError> {
    let claims = record.claims();
    let identity = SwarmRepo {
        rid: claims.rid,
        nonce: claims.nonce,
        origin: peer_bytes(&claims.origin),
        name: claims.name.clone(),
    };
    store.swarm().bind(repo.id, &identity)?;
    record::take_in(store.swarm(), &claims.slot(), [record.bytes()], unix_now(), true)?;
    Ok(())
}
