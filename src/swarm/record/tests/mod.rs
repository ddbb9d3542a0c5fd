//! Records: their bytes, each rule by its own failing case, mutations, replays.

mod cbor;
mod golden;
mod mutation;
mod replay;
mod rules;

use libp2p::{Multiaddr, PeerId};
use mega_storage::{ObjectId, RepoName};

use super::key::repo_key;
use super::rules::DOMAIN;
use super::*;
use crate::swarm::identity::Identity;
use cbor::Cbor;

const NOW: u64 = 1_800_000_000;

fn identity(n: u8) -> Identity {
    Identity::from_secret([n; 32])
}

fn name(text: &str) -> RepoName {
    RepoName::new(text).expect("a name")
}

fn address(text: &str) -> Multiaddr {
    text.parse().expect("an address")
}

/// A record of a repository that `origin` made, as `publisher` would sign it.
fn claims(origin: &Identity, publisher: &Identity) -> RecordClaims {
    let (origin, publisher) = (origin.peer_id(), publisher.peer_id());
    let (nonce, name) = (RepoNonce::from_bytes([9; 16]), name("models/llama"));
    RecordClaims {
        rid: repo_key(&origin, &nonce, &name),
        origin,
        nonce,
        name,
        called: None,
        publisher,
        refs: RefsDigest::from_bytes([1; 32]),
        head: Some(ObjectId::from_bytes([2; 20])),
        seq: 5,
        issued_unix: NOW,
        eol_unix: NOW + 48 * 3600,
        is_public: false,
        addresses: vec![address("/ip4/127.0.0.1/tcp/4001")],
        forks: vec![fork(8)],
    }
}

fn fork(n: u8) -> ForkHint {
    ForkHint { peer: identity(n).peer_id(), seq: 3, head: None, issued_unix: NOW - 10 }
}

/// A record of `signer`'s own repository with the changes of `change`.
fn signed(signer: &Identity, change: impl FnOnce(&mut RecordClaims)) -> RepoRecord {
    let mut claims = claims(signer, signer);
    change(&mut claims);
    RepoRecord::sign(signer, &claims).expect("keeps the rules")
}

/// The same without a look at any rule.
fn forged(signer: &Identity, change: impl FnOnce(&mut RecordClaims)) -> Vec<u8> {
    let mut claims = claims(signer, signer);
    change(&mut claims);
    envelope(signer, &codec::encode_claims(&claims))
}

/// Any bytes as a record with a good signature.
fn envelope(signer: &Identity, value: &[u8]) -> Vec<u8> {
    codec::encode_record(value.to_vec(), signer.sign(DOMAIN, value))
}

/// The record as it is found in the DHT of its own slot.
fn accept_as(claims: &RecordClaims, bytes: &[u8]) -> Result<RepoRecord, RecordError> {
    accept(bytes, &claims.slot().key(), NOW, None)
}

fn hashed_peer() -> PeerId {
    PeerId::from_bytes(&[&[0x12, 32][..], &[7; 32]].concat()).expect("an id")
}
