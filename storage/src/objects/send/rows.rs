//! The rows of the objects that are sent, in the order of their keys, from one snapshot.
//!
//! Many of them: one pass over membership and rows side by side. Few: they are looked up.

use crate::db::{Db, Family, Snapshot, keys};
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
    let mut members = snapshot.cursor(Family::RepoObject, &keys::repo_prefixed(repo, &[]));
    let mut objects = snapshot.cursor(Family::Object, &[]);
    for (index, id) in ids.iter().enumerate() {
        let missing = || StoreError::MissingObject { id: *id };
        members.find(&keys::repo_object(repo, id))?.ok_or_else(missing)?;
        let value = objects.find(id.as_bytes())?.ok_or_else(missing)?;
        take(index as u32, value)?;
    }
    Ok(())
}

fn look_up(
    snapshot: &Snapshot<'_>,
    repo: RepoId,
    ids: &[ObjectId],
    take: &mut dyn FnMut(u32, &[u8]) -> Result<()>,
) -> Result<()> {
    for (start, ids) in (0..).step_by(LOOKUP_COUNT).zip(ids.chunks(LOOKUP_COUNT)) {
        let keys: Vec<_> = ids.iter().map(|id| keys::repo_object(repo, id)).collect();
        let found = snapshot.multi_get(Family::RepoObject, &keys)?;
        if let Some((id, _)) = ids.iter().zip(found).find(|(_, row)| row.is_none()) {
            return Err(StoreError::MissingObject { id: *id });
        }
        let mut index = start as u32;
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
