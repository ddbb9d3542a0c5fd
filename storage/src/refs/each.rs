//! Many edits in one step, each for itself: those that cannot be made are told, the others are one
//! synced batch.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Change, RefEdit, RefStore, RefTransaction, check_expectation, conflict, decode_row,
    sorted_edits,
};
use crate::db::{Family, keys};
use crate::error::{Result, StoreError};
use crate::id::{ObjectId, RepoId};
use crate::name::RefName;

impl RefStore {
    /// Carries out the edits that can be, durably, all at once; returns those that cannot, by the
    /// reference's name.
    ///
    /// As if each were a transaction of its own: first the deletions, then the others in their
    /// order. What a failed edit stands in the way of fails too.
    ///
    /// # Errors
    /// When nothing at all was done: [`StoreError::RepoGone`], [`StoreError::Limit`],
    /// [`StoreError::RefRepeated`], a database that fails. The inner errors are those of
    /// [`Self::apply`].
    pub fn apply_each(
        &self,
        repo: RepoId,
        edits: &RefTransaction,
    ) -> Result<BTreeMap<RefName, StoreError>> {
        let sorted = sorted_edits(edits)?;
        let _lock = self.db.commit_lock();
        self.db.check_repo(repo)?;
        let mut failed: BTreeMap<&[u8], StoreError> = BTreeMap::new();
        let mut changes = self.compare_each(repo, &sorted, &mut failed)?;
        self.check_each_target(repo, &mut changes, &mut failed)?;
        let order: Vec<&RefEdit> = edits.edits.iter().collect();
        conflict::check_each(&self.db, repo, &mut changes, &order, &mut failed)?;
        if !changes.is_empty() {
            self.write(repo, changes)?;
        }
        let edits = edits.edits.iter();
        let failures = edits.filter_map(|edit| {
            failed.remove(edit.name.as_bytes()).map(|error| (edit.name.clone(), error))
        });
        Ok(failures.collect())
    }

    /// As `compare`, each for itself.
    fn compare_each<'a>(
        &self,
        repo: RepoId,
        edits: &[&'a RefEdit],
        failed: &mut BTreeMap<&'a [u8], StoreError>,
    ) -> Result<Vec<Change<'a>>> {
        let mut changes = Vec::new();
        for part in edits.chunks(super::LOOKUP_COUNT) {
            let keys: Vec<_> = part.iter().map(|edit| keys::reference(repo, &edit.name)).collect();
            let rows = self.db.multi_get(Family::Ref, &keys, true)?;
            for ((edit, key), row) in part.iter().zip(&keys).zip(rows) {
                let old = row.map(|row| decode_row(key, &row)).transpose()?;
                if let Err(error) = check_expectation(edit, old.as_ref()) {
                    failed.insert(edit.name.as_bytes(), error);
                } else if old.as_ref() != edit.new.as_ref() {
                    changes.push(Change { name: &edit.name, old, new: edit.new.as_ref() });
                }
            }
        }
        Ok(changes)
    }

    /// Leaves out changes whose target is no object of the repository.
    fn check_each_target<'a>(
        &self,
        repo: RepoId,
        changes: &mut Vec<Change<'a>>,
        failed: &mut BTreeMap<&'a [u8], StoreError>,
    ) -> Result<()> {
        let ids: BTreeSet<ObjectId> = changes.iter().filter_map(Change::direct).collect();
        let ids: Vec<ObjectId> = ids.into_iter().collect();
        let mut missing = BTreeSet::new();
        for part in ids.chunks(super::LOOKUP_COUNT) {
            let keys: Vec<_> = part.iter().map(|id| keys::repo_object(repo, id)).collect();
            let rows = self.db.multi_get(Family::RepoObject, &keys, true)?;
            missing.extend(part.iter().zip(rows).filter(|(_, r)| r.is_none()).map(|(id, _)| *id));
        }
        changes.retain(|change| match change.direct().filter(|id| missing.contains(id)) {
            None => true,
            Some(id) => {
                failed.insert(change.name.as_bytes(), StoreError::MissingObject { id });
                false
            }
        });
        Ok(())
    }

    /// Whether the repository has a reference whose name starts with `prefix`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn has_any(&self, repo: RepoId, prefix: &[u8]) -> Result<bool> {
        let mut rows = self.db.scan(Family::Ref, &keys::repo_prefixed(repo, prefix));
        Ok(rows.next().transpose()?.is_some())
    }
}
