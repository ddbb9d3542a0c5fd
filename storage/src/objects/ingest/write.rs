//! From a plan to rows: sorted files for a large pack, one batch for a small one.
//!
//! Order of becoming visible: parts and pointers, objects, membership. A crash between two steps
//! leaves rows that nothing names; the same pack brought again completes them.

use super::filter::{Plan, PlannedRow};
use super::quarantine::{Quarantine, io_error};
use super::resolve::Resolved;
use super::whole::{PackReader, deflate};
use crate::db::{Durability, Family, SortedFile, keys};
use crate::error::Result;
use crate::id::{ObjectId, RepoId};
use crate::object::ObjectHeader;
use crate::objects::limits::PART_LEN;
use crate::objects::row::{Body, Encoding, Row};
use crate::objects::{ObjectStore, part, pointer_row};

/// A pack with fewer new rows, and fewer bytes, goes through the log as one batch: tiny sorted
/// files would pile up.
const BATCH_ROW_COUNT: usize = 2_000;
const BATCH_LEN: u64 = 2 << 20;
/// Level for objects that have to be deflated anew: zlib's default, as git's.
pub(in crate::objects) const DEFLATE_LEVEL: u32 = 6;

/// Rows that are written but not visible.
pub(super) struct Rows {
    repo: RepoId,
    /// Sorted files in the order in which they are taken in; none for a small pack.
    files: Vec<SortedFile>,
    objects: Vec<(ObjectId, Vec<u8>)>,
    pointers: Vec<(ObjectId, [u8; 40])>,
    members: Vec<ObjectId>,
    /// Bytes by which the repository grows.
    members_len: u64,
    has_parts: bool,
}

impl Rows {
    /// Writes everything that needs no lock.
    pub(super) fn write(
        store: &ObjectStore,
        repo: RepoId,
        quarantine: &Quarantine,
        resolved: &Resolved,
        plan: &Plan,
    ) -> Result<Self> {
        let reader = PackReader::new(quarantine, resolved)?;
        let mut rows = Self {
            repo,
            files: Vec::new(),
            objects: Vec::new(),
            pointers: pointers(resolved, plan),
            members: Vec::new(),
            members_len: plan.members_len,
            has_parts: false,
        };
        let len: u64 = plan.rows.iter().map(|row| stream_len(resolved, row)).sum();
        let encode = Encode { store, resolved, reader: &reader };
        let mut has_parts = false;
        let mut encoded = plan.rows.iter().map(|row| {
            let id = resolved.objects[row.position as usize].id;
            encode.row(row, &mut has_parts).map(|value| (id, value))
        });
        if plan.members.len() < BATCH_ROW_COUNT && len < BATCH_LEN {
            rows.objects = encoded.by_ref().collect::<Result<_>>()?;
            rows.members = plan.members.clone();
        } else {
            let objects = encoded.by_ref().map(|row| row.map(|(id, v)| (*id.as_bytes(), v)));
            rows.files.extend(store.db.write_sorted(Family::Object, objects)?);
            let members = plan.members.iter().map(|id| Ok((keys::repo_object(repo, id), [])));
            rows.files.extend(store.db.write_sorted(Family::RepoObject, members)?);
        }
        drop(encoded);
        rows.has_parts = has_parts;
        Ok(rows)
    }

    /// Makes the rows visible. The caller holds the commit lock.
    pub(super) fn commit(self, store: &ObjectStore) -> Result<()> {
        if self.has_parts {
            store.db.flush(&[Family::ObjectPart])?;
        }
        let mut batch = store.db.batch();
        if let Some(len) = store.usage_after(self.repo, self.members_len)? {
            batch.put(Family::Repo, &keys::repo_usage(self.repo), &len.to_be_bytes());
        }
        for (id, row) in &self.pointers {
            batch.put(Family::ObjectPointer, id.as_bytes(), row);
        }
        for (id, row) in &self.objects {
            batch.put(Family::Object, id.as_bytes(), row);
        }
        for id in &self.members {
            batch.put(Family::RepoObject, &keys::repo_object(self.repo, id), &[]);
        }
        store.db.commit(batch, Durability::Synced)?;
        store.db.ingest(self.files)
    }
}

struct Encode<'a> {
    store: &'a ObjectStore,
    resolved: &'a Resolved,
    reader: &'a PackReader<'a>,
}

impl Encode<'_> {
    fn row(&self, planned: &PlannedRow, has_parts: &mut bool) -> Result<Vec<u8>> {
        let position = planned.position;
        let entry = &self.resolved.entries[position as usize];
        let object = &self.resolved.objects[position as usize];
        let mut anew = Vec::new();
        let (encoding, stream) = match entry.base {
            None => (Encoding::Whole, self.reader.stream(position)?),
            Some(base) if planned.depth > 0 => {
                let base = self.resolved.objects[base as usize].id;
                let depth = planned.depth;
                assert_ne!(base, object.id, "an object is not its own base");
                (
                    Encoding::Delta { depth, base, delta_len: entry.stream_len },
                    self.reader.stream(position)?,
                )
            }
            Some(_) => {
                deflate(&self.reader.read(position)?, DEFLATE_LEVEL, &mut anew)
                    .map_err(io_error)?;
                (Encoding::Whole, anew.as_slice())
            }
        };
        let body = if stream.len() > PART_LEN {
            *has_parts = true;
            Body::Parts(part::write_parts(&self.store.db, &object.id, stream)?)
        } else {
            Body::Inline(stream)
        };
        let header = ObjectHeader { kind: object.kind, len: object.len };
        let mut value = Vec::with_capacity(stream.len().min(PART_LEN) + 48);
        Row { header, encoding, body }.encode(&mut value);
        Ok(value)
    }
}

fn stream_len(resolved: &Resolved, row: &PlannedRow) -> u64 {
    let entry = &resolved.entries[row.position as usize];
    entry.end - entry.stream
}

/// Pointer rows of new objects: they become visible before the objects do.
fn pointers(resolved: &Resolved, plan: &Plan) -> Vec<(ObjectId, [u8; 40])> {
    let written = plan.rows.iter().map(|row| &resolved.objects[row.position as usize]);
    written.filter_map(|o| o.pointer.as_deref().map(|p| (o.id, pointer_row(p)))).collect()
}
