//! mega-store: one content-addressed store for code and weights, as one program.
//!
//! The rooms stand on floors. A room may use what is below it: never what is above, never another
//! of its own floor.
//!
//! ```text
//! 6 main        parse, run, exit code
//! 5 cli         arguments, one file a verb, what a person sees
//! 4 node        the open store, its mounts, import and export: the only room that joins the others
//! 3 http        the server: routes, who may, git and LFS over HTTP
//! 2 git lfs     repositories and LFS content that are elsewhere
//!   swarm       chunks and objects from peers
//! 1 config      where the store is
//!   control     the socket to the process that has the store open
//!   audit       the log of who wrote what
//!   [mega_fuse] a revision as a directory, [mega_storage] the engine
//! ```
//!
//! `cargo x tidy` reads the `use` lines and fails on an arrow that goes up or sideways.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod audit;
pub mod cli;
pub mod config;
pub mod control;
pub mod git;
pub mod http;
pub mod lfs;
pub mod node;
pub mod swarm;
