//! `prefetch`: content of a repository that is filled as it is read, brought beforehand.

use super::mount::place;
use super::output::{Done, Output, count, name, size};
use super::parse::{self, Spec};
use crate::control::{OsText, PrefetchCall, Request};
use crate::git::Git;
use crate::node::{self, MissingContent, Node, NodeError, PrefetchReport, PrefetchRequest};

/// Missing content that is listed one by one; the rest is counted.
const LISTED_MAX: usize = 20;

/// Fetch content of a mounted repository before it is read
///
/// For a repository that was mounted from a server or a peer, and is fetched as it is read: brings
/// the content of PATHs, directories with all below them, LFS files included; all of the revision
/// when no PATH is given. It comes from where the repository was mounted from, is verified and
/// kept. Mounts go on meanwhile, and their readers go first.
///
/// What is here is not fetched again: run it again to go on after an interruption. What cannot be
/// had is listed, and the exit code is 1.
#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
Examples:
  mega-store prefetch host/team/model
  mega-store prefetch host/team/model@v1 tokenizer.json weights/
  mega-store prefetch p2p://12D3KooW.../repo/team/model

With --json one object: repo, revision, blobs, files, bytes, fetched, missing [{path, id, size,
reason}].")]
pub(super) struct Args {
    /// A repository that was mounted from elsewhere, or its address, and a revision of it: HEAD
    /// when it is not given
    #[arg(value_name = "NAME[@REV]|URL[@REV]", value_parser = parse::place)]
    spec: Spec,
    /// Files and directories in it
    #[arg(value_name = "PATH")]
    paths: Vec<std::ffi::OsString>,
}

impl Args {
    pub(super) fn request(&self) -> Request {
        Request::Prefetch(PrefetchCall {
            repo: self.spec.repo.clone(),
            revision: self.spec.revision.clone(),
            paths: self.paths.iter().map(OsText::from).collect(),
        })
    }
}

pub(super) fn answer(
    node: &Node,
    call: &PrefetchCall,
    git: Git,
    out: &Output<'_>,
) -> Result<Done, NodeError> {
    let request = PrefetchRequest {
        repo: place(&call.repo)?,
        revision: call.revision.clone(),
        paths: call.paths.iter().map(|path| path.as_bytes().to_vec()).collect(),
        git,
    };
    let report = node::prefetch(node, &request, out.progress())?;
    if out.is_json() {
        out.json(&json(&report, &call.revision))?;
    }
    if let Some(note) = &report.note {
        out.note(format_args!("{note}"));
    }
    let missing = &report.missing;
    for MissingContent { path, id, len, reason } in missing.iter().take(LISTED_MAX) {
        let len = len.map_or_else(|| "size not known".to_owned(), size);
        out.note(format_args!("missing: {} ({len}, {id}): {reason}", name(path)));
    }
    if missing.len() > LISTED_MAX {
        let more = (missing.len() - LISTED_MAX) as u64;
        out.note(format_args!("missing: {} more (--json lists all)", count(more, "file")));
    }
    let (files, blobs) = (count(report.file_count, "LFS file"), count(report.blob_count, "blob"));
    let (all, came) = (size(report.len), size(report.came_len));
    let PrefetchReport { repo, .. } = &report;
    out.note(format_args!("{repo}: {files}, {blobs} ({all}), {came} fetched"));
    if missing.is_empty() {
        return Ok(Done::Whole);
    }
    let lacking = count(missing.len() as u64, "file");
    Ok(Done::Partly {
        error: format!("{lacking} could not be had; all else is here"),
        hint: "run it again when the source can be reached: what is here is not fetched again"
            .to_owned(),
    })
}

fn json(report: &PrefetchReport, revision: &str) -> serde_json::Value {
    let missing = report.missing.iter().map(|missing| {
        serde_json::json!({
            "path": String::from_utf8_lossy(&missing.path), "id": missing.id, "size": missing.len,
            "reason": missing.reason,
        })
    });
    serde_json::json!({
        "repo": report.repo.as_str(), "revision": revision, "blobs": report.blob_count,
        "files": report.file_count, "bytes": report.len, "fetched": report.came_len,
        "missing": missing.collect::<Vec<_>>(),
    })
}
