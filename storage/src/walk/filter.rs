//! A filter as rules that hold together.

use super::Filter;
use crate::object::ObjectKind;

/// What a filter lets through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Rules {
    kinds: [bool; 4],
    /// Blobs have fewer bytes than this.
    pub(super) blob_limit: Option<u64>,
    /// Trees and blobs are at a depth below this.
    tree_depth: u64,
    /// Whether anything can be left out.
    pub(super) filters: bool,
}

impl Rules {
    /// Reads a filter.
    pub(super) fn new(filter: &Filter) -> Self {
        let mut rules =
            Self { kinds: [true; 4], blob_limit: None, tree_depth: u64::MAX, filters: false };
        let mut filters = vec![filter];
        while let Some(filter) = filters.pop() {
            rules.filters |= *filter != Filter::None;
            match filter {
                Filter::None => {}
                Filter::BlobNone => rules.kinds[usize::from(ObjectKind::Blob.code())] = false,
                Filter::BlobLimit(limit) => {
                    rules.blob_limit = Some(rules.blob_limit.map_or(*limit, |l| l.min(*limit)));
                }
                Filter::TreeDepth(depth) => rules.tree_depth = rules.tree_depth.min(*depth),
                Filter::ObjectType(only) => {
                    for (code, kind) in rules.kinds.iter_mut().enumerate() {
                        *kind &= code == usize::from(only.code());
                    }
                }
                Filter::Combine(all) => filters.extend(all),
            }
        }
        rules
    }

    /// Whether objects of this kind may be sent.
    pub(super) fn sends(&self, kind: ObjectKind) -> bool {
        self.kinds[usize::from(kind.code())]
    }

    /// Whether trees and blobs at this depth may be sent.
    pub(super) fn reaches(&self, depth: u64) -> bool {
        depth < self.tree_depth
    }

    /// Whether anything below commits can be sent.
    pub(super) fn needs_trees(&self) -> bool {
        self.reaches(0) && (self.sends(ObjectKind::Tree) || self.sends_blobs())
    }

    /// Whether any blob below a tree can be sent.
    pub(super) fn sends_blobs(&self) -> bool {
        self.sends(ObjectKind::Blob) && self.blob_limit != Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_hold_together() {
        use Filter::{BlobLimit, BlobNone, Combine, ObjectType, TreeDepth};
        let all = Rules::new(&Filter::None);
        assert!(!all.filters && all.sends(ObjectKind::Blob) && all.reaches(u64::MAX - 1));
        let rules = Rules::new(&Combine(vec![
            BlobLimit(10),
            Combine(vec![TreeDepth(3), BlobLimit(7), TreeDepth(4)]),
        ]));
        assert!(rules.filters);
        assert_eq!((rules.blob_limit, rules.reaches(2), rules.reaches(3)), (Some(7), true, false));
        let nothing = Rules::new(&Combine(vec![BlobNone, ObjectType(ObjectKind::Blob)]));
        assert!(!nothing.needs_trees());
        assert!(!Rules::new(&TreeDepth(0)).needs_trees());
        assert!(!Rules::new(&ObjectType(ObjectKind::Commit)).sends(ObjectKind::Tag));
        assert!(Rules::new(&BlobNone).needs_trees());
    }
}
