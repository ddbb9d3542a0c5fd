//! Packs whose deltas name bases in the same pack by id. Their ids are known only once they are
//! resolved, so this resolves such a pack once more, depth first and without recursion, within the
//! same budget as the main pass.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::PackLimits;
use super::bases::{BaseName, Entry, position_at, unresolved};
use super::quarantine::{Quarantine, malformed};
use crate::error::{PackError, Result};
use crate::id::ObjectId;
use crate::object::{ObjectKind, hash_object};
use crate::objects::delta;

struct Work {
    position: u32,
    base: Option<(ObjectKind, Arc<Vec<u8>>)>,
}

/// Who waits for whom.
#[derive(Default)]
struct Waiting {
    /// Deltas whose base is named by an id that has not been seen yet.
    by_id: BTreeMap<ObjectId, Vec<u32>>,
    /// Base and delta, for bases whose position is known; ascending.
    children: Vec<(u32, u32)>,
}

/// Position of every entry that a delta names by id, outside bases left out.
pub(super) fn find(
    quarantine: &Quarantine,
    entries: &[Entry],
    names: &[BaseName],
    outside: &BTreeMap<ObjectId, u32>,
    limits: &PackLimits,
) -> Result<BTreeMap<ObjectId, u32>> {
    let pack = quarantine.map()?;
    let pack_len = quarantine.pack_len;
    let (mut waiting, mut work) = sort_out(quarantine, names, outside)?;
    let mut found = BTreeMap::new();
    let mut inflated_len = 0u64;
    let object_len_max = quarantine.object_len_max(limits);
    let inflated_len_max = quarantine.inflated_len_max(limits);
    while let Some(Work { position, base }) = work.pop() {
        if waiting.by_id.is_empty() {
            break;
        }
        let offset = quarantine.offsets[position as usize];
        let entry = &entries[position as usize];
        let bytes = pack.entry_slice(offset..entry.end);
        let (kind, data) = content(entry, offset, bytes, base, object_len_max).map_err(
            |refusal| match refusal {
                Refusal::TooLarge => PackError::ObjectTooLarge { limit: object_len_max, pack_len },
                Refusal::Damaged(why) => malformed(format!("the entry at offset {offset}: {why}")),
            },
        )?;
        inflated_len += data.len() as u64;
        if inflated_len > inflated_len_max {
            return Err(PackError::Expansion { limit: inflated_len_max, pack_len }.into());
        }
        let id = hash_object(kind, &data).map_err(|_| PackError::CollisionAttack { offset })?;
        let data = Arc::new(data);
        let by_id = waiting.by_id.remove(&id).unwrap_or_default();
        if !by_id.is_empty() {
            found.insert(id, position);
        }
        for child in waiting.children_of(position).chain(by_id) {
            work.push(Work { position: child, base: Some((kind, data.clone())) });
        }
    }
    match waiting.by_id.into_iter().next() {
        None => Ok(found),
        Some((id, deltas)) => Err(unresolved(deltas.len(), &BaseName::Id(id)).into()),
    }
}

/// Whole entries are where the work begins; deltas wait.
fn sort_out(
    quarantine: &Quarantine,
    names: &[BaseName],
    outside: &BTreeMap<ObjectId, u32>,
) -> Result<(Waiting, Vec<Work>)> {
    let mut waiting = Waiting::default();
    let mut work = Vec::new();
    for (name, position) in names.iter().zip(0u32..) {
        match name {
            BaseName::None => work.push(Work { position, base: None }),
            BaseName::Offset(offset) => {
                let base = position_at(quarantine, *offset).ok_or_else(|| unresolved(1, name))?;
                waiting.children.push((base, position));
            }
            BaseName::Id(id) => match outside.get(id) {
                Some(&base) => waiting.children.push((base, position)),
                None => waiting.by_id.entry(*id).or_default().push(position),
            },
        }
    }
    waiting.children.sort_unstable();
    Ok((waiting, work))
}

impl Waiting {
    fn children_of(&self, position: u32) -> impl Iterator<Item = u32> + '_ {
        let from = self.children.partition_point(|(base, _)| *base < position);
        let own = self.children[from..].iter().take_while(move |(base, _)| *base == position);
        own.map(|(_, child)| *child)
    }
}

enum Refusal {
    TooLarge,
    Damaged(&'static str),
}

fn content(
    entry: &Entry,
    offset: u64,
    bytes: Option<&[u8]>,
    base: Option<(ObjectKind, Arc<Vec<u8>>)>,
    len_max: u64,
) -> Result<(ObjectKind, Vec<u8>), Refusal> {
    let bytes = bytes.ok_or(Refusal::Damaged("it is outside of the pack"))?;
    let header_len = (entry.stream - offset) as usize;
    let stream = bytes.get(header_len..).ok_or(Refusal::Damaged("it is cut off"))?;
    if entry.stream_len > len_max {
        return Err(Refusal::TooLarge);
    }
    let mut data = Vec::new();
    delta::inflate(stream, entry.stream_len, &mut data).map_err(Refusal::Damaged)?;
    let Some((kind, base)) = base else {
        let first = bytes.first().copied().unwrap_or_default();
        return Ok((ObjectKind::from_code(((first >> 4) & 7).wrapping_sub(1)), data));
    };
    let (_, len, _) = delta::lengths(&data).map_err(Refusal::Damaged)?;
    if len > len_max {
        return Err(Refusal::TooLarge);
    }
    let data = delta::apply(&base, &data, len).map_err(Refusal::Damaged)?;
    Ok((kind, data))
}
