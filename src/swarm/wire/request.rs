//! What an asker sends after its HELLO.

use mega_storage::{
    CHUNK_LEN_MAX, ChunkRef, ChunkSpan, FILE_LEN_MAX, FileId, ObjectId, PEER_ID_LEN_MAX,
    PeerIdBytes, REF_NAME_LEN_MAX, RefName, RepoName,
};

use super::error::WireError;
use super::frame::Frame;
use super::kind::Kind;
use super::limits::{
    CHUNKS_MAX, FILES_MAX, HEADERS_MAX, OBJECTS_MAX, REASON_LEN_MAX, REFS_ASKED_MAX,
    REPO_NAME_LEN_MAX,
};
use super::read::Reader;
use super::{RepoKey, RequestId, write};

/// How soon chunks are needed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Priority {
    /// Somebody waits.
    Now,
    /// Ahead of a reader.
    Soon,
    /// To have them some day.
    Background,
}

/// A question, or the end of one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    /// The signed record of the repository that the peer calls so.
    Resolve {
        /// Its name there.
        name: RepoName,
    },
    /// References.
    Refs {
        /// The repository.
        repo: RepoKey,
        /// Only those whose names come after this one.
        after: Option<RefName>,
        /// Only these; all when it is empty.
        names: Vec<RefName>,
    },
    /// Kind and length of objects.
    Headers {
        /// The repository.
        repo: RepoKey,
        /// The objects: 1 to [`HEADERS_MAX`].
        ids: Vec<ObjectId>,
    },
    /// Objects as a pack; see [`mega_storage::ObjectWant`].
    Objects {
        /// The repository.
        repo: RepoKey,
        /// Levels of directories that come along.
        levels: u32,
        /// Longest blob that comes along.
        blob_len_max: u64,
        /// Levels of commits that come along.
        history: u32,
        /// The objects: 1 to [`OBJECTS_MAX`].
        ids: Vec<ObjectId>,
    },
    /// Lengths of files that are there whole.
    Files {
        /// The repository, or any.
        repo: RepoKey,
        /// The files: 1 to [`FILES_MAX`].
        files: Vec<FileId>,
    },
    /// Which parts of a file are there.
    Have {
        /// The repository, or any.
        repo: RepoKey,
        /// The file.
        file: FileId,
    },
    /// A page of a file's manifest.
    Manifest {
        /// The repository, or any.
        repo: RepoKey,
        /// The file.
        file: FileId,
        /// A byte of the page.
        offset: u64,
        /// Whose signature it has to have.
        publisher: PeerIdBytes,
    },
    /// Chunks of a file.
    Chunks {
        /// The repository, or any.
        repo: RepoKey,
        /// The file.
        file: FileId,
        /// How soon they are needed.
        priority: Priority,
        /// The chunks, ascending, none over another: 1 to [`CHUNKS_MAX`].
        spans: Vec<ChunkSpan>,
    },
    /// The request of this id is not wanted any more.
    Cancel,
    /// The asker goes.
    Bye {
        /// Why.
        reason: String,
    },
}

