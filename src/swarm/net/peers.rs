//! The peers that are connected or being dialled, and those to leave alone: a plain table.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};
use tokio::sync::oneshot;

use super::limits::{DEAD_MAX, DEAD_TIME};
use super::scope::is_relayed;
use super::{NetError, NetEvent, NetPeer};

type Reply = oneshot::Sender<Result<(), NetError>>;

#[derive(Default)]
struct Connected {
    ways: HashMap<ConnectionId, (Multiaddr, bool)>,
    rtt: Option<Duration>,
    agent: String,
}

impl Connected {
    fn is_relayed(&self) -> bool {
        self.ways.values().all(|(_, is_relayed)| *is_relayed)
    }
}

/// Who waits for a connection, and what has been tried.
#[derive(Default)]
pub(super) struct Dial {
    replies: Vec<Reply>,
    /// The DHT has been asked for addresses.
    pub(super) has_searched: bool,
}

#[derive(Default)]
pub(super) struct Peers {
    connected: HashMap<PeerId, Connected>,
    dials: HashMap<PeerId, Dial>,
    banned: HashMap<PeerId, Instant>,
    dead: HashMap<PeerId, Instant>,
}

impl Peers {
    /// A connection stands.
    pub(super) fn up(
        &mut self,
        peer: PeerId,
        id: ConnectionId,
        address: Multiaddr,
        now_relayed: bool,
    ) -> Option<NetEvent> {
        self.dead.remove(&peer);
        for reply in self.dials.remove(&peer).unwrap_or_default().replies {
            let _ = reply.send(Ok(()));
        }
        let is_new = !self.connected.contains_key(&peer);
        let state = self.connected.entry(peer).or_default();
        let before = state.is_relayed();
        let is_way_relayed = now_relayed || is_relayed(&address);
        state.ways.insert(id, (address.clone(), is_way_relayed));
        let after = state.is_relayed();
        match (is_new, before == after) {
            (true, _) => Some(NetEvent::Up { peer, address, is_relayed: after }),
            (false, true) => None,
            (false, false) => Some(NetEvent::Way { peer, is_relayed: after }),
        }
    }

    /// A connection has gone.
    pub(super) fn down(&mut self, peer: PeerId, id: ConnectionId) -> Option<NetEvent> {
        let state = self.connected.get_mut(&peer)?;
        let before = state.is_relayed();
        state.ways.remove(&id);
        if state.ways.is_empty() {
            self.connected.remove(&peer);
            return Some(NetEvent::Down { peer });
        }
        let is_relayed = state.is_relayed();
        (before != is_relayed).then_some(NetEvent::Way { peer, is_relayed })
    }

    pub(super) fn is_connected(&self, peer: &PeerId) -> bool {
        self.connected.contains_key(peer)
    }

    /// The other end of a connection.
    pub(super) fn way(&self, peer: &PeerId, id: ConnectionId) -> Option<&Multiaddr> {
        Some(&self.connected.get(peer)?.ways.get(&id)?.0)
    }

    pub(super) fn set_rtt(&mut self, peer: &PeerId, rtt: Duration) {
        if let Some(state) = self.connected.get_mut(peer) {
            state.rtt = Some(rtt);
        }
    }

    pub(super) fn set_agent(&mut self, peer: &PeerId, agent: String) {
        if let Some(state) = self.connected.get_mut(peer) {
            state.agent = agent;
        }
    }

    pub(super) fn list(&self) -> Vec<NetPeer> {
        let row = |(peer, state): (&PeerId, &Connected)| NetPeer {
            peer: *peer,
            addresses: state.ways.values().map(|(address, _)| address.clone()).collect(),
            is_relayed: state.is_relayed(),
            rtt: state.rtt,
            agent: state.agent.clone(),
        };
        self.connected.iter().map(row).collect()
    }

    /// Notes that somebody waits for a connection; whether nobody did before.
    pub(super) fn wait(&mut self, peer: PeerId, reply: Option<Reply>) -> bool {
        let is_new = !self.dials.contains_key(&peer);
        self.dials.entry(peer).or_default().replies.extend(reply);
        is_new
    }

    pub(super) fn dial_mut(&mut self, peer: &PeerId) -> Option<&mut Dial> {
        self.dials.get_mut(peer)
    }

    /// A connection cannot be had.
    pub(super) fn fail(&mut self, peer: PeerId, reason: &str, now: Instant) {
        if self.is_connected(&peer) {
            return;
        }
        if self.dead.len() >= DEAD_MAX {
            self.dead.retain(|_, until| *until > now);
        }
        if self.dead.len() < DEAD_MAX {
            self.dead.insert(peer, now + DEAD_TIME);
        }
        for reply in self.dials.remove(&peer).unwrap_or_default().replies {
            let _ = reply.send(Err(NetError::Unreachable { peer, reason: reason.to_owned() }));
        }
    }

    /// Whether a peer could not be reached a short time ago.
    pub(super) fn is_dead(&self, peer: &PeerId, now: Instant) -> bool {
        self.dead.get(peer).is_some_and(|until| *until > now)
    }

    pub(super) fn ban(&mut self, peer: PeerId, until: Instant) {
        let end = self.banned.entry(peer).or_insert(until);
        *end = until.max(*end);
    }

    pub(super) fn is_banned(&self, peer: &PeerId) -> bool {
        self.banned.contains_key(peer)
    }

    /// Peers whose ban is over now.
    pub(super) fn pardon(&mut self, now: Instant) -> Vec<PeerId> {
        let is_over = |(peer, until): (&PeerId, &Instant)| (*until <= now).then_some(*peer);
        let pardoned: Vec<PeerId> = self.banned.iter().filter_map(is_over).collect();
        for peer in &pardoned {
            self.banned.remove(peer);
        }
        pardoned
    }
}
