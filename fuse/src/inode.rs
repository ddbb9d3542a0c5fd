//! The inodes that the kernel knows, each with how often it was told of it.
//!
//! A node keeps what answers for it without its parent: kind, id, length. Directories share links
//! to their parents, so no node holds a path. A node goes when the kernel has forgotten it as often
//! as it was told, so memory follows the kernel's own cache.
//!
//! Invariant: a number stands for one path with one content. It is [`number`] of both, the same in
//! every mount; when two live nodes want the same number, the later one takes the next free one.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, OnceLock};

use mega_storage::{FileId, ObjectId};

use crate::attributes::Attributes;
use crate::errno::FsError;
use crate::tree::EntryKind;

/// The root's number, fixed by the protocol.
pub(crate) const ROOT: u64 = 1;

/// A directory of the view and the way up from it.
#[derive(Debug)]
pub(crate) struct Dir {
    /// The number under which the kernel knows it.
    pub(crate) ino: u64,
    /// Its tree object.
    pub(crate) tree: ObjectId,
    /// See [`path_hash`].
    pub(crate) path_hash: u64,
    /// The directory it is in; `None` for the root.
    pub(crate) parent: Option<Arc<Dir>>,
    /// Its name there; empty for the root.
    pub(crate) name: Box<[u8]>,
    /// The rules of `.gitattributes` that hold here, once they were needed.
    pub(crate) attributes: OnceLock<Option<Arc<Attributes>>>,
}

impl Dir {
    /// The view's root.
    pub(crate) fn root(tree: ObjectId) -> Self {
        Self {
            ino: ROOT,
            tree,
            path_hash: 0,
            parent: None,
            name: Box::default(),
            attributes: OnceLock::new(),
        }
    }

    /// The number of the directory above; the root is above itself.
    pub(crate) fn parent_ino(&self) -> u64 {
        self.parent.as_ref().map_or(ROOT, |parent| parent.ino)
    }

    /// The path from the root, without slashes at its ends.
    pub(crate) fn path(&self) -> Vec<u8> {
        let mut names: Vec<&[u8]> = Vec::new();
        let mut dir = self;
        while let Some(parent) = &dir.parent {
            names.push(&dir.name);
            dir = parent;
        }
        names.reverse();
        names.join(&b'/')
    }
}

impl Drop for Dir {
    /// Lets go of the way up step by step: a chain as deep as a hostile tree must not be dropped by
    /// recursion.
    fn drop(&mut self) {
        let mut up = self.parent.take();
        while let Some(mut dir) = up.and_then(Arc::into_inner) {
            up = dir.parent.take();
        }
    }
}

/// What a node's content is.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    /// A directory with a tree.
    Directory(Arc<Dir>),
    /// A submodule: an empty directory.
    Submodule,
    /// A blob: of a file or a symbolic link.
    Blob,
    /// An LFS file in the place of its pointer.
    File(FileId),
    /// The object is missing or of the wrong kind.
    Absent,
}

/// An inode, without its count.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// What the tree says it is.
    pub(crate) kind: EntryKind,
    /// The object that the tree names.
    pub(crate) id: ObjectId,
    /// See [`path_hash`].
    pub(crate) path_hash: u64,
    /// Length of the content, in bytes; 0 for directories.
    pub(crate) len: u64,
    /// Its content.
    pub(crate) body: Body,
}

/// Hash of a path: of the directory's and the name.
pub(crate) fn path_hash(parent: u64, name: &[u8]) -> u64 {
    let mut hash = mix(parent ^ 0x9e37_79b9_7f4a_7c15, name.len() as u64);
    for piece in name.chunks(8) {
        let mut word = [0u8; 8];
        word[..piece.len()].copy_from_slice(piece);
        hash = mix(hash, u64::from_le_bytes(word));
    }
    hash
}

/// The inode number for a path with a content; `salt` gives another when the first is taken. Never
/// 0 or [`ROOT`], and below 2^63.
pub(crate) fn number(path_hash: u64, id: &ObjectId, salt: u64) -> u64 {
    let mut hash = mix(path_hash, salt);
    for piece in id.as_bytes().chunks(8) {
        let mut word = [0u8; 8];
        word[..piece.len()].copy_from_slice(piece);
        hash = mix(hash, u64::from_le_bytes(word));
    }
    (hash >> 1).max(ROOT + 1)
}

/// Multiplies into 128 bits and folds: every bit of both words reaches every bit of the answer.
fn mix(a: u64, b: u64) -> u64 {
    let wide = u128::from(a ^ 0xa076_1d64_78bd_642f) * u128::from(b ^ 0xe703_7ed1_a0b4_28db);
    let [low, high] = [wide, wide >> 64].map(|half| (half & u128::from(u64::MAX)) as u64);
    (low ^ high).wrapping_add(a.rotate_left(29) ^ b)
}

