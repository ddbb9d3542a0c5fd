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
allow_other, requests, origin, resident, fetched, upstream {url, bytes}, plain}], peers [{peer,
received, sent, rate}]: requests is what the kernel has asked of the mount so far, by kind; resident
the bytes of LFS files that are here; fetched what came since it was opened, with its rate in bytes
a second; upstream what of it came from that server in place of peers; peers those that content came
from or went to since the process started.")]
pub(super) struct Args {}

impl Args {
    pub(super) fn request(&self) -> Request {
        Request::Status
    }
}

pub(super) fn answer(node: &Node, holder: Holder, out: &Output<'_>) -> Result<Done, NodeError> {
    let store = node.store();
    let mounts = node.mounts().list();
    let mounts = mounts.iter().map(|info| MountRow::of(node, info));
    let mounts: Vec<MountRow> = mounts.collect::<Result<_, _>>()?;
    let peers = peers(node);
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
            "bytes": bytes, "mounts": mounts, "peers": peers,
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
        if let Some(progress) = mount.progress() {
            out.line(format_args!("        {progress}"))?;
        }
    }
    for PeerRow { peer, received, sent, rate } in peers {
        let (received, sent, rate) = (size(received), size(sent), size(rate.unwrap_or(0)));
        out.line(format_args!("peer    {peer}: {received} received ({rate}/s), {sent} sent"))?;
    }
    Ok(Done::Whole)
}

/// What came from a peer, and went to it.
#[derive(serde::Serialize)]
struct PeerRow {
    peer: String,
    received: u64,
    sent: u64,
    rate: Option<u64>,
}

/// The peers with which content was exchanged since this process started.
fn peers(node: &Node) -> Vec<PeerRow> {
    let Some(swarm) = node.running_swarm() else { return Vec::new() };
    let row = |status: crate::swarm::exchange::PeerStatus| PeerRow {
        peer: status.peer.to_string(),
        received: status.progress.map_or(0, |progress| progress.counts.good_len),
        sent: status.sent_len,
        rate: status.progress.and_then(|progress| progress.rate),
    };
    let rows = swarm.exchange().status().1.into_iter().map(row);
    let mut rows: Vec<PeerRow> = rows.filter(|row| row.received + row.sent > 0).collect();
    rows.sort_by(|a, b| a.peer.cmp(&b.peer));
    rows
}

/// The command line of this process, shortened.
pub(super) fn command() -> String {
    let args = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned());
    args.take(6).collect::<Vec<_>>().join(" ")
}
