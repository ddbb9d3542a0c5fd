//! The start of a revision: a reference by its short name, an id, whole or cut short.

use super::{Resolver, peel};
use crate::error::{Result, StoreError};
use crate::id::ObjectId;
use crate::name::RefName;
use crate::object::ObjectKind;

/// Fewest digits of an abbreviated id, as in git.
const ABBREVIATION_LEN_MIN: usize = 4;
/// Objects with one abbreviation that are looked at to choose between them.
const CANDIDATES_MAX: usize = 1024;
/// Candidates that an error lists.
const LISTED_MAX: usize = 10;

/// What may stand before and after a short name, in the order of git's rules.
const RULES: [(&str, &str); 6] = [
    ("", ""),
    ("refs/", ""),
    ("refs/tags/", ""),
    ("refs/heads/", ""),
    ("refs/remotes/", ""),
    ("refs/remotes/", "/HEAD"),
];

/// What an abbreviation should stand for; it decides when several objects have it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wanted {
    /// Any object; when several have the abbreviation, the only one that leads to a commit.
    Any,
    /// What leads to a commit.
    Commit,
    /// What leads to a tree.
    Tree,
    /// A commit itself: what `git describe` prints ends in one.
    CommitOnly,
}

impl Resolver<'_> {
    pub(super) fn find_name(&self, name: &str, wanted: Wanted) -> Result<ObjectId> {
        if let Ok(id) = name.parse::<ObjectId>() {
            return match self.store.objects().is_member(self.repo.id, &id)? {
                true => Ok(id),
                false => Err(self.none("no object of the repository has this id")),
            };
        }
        if let Some(reason) = unsupported(name) {
            return Err(self.none(reason));
        }
        if let Some(id) = self.find_reference(name)? {
            return Ok(id);
        }
        if let Some(digits) = describe_digits(name) {
            match self.find_abbreviated(digits, Wanted::CommitOnly) {
                Ok(Some(id)) => return Ok(id),
                Ok(None) | Err(StoreError::NoRevision { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        if is_abbreviation(name)
            && let Some(id) = self.find_abbreviated(name, wanted)?
        {
            return Ok(id);
        }
        Err(self.none("no branch, tag, other reference or object has this name"))
    }

    fn find_reference(&self, name: &str) -> Result<Option<ObjectId>> {
        let name = if name == "@" { "HEAD" } else { name };
        for (before, after) in RULES {
            let full = [before, name, after].concat();
            let Ok(full) = RefName::new(full.as_bytes()) else { continue };
            if let Some(id) = self.store.refs().resolve(self.repo.id, &full)? {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    /// The object of the repository whose id starts with the digits; `None` when there is none.
    fn find_abbreviated(&self, digits: &str, wanted: Wanted) -> Result<Option<ObjectId>> {
        let digits = digits.to_ascii_lowercase();
        let objects = self.store.objects();
        let found = objects.members_with_prefix(self.repo.id, &digits, CANDIDATES_MAX + 1)?;
        if let [only] = found[..] {
            // Nothing to choose: whether it is of use shows at the next step.
            return Ok(Some(only));
        }
        let mut fitting = Vec::new();
        for id in found.iter().take(CANDIDATES_MAX) {
            if self.fits(id, wanted)? {
                fitting.push(*id);
            }
        }
        match (&found[..], &fitting[..]) {
            ([], _) => Ok(None),
            (_, [only]) if found.len() <= CANDIDATES_MAX => Ok(Some(*only)),
            (_, []) => Err(self.ambiguous(&found)),
            (_, several) => Err(self.ambiguous(several)),
        }
    }

    fn fits(&self, id: &ObjectId, wanted: Wanted) -> Result<bool> {
        let kind = match wanted {
            Wanted::CommitOnly => {
                let header = self.store.objects().header(id)?;
                return Ok(header.is_some_and(|header| header.kind == ObjectKind::Commit));
            }
            Wanted::Any | Wanted::Commit => ObjectKind::Commit,
            Wanted::Tree => ObjectKind::Tree,
        };
        match peel(self.store, id, kind).map_err(|error| self.explain(error)) {
            Ok(_) => Ok(true),
            Err(StoreError::NoRevision { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn ambiguous(&self, candidates: &[ObjectId]) -> StoreError {
        let mut listed: Vec<String> = Vec::new();
        for id in candidates.iter().take(LISTED_MAX) {
            let header = self.store.objects().header(id).ok().flatten();
            let kind = header.map_or("object", |header| header.kind.as_str());
            listed.push(format!("{kind} {id}"));
        }
        if candidates.len() > LISTED_MAX {
            listed.push("...".to_owned());
        }
        self.none(format!("the id is ambiguous, it starts {}", listed.join(", ")))
    }
}

fn is_abbreviation(name: &str) -> bool {
    (ABBREVIATION_LEN_MIN..ObjectId::LEN * 2).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_hexdigit())
}

/// The digits of `v1.0-14-g2414721`, the form that `git describe` prints.
fn describe_digits(name: &str) -> Option<&str> {
    let (before, digits) = name.rsplit_once("-g")?;
    (!before.is_empty() && is_abbreviation(digits)).then_some(digits)
}

/// Why git would understand the text, but not here.
fn unsupported(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        return Some("it does not start with a name");
    }
    if name.contains("@{") {
        return Some("reflogs and upstream branches are not kept");
    }
    if name.contains(':') {
        return Some("a path is given apart from the revision");
    }
    if name.contains("..") {
        return Some("it is a range, not one revision");
    }
    None
}
