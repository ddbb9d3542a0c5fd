//! Decides, for one file, what to decode ahead of its readers.
//!
//! It watches offsets of reads of the file, not of one open descriptor, so it is right for memory
//! maps, for many threads on one descriptor and for mounts where opening is never told. Reads that
//! continue one another form a stream. A stream earns its window: nothing is read ahead before more
//! than [`STREAK_MIN`] bytes came in a row, then half of what came, up to the mount's limit, which
//! all streams of the file share. A random read costs exactly the chunks that it touches.
//!
//! In a safetensors file a stream that began inside a tensor does not read ahead past the tensor's
//! end, until it has gone on past it by more than the kernel's own readahead would: then it is
//! taken for a copy of the whole file.

use std::ops::Range;
use std::sync::OnceLock;

/// Streams followed at once in one file: as many threads as one process usually reads with, twice.
const STREAMS_MAX: usize = 16;

/// Bytes in a row up to which nothing is read ahead: 1 MiB and the readahead that the kernel adds
/// on both sides, so that reading 1 MiB somewhere never sets it off.
pub(crate) const STREAK_MIN: u64 = 2 << 20;

/// How far a read may be ahead of or behind its stream: the kernel sends several windows at once,
/// in any order.
const SLACK: u64 = 2 << 20;

/// Reads after which a stream that was not continued no longer shares the window.
const ACTIVE_TICKS: u64 = 64;

/// Smallest piece worth a round of jobs, in bytes.
const STEP_MIN: u64 = 512 << 10;

#[derive(Clone, Copy, Debug)]
struct Stream {
    start: u64,
    /// End of the furthest read.
    high: u64,
    /// End of what has been read ahead.
    ahead: u64,
    /// When it was last continued.
    tick: u64,
}

/// The streams of one file.
#[derive(Debug)]
pub(crate) struct Streams {
    streams: Vec<Stream>,
    tick: u64,
    window_len_max: u64,
}

impl Streams {
    /// Follows a file; no stream reads ahead more than `window_len_max` bytes.
    pub(crate) fn new(window_len_max: u64) -> Self {
        Self { streams: Vec::new(), tick: 0, window_len_max }
    }

    /// Notes a read of `range` of a file of `len` bytes; returns what to read ahead now, when there
    /// is room for it. `boundaries` ascend.
    pub(crate) fn note(
        &mut self,
        range: Range<u64>,
        len: u64,
        boundaries: &[u64],
        has_room: bool,
    ) -> Option<Range<u64>> {
        self.tick += 1;
        let tick = self.tick;
        let is_active = |s: &&Stream| s.high - s.start > STREAK_MIN && s.tick + ACTIVE_TICKS > tick;
        let active_count = self.streams.iter().filter(is_active).count().max(1);
        let continued = self
            .streams
            .iter_mut()
            .filter(|s| {
                s.start <= range.start
                    && range.start <= s.high.saturating_add(SLACK)
                    && range.end.saturating_add(SLACK) >= s.high
            })
            .max_by_key(|s| s.high);
        let Some(stream) = continued else {
            self.begin(Stream { start: range.start, high: range.end, ahead: range.end, tick });
            return None;
        };
        stream.tick = tick;
        stream.high = stream.high.max(range.end);
        let streak = stream.high - stream.start;
        if streak <= STREAK_MIN || !has_room {
            return None;
        }
        let window_len = (streak / 2).min(self.window_len_max / active_count as u64);
        let limit = stream_limit(stream.start, stream.high, boundaries).min(len);
        let to = stream.high.saturating_add(window_len).min(limit);
        let from = stream.ahead.max(stream.high);
        if to <= from || (to - from < STEP_MIN && to != limit) {
            return None;
        }
        stream.ahead = to;
        Some(from..to)
    }

    fn begin(&mut self, stream: Stream) {
        if self.streams.len() < STREAMS_MAX {
            self.streams.push(stream);
        } else if let Some(oldest) = self.streams.iter_mut().min_by_key(|s| s.tick) {
            *oldest = stream;
        }
    }
}

