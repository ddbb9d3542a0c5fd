//! Journeys: the real program, real git, real git-lfs, real mounts, as a person uses them.
//!
//! One binary. Each test has a world of its own: a home, a store, a directory for what it makes.
//! What a test needs and the machine has not (FUSE, root) is skipped loudly, and never when `CI` is
//! set.

mod cli;
mod control;
mod crash;
mod export;
mod files;
mod import;
mod lfs;
mod mount;
mod refused;
mod support;
mod url;
