//! `import`: a git repository into the store.

use std::ffi::OsString;

use mega_storage::RepoName;
use serde::Serialize;

use super::output::{Done, Output, count, size};
use super::{absolute, parse};
use crate::control::{ImportCall, OsText, Request};
use crate::git::{Git, url_of};
use crate::node::{self, ImportOptions, ImportReport, MissingFile, Node, NodeError};

/// Findings and missing files that are listed one by one; the rest is counted.
const LISTED_MAX: usize = 20;

/// Take in a git repository with its LFS content
///
/// SOURCE is a repository's directory (bare or not, with alternates, or any directory inside a
/// checkout), a URL that git can fetch (https, ssh, git, file, host:path, a bundle), or a
/// repository at a peer: p2p://PEER/repo/NAME, with @REV that branch or tag alone. All references
/// and HEAD come along; submodules stay links. NAME is the source's last part without .git when it
/// is not given; new repositories are private.
///
/// Run it again to take in what is new. References that are gone from the source stay, unless
/// --prune is given.
///
/// LFS content comes from the source's own LFS directory or, where it is missing there, from the
/// LFS server that the repository names; from another mega-store only chunks that are not in this
/// one travel. Content that cannot be had is listed and the exit code is 1; everything else is in
/// place, a mount shows such a file as its pointer's text, and a later import tries again.
///
/// Old mistakes in the history (git fsck's findings) are listed as warnings. Shallow clones,
/// partial clones with missing objects and SHA-256 repositories are refused. Nothing in SOURCE is
/// changed.
#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
Examples:
  mega-store import ~/src/model
  mega-store import https://example.com/team/model.git team/model
  mega-store import p2p://12D3KooW.../repo/team/model
  mega-store import --prune git@example.com:team/model.git    keep an exact mirror

With --json the answer is one object: repo, created, packs, objects, new_objects,
refs {created, updated, deleted, kept}, lfs {files, new_files, new_bytes, stored_bytes,
missing [{oid, size, blob, reason}]}, problems, warnings [{oid, id, detail}].")]
pub(super) struct Args {
    /// A directory or a URL
    source: OsString,
    /// The repository's name in the store
    #[arg(value_parser = parse::repo_name)]
    name: Option<String>,
    /// Remove references that are gone from SOURCE
    #[arg(long)]
    prune: bool,
}

impl Args {
    pub(super) fn request(&self) -> Request {
        let is_url = self.source.to_str().and_then(url_of).is_some();
        let path = absolute(self.source.as_ref());
        let source =
            if is_url && !path.exists() { OsText::from(&self.source) } else { path.into() };
        Request::Import(ImportCall { source, name: self.name.clone(), prune: self.prune })
    }
}

pub(super) fn answer(
    node: &Node,
    call: &ImportCall,
    git: Git,
    out: &Output<'_>,
) -> Result<Done, NodeError> {
    let report = node::import(node, &options(call, git)?, out.progress())?;
    tell(&report, out)
}

/// The answer when there is nothing to import, from a store that is open for reading.
pub(super) fn answer_nothing(
    node: &Node,
    call: &ImportCall,
    git: Git,
    out: &Output<'_>,
) -> Result<Option<Done>, NodeError> {
    let report = node::import_of_nothing(node, &options(call, git)?)?;
    report.map(|report| tell(&report, out)).transpose()
}

fn options(call: &ImportCall, git: Git) -> Result<ImportOptions, NodeError> {
    Ok(ImportOptions {
        source: call.source.0.to_string_lossy().into_owned(),
        source_path: call.source.to_path(),
        name: call.name.as_deref().map(RepoName::new).transpose()?,
        prune: call.prune,
        git,
    })
}

fn tell(report: &ImportReport, out: &Output<'_>) -> Result<Done, NodeError> {
    if out.is_json() {
        out.json(&Json::new(report))?;
    }
    say(report, out);
    let missing = &report.lfs.missing;
    if missing.is_empty() {
        return Ok(Done::Whole);
    }
    let len = missing.iter().map(|file| file.pointer.len).sum();
    let files = count(missing.len() as u64, "LFS file");
    Ok(Done::Partly {
        error: format!("{files} ({}) could not be had; all else is in place", size(len)),
        hint: "import again when the content can be reached: only what is missing is fetched"
            .to_owned(),
    })
}

