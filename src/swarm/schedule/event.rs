//! What the scheduler is told and what it says: plain data, without a byte of any chunk.

use mega_storage::{ChunkRef, ChunkSpan};

use super::have::Have;

/// Microseconds since a moment that the driver chose. Never goes back.
pub type Time = u64;

macro_rules! key {
    ($(#[$doc:meta])* $name:ident($number:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub struct $name(pub $number);
    };
}

key!(
    /// A peer. The driver gives a peer id the same key for as long as it runs: bans, rates and
    /// counters hang on it.
    PeerKey(u32)
);
key!(
    /// A file of one repository, as the driver numbers them.
    FileKey(u32)
);
key!(
    /// Somebody's want. Never reused while it is open.
    TicketKey(u64)
);
key!(
    /// A request to a peer; never 0, which is the greeting's on the wire.
    RequestKey(u32)
);

/// When wanted chunks are needed. The order is the order of service.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Urgency {
    /// Somebody waits for it.
    Now,
    /// A reader will come to it.
    Soon,
    /// A file is being completed.
    Background,
}

/// The two streams to a peer. What is asked on one does not wait behind the other at the peer; it
/// does wait behind it on the link.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Lane {
    /// Chunks that somebody waits for.
    Urgent,
    /// Everything else.
    Bulk,
}

/// What has happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// Chunks of a file are wanted. The ticket ends with [`Action::Done`] or [`Action::Fail`], at
    /// the latest at its deadline, or without a word by [`Event::Unwant`]. A chunk that is wanted
    /// already is not asked for again: the more urgent want counts. A ticket that is open already
    /// is ignored.
    Want {
        /// Who wants.
        ticket: TicketKey,
        /// The file.
        file: FileKey,
        /// The chunks, ascending; the same one twice counts once.
        spans: Vec<ChunkSpan>,
        /// How urgently.
        urgency: Urgency,
        /// When the want fails; [`Time::MAX`] for never.
        deadline: Time,
    },
    /// The ticket is not wanted any more.
    Unwant {
        /// Which.
        ticket: TicketKey,
    },
    /// A peer can be asked.
    PeerUp {
        /// Which.
        peer: PeerKey,
        /// Round trip as measured so far; 0 when not known.
        rtt_us: u64,
        /// Whether a relay stands between.
        relayed: bool,
        /// Bytes that it lets us ask for at once, as it said in its greeting.
        in_flight_len_max: u64,
    },
    /// A peer has gone: nothing more comes of what was asked of it, and what it has must be told
    /// anew when it comes back.
    PeerDown {
        /// Which.
        peer: PeerKey,
    },
    /// A peer says what it has of a file: after it was found, and on [`Action::AskHave`].
    Serves {
        /// Which.
        peer: PeerKey,
        /// The file.
        file: FileKey,
        /// What it says. Only a hint: it may lie.
        have: Have,
    },
    /// A peer does not serve the file, or not to us. What was asked of it for the file still ends,
    /// by [`Event::Ended`] with all of it absent.
    ServesNot {
        /// Which.
        peer: PeerKey,
        /// The file.
        file: FileKey,
    },
    /// A chunk came and its hash was checked. All that came of a request is told before its end.
    Came {
        /// From whom.
        peer: PeerKey,
        /// For which request.
        request: RequestKey,
        /// Index in the request's spans.
        index: u16,
        /// Bytes that it took on the wire.
        wire_len: u32,
        /// Whether it is the chunk that was asked for.
        good: bool,
    },
    /// A request was answered to its end. A cancelled one ends too, by this or by
    /// [`Event::Failed`].
    Ended {
        /// By whom.
        peer: PeerKey,
        /// Which request.
        request: RequestKey,
        /// Indexes of the spans that the peer says it does not have.
        absent: Vec<u16>,
    },
    /// A request broke off, while its peer may still be there.
    Failed {
        /// At whom.
        peer: PeerKey,
        /// Which request.
        request: RequestKey,
    },
    /// A peer refused a request for the time being.
    Busy {
        /// Who.
        peer: PeerKey,
        /// Which request.
        request: RequestKey,
        /// When to come back.
        retry_us: u64,
    },
    /// A round trip was measured.
    Rtt {
        /// To whom.
        peer: PeerKey,
        /// How long it took.
        us: u64,
    },
    /// How fast may be taken, from now on.
    Rates(Rates),
    /// Time has passed: the answer to [`Action::WakeAt`].
    Tick,
}

/// What the driver has to do, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Ask a peer for chunks.
    Ask {
        /// Whom.
        peer: PeerKey,
        /// On which stream.
        lane: Lane,
        /// The request's number.
        request: RequestKey,
        /// The file.
        file: FileKey,
        /// The chunks, ascending.
        spans: Vec<ChunkSpan>,
        /// The most urgent want among them.
        urgency: Urgency,
    },
    /// Tell a peer to skip what it has not sent yet of a request.
    Cancel {
        /// Whom.
        peer: PeerKey,
        /// Which request.
        request: RequestKey,
    },
    /// Ask a peer what it has of a file by now.
    AskHave {
        /// Whom.
        peer: PeerKey,
        /// The file.
        file: FileKey,
    },
    /// Look for more peers that serve a file.
    FindPeers {
        /// The file.
        file: FileKey,
    },
    /// Give a ticket the chunk whose [`Event::Came`] is being answered.
    Deliver {
        /// Whose.
        ticket: TicketKey,
        /// The chunk.
        chunk: ChunkRef,
        /// From whom it came.
        peer: PeerKey,
    },
    /// All of a ticket was delivered.
    Done {
        /// Which.
        ticket: TicketKey,
    },
    /// A ticket ends without all of its chunks.
    Fail {
        /// Which.
        ticket: TicketKey,
        /// Why.
        reason: FailReason,
    },
    /// Leave a peer and do not talk to it for some time. Nothing more is asked of it meanwhile.
    Ban {
        /// Whom.
        peer: PeerKey,
        /// For how long, in microseconds.
        for_us: u64,
        /// Why.
        why: BanReason,
    },
    /// Send [`Event::Tick`] at this time, instead of the time said before.
    WakeAt(Time),
}

/// Why a ticket failed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum FailReason {
    /// Nobody who serves the file was there when the deadline came.
    #[error("no peer that serves the file answered in time")]
    NoPeer,
    /// Peers were there, but none had what was still wanted.
    #[error("no peer has this part of the file")]
    NobodyHas,
    /// It was on its way when the deadline came.
    #[error("the peers were too slow")]
    TooSlow,
    /// It is more than is kept track of at once.
    #[error("too much is wanted at once")]
    TooMuch,
}

/// Why a peer is banned.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum BanReason {
    /// It sent bytes that are not the chunk's.
    #[error("it sent wrong bytes")]
    WrongBytes,
}

/// How fast bytes may come, in bytes a second; `None` for as fast as they can.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Rates {
    /// From all peers together.
    pub all: Option<u64>,
    /// From each peer.
    pub peer: Option<u64>,
}
