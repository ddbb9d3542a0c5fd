//! The exchange protocol between two stores: frames and messages, without I/O.
//!
//! Who wants something (the asker) opens two long-lived streams to a peer (the answerer), one for
//! what somebody waits for and one for the rest; both carry the same frames. Numbers are big-endian
//! and of fixed width, a `str` is a u16 length and bytes, a `[list]` a u16 count and items.
//!
//! ```text
//! frame          u32 length of the rest | u8 type | u32 request id | body
//!
//! HELLO       0  version u16, features u32, max_inflight u32   the first frame each way, id 0
//! RESOLVE     1  name str                                      -> RECORD
//! REFS        2  rid 32, after str, [name str]                 -> REFS_PAGE
//! HEADERS     3  rid 32, [object 20]                           -> OBJECT_HEADERS
//! OBJECTS     4  rid 32, levels u32, blob_len_max u64, history u32, [object 20]
//!                                                              -> BYTES*, END
//! FILES       5  rid 32, [file 32]                             -> FILE_LENS
//! HAVE        6  rid 32, file 32                               -> HAVE_LIST
//! MANIFEST    7  rid 32, file 32, offset u64, publisher str    -> MANIFEST_PAGE
//! CHUNKS      8  rid 32, file 32, urgency u8: 0 now, 1 soon, 2 background,
//!                [offset u64, chunk 32, len u32]               -> CHUNK*, END
//! CANCEL      9  (the request's id)
//! OPEN       10  service u8, rid 32, protocol str                     -> OPENED, on GIT_PROTOCOL
//!
//! RECORD     16  bytes
//! REFS_PAGE  17  [name str, flags u8: 1 id, 2 target, (object 20), (target str)], more u8
//! OBJECT_HEADERS 18  [kind u8: 0 absent, 1 commit, 2 tree, 3 blob, 4 tag; len u64]
//! BYTES      19  a piece of a pack that stands by itself
//! END        20  [index u16 of a chunk that is not here]
//! FILE_LENS  21  [present u8, len u64]
//! HAVE_LIST  22  len u64, kind u8: 0 nothing, 1 all, 2 [offset u64, len u64], 3 shift u8 and bits
//! MANIFEST_PAGE 23  len u64, offset of the first u64, [chunk 32, len u32], then a signature 64
//!                for each 384 chunks and for what is left
//! CHUNK      24  index u16, codec u8, plain length u32, payload
//! OPENED     25
//! NOT_FOUND  32  absent, not allowed, not mine: no difference
//! BUSY       33  retry_ms u32
//! BYE        34  reason str, id 0
//! ```
//!
//! - Answers of a stream come in the order of its requests. Each request gets one last frame, a
//!   cancelled one too: its one answer, END, BUSY or NOT_FOUND. NOT_FOUND after BYTES means that no
//!   more comes, and the pack is none.
//! - A page of a manifest carries the signatures of the publisher that the request names: of its
//!   id's bytes (see [`crate::swarm::vouch`]). Pages begin at every 384th chunk of the file. One
//!   that the answerer has no signature for is NOT_FOUND.
//! - A request that names [`RepoKey::ANY`] in place of a repository means any public one; only
//!   questions for files may.
//! - What breaks a rule ends the connection: there is one encoding of each message, no byte may
//!   follow it, and every limit (in [`limits`]) is a rule. Features that are not known are ignored;
//!   a version that is not known is answered by BYE.
//! - Both sides read while they write: neither waits for the other to make room.
//!
//! Invariant: a frame is refused by its first five bytes when its type does not belong there or
//! cannot be so long; nothing of it is kept before.

#![deny(clippy::indexing_slicing)]

mod answering;
mod error;
mod frame;
mod git;
mod hello;
mod kind;
pub mod limits;
mod read;
mod reply;
mod reply_read;
mod request;
mod write;

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests;

pub use crate::swarm::record::RepoKey;
pub use answering::{Answering, Step};
pub use error::WireError;
pub use frame::{Frame, Frames};
pub use git::{GitService, Open, OpenAnswer};
pub use hello::Hello;
pub use kind::{Kind, Side};
pub use reply::{RefLine, Reply};
pub use request::{Priority, Request};

/// The stream for what somebody waits for.
pub const URGENT_PROTOCOL: &str = "/mega/exchange/1/urgent";
/// The stream for everything else.
pub const BULK_PROTOCOL: &str = "/mega/exchange/1/bulk";
/// A stream on which git's own protocol is spoken after one OPEN.
pub const GIT_PROTOCOL: &str = "/mega/git/1";

/// The number by which a stream's answers find their requests.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestId(pub u32);

impl RequestId {
    /// For messages that are of the whole stream: HELLO and BYE.
    pub const NONE: Self = Self(0);
}
