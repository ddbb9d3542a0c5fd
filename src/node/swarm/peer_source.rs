//! A repository at a peer, as a source that a repository here is filled from.

use std::sync::Arc;
use std::time::Duration;

use libp2p::PeerId;
use mega_storage::{
    ChunkSource, NameError, ObjectSource, Repo, RepoKey, RepoName, SourceResult, Store, SwarmRepo,
};

use super::NodeSwarm;
use super::book::{StoreBook, unix_now};
use crate::http::client::RemoteRef;
use crate::node::NodeError;
use crate::swarm::exchange::Following;
use crate::swarm::fetcher::Fetcher;
use crate::swarm::record::{self, RepoRecord, peer_bytes};
use crate::swarm::wire::{Reply, Request};

/// What the copy here of a peer's repository is called.
pub(in crate::node) fn local_name(peer: &PeerId, name: &RepoName) -> Result<RepoName, NameError> {
    let joint = if name.as_str().split('/').count() < 4 { '/' } else { '-' };
    RepoName::new(&format!("{peer}{joint}{name}"))
}

/// One repository, read from peers for as long as this is held.
pub(in crate::node) struct PeerSource {
    fetcher: Arc<Fetcher>,
    name: String,
    _following: Following,
}

impl PeerSource {
    /// Reads the repository of this key; `peer` is asked for it first.
    pub(in crate::node) fn new(
        store: &Store,
        swarm: &NodeSwarm,
        peer: PeerId,
        rid: RepoKey,
        name: &str,
        wait: Duration,
    ) -> Result<Self, NodeError> {
        let addresses = StoreBook::addresses(store, &peer)?;
        let following = swarm.exchange().follow(rid, vec![(peer, addresses)]);
        let fetcher = Arc::new(Fetcher::new(swarm.exchange(), rid, name.to_owned(), wait));
        Ok(Self { fetcher, name: name.to_owned(), _following: following })
    }

    pub(in crate::node) fn refs(
        &self,
        names: &[mega_storage::RefName],
    ) -> SourceResult<Vec<RemoteRef>> {
        let mut asked = vec![mega_storage::RefName::head()];
        asked.extend(names.iter().cloned());
        asked.sort();
        asked.dedup();
        self.lines(&asked)
    }

    fn lines(&self, asked: &[mega_storage::RefName]) -> SourceResult<Vec<RemoteRef>> {
        let Some(lines) = self.fetcher.refs(asked)? else {
            let reason = "it has no such repository, or does not show it".to_owned();
            return Err(mega_storage::SourceError::Refused { reason });
        };
        let line = |line: crate::swarm::wire::RefLine| RemoteRef {
            name: line.name,
            id: line.id,
            target: line.target,
        };
        Ok(lines.into_iter().map(line).collect())
    }

    /// All references that it shows.
    pub(in crate::node) fn all_refs(&self) -> SourceResult<Vec<RemoteRef>> {
        self.lines(&[])
    }

    pub(in crate::node) fn shown(&self) -> String {
        self.name.clone()
    }

    pub(in crate::node) fn objects(&self) -> Arc<dyn ObjectSource> {
        self.fetcher.clone()
    }

    pub(in crate::node) fn chunks(&self) -> Arc<dyn ChunkSource> {
        self.fetcher.clone()
    }
}

/// Asks a peer for the record of what it calls `name`, and holds it to every rule.
pub(in crate::node) fn resolve(
    store: &Store,
    swarm: &NodeSwarm,
    peer: PeerId,
    name: &RepoName,
) -> Result<RepoRecord, NodeError> {
    let shown = format!("p2p://{peer}/repo/{name}");
    let failed = |reason: String| NodeError::Remote { url: shown.clone(), reason };
    let addresses = StoreBook::addresses(store, &peer)?;
    let exchange = swarm.exchange();
    let _following = exchange.follow(RepoKey::ANY, vec![(peer, addresses)]);
    let runtime = exchange.net().runtime().clone();
    runtime
        .block_on(exchange.net().connect(peer, Vec::new()))
        .map_err(|e| failed(e.to_string()))?;
    let request = Request::Resolve { name: name.clone() };
    let reply = exchange.call(peer, request).map_err(|e| failed(e.to_string()))?;
    let bytes = match reply {
        Reply::Record(bytes) => bytes,
        Reply::NotFound => {
            return Err(failed("it has no such repository, or does not show it".to_owned()));
        }
        other => return Err(failed(format!("it answered {}", other.kind()))),
    };
    let now = unix_now();
    let record = record::check(&bytes, now).map_err(|e| failed(e.to_string()))?;
    let claims = record.claims();
    if claims.publisher != peer || claims.current_name() != name {
        return Err(failed("it answered with the record of another repository".to_owned()));
    }
    let slot = claims.slot();
    let choice = record::take_in(store.swarm(), &slot, [&bytes[..]], now, true)?;
    choice.record.ok_or_else(|| failed("its record is older than one seen before".to_owned()))
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
    Ok(())
}
