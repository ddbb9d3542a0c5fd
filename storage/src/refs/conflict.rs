//! Refuses names that would be both a file and a directory, as `refs/heads/a` and `refs/heads/a/b`.
//!
//! What counts is the state after the transaction: a reference that it deletes stands in nobody's
//! way. Only a name that is new can bring a conflict in, since there was none before.

use std::collections::{BTreeMap, BTreeSet};

use crate::db::{Db, Family, keys};
use crate::error::{Result, StoreError};
use crate::id::RepoId;
use crate::name::RefName;

use super::{Change, RefEdit, decode_name};

/// From this many new names on, one pass over all references is cheaper than looking each name up.
const ONE_PASS_COUNT: usize = if cfg!(test) { 3 } else { 128 };

/// References that the transaction leaves as they are, as far as they matter here.
enum Untouched<'a> {
    /// Looked up one by one.
    Stored { db: &'a Db, repo: RepoId, deleted: Vec<&'a [u8]> },
    /// Read in one pass, ascending.
    Loaded(Vec<RefName>),
}

/// Checks `changes`, which ascend by name, against each other and against what is stored.
pub(super) fn check(db: &Db, repo: RepoId, changes: &[Change<'_>]) -> Result<()> {
    let created: Vec<&RefName> =
        changes.iter().filter(|c| c.old.is_none()).map(|c| c.name).collect();
    if created.is_empty() {
        return Ok(());
    }
    let deleted = changes.iter().filter(|c| c.new.is_none()).map(|c| c.name.as_bytes()).collect();
    let untouched = if created.len() < ONE_PASS_COUNT {
        Untouched::Stored { db, repo, deleted }
    } else {
        Untouched::Loaded(load(db, repo, &deleted)?)
    };
    for name in &created {
        let other = match in_directory(&created, name) {
            Some(other) => Some(other),
            None => untouched.in_directory(name)?,
        };
        let other = match other {
            Some(other) => Some(other),
            None => untouched.above(&created, name)?,
        };
        if let Some(other) = other {
            return Err(StoreError::RefConflict { name: (*name).clone(), other });
        }
    }
    Ok(())
}

/// As [`check`], each creation for itself in the order of `order`: one that conflicts is left out
/// of `changes` and noted.
pub(super) fn check_each<'a>(
    db: &Db,
    repo: RepoId,
    changes: &mut Vec<Change<'a>>,
    order: &[&'a RefEdit],
    failed: &mut BTreeMap<&'a [u8], StoreError>,
) -> Result<()> {
    let created: BTreeSet<&[u8]> =
        changes.iter().filter(|c| c.old.is_none()).map(|c| c.name.as_bytes()).collect();
    if created.is_empty() {
        return Ok(());
    }
    let deleted: Vec<&[u8]> =
        changes.iter().filter(|c| c.new.is_none()).map(|c| c.name.as_bytes()).collect();
    let untouched = if created.len() < ONE_PASS_COUNT {
        Untouched::Stored { db, repo, deleted }
    } else {
        Untouched::Loaded(load(db, repo, &deleted)?)
    };
    let mut made: BTreeSet<&[u8]> = BTreeSet::new();
    for edit in order {
        let name = &edit.name;
        if !created.contains(name.as_bytes()) {
            continue;
        }
        let other = match beside(&made, name) {
            Some(other) => Some(other),
            None => match untouched.in_directory(name)? {
                Some(other) => Some(other),
                None => untouched.above(&[], name)?,
            },
        };
        match other {
            None => drop(made.insert(name.as_bytes())),
            Some(other) => {
                let name = name.clone();
                failed.insert(edit.name.as_bytes(), StoreError::RefConflict { name, other });
            }
        }
    }
    changes.retain(|change| !failed.contains_key(change.name.as_bytes()));
    Ok(())
}

/// One of `names` that is a directory of `name`, or lies in it.
fn beside(names: &BTreeSet<&[u8]>, name: &RefName) -> Option<RefName> {
    let directory = [name.as_bytes(), b"/"].concat();
    let below = names.range(directory.as_slice()..).next();
    let below = below.filter(|other| other.starts_with(&directory));
    let slashes = name.as_bytes().iter().enumerate().filter(|(_, byte)| **byte == b'/');
    let mut fronts = slashes.filter_map(|(index, _)| name.as_bytes().get(..index));
    let other = below.copied().or_else(|| fronts.find(|front| names.contains(front)))?;
    RefName::new(other).ok()
}

/// All references of the repository but the deleted ones.
fn load(db: &Db, repo: RepoId, deleted: &[&[u8]]) -> Result<Vec<RefName>> {
    let mut names = Vec::new();
    for row in db.scan(Family::Ref, &keys::repo_prefixed(repo, b"")) {
        let name = decode_name(&row?.0)?;
        if deleted.binary_search(&name.as_bytes()).is_err() {
            names.push(name);
        }
    }
    Ok(names)
}

/// The first of `names`, which ascend, that lies in the directory `name`.
fn in_directory<N: std::borrow::Borrow<RefName>>(names: &[N], name: &RefName) -> Option<RefName> {
    let directory = [name.as_bytes(), b"/"].concat();
    let index = names.partition_point(|other| other.borrow().as_bytes() < &directory[..]);
    let other = names.get(index)?.borrow();
    other.as_bytes().starts_with(&directory).then(|| other.clone())
}

fn holds<N: std::borrow::Borrow<RefName>>(names: &[N], name: &RefName) -> bool {
    names.binary_search_by(|other| other.borrow().cmp(name)).is_ok()
}

impl Untouched<'_> {
    fn in_directory(&self, name: &RefName) -> Result<Option<RefName>> {
        let (db, repo, deleted) = match self {
            Self::Loaded(names) => return Ok(in_directory(names, name)),
            Self::Stored { db, repo, deleted } => (db, *repo, deleted),
        };
        let directory = [name.as_bytes(), b"/"].concat();
        for row in db.scan(Family::Ref, &keys::repo_prefixed(repo, &directory)) {
            let other = decode_name(&row?.0)?;
            if deleted.binary_search(&other.as_bytes()).is_err() {
                return Ok(Some(other));
            }
        }
        Ok(None)
    }

    /// A reference, new or untouched, that is a directory of `name`.
    fn above(&self, created: &[&RefName], name: &RefName) -> Result<Option<RefName>> {
        let slashes = name.as_bytes().iter().enumerate().filter(|(_, byte)| **byte == b'/');
        for (index, _) in slashes {
            // `refs` alone cannot be a reference's name.
            let Ok(directory) = RefName::new(&name.as_bytes()[..index]) else { continue };
            let taken = holds(created, &directory)
                || match self {
                    Self::Loaded(names) => holds(names, &directory),
                    Self::Stored { db, repo, deleted } => {
                        deleted.binary_search(&directory.as_bytes()).is_err()
                            && db.contains(Family::Ref, &keys::reference(*repo, &directory))?
                    }
                };
            if taken {
                return Ok(Some(directory));
            }
        }
        Ok(None)
    }
}