fn say(report: &ImportReport, out: &Output<'_>) {
    let git = &report.git;
    for (id, problem) in git.problems.iter().take(LISTED_MAX) {
        out.note(format_args!("warning: object {id}: {}: {}", problem.id, problem.detail));
    }
    let listed = git.problems.len().min(LISTED_MAX) as u64;
    if git.problem_count > listed {
        let more = git.problem_count - listed;
        out.note(format_args!("warning: {} more", count(more, "finding")));
    }
    for MissingFile { pointer, blob, reason } in report.lfs.missing.iter().take(LISTED_MAX) {
        let len = size(pointer.len);
        out.note(format_args!("missing: {} ({len}, pointer {blob}): {reason}", pointer.file));
    }
    if report.lfs.missing.len() > LISTED_MAX {
        let more = (report.lfs.missing.len() - LISTED_MAX) as u64;
        out.note(format_args!("missing: {} more (--json lists all)", count(more, "file")));
    }
    let changed = git.refs_created + git.refs_updated + git.refs_deleted;
    if changed == 0 && git.new_count == 0 && report.lfs.new_count == 0 && !report.is_new {
        out.note(format_args!("{}: nothing new", report.repo.name));
        return;
    }
    let mut parts = vec![count(git.new_count, "new object"), count(changed, "changed ref")];
    if report.lfs.new_count > 0 {
        let files = count(report.lfs.new_count, "LFS file");
        let (len, stored) = (size(report.lfs.new_len), size(report.lfs.stored_len));
        parts.push(format!("{files} ({len}, {stored} stored)"));
    }
    out.note(format_args!("{}: {}", report.repo.name, parts.join(", ")));
    if git.refs_kept > 0 {
        let kept = count(git.refs_kept, "ref");
        out.note(format_args!("{kept} gone from the source stayed here (--prune removes them)"));
    }
}

#[derive(Serialize)]
struct Json {
    repo: String,
    created: bool,
    packs: u64,
    objects: u64,
    new_objects: u64,
    refs: JsonRefs,
    lfs: JsonLfs,
    problems: u64,
    warnings: Vec<JsonWarning>,
}

#[derive(Serialize)]
struct JsonRefs {
    created: u64,
    updated: u64,
    deleted: u64,
    kept: u64,
}

#[derive(Serialize)]
struct JsonLfs {
    files: u64,
    new_files: u64,
    new_bytes: u64,
    stored_bytes: u64,
    missing: Vec<JsonMissing>,
}

#[derive(Serialize)]
struct JsonMissing {
    oid: String,
    size: u64,
    blob: String,
    reason: String,
}

#[derive(Serialize)]
struct JsonWarning {
    oid: String,
    id: &'static str,
    detail: String,
}

impl Json {
    fn new(report: &ImportReport) -> Self {
        let (git, lfs) = (&report.git, &report.lfs);
        let missing = |file: &MissingFile| JsonMissing {
            oid: file.pointer.file.to_string(),
            size: file.pointer.len,
            blob: file.blob.to_string(),
            reason: file.reason.clone(),
        };
        let warnings = git.problems.iter().map(|(id, problem)| JsonWarning {
            oid: id.to_string(),
            id: problem.id,
            detail: problem.detail.clone(),
        });
        Self {
            repo: report.repo.name.to_string(),
            created: report.is_new,
            packs: git.pack_count,
            objects: git.object_count,
            new_objects: git.new_count,
            refs: JsonRefs {
                created: git.refs_created,
                updated: git.refs_updated,
                deleted: git.refs_deleted,
                kept: git.refs_kept,
            },
            lfs: JsonLfs {
                files: lfs.wanted_count,
                new_files: lfs.new_count,
                new_bytes: lfs.new_len,
                stored_bytes: lfs.stored_len,
                missing: lfs.missing.iter().map(missing).collect(),
            },
            problems: git.problem_count,
            warnings: warnings.collect(),
        }
    }
}
