//! What can go wrong in the engine: one variant a cause, ids as fields, sources kept.

use std::io;
use std::path::PathBuf;

use crate::id::{ChunkId, FileId, ObjectId, RepoId};
use crate::name::{RefName, RepoName};

/// Result of the engine's operations.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// An id's text could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdParseError {
    /// The text has the wrong length.
    #[error("an id of {expected} hexadecimal digits was expected, not {actual}")]
    Length {
        /// Digits an id of this kind has.
        expected: usize,
        /// Digits given.
        actual: usize,
    },
    /// A character is not a hexadecimal digit.
    #[error("an id has only the digits 0-9 and a-f")]
    Digit,
}

/// A name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// A repository's name.
    #[error("'{name}' cannot be a repository's name: {reason}")]
    Repo {
        /// The name as given.
        name: String,
        /// The rule it breaks.
        reason: &'static str,
    },
    /// A reference's name.
    #[error("'{name}' cannot be a reference's name: {reason}")]
    Ref {
        /// The name as given.
        name: String,
        /// What git says of it.
        reason: String,
    },
}

/// Everything that an operation on the store can fail with.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no store at the path.
    #[error("there is no store at {path}")]
    NotAStore {
        /// Where one was looked for.
        path: PathBuf,
    },
    /// A store or another file is there already.
    #[error("{path} exists already and is not empty")]
    StoreExists {
        /// Where the store should have been made.
        path: PathBuf,
    },
    /// Another process owns the store.
    #[error("the store {path} is in use by {holder}")]
    Held {
        /// The store.
        path: PathBuf,
        /// Process id and command of the owner, as it wrote them.
        holder: String,
    },
    /// The store was made by a newer version of this program.
    #[error("the store {path} has format {found}; this version reads formats up to {supported}")]
    FormatNewer {
        /// The store.
        path: PathBuf,
        /// The format it has.
        found: u32,
        /// The newest format that this program knows.
        supported: u32,
    },
    /// The file that says which format a store has is missing or says nothing of the kind, beside a
    /// database.
    #[error("{path} is not what was written, and there is a database beside it")]
    DamagedFormat {
        /// The file.
        path: PathBuf,
    },
    /// There are no backups in the directory.
    #[error("{path} has no backups of a store")]
    NotABackup {
        /// Where they were looked for.
        path: PathBuf,
    },
    /// A backup is not what was written.
    #[error("the backup's {path}: {reason}")]
    DamagedBackup {
        /// What is damaged.
        path: PathBuf,
        /// How.
        reason: String,
    },
    /// The operating system refused.
    #[error("{action}: {source}")]
    Io {
        /// What was being done, with the path.
        action: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The disk is full.
    #[error("no space left on the device while {action}")]
    DiskFull {
        /// What was being done.
        action: &'static str,
    },
    /// The disk failed a write: what came of that is not known, and nothing is written after it.
    #[error("the disk failed ({reason}): nothing more is written until the store is opened again")]
    Stopped {
        /// What the disk said.
        reason: String,
    },
    /// RocksDB failed.
    #[error("the database failed while {action}: {source}")]
    Db {
        /// What was being done.
        action: &'static str,
        /// The cause.
        #[source]
        source: rocksdb::Error,
    },
    /// A row cannot be what the format says: damage, or a bug.
    #[error("damaged row in '{family}' for {key}: {reason}")]
    DamagedRow {
        /// Column family.
        family: &'static str,
        /// The key, as hex or text.
        key: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A chunk's bytes do not have the chunk's hash.
    #[error("chunk {id} is damaged: {reason}")]
    DamagedChunk {
        /// The chunk that was asked for.
        id: ChunkId,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A chunk that a manifest names is not here.
    #[error("chunk {id} of file {file} is missing")]
    MissingChunk {
        /// The chunk.
        id: ChunkId,
        /// The file whose manifest names it.
        file: FileId,
    },
    /// An object that another object or a reference names is not here.
    #[error("object {id} is missing")]
    MissingObject {
        /// The object.
        id: ObjectId,
    },
    /// A file is not here, or not in this repository.
    #[error("file {id} is missing")]
    MissingFile {
        /// The file.
        id: FileId,
    },
    /// An object is not of the kind that was needed.
    #[error("object {id} is a {actual}, not a {expected}")]
    WrongKind {
        /// The object.
        id: ObjectId,
        /// Kind needed.
        expected: &'static str,
        /// Kind found.
        actual: &'static str,
    },
    /// An object's content breaks git's rules so that it cannot be read.
    #[error("object {id} cannot be read: {reason}")]
    MalformedObject {
        /// The object.
        id: ObjectId,
        /// What is wrong.
        reason: String,
    },
    /// A pack was refused. Nothing of it was kept.
    #[error("the pack was refused: {0}")]
    Pack(#[from] PackError),
    /// Two different contents for one id: SHA-1 is being attacked, or the disk lies.
    #[error("SHA-1 collision: object {id} is stored with other bytes")]
    Collision {
        /// The id.
        id: ObjectId,
    },
    /// The bytes of a file do not have the hash that was announced.
    #[error("the content's SHA-256 is {actual}, not {expected}")]
    FileHashMismatch {
        /// The hash that was announced.
        expected: FileId,
        /// The hash of what came.
        actual: FileId,
    },
    /// A file did not have the length that was announced.
    #[error("the content of {id} has {actual} bytes, not {expected}")]
    FileLenMismatch {
        /// The file.
        id: FileId,
        /// Bytes announced.
        expected: u64,
        /// Bytes that came.
        actual: u64,
    },
    /// A limit was passed.
    #[error("{what}: {actual} is over the limit of {limit}")]
    Limit {
        /// What is limited.
        what: &'static str,
        /// The limit.
        limit: u64,
        /// What was asked.
        actual: u64,
    },
    /// A name was refused.
    #[error(transparent)]
    Name(#[from] NameError),
    /// No repository has this name.
    #[error("there is no repository '{name}'")]
    NoRepo {
        /// The name.
        name: RepoName,
    },
    /// The repository's name is taken.
    #[error("a repository '{name}' exists already")]
    RepoExists {
        /// The name.
        name: RepoName,
    },
    /// A repository that is only in parts here, where the whole is needed.
    #[error("the repository '{name}' is filled as it is read: the whole of it is at {origin}")]
    Partial {
        /// The repository.
        name: RepoName,
        /// Where it is filled from.
        origin: String,
    },
    /// A reference did not have the value that the change expected.
    #[error("reference {name} was expected at {expected}, but is at {actual}")]
    RefMoved {
        /// The reference.
        name: RefName,
        /// What the transaction expected, as text.
        expected: String,
        /// What it is, as text.
        actual: String,
    },
    /// A reference would be both a file and a directory, as `a` and `a/b`.
    #[error("reference {name} conflicts with {other}: one would be a directory of the other")]
    RefConflict {
        /// The new reference.
        name: RefName,
        /// The one that stands in its way.
        other: RefName,
    },
    /// A transaction changes one reference twice.
    #[error("reference {name} stands twice in one transaction")]
    RefRepeated {
        /// The reference.
        name: RefName,
    },
    /// The repository has been deleted since its number was looked up.
    #[error("repository number {id} has been deleted")]
    RepoGone {
        /// The number.
        id: RepoId,
    },
    /// A repository's setting that there is not, or a value that it cannot have.
    #[error("{key}: {reason}")]
    Setting {
        /// The key as given.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// A revision could not be found.
    #[error("'{text}' names no revision of {repo}: {reason}")]
    NoRevision {
        /// The repository.
        repo: RepoName,
        /// The revision as given.
        text: String,
        /// Why not.
        reason: String,
    },
    /// Content that is elsewhere could not be fetched. It is not known to be absent there.
    #[error("{what} could not be fetched: {reason}")]
    NotFetched {
        /// The content, with its id.
        what: String,
        /// What each source said.
        reason: String,
    },
    /// A walk that was bounded by time or by revisions found nothing.
    #[error("no commits selected for shallow requests")]
    NoCommits,
    /// The operation was asked to stop.
    #[error("interrupted")]
    Interrupted,
}

/// Why a pack was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackError {
    /// The bytes end before the pack does.
    #[error("it is truncated")]
    Truncated,
    /// The bytes are not a pack or break its format.
    #[error("{reason}")]
    Malformed {
        /// What is wrong, with the offset where known.
        reason: String,
    },
    /// The trailing SHA-1 is not that of the bytes.
    #[error("its checksum does not match its content")]
    Checksum,
    /// Bytes follow the trailer.
    #[error("bytes follow its end")]
    TrailingBytes,
    /// A delta's base is neither in the pack nor in the repository, or deltas form a cycle.
    #[error("{count} deltas have no base that can be found (the first needs {base})")]
    UnresolvedDeltas {
        /// How many.
        count: usize,
        /// The first base, an id or an offset.
        base: String,
    },
    /// An object expands beyond what is accepted.
    #[error(
        "it has an object of more than {limit} bytes, the limit for a pack of {pack_len} bytes"
    )]
    ObjectTooLarge {
        /// The limit for this pack, in bytes.
        limit: u64,
        /// Length of the pack, in bytes.
        pack_len: u64,
    },
    /// All objects together expand beyond what is accepted.
    #[error("its objects inflate to more than {limit} bytes from {pack_len}")]
    Expansion {
        /// The budget, in bytes.
        limit: u64,
        /// Length of the pack, in bytes.
        pack_len: u64,
    },
    /// SHA-1 collision detection fired.
    #[error("the object at offset {offset} is part of a SHA-1 collision attack")]
    CollisionAttack {
        /// Where it stands in the pack.
        offset: u64,
    },
    /// An object names another that is neither in the pack nor in the repository.
    #[error("it needs {kind} {id}, which is neither in it nor in the repository")]
    MissingLink {
        /// The object that is missing.
        id: ObjectId,
        /// What it is named as.
        kind: &'static str,
    },
    /// An object names another as something else than it is.
    #[error("it names {actual} {id} as a {expected}")]
    WrongLink {
        /// The object that is named.
        id: ObjectId,
        /// What it is named as.
        expected: &'static str,
        /// What it is.
        actual: &'static str,
    },
    /// Trees are nested deeper than git follows them.
    #[error("it has trees of more than {limit} levels, which git would not read")]
    TreeTooDeep {
        /// The limit.
        limit: u64,
    },
    /// Content checks failed and the caller asked for refusal.
    #[error("object {id}: {problem}")]
    Content {
        /// The object.
        id: ObjectId,
        /// The check's id and message, as git names them.
        problem: String,
    },
}

impl StoreError {
    /// Wraps an I/O error with what was being done; a full disk gets its own variant.
    pub(crate) fn io(action: impl Into<String>, source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::StorageFull {
            return Self::DiskFull { action: "writing a file of the store" };
        }
        Self::Io { action: action.into(), source }
    }

    /// Whether RocksDB found that its own files are not what it wrote.
    pub fn is_corruption(&self) -> bool {
        matches!(self, Self::Db { source, .. } if source.kind() == rocksdb::ErrorKind::Corruption)
    }

    /// Whether the database could not do it.
    pub(crate) fn is_database(&self) -> bool {
        matches!(self, Self::Db { .. })
    }

    /// Wraps a RocksDB error; a full disk gets its own variant.
    pub(crate) fn db(action: &'static str, source: rocksdb::Error) -> Self {
        if source.as_ref().contains("No space left on device") {
            return Self::DiskFull { action };
        }
        Self::Db { action, source }
    }
}
