//! The one frame that opens a stream of git's own protocol, and the one that answers it.

use super::error::WireError;
use super::frame::Frame;
use super::kind::Kind;
use super::limits::GIT_PROTOCOL_LEN_MAX;
use super::read::Reader;
use super::{RepoKey, RequestId, write};

/// What is spoken after the opening.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GitService {
    /// A fetch.
    UploadPack,
    /// A push.
    ReceivePack,
    /// LFS files, both ways: requests and answers as `src/lfs/pieces.rs` has them.
    Lfs,
}

/// Asks for a service on a repository.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Open {
    /// Which service.
    pub service: GitService,
    /// Which repository.
    pub repo: RepoKey,
    /// What git says in `GIT_PROTOCOL`.
    pub protocol: String,
}

/// What is answered; then git speaks, or nobody.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenAnswer {
    /// Git's own bytes follow.
    Opened,
    /// Absent, not allowed, not mine.
    NotFound,
}

impl Open {
    /// Appends the frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        write::frame(out, Kind::Open, RequestId::NONE, 0, |out| {
            out.push(match self.service {
                GitService::UploadPack => 0,
                GitService::ReceivePack => 1,
                GitService::Lfs => 2,
            });
            assert!(self.repo != RepoKey::ANY, "a service is one repository's");
            out.extend_from_slice(self.repo.as_bytes());
            write::counted(out, self.protocol.as_bytes(), GIT_PROTOCOL_LEN_MAX);
        });
    }

    /// Reads the first frame of a stream.
    ///
    /// # Errors
    /// When it is no OPEN, or malformed.
    pub fn decode(frame: &Frame) -> Result<Self, WireError> {
        let kind = frame.kind;
        if kind != Kind::Open {
            return Err(WireError::Misplaced { kind });
        }
        let mut body = Reader::new(kind, &frame.body);
        if frame.id != RequestId::NONE {
            return Err(body.malformed("it has a request's id"));
        }
        let service = match body.u8()? {
            0 => GitService::UploadPack,
            1 => GitService::ReceivePack,
            2 => GitService::Lfs,
            _ => return Err(body.malformed("there is no such service")),
        };
        let repo = body.one_repo()?;
        let protocol = body.text("bytes of protocol", GIT_PROTOCOL_LEN_MAX)?.to_owned();
        body.finish().map(|()| Self { service, repo, protocol })
    }
}

impl OpenAnswer {
    /// Appends the frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let kind = match self {
            Self::Opened => Kind::Opened,
            Self::NotFound => Kind::NotFound,
        };
        write::frame(out, kind, RequestId::NONE, 0, |_| ());
    }

    /// Reads the frame.
    ///
    /// # Errors
    /// When it is neither of the two.
    pub fn decode(frame: &Frame) -> Result<Self, WireError> {
        let kind = frame.kind;
        let answer = match kind {
            Kind::Opened => Self::Opened,
            Kind::NotFound => Self::NotFound,
            _ => return Err(WireError::Misplaced { kind }),
        };
        let body = Reader::new(kind, &frame.body);
        if frame.id != RequestId::NONE {
            return Err(body.malformed("it has a request's id"));
        }
        body.finish().map(|()| answer)
    }
}
