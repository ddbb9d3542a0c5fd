//! Limits of the exchange with peers.

use std::time::Duration;

use crate::swarm::schedule::BAN_US;

/// Bytes taken from a stream at a time.
pub(super) const READ_LEN: usize = 256 << 10;
/// A stream on which something was asked and nothing comes is broken.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(20);
/// Pieces of one answer that wait for whoever asked.
pub(super) const CALL_PIECES_MAX: usize = 16;
/// A question that is answered in one piece ends after this.
pub(super) const CALL_TIME: Duration = Duration::from_secs(10);
/// Frames of one stream that wait to be sent.
pub(super) const SENDING_MAX: usize = 8;
/// Streams that one peer may have open for asking, all kinds together.
pub(super) const STREAMS_PER_PEER_MAX: usize = 12;
/// Streams of all peers.
pub(super) const STREAMS_MAX: usize = 768;
/// Streams of git's protocols that one peer may have open: git-lfs transfers eight files at once.
pub(super) const GIT_STREAMS_PER_PEER_MAX: usize = 16;
/// Streams of git's protocols of all peers.
pub const GIT_STREAMS_MAX: usize = 64;
/// A peer that greets and then says nothing for so long loses its stream.
pub(super) const IDLE_MAX: Duration = Duration::from_secs(600);
/// A greeting must come within this.
pub(super) const GREETING_TIME: Duration = Duration::from_secs(10);
/// A peer that does not take what it asked for loses its stream.
pub(super) const WRITE_TIME: Duration = Duration::from_secs(30);
/// A peer that broke the protocol is left alone for so long.
pub(super) const WRONG_TIME: Duration = Duration::from_secs(3600);
/// A peer that told what is not so is left alone for so long, as one whose chunks were wrong.
pub(super) const LIE_TIME: Duration = Duration::from_micros(BAN_US);
/// Peers that are asked for one repository.
pub(super) const PEERS_PER_REPO_MAX: usize = 64;
/// How often the DHT is asked for more peers of a repository that is read.
pub(super) const FIND_AGAIN: Duration = Duration::from_secs(60);
/// Bytes that may be asked of one peer and not have come.
pub(super) const WINDOW_LEN_MAX: u64 = 16 << 20;
/// Addresses of one peer that are kept.
pub(super) const ADDRESSES_MAX: usize = 16;
/// Questions that wait for streams to open.
pub(super) const CALLS_WAITING_MAX: usize = 1024;
