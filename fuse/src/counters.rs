//! Counts what the kernel asks of the mount: one relaxed atomic per operation, no locks, no noise.
//!
//! A second pass over a mounted tree should ask nothing; tests hold that with these counters
//! instead of a clock.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! ops {
    ($($(#[$doc:meta])* $op:ident = $name:literal,)*) => {
        /// A kind of request.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Op {
            $($(#[$doc])* $op,)*
        }

        impl Op {
            /// All kinds, in the order of their declaration.
            pub const ALL: &[Self] = &[$(Self::$op,)*];

            /// FUSE's word for it, in lower case.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$op => $name,)*
                }
            }
        }
    };
}

ops! {
    /// A name in a directory.
    Lookup = "lookup",
    /// The kernel dropped an inode; it waits for no answer.
    Forget = "forget",
    /// Attributes of an inode.
    Getattr = "getattr",
    /// The target of a symbolic link.
    Readlink = "readlink",
    /// The first opening of a file; the answer makes it the last, unless plain copies are kept.
    Open = "open",
    /// Bytes of a file.
    Read = "read",
    /// The first closing of a file; the answer makes it the last.
    Flush = "flush",
    /// The last closing of a descriptor that was opened by a request; it waits for no answer.
    Release = "release",
    /// The first opening of a directory; the answer makes it the last.
    Opendir = "opendir",
    /// Names of a directory.
    Readdir = "readdir",
    /// Names of a directory with their attributes.
    Readdirplus = "readdirplus",
    /// Space and name lengths.
    Statfs = "statfs",
    /// Value of an extended attribute.
    Getxattr = "getxattr",
    /// Names of extended attributes.
    Listxattr = "listxattr",
    /// A check of rights that the kernel did not make itself.
    Access = "access",
    /// Anything that would change the tree.
    Write = "write",
    /// Everything else.
    Other = "other",
}

/// Requests received, by kind.
#[derive(Debug, Default)]
pub struct Counters {
    counts: [AtomicU64; Op::ALL.len()],
}

impl Counters {
    pub(crate) fn count(&self, op: Op) {
        self.counts[op as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Requests of one kind since the mount.
    pub fn get(&self, op: Op) -> u64 {
        self.counts[op as usize].load(Ordering::Relaxed)
    }

    /// Requests that a program had to wait for: all but [`Op::Forget`] and [`Op::Release`].
    pub fn total(&self) -> u64 {
        let waits = |op| !matches!(op, Op::Forget | Op::Release);
        self.snapshot().filter(|(op, _)| waits(*op)).map(|(_, count)| count).sum()
    }

    /// Every kind with its count.
    pub fn snapshot(&self) -> impl Iterator<Item = (Op, u64)> {
        Op::ALL.iter().map(|&op| (op, self.get(op)))
    }
}
