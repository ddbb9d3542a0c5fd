//! What peers say of repositories: signed records, the slides' JSON, addresses, ids. The first byte
//! of an input says which. A record with a forged signature is never taken; one that is well signed
//! is taken only when rules of its own find nothing wrong with it.

use std::collections::HashSet;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};

use libp2p::identity::Keypair;
use mega_storage::{ObjectId, RepoName};
use mega_store::swarm::identity::Identity;
use mega_store::swarm::record::{
    DhtKey, ForkHint, Highest, P2pUrl, RecordClaims, RecordError, RefsDigest, RepoKey, RepoNonce,
    RepoRecord, RepoSought, SlidesHint, accept, check, repo_key,
};
use mega_tools::fuzz::{Ending, Target, mutate};
use mega_tools::random::Random;

const NOW: u64 = 1_800_000_000;
const DOMAIN: &[u8] = b"mega-record-sig/1:";

pub struct Record {
    identity: Identity,
    good: HashSet<Vec<u8>>,
}

impl Record {
    pub fn new() -> Self {
        let identity = identity();
        let good = records(&identity).iter().map(|record| record.bytes().to_vec()).collect();
        Self { identity, good }
    }
}

/// One with the same key in every run.
fn identity() -> Identity {
    let store = tempfile::tempdir().expect("a directory");
    let dir = store.path().join("swarm");
    std::fs::DirBuilder::new().mode(0o700).create(&dir).expect("made");
    let key = Keypair::ed25519_from_bytes([7; 32]).expect("a key");
    let bytes = key.to_protobuf_encoding().expect("bytes");
    let file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(dir.join("key"));
    std::io::Write::write_all(&mut file.expect("made"), &bytes).expect("written");
    Identity::open(store.path()).expect("read").expect("there")
}

fn records(identity: &Identity) -> Vec<RepoRecord> {
    let peer = identity.peer_id();
    let (nonce, name) = (RepoNonce::from_bytes([9; 16]), RepoName::new("a/b").expect("a name"));
    let claims = RecordClaims {
        rid: repo_key(&peer, &nonce, &name),
        origin: peer,
        nonce,
        name,
        called: None,
        publisher: peer,
        refs: RefsDigest::from_bytes([1; 32]),
        head: None,
        seq: 5,
        issued_unix: NOW,
        eol_unix: NOW + 1000,
        is_public: false,
        addresses: Vec::new(),
        forks: Vec::new(),
    };
    let head = Some(ObjectId::from_bytes([2; 20]));
    let fork = ForkHint { peer, seq: 3, head, issued_unix: NOW };
    let full = RecordClaims {
        called: Some(RepoName::new("c").expect("a name")),
        head,
        is_public: true,
        addresses: vec!["/ip4/127.0.0.1/tcp/4001".parse().expect("an address"); 2],
        forks: vec![fork.clone(), ForkHint { head: None, ..fork }],
        ..claims.clone()
    };
    [claims, full].map(|claims| RepoRecord::sign(identity, &claims).expect("good")).into()
}

/// Where the value starts in a record: after a map of 2, "sig", 64 bytes, "value", its length.
fn value_of(record: &[u8]) -> &[u8] {
    match record.get(77) {
        Some(0x58) => record.get(79..),
        _ => record.get(80..),
    }
    .unwrap_or_default()
}

impl Target for Record {
    fn name(&self) -> &'static str {
        "record"
    }

    fn seeds(&mut self) -> Vec<Vec<u8>> {
        let mut seeds = Vec::new();
        for record in records(&self.identity) {
            seeds.push([&[0], record.bytes()].concat());
            seeds.push([&[1], value_of(record.bytes())].concat());
            seeds.push([&[2], SlidesHint::of(record.claims()).to_json().as_bytes()].concat());
        }
        let (peer, zeros) = (self.identity.peer_id(), "0".repeat(64));
        let texts = [
            format!("\x03p2p://{peer}/repo/a/b@v1.0~2"),
            format!("\x03p2p://{peer}/pack/a.git"),
            format!("\x03p2p://{peer}/object/8ab686eafeb1f44702738c8b0f24f2567c36da6d"),
            format!("\x03p2p://{peer}/sha256/{zeros}"),
            format!("\x04{}", RepoKey::from_bytes([0xa5; 32])),
            format!("\x04a/b@{peer}"),
        ];
        seeds.extend(texts.map(String::into_bytes));
        seeds
    }

    fn dictionary(&self) -> &'static [&'static [u8]] {
        &[
            b"\x61v\x01",
            b"\x61v\x02",
            b"\x63sig\x58\x40",
            b"\x63seq\x1b\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\x63eol\x1a\x6b\x49\xd2\x01",
            b"\x63rid\x58\x20",
            b"\x64head\xf6",
            b"\x65addrs\x80",
            b"\x65forks\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\x66called\x61x",
            b"\x5f\x41",
            b"\xbf",
            b"\xff",
            b"\xd8\x2a",
            b"\xfb\x7f\xf0\0\0\0\0\0\0",
            b"\x9f\x9f\x9f\x9f\x9f\x9f\x9f\x9f",
            b"\x81\x81\x81\x81\x81\x81\x81\x81",
            b"/repo/",
            b"/object/",
            b"/file/",
            b"@",
            b".git",
            b"null",
            b"\"forks\":[",
            b"\"timestamp\":",
        ]
    }

    fn mutate(&mut self, corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
        let mut input = mutate::bytes(corpus, self.dictionary(), random);
        if let Some(kind) = input.first_mut() {
            *kind %= 5;
        }
        input
    }

    fn feed(&mut self, input: &[u8]) -> Result<Ending, String> {
        let Some((kind, data)) = input.split_first() else { return Ok(Ending::of("empty")) };
        match kind % 5 {
            0 => match check(data, NOW) {
                Ok(_) if self.good.contains(data) => Ok(Ending::of("a record")),
                Ok(record) => Err(format!("forged: {:?}", record.claims())),
                Err(error) => Ok(ending(&error)),
            },
            1 => self.signed(data),
            2 => slides(data),
            3 => address(data),
            _ => sought(data),
        }
    }
}

