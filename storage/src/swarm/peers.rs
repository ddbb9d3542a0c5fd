//! The peers that are known: where they were reached, who is let in, who is banned.

use super::{PEER, PEER_ADDRESS_LEN_MAX, PEER_ADDRESSES_MAX, PEERS_MAX, ROW_VERSION};
use super::{PeerIdBytes, SwarmStore, check_addresses, damaged, key, limit, put_addresses};
use super::{share_to_drop, take_addresses};
use crate::db::{Batch, Durability, Family};
use crate::error::Result;
use crate::row::RowReader;

const FLAG_ALLOWED: u8 = 1;

/// What is known of a peer.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct SwarmPeer {
    /// Where it was reached, the last good address first.
    pub addresses: Vec<Vec<u8>>,
    /// It may see what is for the mesh.
    pub is_allowed: bool,
    /// When it last answered well, in seconds since 1970; 0 for never.
    pub last_good_unix: u64,
    /// Until when nothing is asked of it or answered, in seconds since 1970; 0 for not banned.
    pub banned_until_unix: u64,
    /// Bytes of content that came from it.
    pub received_len: u64,
    /// Bytes of content that went to it.
    pub sent_len: u64,
    /// Chunks and objects that came from it and were what they should be.
    pub verified_count: u64,
    /// Requests that it failed, wrong bytes included.
    pub failure_count: u64,
}

impl SwarmPeer {
    /// Puts an address in front of the others and drops the last one past
    /// [`PEER_ADDRESSES_MAX`]; says whether it was taken: one that is empty or longer than
    /// [`PEER_ADDRESS_LEN_MAX`] is not.
    pub fn add_address(&mut self, address: &[u8]) -> bool {
        if address.is_empty() || address.len() > PEER_ADDRESS_LEN_MAX {
            return false;
        }
        self.addresses.retain(|known| known != address);
        self.addresses.insert(0, address.to_vec());
        self.addresses.truncate(PEER_ADDRESSES_MAX);
        true
    }

    /// Whether it is banned at `now_unix`.
    pub fn is_banned(&self, now_unix: u64) -> bool {
        now_unix < self.banned_until_unix
    }
}

impl SwarmStore {
    /// What is known of a peer.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn peer(&self, id: &PeerIdBytes) -> Result<Option<SwarmPeer>> {
        let key = peer_key(id);
        self.db.get(Family::Swarm, &key)?.map(|row| decode(&key, &row)).transpose()
    }

    /// All peers, by id.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn peers(&self) -> Result<Vec<(PeerIdBytes, SwarmPeer)>> {
        let rows = self.db.scan(Family::Swarm, &[PEER]).map(|row| {
            let (key, value) = row?;
            let id = key.get(1..).and_then(PeerIdBytes::new);
            Ok((id.ok_or_else(|| damaged(&key, "not a peer's key"))?, decode(&key, &value)?))
        });
        rows.collect()
    }

    /// Changes what is known of a peer, of whom nothing need be known before, and returns it. Who
    /// is let in or banned is so durably.
    ///
    /// # Errors
    /// [`crate::StoreError::Limit`] for too many or too long addresses, and when there are
    /// [`PEERS_MAX`] peers and all are allowed.
    pub fn update_peer(
        &self,
        id: &PeerIdBytes,
        change: impl FnOnce(&mut SwarmPeer),
    ) -> Result<SwarmPeer> {
        let mut tallies = self.tallies.lock();
        let old = self.peer(id)?;
        let is_new = old.is_none();
        let old = old.unwrap_or_default();
        let mut peer = old.clone();
        change(&mut peer);
        if peer == old && !is_new {
            return Ok(peer);
        }
        check_addresses(&peer.addresses)?;
        let mut batch = self.db.batch();
        if is_new {
            let count = self.make_room_for_peer(tallies.peers.take(), &mut batch)?;
            tallies.peers = Some(count + 1);
        }
        batch.put(Family::Swarm, &peer_key(id), &encode(&peer));
        let standing = |peer: &SwarmPeer| (peer.is_allowed, peer.banned_until_unix);
        let is_urgent = standing(&peer) != standing(&old);
        let durability = if is_urgent { Durability::Synced } else { Durability::Logged };
        self.db.commit(batch, durability)?;
        Ok(peer)
    }

    /// Forgets a peer, its ban and its permission too; says whether it was known.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn remove_peer(&self, id: &PeerIdBytes) -> Result<bool> {
        let mut tallies = self.tallies.lock();
        if self.peer(id)?.is_none() {
            return Ok(false);
        }
        let mut batch = self.db.batch();
        batch.delete(Family::Swarm, &peer_key(id));
        self.db.commit(batch, Durability::Synced)?;
        tallies.peers = tallies.peers.map(|count| count.saturating_sub(1));
        Ok(true)
    }

    /// How many peers there are after those in `batch` have gone: not allowed ones, the longest
    /// unheard of first. A ban counts as news until it ends.
    fn make_room_for_peer(&self, count: Option<usize>, batch: &mut Batch<'_>) -> Result<usize> {
        if let Some(count) = count.filter(|count| *count < PEERS_MAX) {
            return Ok(count);
        }
        let peers = self.peers()?;
        let mut count = peers.len();
        if count >= PEERS_MAX {
            let others = peers.into_iter().filter(|(_, peer)| !peer.is_allowed);
            let news = |peer: &SwarmPeer| peer.last_good_unix.max(peer.banned_until_unix);
            let mut others: Vec<_> = others.map(|(id, peer)| (news(&peer), id)).collect();
            others.sort_unstable();
            for (_, id) in others.iter().take(share_to_drop(PEERS_MAX)) {
                batch.delete(Family::Swarm, &peer_key(id));
                count -= 1;
            }
        }
        limit("peers", PEERS_MAX, count + 1)?;
        Ok(count)
    }
}

pub(super) fn peer_key(id: &PeerIdBytes) -> Vec<u8> {
    key(PEER, &[id.as_bytes()])
}

pub(super) fn encode(peer: &SwarmPeer) -> Vec<u8> {
    let mut value = vec![ROW_VERSION, if peer.is_allowed { FLAG_ALLOWED } else { 0 }];
    let numbers = [
        peer.last_good_unix,
        peer.banned_until_unix,
        peer.received_len,
        peer.sent_len,
        peer.verified_count,
        peer.failure_count,
    ];
    for number in numbers {
        value.extend_from_slice(&number.to_be_bytes());
    }
    put_addresses(&mut value, &peer.addresses);
    value
}

fn decode(key: &[u8], value: &[u8]) -> Result<SwarmPeer> {
    let read = || {
        let mut row = RowReader::new(value);
        if row.u8()? != ROW_VERSION {
            return None;
        }
        let is_allowed = match row.u8()? {
            0 => false,
            FLAG_ALLOWED => true,
            _ => return None,
        };
        let peer = SwarmPeer {
            is_allowed,
            last_good_unix: row.u64()?,
            banned_until_unix: row.u64()?,
            received_len: row.u64()?,
            sent_len: row.u64()?,
            verified_count: row.u64()?,
            failure_count: row.u64()?,
            addresses: take_addresses(&mut row)?,
        };
        row.rest().is_empty().then_some(peer)
    };
    read().ok_or_else(|| damaged(key, "not a peer"))
}
