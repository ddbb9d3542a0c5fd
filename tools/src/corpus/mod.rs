//! Deterministic inputs for the demo, the tests and the comparisons: weights, git repositories,
//! file trees.
//!
//! The same arguments give the same bytes (and, for repositories, the same commit ids) everywhere.

pub mod repo;
pub mod safetensors;
pub mod text;
pub mod tree;
pub mod weights;

use std::io;
use std::path::Path;

/// Names the file or folder that an input or output error belongs to.
fn named(path: &Path) -> impl Fn(io::Error) -> String + '_ {
    move |error| format!("{}: {error}", path.display())
}
