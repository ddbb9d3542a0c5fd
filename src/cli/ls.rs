//! `ls`: a directory of a revision.

use std::ffi::OsString;

use mega_storage::RepoName;
use serde::Serialize;

use super::output::{Done, JsonName, Output, name};
use super::parse::{self, Spec};
use crate::control::{LsCall, OsText, Request};
use crate::node::{Entry, EntryContent, Node, NodeError, find_path, list_dir, open_revision};

/// List a directory of a revision
///
/// Mode, kind, size and name of each entry. LFS files show the size of their content; 'lfs!' marks
/// those whose content is not in the store. PATH may name a file too.
#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
Examples:
  mega-store ls model
  mega-store ls model@v1.0 weights

With --json one object an entry: name (and name_hex when it is not UTF-8), mode, kind (tree, blob,
symlink, lfs, submodule), oid, size, file (the SHA-256 of LFS content), present.")]
pub(super) struct Args {
    /// A repository, and a revision of it: HEAD when it is not given
    #[arg(value_name = "NAME[@REV]", value_parser = parse::spec)]
    spec: Spec,
    /// A path in the revision
    path: Option<OsString>,
}

impl Args {
    pub(super) fn request(&self) -> Request {
        Request::Ls(LsCall {
            repo: self.spec.repo.clone(),
            revision: self.spec.revision.clone(),
            path: self.path.as_ref().map(OsText::from),
        })
    }
}

#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    name: JsonName,
    mode: String,
    kind: &'static str,
    oid: String,
    size: Option<u64>,
    file: Option<String>,
    present: bool,
}

pub(super) fn answer(node: &Node, call: &LsCall, out: &Output<'_>) -> Result<Done, NodeError> {
    let place = open_revision(node, &RepoName::new(&call.repo)?, &call.revision)?;
    let path = call.path.as_ref().map(OsText::as_bytes).unwrap_or_default();
    let entries = match find_path(&place, path)? {
        None => list_dir(&place, &place.tree)?,
        Some(entry) if entry.content == EntryContent::Tree => list_dir(&place, &entry.id)?,
        Some(entry) => vec![entry],
    };
    for entry in &entries {
        if out.is_json() {
            out.json(&row(entry))?;
            continue;
        }
        let size = entry.content_len().map_or_else(|| "-".to_owned(), |len| len.to_string());
        let mark = if is_absent(entry) { "!" } else { "" };
        let kind = format!("{}{mark}", entry.kind());
        out.line(format_args!("{:06o} {kind:9} {size:>12}  {}", entry.mode, name(&entry.name)))?;
    }
    Ok(Done::Whole)
}

fn is_absent(entry: &Entry) -> bool {
    matches!(entry.content, EntryContent::Lfs { is_here: false, .. })
}

fn row(entry: &Entry) -> Row {
    Row {
        name: JsonName::new(&entry.name),
        mode: format!("{:06o}", entry.mode),
        kind: entry.kind(),
        oid: entry.id.to_string(),
        size: entry.content_len(),
        file: entry.file().map(|id| id.to_string()),
        present: !is_absent(entry) && entry.content != EntryContent::Submodule,
    }
}
