//! What is done to a repository as a whole and needs more than one store.

use mega_storage::{Expect, RefEdit, RefName, RefTarget, RefTransaction, Repo, RepoName};

use super::{Node, NodeError};

/// Deletes a repository that is not mounted here.
///
/// # Errors
/// [`NodeError::RepoMounted`], and when there is none.
pub fn delete_repo(node: &Node, name: &RepoName) -> Result<(), NodeError> {
    let repo = node.store().repos().get(name)?;
    if let Some(mount) = node.mounts().list().into_iter().find(|mount| mount.repo_id == repo.id) {
        return Err(NodeError::RepoMounted { name: name.clone(), dir: mount.dir });
    }
    Ok(node.store().repos().delete(name)?)
}

/// The branch that HEAD stands on, or the id where it stands on none, as text; `None` when there is
/// no HEAD.
///
/// # Errors
/// When the store cannot be read.
pub fn head_branch(node: &Node, repo: &Repo) -> Result<Option<String>, NodeError> {
    Ok(node.store().refs().get(repo.id, &RefName::head())?.map(|head| match head {
        RefTarget::Symbolic(name) => name.to_string(),
        RefTarget::Direct(id) => id.to_string(),
    }))
}

/// Puts HEAD on a branch, given by its short or full name. The branch may be missing only in a
/// repository without references.
///
/// # Errors
/// [`NodeError::NoBranch`].
pub fn set_head(node: &Node, name: &RepoName, branch: &str) -> Result<RefName, NodeError> {
    let repo = node.store().repos().get(name)?;
    let refs = node.store().refs();
    let full = if branch.starts_with("refs/") {
        RefName::new(branch.as_bytes())?
    } else {
        RefName::new(format!("refs/heads/{branch}").as_bytes())?
    };
    if refs.get(repo.id, &full)?.is_none() && !refs.list(repo.id, b"refs/")?.is_empty() {
        return Err(NodeError::NoBranch { name: name.clone(), branch: branch.to_owned() });
    }
    let new = Some(RefTarget::Symbolic(full.clone()));
    let edit = RefEdit { name: RefName::head(), expect: Expect::Any, new };
    refs.apply(repo.id, &RefTransaction { edits: vec![edit] })?;
    Ok(full)
}
