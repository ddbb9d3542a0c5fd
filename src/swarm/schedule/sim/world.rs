//! The world: nodes, time, and what happens next.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::file::{FileShape, place_of};
use super::net::{Link, LinkShape, ToReader, ToServer};
use super::node::{Kind, Node, Outcome, TicketRecord};
use super::watch::Asked;
use crate::swarm::schedule::limits::{MS, SECOND};
use crate::swarm::schedule::random::Random;
use crate::swarm::schedule::{Action, Event, FileKey, PeerKey, TicketKey, Time, Urgency};

/// How long a search in the DHT takes.
const FIND_US: Time = 400 * MS;
/// How many it finds.
const FIND_COUNT: usize = 8;
/// How long a dial to nobody takes.
const DIAL_US: Time = 1_500 * MS;
/// Connections of one node.
const CONNECTIONS_MAX: usize = 24;
/// No scenario has more events: one that does goes round in circles.
const EVENTS_MAX: u64 = 20_000_000;

/// What happens at some time.
pub(super) enum Ev {
    Wake { node: u32, stamp: u64 },
    Pump { node: u32 },
    AtServer { server: u32, reader: u32, stamp: u64, what: ToServer },
    AtReader { server: u32, reader: u32, stamp: u64, what: ToReader },
    Got { server: u32, reader: u32, stamp: u64, what: ToReader },
    Found { node: u32, file: u32 },
    Dialled { node: u32, peer: u32, file: u32 },
    Lost { node: u32, peer: u32 },
    Script(Box<dyn FnOnce(&mut World)>),
}

struct Due {
    at: Time,
    number: u64,
    ev: Ev,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// Everything.
pub struct World {
    pub now: Time,
    pub nodes: Vec<Node>,
    pub files: Vec<FileShape>,
    pub(super) links: BTreeMap<(u32, u32), Link>,
    pub(super) random: Random,
    /// What links are like that come about by a search.
    pub found_shape: LinkShape,
    /// Records in the DHT that lead to nobody, in parts of a hundred.
    pub dead_records: u64,
    /// Hash of all actions with their times.
    pub trace: u64,
    pub searches: u64,
    due: BinaryHeap<Reverse<Due>>,
    number: u64,
    last_ticket: u64,
    actions: Vec<Action>,
}

/// A want to be made.
#[derive(Clone, Copy)]
pub struct Wanting {
    pub node: u32,
    pub file: u32,
    pub urgency: Urgency,
    pub within: Time,
}

impl World {
    pub fn new(seed: u64) -> Self {
        Self {
            now: 0,
            nodes: Vec::new(),
            files: Vec::new(),
            links: BTreeMap::new(),
            random: Random::new(seed),
            found_shape: LinkShape::new(super::FAST, 50 * MS),
            dead_records: 0,
            trace: 0xcbf2_9ce4_8422_2325,
            searches: 0,
            due: BinaryHeap::new(),
            number: 0,
            last_ticket: 0,
            actions: Vec::new(),
        }
    }

    /// Adds a node that holds nothing.
    pub fn add(&mut self, kind: Kind) -> u32 {
        let seed = self.random.bits();
        self.nodes.push(Node::new(seed, kind));
        u32::try_from(self.nodes.len() - 1).expect("few nodes")
    }

    /// Adds a node that holds all of the files so far.
    pub fn add_seeder(&mut self, kind: Kind) -> u32 {
        let node = self.add(kind);
        let held = self.files.iter().map(|file| vec![true; file.spans.len()]);
        self.nodes[node as usize].held = (0..).zip(held).collect();
        node
    }

    pub fn add_file(&mut self, file: FileShape) -> u32 {
        self.files.push(file);
        u32::try_from(self.files.len() - 1).expect("few files")
    }

    pub fn node(&mut self, node: u32) -> &mut Node {
        &mut self.nodes[node as usize]
    }

    pub(super) fn push(&mut self, at: Time, ev: Ev) {
        self.number += 1;
        self.due.push(Reverse(Due { at, number: self.number, ev }));
    }

    /// Does something later.
    pub fn at(&mut self, at: Time, script: impl FnOnce(&mut World) + 'static) {
        self.push(at, Ev::Script(Box::new(script)));
    }

    /// Makes a want of the chunks with these indexes.
    pub fn want(&mut self, want: Wanting, chunks: impl IntoIterator<Item = u32>) -> TicketKey {
        let Wanting { node, file, urgency, within } = want;
        self.last_ticket += 1;
        let ticket = TicketKey(self.last_ticket);
        let rest: std::collections::BTreeSet<u32> = chunks.into_iter().collect();
        let shape = &self.files[file as usize];
        let spans = rest.iter().map(|chunk| shape.spans[*chunk as usize]).collect();
        let deadline = self.now.saturating_add(within);
        let state = &mut self.nodes[node as usize];
        for chunk in &rest {
            state.watch.wants(file, *chunk, urgency == Urgency::Now);
        }
        let asked_at = self.now;
        let record = TicketRecord { file, urgency, rest, asked_at, deadline, end: None };
        state.tickets.insert(ticket, record);
        self.tell(node, Event::Want { ticket, file: FileKey(file), spans, urgency, deadline });
        ticket
    }

