//! What comes of honest peers: how much of their links is used, how long an urgent chunk takes.

use super::{FAST, Kind, LinkShape, Wanting, World};
use crate::swarm::schedule::limits::{CHUNK_LEN_MAX, MS, SECOND};
use crate::swarm::schedule::random::Random;
use crate::swarm::schedule::{Event, Rates, Time, Urgency};

const RTT: Time = 50 * MS;

fn wanting(reader: u32, urgency: Urgency) -> Wanting {
    Wanting { node: reader, file: 0, urgency, within: 600 * SECOND }
}

/// Fetches a file in the background; gives the bytes a second.
fn fetch(world: &mut World, reader: u32) -> u64 {
    let ticket = world.want_all(wanting(reader, Urgency::Background));
    assert!(world.run_all(world.now + 600 * SECOND));
    world.files[0].len * SECOND / world.node(reader).took(ticket)
}

#[test]
fn one_peer_fills_its_link() {
    for (rate, rtt_us) in [(FAST, RTT), (FAST, 5 * MS), (FAST, 150 * MS), (1_250_000, RTT)] {
        let peers = [(Kind::Honest, LinkShape::new(rate, rtt_us))];
        let (mut world, reader) = World::star(1, 8 * rate, &peers);
        let share = fetch(&mut world, reader) * 100 / rate;
        let node = world.node(reader);
        let counts = node.schedule.progress().counts;
        let requests = counts.requests * 1_000_000_000 / counts.good_len;
        println!("{rate} B/s, {rtt_us} us: {share} % of the link, {requests} requests a GB");
        assert!(share >= 85, "{share} %");
        assert_eq!(node.waste_per_mille(), 0);
        assert_eq!(node.watch.doubles, 0);
    }
}

#[test]
fn four_peers_fill_four_links() {
    let peers = [(Kind::Honest, LinkShape::new(FAST, RTT)); 4];
    let (mut world, reader) = World::star(2, 32 * FAST, &peers);
    let share = fetch(&mut world, reader) * 100 / (4 * FAST);
    let node = world.node(reader);
    println!("four peers: {share} % of four links, {} per mille wasted", node.waste_per_mille());
    assert!(share >= 80, "{share} %");
    assert!(node.waste_per_mille() < 10);
    let shares = node.schedule.peers().map(|(_, peer)| peer.counts.good_len * 400 / (32 * FAST));
    let shares: Vec<u64> = shares.collect();
    assert!(shares.iter().all(|share| (90..=110).contains(share)), "{shares:?}");
}

#[test]
fn a_gigabit_is_found_and_filled() {
    let peers = [(Kind::Honest, LinkShape::new(10 * FAST, RTT))];
    let (mut world, reader) = World::star(3, 1 << 30, &peers);
    let share = fetch(&mut world, reader) * 100 / (10 * FAST);
    println!("one peer with a gigabit: {share} % of the link");
    assert!(share >= 80, "{share} %");
}

#[test]
fn unequal_peers_give_what_they_can() {
    let shapes = [(FAST, RTT), (FAST / 2, RTT), (FAST / 4, 100 * MS), (FAST / 4, 10 * MS)];
    let peers = shapes.map(|(rate, rtt_us)| (Kind::Honest, LinkShape::new(rate, rtt_us)));
    let (mut world, reader) = World::star(4, 16 * FAST, &peers);
    let share = fetch(&mut world, reader) * 100 / (2 * FAST);
    println!("unequal peers: {share} % of their links");
    assert!(share >= 80, "{share} %");
    assert!(world.node(reader).waste_per_mille() < 10);
}

#[test]
fn delays_by_chance_cost_little() {
    for seed in 0..4 {
        let shape = LinkShape { jitter_us: 20 * MS, loss_in: 200, ..LinkShape::new(FAST, RTT) };
        let (mut world, reader) = World::star(seed, 8 * FAST, &[(Kind::Honest, shape); 2]);
        let share = fetch(&mut world, reader) * 100 / (2 * FAST);
        let node = world.node(reader);
        println!("seed {seed}, jitter and loss: {share} %, {} wasted", node.waste_per_mille());
        assert!(share >= 75, "seed {seed}: {share} %");
        assert!(node.waste_per_mille() < 10, "seed {seed}");
    }
}

#[test]
fn a_peer_that_thinks_for_long_is_kept_busy() {
    for (think_us, rtt_us, rate) in [
        (30 * MS, MS, FAST),
        (150 * MS, MS, FAST),
        (150 * MS, RTT, FAST),
        (100 * MS, MS, 10 * FAST),
    ] {
        let shape = LinkShape { think_us, ..LinkShape::new(rate, rtt_us) };
        let (mut world, reader) = World::star(10, 20 * rate, &[(Kind::Honest, shape)]);
        let share = fetch(&mut world, reader) * 100 / rate;
        println!("{rtt_us} us and {think_us} us to think: {share} % of the link");
        assert!(share >= 80, "{share} %");
    }
}

