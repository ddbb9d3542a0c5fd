//! A family's rows in order, whatever becomes of the database's blocks: where they cannot be read
//! the range is told, and the rows behind it come all the same.
//!
//! The rows of a part are of one snapshot, and the next part has a new one: nothing that is deleted
//! meanwhile is kept on the disk for long.

use super::finding::{DamagedThing, hex};
use crate::db::{Db, Family, OwnedRow, Snapshot};
use crate::error::{Result, StoreError};

/// Rows of a part.
const PART_COUNT: usize = if cfg!(test) { 64 } else { 16 << 10 };
/// Bytes of a part, and one row more.
const PART_LEN: usize = 8 << 20;
/// Bytes at the front of a key that a search for readable rows goes by.
const FRONT_LEN: usize = 48;
/// Halvings of that search: after them it is some rows off at the most.
const HALVINGS: usize = 48;

/// Goes through a family.
pub(super) struct Scan {
    family: Family,
    next: Vec<u8>,
    is_over: bool,
}

/// The next rows; or a gap and no rows.
pub(super) struct Part {
    pub(super) rows: Vec<OwnedRow>,
    pub(super) gap: Option<Gap>,
}

/// Rows that cannot be read, as many as there may be.
pub(super) struct Gap {
    from: Vec<u8>,
    /// The first key behind it; `None` for the family's end.
    to: Option<Vec<u8>>,
    pub(super) reason: String,
}

impl Gap {
    /// The finding for it.
    pub(super) fn thing(&self, family: Family) -> DamagedThing {
        let (from, to) = (hex(&self.from), self.to.as_deref().map(hex));
        DamagedThing::Range { family: family.name(), from, to }
    }
}

/// The front of a key as a number.
type Front = [u8; FRONT_LEN];

fn front_of(key: &[u8]) -> Front {
    let mut front = [0; FRONT_LEN];
    let len = key.len().min(FRONT_LEN);
    front[..len].copy_from_slice(&key[..len]);
    front
}

/// The number and 256 to this power; `None` past the last.
fn plus_power(mut front: Front, power: usize) -> Option<Front> {
    for byte in front[..FRONT_LEN - power].iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            return Some(front);
        }
    }
    None
}

/// The number and so many of the highest power; `None` past the last.
fn plus_top(mut front: Front, count: u8) -> Option<Front> {
    front[0] = front[0].checked_add(count)?;
    Some(front)
}

/// The number between two, rounded down.
fn between(low: &Front, high: &Front) -> Front {
    let mut sum = [0u16; FRONT_LEN];
    let mut carry = 0;
    for at in (0..FRONT_LEN).rev() {
        let digit = u16::from(low[at]) + u16::from(high[at]) + carry;
        (sum[at], carry) = (digit & 0xff, digit >> 8);
    }
    let mut middle = [0; FRONT_LEN];
    for (byte, digit) in middle.iter_mut().zip(sum) {
        let whole = carry << 8 | digit;
        *byte = (whole >> 1) as u8;
        carry = whole & 1;
    }
    middle
}

/// The shortest key with this front.
fn key_of(front: &Front) -> &[u8] {
    let len = front.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    &front[..len]
}

impl Scan {
    /// A scan from a key on.
    pub(super) fn from(family: Family, next: &[u8]) -> Self {
        Self { family, next: next.to_vec(), is_over: false }
    }

    /// The key from which the next part is read.
    pub(super) fn next(&self) -> &[u8] {
        &self.next
    }

    /// The next part; `None` at the end.
    ///
    /// # Errors
    /// When it is not the database that fails.
    pub(super) fn part(&mut self, db: &Db) -> Result<Option<Part>> {
        if self.is_over {
            return Ok(None);
        }
        let snapshot = db.snapshot();
        let mut cursor = snapshot.cursor(self.family, &[]);
        cursor.seek(&self.next);
        let (mut rows, mut len) = (Vec::new(), 0);
        while rows.len() < PART_COUNT && len < PART_LEN {
            match cursor.at() {
                Ok(Some((key, value))) => {
                    len += key.len() + value.len();
                    rows.push((key.into(), value.into()));
                }
                Ok(None) => {
                    self.is_over = true;
                    break;
                }
                Err(error @ StoreError::Db { .. }) if rows.is_empty() => {
                    drop(cursor);
                    let gap = self.pass_gap(&snapshot, &error);
                    return Ok(Some(Part { rows, gap: Some(gap) }));
                }
                Err(StoreError::Db { .. }) => break,
                Err(error) => return Err(error),
            }
            cursor.advance();
        }
        let Some((last, _)) = rows.last() else { return Ok(None) };
        self.next = [&last[..], &[0]].concat();
        Ok(Some(Part { rows, gap: None }))
    }

    /// Finds the first key from which rows can be read again.
    fn pass_gap(&mut self, snapshot: &Snapshot<'_>, error: &StoreError) -> Gap {
        let family = self.family;
        let from = std::mem::take(&mut self.next);
        let reason = error.to_string();
        let mut low = front_of(&from);
        // First in steps that grow, then by halves between the last two.
        let start = front_of(&from);
        let powers = (0..FRONT_LEN).map(|power| plus_power(start, power));
        let tops = (1..8).map(|bit| plus_top(start, 1 << bit));
        let steps = powers.chain(tops);
        let mut high = None;
        for step in steps {
            let Some(step) = step else { break };
            if is_readable(snapshot, family, &step) {
                high = Some(step);
                break;
            }
            low = step;
        }
        let Some(mut high) = high else {
            self.is_over = true;
            return Gap { from, to: None, reason };
        };
        for _ in 0..HALVINGS {
            let middle = between(&low, &high);
            if middle == low {
                break;
            }
            match is_readable(snapshot, family, &middle) {
                true => high = middle,
                false => low = middle,
            }
        }
        self.next = key_of(&high).to_vec();
        let mut cursor = snapshot.cursor(family, &[]);
        cursor.seek(&self.next);
        let to = cursor.at().ok().flatten().map(|(key, _)| key.to_vec());
        Gap { from, to, reason }
    }
}

/// Each look has a cursor of its own: one that has failed may go on failing elsewhere.
fn is_readable(snapshot: &Snapshot<'_>, family: Family, front: &Front) -> bool {
    let mut cursor = snapshot.cursor(family, &[]);
    cursor.seek(key_of(front));
    cursor.at().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_has_numbers_of_its_own() {
        let zero = [0; FRONT_LEN];
        let front = |bytes: &[u8]| front_of(bytes);
        assert_eq!(plus_power(zero, FRONT_LEN - 1), Some(front(&[1])));
        assert_eq!(plus_power(front(&[0, 0xff]), FRONT_LEN - 2), Some(front(&[1])));
        assert_eq!(plus_power([0xff; FRONT_LEN], 0), None);
        assert_eq!(between(&zero, &front(&[1])), front(&[0, 0x80]));
        assert_eq!(between(&front(&[0xff]), &[0xff; FRONT_LEN])[..2], [0xff, 0x7f]);
        assert_eq!(between(&front(&[7]), &front(&[7])), front(&[7]));
        assert_eq!(key_of(&front(&[1, 0, 2, 0])), [1, 0, 2]);
        assert!(key_of(&zero).is_empty());
        let long = [9; 60];
        assert!(key_of(&plus_power(front(&long), 0).expect("room")) > &long[..]);
    }
}
