//! Files, wants, and chunks on their way.

use std::collections::HashSet;

use libp2p::PeerId;
use mega_storage::{FileId, Held, RepoKey, VerifiedChunk};

use super::super::limits::CALL_TIME;
use super::super::message::{Message, Want};
use super::super::serving::Serving;
use super::super::{PeerStatus, SwarmStatus};
use super::{Conductor, End, Wanted};
use crate::swarm::schedule::{
    Event, FileKey, Have, Lane as LaneKind, PeerKey, RequestKey, Urgency,
};
use crate::swarm::wire::{Priority, Reply, Request};

impl Conductor {
    pub(super) fn file(&mut self, repo: RepoKey, file: FileId) -> FileKey {
        let next = FileKey(u32::try_from(self.file_of.len()).unwrap_or(u32::MAX));
        let key = *self.files.entry((repo, file)).or_insert(next);
        if key == next {
            self.file_of.push((repo, file));
        }
        key
    }

    pub(super) fn want(&mut self, want: Want) {
        let known = self.file_of.len();
        let file = self.file(want.repo, want.file);
        self.wanted.insert(want.ticket, Wanted { sink: want.sink });
        let wait = u64::try_from(want.wait.as_micros()).unwrap_or(u64::MAX);
        let event = Event::Want {
            ticket: want.ticket,
            file,
            spans: want.spans,
            urgency: want.urgency,
            deadline: self.now().saturating_add(wait),
        };
        self.tell(event, None);
        if self.file_of.len() > known {
            for peer in self.peers.ready_for(&want.repo) {
                let key = self.peers.key(peer);
                self.ask_have(key, file);
            }
        }
    }

    /// Asks a peer what it has of each file that is being read of the repositories it serves.
    pub(super) fn ask_all(&mut self, peer: PeerId) {
        let key = self.peers.key(peer);
        let Some(standing) = self.peers.get_mut(&peer) else { return };
        let serves: HashSet<RepoKey> = standing.serves.clone();
        let files: Vec<FileKey> = self
            .files
            .iter()
            .filter(|((repo, _), _)| serves.contains(repo) && self.followed.contains_key(repo))
            .map(|(_, file)| *file)
            .collect();
        for file in files {
            self.ask_have(key, file);
        }
    }

    pub(super) fn ask_have(&mut self, peer: PeerKey, file: FileKey) {
        let number = self.call_number();
        let Some((repo, file_id)) = self.file_of.get(file.0 as usize).copied() else { return };
        let Some(lane) = self.peers.lane(peer, LaneKind::Urgent) else { return };
        let mut answers = lane.call(number, Request::Have { repo, file: file_id });
        let Some(peer) = self.peers.id(peer) else { return };
        let messages = self.parts.messages.clone();
        tokio::spawn(async move {
            let answer = tokio::time::timeout(CALL_TIME, answers.recv()).await;
            let have = match answer {
                Ok(Some(Reply::Have { held, .. })) => Some(have_of(held)),
                Ok(Some(Reply::NotFound)) => None,
                Ok(Some(Reply::Busy { .. }) | None) | Err(_) => return,
                Ok(Some(_)) => {
                    let reason = "an answer of another kind".to_owned();
                    let _ = messages.send(Message::Wrong { peer, reason });
                    return;
                }
            };
            let _ = messages.send(Message::Has { peer, file, have });
        });
    }

    pub(super) fn came(
        &mut self,
        peer: PeerId,
        request: RequestKey,
        index: u16,
        wire_len: u32,
        verified: Result<VerifiedChunk, &'static str>,
    ) {
        let peer = self.peers.key(peer);
        let good = verified.is_ok();
        self.tell(Event::Came { peer, request, index, wire_len, good }, verified.as_ref().ok());
        if let Some(asked) = self.asked.get_mut(&(peer, request)) {
            asked.checked += 1;
            self.end_if_checked(peer, request);
        }
    }

    pub(super) fn ended(&mut self, peer: PeerId, request: RequestKey, came: u32, end: End) {
        let peer = self.peers.key(peer);
        if let Some(asked) = self.asked.get_mut(&(peer, request)) {
            asked.end = Some((came, end));
            self.end_if_checked(peer, request);
        }
    }

    pub(super) fn end_if_checked(&mut self, peer: PeerKey, request: RequestKey) {
        let Some(asked) = self.asked.get(&(peer, request)) else { return };
        if asked.end.as_ref().is_none_or(|(came, _)| asked.checked < *came) {
            return;
        }
        let Some(asked) = self.asked.remove(&(peer, request)) else { return };
        let Some((_, end)) = asked.end else { return };
        let event = match end {
            End::Done(absent) => Event::Ended { peer, request, absent },
            End::Busy(retry_ms) => {
                Event::Busy { peer, request, retry_us: u64::from(retry_ms) * 1000 }
            }
            // What was taken back ends so, too.
            End::NotServed if asked.is_cancelled => Event::Failed { peer, request },
            End::NotServed => {
                if let Some(file) = asked.file {
                    self.tell(Event::ServesNot { peer, file }, None);
                }
                Event::Ended { peer, request, absent: (0..asked.count).collect() }
            }
        };
        self.tell(event, None);
    }

    pub(super) fn status(&self) -> (SwarmStatus, Vec<PeerStatus>) {
        let sent = self.parts.serving.as_ref().map(Serving::sent).unwrap_or_default();
        let peers = self.peers.list(&self.parts.schedule, sent);
        let status =
            SwarmStatus { followed: self.followed.len(), progress: self.parts.schedule.progress() };
        (status, peers)
    }
}

pub(super) fn priority_of(urgency: Urgency) -> Priority {
    match urgency {
        Urgency::Now => Priority::Now,
        Urgency::Soon => Priority::Soon,
        Urgency::Background => Priority::Background,
    }
}

fn have_of(held: Held) -> Have {
    match held {
        Held::None => Have::None,
        Held::All => Have::All,
        Held::Runs(runs) => Have::Runs(runs.iter().map(|run| (run.offset, run.len)).collect()),
        Held::Bits { shift, bits } => Have::Bits { shift, bytes: bits },
    }
}
