//! What a client may send, and how much it may ask for at once.

/// Longest JSON body, in bytes: a full batch request takes a third of it.
pub const JSON_LEN_MAX: u64 = 4 << 20;
/// Objects in one batch request. git-lfs asks for 100 unless told otherwise.
pub const BATCH_OBJECTS_MAX: usize = 10_000;
/// Transfer adapters that a client may list.
pub const TRANSFERS_MAX: usize = 64;
/// Longest object, in bytes: what the store takes.
pub const OBJECT_LEN_MAX: u64 = 1 << 44;
/// Longest name of a ref in a request, in bytes.
pub const REF_LEN_MAX: usize = 1024;
/// Locks in one page of a list.
pub const LOCKS_PAGE_MAX: u64 = 1000;
/// Locks in one page when the client does not say.
pub const LOCKS_PAGE_DEFAULT: u64 = 100;
/// Length of Mega's slices of a file, in bytes.
pub const SLICE_LEN: u64 = 20 << 20;
/// Longest file that is answered in slices: each is hashed for the list. Clients read a longer one
/// whole.
pub const SLICED_LEN_MAX: u64 = 64 << 30;
/// Files whose slices are remembered.
pub const SLICED_FILES_KEPT: usize = 64;
/// Seconds after which an upload by chunks is forgotten that nobody went on with: a week.
pub const UPLOAD_AGE_MAX_S: u64 = 7 * 86_400;
/// Bytes of a request's body that are read off when its answer does not need them.
pub const REST_LEN_MAX: u64 = 8 << 20;
