//! The transfer agent that git-lfs starts (its docs/custom-transfers.md): files go up and come down
//! by chunks, and only the chunks that the other side does not have.
//!
//! git-lfs speaks to it in lines of JSON ([`run`]). What the server is asked stands behind
//! [`Remote`]: [`HttpRemote`] over HTTP ([`crate::lfs::wire`]), [`StreamRemote`] over streams to a
//! peer, and a store in memory in the tests.
//!
//! With a peer there is no LFS server that git-lfs could ask: it is configured to leave everything
//! to this agent (it calls that standalone), and names the remote instead of an address.
//!
//! Beside git-lfs's own files it keeps, in `<lfs>/mega`: `chunks/<oid>`, the chunks of a file that
//! went through it, so that it need not be read again to be a base; and `part/<oid>`, a file that
//! is on its way down. Both may be deleted at any time. A part is taken up again where it was left:
//! its chunks are hashed to see which have come.
//!
//! Invariant: nothing is believed. A chunk is used when its bytes have its hash, whether they come
//! from the server or from a file that lies here; a file is handed on when the whole has its own.

mod bases;
mod carrier;
mod download;
mod http;
mod index;
mod message;
mod parallel;
mod run;
mod stream;
mod upload;

#[cfg(test)]
mod tests;

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use mega_storage::{ChunkRef, FileId, Pointer};
use serde::Deserialize;

use super::LfsError;
use super::wire::{Claim, Range};
pub use http::HttpRemote;
pub use message::Target;
pub use run::run;
pub use stream::{Connect, StreamRemote};

/// Files up to this length go as a whole: asking would take longer.
pub const WHOLE_LEN_MAX: u64 = 1 << 20;
/// Bytes of chunks that go up in one request: the server holds them whole, for every request.
pub const SEND_LEN: usize = 2 << 20;
/// Bytes that come down in one request.
pub const FETCH_LEN: u64 = 8 << 20;
/// Requests at once, up or down.
pub const REQUESTS_MAX: usize = 3;
/// Times that a file's chunks are asked for before it has failed: the server may have forgotten
/// what came, between the question and the end.
pub const ROUNDS_MAX: u32 = 3;
/// Local files that are read to learn their chunks, for one download.
pub const BASES_READ_MAX: usize = 3;
/// Local files whose known chunks are compared, for one transfer.
pub const BASES_COMPARED_MAX: usize = 64;
/// Longest line from git-lfs, in bytes.
pub const LINE_LEN_MAX: u64 = 1 << 20;

/// The server's side of a transfer. Calls block and are made from several threads.
pub trait Remote: Sync {
    /// Which of the chunks (at most [`super::wire::ENTRIES_MAX`]) have to be sent.
    ///
    /// # Errors
    /// When the server cannot be asked or refuses.
    fn missing(
        &self,
        target: &Target,
        claim: &Claim,
        chunks: &[ChunkRef],
    ) -> Result<Vec<bool>, LfsError>;

    /// Sends chunks: `frames` as [`super::wire`] has them.
    ///
    /// # Errors
    /// As [`Self::missing`].
    fn send(&self, target: &Target, claim: &Claim, frames: Vec<u8>) -> Result<(), LfsError>;

    /// Has the file put together; `hashed` hears how far that is, and returns `false` to stop.
    ///
    /// # Errors
    /// A [`LfsError::Status`] of 409 when chunks are missing after all.
    fn finish(
        &self,
        target: &Target,
        claim: &Claim,
        chunks: &[ChunkRef],
        hashed: &mut dyn FnMut(u64),
    ) -> Result<(), LfsError>;

    /// The chunks of a file in order.
    ///
    /// # Errors
    /// As [`Self::missing`].
    fn chunks(&self, target: &Target) -> Result<Vec<ChunkRef>, LfsError>;

    /// The bytes of parts of a file, one after the other, as a stream for `take`.
    ///
    /// # Errors
    /// As [`Self::missing`], and those of `take`. A reader that fails gives [`LfsError::Network`].
    fn fetch(
        &self,
        target: &Target,
        ranges: &[Range],
        take: &mut dyn FnMut(&mut dyn Read) -> io::Result<()>,
    ) -> Result<(), LfsError>;

    /// Sends a file as a whole.
    ///
    /// # Errors
    /// As [`Self::missing`].
    fn put(&self, target: &Target, content: Vec<u8>) -> Result<(), LfsError>;
}

/// Earlier versions of a file, the newest first, as the repository's history has them.
pub type Earlier<'a> = dyn Fn(&Pointer) -> Vec<FileId> + Sync + 'a;

/// What git-lfs does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// It sends files.
    Upload,
    /// It fetches files.
    Download,
}

/// Opens the remote that git-lfs calls by this name, where it has no LFS server.
pub type Alone<'a> = dyn Fn(&str, Operation) -> Result<Box<dyn Remote + 'a>, LfsError> + 'a;

/// Where the agent works.
pub struct Agent<'a> {
    /// The repository's LFS directory, the parent of `objects`.
    pub lfs_dir: PathBuf,
    /// Looks for earlier versions of a file.
    pub earlier: &'a Earlier<'a>,
    /// The server.
    pub remote: &'a dyn Remote,
}

impl Agent<'_> {
    /// The same with another remote.
    fn with<'b>(&'b self, remote: &'b dyn Remote) -> Agent<'b> {
        Agent { lfs_dir: self.lfs_dir.clone(), earlier: self.earlier, remote }
    }

    /// Where the agent keeps a file of its own.
    fn own_path(&self, kind: &str, id: &FileId) -> PathBuf {
        self.lfs_dir.join("mega").join(kind).join(id.to_string())
    }
}

/// Wraps an error of the operating system.
fn io_error(action: &str, path: &Path, source: io::Error) -> LfsError {
    LfsError::Io { action: format!("{action} {}", path.display()), source }
}
