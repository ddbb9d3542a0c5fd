//! References of all repositories: compare-and-swap transactions, symbolic references, no
//! file-directory conflicts.
//!
//! A transaction is all or nothing: one synced batch with its outbox rows, under the store's commit
//! lock. Invariants: a direct target is an object of the repository when it is written; no
//! reference's name is a directory of another's. A symbolic reference may point to nothing yet (an
//! unborn branch). What would change nothing is not written.

mod conflict;
mod each;

use std::sync::Arc;

use crate::db::{Db, Family, OwnedRow, keys};
use crate::error::{Result, StoreError};
use crate::id::{ObjectId, RepoId};
use crate::name::RefName;
use crate::outbox::{self, Outbox, OutboxEdit, damaged};
use crate::repos::now_unix;
use crate::row::RowReader;

/// Most edits in one transaction; the largest public mirrors have several hundred thousand
/// references.
pub const REF_EDITS_MAX: usize = 1_000_000;
/// Most bytes of names and targets in one transaction: the batch is held in memory.
pub const REF_EDITS_LEN_MAX: usize = 256 << 20;
/// Most symbolic references followed one after the other, as in git.
pub const SYMREF_HOPS_MAX: usize = 5;

/// Keys looked up in one go.
const LOOKUP_COUNT: usize = 4096;
const TAG_DIRECT: u8 = 1;
const TAG_SYMBOLIC: u8 = 2;

/// What a reference points to.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum RefTarget {
    /// An object.
    Direct(ObjectId),
    /// Another reference, which may be absent.
    Symbolic(RefName),
}

/// What a reference must be for an edit to go through.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Expect {
    /// Anything.
    Any,
    /// Not there.
    Absent,
    /// Exactly this.
    Is(RefTarget),
}

/// One change of one reference. A symbolic reference is changed itself, not what it points to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RefEdit {
    /// The reference.
    pub name: RefName,
    /// What it must be now.
    pub expect: Expect,
    /// What it becomes; `None` deletes it.
    pub new: Option<RefTarget>,
}

/// Changes that happen all or not at all.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RefTransaction {
    /// The changes, at most one a reference, in any order.
    pub edits: Vec<RefEdit>,
}

/// References by repository and name.
pub struct RefStore {
    db: Arc<Db>,
}

impl RefTarget {
    /// The row's value: a tag byte, then the id or the name.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let (tag, bytes) = match self {
            Self::Direct(id) => (TAG_DIRECT, &id.as_bytes()[..]),
            Self::Symbolic(name) => (TAG_SYMBOLIC, name.as_bytes()),
        };
        [&[tag], bytes].concat()
    }

    /// The inverse of [`Self::encode`].
    pub(crate) fn decode(row: &[u8]) -> Option<Self> {
        let mut reader = RowReader::new(row);
        match reader.u8()? {
            TAG_DIRECT => ObjectId::from_slice(reader.rest()).map(Self::Direct),
            TAG_SYMBOLIC => RefName::new(reader.rest()).ok().map(Self::Symbolic),
            _ => None,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Direct(_) => ObjectId::LEN,
            Self::Symbolic(name) => name.as_bytes().len(),
        }
    }
}

impl std::fmt::Display for RefTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Direct(id) => id.fmt(f),
            Self::Symbolic(name) => write!(f, "ref: {name}"),
        }
    }
}

/// An edit whose expectation held and that changes something.
struct Change<'a> {
    name: &'a RefName,
    old: Option<RefTarget>,
    new: Option<&'a RefTarget>,
}

impl Change<'_> {
    /// The object that a direct reference becomes.
    fn direct(&self) -> Option<ObjectId> {
        match self.new {
            Some(RefTarget::Direct(id)) => Some(*id),
            Some(RefTarget::Symbolic(_)) | None => None,
        }
    }
}

impl RefStore {
    pub(crate) fn new(db: Arc<Db>) -> Self {
        Self { db }
    }

