//! Everything at once, by chance: whatever the peers do and the readers want, the rules that
//! [`super::watch`] checks hold, and every ticket ends.

use super::{FAST, FileShape, Kind, LinkShape, Outcome, Wanting, World};
use crate::swarm::schedule::limits::{MS, SECOND};
use crate::swarm::schedule::random::Random;
use crate::swarm::schedule::{Time, Urgency};

/// Worlds that are tried.
const SEEDS: u64 = 300;
/// When wants stop to be made.
const END: Time = 40 * SECOND;

fn small(number: u64) -> u32 {
    u32::try_from(number).expect("bounds are small")
}

fn shape(random: &mut Random) -> LinkShape {
    let rates = [FAST, FAST, FAST / 10, 10 * FAST, 30_000, 1_000];
    let rate = rates[random.below(6) as usize];
    let rtt_us = MS + random.below(200 * MS);
    let jitter_us = random.below(2) * random.below(50 * MS);
    let think_us = random.below(2) * random.below(100 * MS);
    let loss_in = random.below(2) * 300;
    LinkShape { rate: Some(rate), rtt_us, think_us, jitter_us, loss_in }
}

fn kind(random: &mut Random) -> Kind {
    match random.below(12) {
        0 => Kind::Lies(1 + random.below(50)),
        1 => Kind::StallsAfter(random.below(1 << 20)),
        2 => Kind::Dead,
        3 => Kind::Denies,
        4 => Kind::Busy(5),
        5 => Kind::Fails(5),
        _ => Kind::Honest,
    }
}

/// A world with two files, up to seven peers, one reader, and a script by chance. The last peer
/// is honest, quick and always there when `has_rock`.
fn mixture(seed: u64, has_rock: bool) -> (World, u32) {
    let mut random = Random::new(seed);
    let mut world = World::new(seed);
    world.add_file(FileShape::cut(seed, 0, 1 << 20 << random.below(5)));
    world.add_file(FileShape::even(1, 64));
    let reader = world.add(Kind::Honest);
    if random.below(2) == 0 {
        world.node(reader).down_rate = Some(FAST);
    }
    let count = 1 + small(random.below(6));
    for _ in 0..count {
        let peer = world.add_seeder(kind(&mut random));
        if random.below(3) == 0 {
            let part = random.below(100);
            for has in world.node(peer).held.values_mut() {
                has.iter_mut().for_each(|has| *has = random.below(100) < part);
            }
        }
        let shape = shape(&mut random);
        world.join(reader, peer, shape);
    }
    if has_rock {
        let rock = world.add_seeder(Kind::Honest);
        let link = LinkShape::new(FAST, 30 * MS);
        world.found_shape = link;
        world.join(reader, rock, link);
        world.at(SECOND, move |world| world.join(reader, rock, link));
    }
    for _ in 0..random.below(4) {
        let peer = 1 + small(random.below(u64::from(count)));
        let (at, until) = (random.below(END), random.below(END));
        if random.below(2) == 0 {
            world.at(at, move |world| world.kill(peer));
            world.at(at + until, move |world| world.node(peer).is_up = true);
        } else {
            world.at(at, move |world| world.cut(|node| node == peer, at + until));
        }
    }
    for _ in 0..10 + random.below(60) {
        script_want(&mut world, &mut random, reader, has_rock);
    }
    (world, reader)
}

fn script_want(world: &mut World, random: &mut Random, reader: u32, has_rock: bool) {
    let file = small(random.below(2));
    let chunks = world.files[file as usize].spans.len() as u64;
    let (urgency, most) = match random.below(6) {
        0 => (Urgency::Background, chunks),
        1 | 2 => (Urgency::Soon, 64),
        _ => (Urgency::Now, 6),
    };
    let first = random.below(chunks);
    let last = (first + 1 + random.below(most)).min(chunks);
    let range = small(first)..small(last);
    let within = match has_rock {
        true => 300 * SECOND,
        false => random.below(30 * SECOND),
    };
    let gives_up = random.below(5) == 0;
    let patience = random.below(5 * SECOND);
    let want = Wanting { node: reader, file, urgency, within };
    world.at(random.below(END), move |world| {
        let ticket = world.want(want, range);
        if gives_up {
            world.at(world.now + patience, move |world| world.unwant(reader, ticket));
        }
    });
}

#[test]
fn whatever_peers_do_every_ticket_ends_in_time() {
    for seed in 0..SEEDS {
        println!("bare seed {seed}");
        let (mut world, reader) = mixture(seed, false);
        world.run_for(END);
        assert!(world.run_all(world.now + 31 * SECOND), "seed {seed}");
        let progress = world.node(reader).schedule.progress();
        assert_eq!((progress.tickets, progress.chunks, progress.queued), (0, 0, 0), "seed {seed}");
    }
}

#[test]
fn with_one_good_peer_all_that_is_wanted_comes() {
    let mut hedges = 0;
    for seed in 0..SEEDS {
        println!("seed {seed}");
        let (mut world, reader) = mixture(seed, true);
        world.run_for(END);
        assert!(world.run_all(world.now + 301 * SECOND), "seed {seed}");
        let node = world.node(reader);
        let outcomes = node.tickets.values().map(|ticket| ticket.end.map(|end| end.1));
        for outcome in outcomes {
            let is_good = matches!(outcome, Some(Outcome::Done | Outcome::Unwanted));
            assert!(is_good, "seed {seed}: {outcome:?}");
        }
        hedges += node.schedule.progress().hedges;
    }
    println!("{hedges} hedges in {SEEDS} worlds");
    assert!(hedges > 0, "hedging was never tried");
}

#[test]
fn the_same_seed_gives_the_same_actions() {
    let trace = |seed: u64| {
        let (mut world, _) = mixture(seed, true);
        world.run_for(END);
        world.trace
    };
    let traces: Vec<u64> = (0..8).map(trace).collect();
    assert_eq!(traces, (0..8).map(trace).collect::<Vec<_>>());
    assert!(traces.windows(2).all(|pair| pair[0] != pair[1]));
}
