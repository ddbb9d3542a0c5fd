//! The mount's operations as plain functions with plain results: no fuser, no kernel, testable by
//! themselves.
//!
//! The view is immutable, so an answer holds for as long as the mount does and nothing is ever
//! invalidated. Reads go by inode, not by open descriptor: opening is nothing that the mount hears
//! of, but where plain copies are kept (`opens.rs`).
//!
//! Invariant: the inode table's lock is held only to look up and to count, never while the store is
//! asked.

use std::sync::Arc;

use mega_storage::{Content, ReadStore};
use parking_lot::Mutex;

use crate::content::{Reader, ReaderOptions};
use crate::dir::{Directories, EntryBody, Listing};
use crate::errno::FsError;
use crate::inode::{Body, Dir, InodeTable, Node, ROOT};
use crate::opens::LargeFile;
use crate::plain::PLAIN_LEN_MIN;
use crate::tree::EntryKind;
use crate::{MountOptions, ViewSpec};

/// Longest target that Linux takes, in bytes.
const TARGET_LEN_MAX: u64 = 4095;

const XATTRS: [&[u8]; 3] = [b"user.mega.oid", b"user.mega.kind", b"user.mega.resident"];

/// What a program sees of an inode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Attr {
    pub(crate) ino: u64,
    pub(crate) kind: EntryKind,
    /// Bytes; 4,096 for directories, as usual.
    pub(crate) len: u64,
    /// The content is missing: the kernel should ask again, and be told so.
    pub(crate) is_absent: bool,
}

impl Attr {
    fn new(ino: u64, kind: EntryKind, len: u64, is_absent: bool) -> Self {
        let len = if is_directory(kind) { 4096 } else { len };
        Self { ino, kind, len, is_absent }
    }

    fn of(ino: u64, node: &Node) -> Self {
        Self::new(ino, node.kind, node.len, matches!(node.body, Body::Absent))
    }

    /// Permission bits: those of a checkout with umask 022.
    pub(crate) fn perm(&self) -> u16 {
        match self.kind {
            EntryKind::Directory | EntryKind::Submodule | EntryKind::Executable => 0o755,
            EntryKind::File => 0o644,
            EntryKind::Symlink => 0o777,
        }
    }
}

fn is_directory(kind: EntryKind) -> bool {
    matches!(kind, EntryKind::Directory | EntryKind::Submodule)
}

/// One entry on its way to the kernel.
#[derive(Debug)]
pub(crate) struct Listed<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) attr: Attr,
    /// The offset from which to go on after this entry.
    pub(crate) next: u64,
}

/// Whether a listing hands out nodes, which the kernel then has to forget.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Telling {
    /// Names and numbers only.
    Names,
    /// With attributes: each entry but `.` and `..` counts as a lookup.
    Nodes,
}

/// A view of one revision.
pub(crate) struct MountFs {
    store: Arc<dyn ReadStore>,
    view: ViewSpec,
    nodes: Mutex<InodeTable>,
    directories: Directories,
    reader: Reader,
}

impl MountFs {
    pub(crate) fn new(store: Arc<dyn ReadStore>, view: ViewSpec, options: &MountOptions) -> Self {
        let root = Node {
            kind: EntryKind::Directory,
            id: view.root_tree,
            path_hash: 0,
            len: 0,
            body: Body::Directory(Arc::new(Dir::root(view.root_tree))),
        };
        let reader = ReaderOptions {
            cache_len: options.cache_len,
            window_len_max: options.read_ahead_len,
            worker_count: options.worker_count,
        };
        Self {
            nodes: Mutex::new(InodeTable::new(root)),
            directories: Directories::new(store.clone(), options.lfs, options.listing_cache_len),
            reader: Reader::new(store.clone(), reader),
            store,
            view,
        }
    }

    pub(crate) fn view(&self) -> &ViewSpec {
        &self.view
    }

    fn node(&self, ino: u64) -> Result<Node, FsError> {
        self.nodes.lock().get(ino)
    }

    /// The entry `name` of a directory; the kernel has to forget it.
    pub(crate) fn lookup(&self, parent: u64, name: &[u8]) -> Result<Attr, FsError> {
        let dir = match self.node(parent)?.body {
            Body::Directory(dir) => dir,
            Body::Submodule => return Err(FsError::NotFound),
            Body::Blob | Body::File(_) | Body::Absent => return Err(FsError::NotADirectory),
        };
        let listing = self.directories.listing(&dir)?;
        let entry = listing.find(name).ok_or(FsError::NotFound)?;
        if entry.body == EntryBody::Absent {
            return Err(FsError::Absent(entry.id));
        }
        let mut nodes = self.nodes.lock();
        let ino = nodes.place(entry.ino, entry.path_hash, &entry.id);
        nodes.remember(ino, entry.ino, || entry.node(name, &dir, ino));
        Ok(Attr::new(ino, entry.kind, entry.len, false))
    }

    /// The kernel has dropped `count` tellings of an inode.
    pub(crate) fn forget(&self, ino: u64, count: u64) {
        self.nodes.lock().forget(ino, count);
    }

    /// Attributes of an inode.
    pub(crate) fn getattr(&self, ino: u64) -> Result<Attr, FsError> {
        let node = self.node(ino)?;
        match node.body {
            Body::Absent => Err(FsError::Absent(node.id)),
            _ => Ok(Attr::of(ino, &node)),
        }
    }

