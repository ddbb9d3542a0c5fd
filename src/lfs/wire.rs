//! The agent's protocol, version 1: what its client and the server both read and write.
//!
//! A server that knows it answers a batch request that lists the transfer [`TRANSFER`] with it, and
//! with actions whose `href` is `<lfs>/mega/v1/objects/{oid}`. The routes stand below that address:
//!
//! | route | body | answer |
//! |---|---|---|
//! | `POST /missing` | [`Claim`], entries in any order, up to [`ENTRIES_MAX`] | a bitmap |
//! | `POST /send` | [`Claim`] without bases, frames, up to [`SEND_LEN_MAX`] | [`Received`] |
//! | `POST /finish` | [`Claim`], the entries of the whole file in order | lines: [`Step`] |
//! | `GET /chunks` | | [`Listing`], the entries of the whole file in order |
//! | `POST /fetch` | [`Wanted`] | the bytes of the ranges, one after the other |
//!
//! In the bitmap, bit `i % 8` of byte `i / 8` is 1 when entry `i` has to be sent.
//! [`Claim`] and [`Listing`] are JSON with their length in bytes before them (4 bytes). An *entry*
//! is a chunk's SHA-256 (32 bytes) and its length (4 bytes). A *frame* is a chunk's length (4
//! bytes) and its bytes. Numbers are big-endian.
//!
//! A chunk need not be sent when a base has it, a file that this repository has a right to, or when
//! it has been sent for the same file before: nothing else that the server holds counts. What was
//! sent is kept until the file is whole, or [`crate::lfs::server::limits::UPLOAD_AGE_MAX_S`] after
//! the last of it came. Chunks are cut as the store cuts them (`storage/README.md`, chunker 1);
//! other cuts work, but match nothing.

#![deny(clippy::indexing_slicing)]

use std::io::{self, Read, Write};

use mega_storage::{ChunkId, ChunkRef};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The name of the transfer in batch requests, and in git's `lfs.customtransfer.<name>`.
pub const TRANSFER: &str = "mega";
/// What stands between the LFS server's URL and an object's id.
pub const OBJECTS_PATH: &str = "/mega/v1/objects/";
/// Entries in one question: 2.3 MiB, 5 GB of file.
pub const ENTRIES_MAX: usize = 1 << 16;
/// Bytes of one `send` after its claim.
pub const SEND_LEN_MAX: u64 = 4 << 20;
/// Base files that one claim may name.
pub const BASES_MAX: usize = 8;
/// Ranges in one `fetch`.
pub const RANGES_MAX: usize = 1024;
/// Bytes that one `fetch` may ask for.
pub const FETCH_LEN_MAX: u64 = 16 << 20;
/// Longest JSON before entries or frames, in bytes.
pub const HEAD_LEN_MAX: u32 = 64 << 10;
/// No chunk is longer, in bytes.
pub const CHUNK_LEN_MAX: u32 = 256 << 10;
/// Bytes of an entry.
pub const ENTRY_LEN: usize = ChunkId::LEN + 4;

/// What can be asked about a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Route {
    /// Which chunks have to be sent.
    Missing,
    /// Some of them.
    Send,
    /// The file is to be put together.
    Finish,
    /// Its chunks.
    Chunks,
    /// Parts of it.
    Fetch,
    /// The whole of it comes, as LFS itself has it.
    Put,
}

impl Route {
    /// Whether it changes what is stored.
    pub fn is_write(self) -> bool {
        match self {
            Self::Send | Self::Finish | Self::Put => true,
            Self::Missing | Self::Chunks | Self::Fetch => false,
        }
    }

    /// Its name below the file's address; LFS's own route has none.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::Missing => Some("missing"),
            Self::Send => Some("send"),
            Self::Finish => Some("finish"),
            Self::Chunks => Some("chunks"),
            Self::Fetch => Some("fetch"),
            Self::Put => None,
        }
    }
}

/// What an upload is about.
#[derive(Serialize, Deserialize, utoipa::ToSchema, Clone, PartialEq, Eq, Debug)]
pub struct Claim {
    /// The file's length in bytes.
    pub size: u64,
    /// SHA-256 of files whose chunks need not be sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bases: Vec<String>,
}

/// What a download is about.
#[derive(Serialize, Deserialize, utoipa::ToSchema, Clone, PartialEq, Eq, Debug)]
pub struct Listing {
    /// The file's length in bytes.
    pub size: u64,
    /// Entries that follow.
    pub count: u64,
}

