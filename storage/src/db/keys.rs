//! Keys, one function a kind. Numbers are big-endian so that keys sort as the numbers do.

use crate::id::{ChunkId, FileId, ObjectId, RepoId};
use crate::name::{RefName, RepoName};

/// `object_part`: the object's id, its stream's name, then the part's index.
pub(crate) fn object_part(id: &ObjectId, stream: &[u8; 16], index: u32) -> [u8; 40] {
    let mut key = [0; 40];
    key[..20].copy_from_slice(id.as_bytes());
    key[20..36].copy_from_slice(stream);
    key[36..].copy_from_slice(&index.to_be_bytes());
    key
}

/// `repo_object`: the repository, then the object's id.
pub(crate) fn repo_object(repo: RepoId, id: &ObjectId) -> [u8; 24] {
    let mut key = [0; 24];
    key[..4].copy_from_slice(&repo.0.to_be_bytes());
    key[4..].copy_from_slice(id.as_bytes());
    key
}

/// `file_segment`: the file's id, then the segment's index.
pub(crate) fn file_segment(id: &FileId, index: u32) -> [u8; 36] {
    let mut key = [0; 36];
    key[..32].copy_from_slice(id.as_bytes());
    key[32..].copy_from_slice(&index.to_be_bytes());
    key
}

/// Bytes of an id in a row that only says where to look: half of it.
pub(crate) const HALF_LEN: usize = 16;

/// `chunk_file`: half of the chunk's id, half of the file's.
pub(crate) fn chunk_file(chunk: &ChunkId, file: &FileId) -> [u8; 2 * HALF_LEN] {
    let mut key = [0; 2 * HALF_LEN];
    key[..HALF_LEN].copy_from_slice(&chunk_files(chunk));
    key[HALF_LEN..].copy_from_slice(&file.as_bytes()[..HALF_LEN]);
    key
}

/// `chunk_file`: the files that have a chunk, as a prefix.
pub(crate) fn chunk_files(chunk: &ChunkId) -> [u8; HALF_LEN] {
    let mut prefix = [0; HALF_LEN];
    prefix.copy_from_slice(&chunk.as_bytes()[..HALF_LEN]);
    prefix
}

/// `file_repo`: the file's id, then the repository.
pub(crate) fn file_repo(file: &FileId, repo: RepoId) -> [u8; 36] {
    let mut key = [0; 36];
    key[..32].copy_from_slice(file.as_bytes());
    key[32..].copy_from_slice(&repo.0.to_be_bytes());
    key
}

/// `repo_file`: the repository, then the file's id.
pub(crate) fn repo_file(repo: RepoId, id: &FileId) -> [u8; 36] {
    let mut key = [0; 36];
    key[..4].copy_from_slice(&repo.0.to_be_bytes());
    key[4..].copy_from_slice(id.as_bytes());
    key
}

/// `ref`: the repository, then the reference's name.
pub(crate) fn reference(repo: RepoId, name: &RefName) -> Vec<u8> {
    repo_prefixed(repo, name.as_bytes())
}

/// `ref`, `repo_object`, `repo_file`: the rows of one repository, optionally below a name's prefix.
pub(crate) fn repo_prefixed(repo: RepoId, rest: &[u8]) -> Vec<u8> {
    let mut key = repo.0.to_be_bytes().to_vec();
    key.extend_from_slice(rest);
    key
}

/// `repo`: from the name to the number.
pub(crate) fn repo_name(name: &RepoName) -> Vec<u8> {
    let mut key = b"n".to_vec();
    key.extend_from_slice(name.as_str().as_bytes());
    key
}

/// `repo`: from the number to the record.
pub(crate) fn repo_record(repo: RepoId) -> [u8; 5] {
    let mut key = [b'r'; 5];
    key[1..].copy_from_slice(&repo.0.to_be_bytes());
    key
}

/// `repo`: how many bytes of objects the repository has.
pub(crate) fn repo_usage(repo: RepoId) -> [u8; 5] {
    let mut key = repo_record(repo);
    key[0] = b'u';
    key
}

