//! The engine of mega-store: git objects, LFS files as chunks, references and repositories in one
//! RocksDB.
//!
//! Blocking code over slices and `Read`/`Write`. It knows no git wire, HTTP, FUSE, libp2p, Nostr,
//! tokio or clap. Every key and value is described byte by byte in `storage/README.md`.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod backup;
mod check;
mod chunk;
mod chunks;
mod content_cache;
mod db;
mod error;
mod files;
mod gc;
mod held;
mod id;
mod id_table;
mod lease;
mod locks;
mod manifest;
mod name;
pub mod object;
mod objects;
mod outbox;
mod owner;
mod partial;
mod progress;
mod public;
mod read;
mod read_through;
mod readable;
mod refs;
mod repos;
mod revision;
mod row;
mod settings;
mod source;
mod stats;
mod store;
mod swarm;
#[cfg(test)]
mod testing;
mod tokens;
mod view;
mod walk;

pub use backup::{BackupDamage, BackupInfo, BackupReport, Backups, OpenBackup};
pub use check::{
    Damage, DamagedThing, Finding, FsckReport, Mend, MendSource, Stands, StoreSource, Use,
    VerifyOptions, VerifyReport, What,
};
pub use chunk::CHUNK_LEN_MAX;
pub use chunk::cutter::ChunkCutter;
pub use chunks::{ChunkBytes, StoredChunk, VerifiedChunk};
pub use content_cache::{CacheUse, CachedRepo, EvictReport, IN_USE_TIME};
pub use error::{IdParseError, NameError, PackError, Result, StoreError};
pub use files::{
    FileReader, FileReport, FileSpans, FileStore, NO_REPO, PartialUpload, PlannedFile,
    UNNAMED_TIME_S,
};
#[cfg(feature = "synthetic")]
pub use gc::Synthetic;
pub use gc::{GcOptions, GcRepo, GcReport, GcWhy};
pub use held::{
    HELD_BITS_LEN_MAX, HELD_RUNS_MAX, HELD_SHIFT_MAX, HELD_SHIFT_MIN, Held, HeldFile, HeldRun,
};
pub use id::{ChunkId, FileId, ObjectId, RepoId};
pub use lease::Lease;
pub use locks::{FileLock, LOCKS_MAX, LockError, LockFilter, LockId, LockStore};
pub use manifest::{ChunkRef, FILE_LEN_MAX, FileHead};
pub use name::{REF_NAME_LEN_MAX, RefName, RepoName};
pub use object::{Object, ObjectHeader, ObjectKind};
pub use objects::{
    ClosedPack, ExportReport, IngestOptions, IngestReport, ObjectStore, PackInput, PackLimits,
    PreparedPack, SendOptions, SendReport,
};
pub use outbox::{Outbox, OutboxEdit, OutboxRow};
pub use progress::{NoProgress, Progress, Unit};
pub use read::{ChunkSpan, Content, ObjectStat, Pointer, ReadStore, Urgency};
pub use read_through::{FetchCounts, Note, ReadThrough, ReadThroughOptions, Sources};
pub use readable::ReadableObjects;
pub use refs::{
    Expect, REF_EDITS_LEN_MAX, REF_EDITS_MAX, RefEdit, RefStore, RefTarget, RefTransaction,
    SYMREF_HOPS_MAX,
};
pub use repos::{ORIGIN_LEN_MAX, Repo, RepoDraft, RepoStore, Visibility};
pub use revision::{REVISION_LEN_MAX, TAG_DEPTH_MAX, peel, resolve_commit, resolve_revision};
pub use settings::{FsckLevel, RepoSettings, SETTINGS_LEN_MAX, SeedPolicy, SettingChange};
pub use source::{
    ChunkSource, ChunkTake, ManifestPage, ObjectSource, ObjectWant, PageSignature, SIGNED_CHUNKS,
    SourceError, SourceResult,
};
pub use stats::{ContentStats, StoreStats};
pub use store::{FORMAT_VERSION, Store, StoreOptions};
pub use swarm::{
    Bound, DHT_KEYS_PER_PEER_MAX, DHT_PROVIDERS_MAX, DHT_PROVIDERS_PER_KEY_MAX, DHT_VALUES_MAX,
    DhtCounts, DhtKey, DhtProvider, DhtValue, PEER_ADDRESS_LEN_MAX, PEER_ADDRESSES_MAX,
    PEER_ID_LEN_MAX, PEERS_MAX, PeerIdBytes, RepoKey, RepoKeyParseError, RepoNonce,
    SEEN_RECORDS_MAX, SWARM_RECORD_LEN_MAX, SeenRecord, SwarmPeer, SwarmRepo, SwarmStore,
};
pub use tokens::{NewToken, TOKEN_NOTE_LEN_MAX, TOKENS_MAX, Token, TokenScope, TokenStore};
pub use view::View;
pub use walk::{
    DEPTH_INFINITE, Deepen, DeepenBy, Filter, Reach, Shallow, ShallowBoundary, WalkRequest,
};