    /// Wants all of a file.
    pub fn want_all(&mut self, want: Wanting) -> TicketKey {
        let count = u32::try_from(self.files[want.file as usize].spans.len()).expect("few");
        self.want(want, 0..count)
    }

    pub fn unwant(&mut self, node: u32, ticket: TicketKey) {
        self.end(node, ticket, Outcome::Unwanted);
        self.tell(node, Event::Unwant { ticket });
    }

    /// Connects two nodes at once, and asks what the second one has of the first file.
    pub fn join(&mut self, reader: u32, peer: u32, shape: LinkShape) {
        self.connect(reader, peer, shape);
        self.send_up(peer, reader, ToServer::AskHave { file: 0 });
    }

    /// A reader of a file of `len` bytes, which all of these peers have; and they know each other
    /// already.
    pub fn star(seed: u64, len: u64, peers: &[(Kind, LinkShape)]) -> (Self, u32) {
        let mut world = Self::new(seed);
        world.add_file(FileShape::cut(seed, 0, len));
        let reader = world.add(Kind::Honest);
        for (kind, shape) in peers {
            let peer = world.add_seeder(*kind);
            world.join(reader, peer, *shape);
        }
        world.run_for(SECOND);
        (world, reader)
    }

    /// Connects two nodes at once.
    pub fn connect(&mut self, a: u32, b: u32, shape: LinkShape) {
        let now = self.now;
        let is_full = |node: &Node| node.peers.len() >= CONNECTIONS_MAX;
        let is_banned = |one: u32, other: u32| self.nodes[one as usize].watch.is_banned(other, now);
        let (one, other) = (&self.nodes[a as usize], &self.nodes[b as usize]);
        if a == b || !one.is_up || !other.is_up || one.peers.contains(&b) {
            return;
        }
        if is_full(one) || is_full(other) || is_banned(a, b) || is_banned(b, a) {
            return;
        }
        for (server, reader) in [(a, b), (b, a)] {
            self.number += 1;
            self.links.insert((server, reader), Link::new(shape, self.number));
            self.node(reader).peers.insert(server);
            self.node(reader).watch.peer_up(server);
            let peer = PeerKey(server);
            let (rtt_us, relayed, in_flight_len_max) = (shape.rtt_us, false, 16 << 20);
            self.tell(reader, Event::PeerUp { peer, rtt_us, relayed, in_flight_len_max });
        }
    }

    /// Breaks a connection: nothing more comes on it. Both learn of it half a round trip later.
    pub fn disconnect(&mut self, a: u32, b: u32) {
        for (server, reader) in [(a, b), (b, a)] {
            let Some(link) = self.links.remove(&(server, reader)) else { continue };
            self.node(server).ready.remove(&reader);
            let at = self.now + link.shape.rtt_us / 2;
            self.push(at, Ev::Lost { node: reader, peer: server });
        }
    }

    /// Ends a node as kill -9 does.
    pub fn kill(&mut self, node: u32) {
        self.node(node).is_up = false;
        for peer in self.nodes[node as usize].peers.clone() {
            self.disconnect(node, peer);
        }
    }

    /// Nothing passes between the two groups for some time.
    pub fn cut(&mut self, is_left: impl Fn(u32) -> bool, until: Time) {
        for ((server, reader), link) in &mut self.links {
            if is_left(*server) != is_left(*reader) {
                link.cut_until = until;
            }
        }
    }

    /// Tells a node's scheduler something and does what it says.
    pub fn tell(&mut self, node: u32, event: Event) {
        let mut actions = std::mem::take(&mut self.actions);
        self.nodes[node as usize].schedule.handle(self.now, event, &mut actions);
        for action in actions.drain(..) {
            self.note(node, &action);
            self.act(node, action);
        }
        self.actions = actions;
    }

