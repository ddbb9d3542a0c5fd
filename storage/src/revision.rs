//! From what people write to an object: `main`, `v1.0^{}`, `HEAD~2`, `3fa9c1`, `@^2~3`.
//!
//! The grammar is git's (gitrevisions) as far as it needs no reflog, index, path or search: a name
//! or id, then any number of `~N`, `^N` and `^{kind}`, worked through from left to right without
//! recursion. Names are tried in git's order: as written, then under `refs/`, `refs/tags/`,
//! `refs/heads/`, `refs/remotes/`, and a remote's `HEAD`. Forty digits are an id whatever
//! references there are. Only objects of the repository are found.

#![deny(clippy::indexing_slicing)]

mod name;

use crate::error::{Result, StoreError};
use crate::id::ObjectId;
use crate::object::parse::{commit_info, kind_from_name, tag_target};
use crate::object::{Object, ObjectKind};
use crate::repos::Repo;
use crate::store::Store;
use name::Wanted;

/// Longest revision, in bytes: room for the longest reference and steps.
pub const REVISION_LEN_MAX: usize = 4096;
/// Most tags that may name each other in a row.
pub const TAG_DEPTH_MAX: usize = 1024;

/// Finds the object that a revision names.
///
/// # Errors
/// [`StoreError::NoRevision`] with the reason.
pub fn resolve_revision(store: &Store, repo: &Repo, text: &str) -> Result<ObjectId> {
    Resolver { store, repo, text }.resolve(Wanted::Any)
}

/// Finds the commit that a revision names, through tags.
///
/// # Errors
/// [`StoreError::NoRevision`] with the reason.
pub fn resolve_commit(store: &Store, repo: &Repo, text: &str) -> Result<ObjectId> {
    let resolver = Resolver { store, repo, text };
    let id = resolver.resolve(Wanted::Commit)?;
    resolver.peel(&id, ObjectKind::Commit)
}

/// Follows a tag to what it names, and a commit to its tree, until an object of the kind is
/// reached.
///
/// # Errors
/// [`StoreError::WrongKind`] when none is on the way, [`StoreError::MissingObject`],
/// [`StoreError::MalformedObject`], [`StoreError::Limit`] past [`TAG_DEPTH_MAX`].
pub fn peel(store: &Store, id: &ObjectId, to: ObjectKind) -> Result<ObjectId> {
    peel_to(store, id, Some(to))
}

/// Peels to an object of a kind; without one, to the first object that is no tag.
fn peel_to(store: &Store, id: &ObjectId, to: Option<ObjectKind>) -> Result<ObjectId> {
    let mut id = *id;
    for _ in 0..=TAG_DEPTH_MAX {
        let header = store.objects().header(&id)?.ok_or(StoreError::MissingObject { id })?;
        let kind = header.kind;
        if to.map_or(kind != ObjectKind::Tag, |to| to == kind) {
            return Ok(id);
        }
        let malformed = |reason| malformed(id, reason);
        id = match (kind, to) {
            (ObjectKind::Tag, _) => tag_target(&read(store, id)?.data).map_err(malformed)?.0,
            (ObjectKind::Commit, Some(ObjectKind::Tree)) => {
                commit_info(&read(store, id)?.data).map_err(malformed)?.tree
            }
            _ => {
                let expected = to.map_or("commit", ObjectKind::as_str);
                return Err(StoreError::WrongKind { id, expected, actual: kind.as_str() });
            }
        };
    }
    let (limit, actual) = (TAG_DEPTH_MAX as u64, TAG_DEPTH_MAX as u64 + 1);
    Err(StoreError::Limit { what: "tags that name each other", limit, actual })
}

fn read(store: &Store, id: ObjectId) -> Result<Object> {
    store.objects().read(&id)?.ok_or(StoreError::MissingObject { id })
}

fn malformed(id: ObjectId, reason: &str) -> StoreError {
    StoreError::MalformedObject { id, reason: reason.to_owned() }
}

/// A step from one object to another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// `~N`: back along first parents.
    Back(u32),
    /// `^N`: to the parent of this number; 0 is the commit itself.
    Parent(u32),
    /// `^{kind}`.
    Peel(ObjectKind),
    /// `^{}`: to what is no tag.
    PeelTags,
    /// `^{object}`: only that it is there.
    Exists,
}

impl Step {
    /// What the step can start from, which decides between objects with one abbreviation.
    fn wants(self) -> Wanted {
        match self {
            Self::Back(_) | Self::Parent(_) | Self::Peel(ObjectKind::Commit) => Wanted::Commit,
            Self::Peel(ObjectKind::Tree) => Wanted::Tree,
            Self::Peel(_) | Self::PeelTags | Self::Exists => Wanted::Any,
        }
    }
}

