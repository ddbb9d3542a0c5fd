//! Limits on what a server can make the client do.

/// Seconds until a server must have taken a connection.
pub(super) const CONNECT_MAX_S: u64 = 10;
/// Seconds that a server may be silent.
pub(super) const SILENCE_MAX_S: u64 = 20;
/// Longest answer that is read whole, in bytes: ten thousand chunks as JSON are 1.2 MB.
pub(super) const ANSWER_LEN_MAX: u64 = 16 << 20;
/// Longest pack, in bytes; its ingest has limits of its own.
pub(super) const PACK_LEN_MAX: u64 = 64 << 30;
/// Lines in the answer about references or lengths.
pub(super) const LINES_MAX: u64 = 1 << 20;
/// Chunks asked for in one page of a manifest: some 80 MB of file in 120 KB.
pub(super) const PAGE_CHUNKS: usize = 1000;
/// Objects of one question that may turn out to be absent before it is given up: each costs a
/// request, because git's protocol refuses all when one is absent.
pub(super) const ABSENT_MAX: usize = 16;
/// Words of a server in an error, in bytes.
pub(super) const WORDS_LEN_MAX: usize = 300;
