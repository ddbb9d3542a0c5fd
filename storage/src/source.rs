//! Somewhere else that objects and chunks may be found: another store behind a server, peers.
//!
//! A source is asked in batches and answers by blocking; all calls may come from several threads at
//! once. **No answer is trusted**: an object must have its SHA-1, a chunk its SHA-256, and what
//! has no hash of its own (lengths, manifests) is kept apart until something that has one proves
//! it. A source that asks more than one party answers such questions only with what the publisher
//! of the repository says, by itself or signed ([`PageSignature`]), or a server that the user named
//! for it, unsigned. A source never writes to the store: [`crate::ReadThrough`] verifies and keeps.
//!
//! Failure semantics, which every implementer keeps to:
//! - **absent** (`None`, or an id that does not come): the source was asked and does not have it,
//!   or does not show it to us, which looks the same. The next source is asked. When all say so the
//!   reader gets "missing".
//! - **failed** ([`SourceError`]): nothing is known. The next source is asked; when none has it the
//!   reader gets [`crate::StoreError::NotFetched`] and may try again.
//! - An answer that breaks off keeps what came whole before.
//! - Every call ends: a source has time limits of its own on connecting and on silence.

use std::io::Read;
use std::ops::ControlFlow;

use crate::chunks::ChunkBytes;
use crate::id::{FileId, ObjectId};
use crate::object::ObjectHeader;
use crate::read::{ChunkSpan, Pointer, Urgency};

/// What a source answers.
pub type SourceResult<T> = std::result::Result<T, SourceError>;

/// Why a source gave no answer. Its text has no password.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SourceError {
    /// It cannot be reached, broke off or kept silent for too long. Another time it may answer.
    #[error("{reason}")]
    Unreachable {
        /// What happened.
        reason: String,
    },
    /// It does not let us in, or not so often.
    #[error("{reason}")]
    Refused {
        /// What it said.
        reason: String,
    },
    /// It does not know this kind of question, now or ever.
    #[error("it cannot be asked for {what}")]
    Unsupported {
        /// What was asked for.
        what: &'static str,
    },
    /// Its answer breaks the protocol or the limits on it.
    #[error("its answer is wrong: {reason}")]
    Wrong {
        /// What is wrong.
        reason: String,
    },
}

/// Which objects a source is asked for. Everything but `ids` is a hint: a source may send less, and
/// more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ObjectWant<'a> {
    /// The objects, each once.
    pub ids: &'a [ObjectId],
    /// For trees among them, levels of directories that come along: 0 and 1 are the trees
    /// themselves, 2 their children too.
    pub levels: u32,
    /// With the trees, their blobs of up to this many bytes come along; 0 for none. Small blobs may
    /// be LFS pointers, which cannot be told without their bytes.
    pub blob_len_max: u64,
    /// For commits among them, how many commits of history come along: 0 and 1 are the commits
    /// themselves.
    pub history: u32,
}

impl<'a> ObjectWant<'a> {
    /// Exactly these objects.
    pub fn exactly(ids: &'a [ObjectId]) -> Self {
        Self { ids, levels: 0, blob_len_max: 0, history: 0 }
    }
}

/// Where git objects may be found. Implementers: the HTTP client of a server, the swarm, the tests'
/// in-memory, failing, lying and slow twins.
pub trait ObjectSource: Send + Sync {
    /// What it is called in logs and errors: without password.
    fn name(&self) -> String;

    /// Kind and length of each object, in the order of `ids`; `None` for one that is absent. At
    /// most `LENS_MAX` ids.
    ///
    /// # Errors
    /// When nothing is known; [`SourceError::Unsupported`] when whole objects must be asked for.
    fn headers(&self, ids: &[ObjectId]) -> SourceResult<Vec<Option<ObjectHeader>>>;

    /// A pack that stands by itself (no base outside of it), with those of the wanted objects that
    /// the source has; `None` when it has none of them. At most `OBJECTS_MAX` ids. The stream
    /// ends with the pack; an error in it is a failure of the source.
    ///
    /// # Errors
    /// When nothing is known.
    fn objects<'a>(
        &'a self,
        want: &ObjectWant<'_>,
    ) -> SourceResult<Option<Box<dyn Read + Send + 'a>>>;
}