    fn act(&mut self, id: u32, action: Action) {
        let now = self.now;
        match action {
            Action::Ask { peer, lane, request, file, spans, urgency: _ } => {
                let shape = &self.files[file.0 as usize];
                let chunks: Vec<u32> = spans.iter().map(|s| shape.index_at(s.offset)).collect();
                let node = &mut self.nodes[id as usize];
                let (peer, file) = (peer.0, file.0);
                let asked =
                    Asked { peer, lane, request, file, chunks: chunks.clone(), spans: &spans };
                node.watch.asked(now, asked, &node.schedule);
                self.send_up(peer, id, ToServer::Ask { request, file, chunks });
            }
            Action::Cancel { peer, request } => {
                self.node(id).watch.cancelled(peer.0, request);
                self.send_up(peer.0, id, ToServer::Cancel { request });
            }
            Action::AskHave { peer, file } => {
                self.send_up(peer.0, id, ToServer::AskHave { file: file.0 });
            }
            Action::FindPeers { file } => {
                self.searches += 1;
                self.push(now + FIND_US, Ev::Found { node: id, file: file.0 });
            }
            Action::Deliver { ticket, chunk, peer } => {
                let (file, index) = place_of(&chunk);
                let node = self.node(id);
                assert_eq!(node.watch.coming, Some((peer.0, file, index)), "wrong bytes");
                let record = node.tickets.get_mut(&ticket).expect("a ticket of ours");
                assert!(record.end.is_none() && record.file == file);
                assert!(record.rest.remove(&index), "delivered twice, or never wanted");
                let is_now = record.urgency == Urgency::Now;
                node.watch.wants_no_more(file, index, is_now);
                self.keep(id, ticket, file, index);
            }
            Action::Done { ticket } => self.end(id, ticket, Outcome::Done),
            Action::Fail { ticket, reason } => self.end(id, ticket, Outcome::Failed(reason)),
            Action::Ban { peer, for_us, .. } => {
                self.node(id).watch.banned(peer.0, now + for_us);
                self.disconnect(id, peer.0);
            }
            Action::WakeAt(at) => {
                assert!(at > now, "woken in the past");
                let node = self.node(id);
                node.wake_stamp += 1;
                let stamp = node.wake_stamp;
                self.push(at, Ev::Wake { node: id, stamp });
            }
        }
    }

    /// Keeps a chunk; on a full disk its reader gives up.
    fn keep(&mut self, id: u32, ticket: TicketKey, file: u32, index: u32) {
        let shape = &self.files[file as usize];
        let (count, len) = (shape.spans.len(), shape.spans[index as usize].chunk.len);
        let node = &mut self.nodes[id as usize];
        if node.disk_room < u64::from(len) {
            self.at(self.now, move |world| world.unwant(id, ticket));
            return;
        }
        node.disk_room -= u64::from(len);
        node.held.entry(file).or_insert_with(|| vec![false; count])[index as usize] = true;
    }

    fn end(&mut self, node: u32, ticket: TicketKey, outcome: Outcome) {
        let now = self.now;
        let node = self.node(node);
        let record = node.tickets.get_mut(&ticket).expect("a ticket of ours");
        if outcome == Outcome::Unwanted && record.end.is_some() {
            return;
        }
        assert!(record.end.is_none(), "a ticket ends twice");
        assert!(now <= record.deadline, "{ticket:?} ends after its deadline");
        assert_eq!(outcome == Outcome::Done, record.rest.is_empty());
        record.end = Some((now, outcome));
        for chunk in &record.rest {
            node.watch.wants_no_more(record.file, *chunk, record.urgency == Urgency::Now);
        }
    }

    fn step(&mut self, due: Due) {
        self.now = due.at;
        match due.ev {
            Ev::Wake { node, stamp } => {
                if self.node(node).wake_stamp == stamp {
                    self.tell(node, Event::Tick);
                }
            }
            Ev::Pump { node } => {
                if self.nodes[node as usize].pump_at == Some(due.at) {
                    self.node(node).pump_at = None;
                    self.pump(node);
                }
            }
            Ev::AtServer { server, reader, stamp, what } => {
                if self.is_open(server, reader, stamp) {
                    self.at_server(server, reader, what);
                }
            }
            Ev::AtReader { server, reader, stamp, what } => {
                if self.is_open(server, reader, stamp) {
                    self.at_reader(server, reader, stamp, what);
                }
            }
            Ev::Got { server, reader, stamp, what } => {
                if self.is_open(server, reader, stamp) {
                    self.got(server, reader, what);
                }
            }
            Ev::Found { node, file } => self.found(node, file),
            Ev::Dialled { node, peer, file } => {
                self.connect(node, peer, self.found_shape);
                self.send_up(peer, node, ToServer::AskHave { file });
                self.send_up(node, peer, ToServer::AskHave { file });
            }
            Ev::Lost { node, peer } => {
                // Not when they have met again meanwhile.
                if !self.links.contains_key(&(peer, node)) {
                    self.node(node).peers.remove(&peer);
                    self.node(node).watch.peer_down(peer);
                    self.tell(node, Event::PeerDown { peer: PeerKey(peer) });
                }
            }
            Ev::Script(script) => script(self),
        }
    }

    fn is_open(&self, server: u32, reader: u32, stamp: u64) -> bool {
        self.links.get(&(server, reader)).is_some_and(|link| link.stamp == stamp)
    }

