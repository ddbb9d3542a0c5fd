//! Many objects read at once, each once, deltas along their chains.
//!
//! Objects of one level of a walk are mostly deltas of each other. So their rows are read together
//! and each is made from its base while that is at hand: nothing is inflated twice, and what is in
//! memory at once are the rows of a batch and the versions along one chain. What does not fit into
//! one batch is first grouped by chains, for the price of a second look-up.

use super::inflate::inflate;
use super::limits::DEPTH_MAX;
use super::resolve::damaged;
use super::row::{Body, Encoding, Row};
use super::{ObjectStore, ROW_LOOKUP_COUNT, delta, resolve};
use crate::db::Family;
use crate::error::{Result, StoreError};
use crate::id::ObjectId;
use crate::id_table::IdTable;
use crate::object::{ObjectHeader, ObjectKind};

/// Bytes of stored rows that make a batch.
const BATCH_LEN: usize = 16 << 20;
/// Rows that make a batch; so few in tests that they meet more than one.
const BATCH_COUNT: usize = if cfg!(test) { 24 } else { 1 << 16 };
/// A batch has no more than this, which leaves room for a row that is one over.
const BATCH_LEN_MAX: usize = BATCH_LEN + (2 << 20);
/// As [`BATCH_LEN_MAX`], in rows.
const BATCH_COUNT_MAX: usize = BATCH_COUNT + 1;
/// A longer object is resolved by itself: at most 250 versions of one chain are held.
pub(crate) const OBJECT_LEN_MAX: u64 = 128 << 10;

/// An object as it is handed out.
pub(crate) struct Seen<'a, T> {
    /// Position among the ids asked for.
    pub(crate) index: usize,
    /// Its kind.
    pub(crate) kind: ObjectKind,
    /// Its content.
    pub(crate) data: &'a [u8],
    /// What was returned for its base, and the instructions that made it from that; only when the
    /// base was handed out by the same call.
    pub(crate) made_from: Option<(&'a T, &'a [u8])>,
}

/// A row of a batch.
struct Entry {
    /// Position among the ids asked for.
    index: usize,
    header: ObjectHeader,
    encoding: Encoding,
    /// Where its stream stands in the batch's bytes.
    start: usize,
    end: usize,
}

/// A version whose deltas are being made.
struct Version<T> {
    data: Vec<u8>,
    note: T,
    kind: ObjectKind,
    depth: u8,
    /// Range of its deltas among the links.
    next: usize,
    end: usize,
}

/// An id among those that form chains.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Member {
    /// Position of the first of its chain.
    family: u32,
    position: u32,
    row_len: u32,
}

/// How many of the members, which are sorted, make the next batch: whole families, unless the first
/// alone is too large.
fn batch_count(members: &[Member]) -> usize {
    let (mut len, mut whole) = (0, 0);
    for (count, member) in members.iter().enumerate() {
        if count > 0 && member.family != members[count - 1].family {
            whole = count;
        }
        if count == BATCH_COUNT || len >= BATCH_LEN {
            return if whole > 0 { whole } else { count };
        }
        len += member.row_len as usize;
    }
    members.len()
}

/// What [`ObjectStore::read_each`] calls, with an object's position, kind and content.
type VisitOne<'a> = dyn FnMut(usize, ObjectKind, &[u8]) -> Result<()> + 'a;

/// What [`ObjectStore::read_noting`] calls.
type Visit<'a, T> = dyn FnMut(Seen<'_, T>) -> Result<T> + 'a;

struct Batch<'a> {
    ids: &'a [ObjectId],
    /// Positions of objects that are resolved by themselves.
    large: Vec<usize>,
    entries: Vec<Entry>,
    bytes: Vec<u8>,
    /// Base and delta, by positions in `entries`; sorted.
    links: Vec<(u32, u32)>,
    /// Buffers to use again.
    spare: Vec<Vec<u8>>,
    instructions: Vec<u8>,
}

impl ObjectStore {
    /// Reads each object of `ids`, which ascend, and hands its position, kind and content to
    /// `visit`, in no particular order.
    ///
    /// # Errors
    /// [`StoreError::MissingObject`], [`StoreError::DamagedRow`], and what `visit` returns.
    pub(crate) fn read_each(&self, ids: &[ObjectId], visit: &mut VisitOne<'_>) -> Result<()> {
        self.read_noting::<()>(ids, &mut |seen| visit(seen.index, seen.kind, seen.data))
    }

