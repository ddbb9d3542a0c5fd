//! Every limit of the room, with its reason. Times are in microseconds, lengths in bytes.

use super::event::Time;

pub(super) const MS: Time = 1_000;
pub(super) const SECOND: Time = 1_000_000;

/// The longest chunk that storage cuts: what one chunk may exceed a budget by.
pub(super) const CHUNK_LEN_MAX: u64 = 256 << 10;

// How much is under way.

/// In flight from a peer at first, and at least: four chunks of the usual length.
pub(super) const WINDOW_LEN_MIN: u64 = 256 << 10;
/// In flight from a peer at most, in both lanes.
pub(super) const WINDOW_LEN_MAX: u64 = 16 << 20;
/// What the urgent lane may have in flight however slow the peer seems: one read of a program.
pub(super) const URGENT_LEN_MIN: u64 = 1 << 20;
/// How long what is in flight beyond one round trip takes: this much stands in the link's queue
/// in front of an urgent chunk. One round trip, but a driver that wakes late must not leave a fast
/// link idle.
pub(super) const QUEUE_US_MIN: Time = 20 * MS;
/// And no urgent chunk may wait for bulk longer than a tenth of a second.
pub(super) const QUEUE_US_MAX: Time = 80 * MS;
/// The same for links so slow that [`WINDOW_LEN_MIN`] would be longer.
pub(super) const QUEUE_US_BOUND: Time = 100 * MS;
/// A bulk request goes out when no more than one round trip's worth and this part of the queue is
/// in flight: the rest becomes one request, not one for each chunk.
pub(super) const LOW_WATER_PART: u64 = 4;
/// Chunks in a bulk request.
pub(super) const BULK_CHUNKS_MAX: usize = 16;
/// Bytes in a bulk request.
pub(super) const BULK_LEN_MAX: u64 = 1 << 20;
/// Chunks in an urgent request: few, so that several peers share what somebody waits for.
pub(super) const URGENT_CHUNKS_MAX: usize = 4;
/// Requests open in one lane of a peer, as the wire allows.
pub(super) const REQUESTS_MAX: usize = 64;

// What is known of peers.

/// A rate to reckon with until one is measured, in bytes a second.
pub(super) const RATE_GUESS: u64 = 2 << 20;
/// A round trip to reckon with until one is measured.
pub(super) const RTT_GUESS: Time = 50 * MS;
/// No round trip is believed to be longer.
pub(super) const RTT_MAX: Time = 10 * SECOND;
/// What a peer takes beyond a round trip until the first byte comes is believed up to this.
pub(super) const THINK_US_MAX: Time = SECOND / 2;
/// How often that is measured: what is under way must have come to its end for it, so once in a
/// while nothing is asked until it has.
pub(super) const LAG_US: Time = 10 * SECOND;
/// How long nothing is asked at most.
pub(super) const DRAIN_US_MAX: Time = SECOND;
/// Shortest stretch of time over which a rate is measured; a round trip when that is longer.
pub(super) const METER_US_MIN: Time = 20 * MS;
/// Longest such stretch.
pub(super) const METER_US_MAX: Time = SECOND;

// Who loses chunks.

/// A peer is slow below this part of the median rate, ...
pub(super) const SLOW_PART: u64 = 8;
/// ... not any more from this part on, ...
pub(super) const SLOW_PART_OVER: u64 = 6;
/// ... and gets another try after this time.
pub(super) const SLOW_US: Time = 30 * SECOND;
/// Silence tells something of the rate from here on.
pub(super) const SILENCE_US: Time = SECOND;
/// A lane on which somebody waits is stalled after this silence.
pub(super) const STALL_NOW_US: Time = 2 * SECOND;
/// Any lane is after this one.
pub(super) const STALL_US: Time = 10 * SECOND;
/// A chunk that somebody waits for is not asked of a second peer before this time.
pub(super) const HEDGE_US_MIN: Time = 200 * MS;
/// Peers that are asked for one chunk at a time, when somebody waits.
pub(super) const OWNERS_MAX: usize = 3;
/// Chunks that are asked of a second peer at a time: a link that breaks down must not be asked
/// for everything twice.
pub(super) const HEDGES_MAX: usize = 16;
/// Chunks left when the last ones may be asked of a second peer.
pub(super) const END_CHUNKS: usize = 32;

