//! The rows of the objects that are sent, in the order of their keys, from one snapshot.
//!
//! Many of them: one pass over membership and rows side by side. Few: they are looked up.

use crate::db::{Cursor, Db, Family, Snapshot, keys};
use crate::error::{Result, StoreError};
use crate::id::{ObjectId, RepoId};
use crate::objects::{LOOKUP_COUNT, ROW_LOOKUP_COUNT};

/// From one in so many of the stored objects on, a pass over all of them is cheaper than looking
/// each up.
const SCAN_SHARE: u64 = 8;

/// Calls `take` with the position and the row of each id.
///
/// # Errors
/// [`StoreError::MissingObject`] for an id that is not a member or not stored.
pub(super) fn each(
    db: &Db,
    snapshot: &Snapshot<'_>,
    repo: RepoId,
    ids: &[ObjectId],
    take: &mut dyn FnMut(u32, &[u8]) -> Result<()>,
) -> Result<()> {
    if ids.len() as u64 >= db.row_count_estimate(Family::Object)? / SCAN_SHARE {
        scan(snapshot, repo, ids, take)
    } else {
        look_up(snapshot, repo, ids, take)
    }
}

fn scan(
    snapshot: &Snapshot<'_>,
    repo: RepoId,
    ids: &[ObjectId],
    take: &mut dyn FnMut(u32, &[u8]) -> Result<()>,
) -> Result<()> {
    let mut members = Members::new(snapshot, repo, ids.len());
    let mut objects = snapshot.cursor(Family::Object, &[]);
    for (ids, start) in ids.chunks(LOOKUP_COUNT).zip((0..).step_by(LOOKUP_COUNT)) {
        members.check(ids)?;
        for (id, index) in ids.iter().zip(start..) {
            let value = objects.find(id.as_bytes())?;
            take(index, value.ok_or(StoreError::MissingObject { id: *id })?)?;
        }
    }
    Ok(())
}

fn look_up(
    snapshot: &Snapshot<'_>,
    repo: RepoId,
    ids: &[ObjectId],
    take: &mut dyn FnMut(u32, &[u8]) -> Result<()>,
) -> Result<()> {
    let mut members = Members::new(snapshot, repo, ids.len());
    for (ids, start) in ids.chunks(LOOKUP_COUNT).zip((0..).step_by(LOOKUP_COUNT)) {
        members.check(ids)?;
        let mut index = start;
        for ids in ids.chunks(ROW_LOOKUP_COUNT) {
            let values = snapshot.multi_get(Family::Object, ids.iter().map(ObjectId::as_bytes))?;
            for (id, value) in ids.iter().zip(values) {
                let value = value.ok_or(StoreError::MissingObject { id: *id })?;
                take(index, &value)?;
                index += 1;
            }
        }
    }
    Ok(())
}

/// Checks that ids are members of a repository, in the order of their keys.
struct Members<'a> {
    snapshot: &'a Snapshot<'a>,
    repo: RepoId,
    /// For many ids: a repository's members stand side by side, and most of them are sent.
    cursor: Option<Cursor<'a>>,
}

impl<'a> Members<'a> {
    fn new(snapshot: &'a Snapshot<'a>, repo: RepoId, count: usize) -> Self {
        let cursor = (count > LOOKUP_COUNT)
            .then(|| snapshot.cursor(Family::RepoObject, &keys::repo_prefixed(repo, &[])));
        Self { snapshot, repo, cursor }
    }

    fn check(&mut self, ids: &[ObjectId]) -> Result<()> {
        let keys = ids.iter().map(|id| keys::repo_object(self.repo, id));
        let absent = match &mut self.cursor {
            Some(cursor) => {
                let mut absent = None;
                for (index, key) in keys.enumerate() {
                    if cursor.find(&key)?.is_none() {
                        absent = Some(index);
                        break;
                    }
                }
                absent
            }
            None => {
                let keys: Vec<_> = keys.collect();
                let found = self.snapshot.multi_get(Family::RepoObject, &keys)?;
                found.iter().position(Option::is_none)
            }
        };
        match absent {
            Some(index) => Err(StoreError::MissingObject { id: ids[index] }),
            None => Ok(()),
        }
    }
}
