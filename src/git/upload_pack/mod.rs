//! Serving fetches and clones: what git calls upload-pack, for one stateless request at a time.
//!
//! What a client gets is what the references that it may see reach, and nothing else: an object
//! that is only stored, or only reached from a hidden or a former tip, is "not our ref" like one
//! that never was, and a have of it is not common. Everything that can be refused is refused before
//! the first byte of an answer; what fails inside a pack goes to sideband 3 and the stream ends
//! without its end.
//!
//! Version 2 is a command with arguments (`command`); versions 0 and 1 are a list of wants and a
//! list of haves (`classic`). Both become a `request::FetchRequest`, and one `fetch` answers it.

mod advertise;
mod bundle;
mod classic;
mod command;
mod common;
mod fetch;
mod filter;
pub mod limits;
mod ls_refs;
mod object_info;
mod pack;
mod reachable;
mod refs;
mod report;
mod request;
mod shallow;

use std::io::{BufWriter, Read, Write};

use mega_storage::StoreError;

pub use advertise::advertise;
pub use bundle::{BUNDLE_PATH, Bundle, find_bundle};

use super::wire::{Budget, PktReader, PktWriter, WireError};
use super::{GitError, Protocol, Service};

/// Lines are gathered to this many bytes before they go out; a full line of a pack is longer and
/// goes out as it is.
const BUFFER_LEN: usize = 32 << 10;

/// What a request was.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Command {
    /// Nothing: an empty request, which is legal.
    #[default]
    None,
    /// A list of references (version 2).
    LsRefs,
    /// A round of a fetch.
    Fetch,
    /// Sizes of objects (version 2).
    ObjectInfo,
    /// Where a bundle is (version 2).
    BundleUri,
}

/// How a request was answered.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct UploadReport {
    /// What was asked.
    pub command: Command,
    /// Objects that were asked for.
    pub want_count: u64,
    /// Objects of the client's that are known here.
    pub common_count: u64,
    /// Objects in the pack; `None` when there was no pack in this round.
    pub object_count: Option<u64>,
    /// Length of the pack, in bytes.
    pub pack_len: u64,
    /// Why it was refused, as the client was told in an `ERR` line. The answer is whole.
    pub refused: Option<String>,
}

/// Why a request ends before its answer.
#[derive(Debug)]
enum Stop {
    /// The client is told these words.
    Refused(String),
    /// Anything else.
    Git(GitError),
}

impl Stop {
    fn refused(words: impl Into<String>) -> Self {
        Self::Refused(words.into())
    }

    /// An error of writing to the client.
    fn gone(error: std::io::Error) -> Self {
        Self::Git(GitError::gone(error))
    }

    #[cfg(test)]
    fn words(&self) -> String {
        match self {
            Self::Refused(words) => words.clone(),
            Self::Git(error) => error.to_string(),
        }
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Git(error.into())
    }
}

impl From<WireError> for Stop {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Unexpected { reason } => Self::Refused(reason),
            other => Self::Git(other.into()),
        }
    }
}

/// Answers one request.
///
/// A refusal that the client was told of is no error: see [`UploadReport::refused`]. Blocks;
/// bounded memory but for the ids of what is sent.
///
/// # Errors
/// [`GitError::Wire`] for what is not the protocol, before anything is written;
/// [`GitError::ClientGone`]; [`GitError::Store`]: when bytes have been written before it, what was
/// written tells the client of a failure as far as the protocol can, and ends without an end.
pub fn serve(
    service: &Service<'_>,
    input: &mut dyn Read,
    out: &mut (dyn Write + Send),
) -> Result<UploadReport, GitError> {
    let budget = Budget { lines: limits::LINES_MAX, bytes: limits::REQUEST_LEN_MAX };
    let mut lines = PktReader::new(input, budget);
    let mut out = BufWriter::with_capacity(BUFFER_LEN, out);
    let mut report = UploadReport::default();
    let served = match service.protocol {
        Protocol::V0 | Protocol::V1 => classic::serve(service, &mut lines, &mut out, &mut report),
        Protocol::V2 => command::serve(service, &mut lines, &mut out, &mut report),
    };
    match served {
        Ok(()) => {}
        Err(Stop::Refused(words)) => {
            PktWriter::new(&mut out).error(&words).map_err(GitError::gone)?;
            report.refused = Some(words);
        }
        Err(Stop::Git(error)) => return Err(error),
    }
    out.flush().map_err(GitError::gone)?;
    Ok(report)
}

#[cfg(test)]
mod tests;
