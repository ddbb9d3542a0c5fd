//! Mega's view of a file: equal slices with a SHA-256 each, of a file that is stored otherwise.
//!
//! Its clients take all slices to be as long as the first, so these are not the store's chunks.
//! Each list hashes the file once; what was hashed is remembered, and one file is hashed at a time.

use std::collections::VecDeque;
use std::io::Read;
use std::sync::Arc;

use mega_storage::{FileId, Progress, StoreError};
use parking_lot::Mutex;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::transfer::object_len;
use super::{Action, LfsContext, LfsError, Links, limits};

/// The hashes of slices of files that were asked for.
#[derive(Default)]
pub struct SliceCache {
    /// The file asked for last is the first.
    known: Mutex<VecDeque<Sliced>>,
    /// Held while hashing.
    hashing: Mutex<()>,
}

/// A file and the hashes of its slices.
type Sliced = (FileId, Arc<Vec<FileId>>);

/// A file as slices.
#[derive(Serialize, utoipa::ToSchema, Clone, Debug)]
pub struct SliceList {
    /// The file.
    pub oid: String,
    /// Its length in bytes.
    pub size: u64,
    /// Its slices in order.
    pub chunks: Vec<Slice>,
}

/// A part of a file.
#[derive(Serialize, utoipa::ToSchema, Clone, Debug)]
pub struct Slice {
    /// SHA-256 of its bytes.
    pub sub_oid: String,
    /// Offset of its first byte.
    pub offset: u64,
    /// Its length in bytes.
    pub size: u64,
    /// Where to fetch it.
    pub link: Action,
}

/// A slice's bytes.
pub struct SliceContent {
    /// Their count.
    pub len: u64,
    /// The bytes.
    pub reader: mega_storage::FileReader,
}

/// The slices of a file.
///
/// # Errors
/// [`LfsError::NoObject`]; [`LfsError::TooMuch`] past [`limits::SLICED_LEN_MAX`].
pub fn list(
    context: &LfsContext<'_>,
    id: &FileId,
    links: &Links<'_>,
) -> Result<SliceList, LfsError> {
    let size = object_len(context, id)?;
    if size > limits::SLICED_LEN_MAX {
        let limit = limits::SLICED_LEN_MAX;
        return Err(LfsError::TooMuch { what: "bytes of a file in slices", limit, actual: size });
    }
    let hashes = context.slices.get(context, id, size)?;
    let mut chunks = Vec::with_capacity(hashes.len());
    let mut offset = 0;
    for hash in hashes.iter() {
        let len = limits::SLICE_LEN.min(size - offset);
        let Links { base_url, authorization, expires_in_s } = links;
        let href = format!("{base_url}/objects/{id}/{hash}?offset={offset}&size={len}");
        let accept = ("Accept".to_owned(), "application/vnd.git-lfs".to_owned());
        let authorization = authorization.map(|v| ("Authorization".to_owned(), v.to_owned()));
        let header = authorization.into_iter().chain([accept]).collect();
        let link = Action { href, header, expires_in: *expires_in_s };
        chunks.push(Slice { sub_oid: hash.to_string(), offset, size: len, link });
        offset += len;
    }
    Ok(SliceList { oid: id.to_string(), size, chunks })
}

/// Opens the part of a file, if it has the hash that was named.
///
/// # Errors
/// [`LfsError::Parameter`] without offset or size; [`LfsError::NoObject`] when the file or the part
/// is not there.
pub fn open(
    context: &LfsContext<'_>,
    id: &FileId,
    sub_id: &FileId,
    offset: Option<u64>,
    size: Option<u64>,
) -> Result<SliceContent, LfsError> {
    let absent = |name| LfsError::Parameter { name, reason: "is needed, as a number" };
    let offset = offset.ok_or_else(|| absent("offset"))?;
    let len = size.ok_or_else(|| absent("size"))?;
    if len > limits::SLICE_LEN {
        let limit = limits::SLICE_LEN;
        return Err(LfsError::TooMuch { what: "bytes of a slice", limit, actual: len });
    }
    let file_len = object_len(context, id)?;
    if offset.checked_add(len).is_none_or(|end| end > file_len) {
        return Err(LfsError::Range { len: file_len });
    }
    let files = context.store.files();
    let open = || files.reader_range(id, offset, len);
    if hash(&mut open()?, len, context.stop)? != *sub_id {
        return Err(LfsError::NoObject { id: *sub_id });
    }
    Ok(SliceContent { len, reader: open()? })
}

impl SliceCache {
    fn get(
        &self,
        context: &LfsContext<'_>,
        id: &FileId,
        len: u64,
    ) -> Result<Arc<Vec<FileId>>, LfsError> {
        if let Some(hashes) = self.known(id) {
            return Ok(hashes);
        }
        let _alone = self.hashing.lock();
        if let Some(hashes) = self.known(id) {
            return Ok(hashes);
        }
        let mut reader = context.store.files().reader(id)?;
        let mut hashes = Vec::new();
        let mut left = len;
        while left > 0 {
            let slice_len = left.min(limits::SLICE_LEN);
            hashes.push(hash(&mut reader, slice_len, context.stop)?);
            left -= slice_len;
        }
        let hashes = Arc::new(hashes);
        let mut known = self.known.lock();
        known.push_front((*id, hashes.clone()));
        known.truncate(limits::SLICED_FILES_KEPT);
        Ok(hashes)
    }

    fn known(&self, id: &FileId) -> Option<Arc<Vec<FileId>>> {
        let mut known = self.known.lock();
        let at = known.iter().position(|(kept, _)| kept == id)?;
        let sliced = known.remove(at)?;
        known.push_front(sliced.clone());
        Some(sliced.1)
    }
}

/// The SHA-256 of the next `len` bytes.
fn hash(input: &mut dyn Read, len: u64, stop: &dyn Progress) -> Result<FileId, LfsError> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    let mut left = len;
    while left > 0 {
        if stop.interrupted() {
            return Err(StoreError::Interrupted.into());
        }
        let part = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let read = input.read(&mut buffer[..part]).map_err(from_reader)?;
        if read == 0 {
            return Err(from_reader(std::io::ErrorKind::UnexpectedEof.into()));
        }
        hasher.update(&buffer[..read]);
        left -= read as u64;
    }
    Ok(FileId::from_bytes(hasher.finalize().into()))
}

/// The store's error that a reader of its files wrapped.
pub(super) fn from_reader(error: std::io::Error) -> LfsError {
    match error.downcast::<StoreError>() {
        Ok(error) => error.into(),
        Err(source) => StoreError::Io { action: "reading a stored file".to_owned(), source }.into(),
    }
}
