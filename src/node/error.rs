//! What can go wrong in the node: the rooms below it, and what only their composition can meet.

use std::io;
use std::path::PathBuf;

use mega_storage::{FileId, NameError, ObjectId, RepoName, StoreError};

use crate::git::SourceError;
use crate::http::ServeError;
use crate::http::client::UrlError;
use crate::lfs::LfsError;
use crate::swarm::identity::IdentityError;
use crate::swarm::net::NetError;

/// Everything that a command can fail with once it has the store.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A git repository outside the store.
    #[error(transparent)]
    Git(#[from] SourceError),
    /// LFS content outside the store.
    #[error(transparent)]
    Lfs(#[from] LfsError),
    /// The server did not start.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// A mount.
    #[error(transparent)]
    Mount(#[from] mega_fuse::MountError),
    /// This store as a peer.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A peer is not known.
    #[error("there is no peer {peer}")]
    NoPeer {
        /// Its id as given.
        peer: String,
    },
    /// The network of peers.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The operating system refused.
    #[error("{action}: {source}")]
    Io {
        /// What was being done, with the path.
        action: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Whoever reads the answer went away.
    #[error("the answer could not be written: {0}")]
    Output(#[source] io::Error),
    /// A text in the request is not what it should be.
    #[error("'{text}' is not {expected}")]
    BadArgument {
        /// The text as given.
        text: String,
        /// What was expected in its place.
        expected: &'static str,
    },
    /// The path is not in the revision.
    #[error("{spec} has no '{path}'")]
    NoPath {
        /// Repository and revision.
        spec: String,
        /// The path as given.
        path: String,
    },
    /// The path names something else than a file.
    #[error("'{path}' is a {actual}, not a file")]
    NotAFile {
        /// The path as given.
        path: String,
        /// What it is.
        actual: &'static str,
    },
    /// The LFS content of a path is not in the store.
    #[error("the content of '{path}' (LFS {id}) is not in the store")]
    LfsAbsent {
        /// The path as given.
        path: String,
        /// The content's id.
        id: FileId,
    },
    /// The file is not in the store, or was removed from it.
    #[error("there is no file {id}")]
    NoFile {
        /// The file.
        id: FileId,
    },
    /// The range is not within the file.
    #[error("the range {range} is not in a file of {len} bytes")]
    BadRange {
        /// The range as given.
        range: String,
        /// The file's length.
        len: u64,
    },
    /// No repository name can be made from the source.
    #[error("no name for the repository can be made from '{origin}': {reason}")]
    NoDefaultName {
        /// The source, without password.
        origin: String,
        /// The rule that the guess breaks.
        reason: NameError,
    },
    /// A repository of the same name came from elsewhere.
    #[error("the repository '{name}' here was not imported from {origin}, but from {existing}")]
    OtherOrigin {
        /// The name made from the source.
        name: RepoName,
        /// The source now.
        origin: String,
        /// Where the existing one came from.
        existing: String,
    },
    /// A reference of the source names an object that the source does not have.
    #[error("the source's reference {name} names object {id}, which did not come with it")]
    RefWithoutObject {
        /// The reference.
        name: String,
        /// The object.
        id: ObjectId,
    },
    /// A repository on a server cannot be opened.
    #[error("{url}: {reason}")]
    Remote {
        /// Its address, without password.
        url: String,
        /// Why.
        reason: String,
    },
    /// A text is no address of a repository on a server.
    #[error(transparent)]
    Address(#[from] UrlError),
    /// A file or directory stands where something should be made.
    #[error("{path} exists already and is not an empty directory")]
    TargetNotEmpty {
        /// The path.
        path: PathBuf,
    },
    /// The repository is mounted.
    #[error("the repository '{name}' is mounted at {dir}")]
    RepoMounted {
        /// The repository.
        name: RepoName,
        /// One mount of it.
        dir: PathBuf,
    },
    /// A branch for HEAD that does not exist.
    #[error("the repository '{name}' has no branch '{branch}'")]
    NoBranch {
        /// The repository.
        name: RepoName,
        /// The branch as given.
        branch: String,
    },
    /// No access token has this number.
    #[error("there is no token {id}")]
    NoToken {
        /// The number.
        id: u32,
    },
    /// The process that has the store open cannot take a mount, because it ends by itself soon.
    #[error("the store is in use by process {process} ({command}), which cannot keep a mount")]
    CannotHoldMounts {
        /// Its process id.
        process: u32,
        /// Its command.
        command: String,
    },
}

impl From<NameError> for NodeError {
    fn from(error: NameError) -> Self {
        Self::Store(error.into())
    }
}

impl NodeError {
    /// Wraps an I/O error with what was being done.
    pub fn io(action: impl Into<String>, source: io::Error) -> Self {
        Self::Io { action: action.into(), source }
    }

    /// Whether the work ended because it was asked to.
    pub fn is_interruption(&self) -> bool {
        matches!(
            self,
            Self::Store(StoreError::Interrupted)
                | Self::Git(SourceError::Interrupted)
                | Self::Lfs(LfsError::Interrupted)
        )
    }
}
