//! What to bring along: programs that read one thing read its neighbours next.
//!
//! A directory that is missing brings its children along; when the next miss is a directory that
//! was seen and left out, a walk is under way, and more of those that were left out come with it,
//! and more levels below them. A blob that is missing comes alone; when the next miss stands after
//! it in a listing, those that follow come too. The eagerness grows with each such miss and is
//! gone with the first that fits nothing.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use super::objects::failure_of;
use super::{Result, Shared};
use crate::id::ObjectId;
use crate::object::{EntryKind, ObjectKind, POINTER_LEN_MAX, tree_entries};
use crate::source::{OBJECTS_MAX, ObjectWant};

/// Directories brought at once, and levels below each, at each step of a walk.
const STEPS: [(usize, u32); 4] = [(1, 2), (64, 2), (512, 3), (2048, 4)];
/// Directories that were seen and left out, and blobs of unknown length, that are remembered.
const REMEMBERED_MAX: usize = 1 << 18;
/// Directories looked through after each fetch.
const SURVEY_MAX: usize = 16_384;
/// Directories that are here and are looked into to fill up one question.
const LOOK_AHEAD_MAX: usize = 512;
/// Listings whose order is remembered.
const LISTINGS_MAX: usize = 1024;
/// Bytes of blobs that the second miss in a row brings along; each further one four times as much.
const BLOB_WINDOW_MIN: u64 = 128 << 10;
const BLOB_WINDOW_MAX: u64 = 8 << 20;
/// Blobs in one fetch.
const BLOBS_MAX: usize = 1024;

/// Objects in an order, each once; the last ones go when there is no room.
#[derive(Default)]
struct Seen {
    order: VecDeque<ObjectId>,
    known: HashSet<ObjectId>,
}

impl Seen {
    /// Adds what is new, in its order, before all others.
    fn put_first(&mut self, ids: &[ObjectId]) {
        for id in ids.iter().rev() {
            if self.known.insert(*id) {
                self.order.push_front(*id);
            }
        }
        while self.order.len() > REMEMBERED_MAX {
            let gone = self.order.pop_back();
            gone.map(|id| self.known.remove(&id));
        }
    }

    /// Adds what is new, after all others.
    fn put_last(&mut self, ids: impl IntoIterator<Item = ObjectId>) {
        for id in ids {
            if self.known.insert(id) {
                self.order.push_back(id);
            }
        }
        let over = self.order.len().saturating_sub(REMEMBERED_MAX);
        self.take(0, over);
    }

    fn position(&self, id: &ObjectId) -> Option<usize> {
        self.known.contains(id).then(|| self.order.iter().position(|seen| seen == id)).flatten()
    }

    /// Takes at most `count` out, from position `at` on.
    fn take(&mut self, at: usize, count: usize) -> Vec<ObjectId> {
        let at = at.min(self.order.len());
        let end = at.saturating_add(count).min(self.order.len());
        let ids: Vec<ObjectId> = self.order.drain(at..end).collect();
        for id in &ids {
            self.known.remove(id);
        }
        ids
    }
}

/// What readers have seen of the repository lately.
#[derive(Default)]
pub(super) struct Walk {
    /// Directories that were seen and are not here, in the order of a walk.
    frontier: Seen,
    step: usize,
    /// Blobs that were seen, are not here, and whose length is not known.
    unmeasured: Seen,
    /// Directories that are here and may not have been looked into.
    nearby_dirs: Seen,
    /// Blobs that are not here and are short enough to be pointers.
    short: Seen,
    /// Blobs that are not here, by listing, with their lengths; the last listings.
    listings: VecDeque<Arc<[(ObjectId, u64)]>>,
    /// Blobs of the listings in which the last miss was.
    nearby: HashSet<ObjectId>,
    window_len: u64,
}

