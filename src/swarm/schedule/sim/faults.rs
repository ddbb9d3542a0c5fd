//! What comes of peers that lie, fall silent, crawl, die and come back.

use super::{FAST, FileShape, Kind, LinkShape, Outcome, Wanting, World};
use crate::swarm::schedule::limits::{FIND_US_STARVED, MS, SECOND};
use crate::swarm::schedule::{FailReason, Time, Urgency};

const RTT: Time = 50 * MS;
const LINK: LinkShape =
    LinkShape { rate: Some(FAST), rtt_us: RTT, think_us: 0, jitter_us: 0, loss_in: 0 };
/// Four seconds of one link.
const LEN: u64 = 4 * FAST;

fn wanting(reader: u32, urgency: Urgency, within: Time) -> Wanting {
    Wanting { node: reader, file: 0, urgency, within }
}

/// How long a file takes in the background.
fn fetch(world: &mut World, reader: u32) -> Time {
    let ticket = world.want_all(wanting(reader, Urgency::Background, 900 * SECOND));
    assert!(world.run_all(world.now + 900 * SECOND));
    world.node(reader).took(ticket)
}

/// How long a file takes from honest peers.
fn honest(count: usize, len: u64) -> Time {
    let (mut world, reader) = World::star(1, len, &vec![(Kind::Honest, LINK); count]);
    fetch(&mut world, reader)
}

#[test]
fn dead_peers_cost_little() {
    for (kind, count) in [(Kind::Dead, 4), (Kind::Denies, 4), (Kind::Dead, 1)] {
        for seed in 0..4 {
            let mut peers = vec![(Kind::Honest, LINK); count];
            peers.extend(vec![(kind, LINK); count]);
            let len = LEN * count as u64;
            let (mut world, reader) = World::star(seed, len, &peers);
            let (took, without) = (fetch(&mut world, reader), honest(count, len));
            let node = world.node(reader);
            println!("{count} of {kind:?}, seed {seed}: {} %", took * 100 / without);
            assert!(took * 2 <= without * 3, "{took} us, without {without} us");
            assert!(node.waste_per_mille() < 10);
        }
    }
}

#[test]
fn urgent_chunks_come_in_spite_of_dead_peers() {
    let mut peers = vec![(Kind::Dead, LINK); 2];
    peers.extend([(Kind::Honest, LINK); 2]);
    for seed in 0..8 {
        let (mut world, reader) = World::star(seed, LEN, &peers);
        let mut tickets = Vec::new();
        for chunk in 0..40 {
            tickets.push(world.want(wanting(reader, Urgency::Now, 30 * SECOND), [chunk * 5]));
            world.run_for(300 * MS);
        }
        assert!(world.run_all(world.now + 60 * SECOND));
        let slowest = tickets.iter().map(|ticket| world.node(reader).took(*ticket)).max();
        println!("seed {seed}: the slowest of 40 urgent chunks took {slowest:?} us");
        // One round trip, a hedge, and one more round trip.
        assert!(slowest <= Some(500 * MS), "seed {seed}: {slowest:?} us");
    }
}

#[test]
fn half_of_the_records_lead_nowhere() {
    let fetch_all = |seed: u64, dead_records: u64| {
        let mut world = World::new(seed);
        world.add_file(FileShape::cut(seed, 0, LEN));
        world.dead_records = dead_records;
        let reader = world.add(Kind::Honest);
        world.node(reader).down_rate = Some(2 * FAST);
        for _ in 0..8 {
            world.add_seeder(Kind::Honest);
        }
        fetch(&mut world, reader)
    };
    let all: (Time, Time) =
        (0..10).fold((0, 0), |sum, seed| (sum.0 + fetch_all(seed, 0), sum.1 + fetch_all(seed, 50)));
    println!("half of the records dead: {} % of the time", all.1 * 100 / all.0);
    assert!(all.1 * 2 <= all.0 * 3, "{all:?}");
}

#[test]
fn liars_are_banned_and_their_bytes_reach_nobody() {
    for seed in 0..8 {
        let peers = [(Kind::Honest, LINK), (Kind::Honest, LINK), (Kind::Lies(10), LINK)];
        let (mut world, reader) = World::star(seed, LEN, &peers);
        let took = fetch(&mut world, reader);
        let node = world.node(reader);
        assert_eq!(node.watch.bans, 1, "seed {seed}");
        assert_eq!(node.schedule.progress().counts.bad, 1, "seed {seed}");
        assert!(took * 2 <= honest(2, LEN) * 3, "seed {seed}: {took} us");
        assert!(node.waste_per_mille() < 10, "seed {seed}");
    }
}

