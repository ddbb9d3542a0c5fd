//! Reads a message's body from its front. Whatever is short, long or over a limit is an error.

use mega_storage::{ChunkId, FileId, ObjectId, PageSignature};

use super::RepoKey;
use super::error::WireError;
use super::kind::Kind;

/// What has not been read of a body.
pub(super) struct Reader<'a> {
    kind: Kind,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(kind: Kind, body: &'a [u8]) -> Self {
        Self { kind, rest: body }
    }

    pub(super) fn malformed(&self, reason: &'static str) -> WireError {
        WireError::Malformed { kind: self.kind, reason }
    }

    /// Refuses more than `limit` of `what`.
    pub(super) fn within(
        &self,
        what: &'static str,
        actual: usize,
        limit: usize,
    ) -> Result<(), WireError> {
        match actual > limit {
            true => Err(WireError::Limit { kind: self.kind, what, limit, actual }),
            false => Ok(()),
        }
    }

    pub(super) fn bytes(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        let short = WireError::Truncated { kind: self.kind };
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(short)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let short = WireError::Truncated { kind: self.kind };
        let (array, rest) = self.rest.split_first_chunk().ok_or(short)?;
        self.rest = rest;
        Ok(*array)
    }

    pub(super) fn u8(&mut self) -> Result<u8, WireError> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, WireError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, WireError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, WireError> {
        self.array().map(u64::from_be_bytes)
    }

    /// A byte that is 0 or 1.
    pub(super) fn flag(&mut self) -> Result<bool, WireError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.malformed("a flag is neither 0 nor 1")),
        }
    }

    pub(super) fn object(&mut self) -> Result<ObjectId, WireError> {
        self.array().map(ObjectId::from_bytes)
    }

    pub(super) fn file(&mut self) -> Result<FileId, WireError> {
        self.array().map(FileId::from_bytes)
    }

    pub(super) fn chunk(&mut self) -> Result<ChunkId, WireError> {
        self.array().map(ChunkId::from_bytes)
    }

    pub(super) fn signature(&mut self) -> Result<PageSignature, WireError> {
        self.array().map(PageSignature::from_bytes)
    }

    /// A repository's key; that of any of them where a question is for files.
    pub(super) fn repo(&mut self) -> Result<RepoKey, WireError> {
        self.array().map(RepoKey::from_bytes)
    }

    /// A repository's key that names one.
    pub(super) fn one_repo(&mut self) -> Result<RepoKey, WireError> {
        match self.repo()? {
            RepoKey::ANY => Err(self.malformed("it has to name a repository")),
            key => Ok(key),
        }
    }

    /// Bytes with their length before them.
    pub(super) fn counted(
        &mut self,
        what: &'static str,
        limit: usize,
    ) -> Result<&'a [u8], WireError> {
        let len = usize::from(self.u16()?);
        self.within(what, len, limit)?;
        self.bytes(len)
    }

    /// Text with its length before it.
    pub(super) fn text(&mut self, what: &'static str, limit: usize) -> Result<&'a str, WireError> {
        let bytes = self.counted(what, limit)?;
        std::str::from_utf8(bytes).map_err(|_| self.malformed("a text is not UTF-8"))
    }

    /// Items with their count before them.
    pub(super) fn list<T>(
        &mut self,
        what: &'static str,
        limit: usize,
        mut item: impl FnMut(&mut Self) -> Result<T, WireError>,
    ) -> Result<Vec<T>, WireError> {
        let count = usize::from(self.u16()?);
        self.within(what, count, limit)?;
        (0..count).map(|_| item(self)).collect()
    }

    /// As [`Self::list`], of one item at least.
    pub(super) fn some<T>(
        &mut self,
        what: &'static str,
        limit: usize,
        item: impl FnMut(&mut Self) -> Result<T, WireError>,
    ) -> Result<Vec<T>, WireError> {
        let items = self.list(what, limit, item)?;
        match items.is_empty() {
            true => Err(self.malformed("a list is empty")),
            false => Ok(items),
        }
    }

    /// All that is left.
    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// How much is left.
    pub(super) fn rest_len(&self) -> usize {
        self.rest.len()
    }

    /// Ends the body.
    pub(super) fn finish(self) -> Result<(), WireError> {
        match self.rest.len() {
            0 => Ok(()),
            count => Err(WireError::Trailing { kind: self.kind, count }),
        }
    }
}
