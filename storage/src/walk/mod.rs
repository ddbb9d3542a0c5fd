//! What is reachable: from wants without haves, filtered, within a shallow boundary; and closures
//! kept beside the references so that a clone need not walk.
//!
//! Iterative throughout. What is returned are members of the repository, always: an object that is
//! named but is not a member is [`crate::StoreError::MissingObject`], whoever else has it.
//! Invariant: nothing is returned that is not reachable from the wants, nothing is left out that is
//! not reachable from the haves (a few objects that the haves have may be sent again, as git does).

mod ancestry;
mod closure;
mod commits;
mod entries;
mod filter;
mod ids;
mod reach;
mod shallow;
mod trees;
mod walker;
mod want;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::error::Result;
use crate::id::{ObjectId, RepoId};
use crate::object::ObjectKind;
use crate::objects::ClosedPack;
use crate::progress::{NoProgress, Progress};
use crate::refs::RefTarget;
use crate::store::Store;
pub(crate) use closure::ClosureCache;
pub(crate) use entries::{Starts, new_entries};
use walker::Walker;
pub(crate) use walker::{expect_kind, malformed};

/// Deepest nesting of directories that is walked; git's own limit is 2,048 to 4,096.
pub(crate) const TREE_DEPTH_MAX: u64 = 4_096;

/// What to walk: everything reachable from `wants`, without what is reachable from `haves`.
pub struct WalkRequest<'a> {
    /// The repository; nothing outside of it is read or named.
    pub repo: RepoId,
    /// Objects of any kind; each is in the answer itself, whatever the filter, unless the haves
    /// reach it.
    pub wants: &'a [ObjectId],
    /// What the client has, with all that it reaches. Ids that are not members are passed over.
    pub haves: &'a [ObjectId],
    /// What is left out of the answer.
    pub filter: Filter,
    /// Where commits end.
    pub shallow: Shallow<'a>,
}

/// What a partial clone leaves out (git's `--filter`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Filter {
    /// Nothing is left out.
    None,
    /// No blobs.
    BlobNone,
    /// Only blobs of fewer bytes than this.
    BlobLimit(u64),
    /// Only trees and blobs at a depth below this; a commit's root tree has depth 0.
    TreeDepth(u64),
    /// Only objects of this kind.
    ObjectType(ObjectKind),
    /// Only what all of these let through.
    Combine(Vec<Filter>),
}

/// Commits whose parents are not followed.
#[derive(Clone, Copy, Default, Debug)]
pub struct Shallow<'a> {
    /// The client's boundary once it has taken the answer: [`ShallowBoundary::shallow`].
    pub boundary: &'a [ObjectId],
    /// The commits at which the client is shallow now.
    pub client: &'a [ObjectId],
}

/// Objects that a walk has reached.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Reach {
    /// What was asked for; sorted, each once.
    pub ids: Vec<ObjectId>,
    /// Some of what the client has, near what was asked for: bases for a thin pack. Sorted, each
    /// once. Empty with a filter, for a partial client may lack them.
    pub edge: Vec<ObjectId>,
}

/// How a shallow boundary is asked for, as upload-pack reads it.
pub struct Deepen<'a> {
    /// What the client wants.
    pub wants: &'a [ObjectId],
    /// The commits at which the client is shallow now.
    pub client: &'a [ObjectId],
    /// The references that the client may see: below a client's commit that they do not reach
    /// nothing is opened.
    pub tips: &'a [ObjectId],
    /// By what.
    pub by: DeepenBy<'a>,
}

/// What bounds a shallow history.
#[derive(Clone, Copy, Debug)]
pub enum DeepenBy<'a> {
    /// `deepen N`: so many commits from the wants; [`DEPTH_INFINITE`] and more is all.
    Depth(u32),
    /// `deepen N` with `deepen-relative`: so many commits below the client's boundary.
    Relative(u32),
    /// `deepen-since` and `deepen-not`.
    Revisions {
        /// Commits of this second since 1970 or newer.
        since: Option<i64>,
        /// Commits that these (resolved by the caller) do not reach.
        not: &'a [ObjectId],
    },
}

