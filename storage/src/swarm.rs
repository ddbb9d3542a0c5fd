//! What a peer must remember: which id its repositories have among peers, the newest record that it
//! has seen of each, the peers that it knows, and the rows that it keeps for others in the DHT.
//!
//! Nothing of libp2p is known here: peers are bytes, records and addresses are bytes that have been
//! checked by whoever brings them. Whatever strangers can make grow has a limit, named here.
//! Invariants: a repository and an id belong to each other alone; a record that was seen is never
//! replaced by an older one. Rows whose loss costs only a question are written without a sync.

#![deny(clippy::indexing_slicing)]

mod dht;
mod ids;
mod peers;
mod repo;
mod seen;

use std::sync::Arc;

use parking_lot::Mutex;

use crate::db::{Db, Family};
use crate::error::{Result, StoreError};
use crate::row::{RowReader, put_counted, put_varint};

pub use dht::{DhtCounts, DhtProvider, DhtValue};
pub use ids::{DhtKey, PEER_ID_LEN_MAX, PeerIdBytes, RepoKey, RepoKeyParseError, RepoNonce};
pub use peers::SwarmPeer;
pub(crate) use repo::forget_repo;
pub use repo::{Bound, SwarmRepo};
pub use seen::SeenRecord;

/// Longest record of a repository, in bytes: well below what one message of the DHT carries.
pub const SWARM_RECORD_LEN_MAX: usize = 8 << 10;
/// Most addresses kept of a peer or a provider.
pub const PEER_ADDRESSES_MAX: usize = 16;
/// Longest address, in bytes.
pub const PEER_ADDRESS_LEN_MAX: usize = 128;
/// Most peers known. The longest unheard of go first; one that is allowed in never does.
pub const PEERS_MAX: usize = 4096;
/// Most records remembered, pinned ones aside. Those noted first go first.
pub const SEEN_RECORDS_MAX: usize = 8192;
/// Most keys, of values and of providers together, that one peer may have in the DHT's rows here.
pub const DHT_KEYS_PER_PEER_MAX: usize = 512;
/// Most values in the DHT's rows: 64 MiB with the longest.
pub const DHT_VALUES_MAX: usize = 8192;
/// Most providers in the DHT's rows.
pub const DHT_PROVIDERS_MAX: usize = 65_536;
/// Most providers of one key in the DHT's rows.
pub const DHT_PROVIDERS_PER_KEY_MAX: usize = 64;

/// First bytes of the keys.
const REPO: u8 = b'i';
const RID: u8 = b'r';
const SEEN: u8 = b's';
const PEER: u8 = b'p';
const VALUE: u8 = b'v';
const PROVIDER: u8 = b'a';

const ROW_VERSION: u8 = 1;

/// The swarm's own rows.
pub struct SwarmStore {
    db: Arc<Db>,
    /// Held from the look at what is there until the row that depends on it is written.
    tallies: Mutex<Tallies>,
}

/// How many rows there are, each since somebody had to know. Never too low.
#[derive(Default)]
struct Tallies {
    peers: Option<usize>,
    seen: Option<usize>,
    dht: Option<dht::Tally>,
}

impl SwarmStore {
    pub(crate) fn new(db: Arc<Db>) -> Self {
        Self { db, tallies: Mutex::default() }
    }
}

fn key(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = vec![kind];
    for part in parts {
        key.extend_from_slice(part);
    }
    key
}

fn damaged(key: &[u8], reason: &'static str) -> StoreError {
    crate::outbox::damaged(Family::Swarm, key, reason)
}

fn limit(what: &'static str, limit: usize, actual: usize) -> Result<()> {
    match actual > limit {
        true => Err(StoreError::Limit { what, limit: limit as u64, actual: actual as u64 }),
        false => Ok(()),
    }
}

/// How many rows have to go when there are `max` of a kind: several at once, so that not every new
/// row costs a look at all.
fn share_to_drop(max: usize) -> usize {
    (max / 16).max(1)
}

fn check_addresses(addresses: &[Vec<u8>]) -> Result<()> {
    limit("addresses of a peer", PEER_ADDRESSES_MAX, addresses.len())?;
    let longest = addresses.iter().map(Vec::len).max().unwrap_or(0);
    limit("bytes of a peer's address", PEER_ADDRESS_LEN_MAX, longest)
}

fn put_addresses(value: &mut Vec<u8>, addresses: &[Vec<u8>]) {
    put_varint(value, addresses.len() as u64);
    for address in addresses {
        put_counted(value, address);
    }
}

fn take_addresses(row: &mut RowReader<'_>) -> Option<Vec<Vec<u8>>> {
    let count = usize::try_from(row.varint()?).ok().filter(|n| *n <= PEER_ADDRESSES_MAX)?;
    let addresses = (0..count).map(|_| row.counted().map(<[u8]>::to_vec));
    addresses.collect()
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests;
