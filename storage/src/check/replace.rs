//! Putting sound rows in the place of damaged ones. Everything that comes here has its hash.

use super::finding::DamagedThing;
use crate::db::{Durability, Family, keys};
use crate::error::Result;
use crate::id::{FileId, ObjectId, RepoId};
use crate::object::pointer::parse_pointer;
use crate::object::{Object, ObjectKind};
use crate::objects::pointer_row;
use crate::store::Store;

/// Stores an object whole, with what is noted of it as a pointer. Deltas of it stay as they are:
/// the object is the same, and a whole one is below every delta.
pub(super) fn object(store: &Store, id: &ObjectId, object: &Object) -> Result<()> {
    let db = store.db();
    let (row, has_parts) = store.objects().whole_row(id, object)?;
    if has_parts {
        db.flush(&[Family::ObjectPart])?;
    }
    let lock = db.commit_lock();
    let mut batch = db.batch();
    batch.put(Family::Object, id.as_bytes(), &row);
    if let Some(pointer) = pointer_of(object) {
        batch.put(Family::ObjectPointer, id.as_bytes(), &pointer);
    }
    let written = db.commit(batch, Durability::Synced);
    // What was absent may be there now.
    db.bump_generation();
    drop(lock);
    store.objects().forget_cached(id);
    written
}

/// Notes of a blob what it is: a pointer, or none.
pub(super) fn pointer(store: &Store, id: &ObjectId, object: &Object) -> Result<()> {
    let db = store.db();
    let _lock = db.commit_lock();
    let mut batch = db.batch();
    match pointer_of(object) {
        Some(row) => batch.put(Family::ObjectPointer, id.as_bytes(), &row),
        None => batch.delete(Family::ObjectPointer, id.as_bytes()),
    }
    db.commit(batch, Durability::Synced)
}

fn pointer_of(object: &Object) -> Option<[u8; 40]> {
    let pointer = parse_pointer(&object.data).filter(|_| object.kind == ObjectKind::Blob);
    pointer.map(|pointer| pointer_row(&pointer))
}

/// Leads back from a file to a repository that has a right to it; whether it has.
pub(super) fn right(store: &Store, repo: RepoId, file: &FileId) -> Result<bool> {
    let db = store.db();
    if !store.files().has(repo, file)? {
        return Ok(false);
    }
    let mut batch = db.batch();
    batch.put(Family::FileRepo, &keys::file_repo(file, repo), &[]);
    db.commit(batch, Durability::Synced).map(|()| true)
}

/// Why there is no mending of what nothing else knows.
pub(super) fn no_source(what: &DamagedThing) -> &'static str {
    match what {
        DamagedThing::Range { .. } => {
            "what of it something names is listed by itself; a file of the database stays damaged \
             until the store is restored from a backup, or exported and imported"
        }
        DamagedThing::Row { .. } => "nothing else says what it was: restore a backup",
        DamagedThing::Object(_)
        | DamagedThing::Pointer(_)
        | DamagedThing::Chunk(_)
        | DamagedThing::File(_)
        | DamagedThing::Right(..) => "no source was given",
    }
}
