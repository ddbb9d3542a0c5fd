//! The outbox: a durable queue of what changed, written in the same batch as the change itself.
//!
//! A row holds up to [`EDITS_PER_ROW_MAX`] edits of one transaction; a longer transaction takes
//! several rows, all but the last marked [`OutboxRow::more`]. Rows are numbered without gaps and
//! numbers are never reused, even when all rows have been dropped: the counter has a row of its
//! own. Writers hold the commit lock.

#![deny(clippy::indexing_slicing)]

use std::sync::Arc;

use crate::db::{Batch, Db, Durability, Family};
use crate::error::{Result, StoreError};
use crate::id::RepoId;
use crate::name::RefName;
use crate::refs::RefTarget;
use crate::row::{RowReader, put_counted, put_varint};

/// Most edits in one row, so that a row stays far below a mebibyte with names of common length.
pub(crate) const EDITS_PER_ROW_MAX: usize = 4096;

/// Row of family `store` that holds the next number.
const NEXT_KEY: &[u8] = b"outbox_next";
const ROW_VERSION: u8 = 1;
const FLAG_MORE: u8 = 1;

/// One change of one reference.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OutboxEdit {
    /// The reference.
    pub name: RefName,
    /// What it was; `None` when it was made.
    pub old: Option<RefTarget>,
    /// What it became; `None` when it was deleted.
    pub new: Option<RefTarget>,
}

/// A row of the queue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OutboxRow {
    /// Its number, from 1.
    pub seq: u64,
    /// The repository; it may have been deleted since.
    pub repo: RepoId,
    /// The transaction goes on in the next row.
    pub more: bool,
    /// What changed.
    pub edits: Vec<OutboxEdit>,
}

/// The queue's readers' side.
pub struct Outbox {
    db: Arc<Db>,
}

impl Outbox {
    pub(crate) fn new(db: Arc<Db>) -> Self {
        Self { db }
    }

    /// The rows after number `after` (0 for all), ascending.
    ///
    /// # Errors
    /// Each item may be [`StoreError::DamagedRow`], or that the database cannot be read.
    pub fn rows_after(&self, after: u64) -> impl Iterator<Item = Result<OutboxRow>> + use<'_> {
        let from = after.saturating_add(1).to_be_bytes();
        self.db.scan_from(Family::Outbox, b"", &from).map(|row| {
            let (key, value) = row?;
            decode(&key, &value).ok_or_else(|| damaged(Family::Outbox, &key, "not an outbox row"))
        })
    }

    /// Drops the rows up to and with number `seq`: they have been dealt with.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn drop_through(&self, seq: u64) -> Result<()> {
        let mut batch = self.db.batch();
        for row in self.db.scan(Family::Outbox, b"") {
            let (key, _) = row?;
            if *key > seq.to_be_bytes()[..] {
                break;
            }
            batch.delete(Family::Outbox, &key);
        }
        self.db.commit(batch, Durability::Synced)
    }
}

/// Adds the edits of one transaction to `batch`. The caller holds the commit lock and commits the
/// batch.
pub(crate) fn append(
    db: &Db,
    batch: &mut Batch<'_>,
    repo: RepoId,
    edits: &[OutboxEdit],
) -> Result<()> {
    if edits.is_empty() {
        return Ok(());
    }
    let mut seq = next_seq(db)?;
    let row_count = edits.len().div_ceil(EDITS_PER_ROW_MAX);
    for (index, part) in edits.chunks(EDITS_PER_ROW_MAX).enumerate() {
        let more = index + 1 < row_count;
        batch.put(Family::Outbox, &seq.to_be_bytes(), &encode(repo, more, part));
        seq += 1;
    }
    batch.put(Family::Store, NEXT_KEY, &seq.to_be_bytes());
    Ok(())
}

fn next_seq(db: &Db) -> Result<u64> {
    match db.get(Family::Store, NEXT_KEY)? {
        None => Ok(1),
        Some(value) => match value.as_ref().try_into() {
            Ok(bytes) => Ok(u64::from_be_bytes(bytes)),
            Err(_) => Err(damaged(Family::Store, NEXT_KEY, "not a counter")),
        },
    }
}

fn encode(repo: RepoId, more: bool, edits: &[OutboxEdit]) -> Vec<u8> {
    let mut value = vec![ROW_VERSION, if more { FLAG_MORE } else { 0 }];
    value.extend_from_slice(&repo.0.to_be_bytes());
    put_varint(&mut value, edits.len() as u64);
    for edit in edits {
        put_counted(&mut value, edit.name.as_bytes());
        for target in [&edit.old, &edit.new] {
            let row = target.as_ref().map(RefTarget::encode).unwrap_or_default();
            put_counted(&mut value, &row);
        }
    }
    value
}

fn decode(key: &[u8], value: &[u8]) -> Option<OutboxRow> {
    let seq = u64::from_be_bytes(key.try_into().ok()?);
    let mut row = RowReader::new(value);
    if row.u8()? != ROW_VERSION {
        return None;
    }
    let more = row.u8()? & FLAG_MORE != 0;
    let repo = RepoId(row.u32()?);
    let count = row.varint()?;
    let mut edits = Vec::new();
    for _ in 0..count {
        let name = RefName::new(row.counted()?).ok()?;
        let old = target(row.counted()?)?;
        let new = target(row.counted()?)?;
        edits.push(OutboxEdit { name, old, new });
    }
    row.rest().is_empty().then_some(OutboxRow { seq, repo, more, edits })
}

fn target(row: &[u8]) -> Option<Option<RefTarget>> {
    if row.is_empty() { Some(None) } else { RefTarget::decode(row).map(Some) }
}

/// A row that is not what the format says.
pub(crate) fn damaged(family: Family, key: &[u8], reason: &'static str) -> StoreError {
    let key = key.iter().map(|byte| format!("{byte:02x}")).collect();
    StoreError::DamagedRow { family: family.name(), key, reason }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
#[path = "outbox_tests.rs"]
mod tests;
