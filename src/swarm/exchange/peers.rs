//! The peers that something is asked of: how they stand, and when to try again. A plain table.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use libp2p::{Multiaddr, PeerId};
use mega_storage::RepoKey;

use super::PeerStatus;
use super::lane::Lane;
use super::limits::{ADDRESSES_MAX, PEERS_PER_REPO_MAX};
use crate::swarm::schedule::{Lane as LaneKind, PeerKey, Schedule};

/// First pause after a failure; each further one doubles it.
const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(8);

/// One peer.
#[derive(Default)]
pub(super) struct Standing {
    pub(super) is_up: bool,
    pub(super) is_relayed: bool,
    pub(super) rtt: Option<Duration>,
    pub(super) urgent: Option<Lane>,
    pub(super) bulk: Option<Lane>,
    pub(super) is_opening: bool,
    pub(super) serves: HashSet<RepoKey>,
    pub(super) bans: u32,
    pub(super) failures: u64,
    addresses: Vec<Multiaddr>,
    in_a_row: u32,
    retry_at: Option<Instant>,
}

impl Standing {
    pub(super) fn drop_lanes(&mut self) {
        (self.urgent, self.bulk, self.is_opening) = (None, None, false);
    }

    pub(super) fn note_address(&mut self, address: Multiaddr) {
        if !self.addresses.contains(&address) {
            self.addresses.insert(0, address);
            self.addresses.truncate(ADDRESSES_MAX);
        }
    }

    /// Something failed: the next try waits longer.
    pub(super) fn failed(&mut self) {
        self.failures += 1;
        let pause = RETRY_FIRST.saturating_mul(1 << self.in_a_row.min(8)).min(RETRY_MAX);
        self.in_a_row += 1;
        self.retry_at = Some(Instant::now() + pause);
    }

    pub(super) fn recovered(&mut self) {
        (self.in_a_row, self.retry_at) = (0, None);
    }
}

#[derive(Default)]
pub(super) struct PeerTable {
    standings: HashMap<PeerId, Standing>,
    keys: HashMap<PeerId, PeerKey>,
    ids: Vec<PeerId>,
}

impl PeerTable {
    /// A number for the peer, the same for as long as the program runs.
    pub(super) fn key(&mut self, peer: PeerId) -> PeerKey {
        let next = PeerKey(u32::try_from(self.ids.len()).unwrap_or(u32::MAX));
        let key = *self.keys.entry(peer).or_insert(next);
        if key == next {
            self.ids.push(peer);
        }
        key
    }

    pub(super) fn id(&self, key: PeerKey) -> Option<PeerId> {
        self.ids.get(key.0 as usize).copied()
    }

    pub(super) fn add(&mut self, peer: PeerId, addresses: Vec<Multiaddr>) -> &mut Standing {
        let standing = self.standings.entry(peer).or_default();
        for address in addresses {
            standing.note_address(address);
        }
        standing
    }

    pub(super) fn get_mut(&mut self, peer: &PeerId) -> Option<&mut Standing> {
        self.standings.get_mut(peer)
    }

    pub(super) fn lane(&self, key: PeerKey, kind: LaneKind) -> Option<&Lane> {
        let standing = self.standings.get(self.ids.get(key.0 as usize)?)?;
        match kind {
            LaneKind::Urgent => standing.urgent.as_ref(),
            LaneKind::Bulk => standing.bulk.as_ref(),
        }
    }

    /// Whether one more peer may be asked for a repository.
    pub(super) fn has_room(&self, repo: &RepoKey, peer: &PeerId) -> bool {
        let serves = |standing: &&Standing| standing.serves.contains(repo);
        self.standings.get(peer).is_some_and(|standing| serves(&standing))
            || self.standings.values().filter(serves).count() < PEERS_PER_REPO_MAX
    }

    /// Peers with open streams that may have a repository, nearest first.
    pub(super) fn ready_for(&self, repo: &RepoKey) -> Vec<PeerId> {
        let is_ready = |s: &Standing| s.urgent.is_some() && s.serves.contains(repo);
        let ready = self.standings.iter().filter(|(_, standing)| is_ready(standing));
        let far = |s: &Standing| (s.is_relayed, s.rtt.unwrap_or(Duration::MAX));
        let mut ready: Vec<_> = ready.map(|(peer, standing)| (far(standing), *peer)).collect();
        ready.sort();
        ready.into_iter().map(|(_, peer)| peer).collect()
    }

    /// Peers to open streams or connections to again, now.
    pub(super) fn broken(
        &mut self,
        now: Instant,
        is_read: impl Fn(&RepoKey) -> bool,
    ) -> Vec<(PeerId, Vec<Multiaddr>, bool)> {
        let mut broken = Vec::new();
        for (peer, standing) in &mut self.standings {
            let is_due = standing.retry_at.is_none_or(|at| now >= at);
            let is_needed = standing.serves.iter().any(&is_read);
            if standing.urgent.is_none() && !standing.is_opening && is_due && is_needed {
                if !standing.is_up {
                    standing.failed();
                }
                broken.push((*peer, standing.addresses.clone(), standing.is_up));
            }
        }
        broken
    }

    /// All of them, and those that only asked us; `sent` says how many bytes went to each.
    pub(super) fn list(
        &self,
        schedule: &Schedule,
        mut sent: HashMap<PeerId, u64>,
    ) -> Vec<PeerStatus> {
        let row = |(peer, standing): (&PeerId, &Standing)| PeerStatus {
            peer: *peer,
            addresses: standing.addresses.clone(),
            is_connected: standing.is_up,
            is_relayed: standing.is_relayed,
            rtt: standing.rtt,
            failures: standing.failures,
            bans: standing.bans,
            progress: self.keys.get(peer).and_then(|key| schedule.peer(*key)),
            sent_len: sent.remove(peer).unwrap_or(0),
        };
        let mut rows: Vec<PeerStatus> = self.standings.iter().map(row).collect();
        rows.extend(sent.into_iter().map(|(peer, sent_len)| PeerStatus {
            peer,
            addresses: Vec::new(),
            is_connected: true,
            is_relayed: false,
            rtt: None,
            failures: 0,
            bans: 0,
            progress: None,
            sent_len,
        }));
        rows
    }
}
