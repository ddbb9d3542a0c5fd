//! Chunks and objects from peers, found over Kademlia, each byte checked before anyone sees it.
//!
//! ```text
//! identity   who we are: a key in the store
//! net        libp2p: connections, streams, the DHT
//! record     what a repository says of itself, signed
//! vouch      what its publisher says of its files' chunks, signed
//! exchange   peers asked and answered: the one task that joins the others
//! fetcher    a repository's objects and chunks from peers, as sources
//! hedge      the same from a server that the user named, when peers are silent
//! wire       the exchange protocol between two peers: frames and messages, no I/O
//! serve      what a peer is answered
//! schedule   what is asked of whom and when: a pure state machine
//! threads    threads that are waited for at the end
//! ```

pub mod exchange;
pub mod fetcher;
pub mod hedge;
pub mod identity;
pub mod net;
pub mod record;
pub mod schedule;
pub mod serve;
pub mod threads;
pub mod vouch;
pub mod wire;
