//! The control socket: how a command reaches the process that has the store open.
//!
//! `<store>/control.sock`, mode 0600; only the same user and root are answered. A connection
//! carries one call: one JSON line with the version and the [`Request`], then the answer as frames,
//! each a JSON line; an `out` frame is followed by that many raw bytes. The last frame is `exit`. A
//! connection that ends without one was cut off. Closing the connection stops the work at its next
//! safe point. What a request does is not known here.

mod client;
mod reply;
mod request;
mod server;
mod wire;

use std::io;
use std::path::Path;

pub use client::{Sink, call, connect};
pub use reply::Reply;
pub use request::{
    CacheCall, Call, ConfigChange, ExportCall, FileCall, ImportCall, LfsMode, LsCall, MountCall,
    OsText, PeerCall, PeerService, PrefetchCall, RepoCall, Request, TokenCall, VerifyCall,
};
pub use server::{Handler, Server};
pub use wire::Exit;

/// Version of the protocol. Both ends are the same program nearly always, so there is no
/// negotiation.
pub const PROTOCOL_VERSION: u32 = 1;
/// Longest request line, in bytes: room for thousands of paths.
pub const REQUEST_LEN_MAX: usize = 1 << 20;
/// Longest frame line, in bytes.
pub const FRAME_LEN_MAX: usize = 64 << 10;
/// Most raw bytes after one `out` frame.
pub const OUT_LEN_MAX: usize = 1 << 20;
/// Calls answered at once; more are told to come back.
pub const CALLS_MAX: usize = 64;
/// How long a client may take to send its request, in milliseconds.
pub const REQUEST_TIMEOUT_MS: u64 = 10_000;

/// The socket's name in the store's directory.
const SOCKET_NAME: &str = "control.sock";

/// What can go wrong on the socket.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The other end went away before it answered: it was about to end.
    #[error("the process that has the store open went away before it answered")]
    Gone,
    /// The other end went away in the middle of its answer.
    #[error("the process that has the store open went away in the middle of its answer")]
    Cut,
    /// The request is longer than the other end accepts.
    #[error("the request has {len} bytes; at most {REQUEST_LEN_MAX} can be sent")]
    RequestTooLong {
        /// Its length.
        len: usize,
    },
    /// The bytes are not of this protocol.
    #[error("the control socket's other end does not speak this protocol: {reason}")]
    Protocol {
        /// What is wrong.
        reason: String,
    },
    /// The answer could not be written where it should go.
    #[error("the answer could not be written: {0}")]
    Output(#[source] io::Error),
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

impl ControlError {
    fn io(action: impl Into<String>, source: io::Error) -> Self {
        Self::Io { action: action.into(), source }
    }
}

/// Opens the store's directory and gives a short path to a name in it, because the path of a socket
/// must fit in 108 bytes and a store's path need not. The directory stays open for as long as the
/// path is used.
fn short_path(store: &Path, name: &str) -> io::Result<(std::fs::File, std::path::PathBuf)> {
    use std::os::fd::AsRawFd;
    let dir = std::fs::File::open(store)?;
    let path = format!("/proc/self/fd/{}/{name}", dir.as_raw_fd());
    Ok((dir, path.into()))
}

#[cfg(test)]
mod tests;
