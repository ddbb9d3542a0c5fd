//! What is asked of whom and when: a pure state machine.
//!
//! ```text
//!   Want Unwant                     ┌─────────────────────────────┐
//!   PeerUp PeerDown Rtt             │ tickets  who wants what     │   Ask Cancel
//!   Serves ServesNot      handle    │ chunks   each once          │   AskHave FindPeers
//!   Came Ended Failed Busy ───────> │ queue    Now Soon Background│ ────────────────>
//!   Rates Tick            (now)     │ requests in flight, by peer │   Deliver Done Fail
//!                                   │ peers    window, rate, ban  │   Ban WakeAt
//!                                   └─────────────────────────────┘
//! ```
//!
//! No I/O, no clock, no bytes: the driver tells what happened and when, and does what comes out.
//! The same events in the same order give the same actions; chance is only the seed's.
//!
//! A wanted chunk waits in the queue or is in flight, never both, unless its peer is late:
//! - **Now** goes at once and on the urgent lane to the peer that will have brought it first, by
//!   `in flight / rate + round trip`; when it does not come in twice the time expected, to another
//!   one too (`urgent`).
//! - **Soon** and **Background** are taken by peers that have room, in batches: the first in order,
//!   the second rarest first (`bulk`). Two round trips' worth are in flight, so that the link is
//!   never idle and an urgent chunk never stands behind much (`peer`).
//! - A peer that falls silent, or far behind the others, loses its chunks to the queue. What it
//!   still sends is welcome until another has been asked, and who has been asked is told to stop
//!   when the chunk has come (`house`, `flights`).
//!
//! Invariants, each tested in `sim`:
//! - One peer is asked for a chunk at a time; three at most when somebody waits too long, two for
//!   the last chunks of a file. Who is late and has lost all that it was asked for is told to stop
//!   before another is asked.
//! - Only a chunk with its right hash is delivered, once to each ticket. A peer that sent another
//!   is banned and asked for nothing until its ban ends.
//! - Every ticket ends, at the latest at its deadline.
//! - Everything kept has a limit (`limits`).
//! - An event costs time in the logarithm of what is wanted, and in the number of peers.

mod bucket;
mod bulk;
mod chunks;
mod event;
mod files;
mod flights;
mod have;
mod house;
mod limits;
mod meter;
mod peer;
mod progress;
mod queue;
mod random;
mod request;
#[cfg(test)]
mod sim;
mod timers;
mod urgent;
mod wants;

use std::collections::{BTreeMap, BTreeSet};

pub use event::{
    Action, BanReason, Event, FailReason, FileKey, Lane, PeerKey, Rates, RequestKey, TicketKey,
    Time, Urgency,
};
pub use have::Have;
pub(in crate::swarm) use limits::BAN_US;
pub use progress::{PeerCounts, PeerProgress, Progress, TicketProgress};

use bucket::Bucket;
use chunks::{Chunks, Handle};
use files::FileState;
use flights::Arrival;
use limits::{CHUNK_LEN_MAX, PEERS_MAX, PEERS_UP_MAX, WINDOW_LEN_MAX};
use peer::Peer;
use queue::Queue;
use random::Random;
use request::Requests;
use timers::{Timer, Timers};
use wants::{NewWant, Ticket};

/// Passes over the queue in one event: what one of them puts back, the next one asks for.
const PASSES_MAX: usize = 4;

/// The scheduler of one node.
#[derive(Debug)]
pub struct Schedule {
    now: Time,
    seed: u64,
    random: Random,
    rates: Rates,
    bucket: Bucket,
    tickets: BTreeMap<TicketKey, Ticket>,
    /// Turn of the last ticket.
    turn: u64,
    /// Chunks of all tickets that have not come.
    waits: usize,
    chunks: Chunks,
    /// Those of them that somebody wants.
    wanted: usize,
    queue: Queue,
    files: BTreeMap<FileKey, FileState>,
    wanted_files: BTreeSet<FileKey>,
    /// Pairs of file and holder.
    holdings: usize,
    /// Bytes of all have-lists.
    haves_len: usize,
    peers: BTreeMap<PeerKey, Peer>,
    /// Those of them that can be asked.
    up: BTreeSet<PeerKey>,
    requests: Requests,
    /// Chunks that a request brings that is counted on.
    flying: BTreeSet<Handle>,
    /// Chunks that two bring.
    doubled: BTreeSet<Handle>,
    /// Peers for which an urgent chunk waits: they get no bulk.
    held: BTreeSet<PeerKey>,
    /// Peers that may have room.
    dirty: BTreeSet<PeerKey>,
    /// The queue's epoch at which all peers were looked at.
    seen_epoch: u64,
    timers: Timers,
    is_house_planned: bool,
    /// The last time told to the driver.
    wake_at: Option<Time>,
    median_rate: u64,
    totals: Progress,
}

impl Schedule {
    /// A scheduler that knows nobody. Nodes must have different seeds: they decide who takes which
    /// part of a file first.
    pub fn new(seed: u64, rates: Rates) -> Self {
        Self {
            now: 0,
            seed,
            random: Random::new(seed),
            rates,
            bucket: Bucket::new(rates.all, 0),
            tickets: BTreeMap::new(),
            turn: 0,
            waits: 0,
            chunks: Chunks::default(),
            wanted: 0,
            queue: Queue::default(),
            files: BTreeMap::new(),
            wanted_files: BTreeSet::new(),
            holdings: 0,
            haves_len: 0,
            peers: BTreeMap::new(),
            up: BTreeSet::new(),
            requests: Requests::default(),
            flying: BTreeSet::new(),
            doubled: BTreeSet::new(),
            held: BTreeSet::new(),
            dirty: BTreeSet::new(),
            seen_epoch: 0,
            timers: Timers::default(),
            is_house_planned: false,
            wake_at: None,
            median_rate: 0,
            totals: Progress::default(),
        }
    }

