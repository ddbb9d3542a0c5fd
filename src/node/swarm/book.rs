//! Peers in the store: where they were met, who is banned, who belongs to the mesh.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use libp2p::{Multiaddr, PeerId};
use mega_storage::{Store, StoreError};

use crate::swarm::exchange::Book;
use crate::swarm::record::peer_bytes;

/// Seconds since 1970.
pub fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// The peers of a store.
pub(super) struct StoreBook {
    store: Store,
}

impl StoreBook {
    pub(super) fn new(store: &Store) -> Self {
        Self { store: store.clone() }
    }

    /// Peers with an address each that was good, the last met first.
    pub(super) fn known(&self) -> Result<Vec<(PeerId, Multiaddr)>, StoreError> {
        let mut peers = self.store.swarm().peers()?;
        peers.sort_by_key(|(_, peer)| std::cmp::Reverse((peer.is_allowed, peer.last_good_unix)));
        let now = unix_now();
        let known = peers.into_iter().filter(|(_, peer)| !peer.is_banned(now)).take(64);
        let all = known.flat_map(|(id, peer)| {
            let id = PeerId::from_bytes(id.as_bytes()).ok();
            let addresses = peer.addresses.into_iter().filter_map(|a| Multiaddr::try_from(a).ok());
            id.into_iter().flat_map(move |id| addresses.clone().map(move |a| (id, a)))
        });
        Ok(all.collect())
    }

    /// Bans that are not over, and the time that is left of each.
    pub(super) fn banned_now(&self) -> Result<Vec<(PeerId, Duration)>, StoreError> {
        let now = unix_now();
        let banned = self.store.swarm().peers()?.into_iter().filter_map(|(id, peer)| {
            let left = peer.banned_until_unix.checked_sub(now).filter(|left| *left > 0)?;
            Some((PeerId::from_bytes(id.as_bytes()).ok()?, Duration::from_secs(left)))
        });
        Ok(banned.collect())
    }

    /// Addresses of one peer.
    pub(super) fn addresses(store: &Store, peer: &PeerId) -> Result<Vec<Multiaddr>, StoreError> {
        let known = store.swarm().peer(&peer_bytes(peer))?.unwrap_or_default();
        Ok(known.addresses.into_iter().filter_map(|a| Multiaddr::try_from(a).ok()).collect())
    }
}

impl Book for StoreBook {
    fn met(&self, peer: &PeerId, addresses: &[Multiaddr]) {
        let noted = self.store.swarm().update_peer(&peer_bytes(peer), |known| {
            for address in addresses {
                known.add_address(&address.to_vec());
            }
            known.last_good_unix = unix_now();
        });
        if let Err(error) = noted {
            tracing::warn!(%error, "a peer is not noted");
        }
    }

    fn banned(&self, peer: &PeerId, time: Duration) {
        let until = unix_now().saturating_add(time.as_secs());
        let noted = self.store.swarm().update_peer(&peer_bytes(peer), |known| {
            known.banned_until_unix = known.banned_until_unix.max(until);
            known.failure_count += 1;
        });
        if let Err(error) = noted {
            tracing::warn!(%error, "a ban is not noted");
        }
    }

    fn is_mesh(&self, peer: &PeerId) -> bool {
        let known = self.store.swarm().peer(&peer_bytes(peer));
        known.ok().flatten().is_some_and(|known| known.is_allowed)
    }
}
