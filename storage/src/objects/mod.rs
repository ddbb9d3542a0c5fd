//! Git objects by SHA-1, deltas kept.
//!
//! Invariants, each asserted where it is made and again where it is relied on:
//! 1. **No cycles.** A whole row has depth 0; a delta row's depth is greater than its base's and at
//!    most [`limits::DEPTH_MAX`]. An id already stored keeps its row; a new row's base is a stored
//!    row or an earlier row of the same pack. The last filter against what is stored, and the
//!    taking in, run under one store-wide lock: a sorted file hides an older row of the same key. A
//!    duplicate that is dropped is compared byte for byte.
//! 2. **Order of becoming visible**: parts and pointers, objects, membership; then the references.
//!    What a row needs is there before the row, because an id already stored keeps its row: a crash
//!    between leaves garbage at most.
//! 3. **A delta's base never leaks.** A thin pack's bases are looked for only in the pusher's
//!    repository. What goes out goes with its base, or whole.
//! 4. **Packs that any client reads**: bases before deltas, from one snapshot, never a short valid
//!    pack.
//! 5. **Membership is not reachability.** [`ObjectStore::is_member`] scopes reads; it lists nothing
//!    for clients.
//! 6. **What was skipped is checked again.** Ids that a pack did not write because they were
//!    stored, and outside bases, are looked up again under the lock, and written from the
//!    quarantine file if they have gone.

mod batch;
mod cache;
mod compose;
mod delta;
mod export;
mod inflate;
mod ingest;
pub(crate) mod limits;
mod pack_index;
mod part;
mod resolve;
pub(crate) mod row;
mod send;
mod stream;
mod usage;

use std::sync::Arc;

use bytes::Bytes;

use crate::db::{Db, Family, keys};
use crate::error::{Result, StoreError};
use crate::id::{FileId, ObjectId, RepoId};
use crate::object::pointer::POINTER_LEN_MAX;
use crate::object::{Object, ObjectHeader, ObjectKind, hash_object};
use crate::read::{ObjectStat, Pointer};
pub(crate) use batch::OBJECT_LEN_MAX as BATCHED_LEN_MAX;
use cache::BaseCache;
#[cfg(test)]
pub(crate) use delta::tests::{deflate as deflate_for_tests, deltas as delta_for_tests};
pub(crate) use delta::{Instruction, lengths as delta_lengths, take_instruction};
pub use export::ExportReport;
#[cfg(test)]
pub(crate) use ingest::tests as packs_for_tests;
pub use ingest::{ClosedPack, IngestOptions, IngestReport, PackInput, PreparedPack};
pub use limits::PackLimits;
use resolve::Inflated;
use row::Row;
pub(crate) use send::kept::KeptPacks;
pub use send::{SendOptions, SendReport};
use stream::BlobStreams;
pub(crate) use stream::STREAM_LEN_MIN;

/// Keys looked up in one go.
const LOOKUP_COUNT: usize = 1_024;
/// Rows with their streams looked up in one go: each may have a megabyte.
const ROW_LOOKUP_COUNT: usize = 64;

/// The store of git objects.
pub struct ObjectStore {
    db: Arc<Db>,
    inflated: BaseCache<ObjectId, Inflated>,
    streams: BlobStreams,
    kept: KeptPacks,
}

impl ObjectStore {
    pub(crate) fn new(db: Arc<Db>, base_cache_len: usize) -> Self {
        let kept = KeptPacks::new(&db);
        let inflated = BaseCache::new(base_cache_len);
        Self { db, inflated, streams: BlobStreams::default(), kept }
    }