    /// Takes an event and adds what has to be done to `out`. Timers that are due by `now` come
    /// first, whether or not a tick was sent for them; a `now` before the last one counts as that.
    pub fn handle(&mut self, now: Time, event: Event, out: &mut Vec<Action>) {
        self.now = self.now.max(now);
        self.run_timers(out);
        match event {
            Event::Want { ticket, file, spans, urgency, deadline } => {
                self.want(ticket, NewWant { file, spans: &spans, urgency, deadline }, out);
            }
            Event::Unwant { ticket } => self.unwant(ticket, out),
            Event::PeerUp { peer, rtt_us, relayed, in_flight_len_max } => {
                self.peer_up(peer, rtt_us, relayed, in_flight_len_max);
            }
            Event::PeerDown { peer } => self.leave(peer),
            Event::Serves { peer, file, have } => self.serves(peer, file, have),
            Event::ServesNot { peer, file } => self.serves_not(peer, file),
            Event::Came { peer, request, index, wire_len, good } => {
                let arrival = Arrival { index, wire_len, is_good: good };
                self.came(peer, request, arrival, out);
            }
            Event::Ended { peer, request, absent } => self.ended(peer, request, &absent),
            Event::Failed { peer, request } => self.failed(peer, request),
            Event::Busy { peer, request, retry_us } => self.busy(peer, request, retry_us),
            Event::Rtt { peer, us } => {
                if let Some(peer) = self.peers.get_mut(&peer) {
                    peer.measured(us);
                }
            }
            Event::Rates(rates) => self.set_rates(rates),
            Event::Tick => {}
        }
        self.drive(out);
        self.plan_house();
        self.wake(out);
    }

    fn run_timers(&mut self, out: &mut Vec<Action>) {
        while let Some(timer) = self.timers.pop(self.now) {
            match timer {
                Timer::Deadline(ticket) => self.expire(ticket, out),
                Timer::Hedge(handle) => self.hedge(handle, out),
                Timer::Retry(peer) => {
                    if let Some(peer) = self.peers.get_mut(&peer) {
                        peer.retry_at = None;
                    }
                    self.dirty.insert(peer);
                }
                Timer::House => self.house(out),
            }
        }
    }

    /// Asks for all that can be asked for.
    fn drive(&mut self, out: &mut Vec<Action>) {
        for _ in 0..PASSES_MAX {
            let epoch = self.queue.epoch();
            let dirty = std::mem::take(&mut self.dirty);
            let is_changed = epoch != self.seen_epoch;
            if !is_changed && dirty.is_empty() {
                return;
            }
            self.seen_epoch = epoch;
            self.ask_urgent(out);
            let look_at = if is_changed { &self.up } else { &dirty };
            let now = self.now;
            let rank = |key: &PeerKey| Some((self.peers.get(key)?.finish_us(0, now), *key));
            let mut peers: Vec<(Time, PeerKey)> = look_at.iter().filter_map(rank).collect();
            peers.sort_unstable();
            while !peers.is_empty() {
                peers.retain(|(_, key)| self.ask_bulk(*key, out));
            }
        }
    }

    fn wake(&mut self, out: &mut Vec<Action>) {
        if self.wake_at.is_some_and(|at| at <= self.now) {
            self.wake_at = None;
        }
        let first = self.timers.first();
        if first != self.wake_at
            && let Some(at) = first
        {
            self.wake_at = first;
            out.push(Action::WakeAt(at));
        }
    }

    fn peer_up(&mut self, key: PeerKey, rtt_us: Time, is_relayed: bool, in_flight_len_max: u64) {
        let now = self.now;
        let is_new = !self.peers.contains_key(&key);
        let is_full = self.up.len() >= PEERS_UP_MAX && !self.up.contains(&key);
        if is_full || (is_new && !self.make_room_for_peer()) {
            return;
        }
        let rate_max = self.rates.peer;
        let peer = self.peers.entry(key).or_insert_with(|| Peer::new(rate_max, now));
        if peer.banned_until > now {
            return;
        }
        if rtt_us > 0 {
            peer.rtt_us = rtt_us.min(limits::RTT_MAX);
        }
        peer.is_relayed = is_relayed;
        peer.in_flight_len_max = in_flight_len_max.clamp(CHUNK_LEN_MAX, WINDOW_LEN_MAX);
        peer.seen_at = now;
        if !peer.is_up {
            peer.is_up = true;
            (peer.idle_epoch, peer.resume, peer.cursor) = (None, [None; 2], None);
            peer.choice.clear();
        }
        self.up.insert(key);
        self.dirty.insert(key);
    }

    /// Forgets the peer that was seen last of all those that are neither up nor banned; of those
    /// that are banned, only when there are no others.
    fn make_room_for_peer(&mut self) -> bool {
        if self.peers.len() < PEERS_MAX {
            return true;
        }
        let now = self.now;
        let gone = self.peers.iter().filter(|(_, peer)| !peer.is_up);
        let oldest = gone.min_by_key(|(_, peer)| (peer.banned_until.max(now), peer.seen_at));
        let Some(key) = oldest.map(|(key, _)| *key) else { return false };
        self.peers.remove(&key);
        true
    }

    fn set_rates(&mut self, rates: Rates) {
        self.rates = rates;
        self.bucket.set_rate(rates.all, self.now);
        for peer in self.peers.values_mut() {
            peer.bucket.set_rate(rates.peer, self.now);
        }
        self.queue.touch();
    }
}
