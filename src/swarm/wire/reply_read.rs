//! Reads what an answerer sends. That an answer belongs to its question is [`super::Answering`]'s
//! part.

use mega_storage::{
    CHUNK_LEN_MAX, ChunkRef, ChunkSpan, FILE_LEN_MAX, HELD_BITS_LEN_MAX, HELD_RUNS_MAX,
    HELD_SHIFT_MAX, HELD_SHIFT_MIN, Held, HeldRun, ManifestPage, ObjectHeader, ObjectKind,
    REF_NAME_LEN_MAX, SIGNED_CHUNKS, StoredChunk,
};

use super::error::WireError;
use super::frame::Frame;
use super::kind::Kind;
use super::limits::{
    CHUNKS_MAX, FILES_MAX, HEADERS_MAX, PAGE_CHUNKS_MAX, PIECE_LEN_MAX, RECORD_LEN_MAX,
    REFS_PAGE_MAX,
};
use super::read::Reader;
use super::reply::{RefLine, Reply};
use super::request::{read_reason, ref_name};

/// Bytes of a CHUNK before its payload.
const CHUNK_FRONT_LEN: usize = 7;

impl Reply {
    /// Reads a frame of an answerer. Content is not copied out of it.
    ///
    /// # Errors
    /// When it is no answer, or malformed.
    pub fn decode(frame: &Frame) -> Result<Self, WireError> {
        let mut body = Reader::new(frame.kind, &frame.body);
        let reply = match frame.kind {
            Kind::Record => Self::Record(content(frame, &mut body, RECORD_LEN_MAX)?),
            Kind::RefsPage => read_refs(&mut body)?,
            Kind::ObjectHeaders => Self::Headers(body.some("objects", HEADERS_MAX, read_header)?),
            Kind::Bytes => Self::Bytes(content(frame, &mut body, PIECE_LEN_MAX)?),
            Kind::End => read_end(&mut body)?,
            Kind::FileLens => Self::Files(body.some("files", FILES_MAX, read_file_len)?),
            Kind::HaveList => read_have(&mut body)?,
            Kind::ManifestPage => read_manifest(&mut body)?,
            Kind::Chunk => read_chunk(frame, &mut body)?,
            Kind::NotFound => Self::NotFound,
            Kind::Busy => Self::Busy { retry_ms: body.u32()? },
            Kind::Bye => Self::Bye { reason: read_reason(frame, &mut body)? },
            kind => return Err(WireError::Misplaced { kind }),
        };
        body.finish().map(|()| reply)
    }
}

/// The whole body as content.
fn content(frame: &Frame, body: &mut Reader<'_>, limit: usize) -> Result<bytes::Bytes, WireError> {
    let len = body.rest().len();
    body.within("bytes", len, limit)?;
    match len {
        0 => Err(body.malformed("it is empty")),
        _ => Ok(frame.body.clone()),
    }
}

fn read_refs(body: &mut Reader<'_>) -> Result<Reply, WireError> {
    let mut last: Option<mega_storage::RefName> = None;
    let refs = body.list("references", REFS_PAGE_MAX, |body| {
        let name = body.counted("bytes of name", REF_NAME_LEN_MAX)?;
        let name = ref_name(body, name)?;
        if last.as_ref().is_some_and(|last| *last >= name) {
            return Err(body.malformed("the references do not ascend"));
        }
        last = Some(name.clone());
        let flags = body.u8()?;
        if !(1..=3).contains(&flags) {
            return Err(body.malformed("a reference has flags that there are not"));
        }
        let id = if flags & 1 != 0 { Some(body.object()?) } else { None };
        let target = match flags & 2 {
            0 => None,
            _ => {
                let target = body.counted("bytes of name", REF_NAME_LEN_MAX)?;
                Some(ref_name(body, target)?)
            }
        };
        Ok(RefLine { name, id, target })
    })?;
    let more = body.flag()?;
    if more && refs.is_empty() {
        return Err(body.malformed("a page without references has more after it"));
    }
    Ok(Reply::Refs { refs, more })
}

fn read_header(body: &mut Reader<'_>) -> Result<Option<ObjectHeader>, WireError> {
    let (code, len) = (body.u8()?, body.u64()?);
    let kind = match code {
        0 if len == 0 => return Ok(None),
        1 => ObjectKind::Commit,
        2 => ObjectKind::Tree,
        3 => ObjectKind::Blob,
        4 => ObjectKind::Tag,
        _ => return Err(body.malformed("there is no such kind of object")),
    };
    Ok(Some(ObjectHeader { kind, len }))
}

