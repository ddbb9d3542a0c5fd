//! The readers' only door: what a mount or an HTTP route needs, and no way to change anything.
//!
//! Every byte that leaves through it has been checked against its hash. Implementers: the local
//! store's [`crate::View`], [`crate::ReadThrough`] over it, and the tests' in-memory and failing
//! twins.

use bytes::Bytes;

use crate::error::Result;
use crate::id::{FileId, ObjectId};
use crate::manifest::ChunkRef;
use crate::object::{Object, ObjectHeader};

/// What a tree entry really holds, an LFS pointer resolved.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Content {
    /// A git blob.
    Blob(ObjectId),
    /// A file of LFS size.
    File(FileId),
}

/// What an LFS pointer blob points to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pointer {
    /// The file's SHA-256, the LFS oid.
    pub file: FileId,
    /// The file's length as the pointer says, in bytes.
    pub len: u64,
}

/// What can be said of an object without inflating it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ObjectStat {
    /// Kind and length.
    pub header: ObjectHeader,
    /// Set for blobs that are LFS pointers.
    pub pointer: Option<Pointer>,
}

/// A chunk and where it stands in its file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChunkSpan {
    /// The chunk.
    pub chunk: ChunkRef,
    /// Offset of its first byte in the file.
    pub offset: u64,
}

/// When content that a reader names beforehand will be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Urgency {
    /// Somebody waits for it.
    Now,
    /// Soon, by the look of what was read before.
    Soon,
    /// Whenever the others leave room: it was asked for beforehand.
    Background,
}

/// Reads objects and files of one repository. All calls block; all are safe from many threads at
/// once.
pub trait ReadStore: Send + Sync {
    /// What is known of each object, in the order of `ids`; `None` for one that is absent.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn stat(&self, ids: &[ObjectId]) -> Result<Vec<Option<ObjectStat>>>;

    /// A whole object.
    ///
    /// # Errors
    /// [`crate::StoreError::MissingObject`] when it is absent.
    fn object(&self, id: &ObjectId) -> Result<Object>;

    /// The file's length when its manifest is here and this repository has a right to it.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn file_len(&self, id: &FileId) -> Result<Option<u64>>;

    /// For each pointer, the length of its file when this repository can read it; in the order of
    /// `pointers`. One call a directory: what is elsewhere is asked for in one go.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn file_lens(&self, pointers: &[Pointer]) -> Result<Vec<Option<u64>>> {
        pointers.iter().map(|pointer| self.file_len(&pointer.file)).collect()
    }

    /// Is told of chunks that will be read, in the order of the file, so that those that are
    /// elsewhere can be on their way in few requests. Returns at once; what fails here fails
    /// again when it is read.
    fn expect(&self, _file: &FileId, _spans: &[ChunkSpan], _urgency: Urgency) {}

    /// The chunks that cover `offset..offset + len` of a file, clipped to its end, in order.
    ///
    /// # Errors
    /// [`crate::StoreError::MissingFile`] when it is absent.
    fn chunk_spans(&self, id: &FileId, offset: u64, len: u64) -> Result<Vec<ChunkSpan>>;

    /// One chunk of the file, decoded and verified.
    ///
    /// # Errors
    /// [`crate::StoreError::MissingChunk`] or [`crate::StoreError::DamagedChunk`].
    fn chunk(&self, file: &FileId, chunk: &ChunkRef) -> Result<Bytes>;

    /// Reads at `offset` into `out`; returns the bytes read, fewer than asked only at the end.
    ///
    /// # Errors
    /// As the other calls.
    fn read_at(&self, content: &Content, offset: u64, out: &mut [u8]) -> Result<usize>;

    /// Bytes of the content that are here, for showing: all of them unless the repository is filled
    /// lazily.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn resident(&self, content: &Content) -> Result<u64>;
}
