//! Chunks and objects from peers, found over Kademlia, each byte checked before anyone sees it.
//!
//! ```text
//! identity   who we are: a key in the store
//! record     what a repository says of itself, signed
//! wire       the exchange protocol between two peers: frames and messages, no I/O
//! serve      what a peer is answered
//! schedule   what is asked of whom and when: a pure state machine
//! ```

pub mod identity;
pub mod record;
pub mod schedule;
pub mod serve;
pub mod wire;