fn read_end(body: &mut Reader<'_>) -> Result<Reply, WireError> {
    let mut next = 0;
    let absent = body.list("chunks", CHUNKS_MAX, |body| {
        let index = body.u16()?;
        if index < next || usize::from(index) >= CHUNKS_MAX {
            return Err(body.malformed("the chunks do not ascend, or are more than were asked for"));
        }
        next = index + 1;
        Ok(index)
    })?;
    Ok(Reply::End { absent })
}

fn read_file_len(body: &mut Reader<'_>) -> Result<Option<u64>, WireError> {
    let (is_there, len) = (body.flag()?, body.u64()?);
    match (is_there, len) {
        (false, 0) => Ok(None),
        (true, len) if len <= FILE_LEN_MAX => Ok(Some(len)),
        _ => Err(body.malformed("no file has this length")),
    }
}

fn read_have(body: &mut Reader<'_>) -> Result<Reply, WireError> {
    let (len, kind) = (body.u64()?, body.u8()?);
    if len > FILE_LEN_MAX {
        return Err(body.malformed("no file has this length"));
    }
    let held = match kind {
        0 => Held::None,
        1 => Held::All,
        2 => {
            let mut end = None;
            Held::Runs(body.some("runs", HELD_RUNS_MAX, |body| {
                let run = HeldRun { offset: body.u64()?, len: body.u64()? };
                let is_apart = end.is_none_or(|end| run.offset > end);
                if run.len == 0 || !is_apart || run.len > len || run.offset > len - run.len {
                    return Err(body.malformed("the runs touch, or lie beyond the file"));
                }
                end = Some(run.end());
                Ok(run)
            })?)
        }
        3 => read_bits(body, len)?,
        _ => return Err(body.malformed("there is no such kind of list")),
    };
    Ok(Reply::Have { len, held })
}

fn read_bits(body: &mut Reader<'_>, len: u64) -> Result<Held, WireError> {
    let shift = body.u8()?;
    if !(HELD_SHIFT_MIN..=HELD_SHIFT_MAX).contains(&shift) {
        return Err(body.malformed("no bit stands for so much"));
    }
    body.within("bytes of bits", body.rest_len(), HELD_BITS_LEN_MAX)?;
    let bits = body.rest();
    if bits.len() as u64 != Held::bits_len(len, shift) {
        return Err(body.malformed("the bits are more or fewer than the file has granules"));
    }
    let used = len.div_ceil(1 << shift) % 8;
    if used > 0 && bits.last().is_some_and(|last| last >> used != 0) {
        return Err(body.malformed("a bit beyond the file's end is set"));
    }
    Ok(Held::Bits { shift, bits: bits.to_vec() })
}

fn read_manifest(body: &mut Reader<'_>) -> Result<Reply, WireError> {
    let (len, first) = (body.u64()?, body.u64()?);
    if len > FILE_LEN_MAX || first > len {
        return Err(body.malformed("no file is that long, or it ends before the page"));
    }
    let mut offset = first;
    let spans = body.list("chunks", PAGE_CHUNKS_MAX, |body| {
        let chunk = ChunkRef { id: body.chunk()?, len: body.u32()? };
        let span = ChunkSpan { chunk, offset };
        offset += u64::from(chunk.len);
        if chunk.len == 0 || chunk.len > CHUNK_LEN_MAX || offset > len {
            return Err(body.malformed("a chunk has an impossible length, or goes beyond the end"));
        }
        Ok(span)
    })?;
    if spans.is_empty() && (first, len) != (0, 0) {
        return Err(body.malformed("a page has no chunks"));
    }
    let parts = spans.len().div_ceil(SIGNED_CHUNKS);
    let signatures = (0..parts).map(|_| body.signature()).collect::<Result<_, _>>()?;
    Ok(Reply::Manifest(ManifestPage { len, spans, signatures }))
}

fn read_chunk(frame: &Frame, body: &mut Reader<'_>) -> Result<Reply, WireError> {
    let (index, codec, plain_len) = (body.u16()?, body.u8()?, body.u32()?);
    if usize::from(index) >= CHUNKS_MAX || plain_len == 0 || plain_len > CHUNK_LEN_MAX {
        return Err(body.malformed("no chunk has this length, or was asked for by this index"));
    }
    let len = body.rest().len();
    body.within("bytes", len, plain_len as usize)?;
    if len == 0 {
        return Err(body.malformed("it is empty"));
    }
    let payload = frame.body.slice(CHUNK_FRONT_LEN..);
    Ok(Reply::Chunk { index, chunk: StoredChunk { codec, plain_len, payload } })
}
