//! Signed records of repositories: what their publisher says of them, found in the DHT or brought
//! by a peer, and believed only after every rule has been checked here.
//!
//! A record belongs to one slot: a repository's id and a publisher. The id is made of the origin's
//! key, so nobody else can make a repository with it; the slot's place in the DHT is made of both,
//! so nobody else's record can lie there; the publisher's key is in its peer id and signs the
//! record; its number only rises, and the highest seen is remembered. A fork is its own record by
//! its own publisher for the same id.
//!
//! ```text
//! record    dag-cbor map { sig: 64 bytes, value: bytes }                   at most 8 KiB
//! sig       ed25519 over "mega-record-sig/1:" and value
//! value     dag-cbor map { v: 1, rid, origin, nonce, name, [called], publisher, refs, [head],
//!                          seq, issued, eol, [public], [addrs], [forks] }
//! public    true: everybody may read it at its publisher, and serve it on; else absent
//! addrs     1 to 16 multiaddresses as bytes
//! forks     1 to 16 maps { peer, seq, [head], issued }: a hint of where to look, proof of nothing
//! ```
//!
//! In the DHT lie records of public repositories and no others, each at its slot's place and at
//! that of its publisher and the name, for who knows only an address; its own words say that it
//! belongs there. Anybody may put it there again.
//!
//! Ids and hashes are byte strings, times seconds since 1970. Optional fields are absent, never
//! null or empty. There is one encoding of each record. There is no field for a hash of the whole
//! content: `refs` is a digest of all visible references, and each of them fixes all it leads to.
//!
//! Will not do: look anything up. The DHT's own node and whoever reads call the same rules.

mod claims;
mod codec;
mod error;
mod key;
mod refs;
mod rules;
mod seen;
mod slides;
mod url;

pub use claims::{ForkHint, RECORD_FORKS_MAX, RecordClaims};
pub use error::RecordError;
pub use key::{
    Slot, file_key, forks_key, name_key, new_nonce, parse_peer_id, peer_bytes, providers_key,
    repo_key,
};
pub use mega_storage::{DhtKey, RepoKey, RepoNonce};
pub use refs::{RefsDigest, RefsHasher, RefsOrder};
pub use rules::{
    Choice, EOL_AHEAD_MAX_S, Highest, ISSUED_AHEAD_MAX_S, RECORD_LEN_MAX, RepoRecord, accept,
    accept_in_dht, check, choose,
};
pub use seen::{PublishError, publish, remembered, take_in};
pub use slides::{SLIDES_LEN_MAX, SlidesError, SlidesFork, SlidesHint};
pub use url::{P2P_URL_LEN_MAX, P2pTarget, P2pUrl, P2pUrlError, RepoSought, RepoSoughtError};

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests;
