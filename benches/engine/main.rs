//! How fast the engine is: packs in, objects out, weights in, ranges out, a tree walked, a clone;
//! and how fast the swarm decides.
//!
//! `cargo bench --profile dev`: the one profile, so that RocksDB is not compiled again. Inputs come
//! from seeds and are made once, below the build's own temporary folder.

mod files;
mod inputs;
mod objects;
mod schedule;

use criterion::{criterion_group, criterion_main};

criterion_group!(objects, objects::ingest, objects::read, objects::walk, objects::clone);
criterion_group!(files, files::ingest, files::read);
criterion_group!(swarm, schedule::complete);
criterion_main!(objects, files, swarm);
