//! What a peer has asked for and not got: how much that may be.

use crate::swarm::wire::limits::OPEN_REQUESTS_MAX;
use crate::swarm::wire::{Request, WireError};

/// One of the two streams of a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lane {
    /// For what somebody waits for.
    Urgent,
    /// For everything else.
    Bulk,
}

/// The share of the bytes that urgent requests may have beside whatever bulk ones have.
const URGENT_SHARE: u64 = 4;

/// The open requests of one peer, on both of its streams.
#[derive(Clone, Debug)]
pub struct InFlight {
    len_max: u64,
    urgent: Open,
    bulk: Open,
}

/// Those of one stream.
#[derive(Clone, Copy, Debug, Default)]
struct Open {
    count: usize,
    len: u64,
}

impl InFlight {
    /// With so many bytes of chunks, as the HELLO announced.
    pub fn new(len_max: u32) -> Self {
        Self { len_max: len_max.into(), urgent: Open::default(), bulk: Open::default() }
    }

    /// Counts a request that came; `false` when it has to be answered by BUSY, and not counted,
    /// since it asks for more bytes than may be under way. A quarter of these is for urgent
    /// requests alone; and the first request of a stream is never too large.
    ///
    /// # Errors
    /// [`WireError::TooManyRequests`].
    pub fn begin(&mut self, lane: Lane, request: &Request) -> Result<bool, WireError> {
        let asked_len = request.asked_len();
        let (all_len, len_max) = (self.urgent.len + self.bulk.len, self.len_max);
        let open = self.open(lane);
        if open.count >= OPEN_REQUESTS_MAX {
            return Err(WireError::TooManyRequests { limit: OPEN_REQUESTS_MAX });
        }
        let fits = all_len + asked_len <= len_max
            || (lane == Lane::Urgent && open.len + asked_len <= len_max / URGENT_SHARE);
        if !fits && asked_len > 0 && open.len > 0 {
            return Ok(false);
        }
        open.len += asked_len;
        open.count += 1;
        Ok(true)
    }

    /// Counts a request that was begun and has got its last answer.
    pub fn end(&mut self, lane: Lane, request: &Request) {
        let open = self.open(lane);
        open.len = open.len.saturating_sub(request.asked_len());
        open.count = open.count.saturating_sub(1);
    }

    fn open(&mut self, lane: Lane) -> &mut Open {
        match lane {
            Lane::Urgent => &mut self.urgent,
            Lane::Bulk => &mut self.bulk,
        }
    }
}
