//! Peers, their connections, and the streams to and from them.

use std::collections::hash_map::Entry;
use std::time::{Duration, Instant};

use libp2p::kad::RecordKey;
use libp2p::{Multiaddr, PeerId, Stream, StreamProtocol};
use mega_storage::{FileId, RepoKey};

use super::super::lane::{Lane, LaneError};
use super::super::limits::{
    CALL_TIME, CALLS_WAITING_MAX, FIND_AGAIN, GIT_STREAMS_MAX, GIT_STREAMS_PER_PEER_MAX,
    STREAMS_MAX, STREAMS_PER_PEER_MAX, WINDOW_LEN_MAX, WRONG_TIME,
};
use super::super::message::{Answers, Message};
use super::super::{BULK, GIT, URGENT};
use super::Conductor;
use crate::swarm::net::NetEvent;
use crate::swarm::record::{file_key, providers_key};
use crate::swarm::schedule::{Event, Lane as LaneKind};
use crate::swarm::serve;
use crate::swarm::wire::Request;

impl Conductor {
    pub(super) fn follow(
        &mut self,
        repo: RepoKey,
        peers: Vec<(PeerId, Vec<Multiaddr>)>,
        is_public: bool,
    ) {
        let followed = self.followed.entry(repo).or_default();
        followed.readers += 1;
        followed.is_public |= is_public;
        for (peer, addresses) in peers {
            self.peers.add(peer, addresses.clone()).serves.insert(repo);
            self.reach(repo, peer, addresses);
        }
        self.find(repo, None);
    }

    pub(super) fn unfollow(&mut self, repo: RepoKey) {
        if let Some(followed) = self.followed.get_mut(&repo) {
            followed.readers = followed.readers.saturating_sub(1);
            if followed.readers == 0 {
                self.followed.remove(&repo);
            }
        }
    }

    /// Asks a peer at once, or as soon as its streams are open.
    pub(super) fn call(&mut self, peer: PeerId, request: Request, answers: Answers) {
        let number = self.call_number();
        match self.peers.get_mut(&peer) {
            Some(standing) => match standing.urgent.clone() {
                Some(lane) => {
                    let _ = answers.send(Some(lane.call(number, request)));
                }
                None => {
                    self.calls.retain(|(_, _, waiting)| !waiting.is_closed());
                    if self.calls.len() < CALLS_WAITING_MAX {
                        self.calls.push((peer, request, answers));
                    }
                }
            },
            None => {
                let _ = answers.send(None);
            }
        }
    }

    /// Answers those who wait for a first peer that there is one now.
    pub(super) fn tell_firsts(&mut self) {
        for (repo, answer) in std::mem::take(&mut self.firsts) {
            let peers = self.peers.ready_for(&repo);
            match peers.is_empty() {
                true if !answer.is_closed() => self.firsts.push((repo, answer)),
                true => {}
                false => {
                    let _ = answer.send(peers);
                }
            }
        }
    }

    pub(super) fn network(&mut self, event: NetEvent) {
        match event {
            NetEvent::Up { peer, address, is_relayed } => {
                let book = self.parts.book.clone();
                let met = address.clone();
                tokio::task::spawn_blocking(move || book.met(&peer, &[met]));
                let Some(standing) = self.peers.get_mut(&peer) else { return };
                standing.is_up = true;
                standing.is_relayed = is_relayed;
                standing.note_address(address);
                self.open(peer);
            }
            NetEvent::Way { peer, is_relayed } => {
                if let Some(standing) = self.peers.get_mut(&peer) {
                    standing.is_relayed = is_relayed;
                    // Streams stay on the connection they were opened on: the better one is new.
                    if !is_relayed {
                        self.lane_down(peer, None);
                    }
                }
            }
            NetEvent::Down { peer } => {
                if let Some(standing) = self.peers.get_mut(&peer) {
                    standing.is_up = false;
                    self.lane_down(peer, None);
                }
            }
            NetEvent::Rtt { peer, time } => {
                if let Some(standing) = self.peers.get_mut(&peer) {
                    standing.rtt = Some(time);
                    let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
                    let peer = self.peers.key(peer);
                    self.tell(Event::Rtt { peer, us }, None);
                }
            }
            NetEvent::Stream { peer, protocol, stream } => self.serve(peer, &protocol, stream),
        }
    }

