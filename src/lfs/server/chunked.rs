//! The agent's transfers: only the chunks that the other side does not have ([`crate::lfs::wire`]).
//!
//! Invariant: whether a chunk is "there" is answered from the base files that the repository has a
//! right to and from what this upload has brought, never from what the store holds for others.

use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mega_storage::{FileId, PartialUpload, Pointer, Progress, StoreError, Unit};
use parking_lot::Mutex;

use super::transfer::{check_room, object_len};
use super::{LfsContext, LfsError, limits};
use crate::lfs::wire::{self, Claim, Listing, Received, Step, Wanted};

/// Bytes of a file that are hashed between two lines of progress.
const STEP_LEN: u64 = 32 << 20;
/// Longest time between two lines: a client gives up after a minute of silence.
const STEP_TIME: Duration = Duration::from_secs(5);

/// Bytes on their way out, with their count.
pub struct Outgoing<'a> {
    /// How many.
    pub len: u64,
    #[expect(clippy::type_complexity, reason = "a writer to be called once")]
    write: Box<dyn FnOnce(&mut dyn Write) -> Result<(), LfsError> + Send + 'a>,
}

impl Outgoing<'_> {
    /// Writes all of them.
    ///
    /// # Errors
    /// [`LfsError::Output`], the store's.
    pub fn write_to(self, out: &mut dyn Write) -> Result<(), LfsError> {
        (self.write)(out)
    }
}

/// Which of the chunks in `body` have to be sent, as a bitmap.
///
/// # Errors
/// [`LfsError::ReadOnly`], [`LfsError::Quota`], [`LfsError::Unreadable`], [`LfsError::TooMuch`].
pub fn missing(
    context: &LfsContext<'_>,
    id: &FileId,
    body: &mut dyn Read,
) -> Result<Vec<u8>, LfsError> {
    let (upload, bases) = begin(context, id, body)?;
    let mut chunks = Vec::new();
    while let Some(chunk) = wire::read_entry(body).map_err(unreadable)? {
        if chunks.len() == wire::ENTRIES_MAX {
            return Err(too_many("chunks in one question", wire::ENTRIES_MAX));
        }
        chunks.push(chunk);
    }
    context.store.files().expire_uploads(limits::UPLOAD_AGE_MAX_S)?;
    let mut bitmap = vec![0u8; chunks.len().div_ceil(8)];
    for (index, is_missing) in upload.missing(&bases, &chunks)?.into_iter().enumerate() {
        bitmap[index / 8] |= u8::from(is_missing) << (index % 8);
    }
    Ok(bitmap)
}

/// Keeps the chunks in `body` for this file.
///
/// # Errors
/// As [`missing`]; [`LfsError::TooMuch`] also when more comes than the file has bytes.
pub fn send(
    context: &LfsContext<'_>,
    id: &FileId,
    body: &mut dyn Read,
) -> Result<Received, LfsError> {
    let (upload, _) = begin(context, id, body)?;
    let body = &mut body.take(wire::SEND_LEN_MAX + 1);
    let mut bytes = Vec::new();
    let mut ends = Vec::new();
    loop {
        let frame = wire::read_frame(body, &mut bytes);
        if body.limit() == 0 {
            return Err(too_many("bytes in one request", wire::SEND_LEN_MAX as usize));
        }
        if frame.map_err(unreadable)?.is_none() {
            break;
        }
        ends.push(bytes.len());
    }
    let chunks = ends.len() as u64;
    upload.add(bytes.into(), ends)?;
    Ok(Received { chunks })
}

/// Puts the file together from the chunks in `body`: hashes the whole and gives the repository its
/// right to it. Writes [`Step`]s into `out`; an error before the first is returned, a later one is
/// the last step.
///
/// # Errors
/// [`LfsError::MissingChunks`]; as [`missing`].
pub fn finish(
    context: &LfsContext<'_>,
    id: &FileId,
    body: &mut dyn Read,
    out: &mut (dyn Write + Send),
) -> Result<(), LfsError> {
    let (upload, bases) = begin(context, id, body)?;
    let mut broken = None;
    let planned = {
        let mut next = || wire::read_entry(body).map_err(|e| broken = Some(e)).ok().flatten();
        upload.plan(&bases, &mut std::iter::from_fn(&mut next))
    };
    if let Some(error) = broken {
        return Err(unreadable(error));
    }
    let planned = planned.map_err(sort_out)?;
    let steps = Steps {
        out: Mutex::new((out, Instant::now())),
        hashed: AtomicU64::new(0),
        is_gone: AtomicBool::new(false),
        stop: context.stop,
    };
    let last = match upload.finish(planned, &steps) {
        Ok(_) => Step::Done,
        Err(error) => {
            let error = sort_out(error);
            Step::Error { code: error.status(), message: error.body(None).message }
        }
    };
    let (out, _) = steps.out.into_inner();
    write_step(out, &last).map_err(LfsError::Output)
}