    /// A message reaches the reader itself.
    pub(super) fn got(&mut self, server: u32, reader: u32, what: ToReader) {
        let (now, peer) = (self.now, PeerKey(server));
        let node = &mut self.nodes[reader as usize];
        match what {
            ToReader::Chunk { request, index, len, is_good } => {
                let asked = node.watch.chunk_of(server, request, index);
                node.watch.came(now, server, request, index);
                let coming = asked.filter(|_| is_good);
                node.watch.coming = coming.map(|(file, chunk)| (server, file, chunk));
                let wire_len = len + 16;
                self.tell(reader, Event::Came { peer, request, index, wire_len, good: is_good });
                self.node(reader).watch.coming = None;
            }
            ToReader::End { request, absent } => {
                node.watch.ended(server, request);
                self.tell(reader, Event::Ended { peer, request, absent });
            }
            ToReader::Refused { request, is_busy: true } => {
                node.watch.ended(server, request);
                self.tell(reader, Event::Busy { peer, request, retry_us: 100 * MS });
            }
            ToReader::Refused { request, is_busy: false } => {
                node.watch.ended(server, request);
                self.tell(reader, Event::Failed { peer, request });
            }
            ToReader::Have { file, have } => {
                self.tell(reader, Event::Serves { peer, file: FileKey(file), have });
            }
        }
    }

    /// A search ends: some who hold the file are dialled, and some who do not exist.
    fn found(&mut self, id: u32, file: u32) {
        let others = (0..).zip(&self.nodes).filter(|(other, node)| {
            *other != id && node.is_up && (node.holds_any(file) || node.kind == Kind::Dead)
        });
        let mut others: Vec<u32> = others.map(|(other, _)| other).collect();
        for _ in 0..FIND_COUNT {
            let count = others.len() as u64;
            if self.random.below(100) < self.dead_records || count == 0 {
                continue;
            }
            let chosen = usize::try_from(self.random.below(count)).expect("few");
            let peer = others.swap_remove(chosen);
            if self.nodes[id as usize].peers.contains(&peer) {
                self.send_up(peer, id, ToServer::AskHave { file });
                continue;
            }
            let late = if self.random.below(100) < self.dead_records { DIAL_US } else { 0 };
            let at = self.now + 2 * self.found_shape.rtt_us + late;
            self.push(at, Ev::Dialled { node: id, peer, file });
        }
    }

    /// Goes on until `is_done`, which is asked every tenth of a second, or until `limit`; says
    /// whether it was done.
    pub fn run(&mut self, limit: Time, mut is_done: impl FnMut(&World) -> bool) -> bool {
        let mut look_at = self.now;
        let first = self.number;
        while let Some(Reverse(due)) = self.due.peek() {
            let at = due.at;
            if at >= look_at {
                if is_done(self) {
                    return true;
                }
                look_at = at + SECOND / 10;
            }
            if at > limit {
                break;
            }
            assert!(self.number - first < EVENTS_MAX, "it goes round in circles");
            let Reverse(due) = self.due.pop().expect("it was there");
            self.step(due);
        }
        self.now = self.now.max(limit);
        is_done(self)
    }

    /// Goes on until all tickets have ended; says whether they did.
    pub fn run_all(&mut self, limit: Time) -> bool {
        self.run(limit, |world| world.nodes.iter().all(|node| node.open() == 0))
    }

    /// Goes on for some time.
    pub fn run_for(&mut self, time: Time) {
        let limit = self.now + time;
        self.run(limit, |_| false);
    }

    /// Adds an action to the trace.
    fn note(&mut self, node: u32, action: &Action) {
        let (kind, numbers) = match action {
            Action::Ask { peer, request, spans, .. } => {
                let first = spans.first().map_or(0, |span| span.offset);
                (1, [u64::from(peer.0), u64::from(request.0), first ^ spans.len() as u64])
            }
            Action::Cancel { peer, request } => (2, [peer.0.into(), request.0.into(), 0]),
            Action::AskHave { peer, file } => (3, [peer.0.into(), file.0.into(), 0]),
            Action::FindPeers { file } => (4, [file.0.into(), 0, 0]),
            Action::Deliver { ticket, chunk, peer } => {
                (5, [ticket.0, u64::from(place_of(chunk).1), peer.0.into()])
            }
            Action::Done { ticket } => (6, [ticket.0, 0, 0]),
            Action::Fail { ticket, reason } => (7, [ticket.0, *reason as u64, 0]),
            Action::Ban { peer, for_us, .. } => (8, [peer.0.into(), *for_us, 0]),
            Action::WakeAt(at) => (9, [*at, 0, 0]),
        };
        for number in [self.now, u64::from(node), kind].into_iter().chain(numbers) {
            self.trace = (self.trace ^ number).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}
