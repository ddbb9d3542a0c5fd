//! A repository's objects as one pack, copied as they are stored: no delta is searched, nothing
//! deflated again but objects whose base does not go along.
//!
//! Invariants 3 and 4: every base is sent before its deltas; a base outside the set means that the
//! object goes whole; what is counted and what is sent come from one snapshot; an error leaves no
//! pack behind.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use gix_hash::Kind::Sha1;

use super::ingest::{DEFLATE_LEVEL, deflate, entry_header};
use super::pack_index::{Hashing, IndexEntry, write_index};
use super::resolve::damaged;
use super::row::{Encoding, Row};
use super::{ObjectStore, ROW_LOOKUP_COUNT, part};
use crate::db::Snapshot;
use crate::error::{Result, StoreError};
use crate::id::{ObjectId, RepoId};
use crate::progress::{Progress, Unit};

const OFS_DELTA: u8 = 6;
const BUFFER_LEN: usize = 256 << 10;

/// What an export wrote.
#[derive(Debug)]
pub struct ExportReport {
    /// The pack file; its index stands beside it.
    pub pack: PathBuf,
    /// Objects in the pack.
    pub object_count: u64,
    /// Length of the pack, in bytes.
    pub pack_len: u64,
}

/// An object on its way into a pack.
struct Outgoing {
    id: ObjectId,
    depth: u8,
    /// Offset in the pack, once it is written.
    offset: u64,
    crc32: u32,
}

impl ObjectStore {
    /// Writes all objects of the repository into `dir` as `pack-<sha1>.pack` with its `.idx`,
    /// synced. `None` for a repository without objects.
    ///
    /// # Errors
    /// When an object cannot be read or the files not be written; nothing with a final name is left
    /// then.
    pub fn export_pack(
        &self,
        repo: RepoId,
        dir: &Path,
        progress: &dyn Progress,
    ) -> Result<Option<ExportReport>> {
        let snapshot = self.db.snapshot();
        let mut objects = self.outgoing(&snapshot, repo)?;
        if objects.is_empty() {
            return Ok(None);
        }
        let count = objects.len() as u64;
        progress.start("writing the pack", Some(count), Unit::Objects);
        let io = |e| StoreError::io(format!("writing a pack into {}", dir.display()), e);
        let file = tempfile::Builder::new().prefix("tmp_pack_").tempfile_in(dir).map_err(io)?;
        let (pack_id, pack_len) =
            self.write_pack(&snapshot, &mut objects, file.as_file(), progress)?;
        let entries: Vec<IndexEntry> = objects
            .iter()
            .map(|o| IndexEntry { id: o.id, crc32: o.crc32, offset: o.offset })
            .collect();
        let index = tempfile::Builder::new().prefix("tmp_idx_").tempfile_in(dir).map_err(io)?;
        let mut out = BufWriter::with_capacity(BUFFER_LEN, index.as_file());
        write_index(&mut out, &entries, &pack_id).and_then(|()| out.flush()).map_err(io)?;
        drop(out);
        let name = ObjectId::from_bytes(pack_id);
        let pack = dir.join(format!("pack-{name}.pack"));
        for (file, path) in [(file, pack.clone()), (index, dir.join(format!("pack-{name}.idx")))] {
            file.as_file().sync_all().map_err(io)?;
            read_only(file.as_file()).map_err(io)?;
            file.persist(path).map_err(|e| io(e.error))?;
        }
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(io)?;
        Ok(Some(ExportReport { pack, object_count: count, pack_len }))
    }

    /// All members with their depths, ascending by id.
    fn outgoing(&self, snapshot: &Snapshot<'_>, repo: RepoId) -> Result<Vec<Outgoing>> {
        let mut objects = Vec::new();
        for id in snapshot.members(repo) {
            objects.push(Outgoing { id: id?, depth: 0, offset: 0, crc32: 0 });
        }
        for objects in objects.chunks_mut(ROW_LOOKUP_COUNT) {
            let values =
                snapshot.get_objects(objects.iter().map(|o| o.id.as_bytes().as_slice()))?;
            for (object, value) in objects.iter_mut().zip(values) {
                let value = value.ok_or(StoreError::MissingObject { id: object.id })?;
                object.depth = Row::parse(&object.id, &value)?.encoding.depth();
            }
        }
        Ok(objects)
    }

