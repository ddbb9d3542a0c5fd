//! A swarm in virtual time: many schedulers, the links between them, and peers of every kind.
//!
//! Nothing here looks at a clock, and all chance comes from a seed: the same seed gives the same
//! events and the same actions, hashed into a trace. What a scheduler must never do is checked at
//! each of its actions ([`watch`]); what comes of it is for the tests to say. They assert on
//! virtual time and on counts, so that no result depends on the machine.

mod faults;
mod file;
mod links;
mod mixtures;
mod net;
mod node;
mod rules;
mod swarm;
mod watch;
mod world;

pub(super) use file::FileShape;
pub(super) use net::LinkShape;
pub(super) use node::{Kind, Outcome};
pub(super) use world::{Wanting, World};

/// 100 Mbit/s, in bytes a second.
pub(super) const FAST: u64 = 12_500_000;