#[test]
fn with_liars_only_the_ticket_fails_in_time() {
    let (mut world, reader) = World::star(1, LEN, &[(Kind::Lies(2), LINK); 3]);
    let ticket = world.want_all(wanting(reader, Urgency::Now, 10 * SECOND));
    assert!(world.run_all(60 * SECOND));
    let node = world.node(reader);
    assert_eq!(node.watch.bans, 3);
    let end = node.tickets[&ticket].end;
    assert_eq!(end.map(|end| end.1), Some(Outcome::Failed(FailReason::NoPeer)));
}

#[test]
fn a_peer_that_stalls_or_crawls_loses_its_chunks() {
    let slow = LinkShape { rate: Some(1_000), ..LINK };
    for odd in [(Kind::StallsAfter(100 << 10), LINK), (Kind::Honest, slow)] {
        for seed in 0..4 {
            let (mut world, reader) =
                World::star(seed, LEN, &[(Kind::Honest, LINK), (Kind::Honest, LINK), odd]);
            let (took, without) = (fetch(&mut world, reader), honest(2, LEN));
            println!("{odd:?}, seed {seed}: {} %", took * 100 / without);
            assert!(took * 2 <= without * 3, "{odd:?}, seed {seed}: {took} us");
            assert!(world.node(reader).waste_per_mille() < 10, "seed {seed}");
        }
    }
}

#[test]
fn a_crawling_peer_is_enough_when_there_is_no_other() {
    let slow = LinkShape { rate: Some(1_000), ..LINK };
    let (mut world, reader) = World::star(1, 300_000, &[(Kind::Honest, slow)]);
    let took = fetch(&mut world, reader);
    let len = world.files[0].len;
    let node = world.node(reader);
    assert!(took <= len * 1_100, "{took} us");
    assert_eq!(node.waste_per_mille(), 0, "nothing is asked for twice");
}

#[test]
fn the_only_seeder_dies_and_comes_back() {
    for seed in 0..6 {
        let (mut world, reader) = World::star(seed, LEN, &[(Kind::Honest, LINK)]);
        let ticket = world.want_all(wanting(reader, Urgency::Background, 300 * SECOND));
        let hurry = wanting(reader, Urgency::Now, 2 * SECOND);
        world.run_for(SECOND);
        world.kill(1);
        world.run_for(SECOND);
        let last = u32::try_from(world.files[0].spans.len() - 1).unwrap();
        let urgent = world.want(hurry, [last]);
        world.run_for(8 * SECOND);
        let end = world.node(reader).tickets[&urgent].end;
        assert_eq!(end.map(|end| end.1), Some(Outcome::Failed(FailReason::NoPeer)));
        world.node(1).is_up = true;
        assert!(world.run_all(world.now + 60 * SECOND), "seed {seed}");
        let took = world.node(reader).took(ticket);
        println!("seed {seed}: nine seconds without the only seeder: {} ms", took / MS);
        let most = honest(1, LEN) + 9 * SECOND + FIND_US_STARVED * 5 / 4 + 2 * SECOND;
        assert!(took <= most, "seed {seed}: {took} us");
        assert_eq!(world.node(reader).waste_per_mille(), 0);
    }
}

#[test]
fn a_partition_heals() {
    for seed in 0..4 {
        let (mut world, reader) = World::star(seed, LEN, &[(Kind::Honest, LINK); 2]);
        let ticket = world.want_all(wanting(reader, Urgency::Background, 300 * SECOND));
        world.run_for(SECOND);
        let until = world.now + 60 * SECOND;
        world.cut(|node| node == reader, until);
        world.run_for(SECOND / 2);
        let absent = (0..).find(|chunk| !world.nodes[0].holds(0, *chunk)).unwrap();
        let urgent = world.want(wanting(reader, Urgency::Now, 30 * SECOND), [absent]);
        assert!(world.run_all(world.now + 120 * SECOND), "seed {seed}");
        let node = world.node(reader);
        let end = node.tickets[&urgent].end;
        assert_eq!(end.map(|end| end.1), Some(Outcome::Failed(FailReason::TooSlow)));
        let took = node.took(ticket);
        println!("seed {seed}: cut off for 60 s: {} ms", took / MS);
        assert!(took <= honest(2, LEN) + 62 * SECOND, "seed {seed}: {took} us");
        assert!(node.waste_per_mille() < 10, "seed {seed}");
    }
}