    /// What the reference points to; `None` when it is absent.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn get(&self, repo: RepoId, name: &RefName) -> Result<Option<RefTarget>> {
        let key = keys::reference(repo, name);
        self.db.get(Family::Ref, &key)?.map(|row| decode_row(&key, &row)).transpose()
    }

    /// The object at the end of a chain of at most [`SYMREF_HOPS_MAX`] symbolic references; `None`
    /// when the chain ends in an absent reference, or does not end.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn resolve(&self, repo: RepoId, name: &RefName) -> Result<Option<ObjectId>> {
        let mut target = self.get(repo, name)?;
        for _ in 0..SYMREF_HOPS_MAX {
            match target {
                None => return Ok(None),
                Some(RefTarget::Direct(id)) => return Ok(Some(id)),
                Some(RefTarget::Symbolic(next)) => target = self.get(repo, &next)?,
            }
        }
        Ok(match target {
            Some(RefTarget::Direct(id)) => Some(id),
            _ => None,
        })
    }

    /// All references whose name starts with `prefix`, ascending by the bytes of their names, from
    /// one consistent view. The empty prefix lists `HEAD` too.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn list(&self, repo: RepoId, prefix: &[u8]) -> Result<Vec<(RefName, RefTarget)>> {
        self.db
            .scan(Family::Ref, &keys::repo_prefixed(repo, prefix))
            .map(|row| {
                let (key, value) = row?;
                Ok((decode_name(&key)?, decode_row(&key, &value)?))
            })
            .collect()
    }

    /// At most `max` references whose names come after `after`, ascending: a list page by page.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn list_after(
        &self,
        repo: RepoId,
        after: &[u8],
        max: usize,
    ) -> Result<Vec<(RefName, RefTarget)>> {
        let (all, from) = (keys::repo_prefixed(repo, b""), keys::repo_prefixed(repo, after));
        let rows = self.db.scan_from(Family::Ref, &all, &from);
        let is_itself = |row: &Result<OwnedRow>| matches!(row, Ok((key, _)) if **key == from[..]);
        rows.filter(|row| !is_itself(row))
            .take(max)
            .map(|row| {
                let (key, value) = row?;
                Ok((decode_name(&key)?, decode_row(&key, &value)?))
            })
            .collect()
    }

    /// Carries out a transaction, durably, or changes nothing.
    ///
    /// # Errors
    /// [`StoreError::RefMoved`] when an expectation does not hold, [`StoreError::RefConflict`],
    /// [`StoreError::RefRepeated`], [`StoreError::MissingObject`] for a target that is not an
    /// object of the repository, [`StoreError::RepoGone`], [`StoreError::Limit`].
    pub fn apply(&self, repo: RepoId, transaction: &RefTransaction) -> Result<()> {
        let edits = sorted_edits(transaction)?;
        let _lock = self.db.commit_lock();
        self.db.check_repo(repo)?;
        let changes = self.compare(repo, &edits)?;
        if changes.is_empty() {
            return Ok(());
        }
        self.check_targets(repo, &changes)?;
        conflict::check(&self.db, repo, &changes)?;
        self.write(repo, changes)
    }

    /// Compares each edit's expectation with what is stored; leaves out what would change nothing.
    fn compare<'a>(&self, repo: RepoId, edits: &[&'a RefEdit]) -> Result<Vec<Change<'a>>> {
        let mut changes = Vec::new();
        for part in edits.chunks(LOOKUP_COUNT) {
            let keys: Vec<_> = part.iter().map(|edit| keys::reference(repo, &edit.name)).collect();
            let rows = self.db.multi_get(Family::Ref, &keys, true)?;
            for ((edit, key), row) in part.iter().zip(&keys).zip(rows) {
                let old = row.map(|row| decode_row(key, &row)).transpose()?;
                check_expectation(edit, old.as_ref())?;
                if old.as_ref() != edit.new.as_ref() {
                    changes.push(Change { name: &edit.name, old, new: edit.new.as_ref() });
                }
            }
        }
        Ok(changes)
    }

    fn check_targets(&self, repo: RepoId, changes: &[Change<'_>]) -> Result<()> {
        let mut ids: Vec<ObjectId> = changes
            .iter()
            .filter_map(|change| match change.new {
                Some(RefTarget::Direct(id)) => Some(*id),
                _ => None,
            })
            .collect();
        ids.sort_unstable();
        ids.dedup();
        for part in ids.chunks(LOOKUP_COUNT) {
            let keys: Vec<_> = part.iter().map(|id| keys::repo_object(repo, id)).collect();
            let rows = self.db.multi_get(Family::RepoObject, &keys, true)?;
            if let Some((id, _)) = part.iter().zip(rows).find(|(_, row)| row.is_none()) {
                return Err(StoreError::MissingObject { id: *id });
            }
        }
        Ok(())
    }

    /// A number that changes with every change of a reference, before that is acknowledged, and
    /// that no two stores of this process share. What was read after it was asked for holds for as
    /// long as it stays the same.
    pub fn version(&self) -> u64 {
        self.db.refs_version()
    }

    /// The queue of what transactions changed.
    pub fn outbox(&self) -> Outbox {
        Outbox::new(self.db.clone())
    }

    fn write(&self, repo: RepoId, changes: Vec<Change<'_>>) -> Result<()> {
        let mut batch = self.db.batch();
        let mut edits = Vec::with_capacity(changes.len());
        let at_unix = now_unix();
        // Before the batch: under the commit lock gc sees both or none.
        self.db.leases().note(repo, changes.iter().filter_map(Change::direct));
        for Change { name, old, new } in changes {
            if let Some(RefTarget::Direct(id)) = &old {
                let gone = keys::gone_ref(repo, at_unix, id);
                batch.put(Family::Gone, &gone, name.as_bytes());
            }
            let key = keys::reference(repo, name);
            match new {
                Some(target) => batch.put(Family::Ref, &key, &target.encode()),
                None => batch.delete(Family::Ref, &key),
            }
            edits.push(OutboxEdit { name: name.clone(), old, new: new.cloned() });
        }
        outbox::append(&self.db, &mut batch, repo, &edits)?;
        // Writing takes as much memory again as the batch.
        drop(edits);
        self.db.commit_into(repo, batch)
    }
}

