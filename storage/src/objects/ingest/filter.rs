//! What of a pack is written: each id once, stored ids skipped after comparing them, depths that
//! cannot form a cycle.

use super::quarantine::Quarantine;
use super::resolve::Resolved;
use super::whole::PackReader;
use crate::db::Family;
use crate::error::{Result, StoreError};
use crate::id::{ObjectId, RepoId};
use crate::objects::limits::DEPTH_MAX;
use crate::objects::row::{Body, Encoding, Row};
use crate::objects::{ObjectStore, ROW_LOOKUP_COUNT};

/// A row to write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct PlannedRow {
    /// Position of the entry.
    pub(super) position: u32,
    /// 0: the entry is stored whole, from its own stream when it is whole there, else deflated
    /// anew. Above: as the delta that it came as.
    pub(super) depth: u8,
}

/// What to write, both ascending by id.
#[derive(Default)]
pub(super) struct Plan {
    /// The store's generation that this was filtered against.
    pub(super) generation: u64,
    /// How often gc had removed something then.
    pub(super) swept: u64,
    pub(super) rows: Vec<PlannedRow>,
    pub(super) members: Vec<ObjectId>,
    /// Length of the new members' streams as they came, in bytes.
    pub(super) members_len: u64,
}

/// What the store has for an entry's id.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stored {
    Absent,
    Row { depth: u8, same: bool },
}

/// Filters the pack against what is stored.
pub(super) fn plan(
    store: &ObjectStore,
    repo: RepoId,
    quarantine: &Quarantine,
    resolved: &Resolved,
) -> Result<Plan> {
    let (generation, swept) = (store.db.generation(), store.db.swept());
    let reader = PackReader::new(quarantine, resolved)?;
    let order = bases_first(resolved);
    let firsts = unique(resolved, &order, &reader)?;
    let stored = look_up(store, resolved, &firsts.sorted)?;
    compare(store, resolved, &firsts.sorted, &stored, &reader)?;
    let depths = depths(resolved, &order, &firsts.canonical, &stored);
    let mut plan = Plan { generation, swept, ..Plan::default() };
    for &position in &firsts.sorted {
        let index = position as usize;
        if stored[index] == Stored::Absent {
            plan.rows.push(PlannedRow { position, depth: depths[index] });
        }
    }
    let own = firsts.sorted.iter().filter(|&&p| resolved.entries[p as usize].outside.is_none());
    let own: Vec<u32> = own.copied().collect();
    let ids: Vec<ObjectId> = own.iter().map(|&p| resolved.objects[p as usize].id).collect();
    let members = store.are_members(repo, &ids)?;
    for ((id, position), _) in ids.into_iter().zip(own).zip(members).filter(|(_, m)| !m) {
        let entry = &resolved.entries[position as usize];
        plan.members.push(id);
        plan.members_len += entry.end - entry.stream;
    }
    Ok(plan)
}

/// Whether all that is not written because it was stored still is, and all that was a member.
pub(super) fn is_still_stored(
    store: &ObjectStore,
    repo: RepoId,
    resolved: &Resolved,
    plan: &Plan,
) -> Result<bool> {
    let mut is_written = vec![false; resolved.objects.len()];
    plan.rows.iter().for_each(|row| is_written[row.position as usize] = true);
    let all = resolved.objects.iter().zip(&resolved.entries).zip(is_written);
    let skipped = all.filter(|(_, is_written)| !is_written);
    let mut skipped: Vec<(ObjectId, bool)> =
        skipped.map(|((object, entry), _)| (object.id, entry.outside.is_none())).collect();
    skipped.sort_unstable();
    // An id that stands in the pack twice is written once.
    let written = |id: &ObjectId| {
        let id_of = |row: &PlannedRow| resolved.objects[row.position as usize].id;
        plan.rows.binary_search_by(|row| id_of(row).cmp(id)).is_ok()
    };
    skipped.retain(|(id, _)| !written(id));
    let ids: Vec<ObjectId> = skipped.iter().map(|(id, _)| *id).collect();
    if store.kinds(&ids)?.iter().any(Option::is_none) {
        return Ok(false);
    }
    let own = skipped.iter().filter(|(id, is_own)| *is_own && !plan.has_member(id));
    let own: Vec<ObjectId> = own.map(|(id, _)| *id).collect();
    Ok(store.are_members(repo, &own)?.iter().all(|is_member| *is_member))
}

impl Plan {
    fn has_member(&self, id: &ObjectId) -> bool {
        self.members.binary_search(id).is_ok()
    }
}

/// All positions, every base before its deltas: by distance from a whole entry, then as they stand.
fn bases_first(resolved: &Resolved) -> Vec<u32> {
    const UNKNOWN: u32 = u32::MAX;
    let mut levels = vec![UNKNOWN; resolved.entries.len()];
    let mut chain = Vec::new();
    for start in 0..resolved.entries.len() {
        let mut next = start;
        let mut level = loop {
            if levels[next] != UNKNOWN {
                break levels[next];
            }
            chain.push(next);
            match resolved.entries[next].base {
                Some(base) => next = base as usize,
                // The tree resolved every entry, so every chain ends: it cannot loop here.
                None => break UNKNOWN,
            }
        };
        while let Some(position) = chain.pop() {
            level = level.wrapping_add(1);
            levels[position] = level;
        }
    }
    let mut order: Vec<u32> = (0..resolved.entries.len() as u32).collect();
    order.sort_by_key(|&position| levels[position as usize]);
    order
}

