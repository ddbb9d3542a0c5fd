//! What the conductor is told, and what it tells those who asked for chunks.

use std::time::Duration;

use crossbeam_channel::Sender;
use libp2p::{Multiaddr, PeerId};
use mega_storage::{ChunkSpan, FileId, RepoKey, VerifiedChunk};
use tokio::sync::{mpsc, oneshot};

use super::lane::{Lane, LaneError};
use super::{PeerStatus, SwarmStatus};
use crate::swarm::net::NetEvent;
use crate::swarm::schedule::{FileKey, Have, Lane as LaneKind, RequestKey, TicketKey, Urgency};
use crate::swarm::wire::{Reply, Request};

/// What whoever asked for chunks is told; after the last two, nothing more.
pub(in crate::swarm) enum Told {
    Chunk(VerifiedChunk),
    Done,
    Failed(String),
}

/// Answers to a question, as they come; `None` when the peer cannot be asked.
pub(super) type Answers = oneshot::Sender<Option<mpsc::Receiver<Reply>>>;

/// Chunks that somebody wants.
pub(super) struct Want {
    pub(super) repo: RepoKey,
    pub(super) file: FileId,
    pub(super) spans: Vec<ChunkSpan>,
    pub(super) urgency: Urgency,
    pub(super) wait: Duration,
    pub(super) sink: Sender<Told>,
    pub(super) ticket: TicketKey,
}

pub(super) enum Message {
    Net(NetEvent),
    /// A repository is read, and these peers may have it.
    Follow {
        repo: RepoKey,
        peers: Vec<(PeerId, Vec<Multiaddr>)>,
        /// Others are looked for in the DHT.
        is_public: bool,
    },
    /// One reader less.
    Unfollow {
        repo: RepoKey,
    },
    /// A peer says, or is said, to have something of a repository.
    Found {
        repo: RepoKey,
        peer: PeerId,
    },
    Want(Want),
    Unwant(TicketKey),
    /// A peer's stream is open for questions, or cannot be opened.
    LaneUp {
        peer: PeerId,
        kind: LaneKind,
        lane: Option<Lane>,
    },
    LaneDown {
        peer: PeerId,
        error: Option<LaneError>,
    },
    Came {
        peer: PeerId,
        request: RequestKey,
        index: u16,
        wire_len: u32,
        verified: Result<VerifiedChunk, &'static str>,
    },
    Ended {
        peer: PeerId,
        request: RequestKey,
        came: u32,
        absent: Vec<u16>,
    },
    NotServed {
        peer: PeerId,
        request: RequestKey,
        came: u32,
    },
    Busy {
        peer: PeerId,
        request: RequestKey,
        came: u32,
        retry_ms: u32,
    },
    /// What a peer has of a file; `None` when it does not serve it.
    Has {
        peer: PeerId,
        file: FileKey,
        have: Option<Have>,
    },
    /// A publisher gave a file's manifest, so that it has all of it.
    HasAll {
        peer: PeerId,
        repo: RepoKey,
        file: FileId,
    },
    Call {
        peer: PeerId,
        request: Request,
        answers: Answers,
    },
    /// Peers that are connected and may have a repository, nearest first.
    PeersOf {
        repo: RepoKey,
        answer: oneshot::Sender<Vec<PeerId>>,
    },
    /// A peer broke the protocol in an answer.
    Wrong {
        peer: PeerId,
        reason: String,
    },
    /// A stream of git's that a peer opened is over.
    GitEnded {
        peer: PeerId,
    },
    /// A peer told what is not so.
    Lied {
        peer: PeerId,
        reason: String,
    },
    /// Whether a connection with a peer stands.
    IsUp {
        peer: PeerId,
        answer: oneshot::Sender<bool>,
    },
    /// Whether a peer that may have a repository can be asked now.
    IsServed {
        repo: RepoKey,
        answer: oneshot::Sender<bool>,
    },
    /// A stream on which a peer asked us has ended.
    ServingEnded {
        peer: PeerId,
        error: Option<LaneError>,
    },
    Status(oneshot::Sender<(SwarmStatus, Vec<PeerStatus>)>),
    Stop,
}
