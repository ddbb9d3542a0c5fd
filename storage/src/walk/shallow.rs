//! Shallow boundaries as upload-pack computes them.
//!
//! Invariant: nothing is opened below a commit of the client's that the references it may see do
//! not reach: what was force-pushed away or hidden does not come out by a deepening.

use super::ancestry::reachable;
use super::commits::ByDate;
use super::ids::{IdSet, sorted};
use super::walker::Walker;
use super::{DEPTH_INFINITE, Deepen, DeepenBy, ShallowBoundary};
use crate::error::{Result, StoreError};
use crate::id::ObjectId;

/// Commits by where they stand to the boundary.
#[derive(Default)]
struct Split {
    /// At the boundary: they lose their parents.
    shallow: Vec<ObjectId>,
    /// Above it: they have all of their parents.
    inner: IdSet,
}

/// Does the work of [`crate::Store::shallow_boundary`].
pub(super) fn boundary(walker: &Walker<'_>, deepen: &Deepen<'_>) -> Result<ShallowBoundary> {
    let client = sorted(walker.members(deepen.client)?);
    let wants = sorted(deepen.wants.iter().copied());
    walker.must_be_members(&wants)?;
    let split = match deepen.by {
        DeepenBy::Depth(depth) if depth >= DEPTH_INFINITE => {
            let inner = reachable(walker, deepen.tips, &client, false)?.into_iter().collect();
            Split { shallow: Vec::new(), inner }
        }
        DeepenBy::Depth(depth) => within(walker, &walker.starts(&wants)?.commits, depth)?,
        DeepenBy::Relative(depth) => {
            let heads = reachable(walker, deepen.tips, &client, false)?;
            within(walker, &heads, depth.saturating_add(1))?
        }
        DeepenBy::Revisions { since, not } => {
            let wants = walker.starts(&wants)?.commits;
            let not = walker.starts(&walker.members(not)?)?.commits;
            let walk = ByDate::walk(walker, &wants, &not, since)?;
            let mut split = Split::default();
            for (id, is_inner) in walk.with_border() {
                if is_inner {
                    split.inner.insert(id);
                } else {
                    split.shallow.push(id);
                }
            }
            if split.inner.is_empty() && split.shallow.is_empty() {
                return Err(StoreError::NoCommits);
            }
            split
        }
    };
    let has = |ids: &[ObjectId], id: &ObjectId| ids.binary_search(id).is_ok();
    let mut shallow = sorted(split.shallow);
    shallow.retain(|id| !has(&client, id));
    let unshallow: Vec<ObjectId> =
        client.iter().filter(|id| split.inner.contains(*id)).copied().collect();
    let mut parents = Vec::new();
    walker.commits(&unshallow, &mut |_, info| {
        parents.extend(info.parents);
        Ok(())
    })?;
    let wants = sorted(parents);
    walker.must_be_members(&shallow)?;
    walker.must_be_members(&wants)?;
    Ok(ShallowBoundary { shallow, unshallow, wants })
}

/// Commits at most `depth` from `heads`, which have depth 1. As in git, one at the boundary is
/// shallow whether or not it has parents.
fn within(walker: &Walker<'_>, heads: &[ObjectId], depth: u32) -> Result<Split> {
    let mut split = Split::default();
    let mut seen: IdSet = heads.iter().copied().collect();
    let mut level = heads.to_vec();
    for _ in 1..depth {
        if level.is_empty() {
            break;
        }
        level.sort_unstable();
        let mut next = Vec::new();
        walker.commits(&level, &mut |id, info| {
            split.inner.insert(*id);
            next.extend(info.parents.into_iter().filter(|parent| seen.insert(*parent)));
            Ok(())
        })?;
        walker.advance(level.len())?;
        level = next;
    }
    split.shallow = level;
    Ok(split)
}
