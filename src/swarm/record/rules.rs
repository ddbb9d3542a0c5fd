//! The rules by which a record is believed, and which of several counts.
//!
//! Invariant: a [`RepoRecord`] has passed [`check`]; there is no other way to make one.

#![deny(clippy::indexing_slicing)]

use mega_storage::{DhtKey, SWARM_RECORD_LEN_MAX};

use super::claims::RecordClaims;
use super::codec::{Unchecked, decode_record, encode_claims, encode_record};
use super::error::RecordError;
use crate::swarm::identity::{self, Identity};

/// Longest record, in bytes.
pub const RECORD_LEN_MAX: usize = SWARM_RECORD_LEN_MAX;
/// Longest time that a record may still hold, in seconds: a week.
pub const EOL_AHEAD_MAX_S: u64 = 7 * 24 * 3600;
/// How far in the future a record may have been signed, in seconds: clocks differ.
pub const ISSUED_AHEAD_MAX_S: u64 = 600;

/// What a signature of a record starts with.
pub(super) const DOMAIN: &[u8] = b"mega-record-sig/1:";

/// A record that keeps the rules, with its bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RepoRecord {
    claims: RecordClaims,
    bytes: Vec<u8>,
}

/// The newest record seen of a slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Highest<'a> {
    /// Its number.
    pub seq: u64,
    /// Its bytes.
    pub bytes: &'a [u8],
}

/// What came of several answers.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Choice {
    /// The record that counts.
    pub record: Option<RepoRecord>,
    /// Why others were refused.
    pub refused: Vec<RecordError>,
}

impl RepoRecord {
    /// Signs a record of this store's own, and holds it to the rules that others will.
    ///
    /// # Errors
    /// The rule that it breaks.
    ///
    /// # Panics
    /// When the publisher is another than `identity`.
    pub fn sign(identity: &Identity, claims: &RecordClaims) -> Result<Self, RecordError> {
        assert_eq!(claims.publisher, identity.peer_id(), "a record is signed by its publisher");
        let value = encode_claims(claims);
        let signature = identity.sign(DOMAIN, &value);
        check(&encode_record(value, signature), claims.issued_unix)
    }

    /// What it says.
    pub fn claims(&self) -> &RecordClaims {
        &self.claims
    }

    /// As it is stored and sent.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// As what has been seen.
    pub fn as_highest(&self) -> Highest<'_> {
        Highest { seq: self.claims.seq, bytes: &self.bytes }
    }

    /// Whether its publisher made the repository, rather than a fork of it.
    pub fn is_origins(&self) -> bool {
        self.claims.publisher == self.claims.origin
    }
}

/// Takes a record that was looked for at `key`, at the time `now_unix`, when `highest` is the
/// newest that was ever seen there. The same again is taken again.
///
/// # Errors
/// The first rule that it breaks.
pub fn accept(
    bytes: &[u8],
    key: &DhtKey,
    now_unix: u64,
    highest: Option<Highest<'_>>,
) -> Result<RepoRecord, RecordError> {
    let unchecked = decode_record(bytes)?;
    let slot = unchecked.claims.slot();
    if slot.key() != *key {
        let (rid, publisher) = (slot.rid, slot.publisher);
        return Err(RecordError::WrongKey { rid, publisher });
    }
    let record = check_decoded(unchecked, bytes, now_unix)?;
    check_newest(&record, highest)?;
    Ok(record)
}

