//! How much may be asked for at a time, and how fast it is sent.

use mega_storage::{CHUNK_LEN_MAX, ChunkId, ChunkRef, ChunkSpan, FileId};

use crate::swarm::serve::{BURST_MS, InFlight, Lane, RETRY_MS_MAX, Uplink, UplinkLimits};
use crate::swarm::wire::limits::{IN_FLIGHT_LEN_MAX, OPEN_REQUESTS_MAX};
use crate::swarm::wire::{Priority, RepoKey, Request, WireError};

const SECOND: u64 = 1_000_000;

fn chunks(count: u64) -> Request {
    let span = |i: u64| ChunkSpan {
        chunk: ChunkRef { id: ChunkId::from_bytes([0; 32]), len: CHUNK_LEN_MAX },
        offset: i * u64::from(CHUNK_LEN_MAX),
    };
    let (repo, file) = (RepoKey::ANY, FileId::from_bytes([1; 32]));
    let spans = (0..count).map(span).collect();
    Request::Chunks { repo, file, priority: Priority::Now, spans }
}

fn have() -> Request {
    Request::Have { repo: RepoKey::ANY, file: FileId::from_bytes([1; 32]) }
}

#[test]
fn so_many_bytes_and_requests_are_open_at_a_time() {
    let mut open = InFlight::new(IN_FLIGHT_LEN_MAX);
    let full = u64::from(IN_FLIGHT_LEN_MAX / CHUNK_LEN_MAX);
    assert_eq!(open.begin(Lane::Bulk, &chunks(full)), Ok(true), "at the limit");
    assert_eq!(open.begin(Lane::Bulk, &chunks(1)), Ok(false));
    assert_eq!(open.begin(Lane::Bulk, &have()), Ok(true), "it asks for no bytes");
    // What somebody waits for has room of its own, a quarter.
    assert_eq!(open.begin(Lane::Urgent, &chunks(full / 4)), Ok(true));
    assert_eq!(open.begin(Lane::Urgent, &chunks(1)), Ok(false));
    open.end(Lane::Urgent, &chunks(full / 4));
    open.end(Lane::Bulk, &chunks(full));
    assert_eq!(open.begin(Lane::Bulk, &chunks(full)), Ok(true));
    let mut small = InFlight::new(CHUNK_LEN_MAX);
    assert_eq!(small.begin(Lane::Bulk, &chunks(9)), Ok(true), "the first is never too large");
    assert_eq!(small.begin(Lane::Bulk, &chunks(1)), Ok(false));
    let mut many = InFlight::new(IN_FLIGHT_LEN_MAX);
    for _ in 0..OPEN_REQUESTS_MAX {
        assert_eq!(many.begin(Lane::Urgent, &have()), Ok(true));
    }
    let limit = OPEN_REQUESTS_MAX;
    assert_eq!(many.begin(Lane::Urgent, &have()), Err(WireError::TooManyRequests { limit }));
    assert_eq!(many.begin(Lane::Bulk, &have()), Ok(true), "each stream has its own");
    many.end(Lane::Urgent, &have());
    assert_eq!(many.begin(Lane::Urgent, &have()), Ok(true));
}

/// Bytes that a peer who always asks gets in so many seconds, in requests of `len`.
fn sent(limits: UplinkLimits, peers: &[u8], seconds: u64, len: u64) -> Vec<u64> {
    let mut uplink = Uplink::new(limits, 0);
    let mut sent = vec![0; peers.len()];
    for now in (0..seconds * SECOND).step_by(1_000) {
        // Each begins in its turn.
        for turn in 0..peers.len() {
            let index = (turn + usize::try_from(now / 1_000).expect("small")) % peers.len();
            if uplink.admit(now, &peers[index], Priority::Soon).is_ok() {
                uplink.spend(now, &peers[index], len);
                sent[index] += len;
            }
        }
    }
    sent
}

#[test]
fn rates_hold_over_time_for_each_and_for_all() {
    let rate = 10_000_000u64;
    for len in [10_000, 1 << 20] {
        let peer = UplinkLimits { peer: Some(rate), all: None };
        for got in sent(peer, &[1, 2, 3], 20, len) {
            let burst = rate * BURST_MS / 1_000;
            assert!(got >= 20 * rate && got <= 20 * rate + burst + len, "{got} in {len}");
        }
        let all = UplinkLimits { peer: None, all: Some(rate) };
        let got = sent(all, &[1, 2, 3], 20, len);
        let sum: u64 = got.iter().sum();
        assert!(sum >= 20 * rate && sum <= 20 * rate + rate * BURST_MS / 1_000 + len, "{sum}");
        assert!(got.iter().all(|one| *one > sum / 6), "nobody is starved: {got:?}");
    }
    let none = sent(UplinkLimits::default(), &[1], 1, 1 << 20);
    assert_eq!(none, [1_000 << 20], "without limits nobody waits");
}

#[test]
fn who_has_to_wait_is_told_how_long_and_urgent_goes_first() {
    let rate = 1_000_000;
    let mut uplink = Uplink::new(UplinkLimits { peer: Some(rate), all: None }, 5);
    assert_eq!(uplink.admit(5, &1, Priority::Background), Ok(()));
    uplink.spend(5, &1, 300_000);
    // The burst is a chunk; 37,856 bytes of debt at a byte a microsecond.
    let debt = 300_000 - u64::from(CHUNK_LEN_MAX);
    let wait = uplink.admit(5, &1, Priority::Soon).expect_err("in debt");
    assert_eq!(u64::from(wait), debt.div_ceil(1_000));
    assert_eq!(uplink.admit(5, &1, Priority::Now), Ok(()), "somebody waits");
    assert_eq!(uplink.admit(5, &2, Priority::Soon), Ok(()), "another peer");
    assert!(uplink.admit(5 + debt, &1, Priority::Soon).is_err());
    assert_eq!(uplink.admit(6 + debt, &1, Priority::Soon), Ok(()));
    // A clock that goes back gives nothing twice.
    uplink.spend(6 + debt, &1, 100_000);
    assert!(uplink.admit(0, &1, Priority::Soon).is_err());
    assert!(uplink.admit(6 + debt, &1, Priority::Soon).is_err());
    uplink.spend(6 + debt, &1, 1 << 40);
    assert_eq!(uplink.admit(6 + debt, &1, Priority::Now), Err(RETRY_MS_MAX));
}

#[test]
fn peers_that_come_and_go_take_bounded_memory() {
    let mut uplink = Uplink::new(UplinkLimits { peer: Some(1 << 20), all: None }, 0);
    for peer in 0..20_000u64 {
        uplink.spend(peer * 1_000, &peer, 10_000);
        assert!(uplink.peer_count() <= 4_096);
    }
    // Also when all of them owe.
    for peer in 0..20_000u64 {
        uplink.spend(20 * SECOND, &peer, 1 << 30);
        assert!(uplink.peer_count() <= 4_096);
    }
}
