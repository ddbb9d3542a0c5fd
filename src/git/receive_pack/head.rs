//! The current branch of a repository that had no branches before a push: one of those pushed.
//!
//! Git leaves HEAD where it is; whoever creates a repository by pushing to it expects what hosts
//! do.

use mega_storage::{Expect, RefEdit, RefName, RefTarget, RefTransaction, StoreError};

use super::Change;
use crate::git::Service;

const BRANCHES: &[u8] = b"refs/heads/";

/// Points a HEAD that leads nowhere at main, master, or the first branch that was pushed.
///
/// # Errors
/// When the store fails; not when somebody else has set HEAD meanwhile.
pub(super) fn point_at_pushed(
    service: &Service<'_>,
    changes: &[Change<'_>],
) -> Result<(), StoreError> {
    let (refs, repo) = (service.store.refs(), service.repo.id);
    let head = refs.get(repo, &RefName::head())?;
    let unborn = match &head {
        None => true,
        Some(RefTarget::Direct(_)) => false,
        Some(RefTarget::Symbolic(branch)) => refs.get(repo, branch)?.is_none(),
    };
    let branches = changes
        .iter()
        .filter(|(name, _, new)| new.is_some() && name.as_bytes().starts_with(BRANCHES));
    let mut branches: Vec<&RefName> = branches.map(|(name, _, _)| *name).collect();
    branches.sort_by_key(|name| match name.as_bytes() {
        b"refs/heads/main" => 0,
        b"refs/heads/master" => 1,
        _ => 2,
    });
    let Some(branch) = branches.first().filter(|_| unborn) else { return Ok(()) };
    let new = Some(RefTarget::Symbolic((*branch).clone()));
    let expect = head.map_or(Expect::Absent, Expect::Is);
    let edit = RefEdit { name: RefName::head(), expect, new };
    match refs.apply(repo, &RefTransaction { edits: vec![edit] }) {
        Err(StoreError::RefMoved { .. }) => Ok(()),
        applied => applied,
    }
}
