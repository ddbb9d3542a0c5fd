//! The objects of an [`ObjectWant`]: what was asked for, and what comes along.
//!
//! What is asked for goes first, in its order, within [`WANTED_LEN_MAX`]. Then come the objects
//! that commits and directories among it bring along, level by level, until [`ALONG_COUNT_MAX`] or
//! [`ALONG_LEN_MAX`] is reached: an asker who gets less asks again, and nobody makes this store
//! walk a whole history for one question.

use super::ids::{IdSet, sorted};
use super::walker::Walker;
use crate::error::{Result, StoreError};
use crate::id::ObjectId;
use crate::object::parse::{EntryKind, commit_info, tag_target, tree_entries};
use crate::object::{ObjectHeader, ObjectKind};
use crate::objects::{SendOptions, SendReport};
use crate::progress::Progress;
use crate::readable::ReadableObjects;
use crate::revision::TAG_DEPTH_MAX;
use crate::source::{OBJECTS_MAX, ObjectWant};
use crate::store::Store;

/// Bytes of the objects that were asked for by id. The first one goes whatever its length.
const WANTED_LEN_MAX: u64 = if cfg!(test) { 1 << 20 } else { 1 << 30 };
/// Objects that come along in one answer; in tests, as above, so few that they meet the limit.
const ALONG_COUNT_MAX: usize = if cfg!(test) { 300 } else { 1 << 16 };
/// Their bytes, inflated.
const ALONG_LEN_MAX: u64 = if cfg!(test) { 1 << 20 } else { 64 << 20 };
/// Objects that one level names which are looked at.
const LEVEL_COUNT_MAX: usize = 1 << 18;

impl Store {
    /// Writes a pack that stands by itself with those of the wanted objects that may be read, and
    /// some that come along; `None`, and not a byte, when there is none. An object whose base does
    /// not go along goes whole.
    ///
    /// # Errors
    /// As [`Self::reach`] and [`crate::ObjectStore::send_pack`]: what was written until then is no
    /// pack.
    pub fn send_want(
        &self,
        readable: &ReadableObjects,
        want: &ObjectWant<'_>,
        out: &mut dyn std::io::Write,
        progress: &dyn Progress,
    ) -> Result<Option<SendReport>> {
        let walker = Walker::new(self, readable.repo(), progress);
        let ids = choose(&walker, readable, want)?;
        if ids.is_empty() {
            return Ok(None);
        }
        let options = SendOptions { ofs_delta: true, ..SendOptions::default() };
        self.objects().send_pack(readable.repo(), &ids, &options, out, progress).map(Some)
    }
}

/// The objects to send, ascending.
fn choose(
    walker: &Walker<'_>,
    readable: &ReadableObjects,
    want: &ObjectWant<'_>,
) -> Result<Vec<ObjectId>> {
    let mut choice = Choice {
        walker,
        readable,
        chosen: IdSet::default(),
        count_left: ALONG_COUNT_MAX,
        len_left: ALONG_LEN_MAX,
    };
    let mut found = choice.wanted(want.ids)?;
    choice.follow_tags(&mut found)?;
    let roots = choice.history(&found.commits, want.history)?;
    choice.directories(found.trees, roots, want)?;
    Ok(sorted(choice.chosen))
}

/// Objects by kind. Blobs bring nothing along.
#[derive(Default)]
struct Found {
    commits: Vec<ObjectId>,
    trees: Vec<ObjectId>,
    tags: Vec<ObjectId>,
}

impl Found {
    fn add(&mut self, id: ObjectId, kind: ObjectKind) {
        match kind {
            ObjectKind::Commit => self.commits.push(id),
            ObjectKind::Tree => self.trees.push(id),
            ObjectKind::Tag => self.tags.push(id),
            ObjectKind::Blob => {}
        }
    }
}

struct Choice<'a> {
    walker: &'a Walker<'a>,
    readable: &'a ReadableObjects,
    chosen: IdSet,
    count_left: usize,
    len_left: u64,
}

