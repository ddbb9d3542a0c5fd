//! `status`: who has the store open, and its mounts.

use super::mount::MountRow;
use super::output::{Done, Output, size};
use super::run::Holder;
use crate::control::Request;
use crate::node::{Node, NodeError};

/// Show the store: where it is, who has it open, its mounts, its size
#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
With --json one object: store, version, format, holder {pid, command, keeps_mounts} (null when no
other process has the store open), repos, bytes, mounts [{repo, revision, commit, dir, lfs,
allow_other, requests, fetched, plain}]: requests is what the kernel has asked of the mount so far,
by kind.")]
pub(super) struct Args {}

impl Args {
    pub(super) fn request(&self) -> Request {
        Request::Status
    }
}

pub(super) fn answer(node: &Node, holder: Holder, out: &Output<'_>) -> Result<Done, NodeError> {
    let store = node.store();
    let mounts: Vec<MountRow> = node.mounts().list().iter().map(MountRow::new).collect();
    let bytes: u64 = store.family_lens()?.iter().map(|(_, len)| len).sum();
    let repos = store.repos().list()?.len();
    let command = command();
    let pid = std::process::id();
    if out.is_json() {
        let holder = holder.listens.then(|| {
            serde_json::json!({
                "pid": pid, "command": command, "keeps_mounts": holder.keeps_mounts,
            })
        });
        out.json(&serde_json::json!({
            "store": store.path().to_string_lossy(), "version": env!("CARGO_PKG_VERSION"),
            "format": mega_storage::FORMAT_VERSION, "holder": holder, "repos": repos,
            "bytes": bytes, "mounts": mounts,
        }))?;
        return Ok(Done::Whole);
    }
    out.line(format_args!("store   {}", store.path().display()))?;
    let format = mega_storage::FORMAT_VERSION;
    out.line(format_args!("format  {format} (mega-store {})", env!("CARGO_PKG_VERSION")))?;
    out.line(format_args!("size    {}, {repos} repositories", size(bytes)))?;
    match holder.listens {
        true => out.line(format_args!("open    by process {pid} ({command})"))?,
        false => out.line(format_args!("open    by no other process"))?,
    }
    for mount in mounts {
        out.line(format_args!("mount   {mount}"))?;
    }
    Ok(Done::Whole)
}

/// The command line of this process, shortened.
pub(super) fn command() -> String {
    let args = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned());
    args.take(6).collect::<Vec<_>>().join(" ")
}