#[test]
fn a_partition_of_one_peer_is_bridged_by_the_other() {
    let (mut world, reader) = World::star(1, LEN, &[(Kind::Honest, LINK); 2]);
    let ticket = world.want_all(wanting(reader, Urgency::Background, 300 * SECOND));
    world.run_for(SECOND);
    let until = world.now + 60 * SECOND;
    world.cut(|node| node == 1, until);
    assert!(world.run_all(world.now + 120 * SECOND));
    let took = world.node(reader).took(ticket);
    assert!(took * 2 <= honest(1, LEN) * 3, "{took} us");
}

#[test]
fn peers_come_and_go() {
    for seed in 0..4 {
        let mut world = World::new(seed);
        world.add_file(FileShape::cut(seed, 0, 8 * LEN));
        let reader = world.add(Kind::Honest);
        world.node(reader).down_rate = Some(2 * FAST);
        for _ in 0..10 {
            world.add_seeder(Kind::Honest);
        }
        churn(&mut world, 1..11, 40);
        let took = fetch(&mut world, reader);
        let ideal = 8 * LEN * SECOND / (2 * FAST);
        println!("seed {seed}: 30 % come and go every two seconds: {} %", took * 100 / ideal);
        assert!(took * 2 <= ideal * 3, "seed {seed}: {took} us");
        assert!(world.node(reader).waste_per_mille() < 10, "seed {seed}");
    }
}

/// Every two seconds three of ten nodes die, and those that died before come back; in the end all
/// are back.
pub(super) fn churn(world: &mut World, nodes: std::ops::Range<u32>, rounds: u64) {
    for round in 0..rounds {
        let nodes = nodes.clone();
        world.at(world.now + (2 * round + 1) * SECOND, move |world| {
            for node in nodes {
                if !world.node(node).is_up {
                    world.node(node).is_up = true;
                } else if round + 1 < rounds && world.random.below(10) < 3 {
                    world.kill(node);
                }
            }
        });
    }
}

#[test]
fn a_reader_with_a_full_disk_gives_up_and_nothing_goes_on() {
    let (mut world, reader) = World::star(1, LEN, &[(Kind::Honest, LINK); 2]);
    world.node(reader).disk_room = LEN / 4;
    let ticket = world.want_all(wanting(reader, Urgency::Background, 300 * SECOND));
    assert!(world.run_all(world.now + 60 * SECOND));
    world.run_for(5 * SECOND);
    let node = world.node(reader);
    assert_eq!(node.tickets[&ticket].end.map(|end| end.1), Some(Outcome::Unwanted));
    let progress = node.schedule.progress();
    assert_eq!((progress.tickets, progress.chunks, progress.requests), (0, 0, 0));
    let unwanted_len = progress.counts.unwanted_len;
    assert!(unwanted_len <= 4 << 20, "{unwanted_len} bytes came after the end");
    assert_eq!(node.watch.open_requests(), 0);
}

#[test]
fn busy_and_failing_peers_are_asked_again_later() {
    for kind in [Kind::Busy(20), Kind::Fails(3)] {
        let (mut world, reader) = World::star(1, LEN, &[(kind, LINK)]);
        let took = fetch(&mut world, reader);
        let counts = world.node(reader).schedule.progress().counts;
        println!("{kind:?}: {} % of the time, {counts:?}", took * 100 / honest(1, LEN));
        assert!(counts.busy + counts.failures >= 3);
        assert!(took <= honest(1, LEN) + 8 * SECOND, "{took} us");
    }
}

#[test]
fn parts_come_from_those_who_have_them() {
    for seed in 0..4 {
        let (mut world, reader) = World::star(seed, LEN, &[(Kind::Honest, LINK); 3]);
        let count = world.files[0].spans.len();
        for peer in 1..4usize {
            // Each lacks a third.
            let has = (0..count).map(|chunk| chunk * 3 / count != peer - 1).collect();
            world.nodes[peer].held.insert(0, has);
            world.join(reader, u32::try_from(peer).unwrap(), LINK);
        }
        world.run_for(SECOND);
        let took = fetch(&mut world, reader);
        println!("seed {seed}: three with two thirds each: {} ms", took / MS);
        assert!(took <= honest(3, LEN) * 13 / 10, "seed {seed}: {took} us");
        assert_eq!(world.node(reader).schedule.progress().counts.denials, 0);
    }
}
