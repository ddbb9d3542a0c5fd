//! Peers and what they are answered.

mod answers;
mod limits;
mod matrix;
mod parts;
pub(crate) mod scene;

use scene::{Scene, key, mesh, reader, stranger, writer};
