//! The one task between the network, the scheduler and those who read.
//!
//! It owns the scheduler, opens streams to the peers that something is asked of, and carries
//! messages. Chunks pass it checked, on their way to whoever asked for them, and are not kept here.

mod chunks;
mod connections;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use libp2p::PeerId;
use mega_storage::{FileId, RepoKey, VerifiedChunk};
use tokio::sync::{mpsc, oneshot};

use super::limits::{LIE_TIME, WRONG_TIME};
use super::message::{Answers, Message, Told};
use super::peers::PeerTable;
use super::serving::Serving;
use super::verify::Checks;
use super::{Book, GitServer};
use crate::swarm::net::Net;
use crate::swarm::schedule::{
    Action, Event, FileKey, Have, Lane as LaneKind, PeerKey, RequestKey, Schedule, TicketKey, Time,
};
use crate::swarm::wire::Request;
use chunks::priority_of;

/// How often broken streams and connections are looked after.
const TICK: Duration = Duration::from_millis(500);

/// How a request for chunks ended, told to the scheduler when all that came of it is checked.
enum End {
    Done(Vec<u16>),
    NotServed,
    Busy(u32),
}

#[derive(Default)]
struct Asked {
    file: Option<FileKey>,
    /// Chunks that it asks for.
    count: u16,
    is_cancelled: bool,
    checked: u32,
    end: Option<(u32, End)>,
}

struct Wanted {
    sink: crossbeam_channel::Sender<Told>,
}

#[derive(Default)]
struct Followed {
    readers: usize,
    /// The DHT is asked for those who serve it.
    is_public: bool,
    find_at: Option<Instant>,
    find_count: u32,
}

/// What the conductor works with.
pub(super) struct Parts {
    pub(super) net: Net,
    pub(super) schedule: Schedule,
    pub(super) messages: mpsc::UnboundedSender<Message>,
    pub(super) checks: Checks,
    pub(super) serving: Option<Serving>,
    pub(super) git: Option<Arc<dyn GitServer>>,
    pub(super) book: Arc<dyn Book>,
}

pub(super) struct Conductor {
    parts: Parts,
    started: Instant,
    wake: Option<Time>,
    actions: Vec<Action>,
    peers: PeerTable,
    files: HashMap<(RepoKey, FileId), FileKey>,
    file_of: Vec<(RepoKey, FileId)>,
    asked: HashMap<(PeerKey, RequestKey), Asked>,
    wanted: HashMap<TicketKey, Wanted>,
    followed: HashMap<RepoKey, Followed>,
    /// Questions to peers whose streams are still opening.
    calls: Vec<(PeerId, Request, Answers)>,
    /// Who waits for the first peer of a repository.
    firsts: Vec<(RepoKey, oneshot::Sender<Vec<PeerId>>)>,
    next_call: u32,
    streams: HashMap<PeerId, usize>,
    /// Streams of git's own protocols that each peer has open.
    git_streams: HashMap<PeerId, usize>,
}

impl Conductor {
    pub(super) fn new(parts: Parts) -> Self {
        Self {
            parts,
            started: Instant::now(),
            wake: None,
            actions: Vec::new(),
            peers: PeerTable::default(),
            files: HashMap::new(),
            file_of: Vec::new(),
            asked: HashMap::new(),
            wanted: HashMap::new(),
            followed: HashMap::new(),
            calls: Vec::new(),
            firsts: Vec::new(),
            next_call: 0,
            streams: HashMap::new(),
            git_streams: HashMap::new(),
        }
    }

