//! One direction of a host's access link: rate with a drop-tail queue, delay, random loss.
//!
//! Pure: time comes in as nanoseconds. A packet leaves the queue when all before it have left and
//! its own bits are out, and arrives the delay later. The rate counts bytes of IP packets; there is
//! no frame around them.
//!
//! Invariant: a link never reorders, whatever is changed while packets are on it. A change concerns
//! packets that come after it; what is on the wire keeps its time.

use std::collections::VecDeque;

use super::packet::Packet;
use super::units::Share;
use crate::random::Random;

/// The queue of a link that names none: this much time of its rate, about the product of delay and
/// bandwidth that a home router keeps.
pub const QUEUE_DEFAULT: Queue = Queue::Time(50_000_000);
/// A queue in time holds at least ten full packets, or a slow link would hold none.
const QUEUE_LEN_MIN: u64 = 10 * 1500;
/// Bytes that may be on one link. Only a link without a rate gets there.
const FLIGHT_LEN_MAX: u64 = 256 << 20;
/// Nanoseconds that a byte takes at one bit per second.
const BYTE_NS_AT_1_BPS: u64 = 8_000_000_000;

/// How much a link keeps before it drops what comes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// So many bytes.
    Len(u64),
    /// As many bytes as the rate carries in so many nanoseconds.
    Time(u64),
}

/// What a link does to packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// One way, in nanoseconds.
    pub delay_ns: u64,
    /// Bits per second; `None` is without a limit and without a queue.
    pub rate_bps: Option<u64>,
    /// Packets lost by chance, after they took their time on the link.
    pub loss: Share,
    /// What waits for the rate.
    pub queue: Queue,
}

impl Default for Shape {
    fn default() -> Self {
        Self { delay_ns: 0, rate_bps: None, loss: Share::NEVER, queue: QUEUE_DEFAULT }
    }
}

/// One direction of an access link, with what is on it.
pub struct Link {
    /// What it does to packets that come from now on.
    pub shape: Shape,
    /// Packets lost by chance.
    pub lost_count: u64,
    /// Packets dropped since the queue was full.
    pub full_count: u64,
    random: Random,
    /// When the last bit in the queue will be out.
    free_at_ns: u64,
    /// Each with the time of its arrival, ascending.
    flight: VecDeque<(u64, Packet)>,
    flight_len: u64,
}

impl Link {
    /// Makes an empty link. Losses come from `random`, one draw a packet.
    pub fn new(shape: Shape, random: Random) -> Self {
        Self {
            shape,
            lost_count: 0,
            full_count: 0,
            random,
            free_at_ns: 0,
            flight: VecDeque::new(),
            flight_len: 0,
        }
    }

    /// Takes a packet that comes at `at_ns`, or drops and counts it.
    pub fn push(&mut self, at_ns: u64, packet: Packet) {
        let len = packet.len() as u64;
        let out_ns = match self.shape.rate_bps {
            None => at_ns,
            Some(rate) => {
                let queued = self.queued_len(at_ns, rate);
                if queued > 0 && queued + len > self.queue_len_max(rate) {
                    self.full_count += 1;
                    return;
                }
                self.free_at_ns = self.free_at_ns.max(at_ns) + len * BYTE_NS_AT_1_BPS / rate;
                self.free_at_ns
            }
        };
        // Drawn for every packet, so that a share changed and changed back leaves the rest alone.
        if self.shape.loss.hits(self.random.next()) {
            self.lost_count += 1;
            return;
        }
        if self.flight_len + len > FLIGHT_LEN_MAX {
            self.full_count += 1;
            return;
        }
        let last = self.flight.back().map_or(0, |(due, _)| *due);
        self.flight.push_back(((out_ns + self.shape.delay_ns).max(last), packet));
        self.flight_len += len;
    }

    /// When the next packet arrives.
    pub fn next_due_ns(&self) -> Option<u64> {
        self.flight.front().map(|(due, _)| *due)
    }

    /// Gives the next packet with the time of its arrival, which may be in the future.
    pub fn pop(&mut self) -> Option<(u64, Packet)> {
        let (due, packet) = self.flight.pop_front()?;
        self.flight_len -= packet.len() as u64;
        Some((due, packet))
    }

    /// Bytes whose bits are not out yet.
    fn queued_len(&self, at_ns: u64, rate: u64) -> u64 {
        let wait_ns = self.free_at_ns.saturating_sub(at_ns);
        (u128::from(wait_ns) * u128::from(rate) / u128::from(BYTE_NS_AT_1_BPS)) as u64
    }