/// Longest time of urgent reads at chance places, a moment after one another, beside what else
/// goes on; without what the chunk itself takes on the link.
fn slowest_urgent(world: &mut World, reader: u32, rate: u64, count: u32) -> Time {
    let mut random = Random::new(9);
    let mut slowest = 0;
    for _ in 0..count {
        world.run_for(20 * MS + random.below(200 * MS));
        let chunks = world.files[0].spans.len() as u64;
        let chunk = u32::try_from(random.below(chunks)).expect("few chunks");
        if world.nodes[reader as usize].holds(0, chunk) {
            continue;
        }
        let len = u64::from(world.files[0].spans[chunk as usize].chunk.len);
        let ticket = world.want(wanting(reader, Urgency::Now), [chunk]);
        let node = reader as usize;
        assert!(world.run(world.now + 10 * SECOND, |world| {
            world.nodes[node].tickets[&ticket].end.is_some()
        }));
        slowest = slowest.max(world.node(reader).took(ticket).saturating_sub(len * SECOND / rate));
    }
    slowest
}

#[test]
fn an_urgent_chunk_takes_one_round_trip() {
    for rtt_us in [MS, RTT, 200 * MS] {
        let peers = [(Kind::Honest, LinkShape::new(FAST, rtt_us)); 2];
        let (mut world, reader) = World::star(5, 8 * FAST, &peers);
        let slowest = slowest_urgent(&mut world, reader, FAST, 50);
        println!("{rtt_us} us, nothing else: {slowest} us");
        assert!(slowest <= rtt_us + 10 * MS, "{slowest} us");
        assert_eq!(world.node(reader).watch.doubles, 0, "nothing is late");
    }
}

#[test]
fn an_urgent_chunk_waits_little_behind_a_prefetch() {
    for (rate, rtt_us) in
        [(FAST, RTT), (FAST, 5 * MS), (FAST, 150 * MS), (10 * FAST, RTT), (1_250_000, RTT)]
    {
        let peers = [(Kind::Honest, LinkShape::new(rate, rtt_us))];
        let (mut world, reader) = World::star(6, 20 * rate, &peers);
        world.want_all(wanting(reader, Urgency::Background));
        world.run_for(2 * SECOND);
        let slowest = slowest_urgent(&mut world, reader, rate, 60);
        println!("{rate} B/s, {rtt_us} us, prefetching: {slowest} us");
        // On a slow link one chunk takes longer than that.
        let one = if rate < FAST { CHUNK_LEN_MAX * SECOND / rate } else { 0 };
        assert!(slowest <= rtt_us + 150 * MS + one, "{slowest} us");
        assert!(world.node(reader).open() > 0, "the prefetch went on");
        assert!(world.run_all(world.now + 600 * SECOND));
        assert!(world.node(reader).waste_per_mille() < 10);
    }
}

#[test]
fn read_ahead_comes_before_completion() {
    let peers = [(Kind::Honest, LinkShape::new(FAST, RTT))];
    let (mut world, reader) = World::star(7, 16 * FAST, &peers);
    world.want_all(wanting(reader, Urgency::Background));
    world.run_for(SECOND);
    let ticket = world.want(wanting(reader, Urgency::Soon), 1000..1100);
    world.run_for(SECOND);
    let len: u64 = (1000..1100).map(|i| u64::from(world.files[0].spans[i].chunk.len)).sum();
    let took = world.node(reader).took(ticket);
    assert!(took <= RTT + 150 * MS + len * SECOND / FAST, "{took} us for {len} bytes");
}

#[test]
fn rates_hold() {
    let peers = [(Kind::Honest, LinkShape::new(FAST, RTT)); 3];
    let cases = [
        (Rates { all: Some(2_000_000), peer: None }, 2_000_000),
        (Rates { all: None, peer: Some(1_000_000) }, 3_000_000),
        (Rates { all: Some(2_000_000), peer: Some(1_500_000) }, 2_000_000),
    ];
    for (rates, most) in cases {
        let (mut world, reader) = World::star(8, 20 * most, &peers);
        world.tell(reader, Event::Rates(rates));
        let rate = fetch(&mut world, reader);
        println!("{rates:?}: {rate} B/s");
        assert!(rate <= most * 105 / 100 && rate >= most * 90 / 100, "{rate} of {most}");
    }
}

#[test]
fn an_urgent_chunk_passes_a_rate_that_bulk_has_used_up() {
    let peers = [(Kind::Honest, LinkShape::new(FAST, RTT))];
    let (mut world, reader) = World::star(9, 20_000_000, &peers);
    world.tell(reader, Event::Rates(Rates { all: Some(1_000_000), peer: None }));
    world.want_all(wanting(reader, Urgency::Background));
    world.run_for(3 * SECOND);
    let slowest = slowest_urgent(&mut world, reader, FAST, 10);
    assert!(slowest <= RTT + 150 * MS, "{slowest} us");
}
