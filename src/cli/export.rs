//! `export`: a repository back out.

use std::path::PathBuf;

use mega_storage::{Pointer, RepoName};

use super::output::{Done, Output, count, size};
use super::{absolute, parse};
use crate::control::{ExportCall, Request};
use crate::node::{self, ExportOptions, Node, NodeError};

/// Write a repository out as plain git
///
/// DIR becomes a bare repository with one pack, every reference and HEAD; 'git clone DIR' works on
/// it. It must be absent or an empty directory, and appears there only when it is whole and on the
/// disk.
#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
Examples:
  mega-store export model /tmp/model.git
  mega-store export model /tmp/model.git --lfs    with the LFS content in lfs/objects

With --json the answer is one object: repo, dir, refs, lfs_files, lfs_bytes,
lfs_missing [{oid, size}].")]
pub(super) struct Args {
    /// The repository
    #[arg(value_parser = parse::repo_name)]
    name: String,
    /// The directory to make
    dir: PathBuf,
    /// Write the LFS content too
    #[arg(long)]
    lfs: bool,
}

impl Args {
    pub(super) fn request(&self) -> Request {
        let dir = absolute(&self.dir).into();
        Request::Export(ExportCall { repo: self.name.clone(), dir, lfs: self.lfs })
    }
}

pub(super) fn answer(node: &Node, call: &ExportCall, out: &Output<'_>) -> Result<Done, NodeError> {
    let options =
        ExportOptions { repo: RepoName::new(&call.repo)?, dir: call.dir.to_path(), lfs: call.lfs };
    let report = node::export(node, &options, out.progress())?;
    let missing = &report.lfs_missing;
    if out.is_json() {
        let file = |pointer: &Pointer| {
            let oid = pointer.file.to_string();
            serde_json::json!({"oid": oid, "size": pointer.len})
        };
        out.json(&serde_json::json!({
            "repo": call.repo,
            "dir": options.dir.to_string_lossy(),
            "refs": report.ref_count,
            "lfs_files": report.lfs_count,
            "lfs_bytes": report.lfs_len,
            "lfs_missing": missing.iter().map(file).collect::<Vec<_>>(),
        }))?;
    }
    let lfs = match report.lfs_count {
        0 => String::new(),
        n => format!(", {} ({})", count(n, "LFS file"), size(report.lfs_len)),
    };
    let refs = count(report.ref_count, "ref");
    out.note(format_args!("{}: {refs}{lfs} in {}", call.repo, options.dir.display()));
    for pointer in missing {
        out.note(format_args!("missing: {} ({})", pointer.file, size(pointer.len)));
    }
    if missing.is_empty() {
        return Ok(Done::Whole);
    }
    Ok(Done::Partly {
        error: format!("{} not in the store", count(missing.len() as u64, "LFS file")),
        hint: "import again where the content can be reached, then export again".to_owned(),
    })
}