    /// Kind and length, without inflating anything.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn header(&self, id: &ObjectId) -> Result<Option<ObjectHeader>> {
        let Some(value) = self.db.get(Family::Object, id.as_bytes())? else { return Ok(None) };
        Ok(Some(Row::parse(id, &value)?.header))
    }

    /// What is known of each object without inflating it, in the order of `ids`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn stat(&self, ids: &[ObjectId]) -> Result<Vec<Option<ObjectStat>>> {
        let mut stats = Vec::with_capacity(ids.len());
        for ids in ids.chunks(ROW_LOOKUP_COUNT) {
            let values =
                self.db.multi_get(Family::Object, ids.iter().map(ObjectId::as_bytes), false)?;
            for (id, value) in ids.iter().zip(values) {
                let header = value.map(|v| Row::parse(id, &v).map(|row| row.header)).transpose()?;
                stats.push(header.map(|header| ObjectStat { header, pointer: None }));
            }
        }
        let small: Vec<usize> = (0..ids.len()).filter(|&i| may_be_pointer(stats[i])).collect();
        for indexes in small.chunks(LOOKUP_COUNT) {
            let keys = indexes.iter().map(|&i| ids[i].as_bytes());
            let values = self.db.multi_get(Family::ObjectPointer, keys, false)?;
            for (&index, value) in indexes.iter().zip(values) {
                let pointer = value.map(|v| parse_pointer_row(&ids[index], &v)).transpose()?;
                if let Some(stat) = &mut stats[index] {
                    stat.pointer = pointer;
                }
            }
        }
        Ok(stats)
    }

    /// The kind of each object that is stored, in the order of `ids`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn kinds(&self, ids: &[ObjectId]) -> Result<Vec<Option<ObjectKind>>> {
        let mut kinds = Vec::with_capacity(ids.len());
        for ids in ids.chunks(ROW_LOOKUP_COUNT) {
            let keys = ids.iter().map(ObjectId::as_bytes);
            for (id, value) in ids.iter().zip(self.db.multi_get(Family::Object, keys, false)?) {
                let kind = value.map(|v| Row::parse(id, &v).map(|row| row.header.kind));
                kinds.push(kind.transpose()?);
            }
        }
        Ok(kinds)
    }

    /// A whole object. Its hash was checked when it came in and is not checked again: see
    /// [`Self::read_verified`].
    ///
    /// # Errors
    /// [`StoreError::MissingObject`] for a base that is gone, [`StoreError::DamagedRow`] for
    /// damage.
    pub fn read(&self, id: &ObjectId) -> Result<Option<Object>> {
        let found = resolve::resolve(&*self.db, &self.inflated, id)?;
        Ok(found.map(|(kind, data)| Object { kind, data }))
    }

    /// A whole object whose bytes were hashed again.
    ///
    /// # Errors
    /// As [`Self::read`], and when the bytes do not have this id.
    pub fn read_verified(&self, id: &ObjectId) -> Result<Option<Object>> {
        let Some(object) = self.read(id)? else { return Ok(None) };
        verify(id, object.kind, &object.data)?;
        Ok(Some(object))
    }

    /// As [`Self::read`], from the rows alone, whatever is cached.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(crate) fn read_afresh(&self, id: &ObjectId) -> Result<Option<Object>> {
        let found = resolve::resolve(&*self.db, &BaseCache::new(0), id)?;
        Ok(found.map(|(kind, data)| Object { kind, data }))
    }

    /// Reads from an object's content at `offset`; returns the bytes read, fewer than asked only at
    /// the end.
    ///
    /// The object's hash is checked, but for a large one that is stored whole: that is inflated as
    /// a stream, held by zlib's and RocksDB's checksums, and a reader that goes on where it stopped
    /// does not start from the front.
    ///
    /// # Errors
    /// [`StoreError::MissingObject`] when it is absent.
    pub fn read_at(&self, id: &ObjectId, offset: u64, out: &mut [u8]) -> Result<usize> {
        let missing = || StoreError::MissingObject { id: *id };
        let known = self.inflated.get(id);
        if let Some(Inflated::Verified(_, data)) = &known {
            return Ok(copy_at(data, offset, out));
        }
        let value = self.db.get(Family::Object, id.as_bytes())?.ok_or_else(missing)?;
        let row = Row::parse(id, &value)?;
        if offset >= row.header.len {
            return Ok(0);
        }
        if row.encoding == row::Encoding::Whole && row.header.len > stream::STREAM_LEN_MIN {
            return self.streams.read_at(&self.db, id, &row, offset, out);
        }
        if let (row::Encoding::Whole, row::Body::Inline(stream)) = (row.encoding, row.body)
            && (offset, out.len() as u64) == (0, row.header.len)
        {
            // All of it is asked for, and whoever asked has it then: there is no use in keeping it.
            inflate::inflate_to(stream, out).map_err(|reason| resolve::damaged(id, reason))?;
            verify(id, row.header.kind, out)?;
            return Ok(out.len());
        }
        let found = match known {
            Some(_) => resolve::resolve(&*self.db, &self.inflated, id),
            None => resolve::resolve_row(&*self.db, &self.inflated, id, &row),
        };
        let (kind, data) = found?.ok_or_else(missing)?;
        verify(id, kind, &data)?;
        self.inflated.put(*id, Inflated::Verified(kind, data.clone()));
        Ok(copy_at(&data, offset, out))
    }

    /// Row of an object that is stored whole, as it stands; large streams are written beside, past
    /// the log, and `true` says so.
    pub(crate) fn whole_row(&self, id: &ObjectId, object: &Object) -> Result<(Vec<u8>, bool)> {
        let mut stream = Vec::new();
        ingest::deflate(&object.data, ingest::DEFLATE_LEVEL, &mut stream)
            .map_err(|e| StoreError::io("deflating an object", e))?;
        let has_parts = stream.len() > limits::PART_LEN;
        let body = match has_parts {
            true => row::Body::Parts(part::write_parts(&self.db, id, &stream)?),
            false => row::Body::Inline(&stream),
        };
        let header = ObjectHeader { kind: object.kind, len: object.data.len() as u64 };
        let mut value = Vec::new();
        Row { header, encoding: row::Encoding::Whole, body }.encode(&mut value);
        Ok((value, has_parts))
    }

    /// Forgets what is cached of an object whose row was replaced.
    pub(crate) fn forget_cached(&self, id: &ObjectId) {
        self.inflated.remove(id);
    }

    /// Whether the repository has the object.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn is_member(&self, repo: RepoId, id: &ObjectId) -> Result<bool> {
        self.db.contains(Family::RepoObject, &keys::repo_object(repo, id))
    }

    /// For each id, whether the repository has the object.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn are_members(&self, repo: RepoId, ids: &[ObjectId]) -> Result<Vec<bool>> {
        let mut found = Vec::with_capacity(ids.len());
        for ids in ids.chunks(LOOKUP_COUNT) {
            let keys: Vec<_> = ids.iter().map(|id| keys::repo_object(repo, id)).collect();
            let values = self.db.multi_get(Family::RepoObject, &keys, false)?;
            found.extend(values.iter().map(Option::is_some));
        }
        Ok(found)
    }

    /// For each repository, ascending, whether it has the object.
    pub(crate) fn have(&self, repos: &[RepoId], id: &ObjectId) -> Result<Vec<bool>> {
        let keys: Vec<_> = repos.iter().map(|repo| keys::repo_object(*repo, id)).collect();
        let rows = self.db.multi_get(Family::RepoObject, &keys, true)?;
        Ok(rows.iter().map(Option::is_some).collect())
    }

    /// Every object of the repository, ascending, from one snapshot.
    pub fn members(&self, repo: RepoId) -> impl Iterator<Item = Result<ObjectId>> + '_ {
        let rows = self.db.scan(Family::RepoObject, &keys::repo_prefixed(repo, &[]));
        rows.map(|row| row.and_then(|(key, _)| member_id(&key)))
    }

    /// At most `max` objects of the repository whose id starts with the hexadecimal digits
    /// `prefix`, ascending.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn members_with_prefix(
        &self,
        repo: RepoId,
        prefix: &str,
        max: usize,
    ) -> Result<Vec<ObjectId>> {
        let prefix = prefix.to_ascii_lowercase();
        let mut first = [b'0'; 40];
        let Some(head) = first.get_mut(..prefix.len()) else { return Ok(Vec::new()) };
        head.copy_from_slice(prefix.as_bytes());
        let Ok(first) = ObjectId::from_hex(&first) else { return Ok(Vec::new()) };
        let from = keys::repo_object(repo, &first);
        let rows = self.db.scan_from(Family::RepoObject, &keys::repo_prefixed(repo, &[]), &from);
        let mut found = Vec::new();
        for row in rows {
            let id = member_id(&row?.0)?;
            if found.len() == max || !id.to_string().starts_with(&prefix) {
                break;
            }
            found.push(id);
        }
        Ok(found)
    }

    /// How many objects the repository has.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn member_count(&self, repo: RepoId) -> Result<u64> {
        let mut count = 0;
        for row in self.db.scan(Family::RepoObject, &keys::repo_prefixed(repo, &[])) {
            row?;
            count += 1;
        }
        Ok(count)
    }

    /// Every LFS pointer among the repository's blobs, with the blob that holds it.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn pointers(&self, repo: RepoId) -> Result<Vec<(ObjectId, Pointer)>> {
        let mut all = Vec::new();
        for row in self.db.scan(Family::ObjectPointer, &[]) {
            let (key, value) = row?;
            let id = ObjectId::from_slice(&key).ok_or_else(|| damaged_pointer("?"))?;
            all.push((id, parse_pointer_row(&id, &value)?));
        }
        let ids: Vec<_> = all.iter().map(|(id, _)| *id).collect();
        let members = self.are_members(repo, &ids)?;
        Ok(all.into_iter().zip(members).filter(|(_, member)| *member).map(|(row, _)| row).collect())
    }
}