/// The chunks of a file, for a client that has some of them.
///
/// # Errors
/// [`LfsError::NoObject`].
pub fn list<'a>(context: &LfsContext<'a>, id: &FileId) -> Result<Outgoing<'a>, LfsError> {
    let size = object_len(context, id)?;
    let files = context.store.files();
    let count = files.head(id)?.map_or(0, |head| head.chunk_count);
    let mut head = Vec::new();
    wire::write_head(&Listing { size, count }, &mut head).map_err(LfsError::Output)?;
    let len = head.len() as u64 + count * wire::ENTRY_LEN as u64;
    let spans = files.spans_of(id)?;
    let write = move |out: &mut dyn Write| {
        let mut out = io::BufWriter::with_capacity(64 << 10, out);
        out.write_all(&head).map_err(LfsError::Output)?;
        for span in spans {
            out.write_all(&wire::entry(&span?.chunk)).map_err(LfsError::Output)?;
        }
        out.flush().map_err(LfsError::Output)
    };
    Ok(Outgoing { len, write: Box::new(write) })
}

/// Parts of a file: `body` is a [`Wanted`] as JSON.
///
/// # Errors
/// [`LfsError::NoObject`], [`LfsError::Range`], [`LfsError::TooMuch`].
pub fn fetch<'a>(
    context: &LfsContext<'a>,
    id: &FileId,
    body: &[u8],
) -> Result<Outgoing<'a>, LfsError> {
    let size = object_len(context, id)?;
    let wanted: Wanted = super::parse(body)?;
    if wanted.ranges.len() > wire::RANGES_MAX {
        return Err(too_many("ranges in one request", wire::RANGES_MAX));
    }
    let mut len = 0u64;
    for range in &wanted.ranges {
        if range.len == 0 || range.offset.checked_add(range.len).is_none_or(|end| end > size) {
            return Err(LfsError::Range { len: size });
        }
        len = len.saturating_add(range.len);
    }
    if len > wire::FETCH_LEN_MAX {
        return Err(too_many("bytes in one answer", wire::FETCH_LEN_MAX as usize));
    }
    let (files, id) = (context.store.files(), *id);
    let write = move |out: &mut dyn Write| {
        for range in wanted.ranges {
            let mut reader = files.reader_range(&id, range.offset, range.len)?;
            loop {
                let bytes = reader.next_bytes()?;
                if bytes.is_empty() {
                    break;
                }
                out.write_all(&bytes).map_err(LfsError::Output)?;
            }
        }
        Ok(())
    };
    Ok(Outgoing { len, write: Box::new(write) })
}

/// Reads the claim before the data, and opens the upload that it is about.
fn begin<'a>(
    context: &LfsContext<'a>,
    id: &FileId,
    body: &mut dyn Read,
) -> Result<(PartialUpload<'a>, Vec<FileId>), LfsError> {
    context.must_write()?;
    let claim: Claim = wire::read_head(body).map_err(unreadable)?;
    if claim.bases.len() > wire::BASES_MAX {
        return Err(too_many("base files", wire::BASES_MAX));
    }
    let bases: Result<Vec<FileId>, _> = claim.bases.iter().map(|base| base.parse()).collect();
    let bases = bases.map_err(|e| LfsError::Invalid { reason: format!("a base file: {e}") })?;
    check_room(context, claim.size)?;
    let pointer = Pointer { file: *id, len: claim.size };
    Ok((context.store.files().partial_upload(context.repo.id, pointer), bases))
}

/// Says what is wrong with a body: what came makes no sense, or nothing came any more.
fn unreadable(error: io::Error) -> LfsError {
    match error.kind() {
        io::ErrorKind::InvalidData => LfsError::Unreadable { reason: error.to_string() },
        _ => LfsError::Body(error),
    }
}

fn too_many(what: &'static str, limit: usize) -> LfsError {
    let limit = limit as u64;
    LfsError::TooMuch { what, limit, actual: limit + 1 }
}

/// A chunk that is not there is the client's to send again, and content that is not the file's is
/// the client's fault.
fn sort_out(error: StoreError) -> LfsError {
    match error {
        StoreError::MissingChunk { id, .. } => LfsError::MissingChunks { first: id },
        StoreError::FileHashMismatch { .. } | StoreError::FileLenMismatch { .. } => {
            LfsError::WrongContent(error)
        }
        error => error.into(),
    }
}

/// Tells the client how far the hashing is.
struct Steps<'a> {
    /// Where to, and when the last line was written.
    out: Mutex<(&'a mut (dyn Write + Send), Instant)>,
    hashed: AtomicU64,
    is_gone: AtomicBool,
    stop: &'a dyn Progress,
}

impl Progress for Steps<'_> {
    fn start(&self, _what: &'static str, _total: Option<u64>, _unit: Unit) {}

    fn advance(&self, count: u64) {
        let before = self.hashed.fetch_add(count, Ordering::Relaxed);
        let now = before + count;
        let (out, told) = &mut *self.out.lock();
        if before / STEP_LEN != now / STEP_LEN || told.elapsed() >= STEP_TIME {
            *told = Instant::now();
            if write_step(&mut **out, &Step::Hashed(now)).is_err() {
                self.is_gone.store(true, Ordering::Relaxed);
            }
        }
    }

    fn interrupted(&self) -> bool {
        self.is_gone.load(Ordering::Relaxed) || self.stop.interrupted()
    }
}

pub(super) fn write_step(out: &mut dyn Write, step: &Step) -> io::Result<()> {
    let mut line = serde_json::to_vec(step)?;
    line.push(b'\n');
    out.write_all(&line)?;
    out.flush()
}
