//! What an answerer sends after its HELLO.

use bytes::Bytes;
use mega_storage::{
    Held, ManifestPage, ObjectHeader, ObjectId, ObjectKind, REF_NAME_LEN_MAX, RefName, StoredChunk,
};

use super::kind::Kind;
use super::limits::{
    CHUNKS_MAX, COUNT_LEN, FILES_MAX, HEADERS_MAX, PAGE_CHUNKS_MAX, REASON_LEN_MAX, REFS_PAGE_MAX,
};
use super::{RequestId, write};

/// A reference in a page.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RefLine {
    /// Its name.
    pub name: RefName,
    /// The object that it stands at; for a symbolic one, that at the end of the chain.
    pub id: Option<ObjectId>,
    /// What a symbolic reference leads to in the end. Invariant: with neither there is no line.
    pub target: Option<RefName>,
}

/// An answer, or a part of one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// The signed record of a repository. Nothing of it is checked here.
    Record(Bytes),
    /// References, ascending.
    Refs {
        /// At most [`REFS_PAGE_MAX`].
        refs: Vec<RefLine>,
        /// Whether more come after the last one.
        more: bool,
    },
    /// Kind and length of each object asked for; `None` for one that is absent.
    Headers(Vec<Option<ObjectHeader>>),
    /// A piece of a pack.
    Bytes(Bytes),
    /// The end of a pack or of chunks.
    End {
        /// Which of the chunks that were asked for are not here, ascending.
        absent: Vec<u16>,
    },
    /// The length of each file asked for; `None` for one that is not here whole.
    Files(Vec<Option<u64>>),
    /// Which parts of a file are here.
    Have {
        /// Length of the file.
        len: u64,
        /// Which parts.
        held: Held,
    },
    /// Chunks of a file without gaps, all of them signed; none of an empty file. The signatures are
    /// not checked here.
    Manifest(ManifestPage),
    /// A chunk as it is stored. Nothing of it is decoded or verified here.
    Chunk {
        /// Which of those asked for.
        index: u16,
        /// The chunk.
        chunk: StoredChunk,
    },
    /// Absent, not allowed, not mine; or cancelled.
    NotFound,
    /// Not now.
    Busy {
        /// When to ask again, in milliseconds from now.
        retry_ms: u32,
    },
    /// The answerer goes.
    Bye {
        /// Why.
        reason: String,
    },
}

impl RefLine {
    /// Bytes that it takes in a page.
    pub fn wire_len(&self) -> usize {
        let name = |name: &RefName| COUNT_LEN + name.as_bytes().len();
        let id = if self.id.is_some() { ObjectId::LEN } else { 0 };
        name(&self.name) + 1 + id + self.target.as_ref().map_or(0, name)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        assert!(self.id.is_some() || self.target.is_some(), "a line says something");
        write::counted(out, self.name.as_bytes(), REF_NAME_LEN_MAX);
        out.push(u8::from(self.id.is_some()) | u8::from(self.target.is_some()) << 1);
        if let Some(id) = &self.id {
            out.extend_from_slice(id.as_bytes());
        }
        if let Some(target) = &self.target {
            write::counted(out, target.as_bytes(), REF_NAME_LEN_MAX);
        }
    }
}