/// `repo`: the settings.
pub(crate) fn repo_settings(repo: RepoId) -> [u8; 5] {
    let mut key = repo_record(repo);
    key[0] = b's';
    key
}

/// `repo`: a pack of this repository that has been imported whole, by its trailing SHA-1.
pub(crate) fn repo_pack(repo: RepoId, pack: &[u8; 20]) -> [u8; 25] {
    let mut key = [b'p'; 25];
    key[1..5].copy_from_slice(&repo.0.to_be_bytes());
    key[5..].copy_from_slice(pack);
    key
}

/// `repo`: the counters of a repository's locks, and the prefix of its locks.
pub(crate) fn repo_locks(repo: RepoId) -> [u8; 5] {
    let mut key = [b'l'; 5];
    key[1..].copy_from_slice(&repo.0.to_be_bytes());
    key
}

/// `repo`: a lock, by its number.
pub(crate) fn repo_lock(repo: RepoId, number: u64) -> [u8; 13] {
    let mut key = [b'l'; 13];
    key[1..5].copy_from_slice(&repo.0.to_be_bytes());
    key[5..].copy_from_slice(&number.to_be_bytes());
    key
}

/// `repo`: from a locked path to the lock's number; without a path, the prefix of all.
pub(crate) fn repo_locked_path(repo: RepoId, path: &[u8]) -> Vec<u8> {
    let mut key = b"k".to_vec();
    key.extend_from_slice(&repo.0.to_be_bytes());
    key.extend_from_slice(path);
    key
}

/// `lease`: the uploads by chunks into a repository, as a prefix.
pub(crate) fn lease_uploads(repo: RepoId) -> [u8; 5] {
    let mut key = [b'u'; 5];
    key[1..].copy_from_slice(&repo.0.to_be_bytes());
    key
}

/// `lease`: the chunks of all uploads into a repository, as a prefix.
pub(crate) fn lease_uploads_chunks(repo: RepoId) -> [u8; 5] {
    let mut key = lease_uploads(repo);
    key[0] = b'v';
    key
}

/// `lease`: an upload by chunks.
pub(crate) fn lease_upload(repo: RepoId, file: &FileId) -> [u8; 37] {
    let mut key = [b'u'; 37];
    key[1..5].copy_from_slice(&repo.0.to_be_bytes());
    key[5..].copy_from_slice(file.as_bytes());
    key
}

/// `lease`: the chunks of an upload, as a prefix.
pub(crate) fn lease_upload_chunks(repo: RepoId, file: &FileId) -> [u8; 37] {
    let mut key = lease_upload(repo, file);
    key[0] = b'v';
    key
}

/// `lease`: a chunk that an upload has brought.
pub(crate) fn lease_upload_chunk(repo: RepoId, file: &FileId, chunk: &ChunkId) -> [u8; 69] {
    let mut key = [0; 69];
    key[..37].copy_from_slice(&lease_upload_chunks(repo, file));
    key[37..].copy_from_slice(chunk.as_bytes());
    key
}

/// `gone`: a reference ended or moved away from an object.
pub(crate) fn gone_ref(repo: RepoId, at_unix: u64, id: &ObjectId) -> Vec<u8> {
    gone(b'r', repo, at_unix, id.as_bytes())
}

/// `gone`: a right to a file was taken away.
pub(crate) fn gone_file(repo: RepoId, at_unix: u64, id: &FileId) -> Vec<u8> {
    gone(b'f', repo, at_unix, id.as_bytes())
}

fn gone(kind: u8, repo: RepoId, at_unix: u64, id: &[u8]) -> Vec<u8> {
    let mut key = gone_of(kind, repo).to_vec();
    key.extend_from_slice(&at_unix.to_be_bytes());
    key.extend_from_slice(id);
    key
}

/// `gone`: a repository was deleted.
pub(crate) fn gone_repo(repo: RepoId) -> [u8; 5] {
    gone_of(b'd', repo)
}

/// `gone`: all rows of one kind of a repository, as a prefix.
pub(crate) fn gone_of(kind: u8, repo: RepoId) -> [u8; 5] {
    let mut key = [kind; 5];
    key[1..].copy_from_slice(&repo.0.to_be_bytes());
    key
}
