//! The swarm's scheduler alone: what it costs to decide who brings which chunk.

use std::collections::VecDeque;

use criterion::{BatchSize, Criterion, Throughput};
use mega_storage::{ChunkId, ChunkRef, ChunkSpan};
use mega_store::swarm::schedule::{
    Action, Event, FileKey, Have, PeerKey, Rates, Schedule, TicketKey, Time, Urgency,
};
use mega_tools::random::Random;

/// Chunks of the file: 6.5 GB.
const CHUNK_COUNT: u64 = 100_000;
/// Length of a chunk, in bytes.
const CHUNK_LEN: u32 = 64 << 10;
/// Time between two chunks, in microseconds: 650 MB/s.
const CHUNK_US: Time = 100;

fn spans() -> Vec<ChunkSpan> {
    let mut random = Random::new(7);
    let spans = (0..CHUNK_COUNT).map(|index| {
        let mut id = [0; ChunkId::LEN];
        random.fill(&mut id);
        let chunk = ChunkRef { id: ChunkId::from_bytes(id), len: CHUNK_LEN };
        ChunkSpan { chunk, offset: index * u64::from(CHUNK_LEN) }
    });
    spans.collect()
}

/// What a peer has that has a third of the chunks, by chance.
fn third(random: &mut Random) -> Have {
    let mut bytes = vec![0u8; (CHUNK_COUNT as usize).div_ceil(8)];
    for index in 0..CHUNK_COUNT as usize {
        if random.once_in(3) {
            bytes[index / 8] |= 1 << (index % 8);
        }
    }
    Have::Bits { shift: 16, bytes }
}

/// A scheduler with peers, one for each list.
fn with_peers(haves: &[Have]) -> Schedule {
    let mut schedule = Schedule::new(1, Rates::default());
    let mut out = Vec::new();
    for (number, have) in (0..).zip(haves) {
        let (peer, file, have) = (PeerKey(number), FileKey(0), have.clone());
        let (rtt_us, relayed, in_flight_len_max) = (1_000, false, 16 << 20);
        schedule.handle(0, Event::PeerUp { peer, rtt_us, relayed, in_flight_len_max }, &mut out);
        schedule.handle(0, Event::Serves { peer, file, have }, &mut out);
    }
    schedule
}

/// Wants all of the file and answers every request in turn until nothing is left.
fn serve(mut schedule: Schedule, spans: Vec<ChunkSpan>) -> u64 {
    let (ticket, file, urgency) = (TicketKey(1), FileKey(0), Urgency::Background);
    let (mut out, mut now, mut came) = (Vec::new(), 1, 0);
    let want = Event::Want { ticket, file, spans, urgency, deadline: Time::MAX };
    schedule.handle(now, want, &mut out);
    let mut open = VecDeque::new();
    loop {
        for action in out.drain(..) {
            if let Action::Ask { peer, request, spans, .. } = action {
                let count = u16::try_from(spans.len()).expect("a batch is small");
                open.extend((0..count).map(|index| (peer, request, index)));
            }
        }
        let Some((peer, request, index)) = open.pop_front() else { return came };
        now += CHUNK_US;
        came += 1;
        let (wire_len, good) = (CHUNK_LEN, true);
        schedule.handle(now, Event::Came { peer, request, index, wire_len, good }, &mut out);
    }
}

/// A file completed in the background: from eight who have all of it, and from one such and
/// thirty who have a third.
pub fn complete(criterion: &mut Criterion) {
    let spans = spans();
    let mut random = Random::new(8);
    let full = vec![Have::All; 8];
    let mut partial = vec![Have::All];
    partial.extend((0..30).map(|_| third(&mut random)));
    let mut group = criterion.benchmark_group("schedule");
    group.sample_size(10).throughput(Throughput::Elements(CHUNK_COUNT));
    for (name, haves) in [("full_peers", full), ("partial_peers", partial)] {
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || (with_peers(&haves), spans.clone()),
                |(schedule, spans)| assert_eq!(serve(schedule, spans), CHUNK_COUNT),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}
