//! The newest record seen of each repository and publisher: what is older is refused from then on,
//! also after the store was closed.

use super::{PeerIdBytes, RepoKey, SwarmStore, damaged, key, limit, share_to_drop};
use super::{ROW_VERSION, SEEN, SEEN_RECORDS_MAX, SWARM_RECORD_LEN_MAX};
use crate::db::{Batch, Durability, Family};
use crate::error::Result;
use crate::repos::now_unix;
use crate::row::RowReader;

const FLAG_PINNED: u8 = 1;

/// A record as it was seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SeenRecord {
    /// Its sequence number.
    pub seq: u64,
    /// It stays until its repository goes, however many others are seen: records of this store's
    /// own, and of the origins that it follows.
    pub is_pinned: bool,
    /// The record, checked by whoever brought it.
    pub bytes: Vec<u8>,
}

/// A row.
pub(super) struct Row {
    pub(super) record: SeenRecord,
    pub(super) noted_unix: u64,
}

impl SwarmStore {
    /// The newest record seen of a repository by a publisher.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn seen(&self, rid: &RepoKey, publisher: &PeerIdBytes) -> Result<Option<SeenRecord>> {
        let key = seen_key(rid, publisher);
        let row = self.db.get(Family::Swarm, &key)?;
        row.map(|row| Ok(decode(&key, &row)?.record)).transpose()
    }

    /// The newest records seen of a repository, by publisher.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn seen_of(&self, rid: &RepoKey) -> Result<Vec<(PeerIdBytes, SeenRecord)>> {
        let rows = self.db.scan(Family::Swarm, &key(SEEN, &[rid.as_bytes()])).map(|row| {
            let (key, value) = row?;
            let publisher = key.get(1 + RepoKey::LEN..).and_then(PeerIdBytes::new);
            let publisher = publisher.ok_or_else(|| damaged(&key, "not a publisher's key"))?;
            Ok((publisher, decode(&key, &value)?.record))
        });
        rows.collect()
    }

    /// Notes a record, durably, unless a newer one was seen: one with a higher number or, at the
    /// same number, with larger bytes. Says whether `record` is the newest now. One that is pinned
    /// stays pinned.
    ///
    /// # Errors
    /// [`crate::StoreError::Limit`] past [`SWARM_RECORD_LEN_MAX`].
    pub fn note_seen(
        &self,
        rid: &RepoKey,
        publisher: &PeerIdBytes,
        record: &SeenRecord,
    ) -> Result<bool> {
        limit("bytes of a record", SWARM_RECORD_LEN_MAX, record.bytes.len())?;
        let mut tallies = self.tallies.lock();
        let old = self.seen(rid, publisher)?;
        let was_pinned = old.as_ref().is_some_and(|old| old.is_pinned);
        if let Some(old) = &old {
            let (is, has) = ((record.seq, &record.bytes), (old.seq, &old.bytes));
            if is < has || (is == has && (was_pinned || !record.is_pinned)) {
                return Ok(is == has);
            }
        }
        let record = SeenRecord { is_pinned: record.is_pinned || was_pinned, ..record.clone() };
        let mut batch = self.db.batch();
        let is_counted = old.is_none() && !record.is_pinned;
        if is_counted {
            let count = self.make_room(tallies.seen.take(), &mut batch)?;
            tallies.seen = Some(count + 1);
        }
        let row = Row { record, noted_unix: now_unix() };
        batch.put(Family::Swarm, &seen_key(rid, publisher), &encode(&row));
        self.db.commit(batch, Durability::Synced)?;
        Ok(true)
    }

    /// How many rows are not pinned after those in `batch` have gone.
    fn make_room(&self, count: Option<usize>, batch: &mut Batch<'_>) -> Result<usize> {
        if let Some(count) = count.filter(|count| *count < SEEN_RECORDS_MAX) {
            return Ok(count);
        }
        let mut rows = Vec::new();
        for row in self.db.scan(Family::Swarm, &[SEEN]) {
            let (key, value) = row?;
            let Row { record, noted_unix } = decode(&key, &value)?;
            if !record.is_pinned {
                rows.push((noted_unix, key));
            }
        }
        let mut count = rows.len();
        if count >= SEEN_RECORDS_MAX {
            rows.sort_unstable();
            for (_, key) in rows.iter().take(share_to_drop(SEEN_RECORDS_MAX)) {
                batch.delete(Family::Swarm, key);
                count -= 1;
            }
        }
        Ok(count)
    }
}

pub(super) fn seen_key(rid: &RepoKey, publisher: &PeerIdBytes) -> Vec<u8> {
    key(SEEN, &[rid.as_bytes(), publisher.as_bytes()])
}

pub(super) fn encode(row: &Row) -> Vec<u8> {
    let flags = if row.record.is_pinned { FLAG_PINNED } else { 0 };
    let mut value = vec![ROW_VERSION, flags];
    value.extend_from_slice(&row.record.seq.to_be_bytes());
    value.extend_from_slice(&row.noted_unix.to_be_bytes());
    value.extend_from_slice(&row.record.bytes);
    value
}

fn decode(key: &[u8], value: &[u8]) -> Result<Row> {
    let read = || {
        let mut row = RowReader::new(value);
        if row.u8()? != ROW_VERSION {
            return None;
        }
        let is_pinned = match row.u8()? {
            0 => false,
            FLAG_PINNED => true,
            _ => return None,
        };
        let (seq, noted_unix) = (row.u64()?, row.u64()?);
        let bytes = row.rest().to_vec();
        Some(Row { record: SeenRecord { seq, is_pinned, bytes }, noted_unix })
    };
    read().ok_or_else(|| damaged(key, "not a record that was seen"))
}
