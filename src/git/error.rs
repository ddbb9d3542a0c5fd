//! What can go wrong while a client is served.

use std::io;

use mega_storage::StoreError;

use super::wire::WireError;

/// Why a request of the git protocol could not be answered.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// What the client sent is not the protocol: its fault. When nothing has been written yet, HTTP
    /// answers 400.
    #[error(transparent)]
    Wire(WireError),
    /// The client went away, or the transport to it broke.
    #[error("the client went away: {0}")]
    ClientGone(#[source] io::Error),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The request is understood and will not be carried out.
    #[error("{reason}")]
    Refused {
        /// Why, for the client.
        reason: String,
    },
}

impl From<WireError> for GitError {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Io(e) => Self::ClientGone(e),
            other => Self::Wire(other),
        }
    }
}

impl GitError {
    /// An error of writing to the client. Use with `map_err`: not every I/O error is one.
    pub fn gone(error: io::Error) -> Self {
        Self::ClientGone(error)
    }

    /// A refusal.
    pub fn refused(reason: impl Into<String>) -> Self {
        Self::Refused { reason: reason.into() }
    }
}
