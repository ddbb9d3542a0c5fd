//! Deflate streams too long for one row, in parts of [`PART_LEN`] bytes.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

use super::limits::PART_LEN;
use super::row::{Body, Parts, Row};
use crate::db::{Db, Durability, Family, Rows, keys};
use crate::error::{Result, StoreError};
use crate::id::ObjectId;

/// How many parts a stream of `len` bytes has.
pub(crate) fn part_count(len: u64) -> u64 {
    len.div_ceil(PART_LEN as u64)
}

/// The deflate stream of a row, all of it.
pub(crate) fn stream<'a>(db: &dyn Rows, id: &ObjectId, row: &Row<'a>) -> Result<Cow<'a, [u8]>> {
    let parts = match row.body {
        Body::Inline(stream) => return Ok(Cow::Borrowed(stream)),
        Body::Parts(parts) => parts,
    };
    let mut stream = Vec::new();
    for index in 0..part_count(parts.len) {
        stream.extend_from_slice(&read_part(db, id, index, &parts)?);
    }
    Ok(Cow::Owned(stream))
}

/// One part of a stream.
pub(crate) fn read_part(
    db: &dyn Rows,
    id: &ObjectId,
    index: u64,
    parts: &Parts,
) -> Result<Vec<u8>> {
    let damaged = |reason| StoreError::DamagedRow {
        family: "object_part",
        key: format!("{id} part {index}"),
        reason,
    };
    let number = u32::try_from(index).map_err(|_| damaged("there is no such part"))?;
    let key = keys::object_part(id, &parts.stream, number);
    let part = db.get(Family::ObjectPart, &key)?.ok_or_else(|| damaged("it is missing"))?;
    let expected = (parts.len - index * PART_LEN as u64).min(PART_LEN as u64);
    if part.len() as u64 != expected {
        return Err(damaged("it has another length than its object says"));
    }
    Ok(part.to_vec())
}

/// Writes a stream's parts past the log: they are durable after a flush of the family.
pub(crate) fn write_parts(db: &Db, id: &ObjectId, stream: &[u8]) -> Result<Parts> {
    let mut name = [0; 16];
    name.copy_from_slice(&Sha256::digest(stream)[..16]);
    for (index, part) in stream.chunks(PART_LEN).enumerate() {
        let index = u32::try_from(index).map_err(|_| StoreError::Limit {
            what: "parts of an object",
            limit: u64::from(u32::MAX),
            actual: index as u64,
        })?;
        let mut batch = db.batch();
        batch.put(Family::ObjectPart, &keys::object_part(id, &name, index), part);
        db.commit(batch, Durability::Unlogged)?;
    }
    Ok(Parts { len: stream.len() as u64, stream: name })
}
