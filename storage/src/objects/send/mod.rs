//! Packs out: exactly the objects asked for, copied as they are stored. No delta is searched,
//! nothing deflated again but objects whose base does not go along.
//!
//! Invariants 3 and 4 of the room: a base that is not sent, and that the client does not have,
//! means that the object goes whole; every base is sent before its deltas; membership, rows, parts
//! and bases come from one snapshot; an error leaves what is no pack.
//!
//! Rows are read in the order of their keys. A blob that is whole, or has its base sent already,
//! goes out as it comes. All else waits and goes by kind and depth: commits that stand together are
//! what makes `git log` and `rev-list` quick on the pack.

pub(crate) mod kept;
mod out;
mod rows;
mod waiting;

#[cfg(test)]
mod tests;

use std::io::Write;

use super::ingest::{DEFLATE_LEVEL, entry_header};
use super::pack_index::IndexEntry;
use super::resolve::{self, damaged};
use super::row::{Body, Encoding, Row};
use super::{ObjectStore, part};
use crate::db::{Family, Rows, Snapshot, keys};
use crate::error::{Result, StoreError};
use crate::id::{ObjectId, RepoId};
use crate::id_table::IdTable;
use crate::object::ObjectKind;
use crate::progress::{Progress, Unit};
use kept::Kept;
use out::PackOut;
use waiting::{Waiting, WaitingRoom};

const OFS_DELTA: u8 = 6;
const REF_DELTA: u8 = 7;
/// Objects sent between two looks at whether to stop.
const PROGRESS_COUNT: u64 = 1_024;

/// What the reader of a pack understands and has.
#[derive(Clone, Copy, Default)]
pub struct SendOptions<'a> {
    /// Bases may be named by their distance in the pack (`ofs-delta`).
    pub ofs_delta: bool,
    /// For a thin pack: whether the client has an object, which may then be a base without being
    /// sent. Only members of the repository are asked about.
    pub thin_bases: Option<&'a dyn Fn(&ObjectId) -> bool>,
    /// Others will ask for the same objects, as clones do: the pack is kept on the disk when it is
    /// asked for a second time, and copied from there afterwards. Not for thin packs.
    pub keep: bool,
}

/// What was sent.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct SendReport {
    /// Objects in the pack.
    pub object_count: u64,
    /// Length of the pack, in bytes.
    pub pack_len: u64,
}

/// A pack that was written.
pub(super) struct Sent {
    /// Its trailing SHA-1.
    pub(super) pack_id: [u8; 20],
    pub(super) pack_len: u64,
    /// Its index, ascending by id, when it was asked for.
    pub(super) index: Vec<IndexEntry>,
}

impl ObjectStore {
    /// Streams a pack of exactly these objects of the repository. `ids` ascend, each once.
    ///
    /// # Errors
    /// [`StoreError::MissingObject`] for an id that is no member; [`StoreError::DamagedRow`];
    /// [`StoreError::Io`] when `out` fails. What was written until then is no pack: its header
    /// announces more objects and the trailer is missing. The caller must break the transfer.
    pub fn send_pack(
        &self,
        repo: RepoId,
        ids: &[ObjectId],
        options: &SendOptions<'_>,
        out: &mut dyn Write,
        progress: &dyn Progress,
    ) -> Result<SendReport> {
        if !options.keep || options.thin_bases.is_some() {
            return self.send_now(repo, ids, options, out, progress);
        }
        match self.kept.find(repo, ids, options) {
            Kept::Here(pack) => pack.send(ids.len() as u64, out, progress),
            Kept::No => self.send_now(repo, ids, options, out, progress),
            Kept::Keep(path) => {
                let mut copying = self.kept.copy(out);
                let report = self.send_now(repo, ids, options, &mut copying, progress)?;
                copying.keep(&self.kept, &path);
                Ok(report)
            }
        }
    }