struct Resolver<'a> {
    store: &'a Store,
    repo: &'a Repo,
    text: &'a str,
}

impl Resolver<'_> {
    fn none(&self, reason: impl Into<String>) -> StoreError {
        let shown: String = self.text.chars().take(200).collect();
        StoreError::NoRevision { repo: self.repo.name.clone(), text: shown, reason: reason.into() }
    }

    fn resolve(&self, wanted: Wanted) -> Result<ObjectId> {
        if self.text.len() > REVISION_LEN_MAX {
            return Err(self.none(format!("it is longer than {REVISION_LEN_MAX} bytes")));
        }
        let name_len = self.text.find(['^', '~']).unwrap_or(self.text.len());
        let (name, steps) = self.text.split_at_checked(name_len).unwrap_or((self.text, ""));
        let steps = parse_steps(steps).map_err(|reason| self.none(reason))?;
        let mut id = self.find_name(name, steps.first().map_or(wanted, |step| step.wants()))?;
        for step in steps {
            id = self.take(step, id)?;
        }
        Ok(id)
    }

    fn peel(&self, id: &ObjectId, to: ObjectKind) -> Result<ObjectId> {
        peel(self.store, id, to).map_err(|error| self.explain(error))
    }

    /// What an object lacks is a reason that the revision names nothing; what the database lacks is
    /// not.
    fn explain(&self, error: StoreError) -> StoreError {
        match error {
            StoreError::WrongKind { .. }
            | StoreError::MissingObject { .. }
            | StoreError::MalformedObject { .. }
            | StoreError::Limit { .. } => self.none(error.to_string()),
            other => other,
        }
    }

    fn take(&self, step: Step, id: ObjectId) -> Result<ObjectId> {
        match step {
            Step::Back(count) => self.back(id, count),
            Step::Parent(number) => self.parent(&self.peel(&id, ObjectKind::Commit)?, number),
            Step::Peel(kind) => self.peel(&id, kind),
            Step::PeelTags => peel_to(self.store, &id, None).map_err(|error| self.explain(error)),
            Step::Exists => Ok(id),
        }
    }

    fn back(&self, id: ObjectId, count: u32) -> Result<ObjectId> {
        let mut id = self.peel(&id, ObjectKind::Commit)?;
        for done in 0..count {
            let parents = self.parents(&id)?;
            id = *parents.first().ok_or_else(|| {
                self.none(format!("there are only {done} commits before it along first parents"))
            })?;
        }
        Ok(id)
    }

    fn parent(&self, commit: &ObjectId, number: u32) -> Result<ObjectId> {
        let Some(index) = number.checked_sub(1) else {
            return Ok(*commit);
        };
        let parents = self.parents(commit)?;
        let parent = usize::try_from(index).ok().and_then(|index| parents.get(index));
        parent.copied().ok_or_else(|| {
            let count = parents.len();
            self.none(format!(
                "commit {commit} has {count} parents, there is none with number {number}"
            ))
        })
    }

    fn parents(&self, commit: &ObjectId) -> Result<Vec<ObjectId>> {
        let object = read(self.store, *commit).map_err(|error| self.explain(error))?;
        let info = commit_info(&object.data);
        info.map(|info| info.parents).map_err(|e| self.explain(malformed(*commit, e)))
    }
}

/// Reads what follows a name; the reason when it is not made of steps.
fn parse_steps(text: &str) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    let mut rest = text;
    while let Some(sign) = rest.chars().next() {
        let after = rest.get(sign.len_utf8()..).unwrap_or_default();
        if let ('^', Some(braced)) = (sign, after.strip_prefix('{')) {
            let (kind, after) = braced.split_once('}').ok_or("a '^{' has no '}'")?;
            steps.push(peel_step(kind)?);
            rest = after;
            continue;
        }
        let digits_len = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        let (digits, after) = after.split_at_checked(digits_len).unwrap_or((after, ""));
        let number = match digits {
            "" => 1,
            _ => digits
                .parse::<u32>()
                .ok()
                .filter(|number| i32::try_from(*number).is_ok())
                .ok_or_else(|| format!("{digits} is too large a number"))?,
        };
        steps.push(match sign {
            '~' => Step::Back(number),
            '^' => Step::Parent(number),
            _ => return Err(format!("'{rest}' is no step from a commit to another")),
        });
        rest = after;
    }
    Ok(steps)
}

fn peel_step(kind: &str) -> Result<Step, String> {
    match kind {
        "" => Ok(Step::PeelTags),
        "object" => Ok(Step::Exists),
        _ if kind.starts_with('/') => Err("commits cannot be searched by their message".to_owned()),
        _ => kind_from_name(kind.as_bytes())
            .map(Step::Peel)
            .ok_or_else(|| format!("'{kind}' is no kind of object")),
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests;
