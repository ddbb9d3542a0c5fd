//! Git objects as data: kinds, hashing, links, LFS pointers, content checks. No I/O.

pub mod check;
pub(crate) mod links;
pub(crate) mod parse;
pub(crate) mod pointer;

use bytes::Bytes;

use crate::id::ObjectId;

pub use check::{
    Problem, SPECIAL_BLOB_LEN_MAX, Severity, SpecialBlobs, SpecialContent, SpecialRole,
    check_object, check_object_noting, check_special_blob,
};
pub use links::links;
pub use parse::{
    CommitInfo, EntryKind, TreeEntries, TreeEntry, commit_info, tag_target, tree_entries,
};
pub use pointer::{POINTER_LEN_MAX, parse_pointer};

/// The four kinds of git object.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ObjectKind {
    /// A commit.
    Commit,
    /// A directory.
    Tree,
    /// A file's content, or a symbolic link's target.
    Blob,
    /// An annotated tag.
    Tag,
}

impl ObjectKind {
    /// Git's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Tree => "tree",
            Self::Blob => "blob",
            Self::Tag => "tag",
        }
    }

    /// The number that stands for it in a stored row: 0 to 3.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Commit => 0,
            Self::Tree => 1,
            Self::Blob => 2,
            Self::Tag => 3,
        }
    }

    /// The inverse of [`Self::code`] on the low two bits.
    pub(crate) const fn from_code(code: u8) -> Self {
        match code & 3 {
            0 => Self::Commit,
            1 => Self::Tree,
            2 => Self::Blob,
            _ => Self::Tag,
        }
    }

    /// The type number in a pack entry's header (gitformat-pack): 1 to 4.
    pub(crate) const fn pack_type(self) -> u8 {
        self.code() + 1
    }
}

impl From<gix_object::Kind> for ObjectKind {
    fn from(kind: gix_object::Kind) -> Self {
        match kind {
            gix_object::Kind::Commit => Self::Commit,
            gix_object::Kind::Tree => Self::Tree,
            gix_object::Kind::Blob => Self::Blob,
            gix_object::Kind::Tag => Self::Tag,
        }
    }
}

/// An object's kind and content length, known without inflating it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ObjectHeader {
    /// The kind.
    pub kind: ObjectKind,
    /// Length of the content, in bytes.
    pub len: u64,
}

/// A whole object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Object {
    /// The kind.
    pub kind: ObjectKind,
    /// The content, without git's header.
    pub data: Bytes,
}

/// SHA-1 collision detection fired: the bytes are made to collide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CollisionAttack;

/// Computes an object's id with collision-detecting SHA-1.
///
/// # Errors
/// [`CollisionAttack`] when the bytes carry the marks of a known attack on SHA-1.
pub fn hash_object(kind: ObjectKind, data: &[u8]) -> Result<ObjectId, CollisionAttack> {
    let mut hasher = gix_hash::hasher(gix_hash::Kind::Sha1);
    hasher.update(format!("{} {}\0", kind.as_str(), data.len()).as_bytes());
    hasher.update(data);
    let id = hasher.try_finalize().map_err(|_| CollisionAttack)?;
    Ok(ObjectId::from(id.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_like_git() {
        let id = hash_object(ObjectKind::Blob, b"Hello, World!\n").expect("no attack");
        assert_eq!(id.to_string(), "8ab686eafeb1f44702738c8b0f24f2567c36da6d");
        let id = hash_object(ObjectKind::Blob, b"Hello, World!").expect("no attack");
        assert_eq!(id.to_string(), "b45ef6fec89518d314f546fd6c3025367b721684");
    }
}
