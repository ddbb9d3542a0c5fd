//! What a request can fail with: an HTTP status and the JSON that git-lfs shows.

use std::io;

use mega_storage::{FileId, StoreError};
use serde::Serialize;

use super::locks::Lock;

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub enum LfsError {
    /// The body is not the JSON that the route takes.
    #[error("the request cannot be read: {reason}")]
    Unreadable {
        /// What is wrong.
        reason: String,
    },
    /// The request reads well and cannot be.
    #[error("{reason}")]
    Invalid {
        /// What is wrong.
        reason: String,
    },
    /// A query parameter is absent or cannot be read.
    #[error("the parameter '{name}' {reason}")]
    Parameter {
        /// Its name.
        name: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A limit was passed.
    #[error("{what}: {actual} is over the limit of {limit}")]
    TooMuch {
        /// What is limited.
        what: &'static str,
        /// The limit.
        limit: u64,
        /// What was sent or asked.
        actual: u64,
    },
    /// The body's length was not announced.
    #[error("an upload needs a Content-Length")]
    NoLength,
    /// The caller may read, not write.
    #[error("you must have push access to this repository")]
    ReadOnly,
    /// The repository does not have the object, whoever else does.
    #[error("object {id} does not exist")]
    NoObject {
        /// The object.
        id: FileId,
    },
    /// The repository has no such lock.
    #[error("there is no lock '{id}'")]
    NoLock {
        /// The lock's id as given.
        id: String,
    },
    /// The path is locked already.
    #[error("already created lock")]
    Locked {
        /// The lock that is there.
        lock: Box<Lock>,
    },
    /// The lock is another's and `force` was not given.
    #[error("the lock belongs to {owner}; use force to remove it")]
    LockOfOther {
        /// Whose it is.
        owner: String,
    },
    /// The range starts after the object's end.
    #[error("the range is not within the {len} bytes of the object")]
    Range {
        /// The object's length.
        len: u64,
    },
    /// The bytes are not what was announced.
    #[error("{0}")]
    WrongContent(#[source] StoreError),
    /// The upload names chunks that it did not bring and that no base file has.
    #[error("chunks of the file are missing, the first is {first}")]
    MissingChunks {
        /// The first of them.
        first: mega_storage::ChunkId,
    },
    /// The repository would be larger than it may be.
    #[error("the repository's quota of {quota} bytes is used up")]
    Quota {
        /// The quota, in bytes.
        quota: u64,
    },
    /// The client stopped sending.
    #[error("the request's body broke off: {0}")]
    Body(#[source] io::Error),
    /// The client stopped reading.
    #[error("the answer could not be sent: {0}")]
    Output(#[source] io::Error),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The JSON of an error.
#[derive(Serialize, utoipa::ToSchema, Debug)]
pub struct ErrorBody {
    /// What went wrong, for a person.
    pub message: String,
    /// The lock that stands in the way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock: Option<Lock>,
    /// Where to read more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub documentation_url: Option<String>,
    /// Names the request in the server's log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

impl LfsError {
    /// The HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            Self::Parameter { .. } | Self::Body(_) => 400,
            Self::ReadOnly | Self::LockOfOther { .. } => 403,
            Self::NoObject { .. } | Self::NoLock { .. } => 404,
            Self::Locked { .. } | Self::MissingChunks { .. } => 409,
            Self::NoLength => 411,
            Self::TooMuch { .. } => 413,
            Self::Range { .. } => 416,
            Self::Unreadable { .. } | Self::Invalid { .. } | Self::WrongContent(_) => 422,
            Self::Output(_) => 500,
            Self::Quota { .. } => 507,
            Self::Store(error) => status_of_store(error),
        }
    }

    /// The JSON to send with it. What only concerns the server stays out of it.
    pub fn body(&self, request_id: Option<&str>) -> ErrorBody {
        let status = self.status();
        let message = match self {
            Self::Store(_) if status == 500 => "internal server error".to_owned(),
            Self::Store(StoreError::Interrupted) => "the server is stopping".to_owned(),
            Self::Store(StoreError::Stopped { .. }) => {
                "the server's disk failed: nothing is written any more".to_owned()
            }
            Self::Store(StoreError::DiskFull { .. }) => "no space left on the server".to_owned(),
            _ => self.to_string(),
        };
        let lock = match self {
            Self::Locked { lock } => Some((**lock).clone()),
            _ => None,
        };
        let request_id = request_id.map(str::to_owned);
        ErrorBody { message, lock, documentation_url: None, request_id }
    }
}

/// Sorts the store's errors: absent, too much, full, stopping; the others are the server's trouble.
fn status_of_store(error: &StoreError) -> u16 {
    match error {
        StoreError::MissingFile { .. }
        | StoreError::RepoGone { .. }
        | StoreError::NoRepo { .. } => 404,
        StoreError::Limit { .. } => 413,
        StoreError::FileHashMismatch { .. } | StoreError::FileLenMismatch { .. } => 422,
        StoreError::Interrupted | StoreError::Stopped { .. } => 503,
        StoreError::DiskFull { .. } => 507,
        _ => 500,
    }
}
