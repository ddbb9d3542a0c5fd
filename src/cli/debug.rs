//! `debug`: looking at single rows. Unstable.

use std::io::Read;

use mega_storage::ObjectId;

use super::file::id_of;
use super::output::{Done, Output};
use super::parse;
use crate::control::Request;
use crate::node::{Node, NodeError};

/// 20,000 ids with their newlines: they travel in one request.
const BATCH_LEN_MAX: u64 = 20_000 * 41;

/// Look at single objects, manifests and chunks (unstable)
#[derive(clap::Subcommand, Debug)]
pub(super) enum Verb {
    /// Write a git object's content to standard output
    ///
    /// The content is hashed again first. With --json one object: oid, kind, size, and no content.
    ///
    /// With --batch the ids are read from standard input, one a line, at most 20,000, and the
    /// answer is that of `git cat-file --batch`.
    CatObject {
        /// The object
        #[arg(
            value_name = "SHA1",
            value_parser = parse::object_id,
            required_unless_present = "batch"
        )]
        id: Option<String>,
        /// Read ids from standard input
        #[arg(long, conflicts_with = "id")]
        batch: bool,
        /// Hash each object of a batch again
        #[arg(long, requires = "batch")]
        verify: bool,
    },
    /// Rewrite the database so that each row is stored once
    ///
    /// RocksDB does this by itself as time goes on; after it the size on the disk says what is
    /// stored.
    Compact,
    /// List a file's chunks
    ///
    /// Offset, length and SHA-256 of each. With --json one object a chunk: id, offset, size.
    ShowManifest {
        /// The file
        #[arg(value_name = "SHA256", value_parser = parse::file_id)]
        id: String,
    },
    /// Find the chunk that holds a byte of a file
    ///
    /// Its offset, length and SHA-256. With --json one object: id, offset, size.
    LocateChunk {
        /// The file
        #[arg(value_name = "SHA256", value_parser = parse::file_id)]
        id: String,
        /// The byte
        offset: u64,
    },
}

impl Verb {
    /// Reads standard input where the verb asks for it.
    pub(super) fn request(&self) -> std::io::Result<Request> {
        Ok(match self {
            Self::CatObject { id: Some(id), .. } => Request::CatObject { id: id.clone() },
            Self::CatObject { id: None, verify, .. } => {
                let mut ids = String::new();
                std::io::stdin().take(BATCH_LEN_MAX).read_to_string(&mut ids)?;
                Request::CatObjects { ids, verify: *verify }
            }
            Self::Compact => Request::Compact,
            Self::ShowManifest { id } => Request::ShowManifest { id: id.clone() },
            Self::LocateChunk { id, offset } => {
                Request::LocateChunk { id: id.clone(), offset: *offset }
            }
        })
    }
}

/// Objects as `git cat-file --batch` writes them: `<id> <kind> <length>`, the content, a newline.
pub(super) fn answer_cat_batch(
    node: &Node,
    ids: &str,
    verify: bool,
    out: &Output<'_>,
) -> Result<Done, NodeError> {
    let objects = node.store().objects();
    for line in ids.lines() {
        let bad = || NodeError::BadArgument { text: line.to_owned(), expected: "a SHA-1" };
        let id: ObjectId = line.parse().map_err(|_| bad())?;
        let object = if verify { objects.read_verified(&id)? } else { objects.read(&id)? };
        match object {
            Some(object) => {
                out.line(format_args!("{id} {} {}", object.kind.as_str(), object.data.len()))?;
                out.bytes(&object.data)?;
                out.bytes(b"\n")?;
            }
            None => out.line(format_args!("{id} missing"))?,
        }
    }
    Ok(Done::Whole)
}

pub(super) fn answer_compact(node: &Node) -> Result<Done, NodeError> {
    node.store().compact()?;
    Ok(Done::Whole)
}

pub(super) fn answer_cat(node: &Node, id: &str, out: &Output<'_>) -> Result<Done, NodeError> {
    let id: ObjectId = id
        .parse()
        .map_err(|_| NodeError::BadArgument { text: id.to_owned(), expected: "a SHA-1" })?;
    let missing = || mega_storage::StoreError::MissingObject { id };
    let object = node.store().objects().read_verified(&id)?.ok_or_else(missing)?;
    if out.is_json() {
        let size = object.data.len();
        out.json(&serde_json::json!({
            "oid": id.to_string(), "kind": object.kind.as_str(), "size": size,
        }))?;
    } else {
        out.bytes(&object.data)?;
    }
    Ok(Done::Whole)
}

pub(super) fn answer_manifest(node: &Node, id: &str, out: &Output<'_>) -> Result<Done, NodeError> {
    show_chunks(node, id, 0, u64::MAX, out)
}

pub(super) fn answer_locate(
    node: &Node,
    id: &str,
    offset: u64,
    out: &Output<'_>,
) -> Result<Done, NodeError> {
    show_chunks(node, id, offset, 1, out)
}

/// Chunks listed in one go, by the bytes that they cover: a manifest may have millions.
const STEP_LEN: u64 = 64 << 20;

fn show_chunks(
    node: &Node,
    id: &str,
    offset: u64,
    len: u64,
    out: &Output<'_>,
) -> Result<Done, NodeError> {
    let id = id_of(id)?;
    let files = node.store().files();
    let head = files.head(&id)?.ok_or(NodeError::NoFile { id })?;
    if offset >= head.len && head.len > 0 {
        return Err(NodeError::BadRange { range: offset.to_string(), len: head.len });
    }
    let end = offset.saturating_add(len).min(head.len);
    let mut from = offset;
    while from < end {
        for span in files.chunk_spans(&id, from, STEP_LEN.min(end - from))? {
            let (start, len) = (span.offset, u64::from(span.chunk.len));
            let chunk = span.chunk.id;
            let row = serde_json::json!({"id": chunk.to_string(), "offset": start, "size": len});
            out.either(&row, format_args!("{start:>15} {len:>8}  {chunk}"))?;
            from = start + len;
        }
    }
    Ok(Done::Whole)
}