    /// As [`Self::read_each`]; what `visit` returns for an object is shown to it again with each of
    /// the object's deltas.
    pub(crate) fn read_noting<T>(&self, ids: &[ObjectId], visit: &mut Visit<'_, T>) -> Result<()> {
        let mut batch = Batch::new(ids);
        let all: Vec<u32> = (0..).take(ids.len()).collect();
        if self.fill(&mut batch, &all)? {
            return batch.resolve(self, visit);
        }
        let mut members = self.families(ids)?;
        members.sort_unstable();
        let mut rest = &members[..];
        while !rest.is_empty() {
            let (part, after) = rest.split_at(batch_count(rest));
            let mut positions: Vec<u32> = part.iter().map(|member| member.position).collect();
            positions.sort_unstable();
            batch.clear();
            let fits = self.fill(&mut batch, &positions)?;
            assert!(fits, "a batch was cut to what it may have");
            batch.resolve(self, visit)?;
            rest = after;
        }
        Ok(())
    }

    /// Reads rows into a batch; `false` when it is full before the end.
    fn fill(&self, batch: &mut Batch<'_>, positions: &[u32]) -> Result<bool> {
        for part in positions.chunks(ROW_LOOKUP_COUNT) {
            if batch.bytes.len() >= BATCH_LEN_MAX || batch.entries.len() >= BATCH_COUNT_MAX {
                return Ok(false);
            }
            let ids = part.iter().map(|&position| &batch.ids[position as usize]);
            let keys = ids.clone().map(ObjectId::as_bytes);
            let values = self.db.multi_get(Family::Object, keys, true)?;
            for ((&position, id), value) in part.iter().zip(ids).zip(values) {
                let value = value.ok_or(StoreError::MissingObject { id: *id })?;
                let row = Row::parse(id, &value)?;
                match row.body {
                    Body::Inline(stream) if row.header.len <= OBJECT_LEN_MAX => {
                        batch.add(position as usize, &row, stream);
                    }
                    _ => batch.large.push(position as usize),
                }
            }
        }
        Ok(true)
    }

    /// Groups ids by the chains that their rows stand in.
    fn families(&self, ids: &[ObjectId]) -> Result<Vec<Member>> {
        let table = IdTable::new(ids)?;
        let mut members: Vec<Member> = Vec::with_capacity(ids.len());
        for part in ids.chunks(ROW_LOOKUP_COUNT) {
            let keys = part.iter().map(ObjectId::as_bytes);
            for (id, value) in part.iter().zip(self.db.multi_get(Family::Object, keys, true)?) {
                let value = value.ok_or(StoreError::MissingObject { id: *id })?;
                let position = members.len() as u32;
                let family = match Row::parse(id, &value)?.encoding {
                    Encoding::Whole => position,
                    Encoding::Delta { base, .. } => table.find(&base).unwrap_or(position),
                };
                members.push(Member { family, position, row_len: value.len() as u32 });
            }
        }
        // So far each names its base: now the first of its chain. A cycle only makes a batch that
        // is refused.
        for index in 0..members.len() {
            let mut family = members[index].family;
            for _ in 0..DEPTH_MAX {
                match members[family as usize].family {
                    same if same == family => break,
                    base => family = base,
                }
            }
            members[index].family = family;
        }
        Ok(members)
    }

    /// Kind and length of each object of `ids`, which ascend.
    pub(crate) fn headers(&self, ids: &[ObjectId]) -> Result<Vec<Option<ObjectHeader>>> {
        let mut headers = Vec::with_capacity(ids.len());
        for part in ids.chunks(ROW_LOOKUP_COUNT) {
            let keys = part.iter().map(ObjectId::as_bytes);
            for (id, value) in part.iter().zip(self.db.multi_get(Family::Object, keys, true)?) {
                let header = value.map(|value| Row::parse(id, &value).map(|row| row.header));
                headers.push(header.transpose()?);
            }
        }
        Ok(headers)
    }
}

impl<'a> Batch<'a> {
    fn new(ids: &'a [ObjectId]) -> Self {
        Self {
            ids,
            large: Vec::new(),
            entries: Vec::new(),
            bytes: Vec::new(),
            links: Vec::new(),
            spare: Vec::new(),
            instructions: Vec::new(),
        }
    }

    fn clear(&mut self) {
        self.large.clear();
        self.entries.clear();
        self.bytes.clear();
    }

    fn add(&mut self, index: usize, row: &Row<'_>, stream: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(stream);
        let (header, encoding, end) = (row.header, row.encoding, self.bytes.len());
        self.entries.push(Entry { index, header, encoding, start, end });
    }

