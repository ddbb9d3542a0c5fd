//! Objects: each made from its rows and hashed; small blobs compared with what is noted of them as
//! LFS pointers; members of repositories looked for.

use std::mem;

use super::Run;
use super::fault::{self, Look};
use super::finding::{DamagedThing, hex};
use crate::db::{Family, OwnedRow};
use crate::error::{Result, StoreError};
use crate::id::ObjectId;
use crate::lease::short;
use crate::object::pointer::{POINTER_LEN_MAX, parse_pointer};
use crate::object::{ObjectHeader, ObjectKind, hash_object};
use crate::objects::row::{Body, Encoding, Row};
use crate::objects::{BATCHED_LEN_MAX, STREAM_LEN_MIN, pointer_row};
use crate::read::Pointer;

/// Bytes of a large object that are hashed at a time.
const STREAM_STEP_LEN: usize = 1 << 20;

/// A small blob, and what it says.
type Small = (ObjectId, Option<Pointer>);

impl Run<'_> {
    /// Hashes all objects.
    pub(super) fn objects(&mut self) -> Result<()> {
        self.each_part(Family::Object, "hashing objects", |run, rows| run.object_rows(rows))
    }

    fn object_rows(&mut self, rows: &[OwnedRow]) -> Result<()> {
        let mut ids = Vec::with_capacity(rows.len());
        for (key, value) in rows {
            let Some(id) = ObjectId::from_slice(key) else {
                let (family, key) = (Family::Object.name(), hex(key));
                self.add(DamagedThing::Row { family, key }, "its key does not have 20 bytes");
                continue;
            };
            self.seen.add(short(key));
            match Row::parse(&id, value) {
                Err(error) => self.add(DamagedThing::Object(id), fault::reason_of(error)?),
                Ok(row) if row.encoding == Encoding::Whole && row.header.len > STREAM_LEN_MIN => {
                    self.streamed_object(&id, &row.header)?;
                }
                // Together they would come from the cache of what was read lately.
                Ok(row)
                    if matches!(row.body, Body::Parts(_)) || row.header.len > BATCHED_LEN_MAX =>
                {
                    self.large_object(&id)?;
                    if let Body::Parts(parts) = row.body {
                        self.pace.spend(parts.len)?;
                    }
                }
                Ok(_) => ids.push(id),
            }
        }
        self.hash_objects(&ids)
    }

    /// Hashes objects whose ids ascend: all together, which is several times cheaper, and one by
    /// one what did not come of that.
    fn hash_objects(&mut self, ids: &[ObjectId]) -> Result<()> {
        let mut is_good = vec![false; ids.len()];
        let mut small: Vec<Small> = Vec::new();
        let together = self.store.objects().read_each(ids, &mut |index, kind, data| {
            is_good[index] = hash_object(kind, data) == Ok(ids[index]);
            if is_good[index] {
                note_small(&mut small, &ids[index], kind, data);
            }
            Ok(())
        });
        if let Err(error) = together {
            fault::reason_of(error)?;
        }
        for (id, _) in ids.iter().zip(is_good).filter(|(_, is_good)| !is_good) {
            match fault::object(self.store, id)? {
                Look::Sound(object) => note_small(&mut small, id, object.kind, &object.data),
                Look::Absent => continue,
                Look::Bad(reason) => {
                    self.add(DamagedThing::Object(*id), reason);
                    continue;
                }
            }
            self.pace.spend(0)?;
        }
        let bad = ids.iter().filter(|id| self.found.contains_key(&DamagedThing::Object(**id)));
        self.report.object_count += (ids.len() - bad.count()) as u64;
        small.sort_unstable_by_key(|(id, _)| *id);
        self.pointers(&small)
    }

    /// Hashes an object by itself.
    fn large_object(&mut self, id: &ObjectId) -> Result<()> {
        match fault::object(self.store, id)? {
            Look::Sound(_) => self.report.object_count += 1,
            Look::Absent => {}
            Look::Bad(reason) => self.add(DamagedThing::Object(*id), reason),
        }
        Ok(())
    }

    /// Hashes a large object that is stored whole, piece by piece.
    fn streamed_object(&mut self, id: &ObjectId, header: &ObjectHeader) -> Result<()> {
        let mut hasher = gix_hash::hasher(gix_hash::Kind::Sha1);
        hasher.update(format!("{} {}\0", header.kind.as_str(), header.len).as_bytes());
        let (mut piece, mut offset) = (vec![0; STREAM_STEP_LEN], 0);
        let reason = loop {
            match self.store.objects().read_at(id, offset, &mut piece) {
                Ok(0) => {
                    match hasher.try_finalize().map(|actual| ObjectId::from(actual.as_ref())) {
                        Ok(actual) if actual == *id => {
                            self.report.object_count += 1;
                            return Ok(());
                        }
                        _ => break "its bytes do not have its id".to_owned(),
                    }
                }
                Ok(len) => {
                    hasher.update(&piece[..len]);
                    offset += len as u64;
                    self.pace.spend(len as u64)?;
                }
                // Gone since, by gc.
                Err(StoreError::MissingObject { .. }) => return Ok(()),
                Err(error) => break fault::reason_of(error)?,
            }
        };
        self.add(DamagedThing::Object(*id), reason);
        Ok(())
    }

    /// Compares what is noted of small blobs with what they are.
    fn pointers(&mut self, small: &[Small]) -> Result<()> {
        let keys = small.iter().map(|(id, _)| id.as_bytes());
        let rows = match self.db.multi_get(Family::ObjectPointer, keys, true) {
            Ok(rows) => rows.into_iter().map(|row| row.map(|row| row.to_vec())).collect(),
            Err(error) => {
                fault::reason_of(error)?;
                self.pointer_rows(small)?
            }
        };
        for ((id, said), row) in small.iter().zip(rows) {
            let expected = said.as_ref().map(|pointer| pointer_row(pointer).to_vec());
            let reason = match (&expected, row) {
                (expected, row) if *expected == row => continue,
                // One that gc took, or that came a moment ago.
                _ if fault::is_absent(self.db, Family::Object, id.as_bytes())? => continue,
                (Some(_), None) => "it is an LFS pointer, and not noted as one",
                (None, Some(_)) => "it is noted as an LFS pointer, and is none",
                _ => "it is noted as a pointer to another file or length",
            };
            self.add(DamagedThing::Pointer(*id), reason);
        }
        Ok(())
    }

    /// The rows of blobs, one by one; what cannot be read is noted.
    fn pointer_rows(&mut self, small: &[Small]) -> Result<Vec<Option<Vec<u8>>>> {
        let mut rows = Vec::with_capacity(small.len());
        for (id, said) in small {
            rows.push(match self.db.get(Family::ObjectPointer, id.as_bytes()) {
                Ok(row) => row.map(|row| row.to_vec()),
                Err(error) => {
                    self.add(DamagedThing::Pointer(*id), fault::reason_of(error)?);
                    said.as_ref().map(|pointer| pointer_row(pointer).to_vec())
                }
            });
        }
        Ok(rows)
    }

    /// Looks for the object of each membership.
    pub(super) fn members(&mut self) -> Result<()> {
        let seen = mem::take(&mut self.seen).finish();
        self.each_part(Family::RepoObject, "looking for members", |run, rows| {
            for (key, value) in rows {
                let id = key.split_at_checked(4).and_then(|(_, id)| ObjectId::from_slice(id));
                match id.filter(|_| value.is_empty()) {
                    None => run.add_row(Family::RepoObject, key, "not a membership"),
                    Some(id) if seen.has(short(id.as_bytes())) => {}
                    Some(id) => run.unseen_member(key, &id)?,
                }
            }
            Ok(())
        })
    }

    /// A member that was not among the rows: it came since, or this run began behind it, or it is
    /// gone, or in a block that cannot be read.
    fn unseen_member(&mut self, key: &[u8], id: &ObjectId) -> Result<()> {
        if !self.saw_all {
            match self.db.contains(Family::Object, id.as_bytes()) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) => {
                    self.add(DamagedThing::Object(*id), fault::reason_of(error)?);
                    return Ok(());
                }
            }
        }
        match fault::object(self.store, id)? {
            Look::Sound(_) => self.report.object_count += 1,
            Look::Absent if fault::is_absent(self.db, Family::RepoObject, key)? => {}
            Look::Absent => self.add(DamagedThing::Object(*id), "its row is missing"),
            Look::Bad(reason) => self.add(DamagedThing::Object(*id), reason),
        }
        self.pace.spend(0)
    }

    pub(super) fn add_row(&mut self, family: Family, key: &[u8], reason: &str) {
        self.add(DamagedThing::Row { family: family.name(), key: hex(key) }, reason);
    }
}

fn note_small(small: &mut Vec<Small>, id: &ObjectId, kind: ObjectKind, data: &[u8]) {
    if kind == ObjectKind::Blob && data.len() <= POINTER_LEN_MAX {
        small.push((*id, parse_pointer(data)));
    }
}