    fn queue_len_max(&self, rate: u64) -> u64 {
        match self.shape.queue {
            Queue::Len(len) => len,
            Queue::Time(ns) => {
                let len = u128::from(ns) * u128::from(rate) / u128::from(BYTE_NS_AT_1_BPS);
                (len as u64).max(QUEUE_LEN_MIN)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn link(shape: Shape) -> Link {
        Link::new(shape, Random::new(1))
    }

    fn packet(len: usize) -> Packet {
        Packet::new(vec![0; len], 0)
    }

    fn dues(link: &mut Link) -> Vec<u64> {
        std::iter::from_fn(|| link.pop()).map(|(due, _)| due).collect()
    }

    #[test]
    fn delay_alone_moves_every_packet_alike() {
        let mut link = link(Shape { delay_ns: 25 * MS, ..Shape::default() });
        link.push(0, packet(1500));
        link.push(MS, packet(40));
        assert_eq!(link.next_due_ns(), Some(25 * MS));
        assert_eq!(dues(&mut link), [25 * MS, 26 * MS]);
        assert_eq!(link.next_due_ns(), None);
    }

    #[test]
    fn a_rate_spaces_packets_by_their_bits() {
        let rate_bps = Some(100_000_000);
        let mut link = link(Shape { delay_ns: MS, rate_bps, ..Shape::default() });
        for _ in 0..3 {
            link.push(0, packet(1500));
        }
        link.push(10 * MS, packet(750));
        let expected = [120_000, 240_000, 360_000, 10 * MS + 60_000].map(|ns| ns + MS);
        assert_eq!(dues(&mut link), expected, "12,000 bits at 100 Mbit/s take 120 us");
    }

    #[test]
    fn the_queue_drops_what_comes_last_and_only_then() {
        let shape = Shape {
            rate_bps: Some(8_000_000), // A byte a microsecond.
            queue: Queue::Len(3000),
            ..Shape::default()
        };
        let mut link = link(shape);
        link.push(0, packet(1500));
        link.push(0, packet(1500));
        assert_eq!(link.full_count, 0, "3,000 bytes are the limit");
        link.push(0, packet(40));
        assert_eq!(link.full_count, 1, "one past it is dropped");
        link.push(40_000, packet(40));
        assert_eq!(link.full_count, 1, "40 bytes went out meanwhile");
        assert_eq!(dues(&mut link), [1_500_000, 3_000_000, 3_040_000]);
    }

    #[test]
    fn the_longest_queue_at_the_lowest_rate_fits_the_clock() {
        let shape = Shape { rate_bps: Some(1), queue: Queue::Len(1 << 30), ..Shape::default() };
        let loss = Share::parse("100%").expect("a share");
        let mut link = link(Shape { loss, delay_ns: 3600 * 1000 * MS, ..shape });
        (0..20_000).for_each(|_| link.push(3600 * 1000 * MS, packet(65_535)));
        assert_eq!(link.lost_count, (1 << 30) / 65_535);
        assert_eq!(link.lost_count + link.full_count, 20_000);
    }

    #[test]
    fn an_empty_queue_takes_a_packet_longer_than_itself() {
        let shape = Shape { rate_bps: Some(8_000), queue: Queue::Len(100), ..Shape::default() };
        let mut link = link(shape);
        link.push(0, packet(1500));
        assert_eq!((link.full_count, dues(&mut link)), (0, vec![1_500_000_000]));
    }

    #[test]
    fn a_queue_in_time_follows_the_rate() {
        let count_at = |rate| {
            let mut link = link(Shape { rate_bps: Some(rate), ..Shape::default() });
            (0..10_000).for_each(|_| link.push(0, packet(1000)));
            10_000 - link.full_count
        };
        assert_eq!(count_at(100_000_000), 625, "50 ms of 12.5 MB/s");
        assert_eq!(count_at(8_000), 15, "never below ten full packets");
    }

    #[test]
    fn losses_are_seeded_and_as_many_as_asked() {
        let loss = Share::parse("1%").expect("a share");
        let run = |seed| {
            let mut link = Link::new(Shape { loss, ..Shape::default() }, Random::new(seed));
            (0..100_000).for_each(|at| link.push(at, packet(100)));
            (link.lost_count, dues(&mut link))
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7).1, run(8).1);
        let lost = run(7).0;
        // 1,000 expected, deviation 31.
        assert!((850..1150).contains(&lost), "{lost}");
    }

    #[test]
    fn a_change_never_reorders() {
        let mut link = link(Shape { delay_ns: 50 * MS, ..Shape::default() });
        link.push(0, packet(1));
        link.shape.delay_ns = 0;
        link.push(MS, packet(2));
        link.shape.rate_bps = Some(1_000_000_000);
        link.push(2 * MS, packet(3));
        let lens: Vec<usize> =
            std::iter::from_fn(|| link.pop()).map(|(_, packet)| packet.len()).collect();
        assert_eq!(lens, [1, 2, 3]);
    }

    #[test]
    fn a_link_holds_so_much_and_no_more() {
        let mut link = link(Shape { delay_ns: 1000 * MS, ..Shape::default() });
        let count = (FLIGHT_LEN_MAX / 65_535) as usize;
        (0..count + 3).for_each(|_| link.push(0, packet(65_535)));
        assert_eq!((link.full_count, dues(&mut link).len()), (3, count));
        link.push(0, packet(100));
        assert_eq!(link.full_count, 3);
    }
}
