//! Git's pkt-line protocol over `Read` and `Write`: lines, sidebands, lists of capabilities.
//!
//! Nothing here knows what a line means. A reader takes no byte beyond the line it returns, so that
//! a pack may follow; it has a budget of lines and bytes. A line of length 1 to 3 as data, of more
//! than 65,520 bytes, or whose length is not hexadecimal is an error.

mod capability;
mod read;
mod sideband;
mod write;

use std::io;

pub use capability::Capabilities;
pub use read::{Budget, Pkt, PktReader, text};
pub use sideband::{BandKind, Sideband, sanitise};
pub use write::PktWriter;

/// What is wrong with what a client sent.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// A line's first four bytes are no length.
    #[error("bad line length characters: '{header}'")]
    Length {
        /// The four bytes, escaped.
        header: String,
    },
    /// The stream ended inside a line, or where a line was needed.
    #[error("the remote end hung up unexpectedly")]
    Ended,
    /// More lines than the budget.
    #[error("more than {limit} lines")]
    Lines {
        /// The budget.
        limit: u64,
    },
    /// More bytes than the budget.
    #[error("more than {limit} bytes of lines")]
    Bytes {
        /// The budget, in bytes.
        limit: u64,
    },
    /// A line that means nothing here.
    #[error("protocol error: {reason}")]
    Unexpected {
        /// What is wrong, with the line where it helps.
        reason: String,
    },
    /// Reading failed: the client has gone, or its transport broke.
    #[error("reading the request: {0}")]
    Io(#[source] io::Error),
}

impl WireError {
    /// A line that means nothing here.
    pub fn unexpected(reason: impl Into<String>) -> Self {
        Self::Unexpected { reason: reason.into() }
    }
}

/// Bytes from outside for a message: one line, not long, nothing that moves a terminal's cursor.
pub fn shown(bytes: &[u8]) -> String {
    const LEN_MAX: usize = 200;
    let part = bytes.get(..LEN_MAX).unwrap_or(bytes);
    part.escape_ascii().to_string()
}

#[cfg(test)]
mod tests;
