//! The key that makes this store a peer.
