//! `cache`: how much content of mounted repositories stays.

use mega_storage::EvictReport;

use super::output::{Done, Output, count, size};
use super::parse;
use crate::control::{CacheCall, Request};
use crate::node::{Node, NodeError};

/// Show and limit the content that was fetched for mounts
///
/// Repositories that were mounted from a server or a peer keep what was fetched. With a limit, the
/// content of their LFS files that exceeds it is removed, the least recently read files first, and
/// fetched again when it is read. What a repository that was imported or pushed here has too stays,
/// and so do pinned repositories ('mega-store pin'), what is being read, and git's own objects.
///
/// The process that serves mounts keeps to the limit in the background; a new limit holds at once.
#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
Examples:
  mega-store cache                what there is, by repository
  mega-store cache limit 200g
  mega-store cache limit none

With --json one object: limit (null for none), used, repos [{repo, pinned, files, bytes}]: used is
what may be removed, in plain bytes.")]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(clap::Subcommand, Debug)]
enum Verb {
    /// Set the limit, and remove what exceeds it; show it when no SIZE is given
    #[command(after_long_help = "\
With --json one object: limit, removed, files, used, complete: false when more had to go and is in
use.")]
    Limit {
        /// Bytes, or with k, m, g or t, as 200g; 'none' for no limit
        #[arg(value_name = "SIZE|none", value_parser = limit)]
        limit: Option<Limit>,
    },
    /// Remove what exceeds the limit now
    #[command(after_long_help = "With --json one object as of 'cache limit'.")]
    Evict,
}

#[derive(Clone, Copy, Debug)]
struct Limit(Option<u64>);

fn limit(text: &str) -> Result<Limit, String> {
    match text {
        "none" => Ok(Limit(None)),
        size => parse::size(size).map(|len| Limit(Some(len))),
    }
}

impl Args {
    pub(super) fn request(&self) -> Request {
        Request::Cache(match &self.verb {
            None | Some(Verb::Limit { limit: None }) => CacheCall::Show,
            Some(Verb::Limit { limit: Some(Limit(len)) }) => CacheCall::Limit(*len),
            Some(Verb::Evict) => CacheCall::Evict,
        })
    }
}

pub(super) fn answer(node: &Node, call: &CacheCall, out: &Output<'_>) -> Result<Done, NodeError> {
    let store = node.store();
    match call {
        CacheCall::Show => show(node, out)?,
        CacheCall::Limit(len) => {
            store.set_cache_limit(*len)?;
            tell(&store.evict(out.progress())?, *len, out)?;
        }
        CacheCall::Evict => {
            tell(&store.evict(out.progress())?, store.cache_limit()?, out)?;
        }
    }
    Ok(Done::Whole)
}

fn shown(limit: Option<u64>) -> String {
    limit.map_or_else(|| "none".to_owned(), size)
}

fn show(node: &Node, out: &Output<'_>) -> Result<(), NodeError> {
    let used = node.store().cache_use()?;
    if out.is_json() {
        let repos = used.repos.iter().map(|repo| {
            serde_json::json!({
                "repo": repo.name.as_str(), "pinned": repo.is_pinned, "files": repo.file_count,
                "bytes": repo.len,
            })
        });
        return out.json(&serde_json::json!({
            "limit": used.limit_len, "used": used.len, "repos": repos.collect::<Vec<_>>(),
        }));
    }
    out.line(format_args!("limit   {}", shown(used.limit_len)))?;
    out.line(format_args!("used    {}", size(used.len)))?;
    for repo in &used.repos {
        let pinned = if repo.is_pinned { ", pinned" } else { "" };
        let files = count(repo.file_count, "LFS file");
        out.line(format_args!("repo    {}: {files}, {}{pinned}", repo.name, size(repo.len)))?;
    }
    Ok(())
}

fn tell(report: &EvictReport, limit: Option<u64>, out: &Output<'_>) -> Result<(), NodeError> {
    if out.is_json() {
        out.json(&serde_json::json!({
            "limit": limit, "removed": report.len, "files": report.file_count,
            "used": report.left_len, "complete": !report.is_short,
        }))?;
    }
    let files = count(report.file_count, "file");
    let (removed, left) = (size(report.len), size(report.left_len));
    out.note(format_args!("limit {}: {removed} of {files} removed, {left} used", shown(limit)));
    if report.is_short {
        out.note(format_args!("more has to go, and is in use: it goes later"));
    }
    Ok(())
}