    /// Lists a directory from `offset` on, until `sink` says that it is full: then the entry was
    /// not taken.
    pub(crate) fn readdir(
        &self,
        ino: u64,
        offset: u64,
        telling: Telling,
        sink: &mut dyn FnMut(&Listed<'_>) -> bool,
    ) -> Result<(), FsError> {
        let node = self.node(ino)?;
        let (listing, dir) = match &node.body {
            Body::Directory(dir) => (self.directories.listing(dir)?, Some(dir)),
            Body::Submodule => (Arc::new(Listing::empty()), None),
            Body::Blob | Body::File(_) | Body::Absent => return Err(FsError::NotADirectory),
        };
        // Above a submodule: the kernel answers `..` from its own cache, this number is only shown
        // by a raw listing.
        let above = dir.map_or(ROOT, |dir| dir.parent_ino());
        for (index, name, ino) in [(0, &b"."[..], ino), (1, b"..", above)] {
            let attr = Attr::new(ino, EntryKind::Directory, 0, false);
            if offset <= index && sink(&Listed { name, attr, next: index + 1 }) {
                return Ok(());
            }
        }
        let Some(dir) = dir else {
            return Ok(());
        };
        let first = usize::try_from(offset.saturating_sub(2)).unwrap_or(usize::MAX);
        let mut nodes = self.nodes.lock();
        for (index, entry) in listing.entries().iter().enumerate().skip(first) {
            let name = listing.name(entry);
            let ino = nodes.place(entry.ino, entry.path_hash, &entry.id);
            let is_absent = entry.body == EntryBody::Absent;
            let attr = Attr::new(ino, entry.kind, entry.len, is_absent);
            if sink(&Listed { name, attr, next: index as u64 + 3 }) {
                break;
            }
            if telling == Telling::Nodes {
                nodes.remember(ino, entry.ino, || entry.node(name, dir, ino));
            }
        }
        Ok(())
    }

    /// The target of a symbolic link.
    pub(crate) fn readlink(&self, ino: u64) -> Result<Vec<u8>, FsError> {
        let node = self.node(ino)?;
        if node.kind != EntryKind::Symlink {
            return Err(FsError::NotASymlink);
        }
        if let Body::Absent = node.body {
            return Err(FsError::Absent(node.id));
        }
        if node.len > TARGET_LEN_MAX {
            return Err(FsError::TargetTooLong { id: node.id, len: node.len });
        }
        let mut target = Vec::new();
        self.reader.read_blob(&node.id, node.len, 0..node.len, &mut target)?;
        if target.is_empty() || target.contains(&0) {
            return Err(FsError::BadTarget(node.id));
        }
        Ok(target)
    }

    /// Appends up to `len` bytes at `offset` to `out`: fewer only at the end of the content.
    pub(crate) fn read(
        &self,
        ino: u64,
        offset: u64,
        len: u32,
        out: &mut Vec<u8>,
    ) -> Result<(), FsError> {
        let node = self.node(ino)?;
        let end = offset.saturating_add(u64::from(len)).min(node.len);
        match node.body {
            Body::Directory(_) | Body::Submodule => Err(FsError::IsADirectory),
            Body::Absent => Err(FsError::Absent(node.id)),
            Body::Blob | Body::File(_) if offset >= end => Ok(()),
            Body::Blob => self.reader.read_blob(&node.id, node.len, offset..end, out),
            Body::File(id) => self.reader.read_file(&id, node.len, offset..end, out),
        }
    }

    /// The file behind an inode, when it is large enough for a plain copy.
    pub(crate) fn large_file(&self, ino: u64) -> Result<Option<LargeFile>, FsError> {
        let node = self.node(ino)?;
        Ok(match node.body {
            Body::File(id) if node.len >= PLAIN_LEN_MIN && node.kind != EntryKind::Symlink => {
                Some(LargeFile { id, len: node.len })
            }
            _ => None,
        })
    }

    /// The value of an extended attribute.
    pub(crate) fn getxattr(&self, ino: u64, name: &[u8]) -> Result<Vec<u8>, FsError> {
        let node = self.node(ino)?;
        if name == XATTRS[0] {
            return Ok(match node.body {
                Body::File(id) => id.to_string().into(),
                _ => node.id.to_string().into(),
            });
        }
        if name == XATTRS[1] {
            return Ok(match node.body {
                Body::Directory(_) => b"tree".to_vec(),
                Body::Submodule => b"commit".to_vec(),
                Body::Blob | Body::Absent => b"blob".to_vec(),
                Body::File(_) => b"lfs".to_vec(),
            });
        }
        if name == XATTRS[2]
            && let Some(content) = resident_content(&node)
        {
            let present = self.store.resident(&content)?;
            return Ok(format!("{present}/{}", node.len).into());
        }
        Err(FsError::NoAttribute)
    }

    /// The names of extended attributes, each ended by a NUL.
    pub(crate) fn listxattr(&self, ino: u64) -> Result<Vec<u8>, FsError> {
        let node = self.node(ino)?;
        let names = if resident_content(&node).is_some() { &XATTRS[..] } else { &XATTRS[..2] };
        Ok(names.iter().flat_map(|name| name.iter().copied().chain([0])).collect())
    }

    /// Live inodes, the root included.
    #[cfg(test)]
    pub(crate) fn node_count(&self) -> usize {
        self.nodes.lock().len()
    }
}

fn resident_content(node: &Node) -> Option<Content> {
    match node.body {
        Body::Blob => Some(Content::Blob(node.id)),
        Body::File(id) => Some(Content::File(id)),
        Body::Directory(_) | Body::Submodule | Body::Absent => None,
    }
}

#[cfg(test)]
#[path = "fs_tests.rs"]
mod tests;
