//! Records as dag-cbor. What does not encode to the same bytes again is refused, so that there is
//! one form of each record.

#![deny(clippy::indexing_slicing)]

use libp2p::{Multiaddr, PeerId};
use mega_storage::{
    ObjectId, PEER_ADDRESS_LEN_MAX, PEER_ADDRESSES_MAX, RepoKey, RepoName, RepoNonce,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_bytes::{ByteArray, ByteBuf};

use super::claims::{ForkHint, RECORD_FORKS_MAX, RecordClaims};
use super::error::RecordError;
use super::refs::RefsDigest;
use super::rules::RECORD_LEN_MAX;
use crate::swarm::identity::SIGNATURE_LEN;

const VERSION: u64 = 1;
/// Most of what the decoder says that an error keeps: it may quote the record.
const REASON_LEN_MAX: usize = 200;

/// A record that can be read, and no more is known of it.
pub(super) struct Unchecked {
    /// What was signed.
    pub(super) value: Vec<u8>,
    pub(super) signature: [u8; SIGNATURE_LEN],
    pub(super) claims: RecordClaims,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EnvelopeForm {
    sig: ByteArray<SIGNATURE_LEN>,
    value: ByteBuf,
}

/// All versions have this, whatever else they have.
#[derive(Deserialize)]
struct VersionForm {
    v: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClaimsForm {
    v: u64,
    rid: ByteArray<32>,
    origin: ByteBuf,
    nonce: ByteArray<16>,
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    called: Option<String>,
    publisher: ByteBuf,
    refs: ByteArray<32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    head: Option<ByteArray<20>>,
    seq: u64,
    issued: u64,
    eol: u64,
    /// There when it is true, as all that is optional.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    public: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    addrs: Vec<ByteBuf>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    forks: Vec<ForkForm>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ForkForm {
    peer: ByteBuf,
    seq: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    head: Option<ByteArray<20>>,
    issued: u64,
}

/// What is signed of a record.
pub(super) fn encode_claims(claims: &RecordClaims) -> Vec<u8> {
    let forks = claims.forks.iter().map(|fork| ForkForm {
        peer: ByteBuf::from(fork.peer.to_bytes()),
        seq: fork.seq,
        head: fork.head.map(|id| ByteArray::new(*id.as_bytes())),
        issued: fork.issued_unix,
    });
    encode(&ClaimsForm {
        v: VERSION,
        rid: ByteArray::new(*claims.rid.as_bytes()),
        origin: ByteBuf::from(claims.origin.to_bytes()),
        nonce: ByteArray::new(*claims.nonce.as_bytes()),
        name: claims.name.as_str().to_owned(),
        called: claims.called.as_ref().map(|name| name.as_str().to_owned()),
        publisher: ByteBuf::from(claims.publisher.to_bytes()),
        refs: ByteArray::new(*claims.refs.as_bytes()),
        head: claims.head.map(|id| ByteArray::new(*id.as_bytes())),
        seq: claims.seq,
        issued: claims.issued_unix,
        eol: claims.eol_unix,
        public: claims.is_public,
        addrs: claims.addresses.iter().map(|addr| ByteBuf::from(addr.to_vec())).collect(),
        forks: forks.collect(),
    })
}

/// A whole record.
pub(super) fn encode_record(value: Vec<u8>, signature: [u8; SIGNATURE_LEN]) -> Vec<u8> {
    encode(&EnvelopeForm { sig: ByteArray::new(signature), value: ByteBuf::from(value) })
}

/// Reads a record. Nothing is allocated past its own length but small change.
pub(super) fn decode_record(bytes: &[u8]) -> Result<Unchecked, RecordError> {
    if bytes.len() > RECORD_LEN_MAX {
        return Err(RecordError::TooLong { len: bytes.len(), limit: RECORD_LEN_MAX });
    }
    let envelope: EnvelopeForm = decode(bytes)?;
    let VersionForm { v } = decode(&envelope.value)?;
    if v != VERSION {
        return Err(RecordError::Version { found: v });
    }
    let form: ClaimsForm = decode(&envelope.value)?;
    if encode(&form) != *envelope.value || encode(&envelope) != bytes {
        return Err(RecordError::NotCanonical);
    }
    let signature = envelope.sig.into_array();
    Ok(Unchecked { value: envelope.value.into_vec(), signature, claims: claims(form)? })
}

fn encode<T: Serialize>(form: &T) -> Vec<u8> {
    serde_ipld_dagcbor::to_vec(form).expect("maps of numbers, texts and bytes have this form")
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, RecordError> {
    serde_ipld_dagcbor::from_slice(bytes).map_err(|error| {
        let mut reason = error.to_string();
        reason.truncate(reason.floor_char_boundary(REASON_LEN_MAX));
        RecordError::Malformed { reason }
    })
}

fn claims(form: ClaimsForm) -> Result<RecordClaims, RecordError> {
    limit("addresses", PEER_ADDRESSES_MAX, form.addrs.len())?;
    limit("forks", RECORD_FORKS_MAX, form.forks.len())?;
    let name = repo_name("name", &form.name)?;
    let called = form.called.map(|text| repo_name("called", &text)).transpose()?;
    if called.as_ref() == Some(&name) {
        return Err(field("called", "is the name that it has anyway"));
    }
    Ok(RecordClaims {
        rid: RepoKey::from_bytes(form.rid.into_array()),
        origin: peer_id("origin", &form.origin)?,
        nonce: RepoNonce::from_bytes(form.nonce.into_array()),
        name,
        called,
        publisher: peer_id("publisher", &form.publisher)?,
        refs: RefsDigest::from_bytes(form.refs.into_array()),
        head: form.head.map(|id| ObjectId::from_bytes(id.into_array())),
        seq: form.seq,
        issued_unix: form.issued,
        eol_unix: form.eol,
        is_public: form.public,
        addresses: form.addrs.into_iter().map(address).collect::<Result<_, _>>()?,
        forks: form.forks.into_iter().map(fork).collect::<Result<_, _>>()?,
    })
}

fn fork(form: ForkForm) -> Result<ForkHint, RecordError> {
    let peer = peer_id("forks", &form.peer)?;
    let head = form.head.map(|id| ObjectId::from_bytes(id.into_array()));
    Ok(ForkHint { peer, seq: form.seq, head, issued_unix: form.issued })
}

fn field(field: &'static str, reason: &str) -> RecordError {
    RecordError::Field { field, reason: reason.to_owned() }
}

fn limit(what: &'static str, limit: usize, actual: usize) -> Result<(), RecordError> {
    match actual > limit {
        true => Err(RecordError::Limit { what, limit, actual }),
        false => Ok(()),
    }
}

fn repo_name(name: &'static str, text: &str) -> Result<RepoName, RecordError> {
    RepoName::new(text).map_err(|_| field(name, "is no repository's name"))
}

fn peer_id(name: &'static str, bytes: &[u8]) -> Result<PeerId, RecordError> {
    PeerId::from_bytes(bytes).map_err(|_| field(name, "is no peer's id"))
}

fn address(bytes: ByteBuf) -> Result<Multiaddr, RecordError> {
    limit("bytes in an address", PEER_ADDRESS_LEN_MAX, bytes.len())?;
    if bytes.is_empty() {
        return Err(field("addrs", "has an empty address"));
    }
    Multiaddr::try_from(bytes.into_vec()).map_err(|_| field("addrs", "has what is no address"))
}