/// The edits in order of their names, none twice, within the limits.
fn sorted_edits(transaction: &RefTransaction) -> Result<Vec<&RefEdit>> {
    limit("edits in a transaction", transaction.edits.len(), REF_EDITS_MAX)?;
    let edit_len =
        |edit: &RefEdit| edit.name.as_bytes().len() + edit.new.as_ref().map_or(0, RefTarget::len);
    let len = transaction.edits.iter().map(edit_len).sum();
    limit("bytes of names in a transaction", len, REF_EDITS_LEN_MAX)?;
    let mut edits: Vec<&RefEdit> = transaction.edits.iter().collect();
    edits.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    match edits.windows(2).find(|pair| pair[0].name == pair[1].name) {
        Some(pair) => Err(StoreError::RefRepeated { name: pair[0].name.clone() }),
        None => Ok(edits),
    }
}

fn limit(what: &'static str, actual: usize, limit: usize) -> Result<()> {
    if actual > limit {
        return Err(StoreError::Limit { what, limit: limit as u64, actual: actual as u64 });
    }
    Ok(())
}

fn check_expectation(edit: &RefEdit, actual: Option<&RefTarget>) -> Result<()> {
    let expected = match &edit.expect {
        Expect::Any => return Ok(()),
        Expect::Absent => None,
        Expect::Is(target) => Some(target),
    };
    if expected == actual {
        return Ok(());
    }
    let text = |target: Option<&RefTarget>| target.map_or("nothing".to_owned(), |t| t.to_string());
    Err(StoreError::RefMoved {
        name: edit.name.clone(),
        expected: text(expected),
        actual: text(actual),
    })
}

fn decode_row(key: &[u8], row: &[u8]) -> Result<RefTarget> {
    RefTarget::decode(row).ok_or_else(|| damaged(Family::Ref, key, "not a reference's target"))
}

/// The name in a row's key, after the repository's number.
fn decode_name(key: &[u8]) -> Result<RefName> {
    key.get(4..)
        .and_then(RefName::of_row)
        .ok_or_else(|| damaged(Family::Ref, key, "not a reference's name"))
}

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;
