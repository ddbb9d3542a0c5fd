//! Counters, for `peer list`, `status`, progress bars and metrics. Lengths are bytes on the wire.

use super::Schedule;
use super::event::{Lane, PeerKey, TicketKey, Time, Urgency};
use super::peer::Peer;

/// What came of asking one peer, or all.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct PeerCounts {
    /// Requests sent.
    pub requests: u64,
    /// Requests taken back.
    pub cancels: u64,
    /// Chunks that came, were right and were wanted.
    pub good: u64,
    /// Their bytes.
    pub good_len: u64,
    /// Bytes of chunks that somebody else had brought.
    pub duplicate_len: u64,
    /// Bytes of chunks that nobody wanted any more.
    pub unwanted_len: u64,
    /// Chunks with wrong bytes.
    pub bad: u64,
    /// Requests that broke off.
    pub failures: u64,
    /// Requests refused for the time being.
    pub busy: u64,
    /// Times that it fell silent with something to say.
    pub stalls: u64,
    /// Chunks that it had said to have, and had not.
    pub denials: u64,
}

/// One peer as it is now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerProgress {
    /// What came of asking it, since the program started.
    pub counts: PeerCounts,
    /// Whether it can be asked.
    pub is_up: bool,
    /// Whether a relay stands between.
    pub is_relayed: bool,
    /// Whether others are asked first, for its slowness.
    pub is_slow: bool,
    /// Whether it has fallen silent.
    pub is_stalled: bool,
    /// Plain bytes a second; `None` until measured.
    pub rate: Option<u64>,
    /// Round trip.
    pub rtt_us: Time,
    /// Bytes of chunks that it was asked for and that have not come.
    pub in_flight_len: u64,
    /// When its ban ends, if it is banned.
    pub banned_until: Option<Time>,
}

/// Everything together.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Progress {
    /// All peers together.
    pub counts: PeerCounts,
    /// Chunks that were asked of a second peer because somebody waited.
    pub hedges: u64,
    /// Chunks that were asked of a second peer because they were the last.
    pub ends: u64,
    /// Tickets open.
    pub tickets: usize,
    /// Chunks wanted that have not come.
    pub chunks: usize,
    /// Those of them that wait to be asked for.
    pub queued: usize,
    /// Requests open.
    pub requests: usize,
}

/// One ticket as it is now. Lengths are of plain bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TicketProgress {
    /// How urgent it is.
    pub urgency: Urgency,
    /// Bytes wanted.
    pub len: u64,
    /// Bytes of them that came.
    pub came_len: u64,
    /// Chunks that have not come.
    pub remaining: usize,
}

impl Schedule {
    /// Everything together.
    pub fn progress(&self) -> Progress {
        Progress {
            tickets: self.tickets.len(),
            chunks: self.wanted,
            queued: self.queue.len(),
            requests: self.requests.len(),
            ..self.totals
        }
    }

    /// Every peer that is remembered.
    pub fn peers(&self) -> impl Iterator<Item = (PeerKey, PeerProgress)> {
        self.peers.iter().map(|(key, peer)| (*key, self.shown(peer)))
    }

    /// One peer; `None` when it is not remembered.
    pub fn peer(&self, peer: PeerKey) -> Option<PeerProgress> {
        self.peers.get(&peer).map(|peer| self.shown(peer))
    }

    /// A ticket; `None` when it is not open.
    pub fn ticket(&self, ticket: TicketKey) -> Option<TicketProgress> {
        let ticket = self.tickets.get(&ticket)?;
        Some(TicketProgress {
            urgency: ticket.urgency,
            len: ticket.len,
            came_len: ticket.came_len,
            remaining: ticket.remaining,
        })
    }

    fn shown(&self, peer: &Peer) -> PeerProgress {
        PeerProgress {
            counts: peer.counts,
            is_up: peer.is_up,
            is_relayed: peer.is_relayed,
            is_slow: peer.is_slow,
            is_stalled: peer.line(Lane::Urgent).is_stalled || peer.line(Lane::Bulk).is_stalled,
            rate: peer.rate(self.now),
            rtt_us: peer.rtt_us,
            in_flight_len: peer.in_flight_len(),
            banned_until: (peer.banned_until > self.now).then_some(peer.banned_until),
        }
    }

    /// Counts for one peer and for all.
    pub(super) fn count(&mut self, peer: PeerKey, count: impl Fn(&mut PeerCounts)) {
        count(&mut self.totals.counts);
        if let Some(peer) = self.peers.get_mut(&peer) {
            count(&mut peer.counts);
        }
    }
}
