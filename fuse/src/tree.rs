//! Reads a tree object's entries from bytes that may be hostile: never panics, allocates nothing.
//!
//! Names are passed on as they stand; [`crate::dir`] decides which of them may be shown.

#![deny(clippy::indexing_slicing)]

use mega_storage::ObjectId;
pub(crate) use mega_storage::object::EntryKind;

/// One entry, borrowed from the tree's bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TreeEntry<'a> {
    /// What it stands for.
    pub(crate) kind: EntryKind,
    /// Any bytes but NUL; may be empty.
    pub(crate) name: &'a [u8],
    /// What it names.
    pub(crate) id: ObjectId,
}

/// Iterates over a tree's entries as they stand; ends after the first error.
pub(crate) fn tree_entries(
    mut rest: &[u8],
) -> impl Iterator<Item = Result<TreeEntry<'_>, &'static str>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        Some(match split_entry(rest) {
            Ok((entry, after)) => {
                rest = after;
                Ok(entry)
            }
            Err(reason) => {
                rest = &[];
                Err(reason)
            }
        })
    })
}

fn split_entry(data: &[u8]) -> Result<(TreeEntry<'_>, &[u8]), &'static str> {
    let mut mode = 0u32;
    let mut digits = 0;
    for &byte in data.iter().take_while(|&&b| b != b' ') {
        if !(b'0'..=b'7').contains(&byte) {
            return Err("malformed mode in tree entry");
        }
        mode = ((mode << 3) | u32::from(byte - b'0')) & 0xffff;
        digits += 1;
    }
    let rest = data.get(digits + 1..).ok_or("too-short tree object")?;
    if digits == 0 {
        return Err("malformed mode in tree entry");
    }
    let name_len = rest.iter().position(|&b| b == 0).ok_or("tree entry without an end")?;
    let (name, rest) = rest.split_at(name_len);
    let (id, rest) = rest
        .get(1..)
        .and_then(|rest| rest.split_at_checked(ObjectId::LEN))
        .ok_or("too-short tree object")?;
    let id = ObjectId::from_slice(id).ok_or("too-short tree object")?;
    Ok((TreeEntry { kind: EntryKind::from_mode(mode), name, id }, rest))
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn modes_are_read_as_git_reads_them() {
        for (mode, kind) in [
            (0o100_644, EntryKind::File),
            (0o100_664, EntryKind::File),
            (0o100_755, EntryKind::Executable),
            (0o100_100, EntryKind::Executable),
            (0o040_000, EntryKind::Directory),
            (0o120_000, EntryKind::Symlink),
            (0o160_000, EntryKind::Submodule),
            (0, EntryKind::Submodule),
        ] {
            assert_eq!(EntryKind::from_mode(mode), kind, "{mode:o}");
        }
    }

    #[test]
    fn what_cannot_be_read_ends_the_list() {
        let mut tree = b"100644 a\0".to_vec();
        tree.extend([1; 20]);
        assert_eq!(tree_entries(&tree).count(), 1);
        for cut in 1..tree.len() {
            let last = tree_entries(&tree[..cut]).last().expect("an item");
            assert!(last.is_err(), "cut at {cut}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(data in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = tree_entries(&data).count();
        }
    }
}