/// Whether the bytes have the id under which they were found.
fn verify(id: &ObjectId, kind: ObjectKind, data: &[u8]) -> Result<()> {
    if hash_object(kind, data) == Ok(*id) {
        return Ok(());
    }
    Err(StoreError::DamagedRow {
        family: "object",
        key: id.to_string(),
        reason: "its bytes do not have its id",
    })
}

fn may_be_pointer(stat: Option<ObjectStat>) -> bool {
    stat.is_some_and(|s| {
        s.header.kind == ObjectKind::Blob && s.header.len <= POINTER_LEN_MAX as u64
    })
}

/// `object_pointer`: the file's id, then its length.
pub(crate) fn pointer_row(pointer: &Pointer) -> [u8; 40] {
    let mut row = [0; 40];
    row[..32].copy_from_slice(pointer.file.as_bytes());
    row[32..].copy_from_slice(&pointer.len.to_be_bytes());
    row
}

fn parse_pointer_row(id: &ObjectId, row: &[u8]) -> Result<Pointer> {
    let parts = row
        .split_first_chunk::<32>()
        .and_then(|(file, len)| Some((*file, u64::from_be_bytes(len.try_into().ok()?))));
    let (file, len) = parts.ok_or_else(|| damaged_pointer(&id.to_string()))?;
    Ok(Pointer { file: FileId::from_bytes(file), len })
}

fn damaged_pointer(key: &str) -> StoreError {
    StoreError::DamagedRow {
        family: "object_pointer",
        key: key.to_owned(),
        reason: "it does not have 40 bytes",
    }
}

fn member_id(key: &[u8]) -> Result<ObjectId> {
    key.split_at_checked(4).and_then(|(_, id)| ObjectId::from_slice(id)).ok_or_else(|| {
        StoreError::DamagedRow {
            family: "repo_object",
            key: format!("{key:02x?}"),
            reason: "its key does not have 24 bytes",
        }
    })
}

fn copy_at(data: &Bytes, offset: u64, out: &mut [u8]) -> usize {
    let rest = usize::try_from(offset).ok().and_then(|o| data.get(o..)).unwrap_or_default();
    let len = rest.len().min(out.len());
    out[..len].copy_from_slice(&rest[..len]);
    len
}