struct Firsts {
    /// The first entry of each id in resolution order, ascending by id.
    sorted: Vec<u32>,
    /// For each entry, the first one with its id.
    canonical: Vec<u32>,
}

/// An id may stand in a pack twice: the first in resolution order is kept, the others must be equal
/// to it.
fn unique(resolved: &Resolved, order: &[u32], reader: &PackReader<'_>) -> Result<Firsts> {
    let mut sorted = order.to_vec();
    // Stable: within one id the resolution order stays.
    sorted.sort_by_key(|&position| resolved.objects[position as usize].id);
    let mut canonical: Vec<u32> = (0..order.len() as u32).collect();
    let mut firsts: Vec<u32> = Vec::with_capacity(sorted.len());
    for position in sorted {
        let id = &resolved.objects[position as usize].id;
        match firsts.last() {
            Some(&first) if resolved.objects[first as usize].id == *id => {
                if reader.read(first)? != reader.read(position)? {
                    return Err(StoreError::Collision { id: *id });
                }
                canonical[position as usize] = first;
            }
            Some(_) | None => firsts.push(position),
        }
    }
    Ok(Firsts { sorted: firsts, canonical })
}

fn look_up(store: &ObjectStore, resolved: &Resolved, sorted: &[u32]) -> Result<Vec<Stored>> {
    let mut stored = vec![Stored::Absent; resolved.entries.len()];
    for positions in sorted.chunks(ROW_LOOKUP_COUNT) {
        let ids = positions.iter().map(|&p| resolved.objects[p as usize].id);
        let ids: Vec<ObjectId> = ids.collect();
        let values =
            store.db.multi_get(Family::Object, ids.iter().map(ObjectId::as_bytes), true)?;
        for ((&position, id), value) in positions.iter().zip(&ids).zip(values) {
            let Some(value) = value else { continue };
            let row = Row::parse(id, &value)?;
            let depth = row.encoding.depth();
            let same = came_alike(resolved, position, &row);
            stored[position as usize] = Stored::Row { depth, same };
        }
    }
    Ok(stored)
}

/// Whether lengths and base are those of the stored row: then equal streams mean equal content.
fn came_alike(resolved: &Resolved, position: u32, row: &Row<'_>) -> bool {
    let entry = &resolved.entries[position as usize];
    let object = &resolved.objects[position as usize];
    let base = entry.base.map(|base| resolved.objects[base as usize].id);
    let row_base = match row.encoding {
        Encoding::Whole => None,
        Encoding::Delta { base, .. } => Some(base),
    };
    let stream_len = entry.end - entry.stream;
    let row_stream_len = match row.body {
        Body::Inline(stream) => stream.len() as u64,
        Body::Parts(parts) => parts.len,
    };
    row.header.kind == object.kind
        && row.header.len == object.len
        && base == row_base
        && stream_len == row_stream_len
}

/// Compares what is stored with what came, byte for byte: equal streams against equal bases, or
/// equal contents.
fn compare(
    store: &ObjectStore,
    resolved: &Resolved,
    sorted: &[u32],
    stored: &[Stored],
    reader: &PackReader<'_>,
) -> Result<()> {
    for &position in sorted {
        let Stored::Row { same, .. } = stored[position as usize] else { continue };
        let object = &resolved.objects[position as usize];
        if same {
            let missing = || StoreError::MissingObject { id: object.id };
            let value = store.db.get(Family::Object, object.id.as_bytes())?.ok_or_else(missing)?;
            let row = Row::parse(&object.id, &value)?;
            let stream = crate::objects::part::stream(&*store.db, &object.id, &row)?;
            if *stream == *reader.stream(position)? {
                continue;
            }
        }
        let kept = store.read(&object.id)?;
        let equal = match &kept {
            Some(kept) => kept.kind == object.kind && kept.data == reader.read(position)?,
            None => true,
        };
        if !equal {
            return Err(StoreError::Collision { id: object.id });
        }
    }
    Ok(())
}

/// Depth of each entry's row: that of a stored row for a stored id; for a new one, one more than
/// its base's, or 0.
///
/// Invariant 1: `order` has bases first, and a base's canonical entry never comes after its
/// delta's.
fn depths(resolved: &Resolved, order: &[u32], canonical: &[u32], stored: &[Stored]) -> Vec<u8> {
    let mut depths = vec![0u8; resolved.entries.len()];
    for &position in order {
        let index = canonical[position as usize] as usize;
        if index != position as usize {
            continue;
        }
        depths[index] = match (stored[index], resolved.entries[index].base) {
            (Stored::Row { depth, .. }, _) => depth,
            (Stored::Absent, None) => 0,
            (Stored::Absent, Some(base)) => {
                let base_depth = depths[canonical[base as usize] as usize];
                if base_depth < DEPTH_MAX { base_depth + 1 } else { 0 }
            }
        };
        assert!(depths[index] <= DEPTH_MAX, "no row is deeper than the cap");
    }
    depths
}
