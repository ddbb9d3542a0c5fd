//! The project's own tasks: house rules as a test, deterministic corpora, torture of the real
//! program, a network to run it in.
//!
//! Invariant: needs nothing of the engine, so that `cargo x tidy` runs in seconds on a cold
//! checkout.

#![warn(missing_docs)]

pub mod args;
pub mod corpus;
pub mod fuzz;
pub mod licences;
pub mod netlab;
pub mod random;
pub mod tidy;
pub mod torture;

/// Root of the checkout that a task works on: the one that cargo runs it in.
///
/// Asked when it runs, because a build folder that two checkouts share has one program for both.
pub fn checkout() -> std::path::PathBuf {
    let built = env!("CARGO_MANIFEST_DIR").to_owned();
    let tools = std::env::var("CARGO_MANIFEST_DIR").unwrap_or(built);
    let tools = std::path::PathBuf::from(tools);
    tools.parent().map_or(tools.clone(), std::path::Path::to_owned)
}