    fn send_now(
        &self,
        repo: RepoId,
        ids: &[ObjectId],
        options: &SendOptions<'_>,
        out: &mut dyn Write,
        progress: &dyn Progress,
    ) -> Result<SendReport> {
        let snapshot = self.db.snapshot();
        let sent = self.send(&snapshot, repo, ids, options, out, false, progress)?;
        Ok(SendReport { object_count: ids.len() as u64, pack_len: sent.pack_len })
    }

    /// Streams a pack from a snapshot.
    #[expect(clippy::too_many_arguments, reason = "each is a different thing, passed on once")]
    pub(super) fn send(
        &self,
        snapshot: &Snapshot<'_>,
        repo: RepoId,
        ids: &[ObjectId],
        options: &SendOptions<'_>,
        out: &mut dyn Write,
        with_index: bool,
        progress: &dyn Progress,
    ) -> Result<Sent> {
        let table = IdTable::new(ids)?;
        progress.start("writing the pack", Some(ids.len() as u64), Unit::Objects);
        let mut sender = Sender {
            store: self,
            snapshot,
            repo,
            ids,
            options,
            progress,
            offsets: vec![0; ids.len()],
            crc32s: vec![0; if with_index { ids.len() } else { 0 }],
            out: PackOut::begin(out, table.count(), with_index)?,
            waiting: WaitingRoom::new(self.db.tmp()),
            table,
            count: 0,
        };
        rows::each(&self.db, snapshot, repo, ids, &mut |index, value| sender.take(index, value))?;
        sender.finish()
    }
}

struct Sender<'a> {
    store: &'a ObjectStore,
    snapshot: &'a Snapshot<'a>,
    repo: RepoId,
    ids: &'a [ObjectId],
    table: IdTable<'a>,
    options: &'a SendOptions<'a>,
    progress: &'a dyn Progress,
    out: PackOut<'a>,
    /// Offset of each object in the pack; 0 until it is sent.
    offsets: Vec<u64>,
    /// Checksum of each object's entry; empty when nobody asked.
    crc32s: Vec<u32>,
    waiting: WaitingRoom<'a>,
    count: u64,
}

