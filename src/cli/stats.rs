//! `stats`: what the store, or one repository, has.

use mega_storage::RepoName;

use super::output::{Done, Output, count, size};
use super::parse;
use crate::control::Request;
use crate::node::{Node, NodeError};

/// Show numbers of the store, or of one repository
///
/// Of a repository: objects, references, LFS files and their length. Of the store: repositories,
/// chunks with their plain and stored length, and the bytes on the disk by column family.
#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
With --json one object. With NAME: repo, objects, refs, lfs_files, lfs_bytes, lfs_missing.
Without: repos, chunks, chunk_bytes, chunk_stored_bytes, families {name: bytes}.")]
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
    let objects = store.objects().member_count(repo.id)?;
    let refs = store.refs().list(repo.id, b"refs/")?.len();
    let mut pointers: Vec<_> =
        store.objects().pointers(repo.id)?.into_iter().map(|(_, pointer)| pointer).collect();
    pointers.sort_unstable_by_key(|pointer| pointer.file);
    pointers.dedup_by_key(|pointer| pointer.file);
    let (mut files, mut len, mut missing) = (0u64, 0u64, 0u64);
    for pointer in pointers {
        if store.files().has(repo.id, &pointer.file)? {
            files += 1;
            len = len.saturating_add(pointer.len);
        } else {
            missing += 1;
        }
    }
    if out.is_json() {
        return out.json(&serde_json::json!({
            "repo": name.as_str(), "objects": objects, "refs": refs,
            "lfs_files": files, "lfs_bytes": len, "lfs_missing": missing,
        }));
    }
    out.line(format_args!("objects    {}", count(objects, "object")))?;
    out.line(format_args!("refs       {}", count(refs as u64, "ref")))?;
    out.line(format_args!("LFS        {}, {}", count(files, "file"), size(len)))?;
    out.line(format_args!("missing    {}", count(missing, "LFS file")))
}

fn of_store(node: &Node, out: &Output<'_>) -> Result<(), NodeError> {
    let store = node.store();
    let repos = store.repos().list()?.len();
    let chunks = store.files().chunk_totals()?;
    let families = store.family_lens()?;
    if out.is_json() {
        let families: serde_json::Map<String, serde_json::Value> =
            families.into_iter().map(|(name, len)| (name.to_owned(), len.into())).collect();
        return out.json(&serde_json::json!({
            "repos": repos, "chunks": chunks.count, "chunk_bytes": chunks.plain_len,
            "chunk_stored_bytes": chunks.stored_len, "families": families,
        }));
    }
    let (plain, stored) = (size(chunks.plain_len), size(chunks.stored_len));
    out.line(format_args!("repositories    {repos}"))?;
    out.line(format_args!("chunks          {} of {plain}, {stored} stored", chunks.count))?;
    for (name, len) in families {
        out.line(format_args!("{name:15} {}", size(len)))?;
    }
    Ok(())
}