impl Walk {
    /// The directories to bring for one that is missing, itself first, and the levels.
    fn around(&mut self, id: &ObjectId) -> (Vec<ObjectId>, u32) {
        let at = self.frontier.position(id);
        self.step = if at.is_some() { (self.step + 1).min(STEPS.len() - 1) } else { 0 };
        let (count, levels) = STEPS[self.step];
        let Some(at) = at else { return (vec![*id], levels) };
        // Those after it are walked next; those before it were passed by.
        (self.frontier.take(at, count), levels)
    }

    /// Notes blobs that may be pointers.
    pub(super) fn note_short(&mut self, ids: impl Iterator<Item = ObjectId>) {
        self.short.put_last(ids);
    }

    /// Blobs that may be pointers, at most `max`.
    pub(super) fn take_short(&mut self, max: usize) -> Vec<ObjectId> {
        self.short.take(0, max)
    }

    /// Notes blobs of a listing that are not here.
    pub(super) fn note_listing(&mut self, blobs: Vec<(ObjectId, u64)>) {
        if self.listings.len() == LISTINGS_MAX {
            self.listings.pop_front();
        }
        self.listings.push_back(blobs.into());
    }

    /// The blobs to bring for one that is missing, itself first.
    fn with_followers(&mut self, id: &ObjectId) -> Vec<ObjectId> {
        let listings = self.listings.iter().enumerate().rev();
        let place = listings
            .filter_map(|(index, listing)| {
                Some((index, listing.iter().position(|(blob, _)| blob == id)?))
            })
            .next();
        let Some((index, at)) = place else { return vec![*id] };
        self.window_len = match self.nearby.contains(id) {
            true => (self.window_len * 4).clamp(BLOB_WINDOW_MIN, BLOB_WINDOW_MAX),
            false => 0,
        };
        let (mut ids, mut len) = (vec![*id], 0u64);
        let here = self.listings.range(index..).take(2).flat_map(|listing| listing.iter());
        self.nearby = here.map(|(blob, _)| *blob).collect();
        let after = self.listings.range(index..).flat_map(|listing| listing.iter());
        for (blob, blob_len) in after.skip(at + 1) {
            len = len.saturating_add(*blob_len);
            if len > self.window_len || ids.len() == BLOBS_MAX {
                // Where the next miss is to be expected.
                self.nearby.insert(*blob);
                break;
            }
            ids.push(*blob);
        }
        ids
    }
}

impl Shared {
    /// Brings an object of unknown kind that a reader waits for: most often a directory.
    pub(super) fn bring_one(&self, id: &ObjectId) -> Result<()> {
        if self.partial.blob_lens(&[*id])?.contains(&None) {
            self.bring_tree(id)
        } else {
            self.bring_blob(id)
        }
    }

    fn bring_tree(&self, id: &ObjectId) -> Result<()> {
        if self.walk.lock().frontier.known.contains(id) {
            self.look_ahead(|walk| walk.frontier.order.len() >= OBJECTS_MAX)?;
        }
        let (ids, levels) = self.walk.lock().around(id);
        let blob_len_max = POINTER_LEN_MAX as u64;
        let missing = self.obtain(&ObjectWant { ids: &ids, levels, blob_len_max, history: 0 })?;
        if let Some((_, failure)) = missing.into_iter().find(|(missing, _)| missing == id) {
            return Err(failure_of(*id, failure));
        }
        self.survey(&ids, levels)?;
        // The lengths that a listing asks for next, in the same breath.
        self.measure_seen()
    }

    /// Brings a blob that a reader waits for.
    pub(super) fn bring_blob(&self, id: &ObjectId) -> Result<()> {
        let ids = self.walk.lock().with_followers(id);
        let missing = self.obtain(&ObjectWant::exactly(&ids))?;
        match missing.into_iter().find(|(missing, _)| missing == id) {
            Some((_, failure)) => Err(failure_of(*id, failure)),
            None => Ok(()),
        }
    }

