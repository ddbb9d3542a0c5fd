//! Every limit of the exchange protocol. Each is a rule: who breaks one is not spoken to further.

use mega_storage::{
    CHUNK_LEN_MAX, HELD_BITS_LEN_MAX, HELD_RUNS_MAX, ObjectId, REF_NAME_LEN_MAX, SIGNED_CHUNKS,
};

/// The version that this program speaks.
pub const VERSION: u16 = 1;
/// Bytes of a frame that its length does not count: the length.
pub const LEN_LEN: usize = 4;
/// Bytes of a frame's type and request id.
pub const HEAD_LEN: usize = 5;
/// Longest frame, its length not counted, whatever its type: a mebibyte and room for its head.
pub const REST_LEN_MAX: usize = (1 << 20) + 256;

/// Longest name of a repository: four segments of a hundred characters.
pub const REPO_NAME_LEN_MAX: usize = 403;
/// References asked for by name at once.
pub const REFS_ASKED_MAX: usize = 64;
/// References in one page; fewer when they would not fit into a frame.
pub const REFS_PAGE_MAX: usize = 1_024;
/// Objects whose kind and length are asked for at once.
pub const HEADERS_MAX: usize = 4_096;
/// Objects that are asked for at once.
pub const OBJECTS_MAX: usize = 2_048;
/// Bytes of a pack in one piece.
pub const PIECE_LEN_MAX: usize = 256 << 10;
/// Files whose lengths are asked for at once.
pub const FILES_MAX: usize = 100;
/// Signed pages of a manifest in one answer.
pub const PAGES_MAX: usize = 10;
/// Chunks in them.
pub const PAGE_CHUNKS_MAX: usize = PAGES_MAX * SIGNED_CHUNKS;
/// Chunks that are asked for at once.
pub const CHUNKS_MAX: usize = 64;
/// Longest signed record of a repository.
pub const RECORD_LEN_MAX: usize = 8 << 10;
/// Longest reason of a BYE.
pub const REASON_LEN_MAX: usize = 200;
/// Longest `GIT_PROTOCOL`.
pub const GIT_PROTOCOL_LEN_MAX: usize = 256;

/// Requests of one stream that may be open at a time.
pub const OPEN_REQUESTS_MAX: usize = 64;
/// Bytes of chunks that a peer may have asked for and not got, as this program announces it.
pub const IN_FLIGHT_LEN_MAX: u32 = 16 << 20;
/// The least that a peer may announce: one chunk must fit.
pub const IN_FLIGHT_LEN_MIN: u32 = CHUNK_LEN_MAX;

/// Bytes of a SHA-256.
pub(super) const HASH_LEN: usize = 32;
/// Bytes of a length or count before bytes or items.
pub(super) const COUNT_LEN: usize = 2;
/// Bytes of a chunk's id and length.
pub(super) const CHUNK_REF_LEN: usize = HASH_LEN + 4;
/// Longest line of a page of references.
pub(super) const REF_LINE_LEN_MAX: usize =
    COUNT_LEN + REF_NAME_LEN_MAX + 1 + ObjectId::LEN + COUNT_LEN + REF_NAME_LEN_MAX;
/// Longest body of a list of what is here.
pub(super) const HAVE_LEN_MAX: usize = {
    let runs = 9 + COUNT_LEN + HELD_RUNS_MAX * 16;
    let bits = 10 + HELD_BITS_LEN_MAX;
    if runs > bits { runs } else { bits }
};
