//! From an error of the rooms below to the HTTP answer: every kind is decided here. No table has a
//! `_ =>`.

use hyper::StatusCode;
use mega_storage::StoreError;

use super::error::HttpError;
use crate::git::GitError;

impl From<StoreError> for HttpError {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::NoRepo { .. }
            | StoreError::RepoGone { .. }
            | StoreError::MissingObject { .. }
            | StoreError::MissingFile { .. }
            | StoreError::NoRevision { .. } => Self::not_found(),
            StoreError::Name(_)
            | StoreError::FileHashMismatch { .. }
            | StoreError::FileLenMismatch { .. }
            | StoreError::Setting { .. }
            | StoreError::NoCommits
            | StoreError::RefRepeated { .. } => Self::bad(error.to_string()),
            StoreError::RepoExists { .. }
            | StoreError::RefMoved { .. }
            | StoreError::RefConflict { .. } => {
                Self::new(StatusCode::CONFLICT, "conflict", error.to_string())
            }
            StoreError::Partial { .. } => {
                Self::new(StatusCode::CONFLICT, "partial", error.to_string())
                    .hint("go there for it: here it can only be mounted and read")
            }
            StoreError::Pack(_) | StoreError::Collision { .. } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "refused", error.to_string())
            }
            StoreError::Limit { .. } => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", error.to_string())
            }
            StoreError::DiskFull { .. } => {
                tracing::error!("{error}");
                let message = "the server's disk is full";
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "disk_full", message)
            }
            StoreError::Stopped { .. } => {
                tracing::error!("{error}");
                let message = "the server's disk failed: nothing is written any more";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "stopped", message)
            }
            StoreError::NotFetched { .. } => {
                Self::new(StatusCode::BAD_GATEWAY, "not_fetched", error.to_string())
            }
            StoreError::Interrupted => Self::ending(),
            StoreError::NotAStore { .. }
            | StoreError::StoreExists { .. }
            | StoreError::Held { .. }
            | StoreError::FormatNewer { .. }
            | StoreError::DamagedFormat { .. }
            | StoreError::NotABackup { .. }
            | StoreError::DamagedBackup { .. }
            | StoreError::Io { .. }
            | StoreError::Db { .. }
            | StoreError::DamagedRow { .. }
            | StoreError::DamagedChunk { .. }
            | StoreError::MissingChunk { .. }
            | StoreError::WrongKind { .. }
            | StoreError::MalformedObject { .. } => Self::internal(&error),
        }
    }
}

impl From<GitError> for HttpError {
    fn from(error: GitError) -> Self {
        match error {
            GitError::Wire(error) => Self::bad(error.to_string()),
            GitError::ClientGone(error) => Self::of_body(&error),
            GitError::Store(error) => error.into(),
            GitError::Refused { reason } => Self::new(StatusCode::FORBIDDEN, "refused", reason),
        }
    }
}

impl HttpError {
    /// The server ends, or the client is gone and will not read this.
    fn ending() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ending", "the server is ending")
            .hint("try again in a moment")
    }
}
