//! From a row to its content: down the chain of bases to a whole one, then all deltas at once.
//! Iterative.
//!
//! What is cached are the inflated streams as they are stored: a chain's whole base, and each
//! delta's instructions, which are small. So objects along one chain share all of it, and no
//! version between is ever materialised.

use bytes::Bytes;

use super::cache::{BaseCache, Weigh};
use super::compose::compose;

use super::row::{Encoding, Row};
use super::{inflate, part};
use crate::db::{Family, Rows};
use crate::error::{Result, StoreError};
use crate::id::ObjectId;
use crate::object::ObjectKind;

/// Times that a chain which is broken is gone down again.
const AGAIN_COUNT: usize = 2;

/// The inflated stream of a row.
#[derive(Clone)]
pub(crate) enum Inflated {
    /// An object's content, as it was inflated.
    Whole(ObjectKind, Bytes),
    /// An object's content, its hash checked.
    Verified(ObjectKind, Bytes),
    /// An object as instructions against another.
    Delta(Delta),
}

/// Instructions against another object.
#[derive(Clone)]
pub(crate) struct Delta {
    base: ObjectId,
    depth: u8,
    /// Length of the object, in bytes.
    len: u64,
    instructions: Bytes,
}

impl Weigh for Inflated {
    fn len(&self) -> usize {
        match self {
            Self::Whole(_, data) | Self::Verified(_, data) => data.as_ref().len(),
            Self::Delta(delta) => delta.instructions.as_ref().len(),
        }
    }
}

/// A whole object, and the deltas to apply to it, the last one first.
struct Chain {
    kind: ObjectKind,
    base: Bytes,
    deltas: Vec<Delta>,
}

/// Kind and content of an object; `None` when it is absent.
pub(crate) fn resolve(
    db: &dyn Rows,
    cache: &BaseCache<ObjectId, Inflated>,
    id: &ObjectId,
) -> Result<Option<(ObjectKind, Bytes)>> {
    finish(db, cache, id, descend(db, cache, id, None))
}

/// Kind and content of the object whose row was read already; its own stream is not kept.
pub(crate) fn resolve_row(
    db: &dyn Rows,
    cache: &BaseCache<ObjectId, Inflated>,
    id: &ObjectId,
    row: &Row<'_>,
) -> Result<Option<(ObjectKind, Bytes)>> {
    let chain = inflate_row(db, id, row).and_then(|first| descend(db, cache, id, Some(first)));
    finish(db, cache, id, chain)
}

/// Goes down a broken chain again, and applies the deltas of one that is whole.
fn finish(
    db: &dyn Rows,
    cache: &BaseCache<ObjectId, Inflated>,
    id: &ObjectId,
    mut chain: Result<Option<Chain>>,
) -> Result<Option<(ObjectKind, Bytes)>> {
    for _ in 0..AGAIN_COUNT {
        // Maintenance may have replaced a row since it was cached, or removed a base since the row
        // above it was read: what is on the disk decides.
        if !matches!(chain, Err(StoreError::DamagedRow { .. } | StoreError::MissingObject { .. })) {
            break;
        }
        cache.clear();
        chain = descend(db, cache, id, None);
    }
    let chain = chain?;
    let Some(Chain { kind, base, deltas }) = chain else { return Ok(None) };
    let Some(len) = deltas.first().map(|delta| delta.len) else { return Ok(Some((kind, base))) };
    let deltas: Vec<Bytes> = deltas.into_iter().rev().map(|delta| delta.instructions).collect();
    let data = compose(&base, &deltas, len).map_err(|reason| damaged(id, reason))?;
    Ok(Some((kind, Bytes::from(data))))
}

/// From `first`, the object's own stream, or from what is known under its id.
fn descend(
    db: &dyn Rows,
    cache: &BaseCache<ObjectId, Inflated>,
    id: &ObjectId,
    mut first: Option<Inflated>,
) -> Result<Option<Chain>> {
    let mut deltas: Vec<Delta> = Vec::new();
    let mut next = *id;
    loop {
        let inflated = match first.take().or_else(|| cache.get(&next)) {
            Some(hit) => hit,
            None => match inflate(db, &next)? {
                Some(inflated) => {
                    cache.put(next, inflated.clone());
                    inflated
                }
                None if deltas.is_empty() => return Ok(None),
                None => return Err(StoreError::MissingObject { id: next }),
            },
        };
        match inflated {
            Inflated::Whole(kind, base) | Inflated::Verified(kind, base) => {
                return Ok(Some(Chain { kind, base, deltas }));
            }
            Inflated::Delta(delta) => {
                if deltas.last().is_some_and(|above| delta.depth >= above.depth) {
                    // Invariant 1: a chain that does not descend could be a cycle.
                    return Err(damaged(
                        &next,
                        "its depth is not below that of a delta against it",
                    ));
                }
                next = delta.base;
                deltas.push(delta);
            }
        }
    }
}

fn inflate(db: &dyn Rows, id: &ObjectId) -> Result<Option<Inflated>> {
    let Some(value) = db.get(Family::Object, id.as_bytes())? else { return Ok(None) };
    inflate_row(db, id, &Row::parse(id, &value)?).map(Some)
}

fn inflate_row(db: &dyn Rows, id: &ObjectId, row: &Row<'_>) -> Result<Inflated> {
    let stream = part::stream(db, id, row)?;
    let mut data = Vec::new();
    inflate::inflate(&stream, row.encoding.stream_len(row.header.len), &mut data)
        .map_err(|reason| damaged(id, reason))?;
    let data = Bytes::from(data);
    Ok(match row.encoding {
        Encoding::Whole => Inflated::Whole(row.header.kind, data),
        Encoding::Delta { depth, base, .. } => {
            Inflated::Delta(Delta { base, depth, len: row.header.len, instructions: data })
        }
    })
}

pub(crate) fn damaged(id: &ObjectId, reason: &'static str) -> StoreError {
    StoreError::DamagedRow { family: "object", key: id.to_string(), reason }
}
