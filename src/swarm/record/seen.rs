//! The newest record seen of each slot, over the store's rows: what is taken in once bars what is
//! older for good. Blocks.

use mega_storage::{SeenRecord, StoreError, SwarmStore};

use super::claims::RecordClaims;
use super::error::RecordError;
use super::key::{Slot, peer_bytes};
use super::rules::{Choice, Highest, RepoRecord, check, choose};
use crate::swarm::identity::Identity;

/// Why a record of this store's own was not made.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// It would break a rule.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Chooses among answers and what was seen before, and remembers the newest. `is_pinned` is for
/// what this store follows: it stays until the repository goes.
///
/// # Errors
/// The store's; refused answers are in the choice.
pub fn take_in<'a>(
    swarm: &SwarmStore,
    slot: &Slot,
    answers: impl IntoIterator<Item = &'a [u8]>,
    now_unix: u64,
    is_pinned: bool,
) -> Result<Choice, StoreError> {
    let publisher = peer_bytes(&slot.publisher);
    let seen = swarm.seen(&slot.rid, &publisher)?;
    let highest = seen.as_ref().map(|seen| Highest { seq: seen.seq, bytes: &seen.bytes });
    let mut choice = choose(answers, &slot.key(), now_unix, highest);
    let is_newest = match &choice.record {
        Some(record) => swarm.note_seen(&slot.rid, &publisher, &row(record, is_pinned))?,
        None => false,
    };
    if !is_newest {
        // None of the answers counts, or a newer one was noted meanwhile.
        choice.record = remembered(swarm, slot, now_unix)?;
    }
    Ok(choice)
}

/// The newest record seen of a slot, while it holds.
///
/// # Errors
/// When the database cannot be read.
pub fn remembered(
    swarm: &SwarmStore,
    slot: &Slot,
    now_unix: u64,
) -> Result<Option<RepoRecord>, StoreError> {
    let seen = swarm.seen(&slot.rid, &peer_bytes(&slot.publisher))?;
    Ok(seen.and_then(|seen| check(&seen.bytes, now_unix).ok()))
}

/// Signs the next record of this store's own, and remembers it; its number is chosen here. It is at
/// least the time, so that a store that was put back from a backup is heard again.
///
/// # Errors
/// [`PublishError`].
pub fn publish(
    swarm: &SwarmStore,
    identity: &Identity,
    claims: RecordClaims,
) -> Result<RepoRecord, PublishError> {
    let slot = claims.slot();
    let publisher = peer_bytes(&slot.publisher);
    let last = swarm.seen(&slot.rid, &publisher)?.map_or(0, |seen| seen.seq);
    let next = last.checked_add(1).ok_or(RecordError::Outranked { seq: last })?;
    let seq = next.max(claims.issued_unix);
    let record = RepoRecord::sign(identity, &RecordClaims { seq, ..claims })?;
    match swarm.note_seen(&slot.rid, &publisher, &row(&record, true))? {
        true => Ok(record),
        false => Err(RecordError::Outranked { seq }.into()),
    }
}

fn row(record: &RepoRecord, is_pinned: bool) -> SeenRecord {
    SeenRecord { seq: record.claims().seq, is_pinned, bytes: record.bytes().to_vec() }
}
