//! The server's functions on a real store, without HTTP.

mod batch;
mod chunked;
mod hostile;
mod locks;
mod slices;
mod transfer;

use mega_storage::{FileId, NoProgress, Repo, RepoName, Store, StoreOptions, Visibility};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::slices::SliceCache;
use super::*;

/// A store with two repositories.
pub(super) struct World {
    pub(super) store: Store,
    pub(super) repo: Repo,
    pub(super) other: Repo,
    slices: SliceCache,
    _dir: TempDir,
}

impl World {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let options = StoreOptions {
            block_cache_len: 8 << 20,
            base_cache_len: 1 << 20,
            chunk_cache_len: 2 << 20,
        };
        let store = Store::create(&dir.path().join("s"), &options).expect("made");
        let make = |name: &str| {
            let name = RepoName::new(name).expect("a name");
            store.repos().create(&name, Visibility::Private).expect("made")
        };
        let (repo, other) = (make("a"), make("b"));
        Self { store, repo, other, slices: SliceCache::default(), _dir: dir }
    }

    /// The owner, in the first repository.
    pub(super) fn context(&self) -> LfsContext<'_> {
        LfsContext {
            store: &self.store,
            repo: &self.repo,
            rights: Rights::Owner,
            actor: "ada",
            quota: None,
            slices: &self.slices,
            stop: &NoProgress,
        }
    }

    /// Takes content in for the first repository.
    pub(super) fn put(&self, content: &[u8]) -> FileId {
        let id = file_id(content);
        let len = Some(content.len() as u64);
        upload(&self.context(), &id, len, &mut &content[..]).expect("taken in");
        id
    }
}

pub(super) const LINKS: Links<'_> =
    Links { base_url: "http://h/a.git/info/lfs", authorization: None, expires_in_s: None };

pub(super) fn file_id(content: &[u8]) -> FileId {
    FileId::from_bytes(Sha256::digest(content).into())
}

/// Bytes that do not repeat; the same for the same seed.
pub(in crate::lfs) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes()
    });
    words.flatten().take(len).collect()
}

/// What a client would see of an error.
fn seen(error: &LfsError) -> (u16, serde_json::Value) {
    (error.status(), serde_json::to_value(error.body(Some("7"))).expect("JSON"))
}

#[test]
fn errors_have_the_shape_of_the_documents() {
    let id = file_id(b"x");
    let (status, json) = seen(&LfsError::NoObject { id });
    assert_eq!(status, 404);
    let message = format!("object {id} does not exist");
    assert_eq!(json, serde_json::json!({"message": message, "request_id": "7"}));
    let secret = mega_storage::StoreError::DamagedRow {
        family: "file",
        key: "secret".into(),
        reason: "reason",
    };
    let (status, json) = seen(&secret.into());
    assert_eq!((status, json["message"].as_str()), (500, Some("internal server error")));
}