#[derive(Debug)]
struct Counted {
    node: Node,
    /// How often the kernel was told of it; the root's never falls.
    lookups: u64,
}

/// All live inodes.
#[derive(Debug)]
pub(crate) struct InodeTable {
    nodes: HashMap<u64, Counted>,
    /// Nodes that did not get the number they wanted: none, as long as hashes do not meet.
    displaced: HashMap<(u64, ObjectId), u64>,
}

impl InodeTable {
    /// A table of the root alone.
    pub(crate) fn new(root: Node) -> Self {
        let nodes = HashMap::from([(ROOT, Counted { node: root, lookups: 1 })]);
        Self { nodes, displaced: HashMap::new() }
    }

    /// The node of a number.
    ///
    /// # Errors
    /// [`FsError::UnknownInode`].
    pub(crate) fn get(&self, ino: u64) -> Result<Node, FsError> {
        self.nodes.get(&ino).map(|counted| counted.node.clone()).ok_or(FsError::UnknownInode(ino))
    }

    /// The number that an entry has, or would get now.
    pub(crate) fn place(&self, wanted: u64, path_hash: u64, id: &ObjectId) -> u64 {
        if !self.displaced.is_empty()
            && let Some(&ino) = self.displaced.get(&(path_hash, *id))
        {
            return ino;
        }
        let mut ino = wanted;
        while let Some(counted) = self.nodes.get(&ino) {
            if counted.node.path_hash == path_hash && counted.node.id == *id {
                break;
            }
            ino = ((ino + 1) & (u64::MAX >> 1)).max(ROOT + 1);
        }
        ino
    }

    /// Counts that the kernel is told of the entry that [`Self::place`] gave `ino` for; makes the
    /// node if there is none.
    pub(crate) fn remember(&mut self, ino: u64, wanted: u64, make: impl FnOnce() -> Node) {
        match self.nodes.entry(ino) {
            Entry::Occupied(mut counted) => counted.get_mut().lookups += 1,
            Entry::Vacant(place) => {
                let node = make();
                if ino != wanted {
                    self.displaced.insert((node.path_hash, node.id), ino);
                }
                place.insert(Counted { node, lookups: 1 });
            }
        }
    }

    /// Takes back `count` tellings; drops the node when none is left. The root stays.
    pub(crate) fn forget(&mut self, ino: u64, count: u64) {
        if ino == ROOT {
            return;
        }
        let Entry::Occupied(mut counted) = self.nodes.entry(ino) else {
            return;
        };
        let lookups = &mut counted.get_mut().lookups;
        *lookups = lookups.saturating_sub(count);
        if *lookups == 0 {
            let gone = counted.remove();
            if !self.displaced.is_empty() {
                self.displaced.remove(&(gone.node.path_hash, gone.node.id));
            }
        }
    }

    /// Live nodes, the root included.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(path_hash: u64) -> Node {
        let kind = EntryKind::File;
        Node { kind, id: ObjectId::NULL, path_hash, len: 0, body: Body::Blob }
    }

    fn tell(table: &mut InodeTable, wanted: u64, path_hash: u64) -> u64 {
        let ino = table.place(wanted, path_hash, &ObjectId::NULL);
        table.remember(ino, wanted, || blob(path_hash));
        ino
    }

    #[test]
    fn a_taken_number_gives_way_and_stays_given() {
        let mut table = InodeTable::new(blob(0));
        let (a, b) = (tell(&mut table, 77, 1), tell(&mut table, 77, 2));
        assert_eq!((a, b), (77, 78));
        table.forget(77, 1);
        assert_eq!(tell(&mut table, 77, 2), 78, "the displaced node keeps its number");
        table.forget(78, 2);
        assert_eq!(tell(&mut table, 77, 2), 77);
        table.forget(77, 5);
        assert_eq!(table.len(), 1);
        assert!(table.displaced.is_empty());
    }

    #[test]
    fn the_root_is_never_forgotten_and_never_taken() {
        let mut table = InodeTable::new(blob(0));
        table.forget(ROOT, 100);
        assert!(table.get(ROOT).is_ok());
        assert_eq!(tell(&mut table, u64::MAX >> 1, 1), u64::MAX >> 1);
        assert_eq!(tell(&mut table, u64::MAX >> 1, 2), ROOT + 1, "past the end it starts again");
    }

    #[test]
    fn numbers_are_fixed() {
        let id = ObjectId::from_bytes([7; 20]);
        let path = path_hash(path_hash(0, b"dir"), b"a name of some length");
        // A change of this number makes every git index of a mounted tree stale.
        assert_eq!(number(path, &id, 0), 1_349_707_525_782_577_052);
        assert_ne!(number(path, &id, 0), number(path, &id, 1));
        assert_ne!(number(path, &id, 0), number(path, &ObjectId::NULL, 0));
        assert!((0..1000).all(|salt| number(path, &id, salt) < 1 << 63));
    }
}
