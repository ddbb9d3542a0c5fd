//! `stats`: what the store, or one repository, has.

use mega_storage::{ContentStats, RepoName, StoreStats};

use super::output::{Done, Output, count, size};
use super::parse;
use crate::control::Request;
use crate::node::{Node, NodeError};

/// Show numbers of the store, or of one repository
///
/// Logical is what the repositories have, each for itself: objects inflated, and LFS files. Unique
/// counts equal content once, stored is what that takes. Garbage is what no repository has any
/// more; 'gc --dry-run' says all that could go.
#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
With --json one object: logical_bytes, unique_bytes, stored_bytes, dedup_ratio (logical / unique),
compression_ratio (unique / stored), objects, object_bytes, object_stored_bytes, lfs_files,
lfs_bytes, chunks, chunk_bytes, chunk_stored_bytes. With NAME also: repo, refs, lfs_missing.
Without: repos, families {name: bytes},
garbage {objects, object_stored_bytes, chunks, chunk_stored_bytes}.")]
pub(super) struct Args {
    /// The repository
    #[arg(value_parser = parse::repo_name)]
    name: Option<String>,
}

impl Args {
    pub(super) fn request(&self) -> Request {
        Request::Stats { repo: self.name.clone() }
    }
}

pub(super) fn answer(node: &Node, repo: Option<&str>, out: &Output<'_>) -> Result<Done, NodeError> {
    match repo {
        Some(repo) => of_repo(node, &RepoName::new(repo)?, out)?,
        None => of_store(node, out)?,
    }
    Ok(Done::Whole)
}

fn of_repo(node: &Node, name: &RepoName, out: &Output<'_>) -> Result<(), NodeError> {
    let store = node.store();
    let repo = store.repos().get(name)?;
    let refs = store.refs().list(repo.id, b"refs/")?.len();
    let stats = store.repo_stats(repo.id)?;
    let mut missing = Vec::new();
    for (_, pointer) in store.objects().pointers(repo.id)? {
        if !store.files().has(repo.id, &pointer.file)? {
            missing.push(pointer.file);
        }
    }
    missing.sort_unstable();
    missing.dedup();
    let logical = stats.object_len.saturating_add(stats.file_len);
    if out.is_json() {
        let mut json = in_json(&stats, logical);
        json.insert("repo".to_owned(), name.as_str().into());
        json.insert("refs".to_owned(), refs.into());
        json.insert("lfs_missing".to_owned(), missing.len().into());
        return out.json(&serde_json::Value::from(json));
    }
    out.line(format_args!("refs          {refs}"))?;
    in_words(&stats, logical, out)?;
    out.line(format_args!("missing       {}", count(missing.len() as u64, "LFS file")))
}

fn of_store(node: &Node, out: &Output<'_>) -> Result<(), NodeError> {
    let store = node.store();
    let repos = store.repos().list()?.len();
    let StoreStats { all: stats, logical_len: logical, garbage } = store.stats()?;
    let families = store.family_lens()?;
    if out.is_json() {
        let families: serde_json::Map<String, serde_json::Value> =
            families.into_iter().map(|(name, len)| (name.to_owned(), len.into())).collect();
        let mut json = in_json(&stats, logical);
        json.insert("repos".to_owned(), repos.into());
        let garbage = serde_json::json!({
            "objects": garbage.object_count, "object_stored_bytes": garbage.object_stored_len,
            "chunks": garbage.chunk_count, "chunk_stored_bytes": garbage.chunk_stored_len,
        });
        json.insert("garbage".to_owned(), garbage);
        json.insert("families".to_owned(), families.into());
        return out.json(&serde_json::Value::from(json));
    }
    out.line(format_args!("repositories  {repos}"))?;
    in_words(&stats, logical, out)?;
    out.line(format_args!(
        "garbage       {} and {}, {}",
        count(garbage.object_count, "object"),
        count(garbage.chunk_count, "chunk"),
        size(garbage.stored_len())
    ))?;
    out.line(format_args!("on the disk:"))?;
    for (name, len) in families.into_iter().filter(|(_, len)| *len > 0) {
        out.line(format_args!("  {name:15} {}", size(len)))?;
    }
    Ok(())
}

/// One length over another; what is nothing has none.
fn ratio(over: u64, under: u64) -> Option<f64> {
    (under > 0).then(|| (over as f64 / under as f64 * 1000.0).round() / 1000.0)
}

fn in_json(stats: &ContentStats, logical: u64) -> serde_json::Map<String, serde_json::Value> {
    let (unique, stored) = (stats.unique_len(), stats.stored_len());
    let all = serde_json::json!({
        "logical_bytes": logical, "unique_bytes": unique, "stored_bytes": stored,
        "dedup_ratio": ratio(logical, unique), "compression_ratio": ratio(unique, stored),
        "objects": stats.object_count, "object_bytes": stats.object_len,
        "object_stored_bytes": stats.object_stored_len,
        "lfs_files": stats.file_count, "lfs_bytes": stats.file_len,
        "chunks": stats.chunk_count, "chunk_bytes": stats.chunk_len,
        "chunk_stored_bytes": stats.chunk_stored_len,
    });
    match all {
        serde_json::Value::Object(all) => all,
        _ => serde_json::Map::new(),
    }
}

fn in_words(stats: &ContentStats, logical: u64, out: &Output<'_>) -> Result<(), NodeError> {
    let (unique, stored) = (stats.unique_len(), stats.stored_len());
    let times = |ratio: Option<f64>| ratio.map_or(String::new(), |ratio| format!(" (1 : {ratio})"));
    let (objects, files) = (stats.object_count, stats.file_count);
    out.line(format_args!("objects       {objects}, {}", size(stats.object_len)))?;
    out.line(format_args!("LFS           {}, {}", count(files, "file"), size(stats.file_len)))?;
    out.line(format_args!("chunks        {}, {}", stats.chunk_count, size(stats.chunk_len)))?;
    out.line(format_args!("logical       {}", size(logical)))?;
    out.line(format_args!("unique        {}{}", size(unique), times(ratio(logical, unique))))?;
    out.line(format_args!("stored        {}{}", size(stored), times(ratio(unique, stored))))
}
