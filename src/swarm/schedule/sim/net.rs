//! Links between nodes: a round trip, a rate, chance delays, cuts.
//!
//! The answers of both lanes of a peer stand in one line, in the order in which they were asked
//! for: the worst case for an urgent chunk behind bulk. Each chunk takes its time on the link, on
//! the sender's own line, which all its readers share in turn, and on the receiver's.

use std::collections::VecDeque;

use super::node::Kind;
use super::world::{Ev, World};
use crate::swarm::schedule::{Have, RequestKey, Time};

/// What a link is like.
#[derive(Clone, Copy, Debug)]
pub struct LinkShape {
    /// Bytes a second; `None` when only the nodes' own lines count.
    pub rate: Option<u64>,
    pub rtt_us: Time,
    /// What the one who serves takes to begin with an answer.
    pub think_us: Time,
    /// Each chunk comes up to this much later.
    pub jitter_us: Time,
    /// Once in so many chunks one is lost, and with all behind it comes a round trip later; 0 for
    /// never.
    pub loss_in: u64,
}

impl LinkShape {
    pub fn new(rate: u64, rtt_us: Time) -> Self {
        Self { rate: Some(rate), rtt_us, think_us: 0, jitter_us: 0, loss_in: 0 }
    }
}

/// One direction of a connection: from the one who serves to the one who reads.
#[derive(Debug)]
pub(super) struct Link {
    pub shape: LinkShape,
    /// Tells this connection from one before.
    pub stamp: u64,
    /// Nothing passes until then.
    pub cut_until: Time,
    free_at: Time,
    last_arrival: Time,
    line: VecDeque<Out>,
    sent_len: u64,
}

impl Link {
    pub fn new(shape: LinkShape, stamp: u64) -> Self {
        let line = VecDeque::new();
        Self { shape, stamp, cut_until: 0, free_at: 0, last_arrival: 0, line, sent_len: 0 }
    }
}

/// Stands in line at the sender.
#[derive(Debug)]
enum Out {
    Chunk { request: RequestKey, index: u16, len: u32 },
    End { request: RequestKey, absent: Vec<u16> },
}

/// To one who serves.
#[derive(Debug)]
pub(super) enum ToServer {
    Ask { request: RequestKey, file: u32, chunks: Vec<u32> },
    Cancel { request: RequestKey },
    AskHave { file: u32 },
}

/// To one who reads.
#[derive(Debug)]
pub(super) enum ToReader {
    Chunk { request: RequestKey, index: u16, len: u32, is_good: bool },
    End { request: RequestKey, absent: Vec<u16> },
    Refused { request: RequestKey, is_busy: bool },
    Have { file: u32, have: Have },
}

impl World {
    /// Sends a short message to the one who serves.
    pub(super) fn send_up(&mut self, server: u32, reader: u32, what: ToServer) {
        let Some(link) = self.links.get(&(server, reader)) else { return };
        let think_us = if matches!(what, ToServer::Ask { .. }) { link.shape.think_us } else { 0 };
        let at = self.now.max(link.cut_until) + link.shape.rtt_us / 2 + think_us;
        self.push(at, Ev::AtServer { server, reader, stamp: link.stamp, what });
    }

    /// Sends a short message to the one who reads, past what stands in line.
    fn send_down(&mut self, server: u32, reader: u32, what: ToReader) {
        let Some(link) = self.links.get(&(server, reader)) else { return };
        let at = self.now.max(link.cut_until) + link.shape.rtt_us / 2;
        self.push(at, Ev::AtReader { server, reader, stamp: link.stamp, what });
    }

    /// A message reaches the one who serves.
    pub(super) fn at_server(&mut self, server: u32, reader: u32, what: ToServer) {
        let node = &mut self.nodes[server as usize];
        if !node.is_up {
            return;
        }
        match (&mut node.kind, what) {
            (Kind::Dead, ToServer::Ask { .. } | ToServer::Cancel { .. }) => {}
            (kind @ (Kind::Busy(1..) | Kind::Fails(1..)), ToServer::Ask { request, .. }) => {
                let is_busy = matches!(kind, Kind::Busy(_));
                if let Kind::Busy(count) | Kind::Fails(count) = kind {
                    *count -= 1;
                }
                self.send_down(server, reader, ToReader::Refused { request, is_busy });
            }
            (_, ToServer::Ask { request, file, chunks }) => {
                self.line_up(server, reader, request, file, &chunks);
            }
            (_, ToServer::Cancel { request }) => {
                if let Some(link) = self.links.get_mut(&(server, reader)) {
                    link.line.retain(|out| {
                        !matches!(out, Out::Chunk { request: other, .. } if *other == request)
                    });
                }
            }
            (Kind::Dead | Kind::Denies, ToServer::AskHave { file }) => {
                self.send_down(server, reader, ToReader::Have { file, have: Have::All });
            }
            (_, ToServer::AskHave { file }) => {
                let has = node.held.get(&file);
                let have = has.map_or(Have::None, |has| self.files[file as usize].have(has));
                self.send_down(server, reader, ToReader::Have { file, have });
            }
        }
    }

