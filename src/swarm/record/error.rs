//! Why a record is not believed: one variant a rule.

use libp2p::PeerId;
use mega_storage::RepoKey;

/// A rule that a record breaks.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RecordError {
    /// It is larger than any record.
    #[error("the record has {len} bytes, the limit is {limit}")]
    TooLong {
        /// Its bytes.
        len: usize,
        /// The limit.
        limit: usize,
    },
    /// It is not the dag-cbor map that it should be, or has a field that is not known.
    #[error("the record cannot be read: {reason}")]
    Malformed {
        /// What the decoder says.
        reason: String,
    },
    /// A version that is not known here.
    #[error("the record has version {found}; this program reads version 1")]
    Version {
        /// The version.
        found: u64,
    },
    /// It is not encoded in the one way that there is.
    #[error("the record is not in its canonical form")]
    NotCanonical,
    /// A field holds what it cannot.
    #[error("the record's field '{field}' {reason}")]
    Field {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// More of something than a record may have.
    #[error("the record has {actual} {what}, the limit is {limit}")]
    Limit {
        /// What is limited.
        what: &'static str,
        /// The limit.
        limit: usize,
        /// What it has.
        actual: usize,
    },
    /// The repository's id was not made of this origin, nonce and name: somebody squats on it.
    #[error("the record claims to be of {claimed}, but its origin, nonce and name make {derived}")]
    WrongRepo {
        /// The id that it has.
        claimed: RepoKey,
        /// The id that its fields make.
        derived: RepoKey,
    },
    /// It lies, or was asked for, where another publisher's or another repository's record belongs.
    #[error("the record of {rid} by {publisher} does not belong where it was found")]
    WrongKey {
        /// The repository.
        rid: RepoKey,
        /// The publisher.
        publisher: PeerId,
    },
    /// It is of a repository that not everybody may read: it has no place in the DHT.
    #[error("the record of {rid} by {publisher} does not say that everybody may read it")]
    NotPublic {
        /// The repository.
        rid: RepoKey,
        /// The publisher.
        publisher: PeerId,
    },
    /// A peer id that does not hold an ed25519 key: nothing of it can be checked.
    #[error("the id of the record's {role}, {peer}, does not hold an ed25519 key")]
    NoKey {
        /// `origin` or `publisher`.
        role: &'static str,
        /// The id.
        peer: PeerId,
    },
    /// The publisher did not sign this.
    #[error("the record's signature is not {publisher}'s")]
    Signature {
        /// Who should have signed.
        publisher: PeerId,
    },
    /// It has ended.
    #[error("the record ended {ago_s} s ago")]
    Ended {
        /// Seconds since then.
        ago_s: u64,
    },
    /// It would hold for longer than any record may.
    #[error("the record would hold for another {ahead_s} s, the limit is {limit_s}")]
    EolTooFar {
        /// Seconds until its end.
        ahead_s: u64,
        /// The limit.
        limit_s: u64,
    },
    /// It ends before it was signed.
    #[error("the record ends before it begins")]
    EolBeforeIssue,
    /// It was signed in the future: a clock is wrong.
    #[error("the record was signed {ahead_s} s in the future, the limit is {limit_s}")]
    IssuedAhead {
        /// Seconds until then.
        ahead_s: u64,
        /// The limit.
        limit_s: u64,
    },
    /// One with a higher number has been seen: it is an old one played back.
    #[error("the record has number {seq}, but number {highest} has been seen")]
    Replayed {
        /// Its number.
        seq: u64,
        /// The highest seen.
        highest: u64,
    },
    /// Another with the same number has been seen, and counts.
    #[error("another record with number {seq} has been seen, which counts")]
    Outranked {
        /// The number.
        seq: u64,
    },
}