    /// Writes the pack, depth by depth: so every base stands before its deltas. Within a depth ids
    /// ascend, which is the order of the rows on the disk.
    fn write_pack(
        &self,
        snapshot: &Snapshot<'_>,
        objects: &mut [Outgoing],
        file: &File,
        progress: &dyn Progress,
    ) -> Result<([u8; 20], u64)> {
        let io = |e| StoreError::io("writing a pack", e);
        let mut buffered = BufWriter::with_capacity(BUFFER_LEN, file);
        let mut out = Hashing { out: &mut buffered, hasher: gix_hash::hasher(Sha1) };
        let count = u32::try_from(objects.len()).map_err(|_| StoreError::Limit {
            what: "objects in a pack",
            limit: u64::from(u32::MAX),
            actual: objects.len() as u64,
        })?;
        out.write_all(b"PACK\0\0\0\x02").map_err(io)?;
        out.write_all(&count.to_be_bytes()).map_err(io)?;
        let mut offset = 12;
        let mut order: Vec<u32> = (0..count).collect();
        order.sort_by_key(|&i| objects[i as usize].depth);
        for indexes in order.chunks(ROW_LOOKUP_COUNT) {
            let keys = indexes.iter().map(|&i| objects[i as usize].id.as_bytes().as_slice());
            let keys: Vec<&[u8]> = keys.collect();
            let values = snapshot.get_objects(keys.iter().copied())?;
            for (&index, value) in indexes.iter().zip(values) {
                let id = objects[index as usize].id;
                let value = value.ok_or(StoreError::MissingObject { id })?;
                let entry = self.entry(&id, &value, offset, objects)?;
                out.write_all(&entry).map_err(io)?;
                let object = &mut objects[index as usize];
                object.offset = offset;
                object.crc32 = crc32fast::hash(&entry);
                offset += entry.len() as u64;
            }
            progress.advance(indexes.len() as u64);
            if progress.interrupted() {
                return Err(StoreError::Interrupted);
            }
        }
        let id = out
            .hasher
            .try_finalize()
            .map_err(|_| damaged(&ObjectId::NULL, "SHA-1 attack in a pack"))?;
        let id: [u8; 20] = id.as_slice().try_into().expect("a SHA-1 has 20 bytes");
        out.out.write_all(&id).map_err(io)?;
        out.out.flush().map_err(io)?;
        Ok((id, offset + 20))
    }

    /// One pack entry, header and stream.
    fn entry(
        &self,
        id: &ObjectId,
        value: &[u8],
        offset: u64,
        objects: &[Outgoing],
    ) -> Result<Vec<u8>> {
        let row = Row::parse(id, value)?;
        let mut entry = Vec::with_capacity(value.len() + 16);
        if let Encoding::Delta { base, delta_len, depth } = row.encoding {
            let base = objects.binary_search_by(|o| o.id.cmp(&base)).ok().map(|i| &objects[i]);
            let Some(base) = base else {
                let object = self.read(id)?.ok_or(StoreError::MissingObject { id: *id })?;
                entry_header(&mut entry, object.kind.pack_type(), object.data.len() as u64);
                deflate(&object.data, DEFLATE_LEVEL, &mut entry)
                    .map_err(|e| StoreError::io("deflating an object", e))?;
                return Ok(entry);
            };
            if base.depth >= depth {
                return Err(damaged(id, "its depth is not above its base's"));
            }
            assert!(base.offset > 0 && base.offset < offset, "a base stands before its deltas");
            entry_header(&mut entry, OFS_DELTA, delta_len);
            push_distance(&mut entry, offset - base.offset);
        } else {
            entry_header(&mut entry, row.header.kind.pack_type(), row.header.len);
        }
        entry.extend_from_slice(&part::stream(&self.db, id, &row)?);
        Ok(entry)
    }
}

/// A base's distance (gitformat-pack, "offset encoding"): big-endian base 128, each byte but the
/// last minus one.
fn push_distance(out: &mut Vec<u8>, mut distance: u64) {
    let mut bytes = [0u8; 10];
    let mut start = bytes.len() - 1;
    bytes[start] = (distance & 0x7f) as u8;
    while distance >> 7 != 0 {
        distance = (distance >> 7) - 1;
        start -= 1;
        bytes[start] = 0x80 | (distance & 0x7f) as u8;
    }
    out.extend_from_slice(&bytes[start..]);
}

/// As git leaves its packs.
fn read_only(file: &File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode(0o444))
}

#[cfg(test)]
mod tests {
    use super::push_distance;

    #[test]
    fn distances_as_git_writes_them() {
        for distance in [1u64, 127, 128, 16_511, 16_512, 1 << 20, u64::from(u32::MAX), 1 << 40] {
            let mut out = Vec::new();
            push_distance(&mut out, distance);
            let mut read = u64::from(out[0] & 0x7f);
            for byte in &out[1..] {
                read = ((read + 1) << 7) | u64::from(byte & 0x7f);
            }
            assert_eq!(read, distance);
            assert!(out[..out.len() - 1].iter().all(|b| b & 0x80 != 0));
        }
    }
}