    /// Connects to a peer that may have a repository, and says when it stands.
    pub(super) fn reach(&self, repo: RepoKey, peer: PeerId, addresses: Vec<Multiaddr>) {
        let (net, messages) = (self.parts.net.clone(), self.parts.messages.clone());
        tokio::spawn(async move {
            match net.connect(peer, addresses).await {
                Ok(()) => {
                    let _ = messages.send(Message::Found { repo, peer });
                }
                Err(error) => tracing::debug!(%error, "a provider is away"),
            }
        });
    }

    /// Looks for more peers that have a repository, or a file of it.
    pub(super) fn find(&mut self, repo: RepoKey, file: Option<FileId>) {
        let Some(followed) = self.followed.get_mut(&repo) else { return };
        if repo == RepoKey::ANY || !followed.is_public {
            return;
        }
        followed.find_count = followed.find_count.wrapping_add(1);
        let pause = find_pause(&repo, followed.find_count);
        followed.find_at = Some(Instant::now() + pause);
        let mut keys = vec![providers_key(&repo)];
        keys.extend(file.map(|file| file_key(&file)));
        for key in keys {
            let (net, messages) = (self.parts.net.clone(), self.parts.messages.clone());
            tokio::spawn(async move {
                let mut found = net.providers(RecordKey::new(key.as_bytes())).await;
                while let Some(peer) = found.recv().await {
                    let (net, messages) = (net.clone(), messages.clone());
                    tokio::spawn(async move {
                        if net.connect(peer, Vec::new()).await.is_ok() {
                            let _ = messages.send(Message::Found { repo, peer });
                        }
                    });
                }
            });
        }
    }

    pub(super) fn found(&mut self, repo: RepoKey, peer: PeerId) {
        if !self.followed.contains_key(&repo) || !self.peers.has_room(&repo, &peer) {
            return;
        }
        let standing = self.peers.add(peer, Vec::new());
        standing.is_up = true;
        let is_new = standing.serves.insert(repo);
        let is_ready = standing.urgent.is_some();
        self.open(peer);
        if is_new && is_ready {
            self.ask_all(peer);
            self.tell_firsts();
        }
    }

    /// Opens the two streams to a peer, when they are not open.
    pub(super) fn open(&mut self, peer: PeerId) {
        let Some(standing) = self.peers.get_mut(&peer) else { return };
        if standing.is_opening || standing.urgent.is_some() || standing.serves.is_empty() {
            return;
        }
        standing.is_opening = true;
        for (kind, protocol) in [(LaneKind::Urgent, URGENT), (LaneKind::Bulk, BULK)] {
            let (net, messages) = (self.parts.net.clone(), self.parts.messages.clone());
            let checks = self.parts.checks.clone();
            tokio::spawn(async move {
                let opened = tokio::time::timeout(CALL_TIME, net.open(peer, protocol)).await;
                let lane = match opened {
                    Ok(Ok(stream)) => Some(Lane::start(peer, stream, messages.clone(), checks)),
                    Ok(Err(error)) => {
                        tracing::debug!(%error, "a stream cannot be opened");
                        None
                    }
                    Err(_) => None,
                };
                let _ = messages.send(Message::LaneUp { peer, kind, lane });
            });
        }
    }