impl Reply {
    /// Its type.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Record(_) => Kind::Record,
            Self::Refs { .. } => Kind::RefsPage,
            Self::Headers(_) => Kind::ObjectHeaders,
            Self::Bytes(_) => Kind::Bytes,
            Self::End { .. } => Kind::End,
            Self::Files(_) => Kind::FileLens,
            Self::Have { .. } => Kind::HaveList,
            Self::Manifest(_) => Kind::ManifestPage,
            Self::Chunk { .. } => Kind::Chunk,
            Self::NotFound => Kind::NotFound,
            Self::Busy { .. } => Kind::Busy,
            Self::Bye { .. } => Kind::Bye,
        }
    }

    /// Bytes of content in it, which count against upload limits.
    pub fn content_len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Chunk { chunk, .. } => chunk.payload.len() as u64,
            _ => 0,
        }
    }

    /// Appends the frame.
    pub fn encode(&self, id: RequestId, out: &mut Vec<u8>) {
        let tail = self.encode_front(id, out);
        out.extend_from_slice(&tail);
    }

    /// Appends the frame without the content at its end, which is returned: it need not be copied.
    pub fn encode_front(&self, id: RequestId, out: &mut Vec<u8>) -> Bytes {
        let tail = match self {
            Self::Record(bytes) | Self::Bytes(bytes) => bytes.clone(),
            Self::Chunk { chunk, .. } => chunk.payload.clone(),
            _ => Bytes::new(),
        };
        write::frame(out, self.kind(), id, tail.len(), |out| self.encode_body(out));
        tail
    }

    fn encode_body(&self, out: &mut Vec<u8>) {
        match self {
            Self::Record(bytes) | Self::Bytes(bytes) => assert!(!bytes.is_empty(), "it is empty"),
            Self::Refs { refs, more } => {
                write::list(out, refs, REFS_PAGE_MAX, |out, line| line.encode(out));
                out.push(u8::from(*more));
            }
            Self::Headers(headers) => write::list(out, headers, HEADERS_MAX, |out, header| {
                out.push(header.map_or(0, |header| kind_code(header.kind)));
                out.extend_from_slice(&header.map_or(0, |header| header.len).to_be_bytes());
            }),
            Self::End { absent } => write::list(out, absent, CHUNKS_MAX, |out, index| {
                out.extend_from_slice(&index.to_be_bytes());
            }),
            Self::Files(lens) => write::list(out, lens, FILES_MAX, |out, len| {
                out.push(u8::from(len.is_some()));
                out.extend_from_slice(&len.unwrap_or(0).to_be_bytes());
            }),
            Self::Have { len, held } => encode_held(out, *len, held),
            Self::Manifest(page) => {
                assert!(page.is_signed(), "a page is told with what its publisher signed");
                let first = page.spans.first().map_or(page.len, |span| span.offset);
                out.extend_from_slice(&page.len.to_be_bytes());
                out.extend_from_slice(&first.to_be_bytes());
                write::list(out, &page.spans, PAGE_CHUNKS_MAX, |out, span| {
                    write::chunk(out, &span.chunk);
                });
                page.signatures.iter().for_each(|one| out.extend_from_slice(one.as_bytes()));
            }
            Self::Chunk { index, chunk } => {
                out.extend_from_slice(&index.to_be_bytes());
                out.push(chunk.codec);
                out.extend_from_slice(&chunk.plain_len.to_be_bytes());
            }
            Self::NotFound => {}
            Self::Busy { retry_ms } => out.extend_from_slice(&retry_ms.to_be_bytes()),
            Self::Bye { reason } => write::counted(out, reason.as_bytes(), REASON_LEN_MAX),
        }
    }
}

fn encode_held(out: &mut Vec<u8>, len: u64, held: &Held) {
    out.extend_from_slice(&len.to_be_bytes());
    match held {
        Held::None => out.push(0),
        Held::All => out.push(1),
        Held::Runs(runs) => {
            out.push(2);
            write::list(out, runs, mega_storage::HELD_RUNS_MAX, |out, run| {
                out.extend_from_slice(&run.offset.to_be_bytes());
                out.extend_from_slice(&run.len.to_be_bytes());
            });
        }
        Held::Bits { shift, bits } => {
            out.extend_from_slice(&[3, *shift]);
            out.extend_from_slice(bits);
        }
    }
}

const fn kind_code(kind: ObjectKind) -> u8 {
    match kind {
        ObjectKind::Commit => 1,
        ObjectKind::Tree => 2,
        ObjectKind::Blob => 3,
        ObjectKind::Tag => 4,
    }
}