/// Ids in one question for lengths.
pub const LENS_MAX: usize = 4096;
/// Ids in one question for objects.
pub const OBJECTS_MAX: usize = 2048;
/// Files in one question for their lengths.
pub const FILES_MAX: usize = 100;
/// Chunks in one page of a manifest.
pub const PAGE_CHUNKS_MAX: usize = 65_536;
/// Chunks that one signature is for; the last one of a file is for what is left. Page `i` begins
/// with chunk `i * SIGNED_CHUNKS` of the file, so that who asks for any byte of it gets the same
/// page. Its answer fits into what TCP sends before it hears from the other end (RFC 6928): it
/// takes one round trip, and tells of some 30 MB.
pub const SIGNED_CHUNKS: usize = 384;

/// What a publisher signed of [`SIGNED_CHUNKS`] chunks of a file. Made and checked by the swarm;
/// here it is bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageSignature([u8; Self::LEN]);

impl PageSignature {
    /// Length in bytes.
    pub const LEN: usize = 64;

    /// Wraps raw bytes.
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The raw bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

/// A run of a file's chunks, as a source tells it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ManifestPage {
    /// Length of the whole file, in bytes.
    pub len: u64,
    /// Chunks without gaps, ascending: at most `PAGE_CHUNKS_MAX`.
    pub spans: Vec<ChunkSpan>,
    /// One for each [`SIGNED_CHUNKS`] of the chunks, the last one for what is left; none when
    /// nobody signed.
    pub signatures: Vec<PageSignature>,
}

impl ManifestPage {
    /// A page that nobody signed.
    pub fn unsigned(len: u64, spans: Vec<ChunkSpan>) -> Self {
        Self { len, spans, signatures: Vec::new() }
    }

    /// The chunks by signature.
    pub fn signed(&self) -> impl Iterator<Item = (&[ChunkSpan], PageSignature)> {
        self.spans.chunks(SIGNED_CHUNKS).zip(self.signatures.iter().copied())
    }

    /// Whether all chunks are under signatures, and each signature is for chunks.
    pub fn is_signed(&self) -> bool {
        self.signatures.len() == self.spans.len().div_ceil(SIGNED_CHUNKS)
    }

    /// Drops what stands under the signatures after the first `count`.
    pub fn truncate(&mut self, count: usize) {
        self.signatures.truncate(count);
        self.spans.truncate(count.saturating_mul(SIGNED_CHUNKS));
    }
}

/// Takes a chunk as it comes, in whichever form; says whether more are wanted.
pub type ChunkTake<'a> = dyn FnMut(&ChunkSpan, ChunkBytes) -> ControlFlow<()> + 'a;

/// Where chunks of files may be found. Implementers as of [`ObjectSource`].
pub trait ChunkSource: Send + Sync {
    /// What it is called in logs and errors: without password.
    fn name(&self) -> String;

    /// The length of each file, in the order of `files`; `None` for one that is absent. At most
    /// `FILES_MAX`.
    ///
    /// # Errors
    /// When nothing is known.
    fn files(&self, files: &[Pointer]) -> SourceResult<Vec<Option<u64>>>;

    /// A run of the file's chunks, one of which has the byte at `offset`; for an empty file, none.
    /// `None` when the file is absent. How long the run is, is the source's choice.
    ///
    /// # Errors
    /// When nothing is known.
    fn manifest(&self, file: &FileId, offset: u64) -> SourceResult<Option<ManifestPage>>;

    /// Hands the chunks at `spans` (of this file, ascending, gaps allowed) to `take` as they come,
    /// in any order. Ends when all came, when `take` has had enough, or without those that are
    /// absent. `urgency` says whether a reader waits for them.
    ///
    /// # Errors
    /// When it broke off; what `take` was given stays good.
    fn chunks(
        &self,
        file: &FileId,
        spans: &[ChunkSpan],
        urgency: Urgency,
        take: &mut ChunkTake<'_>,
    ) -> SourceResult<()>;
}
