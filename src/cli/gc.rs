//! `gc`: removes what nobody has any more, and gives the space back.

use mega_storage::{GcOptions, GcRepo, GcReport, GcWhy};

use super::output::{Done, Output, count, size};
use super::parse;
use crate::control::Request;
use crate::node::{Node, NodeError};

/// Remove what nobody has any more, and give the space back
///
/// Goes: git objects that no reference, mount or transfer of any repository reaches, LFS files that
/// no reachable pointer names, what a deleted repository had and no other has, chunks of no file.
/// What was given up less than --grace ago stays: by a reference that was deleted or moved, a
/// repository that was deleted, 'file remove', an upload that failed. LFS content that was
/// uploaded and that no push has named yet stays a day at least. 'file add' content stays until it
/// is removed, and what a mounted repository fetched is the cache's ('mega-store cache').
///
/// Pushes, uploads, clones, mounts and peers go on meanwhile. It may be ended at any time.
#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
Examples:
  mega-store gc --dry-run          what would go, by repository, and why
  mega-store gc
  mega-store gc --grace 0          also what was given up just now

With --json one object: dry_run, repos [{repo, number, why, reason, objects, object_bytes, files,
file_bytes, refs [{ref, oid, gone_unix}]}], objects, object_bytes, rebased, files, file_bytes,
chunks, chunk_bytes, bytes_before, bytes_after, notes. why is unreachable, deleted, leftover or
kept, with its reason; the repositories' numbers are what each loses, the others what the store
loses.")]
pub(super) struct Args {
    /// Say what would go, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// How long what was given up stays: a number with s, m, h, d or w; 0 for no longer
    #[arg(long, value_name = "D", default_value = "14d", value_parser = parse::grace)]
    grace: u64,
}

impl Args {
    pub(super) fn request(&self) -> Request {
        Request::Gc { dry_run: self.dry_run, grace_s: self.grace }
    }
}

pub(super) fn answer(
    node: &Node,
    dry_run: bool,
    grace_s: u64,
    out: &Output<'_>,
) -> Result<Done, NodeError> {
    let report = node.store().gc(&GcOptions { grace_s, dry_run }, out.progress())?;
    if out.is_json() {
        out.json(&json(&report, dry_run))?;
        return Ok(Done::Whole);
    }
    for repo in &report.repos {
        out.line(format_args!("{}", of_repo(repo)))?;
        for (name, id, _) in &repo.refs {
            out.line(format_args!("    {name} was {id}"))?;
        }
    }
    let GcReport { object_count, object_len, file_count, file_len, chunk_count, chunk_len, .. } =
        report;
    let (objects, files) = (count(object_count, "object"), count(file_count, "LFS file"));
    let chunks = count(chunk_count, "chunk");
    let verb = if dry_run { "would go" } else { "removed" };
    out.line(format_args!(
        "{verb}: {objects} ({}), {files} ({}), {chunks} ({} stored)",
        size(object_len),
        size(file_len),
        size(chunk_len)
    ))?;
    if !dry_run {
        let (before, after) = (size(report.before_len), size(report.after_len));
        out.line(format_args!("store: {before} before, {after} after"))?;
    }
    for note in &report.notes {
        out.note(format_args!("{note}"));
    }
    Ok(Done::Whole)
}

fn of_repo(repo: &GcRepo) -> String {
    let name =
        repo.name.as_ref().map_or_else(|| format!("(number {})", repo.id), |name| name.to_string());
    let why = match &repo.why {
        GcWhy::Unreachable => "no reference, mount or transfer reaches it",
        GcWhy::Deleted => "the repository was deleted",
        GcWhy::Leftover => "of no repository: something was cut off",
        GcWhy::Kept(reason) => return format!("{name}: left as it is: {reason}"),
    };
    let objects = count(repo.object_count, "object");
    let files = count(repo.file_count, "LFS file");
    let (object_len, file_len) = (size(repo.object_len), size(repo.file_len));
    format!("{name}: {objects} ({object_len}), {files} ({file_len}): {why}")
}

fn json(report: &GcReport, dry_run: bool) -> serde_json::Value {
    let repos = report.repos.iter().map(|repo| {
        let (why, reason) = match &repo.why {
            GcWhy::Unreachable => ("unreachable", None),
            GcWhy::Deleted => ("deleted", None),
            GcWhy::Leftover => ("leftover", None),
            GcWhy::Kept(reason) => ("kept", Some(reason)),
        };
        let refs = repo.refs.iter().map(|(name, id, at)| {
            serde_json::json!({"ref": name.to_string(), "oid": id.to_string(), "gone_unix": at})
        });
        serde_json::json!({
            "repo": repo.name.as_ref().map(|name| name.as_str()), "number": repo.id.0, "why": why,
            "reason": reason, "objects": repo.object_count, "object_bytes": repo.object_len,
            "files": repo.file_count, "file_bytes": repo.file_len,
            "refs": refs.collect::<Vec<_>>(),
        })
    });
    serde_json::json!({
        "dry_run": dry_run, "repos": repos.collect::<Vec<_>>(), "objects": report.object_count,
        "object_bytes": report.object_len, "rebased": report.rebased_count,
        "files": report.file_count, "file_bytes": report.file_len, "chunks": report.chunk_count,
        "chunk_bytes": report.chunk_len, "bytes_before": report.before_len,
        "bytes_after": report.after_len, "notes": report.notes,
    })
}
