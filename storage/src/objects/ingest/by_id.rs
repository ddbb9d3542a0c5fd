//! Packs whose deltas name bases in the same pack by id. Their ids are known only once they are
//! resolved, so this resolves such a pack once more, depth first and without recursion, within the
//! same budget as the main pass.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::PackLimits;
use super::bases::{BaseName, Entry, position_at, unresolved};
use super::content::{Content, Contents};
use super::quarantine::Quarantine;
use crate::error::{PackError, Result};
use crate::id::ObjectId;
use crate::object::hash_object;

struct Work {
    position: u32,
    base: Option<Arc<Content>>,
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
    let contents = Contents::new(quarantine, entries, limits)?;
    let (mut waiting, mut work) = sort_out(quarantine, names, outside)?;
    let mut found = BTreeMap::new();
    let mut delta = Vec::new();
    let mut inflated_len = 0u64;
    let inflated_len_max = quarantine.inflated_len_max(limits);
    while let Some(Work { position, base }) = work.pop() {
        if waiting.by_id.is_empty() {
            break;
        }
        let content = contents.read(position, base.as_deref(), &mut delta, Vec::new())?;
        inflated_len += content.data.len() as u64;
        if inflated_len > inflated_len_max {
            let (limit, pack_len) = (inflated_len_max, quarantine.pack_len);
            return Err(PackError::Expansion { limit, pack_len }.into());
        }
        let attack = PackError::CollisionAttack { offset: quarantine.offsets[position as usize] };
        let id = hash_object(content.kind, &content.data).map_err(|_| attack)?;
        let content = Arc::new(content);
        let by_id = waiting.by_id.remove(&id).unwrap_or_default();
        if !by_id.is_empty() {
            found.insert(id, position);
        }
        for child in waiting.children_of(position).chain(by_id) {
            work.push(Work { position: child, base: Some(content.clone()) });
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
