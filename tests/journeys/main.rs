//! Journeys: the real program, real git, real git-lfs, real mounts, as a person uses them.
//!
//! One binary. Each test has a world of its own: a home, a store, a directory for what it makes.
//! What a test needs and the machine has not (FUSE, root) is skipped loudly, and never when `CI` is
//! set.

mod backup;
mod bundle;
mod cli;
mod clients;
mod control;
mod crash;
mod export;
mod faults;
mod fetch;
mod files;
mod gc;
mod golden;
mod histories;
mod hostile;
mod import;
mod import_peer;
mod import_server;
mod lfs;
mod lfs_agent;
mod lfs_server;
mod mount;
mod parts;
mod peer_git;
mod peers;
mod plain;
mod prefetch;
mod push;
mod races;
mod refused;
mod remote_mount;
mod seeding;
mod serve;
mod serve_access;
mod server_killed;
mod support;
mod tls;
mod url;
mod verify;
