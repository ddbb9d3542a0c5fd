//! Every limit on what a client of the git protocol can send, in one place.
//!
//! The constants are the same for everyone; [`PushLimits`] are those that a test makes small.

use std::time::Duration;

/// Longest pkt-line, its four length digits included, in bytes: git's `LARGE_PACKET_MAX`.
pub const LINE_LEN_MAX: usize = 65_520;
/// Longest data in one pkt-line, in bytes.
pub const LINE_DATA_LEN_MAX: usize = LINE_LEN_MAX - 4;
/// Longest data in one pkt-line of side-band-64k: the line also holds the band's number.
pub const BAND_64K_LEN_MAX: usize = LINE_DATA_LEN_MAX - 1;
/// Longest data in one pkt-line of the old side-band, whose lines have at most 1,000 bytes.
pub const BAND_LEN_MAX: usize = 1_000 - 5;

/// Most reference commands in one push, unless the repository says otherwise (`receive.maxRefs`).
/// Until the push ends each takes about 500 bytes of memory, and its name.
pub const PUSH_COMMANDS_MAX: u64 = 100_000;
/// What a repository may say at the most: what one transaction of the store takes.
pub const PUSH_COMMANDS_SET_MAX: u64 = mega_storage::REF_EDITS_MAX as u64;
/// Bytes of a line for each command that a push may have: names of 100 bytes. So many times the
/// commands is the most bytes of all commands together: until the push ends each byte of a name is
/// held about seven times.
pub const PUSH_COMMAND_LEN: u64 = 192;
/// Most `shallow` lines in one push: one for each commit at which a shallow clone's history ends.
pub const PUSH_SHALLOW_MAX: u64 = 100_000;
/// Bytes of them.
pub const PUSH_SHALLOW_LEN: u64 = PUSH_SHALLOW_MAX * 53;
/// Most push options, and most bytes of them together: they become environment variables.
pub const PUSH_OPTIONS_MAX: u64 = 100;
/// See [`PUSH_OPTIONS_MAX`].
pub const PUSH_OPTIONS_LEN_MAX: u64 = 64 << 10;
/// Most bytes of a request that are read and thrown away once it is refused, so that the client
/// gets to hear why: a million commands, and more.
pub const DRAIN_LEN_MAX: u64 = 256 << 20;
/// How long a push may be silent before an empty line says that there is life, in milliseconds, as
/// git's `receive.keepAlive`.
pub const KEEP_ALIVE_MS: u64 = 5_000;
/// Shortest time between two words of progress, in milliseconds; a phase that is shorter says none.
pub const PROGRESS_MS: u64 = 1_000;
/// Most messages about single references in one push; the report still tells of each.
pub const PUSH_MESSAGES_MAX: u64 = 100;
/// Most bytes that the program after a push says and the client sees.
pub const PROGRAM_OUTPUT_LEN_MAX: usize = 1 << 20;
/// Most references that one push writes an audit line each for; one more line counts the others.
pub const AUDIT_LINES_MAX: usize = 10_000;

/// Limits on a push that a configuration, or a test, may change.
#[derive(Clone, Copy, Debug)]
pub struct PushLimits {
    /// Most reference commands, unless the repository says otherwise.
    pub commands_max: u64,
    /// How long the program after a push may take.
    pub program_time: Duration,
}

impl Default for PushLimits {
    fn default() -> Self {
        Self { commands_max: PUSH_COMMANDS_MAX, program_time: Duration::from_secs(60) }
    }
}
