//! Limits of serving, beside those of the protocol.

/// Repositories of which it is remembered which objects may be read by id: each may take 20 bytes
/// an object.
pub(super) const READABLE_COUNT_MAX: usize = 4;
/// References that are looked at for one page: hidden ones stand among them.
pub(super) const REFS_LOOKED_AT: usize = 1_024;
/// What may be sent at once after a pause, as time at the full rate, in milliseconds.
pub const BURST_MS: u64 = 250;
/// Shortest time after which a peer that was told to wait should ask again, in milliseconds.
pub const RETRY_MS_MIN: u32 = 5;
/// Longest such time.
pub const RETRY_MS_MAX: u32 = 10_000;
/// Peers whose sending is limited one by one that are remembered.
pub(super) const UPLINK_PEERS_MAX: usize = 4_096;
