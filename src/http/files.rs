//! Files by SHA-256: their content with ranges, their chunks.

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG};
use mega_storage::{ChunkId, ChunkRef, FileId, Visibility};
use serde::Serialize;

use super::answer::Head;
use super::bridge::BodyWriter;
use super::call::Call;
use super::error::HttpError;
use super::limits::{CHUNKS_LISTED, CHUNKS_LISTED_MAX};
use super::multipart::Frames;
use super::ranges::{self, Wish};

/// The media type of content.
pub const CONTENT: &str = "application/octet-stream";
/// Part of a file whose chunks are looked up at once, in bytes.
const LOOKUP_LEN: u64 = 64 << 20;

/// Chunks of a file.
#[derive(Serialize, utoipa::ToSchema)]
pub struct ChunkList {
    /// SHA-256 of the file.
    oid: String,
    /// Its length in bytes.
    size: u64,
    /// Chunks, in order.
    chunks: Vec<ListedChunk>,
    /// What `from` should be to go on; null after the last chunk.
    next: Option<u64>,
}

/// A chunk in a list.
#[derive(Serialize, utoipa::ToSchema)]
pub struct ListedChunk {
    /// SHA-256 of its bytes.
    id: String,
    /// Offset of its first byte in the file.
    offset: u64,
    /// Its length in bytes.
    size: u64,
}

/// A file that the caller may see.
#[derive(Clone, Copy)]
pub struct Seen {
    /// SHA-256.
    pub id: FileId,
    /// Length in bytes.
    pub len: u64,
    /// Everybody may see it.
    pub is_public: bool,
}

/// `GET /v1/file/{oid}`.
pub(super) fn content(call: &mut Call<'_>) -> Result<(), HttpError> {
    let seen = find(call, id_of(call.names.get("oid"))?)?;
    send(call, seen)
}

/// Finds a file within what the caller may see.
///
/// # Errors
/// 404.
pub fn find(call: &Call<'_>, id: FileId) -> Result<Seen, HttpError> {
    let files = call.store().files();
    let (is_there, is_public) = match call.scope()? {
        _ if call.sees_all() => (true, false),
        Some(repo) => (files.has(repo.id, &id)?, repo.visibility == Visibility::Public),
        None => (call.store().is_public_file(&id)?, true),
    };
    if !is_there {
        return Err(HttpError::not_found());
    }
    let head = files.head(&id)?.ok_or_else(HttpError::not_found)?;
    Ok(Seen { id, len: head.len, is_public })
}

/// Sends a file, or the part of it that is wanted.
///
/// # Errors
/// 416; when the store cannot be read or the client is gone.
pub fn send(call: &mut Call<'_>, seen: Seen) -> Result<(), HttpError> {
    let etag = format!("\"{}\"", seen.id);
    let head = |status| {
        Head::new(status, CONTENT)
            .with(ETAG, &etag)
            .with(ACCEPT_RANGES, "bytes")
            .immutable(seen.is_public)
    };
    if ranges::is_known(call.ask, &etag) {
        call.out.head_only(head(StatusCode::NOT_MODIFIED));
        return Ok(());
    }
    let parts = match ranges::wish_of(call.ask, &etag, seen.len) {
        Wish::Whole => {
            let whole = head(StatusCode::OK).with(CONTENT_LENGTH, seen.len);
            return send_parts(call, seen, whole, &[(0, seen.len)], None);
        }
        Wish::Outside => {
            let message = format!("the range is not in the {} bytes of the content", seen.len);
            let error = HttpError::new(StatusCode::RANGE_NOT_SATISFIABLE, "range", message);
            return Err(error.with_content_range(seen.len));
        }
        Wish::Parts(parts) => parts,
    };
    let partial = head(StatusCode::PARTIAL_CONTENT);
    if let [(offset, len)] = parts[..] {
        let range = format!("bytes {offset}-{}/{}", offset + len - 1, seen.len);
        let partial = partial.with(CONTENT_RANGE, range).with(CONTENT_LENGTH, len);
        return send_parts(call, seen, partial, &parts, None);
    }
    let frames = Frames::new(seen.id, seen.len, &parts);
    let len = frames.len() + parts.iter().map(|(_, len)| len).sum::<u64>();
    let partial = partial.with(CONTENT_TYPE, frames.media_type()).with(CONTENT_LENGTH, len);
    send_parts(call, seen, partial, &parts, Some(&frames))
}

