//! Directories straight from git's trees: a listing is decoded when it is asked for, kept for a
//! while, and read again.
//!
//! A listing is made in one go: the tree is read, names that cannot be shown are hidden and logged,
//! the rest is sorted, and the lengths of all its blobs come from one call of the store, which
//! inflates nothing. Depth costs nothing here: each directory is listed by itself.

use std::sync::Arc;

use lru::LruCache;
use mega_storage::{FileId, ObjectId, ObjectKind, Pointer, ReadStore};
use parking_lot::Mutex;

use crate::LfsMode;
use crate::attributes::{ATTRIBUTES_LEN_MAX, Attributes};
use crate::errno::FsError;
use crate::inode::{Body, Dir, Node, number, path_hash};
use crate::tree::{EntryKind, tree_entries};

/// Longest name that Linux can show, in bytes.
pub(crate) const NAME_LEN_MAX: usize = 255;

/// Hidden names of one directory that are logged one by one.
const HIDDEN_LOGGED_MAX: usize = 8;

/// What an entry's content is, known without its directory's node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum EntryBody {
    Directory,
    Submodule,
    Blob,
    File(FileId),
    Absent,
}

/// One entry of a listing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DirEntry {
    name_at: u32,
    name_len: u16,
    /// What the tree says it is.
    pub(crate) kind: EntryKind,
    /// What the tree names.
    pub(crate) id: ObjectId,
    /// Length of its content, in bytes; 0 for directories.
    pub(crate) len: u64,
    /// The inode number that it should get.
    pub(crate) ino: u64,
    /// Hash of its path.
    pub(crate) path_hash: u64,
    /// Its content.
    pub(crate) body: EntryBody,
}

/// A directory's entries, sorted by name.
#[derive(Debug)]
pub(crate) struct Listing {
    names: Box<[u8]>,
    entries: Box<[DirEntry]>,
}

impl Listing {
    /// The listing of a submodule.
    pub(crate) fn empty() -> Self {
        Self { names: Box::default(), entries: Box::default() }
    }

    /// All entries, in the order in which the mount lists them.
    pub(crate) fn entries(&self) -> &[DirEntry] {
        &self.entries
    }

    /// An entry's name.
    pub(crate) fn name(&self, entry: &DirEntry) -> &[u8] {
        let at = entry.name_at as usize;
        &self.names[at..at + usize::from(entry.name_len)]
    }

    /// The entry of that name.
    pub(crate) fn find(&self, name: &[u8]) -> Option<&DirEntry> {
        let at = self.entries.binary_search_by(|entry| self.name(entry).cmp(name)).ok()?;
        self.entries.get(at)
    }

    /// Bytes that it takes in memory.
    fn weight(&self) -> usize {
        self.names.len() + size_of_val(&*self.entries) + size_of::<Self>()
    }
}

impl DirEntry {
    /// The node for it, as a child of `parent`, under the number that it got.
    pub(crate) fn node(&self, name: &[u8], parent: &Arc<Dir>, ino: u64) -> Node {
        let body = match self.body {
            EntryBody::Directory => Body::Directory(Arc::new(Dir {
                ino,
                tree: self.id,
                path_hash: self.path_hash,
                parent: Some(parent.clone()),
                name: name.into(),
                attributes: std::sync::OnceLock::new(),
            })),
            EntryBody::Submodule => Body::Submodule,
            EntryBody::Blob => Body::Blob,
            EntryBody::File(id) => Body::File(id),
            EntryBody::Absent => Body::Absent,
        };
        Node { kind: self.kind, id: self.id, path_hash: self.path_hash, len: self.len, body }
    }
}

#[derive(Default)]
struct Kept {
    listings: Option<LruCache<(u64, ObjectId), Arc<Listing>>>,
    weight: usize,
}

/// Makes listings and keeps those used last.
pub(crate) struct Directories {
    store: Arc<dyn ReadStore>,
    lfs: LfsMode,
    kept: Mutex<Kept>,
    weight_max: usize,
}

impl Directories {
    /// Keeps listings of up to `weight_max` bytes together, and always the last.
    pub(crate) fn new(store: Arc<dyn ReadStore>, lfs: LfsMode, weight_max: usize) -> Self {
        Self { store, lfs, kept: Mutex::new(Kept::default()), weight_max }
    }

