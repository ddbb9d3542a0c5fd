//! What an object names: the ids that must be there for it to be whole.

use crate::id::ObjectId;
use crate::object::ObjectKind;
use crate::object::parse::{EntryKind, commit_info, tag_target, tree_entries};

/// The ids that an object names, in the order in which it names them. Submodule commits are left
/// out: they belong to another repository. A blob names nothing.
///
/// # Errors
/// What makes the object unreadable.
pub fn links(kind: ObjectKind, data: &[u8]) -> Result<Vec<ObjectId>, &'static str> {
    match kind {
        ObjectKind::Blob => Ok(Vec::new()),
        ObjectKind::Tag => Ok(vec![tag_target(data)?.0]),
        ObjectKind::Commit => {
            let info = commit_info(data)?;
            Ok(std::iter::once(info.tree).chain(info.parents).collect())
        }
        ObjectKind::Tree => tree_entries(data)
            .filter(|entry| !matches!(entry, Ok(e) if e.kind() == EntryKind::Submodule))
            .map(|entry| entry.map(|e| e.id))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_everything_but_submodules() {
        let tree =
            [&b"100644 a\0"[..], &[1; 20], b"160000 sub\0", &[2; 20], b"40000 z\0", &[3; 20]]
                .concat();
        let expected = [ObjectId::from_bytes([1; 20]), ObjectId::from_bytes([3; 20])];
        assert_eq!(links(ObjectKind::Tree, &tree), Ok(expected.to_vec()));
        assert!(links(ObjectKind::Tree, &tree[..10]).is_err());
        assert_eq!(links(ObjectKind::Blob, b"anything"), Ok(vec![]));
        let hex = "11".repeat(20);
        let commit = format!("tree {hex}\nparent {hex}\n\n");
        assert_eq!(links(ObjectKind::Commit, commit.as_bytes()).map(|l| l.len()), Ok(2));
        let tag = format!("object {hex}\ntype commit\n");
        assert_eq!(links(ObjectKind::Tag, tag.as_bytes()).map(|l| l.len()), Ok(1));
    }
}
