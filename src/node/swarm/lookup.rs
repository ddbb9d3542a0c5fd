//! Finding a repository among peers: its record, from its publisher or from the DHT, and who serves
//! it.

use std::time::Duration;

use libp2p::kad::RecordKey;
use libp2p::{Multiaddr, PeerId};
use mega_storage::{DhtKey, RepoKey, RepoName, Store};

use super::book::{StoreBook, unix_now};
use super::{NodeSwarm, key_of};
use crate::node::NodeError;
use crate::swarm::exchange::Swarm;
use crate::swarm::net::NetError;
use crate::swarm::record::{
    self, RepoRecord, RepoSought, Slot, forks_key, name_key, providers_key, remembered,
};
use crate::swarm::wire::{Reply, Request};

/// How long a search of the DHT is waited for.
const SEARCH_TIME: Duration = Duration::from_secs(15);
/// Records that one search brings, at the most.
const ANSWERS_MAX: usize = 64;
/// Publishers of one repository that are looked at.
const PUBLISHERS_MAX: usize = 20;

/// What the network knows of a repository.
#[derive(Clone, Debug)]
pub struct Discovery {
    /// Its id.
    pub rid: RepoKey,
    /// The newest record of the peer that made it; `None` when only forks are known.
    pub origin: Option<RepoRecord>,
    /// The newest records of others.
    pub forks: Vec<RepoRecord>,
    /// Who serves it, and where those are that could be reached.
    pub serving: Vec<(PeerId, Vec<Multiaddr>)>,
}

/// Asks the DHT for the newest record at a place, which has to be a public repository's; what is
/// older than one seen before does not count.
pub(super) fn search(
    store: &Store,
    swarm: &Swarm,
    key: &DhtKey,
) -> Result<Option<RepoRecord>, NodeError> {
    let net = swarm.net();
    let mut answers: Vec<Vec<u8>> = Vec::new();
    let gather = async {
        let mut found = net.get(key_of(key)).await;
        while let Some(value) = found.recv().await {
            answers.push(value);
            if answers.len() == ANSWERS_MAX {
                break;
            }
        }
    };
    net.block_on(async { tokio::time::timeout(SEARCH_TIME, gather).await.ok() })?;
    let now = unix_now();
    let good = answers.iter().filter_map(|bytes| record::accept_in_dht(bytes, key, now, None).ok());
    let order = |record: &RepoRecord| (record.claims().seq, record.bytes().to_vec());
    let Some(best) = good.max_by_key(order) else { return Ok(None) };
    let slot = best.claims().slot();
    // Not pinned: it is when a repository here is bound to it.
    let choice = record::take_in(store.swarm(), &slot, [best.bytes()], now, false)?;
    Ok(choice.record.filter(|record| record.claims().belongs_at(key)))
}