/// Takes a record as a node of the DHT keeps it at `key`: a public repository's, at its slot's
/// place or at that of its name, no older than `old`, which lies there. Of two repositories that
/// had the name one after the other, the one that was signed as the higher number is the later.
///
/// # Errors
/// The first rule that it breaks.
pub fn accept_in_dht(
    bytes: &[u8],
    key: &DhtKey,
    now_unix: u64,
    old: Option<Highest<'_>>,
) -> Result<RepoRecord, RecordError> {
    let unchecked = decode_record(bytes)?;
    let claims = &unchecked.claims;
    let (rid, publisher) = (claims.rid, claims.publisher);
    if !claims.belongs_at(key) {
        return Err(RecordError::WrongKey { rid, publisher });
    }
    if !claims.is_public {
        return Err(RecordError::NotPublic { rid, publisher });
    }
    let record = check_decoded(unchecked, bytes, now_unix)?;
    check_newest(&record, old)?;
    Ok(record)
}

/// Takes a record of which nothing was known before: the answer of a peer that was asked by name.
/// Who goes on with it holds it to what was seen by [`super::take_in`].
///
/// # Errors
/// The first rule that it breaks.
pub fn check(bytes: &[u8], now_unix: u64) -> Result<RepoRecord, RecordError> {
    check_decoded(decode_record(bytes)?, bytes, now_unix)
}

/// Which of several answers counts: the one with the highest number, then with the largest bytes.
pub fn choose<'a>(
    answers: impl IntoIterator<Item = &'a [u8]>,
    key: &DhtKey,
    now_unix: u64,
    highest: Option<Highest<'_>>,
) -> Choice {
    let mut choice = Choice::default();
    for bytes in answers {
        if choice.record.as_ref().is_some_and(|best| best.bytes == bytes) {
            continue; // Most answers are the same.
        }
        let best = choice.record.as_ref().map(RepoRecord::as_highest);
        match accept(bytes, key, now_unix, best.or(highest)) {
            Ok(record) => choice.record = Some(record),
            Err(error) => choice.refused.push(error),
        }
    }
    choice
}

fn check_decoded(
    unchecked: Unchecked,
    bytes: &[u8],
    now_unix: u64,
) -> Result<RepoRecord, RecordError> {
    let Unchecked { value, signature, claims } = unchecked;
    let derived = claims.derived_rid();
    if derived != claims.rid {
        return Err(RecordError::WrongRepo { claimed: claims.rid, derived });
    }
    check_times(&claims, now_unix)?;
    if identity::public_key(&claims.origin).is_none() {
        return Err(RecordError::NoKey { role: "origin", peer: claims.origin });
    }
    let publisher = claims.publisher;
    match identity::verify(&publisher, DOMAIN, &value, &signature) {
        None => Err(RecordError::NoKey { role: "publisher", peer: publisher }),
        Some(false) => Err(RecordError::Signature { publisher }),
        Some(true) => Ok(RepoRecord { claims, bytes: bytes.to_vec() }),
    }
}

fn check_times(claims: &RecordClaims, now_unix: u64) -> Result<(), RecordError> {
    let RecordClaims { issued_unix: issued, eol_unix: eol, .. } = *claims;
    if eol < issued {
        return Err(RecordError::EolBeforeIssue);
    }
    if eol <= now_unix {
        return Err(RecordError::Ended { ago_s: now_unix - eol });
    }
    let (ahead_s, limit_s) = (eol - now_unix, EOL_AHEAD_MAX_S);
    if ahead_s > limit_s {
        return Err(RecordError::EolTooFar { ahead_s, limit_s });
    }
    let (ahead_s, limit_s) = (issued.saturating_sub(now_unix), ISSUED_AHEAD_MAX_S);
    if ahead_s > limit_s {
        return Err(RecordError::IssuedAhead { ahead_s, limit_s });
    }
    Ok(())
}

fn check_newest(record: &RepoRecord, highest: Option<Highest<'_>>) -> Result<(), RecordError> {
    let Some(highest) = highest else { return Ok(()) };
    let seq = record.claims.seq;
    if seq < highest.seq {
        return Err(RecordError::Replayed { seq, highest: highest.seq });
    }
    if seq == highest.seq && record.bytes.as_slice() < highest.bytes {
        return Err(RecordError::Outranked { seq });
    }
    Ok(())
}