impl Sender<'_> {
    /// Sends the object at `index`, or lets it wait.
    fn take(&mut self, index: u32, value: &[u8]) -> Result<()> {
        let id = &self.ids[index as usize];
        let row = Row::parse(id, value)?;
        let kind = row.header.kind;
        let stream = match row.body {
            Body::Inline(stream) => Some(stream),
            Body::Parts(_) => None,
        };
        let Encoding::Delta { base, delta_len, depth } = row.encoding else {
            if kind != ObjectKind::Blob {
                let waiting = Waiting { index, base: None, len: row.header.len, stream };
                return self.waiting.put(kind, 0, &waiting);
            }
            self.head(index, kind.pack_type(), row.header.len)?;
            return self.body(index, &row);
        };
        let Some(position) = self.table.find(&base) else {
            if self.client_has(&base)? {
                self.head(index, REF_DELTA, delta_len)?;
                self.out.put(base.as_bytes())?;
                return self.body(index, &row);
            }
            return self.whole(index);
        };
        let delta = Waiting { index, base: Some(position), len: delta_len, stream };
        if kind != ObjectKind::Blob || self.offsets[position as usize] == 0 {
            return self.waiting.put(kind, depth, &delta);
        }
        self.waited(kind, &delta)
    }

    /// Invariant 3: a base that is not a member of the repository is not named, even to who has it.
    fn client_has(&self, base: &ObjectId) -> Result<bool> {
        let Some(has) = self.options.thin_bases else { return Ok(false) };
        let key = keys::repo_object(self.repo, base);
        Ok(self.snapshot.get(Family::RepoObject, &key)?.is_some() && has(base))
    }

    /// Begins an entry.
    fn head(&mut self, index: u32, pack_type: u8, len: u64) -> Result<()> {
        self.offsets[index as usize] = self.out.offset;
        let mut header = Vec::with_capacity(16);
        entry_header(&mut header, pack_type, len);
        self.out.put(&header)
    }

    /// A stream as it is stored ends an entry.
    fn body(&mut self, index: u32, row: &Row<'_>) -> Result<()> {
        match row.body {
            Body::Inline(stream) => self.out.put(stream)?,
            Body::Parts(parts) => {
                let id = &self.ids[index as usize];
                for number in 0..part::part_count(parts.len) {
                    self.out.put(&part::read_part(self.snapshot, id, number, &parts)?)?;
                    self.stop_if_asked()?;
                }
            }
        }
        self.end(index)
    }

    /// An object whose time has come: a delta's base is sent.
    fn waited(&mut self, kind: ObjectKind, object: &Waiting<'_>) -> Result<()> {
        let id = self.ids[object.index as usize];
        match object.base {
            Some(base) => self.delta_head(object, base)?,
            None => self.head(object.index, kind.pack_type(), object.len)?,
        }
        if let Some(stream) = object.stream {
            self.out.put(stream)?;
            return self.end(object.index);
        }
        let value = self.snapshot.get(Family::Object, id.as_bytes())?;
        let value = value.ok_or(StoreError::MissingObject { id })?;
        self.body(object.index, &Row::parse(&id, &value)?)
    }

    /// Begins a delta's entry.
    fn delta_head(&mut self, delta: &Waiting<'_>, base: u32) -> Result<()> {
        let base_offset = self.offsets[base as usize];
        if base_offset == 0 {
            // Invariant 1 does not hold: its base would come after it.
            let id = self.ids[delta.index as usize];
            return Err(damaged(&id, "its depth is not above its base's"));
        }
        let offset = self.out.offset;
        if !self.options.ofs_delta {
            self.head(delta.index, REF_DELTA, delta.len)?;
            return self.out.put(self.ids[base as usize].as_bytes());
        }
        self.head(delta.index, OFS_DELTA, delta.len)?;
        let mut distance = Vec::with_capacity(10);
        push_distance(&mut distance, offset - base_offset);
        self.out.put(&distance)
    }

    /// An object whose base does not go along.
    fn whole(&mut self, index: u32) -> Result<()> {
        let id = self.ids[index as usize];
        let found = resolve::resolve(self.snapshot, &self.store.inflated, &id)?;
        let (kind, data) = found.ok_or(StoreError::MissingObject { id })?;
        self.head(index, kind.pack_type(), data.len() as u64)?;
        let level = flate2::Compression::new(DEFLATE_LEVEL);
        let mut encoder = flate2::write::ZlibEncoder::new(&mut self.out, level);
        let deflated = encoder.write_all(&data).and_then(|()| encoder.finish().map(|_| ()));
        deflated.map_err(out::from_encoder)?;
        self.end(index)
    }

    fn end(&mut self, index: u32) -> Result<()> {
        if let Some(crc32) = self.crc32s.get_mut(index as usize) {
            *crc32 = self.out.take_crc32();
        }
        self.count += 1;
        if self.count.is_multiple_of(PROGRESS_COUNT) {
            self.progress.advance(PROGRESS_COUNT);
            self.stop_if_asked()?;
        }
        Ok(())
    }

    fn stop_if_asked(&self) -> Result<()> {
        if self.progress.interrupted() { Err(StoreError::Interrupted) } else { Ok(()) }
    }

    fn finish(mut self) -> Result<Sent> {
        let room = WaitingRoom::new(self.store.db.tmp());
        std::mem::replace(&mut self.waiting, room)
            .drain(|kind, object| self.waited(kind, object))?;
        self.progress.advance(self.count % PROGRESS_COUNT);
        assert_eq!(self.count, self.ids.len() as u64, "a pack has what its header announces");
        let pack_len = self.out.offset + 20;
        let pack_id = self.out.finish()?;
        let entries = self.ids.iter().zip(&self.offsets).zip(&self.crc32s);
        let index =
            entries.map(|((&id, &offset), &crc32)| IndexEntry { id, crc32, offset }).collect();
        Ok(Sent { pack_id, pack_len, index })
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
