//! One object, one chunk, looked at by itself and past every cache of ours.

use bytes::Bytes;

use crate::chunk::codec;
use crate::chunks::hash_chunk;
use crate::db::{Db, Family};
use crate::error::{Result, StoreError};
use crate::id::ObjectId;
use crate::manifest::ChunkRef;
use crate::object::{Object, hash_object};
use crate::objects::row::{Encoding, Row};
use crate::store::Store;

/// What a look found.
pub(super) enum Look<T> {
    /// It is what it should be.
    Sound(T),
    /// It has no row.
    Absent,
    /// It is damaged: how.
    Bad(String),
}

/// Makes an object from its rows and hashes it.
///
/// # Errors
/// When it is not the object's rows that are damaged.
pub(super) fn object(store: &Store, id: &ObjectId) -> Result<Look<Object>> {
    let reason = match store.objects().read_afresh(id) {
        Ok(None) => return Ok(Look::Absent),
        Ok(Some(object)) if hash_object(object.kind, &object.data) == Ok(*id) => {
            return Ok(Look::Sound(object));
        }
        Ok(Some(_)) => "its bytes do not have its id".to_owned(),
        Err(error) => reason_of(error)?,
    };
    Ok(Look::Bad(match damaged_base(store, id)? {
        Some(base) => format!("what it is made from, {base}, is damaged"),
        None => reason,
    }))
}

/// What the object is a delta of, when that is what is damaged.
fn damaged_base(store: &Store, id: &ObjectId) -> Result<Option<ObjectId>> {
    let row = match store.db().get(Family::Object, id.as_bytes()) {
        Ok(Some(row)) => row,
        Ok(None) => return Ok(None),
        Err(error) => return reason_of(error).map(|_| None),
    };
    let Ok(Encoding::Delta { base, .. }) = Row::parse(id, &row).map(|row| row.encoding) else {
        return Ok(None);
    };
    let is_sound = match store.objects().read_afresh(&base) {
        Ok(object) => object.is_some_and(|o| hash_object(o.kind, &o.data) == Ok(base)),
        Err(error) => reason_of(error).map(|_| false)?,
    };
    Ok((!is_sound).then_some(base))
}

/// Reads, decodes and hashes a chunk; with its bytes the length of its row.
///
/// # Errors
/// When it is not the row that is damaged.
pub(super) fn chunk(db: &Db, chunk: &ChunkRef) -> Result<Look<(Bytes, usize)>> {
    let row = match db.get(Family::Chunk, chunk.id.as_bytes()) {
        Ok(Some(row)) => row,
        Ok(None) => return Ok(Look::Absent),
        Err(error) => return reason_of(error).map(Look::Bad),
    };
    Ok(match codec::decode(&row, chunk.len) {
        Ok(plain) if hash_chunk(&plain) == chunk.id => Look::Sound((plain, row.len())),
        Ok(_) => Look::Bad("its bytes do not have its hash".to_owned()),
        Err(reason) => Look::Bad(reason.to_owned()),
    })
}

/// Whether a row is known not to be there: one that cannot be read may be.
///
/// # Errors
/// When it is not the row that is damaged.
pub(super) fn is_absent(db: &Db, family: Family, key: &[u8]) -> Result<bool> {
    match db.contains(family, key) {
        Ok(is_there) => Ok(!is_there),
        Err(error) => reason_of(error).map(|_| false),
    }
}

/// The words for damage.
///
/// # Errors
/// The error itself, when it does not speak of damage.
pub(super) fn reason_of(error: StoreError) -> Result<String> {
    match error {
        StoreError::Db { .. } | StoreError::MissingObject { .. } => Ok(error.to_string()),
        StoreError::DamagedRow { family: "object", reason, .. } => Ok(reason.to_owned()),
        StoreError::DamagedRow { .. } | StoreError::MalformedObject { .. } => Ok(error.to_string()),
        StoreError::DamagedChunk { reason, .. } => Ok(reason.to_owned()),
        other => Err(other),
    }
}
