//! The mount: one revision of a repository as a read-only directory, bytes fetched as they are
//! read.
//!
//! [`mount`] is the door. What a mount promises is written in `fuse/README.md`. The crate uses
//! storage's read side only ([`mega_storage::ReadStore`]); `adapter.rs` alone names fuser's types,
//! `fs.rs` has the logic.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod adapter;
mod attributes;
mod cache;
mod content;
mod counters;
mod dir;
mod errno;
mod fs;
mod inode;
mod mountinfo;
mod opens;
mod plain;
mod prefetch;
mod safetensors;
mod session;
mod tree;
mod wildmatch;

#[cfg(test)]
mod testing;

use mega_storage::ObjectId;

pub use counters::{Counters, Op};
pub use mountinfo::FS_TYPE;
pub use plain::{PLAIN_LEN_MIN, PlainCache, PlainCounts};
pub use session::{MountError, Session, mount, unmount_path};

/// Which blobs that are LFS pointers appear as the files that they point to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LfsMode {
    /// All of them.
    All,
    /// Those for which `.gitattributes` says `filter=lfs`, as git would decide.
    #[default]
    Attr,
    /// None: the pointers' own text shows.
    Off,
}

/// What is mounted.
#[derive(Clone, Debug)]
pub struct ViewSpec {
    /// The tree that becomes the mount's root.
    pub root_tree: ObjectId,
    /// Time of everything in the mount, in seconds since 1970: the commit's.
    pub commit_time: i64,
    /// Name of the mount's source after `mega-store:`, as `repo@rev`.
    pub label: String,
    /// Owner of everything in the mount.
    pub uid: u32,
    /// Group of everything in the mount.
    pub gid: u32,
}

/// How it is mounted.
#[derive(Clone, Copy, Debug)]
pub struct MountOptions {
    /// Other users may read too; the kernel checks permission bits.
    pub allow_other: bool,
    /// Which LFS pointers are resolved.
    pub lfs: LfsMode,
    /// Threads that answer the kernel.
    pub thread_count: usize,
    /// Threads that decode chunks ahead of readers.
    pub worker_count: usize,
    /// Longest window decoded ahead of one sequential reader, in bytes; 0 switches it off.
    pub read_ahead_len: u64,
    /// The kernel's own readahead, in KiB. Set when the mounter is root; the kernel's default of
    /// 128 stays otherwise. At 1,024 a read of 1 MiB that is not aligned makes the kernel read 3
    /// MiB; at 512 it is 2 MiB, as fast.
    pub kernel_read_ahead_kb: u32,
    /// Decoded chunks and blobs kept for the next read nearby, in bytes.
    pub cache_len: usize,
    /// Decoded directories kept, in bytes.
    pub listing_cache_len: usize,
}

impl Default for MountOptions {
    fn default() -> Self {
        Self {
            allow_other: false,
            lfs: LfsMode::Attr,
            thread_count: 4,
            worker_count: 2,
            read_ahead_len: 16 << 20,
            kernel_read_ahead_kb: 512,
            cache_len: 64 << 20,
            listing_cache_len: 16 << 20,
        }
    }
}
