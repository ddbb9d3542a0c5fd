//! Paths in a revision: what a directory holds, where a path leads, LFS pointers resolved.

use std::sync::Arc;

use mega_storage::object::{EntryKind, tree_entries};
use mega_storage::{
    Content, FileId, ObjectId, ObjectKind, Pointer, ReadStore, Repo, RepoName, StoreError, peel,
    resolve_revision,
};

use super::remote::{Opened, RepoPlace, open_place};
use super::{Node, NodeError};
use crate::git::Git;

/// A revision's root.
pub struct Place {
    /// The repository.
    pub repo: Repo,
    /// Reads it.
    pub view: Arc<dyn ReadStore>,
    /// The root directory.
    pub tree: ObjectId,
    /// Repository and revision as the person gave them.
    pub spec: String,
}

/// What an entry holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EntryContent {
    /// A directory.
    Tree,
    /// Another repository's commit.
    Submodule,
    /// A file or symbolic link in git.
    Blob {
        /// Length in bytes.
        len: u64,
    },
    /// A file whose content is LFS's.
    Lfs {
        /// The content and its length.
        pointer: Pointer,
        /// The repository has the content.
        is_here: bool,
    },
}

/// One entry of a directory.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Git's mode.
    pub mode: u32,
    /// The name, any bytes.
    pub name: Vec<u8>,
    /// The object that the directory names.
    pub id: ObjectId,
    /// What it holds.
    pub content: EntryContent,
}

impl Entry {
    /// The word for what it is.
    pub fn kind(&self) -> &'static str {
        match (EntryKind::from_mode(self.mode), self.content) {
            (EntryKind::Symlink, _) => "symlink",
            (_, EntryContent::Tree) => "tree",
            (_, EntryContent::Submodule) => "submodule",
            (_, EntryContent::Blob { .. }) => "blob",
            (_, EntryContent::Lfs { .. }) => "lfs",
        }
    }

    /// Length of the content in bytes, where it has one.
    pub fn content_len(&self) -> Option<u64> {
        match self.content {
            EntryContent::Tree | EntryContent::Submodule => None,
            EntryContent::Blob { len } => Some(len),
            EntryContent::Lfs { pointer, .. } => Some(pointer.len),
        }
    }

    /// What to read for the entry's content; `None` for what has none, or has none here.
    pub fn readable(&self) -> Option<Content> {
        match self.content {
            EntryContent::Tree | EntryContent::Submodule => None,
            EntryContent::Blob { .. } => Some(Content::Blob(self.id)),
            EntryContent::Lfs { pointer, is_here } => {
                is_here.then_some(Content::File(pointer.file))
            }
        }
    }

    /// The LFS file, if it is one.
    pub fn file(&self) -> Option<FileId> {
        match self.content {
            EntryContent::Lfs { pointer, .. } => Some(pointer.file),
            EntryContent::Tree | EntryContent::Submodule | EntryContent::Blob { .. } => None,
        }
    }
}

/// Finds the root directory of a revision.
///
/// # Errors
/// When there is no such repository or revision, or it is a blob.
pub fn open_revision(node: &Node, name: &RepoName, revision: &str) -> Result<Place, NodeError> {
    let store = node.store();
    let place = RepoPlace::Here(name.clone());
    let opened = open_place(node, &place, revision, &Git::default(), None)?;
    let Opened { repo, reader: view, .. } = opened;
    let id = resolve_revision(store, &repo, revision)?;
    let tree = peel(store, &id, ObjectKind::Tree)?;
    Ok(Place { repo, view, tree, spec: format!("{name}@{revision}") })
}

/// Follows a path; `None` for the root itself. A leading, trailing or doubled slash does not
/// matter.
///
/// # Errors
/// [`NodeError::NoPath`].
pub fn find_path(place: &Place, path: &[u8]) -> Result<Option<Entry>, NodeError> {
    let missing = || NodeError::NoPath {
        spec: place.spec.clone(),
        path: String::from_utf8_lossy(path).into_owned(),
    };
    let mut tree = Some(place.tree);
    let mut found = None;
    for name in path.split(|&b| b == b'/').filter(|name| !name.is_empty() && *name != b".") {
        let raw = entries(place, &tree.ok_or_else(missing)?)?;
        let (mode, _, id) = raw.into_iter().find(|(_, n, _)| n == name).ok_or_else(missing)?;
        tree = (EntryKind::from_mode(mode) == EntryKind::Directory).then_some(id);
        found = Some((mode, name.to_vec(), id));
    }
    Ok(describe(place, found.into_iter().collect())?.pop())
}

/// A directory's entries in git's order.
///
/// # Errors
/// When the tree cannot be read.
pub fn list_dir(place: &Place, tree: &ObjectId) -> Result<Vec<Entry>, NodeError> {
    describe(place, entries(place, tree)?)
}

type RawEntry = (u32, Vec<u8>, ObjectId);

fn entries(place: &Place, tree: &ObjectId) -> Result<Vec<RawEntry>, NodeError> {
    let object = place.view.object(tree)?;
    if object.kind != ObjectKind::Tree {
        let (id, actual) = (*tree, object.kind.as_str());
        return Err(StoreError::WrongKind { id, expected: "tree", actual }.into());
    }
    tree_entries(&object.data)
        .map(|entry| match entry {
            Ok(entry) => Ok((entry.mode, entry.name.to_vec(), entry.id)),
            Err(reason) => {
                let (id, reason) = (*tree, reason.to_owned());
                Err(StoreError::MalformedObject { id, reason }.into())
            }
        })
        .collect()
}

/// Adds what the store knows of each entry, without reading any.
fn describe(place: &Place, raw: Vec<RawEntry>) -> Result<Vec<Entry>, NodeError> {
    let ids: Vec<ObjectId> = raw.iter().map(|(_, _, id)| *id).collect();
    let stats = place.view.stat(&ids)?;
    raw.into_iter()
        .zip(stats)
        .map(|((mode, name, id), stat)| {
            let content = match EntryKind::from_mode(mode) {
                EntryKind::Directory => EntryContent::Tree,
                EntryKind::Submodule => EntryContent::Submodule,
                kind @ (EntryKind::File | EntryKind::Executable | EntryKind::Symlink) => {
                    let stat = stat.ok_or(StoreError::MissingObject { id })?;
                    match stat.pointer.filter(|_| kind != EntryKind::Symlink) {
                        Some(pointer) => EntryContent::Lfs {
                            pointer,
                            is_here: place.view.file_len(&pointer.file)?.is_some(),
                        },
                        None => EntryContent::Blob { len: stat.header.len },
                    }
                }
            };
            Ok(Entry { mode, name, id, content })
        })
        .collect()
}
