//! Reads trees, commits and tags from untrusted bytes: never panics, allocates nothing for a tree's
//! entries.
//!
//! It accepts what git accepts when it walks history; what git's fsck says of an object is
//! [`super::check`]'s part.

#![deny(clippy::indexing_slicing)]

use crate::id::ObjectId;
use crate::object::ObjectKind;

/// Shortest entry of a tree: a digit, a space, the end of the name, an id; git's own limit.
pub(crate) const TREE_ENTRY_LEN_MIN: usize = ObjectId::LEN + 3;

/// What a tree entry stands for, from its mode, as git reads modes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum EntryKind {
    /// 040000.
    Directory,
    /// 100644 and every other regular mode without the owner's exec bit.
    File,
    /// 100755 and every other regular mode with the owner's exec bit.
    Executable,
    /// 120000.
    Symlink,
    /// 160000, a commit of another repository; also every mode that git does not know.
    Submodule,
}

impl EntryKind {
    /// The kind for a mode.
    pub const fn from_mode(mode: u32) -> Self {
        match mode & 0o170_000 {
            0o040_000 => Self::Directory,
            0o100_000 if mode & 0o100 != 0 => Self::Executable,
            0o100_000 => Self::File,
            0o120_000 => Self::Symlink,
            _ => Self::Submodule,
        }
    }
}

/// One entry of a tree, borrowed from its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TreeEntry<'a> {
    /// The mode as written, cut to 16 bits as git does.
    pub mode: u32,
    /// The name: any bytes but NUL; not checked for `..`, `/` and the like.
    pub name: &'a [u8],
    /// What the entry names.
    pub id: ObjectId,
}

impl TreeEntry<'_> {
    /// What the entry stands for.
    pub const fn kind(&self) -> EntryKind {
        EntryKind::from_mode(self.mode)
    }
}

/// Iterator of [`tree_entries`]; ends after the first error.
#[derive(Clone, Debug)]
pub struct TreeEntries<'a> {
    rest: &'a [u8],
}

impl TreeEntries<'_> {
    /// Bytes that have not been read.
    pub(crate) fn rest_len(&self) -> usize {
        self.rest.len()
    }
}

/// Iterates over a tree's entries in the order in which they stand.
///
/// Each item is an entry, or what makes the rest unreadable; after an error the iterator ends.
pub fn tree_entries(data: &[u8]) -> TreeEntries<'_> {
    TreeEntries { rest: data }
}

impl<'a> Iterator for TreeEntries<'a> {
    type Item = Result<TreeEntry<'a>, &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match split_entry(self.rest) {
            Ok((entry, rest)) => {
                self.rest = rest;
                Some(Ok(entry))
            }
            Err(reason) => {
                self.rest = &[];
                Some(Err(reason))
            }
        }
    }
}

fn split_entry(data: &[u8]) -> Result<(TreeEntry<'_>, &[u8]), &'static str> {
    if data.len() < TREE_ENTRY_LEN_MIN {
        return Err("too-short tree object");
    }
    let (mode, rest) = parse_mode(data).ok_or("malformed mode in tree entry")?;
    let name_len = rest.iter().position(|&b| b == 0).ok_or("tree entry without an end")?;
    let (name, rest) = rest.split_at_checked(name_len).ok_or("tree entry without an end")?;
    if name.is_empty() {
        return Err("empty filename in tree entry");
    }
    let (id, rest) = rest
        .get(1..)
        .and_then(|rest| rest.split_at_checked(ObjectId::LEN))
        .ok_or("too-short tree file")?;
    let id = ObjectId::from_slice(id).ok_or("too-short tree file")?;
    Ok((TreeEntry { mode, name, id }, rest))
}

/// Octal digits up to a space; what follows it. The number is cut to 16 bits, as git does.
pub(crate) fn parse_mode(data: &[u8]) -> Option<(u32, &[u8])> {
    let mut mode = 0u32;
    for (index, &byte) in data.iter().enumerate() {
        match byte {
            b'0'..=b'7' => mode = (mode << 3) | u32::from(byte - b'0'),
            b' ' if index > 0 => return Some((mode & 0xffff, data.get(index + 1..)?)),
            _ => return None,
        }
    }
    None
}

/// What a walk of history needs of a commit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommitInfo {
    /// The root directory.
    pub tree: ObjectId,
    /// The parents, in order.
    pub parents: Vec<ObjectId>,
    /// When it was committed, in seconds since 1970; 0 when that cannot be read, as in git.
    pub committer_time: i64,
}

/// Reads a commit's tree, parents and time.
///
/// # Errors
/// What is wrong, when the tree or a parent cannot be read.
pub fn commit_info(data: &[u8]) -> Result<CommitInfo, &'static str> {
    let (tree, mut rest) = id_line(data, b"tree ").ok_or("a commit without a tree line")?;
    let mut parents = Vec::new();
    while rest.starts_with(b"parent ") {
        let (parent, after) = id_line(rest, b"parent ").ok_or("a malformed parent line")?;
        parents.push(parent);
        rest = after;
    }
    Ok(CommitInfo { tree, parents, committer_time: committer_time(rest).unwrap_or(0) })
}

/// Reads what a tag names, and which kind it says that is.
///
/// # Errors
/// What is wrong, when either line cannot be read.
pub fn tag_target(data: &[u8]) -> Result<(ObjectId, ObjectKind), &'static str> {
    let (id, rest) = id_line(data, b"object ").ok_or("a tag without an object line")?;
    let line = rest.strip_prefix(b"type ").ok_or("a tag without a type line")?;
    let kind = line
        .split(|&b| b == b'\n')
        .next()
        .and_then(kind_from_name)
        .ok_or("a tag of an unknown type")?;
    Ok((id, kind))
}