    fn line_up(&mut self, server: u32, reader: u32, request: RequestKey, file: u32, ask: &[u32]) {
        let node = &self.nodes[server as usize];
        let Some(link) = self.links.get_mut(&(server, reader)) else { return };
        let mut absent = Vec::new();
        for (index, chunk) in (0u16..).zip(ask) {
            if node.kind != Kind::Denies && node.holds(file, *chunk) {
                let len = self.files[file as usize].spans[*chunk as usize].chunk.len;
                link.line.push_back(Out::Chunk { request, index, len });
            } else {
                absent.push(index);
            }
        }
        link.line.push_back(Out::End { request, absent });
        self.nodes[server as usize].ready.insert(reader);
        self.pump(server);
    }

    /// Sends what stands in line, reader by reader, as far as the lines are free.
    pub(super) fn pump(&mut self, server: u32) {
        let now = self.now;
        loop {
            let node = &mut self.nodes[server as usize];
            if node.up_free_at > now {
                let at = node.up_free_at;
                self.pump_at(server, at);
                return;
            }
            let served = node.served;
            let turn = node.ready.range(served + 1..).chain(node.ready.range(..=served));
            let free_at = |reader: &u32| {
                let link = self.links.get(&(server, *reader));
                link.map_or(now, |link| link.free_at.max(link.cut_until))
            };
            let mut soonest = None;
            let mut next = None;
            for reader in turn {
                let at = free_at(reader);
                if at <= now {
                    next = Some(*reader);
                    break;
                }
                soonest = Some(soonest.map_or(at, |soonest: Time| soonest.min(at)));
            }
            match (next, soonest) {
                (Some(reader), _) => self.send_next(server, reader),
                (None, Some(at)) => return self.pump_at(server, at),
                (None, None) => return,
            }
        }
    }

    fn pump_at(&mut self, server: u32, at: Time) {
        let node = &mut self.nodes[server as usize];
        if node.pump_at.is_none_or(|before| before > at) {
            node.pump_at = Some(at);
            self.push(at, Ev::Pump { node: server });
        }
    }

    fn send_next(&mut self, server: u32, reader: u32) {
        let now = self.now;
        let node = &mut self.nodes[server as usize];
        node.served = reader;
        let Some(link) = self.links.get_mut(&(server, reader)) else {
            node.ready.remove(&reader);
            return;
        };
        let is_stalled = matches!(node.kind, Kind::StallsAfter(len) if link.sent_len >= len);
        let out = if is_stalled { None } else { link.line.pop_front() };
        let Some(out) = out else {
            node.ready.remove(&reader);
            return;
        };
        let mut arrival = now + link.shape.rtt_us / 2;
        let what = match out {
            Out::End { request, absent } => ToReader::End { request, absent },
            Out::Chunk { request, index, len } => {
                let time =
                    |rate: Option<u64>| rate.map_or(0, |rate| u64::from(len) * 1_000_000 / rate);
                link.free_at = now + time(link.shape.rate);
                node.up_free_at = now + time(node.up_rate);
                arrival += time(link.shape.rate).max(time(node.up_rate));
                arrival += self.random.below(link.shape.jitter_us + 1);
                if link.shape.loss_in > 0 && self.random.below(link.shape.loss_in) == 0 {
                    arrival += link.shape.rtt_us;
                }
                link.sent_len += u64::from(len);
                node.sent_len += u64::from(len);
                let is_good = match node.kind {
                    Kind::Lies(one_in) => self.random.below(one_in) != 0,
                    _ => true,
                };
                ToReader::Chunk { request, index, len, is_good }
            }
        };
        link.last_arrival = link.last_arrival.max(arrival);
        let (at, stamp) = (link.last_arrival, link.stamp);
        self.push(at, Ev::AtReader { server, reader, stamp, what });
    }

    /// A message reaches the reader's line.
    pub(super) fn at_reader(&mut self, server: u32, reader: u32, stamp: u64, what: ToReader) {
        let node = &mut self.nodes[reader as usize];
        let Some(rate) = node.down_rate else {
            return self.got(server, reader, what);
        };
        if let ToReader::Chunk { len, .. } = &what {
            let free_at = node.down_free_at.max(self.now);
            node.down_free_at = free_at + u64::from(*len) * 1_000_000 / rate;
        }
        let at = node.down_free_at.max(self.now);
        self.push(at, Ev::Got { server, reader, stamp, what });
    }
}
