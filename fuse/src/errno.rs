//! What an operation on the mount can fail with, and the errno that each failure becomes.
//!
//! Invariant: the tables have no `_ =>`: a new error is decided here before it compiles.
//! `fuse/README.md` repeats them.

use std::sync::Arc;

use mega_storage::{ObjectId, StoreError};

/// Failure of an operation of [`crate::fs::MountFs`].
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum FsError {
    /// The directory has no such name.
    #[error("no such entry")]
    NotFound,
    /// The kernel named an inode that it was told to forget, or never got.
    #[error("inode {0} is not known")]
    UnknownInode(u64),
    /// A directory was needed.
    #[error("not a directory")]
    NotADirectory,
    /// A directory cannot be read as a file.
    #[error("is a directory")]
    IsADirectory,
    /// Only a symbolic link has a target.
    #[error("not a symbolic link")]
    NotASymlink,
    /// The target is longer than a path can be.
    #[error("the target of symbolic link {id} has {len} bytes")]
    TargetTooLong {
        /// The blob that holds it.
        id: ObjectId,
        /// Its length, in bytes.
        len: u64,
    },
    /// The target is empty or has a NUL, so that no system call could pass it.
    #[error("symbolic link {0} has a target that cannot be a path")]
    BadTarget(ObjectId),
    /// The mount changes nothing.
    #[error("the mount is read-only")]
    ReadOnly,
    /// There is no such extended attribute.
    #[error("no such attribute")]
    NoAttribute,
    /// The caller's buffer cannot hold the attribute.
    #[error("the buffer is too small")]
    BufferTooSmall,
    /// A tree breaks git's format.
    #[error("tree {id} cannot be read: {reason}")]
    MalformedTree {
        /// The tree.
        id: ObjectId,
        /// What is wrong.
        reason: &'static str,
    },
    /// An entry names an object that is absent or of another kind.
    #[error("object {0} is missing or of another kind than its entry says")]
    Absent(ObjectId),
    /// Content ended before its length, or its chunks leave a gap.
    #[error("{content} has no byte at {offset}, though it should")]
    Short {
        /// What was read, as text.
        content: String,
        /// Offset of the first byte that is missing.
        offset: u64,
    },
    /// The code panicked; the session goes on.
    #[error("a bug: the operation panicked")]
    Panicked,
    /// The store could not answer.
    #[error(transparent)]
    Store(#[from] Arc<StoreError>),
}

impl From<StoreError> for FsError {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

/// The errno that an error becomes.
pub(crate) trait ToErrno {
    /// One of libc's `E` constants.
    fn to_errno(&self) -> i32;
}

impl ToErrno for FsError {
    fn to_errno(&self) -> i32 {
        match self {
            Self::NotFound => libc::ENOENT,
            Self::UnknownInode(_) => libc::ESTALE,
            Self::NotADirectory => libc::ENOTDIR,
            Self::IsADirectory => libc::EISDIR,
            Self::NotASymlink => libc::EINVAL,
            Self::TargetTooLong { .. } => libc::ENAMETOOLONG,
            Self::ReadOnly => libc::EROFS,
            Self::NoAttribute => libc::ENODATA,
            Self::BufferTooSmall => libc::ERANGE,
            Self::BadTarget(_)
            | Self::MalformedTree { .. }
            | Self::Absent(_)
            | Self::Short { .. }
            | Self::Panicked => libc::EIO,
            Self::Store(error) => error.to_errno(),
        }
    }
}

impl ToErrno for StoreError {
    fn to_errno(&self) -> i32 {
        match self {
            Self::Interrupted => libc::EINTR,
            // What a tree names and the store does not have is damage to a reader, never "no such
            // file".
            Self::MissingChunk { .. }
            | Self::MissingObject { .. }
            | Self::MissingFile { .. }
            | Self::DamagedRow { .. }
            | Self::DamagedChunk { .. }
            | Self::DamagedFormat { .. }
            | Self::WrongKind { .. }
            | Self::MalformedObject { .. }
            | Self::Collision { .. }
            | Self::FileHashMismatch { .. }
            | Self::FileLenMismatch { .. }
            | Self::NotFetched { .. }
            | Self::Io { .. }
            | Self::Db { .. }
            | Self::Limit { .. } => libc::EIO,
            // No read of an open store ends so; were one to, the reader could do nothing about it.
            Self::NotAStore { .. }
            | Self::StoreExists { .. }
            | Self::NotABackup { .. }
            | Self::DamagedBackup { .. }
            | Self::Held { .. }
            | Self::FormatNewer { .. }
            | Self::DiskFull { .. }
            | Self::Stopped { .. }
            | Self::Pack(_)
            | Self::Name(_)
            | Self::NoRepo { .. }
            | Self::RepoExists { .. }
            | Self::RefMoved { .. }
            | Self::RefConflict { .. }
            | Self::RefRepeated { .. }
            | Self::RepoGone { .. }
            | Self::NoRevision { .. }
            | Self::NoCommits
            | Self::Partial { .. }
            | Self::Setting { .. } => libc::EIO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mega_storage::ChunkId;

    #[test]
    fn each_error_has_the_errno_of_the_readme() {
        let id = ObjectId::NULL;
        let damaged =
            StoreError::DamagedChunk { id: ChunkId::from_bytes([0; 32]), reason: "its hash" };
        let table: Vec<(FsError, &str, i32)> = vec![
            (FsError::NotFound, "ENOENT", libc::ENOENT),
            (FsError::UnknownInode(9), "ESTALE", libc::ESTALE),
            (FsError::NotADirectory, "ENOTDIR", libc::ENOTDIR),
            (FsError::IsADirectory, "EISDIR", libc::EISDIR),
            (FsError::NotASymlink, "EINVAL", libc::EINVAL),
            (FsError::TargetTooLong { id, len: 4096 }, "ENAMETOOLONG", libc::ENAMETOOLONG),
            (FsError::BadTarget(id), "EIO", libc::EIO),
            (FsError::ReadOnly, "EROFS", libc::EROFS),
            (FsError::NoAttribute, "ENODATA", libc::ENODATA),
            (FsError::BufferTooSmall, "ERANGE", libc::ERANGE),
            (FsError::MalformedTree { id, reason: "" }, "EIO", libc::EIO),
            (FsError::Absent(id), "EIO", libc::EIO),
            (FsError::Short { content: String::new(), offset: 0 }, "EIO", libc::EIO),
            (FsError::Panicked, "EIO", libc::EIO),
            (StoreError::Interrupted.into(), "EINTR", libc::EINTR),
            (StoreError::MissingObject { id }.into(), "EIO", libc::EIO),
            (damaged.into(), "EIO", libc::EIO),
        ];
        let readme = include_str!("../README.md");
        for (error, name, errno) in table {
            assert_eq!(error.to_errno(), errno, "{error:?}");
            assert!(readme.contains(&format!("`{name}`")), "{name} is not in the contract");
        }
    }
}