    /// Looks through directories that came, down to `levels`, for what did not come with them.
    fn survey(&self, roots: &[ObjectId], levels: u32) -> Result<()> {
        let (mut left_out, mut blobs) = (Vec::new(), Vec::new());
        let mut level: Vec<ObjectId> = roots.to_vec();
        let mut looked = HashSet::new();
        for depth in 1..=levels {
            let mut below = Vec::new();
            for id in level {
                if looked.len() == SURVEY_MAX || !looked.insert(id) {
                    continue;
                }
                let (trees, own) = self.children(&id)?;
                blobs.extend(self.absent(&own)?);
                let absent: HashSet<ObjectId> = self.absent(&trees)?.into_iter().collect();
                for tree in trees {
                    match absent.contains(&tree) {
                        true => left_out.push(tree),
                        false if depth < levels => below.push(tree),
                        false => {}
                    }
                }
            }
            level = below;
        }
        let mut walk = self.walk.lock();
        walk.frontier.put_first(&left_out);
        walk.unmeasured.put_last(blobs);
        Ok(())
    }

    /// Notes what a directory that is here names and is not: a walk that began before this was
    /// opened goes on as one.
    pub(super) fn note_listed(&self, data: &[u8]) -> Result<()> {
        self.note_children(data, false)
    }

    /// Notes them as what comes next, or as what comes after all that is noted.
    fn note_children(&self, data: &[u8], is_ahead: bool) -> Result<()> {
        let (trees, blobs) = children_in(data);
        let absent: HashSet<ObjectId> = self.absent(&trees)?.into_iter().collect();
        let (left_out, here): (Vec<_>, Vec<_>) =
            trees.into_iter().partition(|tree| absent.contains(tree));
        let blobs = self.absent(&blobs)?;
        let told = self.partial.blob_lens(&blobs)?;
        let unmeasured = blobs.into_iter().zip(told).filter(|(_, told)| told.is_none());
        let mut walk = self.walk.lock();
        match is_ahead {
            true => walk.frontier.put_last(left_out),
            false => walk.frontier.put_first(&left_out),
        }
        walk.nearby_dirs.put_first(&here);
        walk.unmeasured.put_last(unmeasured.map(|(id, _)| id));
        Ok(())
    }

    /// Looks into directories that are here and come next in a walk, until enough is noted.
    fn look_ahead(&self, is_enough: impl Fn(&Walk) -> bool) -> Result<()> {
        for _ in 0..LOOK_AHEAD_MAX {
            let next = {
                let mut walk = self.walk.lock();
                if is_enough(&walk) {
                    break;
                }
                walk.nearby_dirs.take(0, 1)
            };
            let Some(next) = next.first() else { break };
            if let Some(tree) = self.store.objects().read(next)? {
                self.note_children(&tree.data, true)?;
            }
        }
        Ok(())
    }

    /// Blobs of unknown length to fill a question up with, at most `max`: those that were seen,
    /// else those of directories that a walk comes to next.
    pub(super) fn unmeasured(&self, max: usize) -> Result<Vec<ObjectId>> {
        self.look_ahead(|walk| walk.unmeasured.order.len() >= max)?;
        Ok(self.walk.lock().unmeasured.take(0, max))
    }

    /// Directories and blobs that a directory names; none for what is no directory here.
    fn children(&self, id: &ObjectId) -> Result<(Vec<ObjectId>, Vec<ObjectId>)> {
        let object = self.store.objects().read(id)?;
        let tree = object.filter(|object| object.kind == ObjectKind::Tree);
        Ok(tree.map(|tree| children_in(&tree.data)).unwrap_or_default())
    }
}

/// Directories and blobs that a directory names, as far as it can be read.
fn children_in(data: &[u8]) -> (Vec<ObjectId>, Vec<ObjectId>) {
    let (mut trees, mut blobs) = (Vec::new(), Vec::new());
    for entry in tree_entries(data).map_while(std::result::Result::ok) {
        match entry.kind() {
            EntryKind::Directory => trees.push(entry.id),
            EntryKind::File | EntryKind::Executable | EntryKind::Symlink => blobs.push(entry.id),
            EntryKind::Submodule => {}
        }
    }
    (trees, blobs)
}