/// Asks a peer for the record of what it calls `name`, and holds it to every rule. `None` when it
/// says that there is none for us.
pub(super) fn ask(
    store: &Store,
    swarm: &Swarm,
    peer: PeerId,
    name: &RepoName,
) -> Result<Option<RepoRecord>, NodeError> {
    let failed = |reason: String| NodeError::Remote { url: shown(peer, name), reason };
    let addresses = StoreBook::addresses(store, &peer)?;
    let _following = swarm.follow(RepoKey::ANY, vec![(peer, addresses.clone())], false);
    let connect = swarm.net().connect(peer, addresses);
    swarm.net().block_on(connect)??;
    let request = Request::Resolve { name: name.clone() };
    let bytes = match swarm.call(peer, request)? {
        Reply::Record(bytes) => bytes,
        Reply::NotFound => return Ok(None),
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
    let older = || failed("its record is older than one seen before".to_owned());
    choice.record.ok_or_else(older).map(Some)
}

/// The record of what `peer` calls `name`: from itself; when it is away, from the DHT, where only
/// public repositories are.
pub(in crate::node) fn resolve(
    store: &Store,
    swarm: &NodeSwarm,
    peer: PeerId,
    name: &RepoName,
) -> Result<RepoRecord, NodeError> {
    let failed = |reason: String| NodeError::Remote { url: shown(peer, name), reason };
    match ask(store, swarm.exchange(), peer, name) {
        Ok(Some(record)) => Ok(record),
        Ok(None) => Err(failed("it has no such repository, or does not show it".to_owned())),
        Err(NodeError::Net(error)) => {
            match search(store, swarm.exchange(), &name_key(&peer, name))? {
                Some(record) => Ok(record),
                None => Err(failed(format!("{error}; and nobody else knows of it"))),
            }
        }
        Err(error) => Err(error),
    }
}

fn shown(peer: PeerId, name: &RepoName) -> String {
    format!("p2p://{peer}/repo/{name}")
}

/// Peers that say in the DHT that they have what is at `key`, as many as answer in time.
fn providers(swarm: &Swarm, key: RecordKey) -> Result<Vec<PeerId>, NetError> {
    let net = swarm.net();
    let mut peers = Vec::new();
    let gather = async {
        let mut found = net.providers(key).await;
        while let Some(peer) = found.recv().await {
            peers.push(peer);
            if peers.len() == PUBLISHERS_MAX {
                break;
            }
        }
    };
    net.block_on(async { tokio::time::timeout(SEARCH_TIME, gather).await.ok() })?;
    peers.sort();
    peers.dedup();
    Ok(peers)
}

/// Finds out what the network knows of a repository. Blocks for as long as searches take.
pub(super) fn discover(
    store: &Store,
    swarm: &NodeSwarm,
    sought: &RepoSought,
) -> Result<Discovery, NodeError> {
    let exchange = swarm.exchange();
    let (rid, named) = match sought {
        RepoSought::Key(rid) => (*rid, None),
        RepoSought::Named { name, peer } => {
            let record = resolve(store, swarm, *peer, name)?;
            (record.claims().rid, Some(record))
        }
    };
    let is_public = named.as_ref().is_none_or(|record| record.claims().is_public);
    let mut publishers = match is_public {
        true => providers(exchange, key_of(&forks_key(&rid)))?,
        // Of what not everybody may read, the DHT is asked nothing.
        false => Vec::new(),
    };
    publishers.push(swarm.identity().peer_id());
    let mut records: Vec<RepoRecord> = named.into_iter().collect();
    let mut at = 0;
    while let Some(&publisher) = publishers.get(at) {
        at += 1;
        let slot = Slot { rid, publisher };
        let found = match is_public && publisher != swarm.identity().peer_id() {
            true => search(store, exchange, &slot.key())?,
            false => None,
        };
        let found = match found {
            None => remembered(store.swarm(), &slot, unix_now())?,
            found => found,
        };
        let Some(record) = found else { continue };
        if !publishers.contains(&record.claims().origin) {
            publishers.push(record.claims().origin);
        }
        records.retain(|known| known.claims().publisher != publisher);
        records.push(record);
    }
    let (origin, forks) = records.into_iter().partition::<Vec<_>, _>(RepoRecord::is_origins);
    let serving = if is_public { serving(exchange, &rid)? } else { Vec::new() };
    if origin.is_empty() && forks.is_empty() && serving.is_empty() {
        let reason = "nobody that can be reached knows of it".to_owned();
        return Err(NodeError::Remote { url: rid.to_string(), reason });
    }
    Ok(Discovery { rid, origin: origin.into_iter().next(), forks, serving })
}

/// Who serves a repository, and the addresses of those that a connection could be made to.
fn serving(exchange: &Swarm, rid: &RepoKey) -> Result<Vec<(PeerId, Vec<Multiaddr>)>, NetError> {
    let net = exchange.net();
    let peers = providers(exchange, key_of(&providers_key(rid)))?;
    let dials = peers.iter().map(|peer| net.connect(*peer, Vec::new()));
    let connected = net.block_on(async {
        let all = libp2p::futures::future::join_all(dials);
        let _ = tokio::time::timeout(SEARCH_TIME, all).await;
        net.peers().await
    })??;
    let addresses = |peer: &PeerId| {
        let row = connected.iter().find(|row| row.peer == *peer);
        row.map(|row| row.addresses.clone()).unwrap_or_default()
    };
    Ok(peers.iter().map(|peer| (*peer, addresses(peer))).collect())
}
