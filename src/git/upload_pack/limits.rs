//! Limits on what a client can ask for in one request. Past one, the request is refused by name.

/// Objects asked for, by id or by reference. A checkout in a partial clone asks for every missing
/// blob of a revision at once.
pub const WANTS_MAX: usize = 1 << 20;
/// Objects that the client says it has. Git sends at most some ten thousand in a round.
pub const HAVES_MAX: usize = 1 << 18;
/// Commits at which the client's history ends.
pub const SHALLOW_MAX: usize = 1 << 18;
/// References at which a shallow history shall end.
pub const DEEPEN_NOT_MAX: usize = 1 << 12;
/// Prefixes of references; as in git, from so many on they are not looked at.
pub const REF_PREFIXES_MAX: usize = 1 << 16;
/// Objects whose size is asked for.
pub const OBJECT_INFO_MAX: usize = 1 << 20;
/// Length of a filter, in bytes.
pub const FILTER_LEN_MAX: usize = 4096;
/// Filters in one combined filter, those inside of others counted too.
pub const FILTER_PARTS_MAX: usize = 32;
/// Combined filters one inside the other.
pub const FILTER_NESTING_MAX: usize = 4;
/// Capabilities and server options before a command's arguments.
pub const CAPABILITIES_MAX: usize = 1 << 10;
/// Lines in one request.
pub const LINES_MAX: u64 = (WANTS_MAX + HAVES_MAX + SHALLOW_MAX + 2 * REF_PREFIXES_MAX) as u64;
/// Length of one request after inflating, in bytes: more than [`LINES_MAX`] lines of 50 bytes.
pub const REQUEST_LEN_MAX: u64 = 96 << 20;
/// The depth by which git says "everything".
pub const DEPTH_INFINITE: u32 = mega_storage::DEPTH_INFINITE;
/// Times that a request's negotiation walks history to see whether a pack can be made.
pub const READY_WALKS_MAX: usize = 32;
/// Commits that are looked at to find haves below wants, before the closure of all references is
/// asked.
pub const NEWEST_COMMITS_MAX: usize = 1 << 10;