/// What came of a `send`.
#[derive(Serialize, Deserialize, utoipa::ToSchema, Clone, PartialEq, Eq, Debug)]
pub struct Received {
    /// Chunks that were kept, those that had come before included.
    pub chunks: u64,
}

/// Parts of a file.
#[derive(Serialize, Deserialize, utoipa::ToSchema, Clone, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// In the order of the answer.
    pub ranges: Vec<Range>,
}

/// A part of a file.
#[derive(Serialize, Deserialize, utoipa::ToSchema, Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    /// Offset of its first byte.
    pub offset: u64,
    /// Its length in bytes, not 0.
    pub len: u64,
}

/// A line of the answer to `finish`. The last one is `done` or `error`; an answer without either
/// broke off.
#[derive(Serialize, Deserialize, utoipa::ToSchema, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Bytes of the file that have been hashed.
    Hashed(u64),
    /// The file is there. How many of its bytes were new to the store is not said.
    Done,
    /// It is not.
    Error {
        /// As an HTTP status.
        code: u16,
        /// For a person.
        message: String,
    },
}

/// Reads JSON with its length before it.
///
/// # Errors
/// The reader's; `InvalidData` when it is too long or not what it should be.
pub fn read_head<T: DeserializeOwned>(input: &mut dyn Read) -> io::Result<T> {
    let mut len = [0; 4];
    input.read_exact(&mut len)?;
    let len = u32::from_be_bytes(len);
    if len > HEAD_LEN_MAX {
        return Err(invalid("the JSON before the data is too long"));
    }
    let mut json = Vec::new();
    input.take(u64::from(len)).read_to_end(&mut json)?;
    if json.len() as u64 != u64::from(len) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    serde_json::from_slice(&json).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
}

/// Writes JSON with its length before it.
///
/// # Errors
/// The writer's; `InvalidInput` when a reader would refuse it.
pub fn write_head<T: Serialize>(head: &T, out: &mut dyn Write) -> io::Result<()> {
    let json = serde_json::to_vec(head)?;
    let len = u32::try_from(json.len()).ok().filter(|len| *len <= HEAD_LEN_MAX);
    let len = len.ok_or(io::ErrorKind::InvalidInput)?;
    out.write_all(&len.to_be_bytes())?;
    out.write_all(&json)
}

/// An entry's bytes.
pub fn entry(chunk: &ChunkRef) -> [u8; ENTRY_LEN] {
    let mut bytes = [0; ENTRY_LEN];
    let (id, len) = bytes.split_at_mut(ChunkId::LEN);
    id.copy_from_slice(chunk.id.as_bytes());
    len.copy_from_slice(&chunk.len.to_be_bytes());
    bytes
}

/// The next entry; `None` at the end.
///
/// # Errors
/// The reader's; `UnexpectedEof` inside an entry; `InvalidData` for a length that no chunk has.
pub fn read_entry(input: &mut dyn Read) -> io::Result<Option<ChunkRef>> {
    let mut bytes = [0; ENTRY_LEN];
    if !read_full(input, &mut bytes)? {
        return Ok(None);
    }
    let (id, len) = bytes.split_at(ChunkId::LEN);
    let id = ChunkId::from_slice(id).ok_or(io::ErrorKind::InvalidData)?;
    let len = len.try_into().map_or(0, u32::from_be_bytes);
    match len {
        1..=CHUNK_LEN_MAX => Ok(Some(ChunkRef { id, len })),
        _ => Err(invalid("a chunk's length is impossible")),
    }
}

/// Appends the next frame's bytes to `out` and returns their length; `None` at the end.
///
/// # Errors
/// As [`read_entry`].
pub fn read_frame(input: &mut dyn Read, out: &mut Vec<u8>) -> io::Result<Option<usize>> {
    let mut len = [0; 4];
    if !read_full(input, &mut len)? {
        return Ok(None);
    }
    let len = u32::from_be_bytes(len);
    if len == 0 || len > CHUNK_LEN_MAX {
        return Err(invalid("a chunk's length is impossible"));
    }
    let read = input.take(u64::from(len)).read_to_end(out)?;
    if read as u64 != u64::from(len) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(read))
}

/// Fills `buffer`; `false` when the input ends before its first byte.
fn read_full(input: &mut dyn Read, buffer: &mut [u8]) -> io::Result<bool> {
    let Some((first, rest)) = buffer.split_first_mut() else { return Ok(true) };
    loop {
        match input.read(std::slice::from_mut(first)) {
            Ok(0) => return Ok(false),
            Ok(_) => break,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    input.read_exact(rest).map(|()| true)
}

fn invalid(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}
