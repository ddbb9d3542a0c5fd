//! `file`: LFS content without a repository.

use std::fs::File;
use std::path::PathBuf;

use mega_storage::{FileId, RepoId};

use super::output::{Done, Output, size};
use super::{absolute, parse};
use crate::control::{FileCall, OsText, Request};
use crate::node::{Node, NodeError};

/// Rows of the owner's own files, which belong to no repository.
const NO_REPO: RepoId = RepoId(0);

/// Keep single large files, without a repository
///
/// A file is named by the SHA-256 of its content, as in git-lfs. What is stored already is not
/// stored again.
#[derive(clap::Subcommand, Debug)]
pub(super) enum Verb {
    /// Take files in; print their SHA-256
    ///
    /// One line a file, as sha256sum prints it. With --json one object a file: sha256, path, size,
    /// chunks, new_chunks, new_bytes, stored_bytes.
    Add {
        /// Files
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<PathBuf>,
    },
    /// Show what is known of a file
    ///
    /// With --json one object: sha256, size, chunks, added (whether `file add` brought it).
    Show {
        /// The file
        #[arg(value_name = "SHA256", value_parser = parse::file_id)]
        id: String,
    },
    /// Write a file's content to standard output
    ///
    /// Every byte is checked against its hash before it is written.
    Cat {
        /// The file
        #[arg(value_name = "SHA256", value_parser = parse::file_id)]
        id: String,
        /// Only these bytes: A-B (both included), A- or -N
        #[arg(long, value_name = "A-B", value_parser = parse::range, allow_hyphen_values = true)]
        range: Option<String>,
    },
    /// Give up a file that was added
    ///
    /// Its bytes go when nothing else uses them and space is reclaimed. A repository that has the
    /// file keeps it.
    Remove {
        /// The file
        #[arg(value_name = "SHA256", value_parser = parse::file_id)]
        id: String,
    },
}

impl Verb {
    pub(super) fn request(&self) -> Request {
        Request::File(match self {
            Self::Add { paths } => {
                FileCall::Add(paths.iter().map(|path| absolute(path).into()).collect())
            }
            Self::Show { id } => FileCall::Show(id.clone()),
            Self::Cat { id, range } => FileCall::Cat { id: id.clone(), range: range.clone() },
            Self::Remove { id } => FileCall::Remove(id.clone()),
        })
    }
}

pub(super) fn answer(node: &Node, call: &FileCall, out: &Output<'_>) -> Result<Done, NodeError> {
    match call {
        FileCall::Add(paths) => paths.iter().try_for_each(|path| add(node, path, out))?,
        FileCall::Show(id) => show(node, &id_of(id)?, out)?,
        FileCall::Cat { id, range } => cat(node, &id_of(id)?, range.as_deref(), out)?,
        FileCall::Remove(id) => {
            let id = id_of(id)?;
            if !node.store().files().remove(NO_REPO, &id)? {
                return Err(NodeError::NoFile { id });
            }
            out.note(format_args!("{id}: removed"));
        }
    }
    Ok(Done::Whole)
}

pub(super) fn id_of(text: &str) -> Result<FileId, NodeError> {
    text.parse()
        .map_err(|_| NodeError::BadArgument { text: text.to_owned(), expected: "a SHA-256" })
}

fn add(node: &Node, path: &OsText, out: &Output<'_>) -> Result<(), NodeError> {
    let shown = path.to_path();
    let io = |e| NodeError::io(format!("reading {}", shown.display()), e);
    let mut file = File::open(&shown).map_err(io)?;
    let facts = file.metadata().map_err(io)?;
    if facts.is_dir() {
        return Err(io(std::io::ErrorKind::IsADirectory.into()));
    }
    let total = facts.is_file().then_some(facts.len());
    out.progress().start("adding", total, mega_storage::Unit::Bytes);
    let taken = node.store().files().ingest(None, &mut file, None, out.progress())?;
    if out.is_json() {
        out.json(&serde_json::json!({
            "sha256": taken.id.to_string(),
            "path": shown.to_string_lossy(),
            "size": taken.len,
            "chunks": taken.chunk_count,
            "new_chunks": taken.new_chunk_count,
            "new_bytes": taken.new_len,
            "stored_bytes": taken.stored_len,
        }))?;
    } else {
        out.line(format_args!("{}  {}", taken.id, super::output::name(path.as_bytes())))?;
    }
    out.flush()
}

fn show(node: &Node, id: &FileId, out: &Output<'_>) -> Result<(), NodeError> {
    let files = node.store().files();
    let head = files.head(id)?.ok_or(NodeError::NoFile { id: *id })?;
    let is_added = files.has(NO_REPO, id)?;
    if out.is_json() {
        return out.json(&serde_json::json!({
            "sha256": id.to_string(),
            "size": head.len,
            "chunks": head.chunk_count,
            "added": is_added,
        }));
    }
    out.line(format_args!("sha256  {id}"))?;
    out.line(format_args!("size    {} ({} bytes)", size(head.len), head.len))?;
    out.line(format_args!("chunks  {}", head.chunk_count))?;
    out.line(format_args!("added   {}", if is_added { "yes" } else { "no, a repository has it" }))
}

fn cat(node: &Node, id: &FileId, range: Option<&str>, out: &Output<'_>) -> Result<(), NodeError> {
    let head = node.store().files().head(id)?.ok_or(NodeError::NoFile { id: *id })?;
    let (offset, len) = match range {
        Some(range) => parse::byte_range(range, head.len)
            .ok_or_else(|| NodeError::BadRange { range: range.to_owned(), len: head.len })?,
        None => (0, head.len),
    };
    write_file(node, id, offset, len, out)
}

/// Writes bytes of a file, decoded ahead of the reader.
pub(super) fn write_file(
    node: &Node,
    id: &FileId,
    offset: u64,
    len: u64,
    out: &Output<'_>,
) -> Result<(), NodeError> {
    let mut reader = node.store().files().reader_range(id, offset, len)?;
    loop {
        if out.progress().interrupted() {
            return Err(mega_storage::StoreError::Interrupted.into());
        }
        let bytes = reader.next_bytes()?;
        if bytes.is_empty() {
            return Ok(());
        }
        out.bytes(&bytes)?;
    }
}
