//! `pin`: content that stays whatever the limit.

use mega_storage::RepoName;

use super::output::{Done, Output};
use super::parse;
use crate::control::Request;
use crate::node::{Node, NodeError};

/// Keep the content of a mounted repository whatever the cache limit
///
/// Content of repositories that were mounted from a server or a peer may be removed when it exceeds
/// the limit of 'mega-store cache limit'; that of a pinned one stays. Repositories that were
/// imported or pushed here are whole, and nothing of them is ever removed so.
#[derive(clap::Args, Debug)]
#[command(after_long_help = "With --json one object: repo, pinned.")]
pub(super) struct Args {
    /// The repository
    #[arg(value_parser = parse::repo_name)]
    name: String,
    /// It may be removed again
    #[arg(long)]
    remove: bool,
}

impl Args {
    pub(super) fn request(&self) -> Request {
        Request::Pin { repo: self.name.clone(), remove: self.remove }
    }
}

pub(super) fn answer(
    node: &Node,
    repo: &str,
    remove: bool,
    out: &Output<'_>,
) -> Result<Done, NodeError> {
    let repo = node.store().repos().get(&RepoName::new(repo)?)?;
    if repo.partial {
        node.store().set_pinned(repo.id, !remove)?;
    }
    let is_pinned = repo.partial && !remove;
    if out.is_json() {
        out.json(&serde_json::json!({ "repo": repo.name.as_str(), "pinned": is_pinned }))?;
    }
    let word = match (repo.partial, remove) {
        (false, _) => "is whole: nothing of it is ever removed by the cache limit",
        (true, false) => "is pinned",
        (true, true) => "is not pinned",
    };
    out.note(format_args!("{} {word}", repo.name));
    Ok(Done::Whole)
}
