//! The basic transfer: whole objects in and out, and the question whether one is there.

use std::io::{self, Read};

use mega_storage::{FileId, FileReader, FileReport, Pointer, StoreError};

use super::batch::check;
use super::{LfsContext, LfsError, VerifyRequest, limits};

/// What came of an upload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Uploaded {
    /// The repository had it: nothing was read of the body.
    Present,
    /// The bytes were taken in.
    Taken(FileReport),
}

/// A part of an object, on its way out.
pub struct Download {
    /// Length of the whole object.
    pub total_len: u64,
    /// Offset of the part in it.
    pub offset: u64,
    /// Length of the part.
    pub len: u64,
    /// The part's bytes; each has been verified when it comes out.
    pub reader: FileReader,
}

/// Takes an object in: `len` is the body's announced length. Nothing is kept of a body that is not
/// the object, and what the store has in other repositories makes no difference to the answer.
///
/// With [`Uploaded::Present`] the body has not been read: whoever serves decides whether to drain
/// it.
///
/// # Errors
/// [`LfsError::ReadOnly`], [`LfsError::Quota`], [`LfsError::WrongContent`], [`LfsError::Body`].
pub fn upload(
    context: &LfsContext<'_>,
    id: &FileId,
    len: Option<u64>,
    body: &mut dyn Read,
) -> Result<Uploaded, LfsError> {
    context.must_write()?;
    let files = context.store.files();
    if files.has_for_push(context.repo.id, id)? {
        return Ok(Uploaded::Present);
    }
    let len = len.ok_or(LfsError::NoLength)?;
    check_room(context, len)?;
    let mut body = Body { inner: body, error: None };
    let expect = Pointer { file: *id, len };
    let taken = files.ingest_for_push(context.repo.id, &mut body, expect, context.stop);
    match taken {
        Ok(report) => Ok(Uploaded::Taken(report)),
        Err(error) => Err(sort_out(error, body.error)),
    }
}

/// Refuses what would not fit the repository's quota or the store's limits.
pub(super) fn check_room(context: &LfsContext<'_>, len: u64) -> Result<(), LfsError> {
    if len > limits::OBJECT_LEN_MAX {
        let limit = limits::OBJECT_LEN_MAX;
        return Err(LfsError::TooMuch { what: "bytes of an object", limit, actual: len });
    }
    match (context.quota, room(context)?) {
        (Some(quota), Some(room)) if len > room => Err(LfsError::Quota { quota }),
        _ => Ok(()),
    }
}

/// What the repository's quota leaves, in bytes: its git objects count as well.
pub(super) fn room(context: &LfsContext<'_>) -> Result<Option<u64>, LfsError> {
    let Some(quota) = context.quota else { return Ok(None) };
    let repo = context.repo.id;
    let used = context.store.files().repo_len(repo)?;
    let used = used.saturating_add(context.store.objects().usage(repo)?);
    Ok(Some(quota.saturating_sub(used)))
}

/// Tells the client's failures from the store's.
pub(super) fn sort_out(error: StoreError, body: Option<io::ErrorKind>) -> LfsError {
    match (error, body) {
        (StoreError::Io { source, .. }, Some(_)) => LfsError::Body(source),
        (error @ StoreError::FileHashMismatch { .. }, _)
        | (error @ StoreError::FileLenMismatch { .. }, _) => LfsError::WrongContent(error),
        (error, _) => LfsError::Store(error),
    }
}

/// A body that remembers that it was the one to fail.
pub(super) struct Body<'a> {
    pub(super) inner: &'a mut dyn Read,
    pub(super) error: Option<io::ErrorKind>,
}

impl Read for Body<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer).inspect_err(|e| self.error = Some(e.kind()))
    }
}

/// Opens an object, or from `range.0` to `range.1` (the last byte, when it is given) of it.
///
/// # Errors
/// [`LfsError::NoObject`] when this repository does not have it; [`LfsError::Range`].
pub fn open_download(
    context: &LfsContext<'_>,
    id: &FileId,
    range: Option<(u64, Option<u64>)>,
) -> Result<Download, LfsError> {
    let total_len = object_len(context, id)?;
    let (offset, len) = match range {
        None => (0, total_len),
        Some((first, last)) => {
            let end = last.map_or(total_len, |last| last.saturating_add(1).min(total_len));
            if first >= end {
                return Err(LfsError::Range { len: total_len });
            }
            (first, end - first)
        }
    };
    let reader = context.store.files().reader_range(id, offset, len)?;
    Ok(Download { total_len, offset, len, reader })
}

/// The length of an object that this repository has.
pub(super) fn object_len(context: &LfsContext<'_>, id: &FileId) -> Result<u64, LfsError> {
    let files = context.store.files();
    if !files.has(context.repo.id, id)? {
        return Err(LfsError::NoObject { id: *id });
    }
    Ok(files.head(id)?.ok_or(LfsError::NoObject { id: *id })?.len)
}

/// Whether the repository has the object with this length.
///
/// # Errors
/// [`LfsError::NoObject`] when it does not, [`LfsError::Invalid`].
pub fn verify(context: &LfsContext<'_>, request: &VerifyRequest) -> Result<(), LfsError> {
    let (id, len) = check(request).map_err(|e| LfsError::Invalid { reason: e.message })?;
    let stored = object_len(context, &id)?;
    if stored != len {
        let reason = format!("the object has {stored} bytes, not {len}");
        return Err(LfsError::Invalid { reason });
    }
    Ok(())
}