    pub(super) fn lane_up(&mut self, peer: PeerId, kind: LaneKind, lane: Option<Lane>) {
        let key = self.peers.key(peer);
        let Some(standing) = self.peers.get_mut(&peer) else { return };
        if lane.is_none() {
            standing.failed();
            return self.lane_down(peer, None);
        }
        match kind {
            LaneKind::Urgent => standing.urgent = lane,
            LaneKind::Bulk => standing.bulk = lane,
        }
        if standing.urgent.is_some() && standing.bulk.is_some() {
            standing.is_opening = false;
            standing.recovered();
            let rtt = standing.rtt.unwrap_or_default();
            let event = Event::PeerUp {
                peer: key,
                rtt_us: u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX),
                relayed: standing.is_relayed,
                in_flight_len_max: WINDOW_LEN_MAX,
            };
            self.tell(event, None);
            self.ask_all(peer);
            self.tell_firsts();
            for (waiting, request, answers) in std::mem::take(&mut self.calls) {
                match waiting == peer {
                    true => self.call(peer, request, answers),
                    false => self.calls.push((waiting, request, answers)),
                }
            }
        }
    }

    /// A stream to a peer is gone: what was asked on both is asked elsewhere.
    pub(super) fn lane_down(&mut self, peer: PeerId, error: Option<LaneError>) {
        let key = self.peers.key(peer);
        let Some(standing) = self.peers.get_mut(&peer) else { return };
        let was_ready = standing.urgent.is_some() && standing.bulk.is_some();
        standing.drop_lanes();
        match error {
            Some(LaneError::Wrong(error)) => self.ban(peer, WRONG_TIME, &error),
            Some(LaneError::Broken(reason)) => {
                standing.failed();
                tracing::debug!(%peer, reason, "a stream broke");
            }
            None => {}
        }
        if was_ready {
            self.asked.retain(|(peer, _), _| *peer != key);
            self.tell(Event::PeerDown { peer: key }, None);
        }
    }

    pub(super) fn look_after(&mut self, now: Instant) {
        let due: Vec<RepoKey> = self
            .followed
            .iter()
            .filter(|(_, f)| f.is_public && f.find_at.is_none_or(|at| now >= at))
            .map(|(repo, _)| *repo)
            .collect();
        for repo in due {
            self.find(repo, None);
        }
        let followed = &self.followed;
        for (peer, addresses, is_up) in self.peers.broken(now, |repo| followed.contains_key(repo)) {
            if is_up {
                self.open(peer);
                continue;
            }
            let serves = self.peers.get_mut(&peer).and_then(|s| s.serves.iter().next().copied());
            if let Some(repo) = serves {
                self.reach(repo, peer, addresses);
            }
        }
    }

    pub(super) fn serve(&mut self, peer: PeerId, protocol: &StreamProtocol, stream: Stream) {
        if *protocol == GIT {
            self.serve_git(peer, stream);
            return;
        }
        let count = self.streams.values().sum::<usize>();
        let own = self.streams.entry(peer).or_default();
        if count >= STREAMS_MAX || *own >= STREAMS_PER_PEER_MAX {
            tracing::debug!(%peer, "a stream too many");
            return;
        }
        *own += 1;
        let messages = self.parts.messages.clone();
        let serving = self.parts.serving.clone();
        let lane = if *protocol == BULK { serve::Lane::Bulk } else { serve::Lane::Urgent };
        tokio::spawn(async move {
            let error = match serving {
                Some(serving) => serving.run(peer, lane, stream).await.err(),
                None => None,
            };
            let _ = messages.send(Message::ServingEnded { peer, error });
        });
    }

    /// Git has a limit of its own: each of its streams has a thread for as long as it lasts.
    fn serve_git(&mut self, peer: PeerId, stream: Stream) {
        let Some(git) = self.parts.git.clone() else { return };
        let count = self.git_streams.values().sum::<usize>();
        let own = self.git_streams.entry(peer).or_default();
        if count >= GIT_STREAMS_MAX || *own >= GIT_STREAMS_PER_PEER_MAX {
            tracing::debug!(%peer, "a stream of git's too many");
            return;
        }
        *own += 1;
        let messages = self.parts.messages.clone();
        let waits = self.parts.net.waits().clone();
        tokio::spawn(async move {
            super::super::git_stream::serve(peer, stream, git, waits).await;
            let _ = messages.send(Message::GitEnded { peer });
        });
    }

    pub(super) fn git_ended(&mut self, peer: PeerId) {
        if let Entry::Occupied(mut count) = self.git_streams.entry(peer) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    pub(super) fn serving_ended(&mut self, peer: PeerId, error: Option<LaneError>) {
        if let Some(count) = self.streams.get_mut(&peer) {
            *count -= 1;
            if *count == 0 {
                self.streams.remove(&peer);
                if let Some(serving) = &self.parts.serving {
                    serving.gone(&peer);
                }
            }
        }
        if let Some(LaneError::Wrong(error)) = error {
            self.ban(peer, WRONG_TIME, &error);
        }
    }
}

/// Time to the next look for peers of a repository: spread, so that those who began together do not
/// stay together.
fn find_pause(repo: &RepoKey, count: u32) -> Duration {
    let first = repo.as_bytes().first().copied().unwrap_or(0);
    let spread = u32::from(first).wrapping_add(count.wrapping_mul(97)) % 103;
    FIND_AGAIN * (205 + spread) / 256
}