fn send_parts(
    call: &mut Call<'_>,
    seen: Seen,
    head: Head,
    parts: &[(u64, u64)],
    frames: Option<&Frames>,
) -> Result<(), HttpError> {
    if call.ask.is_head() {
        call.out.head_only(head);
        return Ok(());
    }
    let files = call.store().files();
    // What cannot be opened is an error with a status, not a body that breaks off.
    let (&(offset, len), rest) = parts.split_first().ok_or_else(HttpError::not_found)?;
    let mut reader = files.reader_range(&seen.id, offset, len)?;
    let mut first = reader.next_bytes()?;
    let mut out = call.out.begin(head);
    let gone = |error: std::io::Error| HttpError::of_body(&error);
    let mut frame = frames.map(|frames| frames.heads.iter());
    let mut put_head = |out: &mut BodyWriter| match frame.as_mut().and_then(Iterator::next) {
        Some(head) => out.put(Bytes::copy_from_slice(head.as_bytes())).map_err(gone),
        None => Ok(()),
    };
    put_head(&mut out)?;
    while !first.is_empty() {
        out.put(first).map_err(gone)?;
        first = reader.next_bytes()?;
    }
    for &(offset, len) in rest {
        put_head(&mut out)?;
        let mut reader = files.reader_range(&seen.id, offset, len)?;
        loop {
            let bytes = reader.next_bytes()?;
            if bytes.is_empty() {
                break;
            }
            out.put(bytes).map_err(gone)?;
        }
    }
    if let Some(frames) = frames {
        out.put(Bytes::copy_from_slice(frames.tail.as_bytes())).map_err(gone)?;
    }
    out.finish().map_err(gone)
}

/// `GET /v1/file/{oid}/chunks`.
pub(super) fn chunks(call: &mut Call<'_>) -> Result<(), HttpError> {
    let seen = find(call, id_of(call.names.get("oid"))?)?;
    let from = number(call, "from")?.unwrap_or(0);
    let limit = number(call, "limit")?.unwrap_or(CHUNKS_LISTED).clamp(1, CHUNKS_LISTED_MAX);
    let mut chunks = Vec::new();
    let mut next = from;
    while next < seen.len && (chunks.len() as u64) < limit {
        let spans = call.store().files().chunk_spans(&seen.id, next, LOOKUP_LEN)?;
        let room = limit - chunks.len() as u64;
        for span in spans.into_iter().take(usize::try_from(room).unwrap_or(usize::MAX)) {
            let (id, size) = (span.chunk.id.to_string(), u64::from(span.chunk.len));
            next = span.offset + size;
            chunks.push(ListedChunk { id, offset: span.offset, size });
        }
    }
    let next = (next < seen.len).then_some(next);
    let list = ChunkList { oid: seen.id.to_string(), size: seen.len, chunks, next };
    let body = serde_json::to_vec(&list).expect("texts and numbers");
    let head = Head::ok("application/json").immutable(seen.is_public);
    call.out.whole(head, body);
    Ok(())
}

/// `GET /v1/file/chunks/{oid}`.
///
/// Each link is checked: the caller may read a repository, the repository has the file, the file's
/// manifest names the chunk. Without file and repository a file of a public one is looked for; the
/// owner, from whom nothing is hidden, needs none.
pub(super) fn chunk(call: &mut Call<'_>) -> Result<(), HttpError> {
    let id = call.names.get("oid").and_then(|text| text.parse::<ChunkId>().ok());
    let id = id.ok_or_else(bad_id)?;
    let files = call.store().files();
    let etag = format!("\"{id}\"");
    let (plain, is_public) = match call.ask.parameter("file") {
        None if call.sees_all() => (files.plain_chunk(&id)?, false),
        None if call.ask.parameter("repo").is_none() => match call.store().public_chunk(&id)? {
            Some((file, chunk)) => (Some(files.chunk(&file, &chunk)?), true),
            None => (None, false),
        },
        None => {
            return Err(HttpError::not_found().hint("name a file that has it: ?file=SHA256"));
        }
        Some(file) => {
            let seen = find(call, id_of(Some(file))?)?;
            let found = find_chunk(call, &seen, &id)?.ok_or_else(HttpError::not_found)?;
            (Some(files.chunk(&seen.id, &found)?), seen.is_public)
        }
    };
    let plain = plain.ok_or_else(HttpError::not_found)?;
    let head = |status| Head::new(status, CONTENT).with(ETAG, &etag).immutable(is_public);
    if ranges::is_known(call.ask, &etag) {
        call.out.head_only(head(StatusCode::NOT_MODIFIED));
    } else {
        call.out.whole(head(StatusCode::OK).with(CONTENT_LENGTH, plain.len()), plain);
    }
    Ok(())
}

/// Looks for a chunk in a file's manifest: at `offset=` when the caller says so, else in all of it.
fn find_chunk(call: &Call<'_>, seen: &Seen, id: &ChunkId) -> Result<Option<ChunkRef>, HttpError> {
    let files = call.store().files();
    if let Some(offset) = number(call, "offset")? {
        let spans = files.chunk_spans(&seen.id, offset, 1)?;
        return Ok(spans.first().map(|span| span.chunk).filter(|chunk| chunk.id == *id));
    }
    for span in files.spans_of(&seen.id)? {
        let chunk = span?.chunk;
        if chunk.id == *id {
            return Ok(Some(chunk));
        }
    }
    Ok(None)
}

fn number(call: &Call<'_>, name: &'static str) -> Result<Option<u64>, HttpError> {
    let bad = |_| HttpError::bad(format!("'{name}' is not a number"));
    call.ask.parameter(name).map(|text| text.parse().map_err(bad)).transpose()
}

fn bad_id() -> HttpError {
    HttpError::bad("an id is the SHA-256 as 64 hexadecimal digits")
}

/// A file's id from its text.
///
/// # Errors
/// 400.
pub fn id_of(text: Option<&str>) -> Result<FileId, HttpError> {
    text.and_then(|text| text.parse().ok()).ok_or_else(bad_id)
}
