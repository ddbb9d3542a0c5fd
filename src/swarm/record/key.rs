//! Ids of repositories and places in the DHT: what each is the SHA-256 of.
//!
//! ```text
//! repository (rid)         "mega/repo/1"   || origin's peer id || nonce (16) || name
//! record of a publisher    "mega/record/1" || rid || publisher's peer id
//! providers of one         "mega/prov/1"   || rid
//! publishers of one        "mega/forks/1"  || rid
//! record by name           "mega/name/1"   || publisher's peer id || name that it gives
//! providers of a file      "mega/file/1"   || its SHA-256
//! ```
//!
//! A peer id is a multihash, which says where it ends. A file's key is not its hash, so that who
//! asks the DHT for one does not tell which file to those who do not know it.

use libp2p::PeerId;
use mega_storage::{DhtKey, FileId, PeerIdBytes, RepoKey, RepoName, RepoNonce};
use sha2::{Digest, Sha256};

/// Longest text of a peer's id: decoding base58 takes the square of its length.
const PEER_ID_TEXT_LEN_MAX: usize = 100;

/// The one place of a publisher's records of a repository.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Slot {
    /// The repository.
    pub rid: RepoKey,
    /// Who speaks of it.
    pub publisher: PeerId,
}

impl Slot {
    /// Where its record lies in the DHT.
    pub fn key(&self) -> DhtKey {
        let publisher = self.publisher.to_bytes();
        DhtKey::from_bytes(sha256(b"mega/record/1", &[self.rid.as_bytes(), &publisher]))
    }
}

/// Where the record of what `publisher` calls `name` lies, for those who know no more of it. Nobody
/// else's record belongs there: it is in its publisher's signed words that it has this name.
pub fn name_key(publisher: &PeerId, name: &RepoName) -> DhtKey {
    DhtKey::from_bytes(sha256(b"mega/name/1", &[&publisher.to_bytes(), name.as_str().as_bytes()]))
}

/// The id of the repository that `origin` made under this name with this nonce.
pub fn repo_key(origin: &PeerId, nonce: &RepoNonce, name: &RepoName) -> RepoKey {
    let parts = [&origin.to_bytes()[..], nonce.as_bytes(), name.as_str().as_bytes()];
    RepoKey::from_bytes(sha256(b"mega/repo/1", &parts))
}

/// A nonce for a new id.
///
/// # Errors
/// When the system has no random bytes.
pub fn new_nonce() -> Result<RepoNonce, getrandom::Error> {
    let mut bytes = [0; RepoNonce::LEN];
    getrandom::fill(&mut bytes)?;
    Ok(RepoNonce::from_bytes(bytes))
}

/// Where those who serve a repository say so.
pub fn providers_key(rid: &RepoKey) -> DhtKey {
    DhtKey::from_bytes(sha256(b"mega/prov/1", &[rid.as_bytes()]))
}

/// Where those who publish a record of a repository say so: its origin and its forks.
pub fn forks_key(rid: &RepoKey) -> DhtKey {
    DhtKey::from_bytes(sha256(b"mega/forks/1", &[rid.as_bytes()]))
}

/// Where those who serve a large public file say so.
pub fn file_key(file: &FileId) -> DhtKey {
    DhtKey::from_bytes(sha256(b"mega/file/1", &[file.as_bytes()]))
}

/// A peer's id as the store keeps it.
pub fn peer_bytes(peer: &PeerId) -> PeerIdBytes {
    PeerIdBytes::new(&peer.to_bytes()).expect("a peer's id is a multihash of at most 64 bytes")
}

/// A peer's id from its text in base58, as `12D3Koo...`; `None` when it is none.
pub fn parse_peer_id(text: &str) -> Option<PeerId> {
    if text.len() > PEER_ID_TEXT_LEN_MAX {
        return None;
    }
    text.parse().ok()
}

fn sha256(domain: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(domain);
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}
