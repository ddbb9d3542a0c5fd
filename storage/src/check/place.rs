//! Where verify is: the row `verify` in the family `store`, written every few seconds. Lost, it
//! costs a beginning from the front and nothing else.

use std::time::{Duration, Instant};

use crate::db::{Db, Durability, Family};
use crate::error::Result;
use crate::repos::now_unix;
use crate::row::{RowReader, put_counted};

/// The row's key.
pub(super) const KEY: &[u8] = b"verify";
const VERSION: u8 = 1;
/// Time between two writings.
const INTERVAL: Duration = Duration::from_secs(5);

/// What is looked at, in this order. After the last the other families come, one by one.
pub(super) mod phase {
    /// Nothing is under way.
    pub(in super::super) const NONE: u8 = 0;
    /// Rows of `object`, with their parts and pointers.
    pub(in super::super) const OBJECTS: u8 = 1;
    /// Rows of `repo_object`, and whether their objects are there.
    pub(in super::super) const MEMBERS: u8 = 2;
    /// Files, whole.
    pub(in super::super) const FILES: u8 = 3;
    /// Chunks of no file.
    pub(in super::super) const CHUNKS: u8 = 4;
    /// Rows of `repo_file`, and whether their files are there.
    pub(in super::super) const RIGHTS: u8 = 5;
    /// The first of the other families.
    pub(in super::super) const ROWS: u8 = 6;
}

/// Where a run is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Place {
    /// When the round began, in seconds since 1970.
    began_unix: u64,
    /// When a round came to its end last; 0 for never.
    ended_unix: u64,
    pub(super) phase: u8,
    /// The next key of the phase's family.
    pub(super) key: Vec<u8>,
    /// In the middle of a file: what is known of it so far.
    pub(super) file: Vec<u8>,
    saved: Option<Instant>,
}

impl Place {
    /// Where the last run ended; the front when that is not known.
    pub(super) fn load(db: &Db) -> Result<Self> {
        let row = match db.get(Family::Store, KEY) {
            Err(error) if error.is_database() => None,
            row => row?,
        };
        let place = row.and_then(|row| Self::decode(&row)).unwrap_or_else(|| Self::front(0));
        Ok(if place.phase == phase::NONE { Self::front(place.ended_unix) } else { place })
    }

    fn front(ended_unix: u64) -> Self {
        let (key, file) = Default::default();
        let began_unix = now_unix();
        Self { began_unix, ended_unix, phase: phase::OBJECTS, key, file, saved: None }
    }

    pub(super) fn is_at_the_front(&self) -> bool {
        self.phase == phase::OBJECTS && self.key.is_empty()
    }

    pub(super) fn next_phase(&mut self) {
        self.phase += 1;
        self.key.clear();
        self.file.clear();
    }

    pub(super) fn end_round(&mut self) {
        self.phase = phase::NONE;
        self.key.clear();
        self.ended_unix = now_unix();
    }

    /// Writes it, unless that was done a moment ago.
    pub(super) fn save_if_due(&mut self, db: &Db) {
        if self.saved.is_none_or(|at| at.elapsed() >= INTERVAL) {
            self.save(db);
        }
    }

    /// Writes it. A database that takes no writes any more, for the damage that it met, must not
    /// keep the damage from being told.
    pub(super) fn save(&mut self, db: &Db) {
        let mut batch = db.batch();
        batch.put(Family::Store, KEY, &self.encode());
        let _ = db.commit(batch, Durability::Logged);
        self.saved = Some(Instant::now());
    }

    fn encode(&self) -> Vec<u8> {
        let mut row = vec![VERSION];
        row.extend_from_slice(&self.began_unix.to_be_bytes());
        row.extend_from_slice(&self.ended_unix.to_be_bytes());
        row.push(self.phase);
        put_counted(&mut row, &self.key);
        put_counted(&mut row, &self.file);
        row
    }

    pub(super) fn decode(row: &[u8]) -> Option<Self> {
        let mut row = RowReader::new(row);
        if row.u8()? != VERSION {
            return None;
        }
        let (began_unix, ended_unix, phase) = (row.u64()?, row.u64()?, row.u8()?);
        let (key, file) = (row.counted()?.to_vec(), row.counted()?.to_vec());
        let place = Self { began_unix, ended_unix, phase, key, file, saved: None };
        row.rest().is_empty().then_some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestDb;

    #[test]
    fn golden_row() {
        let (key, file) = (b"ab".to_vec(), vec![9]);
        let place =
            Place { began_unix: 1, ended_unix: 2, phase: phase::FILES, key, file, saved: None };
        let row = place.encode();
        let numbers = [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2];
        assert_eq!(row, [&[1][..], &numbers, &[3, 2, b'a', b'b', 1, 9]].concat());
        assert_eq!(Place::decode(&row), Some(place));
        for len in 0..row.len() {
            assert_eq!(Place::decode(&row[..len]), None);
        }
    }

    #[test]
    fn what_cannot_be_read_is_the_front() {
        let test = TestDb::new();
        assert!(Place::load(&test.db).expect("read").is_at_the_front());
        let mut place = Place::load(&test.db).expect("read");
        place.next_phase();
        place.save(&test.db);
        assert_eq!(Place::load(&test.db).expect("read").phase, phase::MEMBERS);
        place.end_round();
        place.save(&test.db);
        let next = Place::load(&test.db).expect("read");
        assert!(next.is_at_the_front() && next.ended_unix > 0);
        let mut batch = test.db.batch();
        batch.put(Family::Store, KEY, b"\x09nonsense");
        test.db.commit(batch, Durability::Synced).expect("written");
        assert!(Place::load(&test.db).expect("read").is_at_the_front());
    }
}
