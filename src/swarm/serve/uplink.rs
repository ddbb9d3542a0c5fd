//! How fast content is sent: a bucket of bytes for all peers together, and one for each.
//!
//! A bucket fills at its rate up to a burst, and what is sent is taken out of it. What a request
//! costs is known when it has been answered, so a bucket may fall below nothing by one request;
//! then others wait until it has filled up again. What somebody waits for is let through while a
//! bucket is in debt by less than a burst. Time is given by the caller, in microseconds.

use std::collections::HashMap;
use std::hash::Hash;

use super::limits::{BURST_MS, RETRY_MS_MAX, RETRY_MS_MIN, UPLINK_PEERS_MAX};
use crate::swarm::wire::Priority;

/// Smallest burst: a chunk, whatever the rate.
const BURST_LEN_MIN: u64 = mega_storage::CHUNK_LEN_MAX as u64;

/// Rates, in bytes per second; `None` for no limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct UplinkLimits {
    /// To all peers together.
    pub all: Option<u64>,
    /// To each.
    pub peer: Option<u64>,
}

/// The buckets.
#[derive(Debug)]
pub struct Uplink<P> {
    limits: UplinkLimits,
    all: Option<Bucket>,
    peers: HashMap<P, Bucket>,
}

#[derive(Clone, Debug)]
struct Bucket {
    rate: u64,
    /// Millionths of bytes; below 0 it is in debt.
    level: i128,
    at_us: u64,
}

/// Millionths.
const MICRO: i128 = 1_000_000;

impl Bucket {
    fn new(rate: u64, now_us: u64) -> Self {
        let rate = rate.max(1);
        Self { rate, level: burst(rate), at_us: now_us }
    }

    fn fill(&mut self, now_us: u64) {
        let passed = now_us.saturating_sub(self.at_us);
        // A clock that goes back fills nothing, and does not fill the same time twice.
        self.at_us = self.at_us.max(now_us);
        let came = i128::from(passed) * i128::from(self.rate);
        self.level = self.level.saturating_add(came).min(burst(self.rate));
    }

    /// Microseconds until something may be sent.
    fn wait_us(&mut self, now_us: u64, priority: Priority) -> u64 {
        self.fill(now_us);
        let floor = match priority {
            Priority::Now => -burst(self.rate),
            Priority::Soon | Priority::Background => 0,
        };
        let lacking = floor.saturating_sub(self.level).saturating_add(1).max(0);
        let wait = lacking.unsigned_abs().div_ceil(u128::from(self.rate));
        u64::try_from(wait).unwrap_or(u64::MAX)
    }

    fn spend(&mut self, now_us: u64, len: u64) {
        self.fill(now_us);
        self.level = self.level.saturating_sub(i128::from(len) * MICRO);
    }

    fn is_full(&mut self, now_us: u64) -> bool {
        self.fill(now_us);
        self.level == burst(self.rate)
    }
}

/// Millionths of bytes that may be sent at once.
fn burst(rate: u64) -> i128 {
    i128::from((rate / 1_000).saturating_mul(BURST_MS).max(BURST_LEN_MIN)) * MICRO
}

impl<P: Eq + Hash + Clone> Uplink<P> {
    /// With these limits.
    pub fn new(limits: UplinkLimits, now_us: u64) -> Self {
        let all = limits.all.map(|rate| Bucket::new(rate, now_us));
        Self { limits, all, peers: HashMap::new() }
    }

    /// Whether a request may be answered now; if not, in how many milliseconds.
    pub fn admit(&mut self, now_us: u64, peer: &P, priority: Priority) -> Result<(), u32> {
        let all = self.all.as_mut().map_or(0, |all| all.wait_us(now_us, priority));
        let own = self.peers.get_mut(peer).map_or(0, |own| own.wait_us(now_us, priority));
        match all.max(own) {
            0 => Ok(()),
            wait_us => {
                let wait_ms = u32::try_from(wait_us.div_ceil(1_000)).unwrap_or(u32::MAX);
                Err(wait_ms.clamp(RETRY_MS_MIN, RETRY_MS_MAX))
            }
        }
    }

    /// Counts content that goes to a peer.
    pub fn spend(&mut self, now_us: u64, peer: &P, len: u64) {
        if let Some(all) = &mut self.all {
            all.spend(now_us, len);
        }
        let Some(rate) = self.limits.peer else { return };
        if self.peers.len() >= UPLINK_PEERS_MAX && !self.peers.contains_key(peer) {
            // Who owes nothing is as good as unknown.
            self.peers.retain(|_, bucket| !bucket.is_full(now_us));
            if self.peers.len() >= UPLINK_PEERS_MAX {
                self.peers.clear();
            }
        }
        let own = self.peers.entry(peer.clone()).or_insert_with(|| Bucket::new(rate, now_us));
        own.spend(now_us, len);
    }

    /// Peers that are remembered.
    pub fn peer_count(&self) -> usize {
        self.peers.len()
    }
}
