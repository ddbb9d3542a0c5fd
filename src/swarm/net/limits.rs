//! Limits on connections, on what is kept of the network, and the times of announcements.

use std::time::Duration;

/// Connections at a time, in all.
pub(super) const CONNECTIONS_MAX: u32 = 512;
/// Of these, those that others opened.
pub(super) const INCOMING_MAX: u32 = 384;
/// Connections with one peer: TCP and QUIC, direct and relayed.
pub(super) const PER_PEER_MAX: u32 = 4;
/// Handshakes under way at a time, each way.
pub(super) const PENDING_MAX: u32 = 128;
/// A handshake that takes longer has failed: a dead address must not cost a reader more.
pub(super) const CONNECT_TIME: Duration = Duration::from_secs(4);
/// A connection that nobody uses goes.
pub(super) const IDLE_TIME: Duration = Duration::from_secs(90);
/// How long a question to the DHT may take.
pub(super) const QUERY_TIME: Duration = Duration::from_secs(15);
/// How long a provider that could not be reached is left alone.
pub(super) const DEAD_TIME: Duration = Duration::from_secs(300);
/// Peers that are remembered as dead.
pub(super) const DEAD_MAX: usize = 4096;
/// Addresses of one peer that are kept.
pub(super) const ADDRESSES_MAX: usize = 16;
/// Bytes of one address.
pub(super) const ADDRESS_LEN_MAX: usize = 128;
/// Bytes of a value in the DHT.
pub(super) const VALUE_LEN_MAX: usize = 8 << 10;
/// Values that this node keeps for others.
pub(super) const VALUES_MAX: usize = 8192;
/// Keys that others' provider records here may be under.
pub(super) const PROVIDED_KEYS_MAX: usize = 32_768;
/// Of these, keys that one peer may name itself a provider of.
pub(super) const PROVIDED_KEYS_PER_PEER_MAX: usize = 512;
/// Providers of one key.
pub(super) const PROVIDERS_PER_KEY_MAX: usize = 20;
/// Keys that this node announces itself.
pub(super) const OWN_KEYS_MAX: usize = 4096;
/// Announcements that may be under way at a time.
pub(super) const ANNOUNCEMENTS_AT_ONCE: usize = 8;
/// Data bytes that a relayed connection may carry, for peers that are allowed here.
pub(super) const RELAY_BYTES_MAX: u64 = 16 << 30;
/// How long a relayed connection may last.
pub(super) const RELAY_TIME: Duration = Duration::from_secs(24 * 3600);
/// Requests of the program that wait for the network's task.
pub(super) const COMMANDS_MAX: usize = 256;
/// Peers found that wait for whoever asked.
pub(super) const FOUND_MAX: usize = 256;
