//! A node of the simulator: its scheduler, what it holds, how it behaves to others, and what
//! became of its tickets.

use std::collections::{BTreeMap, BTreeSet};

use super::watch::Watch;
use crate::swarm::schedule::{FailReason, Rates, Schedule, TicketKey, Time, Urgency};

/// How a node behaves as a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Sends what it is asked for, if it has it.
    Honest,
    /// Sends wrong bytes once in so many chunks.
    Lies(u64),
    /// Sends nothing any more after so many bytes to one reader.
    StallsAfter(u64),
    /// Takes requests and answers nothing.
    Dead,
    /// Says that it has all, and answers each request that it has nothing.
    Denies,
    /// Refuses so many requests.
    Busy(u32),
    /// Breaks off so many requests.
    Fails(u32),
}

/// How a ticket ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    Done,
    Failed(FailReason),
    Unwanted,
}

/// A ticket as its reader sees it.
#[derive(Clone, Debug)]
pub struct TicketRecord {
    pub file: u32,
    pub urgency: Urgency,
    /// Chunks that have not been delivered.
    pub rest: BTreeSet<u32>,
    pub asked_at: Time,
    pub deadline: Time,
    pub end: Option<(Time, Outcome)>,
}

/// A node.
#[derive(Debug)]
pub struct Node {
    pub schedule: Schedule,
    pub kind: Kind,
    pub is_up: bool,
    /// What it holds of each file.
    pub held: BTreeMap<u32, Vec<bool>>,
    /// Bytes a second to all readers together; `None` when only the links count.
    pub up_rate: Option<u64>,
    /// Bytes a second from all peers together.
    pub down_rate: Option<u64>,
    /// Bytes that fit on its disk.
    pub disk_room: u64,
    pub tickets: BTreeMap<TicketKey, TicketRecord>,
    pub watch: Watch,
    /// Bytes sent to readers.
    pub sent_len: u64,
    pub(super) up_free_at: Time,
    pub(super) down_free_at: Time,
    pub(super) pump_at: Option<Time>,
    /// Readers for whom something waits, and who was served last.
    pub(super) ready: BTreeSet<u32>,
    pub(super) served: u32,
    /// Peers it is connected to.
    pub(super) peers: BTreeSet<u32>,
    pub(super) wake_stamp: u64,
}

impl Node {
    pub fn new(seed: u64, kind: Kind) -> Self {
        Self {
            schedule: Schedule::new(seed, Rates::default()),
            kind,
            is_up: true,
            held: BTreeMap::new(),
            up_rate: None,
            down_rate: None,
            disk_room: u64::MAX,
            tickets: BTreeMap::new(),
            watch: Watch::default(),
            sent_len: 0,
            up_free_at: 0,
            down_free_at: 0,
            pump_at: None,
            ready: BTreeSet::new(),
            served: 0,
            peers: BTreeSet::new(),
            wake_stamp: 0,
        }
    }

    /// Whether it holds the chunk.
    pub fn holds(&self, file: u32, chunk: u32) -> bool {
        self.held.get(&file).is_some_and(|has| has[chunk as usize])
    }

    /// Whether it holds anything of the file.
    pub fn holds_any(&self, file: u32) -> bool {
        self.held.get(&file).is_some_and(|has| has.contains(&true))
    }

    /// Tickets that have not ended.
    pub fn open(&self) -> usize {
        self.tickets.values().filter(|ticket| ticket.end.is_none()).count()
    }

    /// How long a ticket took, which must be done.
    pub fn took(&self, ticket: TicketKey) -> Time {
        let record = &self.tickets[&ticket];
        match record.end {
            Some((at, Outcome::Done)) => at - record.asked_at,
            end => panic!("{ticket:?} ended as {end:?}, {} chunks missing", record.rest.len()),
        }
    }

    /// Bytes that came and were of no use, in parts of a thousand of those that were.
    pub fn waste_per_mille(&self) -> u64 {
        let counts = self.schedule.progress().counts;
        (counts.duplicate_len + counts.unwanted_len) * 1000 / counts.good_len.max(1)
    }
}