    /// The listing of a directory.
    ///
    /// # Errors
    /// When the tree is missing or malformed, or the store cannot be read.
    pub(crate) fn listing(&self, dir: &Dir) -> Result<Arc<Listing>, FsError> {
        let key = (dir.path_hash, dir.tree);
        if let Some(listing) = self.kept.lock().listings.as_mut().and_then(|l| l.get(&key)) {
            return Ok(listing.clone());
        }
        let listing = Arc::new(self.load(dir).inspect_err(|error| {
            tracing::error!(tree = %dir.tree, %error, "a directory cannot be listed");
        })?);
        if listing.entries().iter().any(|entry| entry.body == EntryBody::Absent) {
            // What is missing now may come: nothing remembers a failure.
            return Ok(listing);
        }
        let mut guard = self.kept.lock();
        let kept = &mut *guard;
        let listings = kept.listings.get_or_insert_with(LruCache::unbounded);
        kept.weight += listing.weight();
        if let Some((_, replaced)) = listings.push(key, listing.clone()) {
            kept.weight -= replaced.weight();
        }
        while kept.weight > self.weight_max && listings.len() > 1 {
            kept.weight -= listings.pop_lru().map_or(0, |(_, oldest)| oldest.weight());
        }
        Ok(listing)
    }

    fn load(&self, dir: &Dir) -> Result<Listing, FsError> {
        let tree = self.store.object(&dir.tree)?;
        if tree.kind != ObjectKind::Tree {
            return Err(FsError::Absent(dir.tree));
        }
        let (names, mut entries) = shown_entries(dir, &tree.data)?;
        self.fill(dir, &names, &mut entries)?;
        number_apart(&mut entries);
        Ok(Listing { names: names.into(), entries: entries.into() })
    }

    /// Asks the store for the lengths of all blobs at once and resolves pointers.
    fn fill(&self, dir: &Dir, names: &[u8], entries: &mut [DirEntry]) -> Result<(), FsError> {
        let blobs: Vec<usize> =
            (0..entries.len()).filter(|&index| entries[index].body == EntryBody::Blob).collect();
        if blobs.is_empty() {
            return Ok(());
        }
        let ids: Vec<ObjectId> = blobs.iter().map(|&index| entries[index].id).collect();
        let stats = self.store.stat(&ids)?;
        let mut pointers = Vec::new();
        for (&index, stat) in blobs.iter().zip(stats) {
            let entry = &mut entries[index];
            let Some(stat) = stat.filter(|stat| stat.header.kind == ObjectKind::Blob) else {
                tracing::error!(tree = %dir.tree, id = %entry.id, "an entry's blob is missing");
                entry.body = EntryBody::Absent;
                continue;
            };
            entry.len = stat.header.len;
            let Some(pointer) = stat.pointer.filter(|_| entry.kind != EntryKind::Symlink) else {
                continue;
            };
            let name_at = entry.name_at as usize;
            let name = &names[name_at..name_at + usize::from(entry.name_len)];
            if self.is_lfs(dir, name)? {
                pointers.push((index, pointer));
            }
        }
        if pointers.is_empty() {
            return Ok(());
        }
        let files: Vec<Pointer> = pointers.iter().map(|(_, pointer)| *pointer).collect();
        for ((index, pointer), len) in pointers.into_iter().zip(self.store.file_lens(&files)?) {
            if let Some(len) = len {
                entries[index].len = len;
                entries[index].body = EntryBody::File(pointer.file);
            }
        }
        Ok(())
    }

    fn is_lfs(&self, dir: &Dir, name: &[u8]) -> Result<bool, FsError> {
        match self.lfs {
            LfsMode::All => Ok(true),
            LfsMode::Off => Ok(false),
            LfsMode::Attr => {
                let Some(attributes) = self.attributes(dir)? else {
                    return Ok(false);
                };
                let mut path = dir.path();
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(name);
                Ok(attributes.is_lfs(&path))
            }
        }
    }

    /// The rules that hold in a directory: those above it and its own. Made once per live
    /// directory.
    fn attributes(&self, dir: &Dir) -> Result<Option<Arc<Attributes>>, FsError> {
        let mut pending = Vec::new();
        let mut level = Some(dir);
        let mut rules = None;
        while let Some(dir) = level {
            if let Some(known) = dir.attributes.get() {
                rules = known.clone();
                break;
            }
            pending.push(dir);
            level = dir.parent.as_deref();
        }
        while let Some(dir) = pending.pop() {
            if let Some(text) = self.attributes_text(dir)? {
                rules = Some(Arc::new(Attributes::parse(rules, &dir.path(), &text)));
            }
            rules = dir.attributes.get_or_init(|| rules).clone();
        }
        Ok(rules)
    }