impl Choice<'_> {
    /// Chooses what was asked for.
    fn wanted(&mut self, ids: &[ObjectId]) -> Result<Found> {
        let ids = &ids[..ids.len().min(OBJECTS_MAX)];
        let (mut found, mut len) = (Found::default(), 0u64);
        for (id, header) in self.look_at(self.readable.keep_readable(ids)?)? {
            len = len.saturating_add(header.len);
            if len > WANTED_LEN_MAX && !self.chosen.is_empty() {
                break;
            }
            if self.chosen.insert(id) {
                found.add(id, header.kind);
            }
        }
        Ok(found)
    }

    /// Kind and length of each object, in its order; those that are not stored are left out.
    fn look_at(&self, ids: Vec<ObjectId>) -> Result<Vec<(ObjectId, ObjectHeader)>> {
        let stats = self.walker.store.objects().stat(&ids)?;
        Ok(ids.into_iter().zip(stats).filter_map(|(id, s)| Some((id, s?.header))).collect())
    }

    /// Those of `ids` that may be read and are not chosen yet, each once.
    fn fresh(&self, mut ids: Vec<ObjectId>) -> Result<Vec<(ObjectId, ObjectHeader)>> {
        ids.retain(|id| !self.chosen.contains(id));
        self.look_at(self.readable.keep_readable(&sorted(ids))?)
    }

    /// Chooses an object that comes along, if there is room.
    fn bring(&mut self, id: ObjectId, len: u64) -> bool {
        if self.count_left == 0 || len > self.len_left {
            return false;
        }
        self.count_left -= 1;
        self.len_left -= len;
        self.chosen.insert(id)
    }

    /// What tags lead to comes along, and counts as asked for.
    fn follow_tags(&mut self, found: &mut Found) -> Result<()> {
        for _ in 0..TAG_DEPTH_MAX {
            let tags = sorted(std::mem::take(&mut found.tags));
            if tags.is_empty() {
                break;
            }
            let mut targets = Vec::new();
            self.walker.store.objects().read_each(&tags, &mut |_, _, data| {
                targets.extend(tag_target(data).ok().map(|(id, _)| id));
                Ok(())
            })?;
            for (id, header) in self.fresh(targets)? {
                if self.bring(id, header.len) {
                    found.add(id, header.kind);
                }
            }
        }
        Ok(())
    }

    /// Commits before `commits`, so many levels in all; returns the root directories of the first.
    fn history(&mut self, commits: &[ObjectId], levels: u32) -> Result<Vec<ObjectId>> {
        let (mut level, mut roots) = (sorted(commits.iter().copied()), Vec::new());
        for depth in 0..levels.max(1) {
            if level.is_empty() {
                break;
            }
            let mut parents = Vec::new();
            self.walker.store.objects().read_each(&level, &mut |_, _, data| {
                let Ok(info) = commit_info(data) else { return Ok(()) };
                if depth == 0 {
                    roots.push(info.tree);
                }
                parents.extend(info.parents);
                Ok(())
            })?;
            self.go_on()?;
            if depth + 1 >= levels {
                break;
            }
            level.clear();
            for (id, header) in self.fresh(parents)? {
                if header.kind == ObjectKind::Commit && self.bring(id, header.len) {
                    level.push(id);
                }
            }
        }
        Ok(roots)
    }

    /// Directories and small blobs below `trees`, and `roots` as the first level below.
    fn directories(
        &mut self,
        trees: Vec<ObjectId>,
        mut roots: Vec<ObjectId>,
        want: &ObjectWant<'_>,
    ) -> Result<()> {
        let mut level = sorted(trees);
        for _ in 1..want.levels {
            let mut below = std::mem::take(&mut roots);
            let has_blobs = want.blob_len_max > 0;
            self.walker.store.objects().read_each(&level, &mut |_, _, data| {
                for entry in tree_entries(data).map_while(std::result::Result::ok) {
                    let comes = match entry.kind() {
                        EntryKind::Directory => true,
                        EntryKind::Submodule => false,
                        EntryKind::File | EntryKind::Executable | EntryKind::Symlink => has_blobs,
                    };
                    if comes && below.len() < LEVEL_COUNT_MAX {
                        below.push(entry.id);
                    }
                }
                Ok(())
            })?;
            self.go_on()?;
            level.clear();
            for (id, header) in self.fresh(below)? {
                match header.kind {
                    ObjectKind::Tree if self.bring(id, header.len) => level.push(id),
                    ObjectKind::Blob if header.len <= want.blob_len_max => {
                        self.bring(id, header.len);
                    }
                    _ => {}
                }
            }
            if level.is_empty() {
                break;
            }
        }
        Ok(())
    }

    fn go_on(&self) -> Result<()> {
        match self.walker.progress.interrupted() {
            true => Err(StoreError::Interrupted),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
pub(super) mod limits {
    pub(crate) const WANTED_LEN: u64 = super::WANTED_LEN_MAX;
    pub(crate) const ALONG_COUNT: usize = super::ALONG_COUNT_MAX;
    pub(crate) const ALONG_LEN: u64 = super::ALONG_LEN_MAX;
}