/// Pause after a failed request; doubled with each one in a row, ...
pub(super) const FAILURE_US_MIN: Time = 250 * MS;
/// ... up to this.
pub(super) const PAUSE_US_MAX: Time = 30 * SECOND;
/// Shortest pause of a peer that says it is busy.
pub(super) const BUSY_US_MIN: Time = 10 * MS;
/// Ban of a peer that sent wrong bytes.
pub(in crate::swarm) const BAN_US: Time = 24 * 3600 * SECOND;

// Looking around.

/// How often peers are judged, lists refreshed and searches repeated, while anything is wanted.
pub(super) const HOUSE_US: Time = 250 * MS;
/// A partial holder is asked again what it has after this time; doubled when nothing came to it,
/// ...
pub(super) const HAVE_US_MIN: Time = 3 * SECOND;
/// ... up to this.
pub(super) const HAVE_US_MAX: Time = 30 * SECOND;
/// Lists that are asked for in one round: the rest has its turn in the next.
pub(super) const HAVES_A_ROUND: usize = 32;
/// Chunks of a file that a peer said to have and then had not, before it is left alone ...
pub(super) const DENIALS_MAX: u32 = 64;
/// ... with this file for this time.
pub(super) const DENIALS_US: Time = 300 * SECOND;
/// More peers are looked for below this number.
pub(super) const HOLDERS_ENOUGH: usize = 4;
/// First wait between two searches; doubled with each, ...
pub(super) const FIND_US_MIN: Time = SECOND;
/// ... up to this when nobody can be asked, ...
pub(super) const FIND_US_STARVED: Time = 8 * SECOND;
/// ... and up to this otherwise.
pub(super) const FIND_US_MAX: Time = 60 * SECOND;

// What one choice may cost.

/// Places of a queue that one choice looks at; the next goes on from there.
pub(super) const STEPS_MAX: usize = 4096;
/// Chunks that somebody waits for and that are left for a peer whose lane is full, before the
/// rest of the queue is left for the next event.
pub(super) const LEFT_MAX: usize = 32;
/// Chunks of which the rarer half is taken. Up to so many are left, the choice is exact.
pub(super) const SAMPLE_MAX: usize = 128;
/// How long such a choice stands, over several requests.
pub(super) const CHOICE_US: Time = SECOND;
/// Chunks that a peer has not are passed one by one up to this distance, and leapt over beyond.
pub(super) const LEAP_LEN_MIN: u64 = 2 << 20;
/// Holders that are counted to tell how rare a chunk is.
pub(super) const RARITY_MAX: usize = 32;
/// Neighbours within so many bytes have the same tie-break, so that what a node has is runs and
/// not crumbs.
pub(super) const TIE_SHIFT: u32 = 20;

// What is kept.

/// Tickets open.
pub(super) const TICKETS_MAX: usize = 1 << 16;
/// Chunks wanted: 32 GiB of file at the usual length, some 120 MB of memory.
pub(super) const CHUNKS_MAX: usize = 1 << 19;
/// Chunks in all tickets together: one chunk may be in many.
pub(super) const WAITS_MAX: usize = 1 << 20;
/// Peers that can be asked.
pub(super) const PEERS_UP_MAX: usize = 512;
/// Peers remembered, for their bans, rates and counters.
pub(super) const PEERS_MAX: usize = 4096;
/// Holders of one file.
pub(super) const HOLDERS_MAX: usize = 128;
/// Pairs of file and holder.
pub(super) const HOLDINGS_MAX: usize = 1 << 16;
/// Bytes of all have-lists together.
pub(super) const HAVES_LEN_MAX: usize = 64 << 20;