    /// Runs until nobody can send it a message any more, or it is told to stop.
    pub(super) async fn run(mut self, mut messages: mpsc::UnboundedReceiver<Message>) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let wake = self.wake.map(|at| self.started + Duration::from_micros(at));
            let alarm = async {
                match wake {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                message = messages.recv() => match message {
                    None | Some(Message::Stop) => return,
                    Some(message) => self.take(message),
                },
                () = alarm => {
                    self.wake = None;
                    self.tell(Event::Tick, None);
                }
                _ = tick.tick() => self.look_after(Instant::now()),
            }
        }
    }

    pub(super) fn now(&self) -> Time {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    pub(super) fn take(&mut self, message: Message) {
        match message {
            Message::Net(event) => self.network(event),
            Message::Follow { repo, peers, is_public } => self.follow(repo, peers, is_public),
            Message::Unfollow { repo } => self.unfollow(repo),
            Message::Found { repo, peer } => self.found(repo, peer),
            Message::Want(want) => self.want(want),
            Message::Unwant(ticket) => {
                self.wanted.remove(&ticket);
                self.tell(Event::Unwant { ticket }, None);
            }
            Message::LaneUp { peer, kind, lane } => self.lane_up(peer, kind, lane),
            Message::LaneDown { peer, error } => self.lane_down(peer, error),
            Message::Came { peer, request, index, wire_len, verified } => {
                self.came(peer, request, index, wire_len, verified);
            }
            Message::Ended { peer, request, came, absent } => {
                self.ended(peer, request, came, End::Done(absent));
            }
            Message::NotServed { peer, request, came } => {
                self.ended(peer, request, came, End::NotServed);
            }
            Message::Busy { peer, request, came, retry_ms } => {
                self.ended(peer, request, came, End::Busy(retry_ms));
            }
            Message::Has { peer, file, have } => {
                let peer = self.peers.key(peer);
                let event = match have {
                    Some(have) => Event::Serves { peer, file, have },
                    None => Event::ServesNot { peer, file },
                };
                self.tell(event, None);
            }
            Message::HasAll { peer, repo, file } => {
                let (peer, file) = (self.peers.key(peer), self.file(repo, file));
                self.tell(Event::Serves { peer, file, have: Have::All }, None);
            }
            Message::Call { peer, request, answers } => self.call(peer, request, answers),
            Message::PeersOf { repo, answer } => {
                self.firsts.push((repo, answer));
                self.tell_firsts();
            }
            Message::Wrong { peer, reason } => self.ban(peer, WRONG_TIME, &reason),
            Message::GitEnded { peer } => self.git_ended(peer),
            Message::Lied { peer, reason } => self.ban(peer, LIE_TIME, &reason),
            Message::IsUp { peer, answer } => {
                let is_up = self.peers.get_mut(&peer).is_some_and(|standing| standing.is_up);
                let _ = answer.send(is_up);
            }
            Message::IsServed { repo, answer } => {
                let _ = answer.send(!self.peers.ready_for(&repo).is_empty());
            }
            Message::ServingEnded { peer, error } => self.serving_ended(peer, error),
            Message::Status(answer) => {
                let _ = answer.send(self.status());
            }
            Message::Stop => {}
        }
    }

    pub(super) fn call_number(&mut self) -> u32 {
        self.next_call = self.next_call.wrapping_add(1);
        self.next_call
    }

    /// Tells the scheduler and does what it says. `chunk` is what came, to be handed on.
    pub(super) fn tell(&mut self, event: Event, chunk: Option<&VerifiedChunk>) {
        let now = self.now();
        let mut actions = std::mem::take(&mut self.actions);
        self.parts.schedule.handle(now, event, &mut actions);
        for action in actions.drain(..) {
            self.act(action, chunk);
        }
        self.actions = actions;
    }

    pub(super) fn act(&mut self, action: Action, chunk: Option<&VerifiedChunk>) {
        match action {
            Action::Ask { peer, lane, request, file, spans, urgency } => {
                let Some((repo, file_id)) = self.file_of.get(file.0 as usize).copied() else {
                    return;
                };
                let count = u16::try_from(spans.len()).unwrap_or(u16::MAX);
                let asked = Asked { file: Some(file), count, ..Asked::default() };
                self.asked.insert((peer, request), asked);
                if let Some(lane) = self.peers.lane(peer, lane) {
                    let priority = priority_of(urgency);
                    let file = file_id;
                    let question = Request::Chunks { repo, file, priority, spans: spans.clone() };
                    lane.ask_chunks(request, spans, question);
                }
            }
            Action::Cancel { peer, request } => {
                if let Some(asked) = self.asked.get_mut(&(peer, request)) {
                    asked.is_cancelled = true;
                }
                for kind in [LaneKind::Urgent, LaneKind::Bulk] {
                    if let Some(lane) = self.peers.lane(peer, kind) {
                        lane.cancel(request);
                    }
                }
            }
            Action::AskHave { peer, file } => self.ask_have(peer, file),
            Action::FindPeers { file } => {
                if let Some((repo, file_id)) = self.file_of.get(file.0 as usize).copied() {
                    for peer in self.peers.ready_for(&repo) {
                        let peer = self.peers.key(peer);
                        self.ask_have(peer, file);
                    }
                    self.find(repo, Some(file_id));
                }
            }
            Action::Deliver { ticket, .. } => {
                if let (Some(wanted), Some(chunk)) = (self.wanted.get(&ticket), chunk) {
                    let _ = wanted.sink.send(Told::Chunk(chunk.clone()));
                }
            }
            Action::Done { ticket } => {
                if let Some(wanted) = self.wanted.remove(&ticket) {
                    let _ = wanted.sink.send(Told::Done);
                }
            }
            Action::Fail { ticket, reason } => {
                if let Some(wanted) = self.wanted.remove(&ticket) {
                    let _ = wanted.sink.send(Told::Failed(reason.to_string()));
                }
            }
            Action::Ban { peer, for_us, why } => {
                if let Some(peer) = self.peers.id(peer) {
                    self.ban(peer, Duration::from_micros(for_us), &why);
                }
            }
            Action::WakeAt(at) => self.wake = Some(at),
        }
    }

    pub(super) fn ban(&mut self, peer: PeerId, time: Duration, why: &dyn std::fmt::Display) {
        tracing::warn!(%peer, %why, "a peer is banned for {} min", time.as_secs().div_ceil(60));
        let (net, book) = (self.parts.net.clone(), self.parts.book.clone());
        tokio::spawn(async move { net.ban(peer, time).await });
        tokio::task::spawn_blocking(move || book.banned(&peer, time));
        if let Some(standing) = self.peers.get_mut(&peer) {
            standing.bans += 1;
            standing.drop_lanes();
        }
    }
}