    fn id(&self, entry: &Entry) -> &'a ObjectId {
        &self.ids[entry.index]
    }

    /// Makes all objects.
    fn resolve<T>(&mut self, store: &ObjectStore, visit: &mut Visit<'_, T>) -> Result<()> {
        for &index in &self.large {
            let id = &self.ids[index];
            let object = store.read(id)?.ok_or(StoreError::MissingObject { id: *id })?;
            visit(Seen { index, kind: object.kind, data: &object.data, made_from: None })?;
        }
        let roots = self.link();
        let mut made = roots.len();
        let mut chain: Vec<Version<T>> = Vec::new();
        for root in roots {
            let (kind, data) = self.root(store, root)?;
            let index = self.entries[root as usize].index;
            let note = visit(Seen { index, kind, data: &data, made_from: None })?;
            self.keep(root, Version { data, note, kind, depth: 0, next: 0, end: 0 }, &mut chain);
            while let Some(base) = chain.last_mut() {
                let Some(&(_, next)) = self.links[..base.end].get(base.next) else {
                    self.spare.extend(chain.pop().map(|version| version.data));
                    continue;
                };
                base.next += 1;
                made += 1;
                let mut data = self.spare.pop().unwrap_or_default();
                let entry = &self.entries[next as usize];
                let id = &self.ids[entry.index];
                if entry.encoding.depth() <= base.depth {
                    return Err(damaged(id, "its depth is not above its base's"));
                }
                let stream = &self.bytes[entry.start..entry.end];
                make(id, entry, stream, Some(&base.data), &mut self.instructions, &mut data)?;
                let (index, kind) = (entry.index, base.kind);
                let made_from = Some((&base.note, &self.instructions[..]));
                let note = visit(Seen { index, kind, data: &data, made_from })?;
                let version = Version { data, note, kind, depth: 0, next: 0, end: 0 };
                self.keep(next, version, &mut chain);
            }
        }
        if made != self.entries.len() {
            let id = self.id(&self.entries[0]);
            return Err(damaged(id, "it stands in a batch with a cycle of deltas"));
        }
        Ok(())
    }

    /// Finds each delta's base in the batch; returns the entries that have none there.
    fn link(&mut self) -> Vec<u32> {
        self.links.clear();
        let mut roots = Vec::new();
        for (position, entry) in (0u32..).zip(&self.entries) {
            let found = match entry.encoding {
                Encoding::Whole => None,
                Encoding::Delta { base, .. } => {
                    self.entries.binary_search_by(|other| self.id(other).cmp(&base)).ok()
                }
            };
            match found {
                Some(base) => self.links.push((base as u32, position)),
                None => roots.push(position),
            }
        }
        self.links.sort_unstable();
        roots
    }

    /// Makes an object whose base is not in the batch.
    fn root(&mut self, store: &ObjectStore, position: u32) -> Result<(ObjectKind, Vec<u8>)> {
        let entry = &self.entries[position as usize];
        let base = match entry.encoding {
            Encoding::Whole => None,
            Encoding::Delta { base, .. } => {
                match resolve::resolve(&*store.db, &store.inflated, &base) {
                    Ok(Some(found)) => Some(found),
                    // Gone since the row was read: then that is another one now.
                    Ok(None) | Err(StoreError::MissingObject { .. }) => {
                        let id = self.ids[entry.index];
                        let read = store.read(&id)?;
                        let object = read.ok_or(StoreError::MissingObject { id: base })?;
                        return Ok((object.kind, object.data.to_vec()));
                    }
                    Err(error) => return Err(error),
                }
            }
        };
        let kind = base.as_ref().map_or(entry.header.kind, |(kind, _)| *kind);
        let mut data = self.spare.pop().unwrap_or_default();
        let stream = &self.bytes[entry.start..entry.end];
        let base = base.as_ref().map(|(_, data)| data.as_ref());
        let id = &self.ids[entry.index];
        make(id, entry, stream, base, &mut self.instructions, &mut data)?;
        Ok((kind, data))
    }

    /// Keeps a version while there are deltas against it.
    fn keep<T>(&mut self, position: u32, mut version: Version<T>, chain: &mut Vec<Version<T>>) {
        version.depth = self.entries[position as usize].encoding.depth();
        version.next = self.links.partition_point(|link| link.0 < position);
        let deltas = self.links[version.next..].iter().take_while(|link| link.0 == position);
        version.end = version.next + deltas.count();
        if version.next < version.end {
            chain.push(version);
        } else {
            self.spare.push(version.data);
        }
    }
}

/// Inflates an entry, and applies it to its base when it is a delta.
fn make(
    id: &ObjectId,
    entry: &Entry,
    stream: &[u8],
    base: Option<&[u8]>,
    instructions: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Result<()> {
    let made = match (entry.encoding, base) {
        (Encoding::Delta { delta_len, .. }, Some(base)) => inflate(stream, delta_len, instructions)
            .and_then(|()| delta::apply_into(base, instructions, entry.header.len, out)),
        _ => inflate(stream, entry.header.len, out),
    };
    made.map_err(|reason| damaged(id, reason))
}