    /// The text of a directory's own `.gitattributes`, when it is a regular file of a length that
    /// git reads.
    fn attributes_text(&self, dir: &Dir) -> Result<Option<bytes::Bytes>, FsError> {
        let tree = self.store.object(&dir.tree)?;
        let found = tree_entries(&tree.data).map_while(Result::ok).find(|entry| {
            entry.name == b".gitattributes"
                && matches!(entry.kind, EntryKind::File | EntryKind::Executable)
        });
        let Some(id) = found.map(|entry| entry.id) else {
            return Ok(None);
        };
        let stat = self.store.stat(&[id])?.pop().flatten().ok_or(FsError::Absent(id))?;
        if stat.header.kind != ObjectKind::Blob || stat.header.len > ATTRIBUTES_LEN_MAX {
            return Ok(None);
        }
        Ok(Some(self.store.object(&id)?.data))
    }
}

/// Decodes a tree: the names that can be shown, sorted, the first of equal ones.
fn shown_entries(dir: &Dir, data: &[u8]) -> Result<(Vec<u8>, Vec<DirEntry>), FsError> {
    let (mut names, mut entries) = (Vec::with_capacity(data.len() / 2), Vec::new());
    let mut hidden_count = 0;
    let mut hide = |name: &[u8], reason: &'static str| {
        hidden_count += 1;
        if hidden_count <= HIDDEN_LOGGED_MAX {
            let name = name.escape_ascii();
            tracing::warn!(tree = %dir.tree, %name, reason, "an entry is not shown");
        }
    };
    for entry in tree_entries(data) {
        let entry = entry.map_err(|reason| FsError::MalformedTree { id: dir.tree, reason })?;
        if let Some(reason) = why_hidden(entry.name) {
            hide(entry.name, reason);
            continue;
        }
        let (Ok(name_at), Ok(name_len)) =
            (u32::try_from(names.len()), u16::try_from(entry.name.len()))
        else {
            return Err(FsError::MalformedTree { id: dir.tree, reason: "over 4 GiB of names" });
        };
        names.extend_from_slice(entry.name);
        let path_hash = path_hash(dir.path_hash, entry.name);
        let body = match entry.kind {
            EntryKind::Directory => EntryBody::Directory,
            EntryKind::Submodule => EntryBody::Submodule,
            EntryKind::File | EntryKind::Executable | EntryKind::Symlink => EntryBody::Blob,
        };
        entries.push(DirEntry {
            name_at,
            name_len,
            kind: entry.kind,
            id: entry.id,
            len: 0,
            ino: 0,
            path_hash,
            body,
        });
    }
    let name = |e: &DirEntry| &names[e.name_at as usize..][..usize::from(e.name_len)];
    entries.sort_by(|a, b| name(a).cmp(name(b)));
    entries.dedup_by(|later, kept| {
        let is_same = name(later) == name(kept);
        if is_same {
            hide(name(later), "the directory has the name twice");
        }
        is_same
    });
    if hidden_count > HIDDEN_LOGGED_MAX {
        tracing::warn!(tree = %dir.tree, hidden_count, "more entries are not shown");
    }
    Ok((names, entries))
}

/// Why a name must not reach the kernel; `None` for one that may.
fn why_hidden(name: &[u8]) -> Option<&'static str> {
    match name {
        b"" => Some("the name is empty"),
        b"." | b".." => Some("the name has a meaning of its own"),
        _ if name.contains(&b'/') => Some("the name has a slash"),
        _ if name.len() > NAME_LEN_MAX => Some("the name is longer than 255 bytes"),
        _ if name.eq_ignore_ascii_case(b".git") => Some("git keeps the name to itself"),
        _ => None,
    }
}

/// Gives each entry its inode number, so that no two agree in the low 32 bits: git's index keeps no
/// more.
fn number_apart(entries: &mut [DirEntry]) {
    let mut taken = std::collections::HashSet::with_capacity(entries.len());
    for entry in entries {
        let mut salt = 0;
        entry.ino = number(entry.path_hash, &entry.id, salt);
        // 2^32 numbers for at most some millions of entries: this ends soon.
        while !taken.insert(entry.ino & u64::from(u32::MAX)) {
            salt += 1;
            entry.ino = number(entry.path_hash, &entry.id, salt);
        }
    }
}