/// Where a stream from `start` to `high` should stop reading ahead.
fn stream_limit(start: u64, high: u64, boundaries: &[u64]) -> u64 {
    let next = boundaries.partition_point(|&end| end <= start);
    match boundaries.get(next) {
        Some(&end) if end.saturating_add(SLACK) >= high => end,
        Some(_) | None => u64::MAX,
    }
}

/// What is known of a file's layout: offsets where tensors end. Empty for files of other kinds.
pub(crate) type Layout = OnceLock<Vec<u64>>;

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn read(streams: &mut Streams, offset: u64, len: u64) -> Option<Range<u64>> {
        streams.note(offset..offset + len, 4096 * MIB, &[], true)
    }

    #[test]
    fn one_mebibyte_anywhere_reads_nothing_ahead() {
        for step in [4096, 128 << 10, MIB] {
            for start in [0, 5 * MIB + 12_288, 4000 * MIB] {
                let mut streams = Streams::new(16 * MIB);
                for offset in (start..start + 2 * MIB).step_by(step as usize) {
                    assert_eq!(read(&mut streams, offset, step), None);
                }
            }
        }
    }

    #[test]
    fn a_stream_earns_its_window_and_never_asks_twice() {
        let mut streams = Streams::new(16 * MIB);
        let (mut asked, mut end) = (Vec::new(), 0);
        for n in 0..64 {
            if let Some(ahead) = read(&mut streams, n * MIB, MIB) {
                assert!(ahead.start >= end, "{ahead:?} after {end}");
                assert!(ahead.end - (n + 1) * MIB <= 16 * MIB);
                end = ahead.end;
                asked.push(ahead);
            }
        }
        assert_eq!(asked.first().map(|r| r.end), Some(9 * MIB / 2));
        assert_eq!(end, 80 * MIB);
    }

    #[test]
    fn random_reads_never_form_a_stream() {
        let mut streams = Streams::new(16 * MIB);
        for n in 0..1000u64 {
            assert_eq!(read(&mut streams, (n * 7919 % 1000) * 4 * MIB, MIB), None);
        }
        assert!(streams.streams.len() <= STREAMS_MAX);
    }

    #[test]
    fn eight_threads_are_eight_streams() {
        let mut streams = Streams::new(16 * MIB);
        let mut ahead = [0u64; 8];
        for n in 0..16 {
            for thread in 0..8 {
                let asked = read(&mut streams, thread * 512 * MIB + n * MIB, MIB);
                ahead[thread as usize] += asked.map_or(0, |r| r.end - r.start);
            }
        }
        let fair = 13 * MIB..=16 * MIB;
        assert!(ahead.iter().all(|len| fair.contains(len)), "{ahead:?}");
    }

    #[test]
    fn a_tensor_ends_the_window_and_a_copy_of_the_file_does_not() {
        let ends: Vec<u64> = (0..100).map(|n| n * 10 * MIB + 1000).collect();
        let mut streams = Streams::new(16 * MIB);
        let mut furthest = 0;
        for n in 0..12 {
            let offset = 20 * MIB + 1000 + n * MIB;
            if let Some(ahead) = streams.note(offset..offset + MIB, 4096 * MIB, &ends, true) {
                furthest = furthest.max(ahead.end);
            }
        }
        assert_eq!(furthest, 30 * MIB + 1000, "one tensor and the kernel's readahead past it");
        for n in 12..32 {
            let offset = 20 * MIB + 1000 + n * MIB;
            if let Some(ahead) = streams.note(offset..offset + MIB, 4096 * MIB, &ends, true) {
                furthest = furthest.max(ahead.end);
            }
        }
        assert!(furthest > 60 * MIB, "{furthest}");
    }

    #[test]
    fn the_end_of_the_file_is_the_end() {
        let mut streams = Streams::new(16 * MIB);
        let asked: Vec<_> = (0..5)
            .filter_map(|n| streams.note(n * MIB..(n + 1) * MIB, 5 * MIB, &[], true))
            .collect();
        assert_eq!(asked.last().map(|r| r.end), Some(5 * MIB));
        assert_eq!(streams.note(u64::MAX - 5..u64::MAX, u64::MAX, &[], true), None);
    }
}
