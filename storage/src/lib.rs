//! The engine of mega-store: git objects, LFS files as chunks, references and repositories in one
//! RocksDB.
//!
//! Blocking code over slices and `Read`/`Write`. It knows no git wire, HTTP, FUSE, libp2p, Nostr,
//! tokio or clap. Every key and value is described byte by byte in `storage/README.md`.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod chunk;
mod chunks;
mod db;
mod error;
mod files;
mod id;
mod manifest;
mod name;
pub mod object;
mod objects;
mod outbox;
mod progress;
mod read;
mod refs;
mod repos;
mod revision;
mod row;
mod store;
#[cfg(test)]
mod testing;
mod view;

pub use chunks::ChunkTotals;
pub use error::{IdParseError, NameError, PackError, Result, StoreError};
pub use files::{FileReader, FileReport, FileStore, NO_REPO};
pub use id::{ChunkId, FileId, ObjectId, RepoId};
pub use manifest::{ChunkRef, FileHead};
pub use name::{REF_NAME_LEN_MAX, RefName, RepoName};
pub use object::{Object, ObjectHeader, ObjectKind};
pub use objects::{
    ExportReport, IngestOptions, IngestReport, ObjectStore, PackInput, PackLimits, PreparedPack,
};
pub use outbox::{Outbox, OutboxEdit, OutboxRow};
pub use progress::{NoProgress, Progress, Unit};
pub use read::{ChunkSpan, Content, ObjectStat, Pointer, ReadStore};
pub use refs::{
    Expect, REF_EDITS_LEN_MAX, REF_EDITS_MAX, RefEdit, RefStore, RefTarget, RefTransaction,
    SYMREF_HOPS_MAX,
};
pub use repos::{ORIGIN_LEN_MAX, Repo, RepoStore, Visibility};
pub use revision::{REVISION_LEN_MAX, TAG_DEPTH_MAX, peel, resolve_commit, resolve_revision};
pub use store::{FORMAT_VERSION, Store, StoreOptions};
pub use view::View;
