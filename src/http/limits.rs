//! Limits on everything that a client can send or hold, in one place.
//!
//! The constants are the same for everyone; [`Limits`] are those that a test makes small.

use std::time::Duration;

use crate::git::limits::PushLimits;

/// Most header fields of a request.
pub const HEADERS_MAX: usize = 96;
/// Most bytes of a request's head, and of what is read ahead of a body.
pub const HEAD_LEN_MAX: usize = 64 << 10;
/// Longest path of a request, in bytes, before percent-decoding.
pub const PATH_LEN_MAX: usize = 2_048;
/// Longest query of a request, in bytes, before percent-decoding.
pub const QUERY_LEN_MAX: usize = 4_096;
/// Most parameters of a query.
pub const PARAMETERS_MAX: usize = 32;
/// Requests at once on one HTTP/2 connection.
pub const STREAMS_MAX: u32 = 64;
/// Bytes of a body on their way between a handler and the network: so many pieces of
/// [`PIECE_LEN`].
pub const PIECES_MAX: usize = 8;
/// Length of a piece of a body, in bytes.
pub const PIECE_LEN: usize = 64 << 10;
/// Most bytes that are read and thrown away of a refused request's body, so that its sender reads
/// the answer.
pub const DRAIN_LEN_MAX: u64 = 1 << 20;
/// Ranges of one request; more are answered with the whole.
pub const RANGES_MAX: usize = 16;
/// Chunks that one answer lists.
pub const CHUNKS_LISTED_MAX: u64 = 10_000;
/// Chunks that one answer lists when the client names no limit.
pub const CHUNKS_LISTED: u64 = 1_000;

/// Limits that a configuration, or a test, may change.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once; more are told to come back.
    pub connections_max: usize,
    /// Requests at once; more are told to come back. Each has a thread.
    pub requests_max: usize,
    /// Packs on their way at once, in and out; more wait [`Limits::pack_wait`].
    pub packs_max: usize,
    /// How long a request for a pack waits for its turn.
    pub pack_wait: Duration,
    /// How long a client may take for a request's head, and be silent between requests.
    pub head_timeout: Duration,
    /// How long a client may be silent inside a request's body.
    pub body_timeout: Duration,
    /// How long a client may take nothing of an answer.
    pub answer_timeout: Duration,
    /// Most bytes of a git request's body, inflated, but for a push.
    pub git_request_len_max: u64,
    /// Limits on a push.
    pub push: PushLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 1_024,
            requests_max: 256,
            packs_max: 32,
            pack_wait: Duration::from_secs(30),
            head_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(60),
            answer_timeout: Duration::from_secs(300),
            git_request_len_max: crate::git::upload_pack::limits::REQUEST_LEN_MAX,
            push: PushLimits::default(),
        }
    }
}
