//! `cat`: a file of a revision.

use std::ffi::OsString;

use mega_storage::{RepoName, StoreError};

use super::file::write_file;
use super::output::{Done, Output};
use super::parse::{self, Spec};
use crate::control::{OsText, Request};
use crate::node::{EntryContent, Node, NodeError, find_path, open_revision};

/// Blobs up to this length are read at once, in bytes; longer ones as a stream.
const WHOLE_LEN_MAX: u64 = 16 << 20;
const BUFFER_LEN: usize = 1 << 20;

/// Write a file of a revision to standard output
///
/// LFS files come as their content. A symbolic link comes as its target.
#[derive(clap::Args, Debug)]
#[command(after_long_help = "Examples:\n  mega-store cat model@v1.0 config.json")]
pub(super) struct Args {
    /// A repository, and a revision of it: HEAD when it is not given
    #[arg(value_name = "NAME[@REV]", value_parser = parse::spec)]
    spec: Spec,
    /// A path in the revision
    path: OsString,
}

impl Args {
    pub(super) fn request(&self) -> Request {
        Request::Cat {
            repo: self.spec.repo.clone(),
            revision: self.spec.revision.clone(),
            path: OsText::from(&self.path),
        }
    }
}

pub(super) fn answer(
    node: &Node,
    repo: &str,
    revision: &str,
    path: &OsText,
    out: &Output<'_>,
) -> Result<Done, NodeError> {
    let place = open_revision(node, &RepoName::new(repo)?, revision)?;
    let shown = || path.0.to_string_lossy().into_owned();
    let entry = find_path(&place, path.as_bytes())?
        .ok_or_else(|| NodeError::NotAFile { path: shown(), actual: "directory" })?;
    match entry.content {
        EntryContent::Tree => {
            return Err(NodeError::NotAFile { path: shown(), actual: "directory" });
        }
        EntryContent::Submodule => {
            return Err(NodeError::NotAFile { path: shown(), actual: "submodule" });
        }
        EntryContent::Lfs { pointer, is_here: false } => {
            return Err(NodeError::LfsAbsent { path: shown(), id: pointer.file });
        }
        EntryContent::Lfs { pointer, is_here: true } => {
            write_file(node, &pointer.file, 0, u64::MAX, out)?;
        }
        EntryContent::Blob { len } if len <= WHOLE_LEN_MAX => {
            out.bytes(&place.view.object(&entry.id)?.data)?;
        }
        EntryContent::Blob { .. } => {
            let content = mega_storage::Content::Blob(entry.id);
            let mut buffer = vec![0; BUFFER_LEN];
            let mut offset = 0;
            loop {
                if out.progress().interrupted() {
                    return Err(StoreError::Interrupted.into());
                }
                let len = place.view.read_at(&content, offset, &mut buffer)?;
                if len == 0 {
                    break;
                }
                out.bytes(&buffer[..len])?;
                offset += len as u64;
            }
        }
    }
    Ok(Done::Whole)
}
