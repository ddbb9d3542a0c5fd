//! What the rows of each family look like, as `storage/README.md` says: for those whose damage
//! nothing else would show.

use crate::db::Family;
use crate::id::{ChunkId, FileId, ObjectId};
use crate::manifest::SEGMENT_CHUNKS_MAX;
use crate::name::RefName;
use crate::refs::RefTarget;

/// Bytes of a chunk in a segment.
const CHUNK_REF_LEN: usize = ChunkId::LEN + 4;
/// Bytes of a repository's number.
const REPO_LEN: usize = 4;

/// Whether a row can be one of its family.
pub(super) fn fits(family: Family, key: &[u8], value: &[u8]) -> bool {
    let (len, value_len) = (key.len(), value.len());
    match family {
        Family::Object => len == ObjectId::LEN && value_len > 0,
        Family::ObjectPart => len == ObjectId::LEN + 20 && value_len > 0,
        Family::ObjectPointer => len == ObjectId::LEN && value_len == FileId::LEN + 8,
        Family::RepoObject => len == REPO_LEN + ObjectId::LEN && value_len == 0,
        Family::Chunk => len == ChunkId::LEN && value_len > 0,
        Family::ChunkMeta => len == ChunkId::LEN && value_len == 16,
        Family::File => len == FileId::LEN && value_len >= 19,
        Family::FileSegment => {
            let count = value_len / CHUNK_REF_LEN;
            let is_whole = value_len == count * CHUNK_REF_LEN;
            len == FileId::LEN + 4 && is_whole && (1..=SEGMENT_CHUNKS_MAX).contains(&count)
        }
        Family::ChunkFile => len == 32 && value_len == 4,
        Family::RepoFile => len == REPO_LEN + FileId::LEN && matches!(value_len, 0 | 8 | 9),
        Family::FileRepo => len == FileId::LEN + REPO_LEN && value_len == 0,
        Family::Ref => {
            let name = key.get(REPO_LEN..).and_then(|name| RefName::new(name).ok());
            name.is_some() && RefTarget::decode(value).is_some()
        }
        Family::Repo => repo(key, value),
        Family::Store => store(key, value),
        Family::Lease => lease(key, value),
        Family::Outbox => len == 8 && value.first() == Some(&1),
        Family::Event => false,
        Family::Partial => partial(key, value),
        Family::Swarm => swarm(key, value),
        Family::Gone => gone(key, value),
    }
}

fn repo(key: &[u8], value: &[u8]) -> bool {
    let (len, value_len) = (key.len(), value.len());
    match key.first() {
        Some(b'n') => len > 1 && value_len == REPO_LEN,
        Some(b'r') => len == 5 && matches!(value.first(), Some(1 | 2)),
        Some(b's') => len == 5 && value.first() == Some(&1),
        Some(b'u') => len == 5 && value_len == 8,
        Some(b'p') => len == 25 && value_len == 0,
        Some(b'l') => len == 5 && value_len == 16 || len == 13 && value.first() == Some(&1),
        Some(b'k') => len > 5 && value_len == 8,
        _ => false,
    }
}

fn store(key: &[u8], value: &[u8]) -> bool {
    const HASH: &[u8] = b"token_hash/";
    const RECORD: &[u8] = b"token_record/";
    let value_len = value.len();
    match key {
        b"format" | b"repo_next" | b"token_next" => value_len == 4,
        b"outbox_next" | b"cache_limit" => value_len == 8,
        super::place::KEY => super::place::Place::decode(value).is_some(),
        _ if key.starts_with(HASH) => key.len() == HASH.len() + 32 && value_len == 4,
        _ if key.starts_with(RECORD) => key.len() == RECORD.len() + 4 && value.first() == Some(&1),
        _ => false,
    }
}

fn lease(key: &[u8], value: &[u8]) -> bool {
    match key.first() {
        Some(b'u') => key.len() == 37 && value.len() == 25 && value.first() == Some(&1),
        Some(b'v') => key.len() == 69 && value.len() == 4,
        _ => false,
    }
}

fn partial(key: &[u8], value: &[u8]) -> bool {
    let (len, value_len) = (key.len(), value.len());
    match key.get(REPO_LEN) {
        Some(b'b') => len == 25 && value_len == 8,
        Some(b'f' | b'u') => len == 37 && value_len == 8,
        Some(b'p') => len == 45 && value_len.is_multiple_of(CHUNK_REF_LEN),
        Some(b's') => len == 45 && value_len == 66,
        Some(b'c') => len == 45 && value_len == CHUNK_REF_LEN,
        Some(b'n') => len == 5 && *value == [1],
        _ => false,
    }
}

fn swarm(key: &[u8], value: &[u8]) -> bool {
    let (len, value_len) = (key.len(), value.len());
    let is_first_version = value.first() == Some(&1);
    match key.first() {
        Some(b'i') => len == 5 && is_first_version,
        Some(b'r') => len == 33 && value_len == REPO_LEN,
        Some(b's' | b'a') => len > 33 && is_first_version,
        Some(b'p') => len > 1 && is_first_version,
        Some(b'v') => len == 33 && is_first_version,
        _ => false,
    }
}

fn gone(key: &[u8], value: &[u8]) -> bool {
    let len = key.len();
    match key.first() {
        Some(b'r') => len == 5 + 8 + ObjectId::LEN && RefName::new(value).is_ok(),
        Some(b'f') => len == 5 + 8 + FileId::LEN && value.is_empty(),
        Some(b'd') => len == 5 && value.len() > 8,
        _ => false,
    }
}