impl Request {
    /// Its type.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Resolve { .. } => Kind::Resolve,
            Self::Refs { .. } => Kind::Refs,
            Self::Headers { .. } => Kind::Headers,
            Self::Objects { .. } => Kind::Objects,
            Self::Files { .. } => Kind::Files,
            Self::Have { .. } => Kind::Have,
            Self::Manifest { .. } => Kind::Manifest,
            Self::Chunks { .. } => Kind::Chunks,
            Self::Cancel => Kind::Cancel,
            Self::Bye { .. } => Kind::Bye,
        }
    }

    /// Plain bytes of the chunks that it asks for.
    pub fn asked_len(&self) -> u64 {
        match self {
            Self::Chunks { spans, .. } => spans.iter().map(|s| u64::from(s.chunk.len)).sum(),
            _ => 0,
        }
    }

    /// Appends the frame.
    pub fn encode(&self, id: RequestId, out: &mut Vec<u8>) {
        write::frame(out, self.kind(), id, 0, |out| self.encode_body(out));
    }

    fn encode_body(&self, out: &mut Vec<u8>) {
        let one = |out: &mut Vec<u8>, repo: &RepoKey| {
            assert!(*repo != RepoKey::ANY, "only questions for files are for any repository");
            out.extend_from_slice(repo.as_bytes());
        };
        let object = |out: &mut Vec<u8>, id: &ObjectId| out.extend_from_slice(id.as_bytes());
        match self {
            Self::Resolve { name } => {
                write::counted(out, name.as_str().as_bytes(), REPO_NAME_LEN_MAX);
            }
            Self::Refs { repo, after, names } => {
                one(out, repo);
                let after = after.as_ref().map_or(&b""[..], RefName::as_bytes);
                write::counted(out, after, REF_NAME_LEN_MAX);
                write::list(out, names, REFS_ASKED_MAX, |out, name| {
                    write::counted(out, name.as_bytes(), REF_NAME_LEN_MAX);
                });
            }
            Self::Headers { repo, ids } => {
                one(out, repo);
                write::list(out, ids, HEADERS_MAX, object);
            }
            Self::Objects { repo, levels, blob_len_max, history, ids } => {
                one(out, repo);
                out.extend_from_slice(&levels.to_be_bytes());
                out.extend_from_slice(&blob_len_max.to_be_bytes());
                out.extend_from_slice(&history.to_be_bytes());
                write::list(out, ids, OBJECTS_MAX, object);
            }
            Self::Files { repo, files } => {
                out.extend_from_slice(repo.as_bytes());
                write::list(out, files, FILES_MAX, |out, id| out.extend_from_slice(id.as_bytes()));
            }
            Self::Have { repo, file } => {
                out.extend_from_slice(repo.as_bytes());
                out.extend_from_slice(file.as_bytes());
            }
            Self::Manifest { repo, file, offset, publisher } => {
                out.extend_from_slice(repo.as_bytes());
                out.extend_from_slice(file.as_bytes());
                out.extend_from_slice(&offset.to_be_bytes());
                write::counted(out, publisher.as_bytes(), PEER_ID_LEN_MAX);
            }
            Self::Chunks { repo, file, priority, spans } => {
                out.extend_from_slice(repo.as_bytes());
                out.extend_from_slice(file.as_bytes());
                out.push(priority.code());
                write::list(out, spans, CHUNKS_MAX, |out, span| {
                    out.extend_from_slice(&span.offset.to_be_bytes());
                    write::chunk(out, &span.chunk);
                });
            }
            Self::Cancel => {}
            Self::Bye { reason } => write::counted(out, reason.as_bytes(), REASON_LEN_MAX),
        }
    }

    /// Reads a frame of an asker.
    ///
    /// # Errors
    /// When it is no request, or malformed.
    pub fn decode(frame: &Frame) -> Result<Self, WireError> {
        let mut body = Reader::new(frame.kind, &frame.body);
        let request = match frame.kind {
            Kind::Resolve => {
                let name = RepoName::new(body.text("bytes of name", REPO_NAME_LEN_MAX)?);
                Self::Resolve { name: name.map_err(|_| body.malformed("no repository's name"))? }
            }
            Kind::Refs => Self::read_refs(&mut body)?,
            Kind::Headers => Self::Headers {
                repo: body.one_repo()?,
                ids: body.some("objects", HEADERS_MAX, Reader::object)?,
            },
            Kind::Objects => Self::Objects {
                repo: body.one_repo()?,
                levels: body.u32()?,
                blob_len_max: body.u64()?,
                history: body.u32()?,
                ids: body.some("objects", OBJECTS_MAX, Reader::object)?,
            },
            Kind::Files => Self::Files {
                repo: body.repo()?,
                files: body.some("files", FILES_MAX, Reader::file)?,
            },
            Kind::Have => Self::Have { repo: body.repo()?, file: body.file()? },
            Kind::Manifest => {
                let (repo, file, offset) = (body.repo()?, body.file()?, body.u64()?);
                if offset > FILE_LEN_MAX {
                    return Err(body.malformed("no file is that long"));
                }
                let publisher = PeerIdBytes::new(body.counted("bytes of id", PEER_ID_LEN_MAX)?);
                let publisher = publisher.ok_or_else(|| body.malformed("it names no publisher"))?;
                Self::Manifest { repo, file, offset, publisher }
            }
            Kind::Chunks => Self::read_chunks(&mut body)?,
            Kind::Cancel => Self::Cancel,
            Kind::Bye => Self::Bye { reason: read_reason(frame, &mut body)? },
            kind => return Err(WireError::Misplaced { kind }),
        };
        body.finish().map(|()| request)
    }

    fn read_refs(body: &mut Reader<'_>) -> Result<Self, WireError> {
        let repo = body.one_repo()?;
        let after = match body.counted("bytes of name", REF_NAME_LEN_MAX)? {
            [] => None,
            name => Some(ref_name(body, name)?),
        };
        let names = body.list("names", REFS_ASKED_MAX, |body| {
            let name = body.counted("bytes of name", REF_NAME_LEN_MAX)?;
            ref_name(body, name)
        })?;
        Ok(Self::Refs { repo, after, names })
    }

    fn read_chunks(body: &mut Reader<'_>) -> Result<Self, WireError> {
        let (repo, file) = (body.repo()?, body.file()?);
        let priority = Priority::from_code(body.u8()?);
        let priority = priority.ok_or_else(|| body.malformed("there is no such urgency"))?;
        let mut end = 0;
        let spans = body.some("chunks", CHUNKS_MAX, |body| {
            let offset = body.u64()?;
            let chunk = ChunkRef { id: body.chunk()?, len: body.u32()? };
            if chunk.len == 0 || chunk.len > CHUNK_LEN_MAX {
                return Err(body.malformed("no chunk has this length"));
            }
            if offset < end || offset > FILE_LEN_MAX {
                return Err(body.malformed("the chunks do not ascend, or lie beyond any file"));
            }
            end = offset + u64::from(chunk.len);
            Ok(ChunkSpan { chunk, offset })
        })?;
        Ok(Self::Chunks { repo, file, priority, spans })
    }
}

impl Priority {
    const fn code(self) -> u8 {
        match self {
            Self::Now => 0,
            Self::Soon => 1,
            Self::Background => 2,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Now),
            1 => Some(Self::Soon),
            2 => Some(Self::Background),
            _ => None,
        }
    }
}

/// A reference's name.
pub(super) fn ref_name(body: &Reader<'_>, name: &[u8]) -> Result<RefName, WireError> {
    RefName::new(name).map_err(|_| body.malformed("no reference's name"))
}

/// The body of a BYE.
pub(super) fn read_reason(frame: &Frame, body: &mut Reader<'_>) -> Result<String, WireError> {
    if frame.id != RequestId::NONE {
        return Err(body.malformed("it has a request's id"));
    }
    Ok(body.text("bytes of reason", REASON_LEN_MAX)?.to_owned())
}