/// The kind that git's word names.
pub(crate) fn kind_from_name(name: &[u8]) -> Option<ObjectKind> {
    match name {
        b"commit" => Some(ObjectKind::Commit),
        b"tree" => Some(ObjectKind::Tree),
        b"blob" => Some(ObjectKind::Blob),
        b"tag" => Some(ObjectKind::Tag),
        _ => None,
    }
}

/// `prefix`, forty hex digits and a newline; what follows.
fn id_line<'a>(data: &'a [u8], prefix: &[u8]) -> Option<(ObjectId, &'a [u8])> {
    let (hex, rest) = data.strip_prefix(prefix)?.split_at_checked(ObjectId::LEN * 2)?;
    Some((ObjectId::from_hex(hex).ok()?, rest.strip_prefix(b"\n")?))
}

/// The number after the last `>` of the committer line.
fn committer_time(headers: &[u8]) -> Option<i64> {
    let line = headers
        .split(|&b| b == b'\n')
        .take_while(|line| !line.is_empty())
        .find(|line| line.starts_with(b"committer "))?;
    let after = line.rsplit(|&b| b == b'>').next().filter(|after| after.len() < line.len())?;
    let digits = after.trim_ascii_start();
    let len = digits.iter().take_while(|b| b.is_ascii_digit()).count();
    std::str::from_utf8(digits.get(..len)?).ok()?.parse().ok()
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use super::*;

    const HEX: &str = "8ab686eafeb1f44702738c8b0f24f2567c36da6d";

    fn entry(mode: &str, name: &[u8], id: u8) -> Vec<u8> {
        [mode.as_bytes(), b" ", name, b"\0", &[id; 20]].concat()
    }

    #[test]
    fn reads_entries_and_kinds() {
        let tree = [
            entry("100644", b"a", 1),
            entry("100664", b"a2", 1),
            entry("100755", b"b", 2),
            entry("120000", b"c", 3),
            entry("40000", b"d\xff", 4),
            entry("160000", b"e", 5),
        ]
        .concat();
        let entries: Vec<_> = tree_entries(&tree).map(|e| e.expect("readable")).collect();
        let kinds: Vec<_> = entries.iter().map(TreeEntry::kind).collect();
        use EntryKind::{Directory, Executable, File, Submodule, Symlink};
        assert_eq!(kinds, [File, File, Executable, Symlink, Directory, Submodule]);
        assert_eq!(entries[4].name, b"d\xff");
        assert_eq!(entries[4].id, ObjectId::from_bytes([4; 20]));
        assert_eq!(tree_entries(b"").count(), 0);
    }

    #[test]
    fn every_cut_and_every_changed_byte_is_survived() {
        let tree = [entry("100644", b"file", 0), entry("40000", b"dir", 9)].concat();
        for len in 0..tree.len() {
            for item in tree_entries(&tree[..len]) {
                let _ = item;
            }
            for value in [0, b' ', b'9', b'/', 0xff] {
                let mut changed = tree.clone();
                changed[len] = value;
                assert!(tree_entries(&changed).count() <= 4);
            }
        }
        assert!(tree_entries(&tree[..tree.len() - 1]).any(|e| e.is_err()));
        assert!(tree_entries(&entry("100644", b"", 1)).any(|e| e.is_err()));
        assert!(tree_entries(&entry("", b"x", 1)).any(|e| e.is_err()));
        assert!(tree_entries(&entry("10064x", b"x", 1)).any(|e| e.is_err()));
        let huge = entry(&"7".repeat(100), b"x", 1);
        assert_eq!(tree_entries(&huge).next(), Some(split_entry(&huge).map(|(e, _)| e)));
    }

    #[test]
    fn reads_commits() {
        let text = format!(
            "tree {HEX}\nparent {HEX}\nparent {HEX}\nauthor A <a@b> 1 +0000\n\
             committer C > <c@d> 1700000000 +0100\nencoding x\n\nmessage\ncommitter no <x> 5 +0\n"
        );
        let info = commit_info(text.as_bytes()).expect("readable");
        assert_eq!(info.tree.to_string(), HEX);
        assert_eq!(info.parents.len(), 2);
        assert_eq!(info.committer_time, 1_700_000_000);
        let no_date = format!("tree {HEX}\nauthor A <a@b> 1 +0000\ncommitter C <c@d>\n\nx");
        assert_eq!(commit_info(no_date.as_bytes()).expect("readable").committer_time, 0);
        for len in 0..text.len() {
            let _ = commit_info(&text.as_bytes()[..len]);
        }
        assert!(commit_info(format!("tree {}\n", &HEX[..39]).as_bytes()).is_err());
        assert!(commit_info(format!("tree {HEX}\nparent x\n").as_bytes()).is_err());
    }

    #[test]
    fn reads_tags() {
        let text = format!("object {HEX}\ntype tree\ntag v1\n");
        let (id, kind) = tag_target(text.as_bytes()).expect("readable");
        assert_eq!((id.to_string().as_str(), kind), (HEX, ObjectKind::Tree));
        assert!(tag_target(format!("object {HEX}\ntype trees\n").as_bytes()).is_err());
        assert!(tag_target(format!("object {HEX}\n").as_bytes()).is_err());
        assert!(tag_target(b"").is_err());
    }
}
