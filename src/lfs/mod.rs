//! LFS content outside the store, in a git repository's `lfs/objects` or on an LFS server; the
//! server's own side of the protocol ([`server`]); and the transfer agent that git-lfs starts.
//!
//! A batch request asks for our own transfer beside `basic`: a server that answers with it is
//! another mega-store, and files are downloaded by chunk.
//!
//! Nothing that comes from elsewhere is trusted: the store hashes every byte and compares with the
//! pointer. Passwords and tokens are sent where they belong and never written anywhere.

pub mod agent;
mod answer;
mod by_chunk;
mod client;
mod endpoint;
mod local;
mod pieces;
pub mod server;
pub mod wire;

use std::io;

pub use answer::{Download, Offer};
pub use by_chunk::{ByChunk, LISTED_LEN_MIN};
pub use client::{Access, Ask, Build, Client, Login, Tell};
pub use endpoint::Endpoint;
pub use local::LocalObjects;

/// Objects asked for in one batch request; git-lfs's own number.
pub const BATCH_LEN_MAX: usize = 100;
/// Longest answer to a batch request, in bytes.
pub const ANSWER_LEN_MAX: u64 = 16 << 20;
/// Tries of one request before it counts as failed.
pub const TRIES_MAX: u32 = 4;
/// Longest time without a byte from the server, in seconds.
pub const SILENCE_MAX_S: u64 = 60;
/// Longest time that is waited because the server asks for it, in seconds.
pub const RETRY_AFTER_MAX_S: u64 = 60;

/// Why LFS content could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LfsError {
    /// The URL is not one that LFS content can be fetched from.
    #[error("'{url}' is not the address of an LFS server: {reason}")]
    Endpoint {
        /// The URL without password.
        url: String,
        /// Why not.
        reason: String,
    },
    /// It is not known which certificates to trust.
    #[error("the LFS server {host} is not asked, for whom to trust is not known: {reason}")]
    Trust {
        /// The server's name.
        host: String,
        /// Why.
        reason: String,
    },
    /// The connection failed.
    #[error("the LFS server {host} could not be asked: {reason}")]
    Network {
        /// The server's name.
        host: String,
        /// The cause.
        reason: String,
    },
    /// The server wants to know who asks, and was not satisfied.
    #[error("the LFS server {host} wants a user name and password (HTTP {status})")]
    Unauthorized {
        /// The server's name.
        host: String,
        /// HTTP status.
        status: u16,
    },
    /// The server refused.
    #[error("the LFS server {host} answered HTTP {status}{message}")]
    Status {
        /// The server's name.
        host: String,
        /// HTTP status.
        status: u16,
        /// What it said, with a colon before it.
        message: String,
    },
    /// The answer is not what the protocol says.
    #[error("the LFS server {host} gave an answer that cannot be read: {reason}")]
    Answer {
        /// The server's name.
        host: String,
        /// What is wrong.
        reason: String,
    },
    /// The work was asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// The operating system refused.
    #[error("{action}: {source}")]
    Io {
        /// What was being done.
        action: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// Text from a server for a person: one line, no control characters, not long.
fn tidy(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(300).collect()
}

#[cfg(test)]
mod tests;