fn ending(error: &RecordError) -> Ending {
    match error {
        RecordError::Malformed { .. } => Ending::of("malformed"),
        RecordError::Field { field, reason } => Ending::of(&format!("{field} {reason}")),
        other => Ending::of(&other.to_string()),
    }
}

impl Record {
    /// Feeds any bytes as what a record's owner has signed.
    fn signed(&self, value: &[u8]) -> Result<Ending, String> {
        let signature = self.identity.sign(DOMAIN, value);
        let Ok(len) = u16::try_from(value.len()) else { return Ok(Ending::of("long")) };
        let head = match len {
            0..24 => vec![0x40 | len as u8],
            24..256 => vec![0x58, len as u8],
            _ => [&[0x59][..], &len.to_be_bytes()].concat(),
        };
        let (map, text) = (&b"\xa2\x63sig\x58\x40"[..], &b"\x65value"[..]);
        let bytes = [map, &signature[..], text, head.as_slice(), value].concat();
        let record = match check(&bytes, NOW) {
            Ok(record) => record,
            Err(error) => return Ok(ending(&error)),
        };
        let claims = record.claims();
        let wrong = bytes.len() > 8192
            || record.bytes() != bytes
            || claims.publisher != self.identity.peer_id()
            || claims.rid != repo_key(&claims.origin, &claims.nonce, &claims.name)
            || !(NOW + 1..=NOW + 7 * 86_400).contains(&claims.eol_unix)
            || claims.issued_unix > NOW + 600
            || claims.addresses.len() > 16
            || claims.forks.len() > 16
            || claims.addresses.iter().any(|addr| !(1..=128).contains(&addr.len()));
        if wrong {
            return Err(format!("taken: {claims:?}"));
        }
        let key = claims.slot().key();
        if accept(&bytes, &key, NOW, Some(record.as_highest())).as_ref() != Ok(&record) {
            return Err("the same record is not taken again".to_owned());
        }
        let seq = claims.seq.saturating_add(1);
        let newer = accept(&bytes, &key, NOW, Some(Highest { seq, bytes: &[0xff] }));
        let elsewhere = accept(&bytes, &DhtKey::from_bytes([0; 32]), NOW, None);
        if newer.is_ok() || elsewhere.is_ok() {
            return Err("an old or misplaced record is taken".to_owned());
        }
        match RepoRecord::sign(&self.identity, claims) {
            Ok(again) if again == record => {}
            // It holds for long, but was signed long ago.
            Err(RecordError::EolTooFar { .. } | RecordError::Ended { .. }) => {}
            other => return Err(format!("written again it is {other:?}")),
        }
        Ok(Ending::of("well signed").and(claims.addresses.len()).and(claims.forks.len()))
    }
}

fn slides(data: &[u8]) -> Result<Ending, String> {
    match SlidesHint::parse(data) {
        Ok(hint) => match SlidesHint::parse(hint.to_json().as_bytes()) {
            Ok(again) if again == hint => Ok(Ending::of("slides").and(hint.forks.len())),
            other => Err(format!("{hint:?} is read as {other:?}")),
        },
        Err(error) => {
            let words = error.to_string();
            Ok(Ending::of(words.get(..40).unwrap_or(&words)))
        }
    }
}

fn address(data: &[u8]) -> Result<Ending, String> {
    let Ok(text) = std::str::from_utf8(data) else { return Ok(Ending::of("no text")) };
    match text.parse::<P2pUrl>() {
        Ok(url) if url.to_string().parse() == Ok(url.clone()) => {
            Ok(Ending::of("an address").and(text.len()))
        }
        Ok(url) => Err(format!("{url} is read differently")),
        Err(error) => Ok(Ending::of(&error.to_string())),
    }
}

fn sought(data: &[u8]) -> Result<Ending, String> {
    let Ok(text) = std::str::from_utf8(data) else { return Ok(Ending::of("no text")) };
    match text.parse::<RepoSought>() {
        Ok(RepoSought::Key(key)) if key.to_string() != text => Err(format!("{text:?} is {key}")),
        Ok(RepoSought::Key(_)) => Ok(Ending::of("an id")),
        Ok(RepoSought::Named { name, peer }) => match format!("{name}@{peer}") == text {
            true => Ok(Ending::of("a name at a peer")),
            false => Err(format!("{text:?} is {name}@{peer}")),
        },
        Err(error) => Ok(Ending::of(&error.to_string())),
    }
}