/// Git's depth of `--unshallow`.
pub const DEPTH_INFINITE: u32 = 0x7fff_ffff;

/// A shallow boundary, as upload-pack tells it to the client.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct ShallowBoundary {
    /// `shallow` lines: new boundary commits, without those at which the client is shallow anyway.
    pub shallow: Vec<ObjectId>,
    /// `unshallow` lines: the client's commits that get parents.
    pub unshallow: Vec<ObjectId>,
    /// The parents of `unshallow`: to be added to the wants of the walk, whose
    /// [`Shallow::client`] keeps all of the client's commits.
    pub wants: Vec<ObjectId>,
}

impl Store {
    /// Walks.
    ///
    /// # Errors
    /// [`crate::StoreError::MissingObject`] for a want, or an object on the way, that is not a
    /// member; [`crate::StoreError::MalformedObject`], [`crate::StoreError::WrongKind`],
    /// [`crate::StoreError::Limit`] for trees or tags nested too deep,
    /// [`crate::StoreError::Interrupted`].
    pub fn reach(&self, request: &WalkRequest<'_>, progress: &dyn Progress) -> Result<Reach> {
        reach::reach(self, request, progress)
    }

    /// Computes a shallow boundary as upload-pack does.
    ///
    /// # Errors
    /// [`crate::StoreError::NoCommits`] when `since` and `not` leave nothing; else as
    /// [`Self::reach`].
    pub fn shallow_boundary(
        &self,
        repo: RepoId,
        deepen: &Deepen<'_>,
        progress: &dyn Progress,
    ) -> Result<ShallowBoundary> {
        shallow::boundary(&Walker::new(self, repo, progress), deepen)
    }

    /// Whether `new` reaches `old` through parents, or is it. Tags are peeled; what is no commit
    /// reaches only itself.
    ///
    /// # Errors
    /// As [`Self::reach`].
    pub fn is_ancestor(&self, repo: RepoId, old: &ObjectId, new: &ObjectId) -> Result<bool> {
        ancestry::is_ancestor(&Walker::new(self, repo, &NoProgress), old, new)
    }

    /// Whether every want reaches one of the haves: when negotiation may end (git's
    /// `ok_to_give_up`). Wants that are no commits, behind tags, do not count.
    ///
    /// # Errors
    /// As [`Self::reach`].
    pub fn can_reach_any(
        &self,
        repo: RepoId,
        wants: &[ObjectId],
        haves: &[ObjectId],
    ) -> Result<bool> {
        ancestry::can_reach_any(&Walker::new(self, repo, &NoProgress), wants, haves)
    }

    /// Everything reachable from `tips`: from a cache beside the store's database, brought up to
    /// date by walking only what is new. `edge` is empty.
    ///
    /// # Errors
    /// As [`Self::reach`]. A cache that is gone, torn or damaged is no error.
    pub fn closure(
        &self,
        repo: RepoId,
        tips: &[ObjectId],
        progress: &dyn Progress,
    ) -> Result<Arc<Reach>> {
        closure::closure(&Walker::new(self, repo, progress), self.closures(), tips)
    }

    /// Keeps what is known of a pack that was taken in, so that the first clone need not walk.
    pub fn keep_closure(&self, repo: RepoId, pack: &ClosedPack) {
        closure::keep(self.closures(), repo, &pack.tips, &pack.ids);
    }

    /// Whether all members of the repository are reachable from its references: nothing was
    /// deleted, rewound or left behind by a push that failed.
    ///
    /// # Errors
    /// As [`Self::closure`].
    pub fn is_closed(&self, repo: RepoId, progress: &dyn Progress) -> Result<bool> {
        let mut tips = Vec::new();
        for (_, target) in self.refs().list(repo, b"")? {
            if let RefTarget::Direct(id) = target {
                tips.push(id);
            }
        }
        let count = self.closure(repo, &tips, progress)?.ids.len() as u64;
        Ok(count == self.objects().member_count(repo)?)
    }
}
