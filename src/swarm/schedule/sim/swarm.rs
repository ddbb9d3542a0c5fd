//! Many readers of one file that fetch it from each other.

use super::faults::churn;
use super::{FAST, FileShape, Kind, LinkShape, Outcome, Wanting, World};
use crate::swarm::schedule::limits::{MS, SECOND};
use crate::swarm::schedule::{Time, Urgency};

/// Nodes of a swarm with one seeder; all begin within `spread`.
fn swarm(seed: u64, count: u32, chunks: u32, spread: Time) -> World {
    let mut world = World::new(seed);
    world.add_file(FileShape::even(0, chunks));
    world.found_shape =
        LinkShape { rate: None, jitter_us: 10 * MS, loss_in: 1000, ..LinkShape::new(1, 50 * MS) };
    world.add_seeder(Kind::Honest);
    for _ in 1..count {
        world.add(Kind::Honest);
    }
    for node in &mut world.nodes {
        (node.up_rate, node.down_rate) = (Some(FAST), Some(2 * FAST));
    }
    for node in 1..count {
        let begin = world.random.below(spread);
        world.at(begin, move |world| {
            let urgency = Urgency::Background;
            world.want_all(Wanting { node, file: 0, urgency, within: 600 * SECOND });
        });
    }
    world.run_for(spread);
    world
}

/// What came of it: median and longest time of those that are done, in milliseconds; share of the
/// seeder in all that was sent, and waste, in parts of a thousand.
fn summary(world: &World) -> (Time, Time, u64, u64) {
    let records = world.nodes.iter().flat_map(|node| node.tickets.values());
    let mut times: Vec<Time> = records
        .filter_map(|record| match record.end {
            Some((at, Outcome::Done)) => Some((at - record.asked_at) / MS),
            _ => None,
        })
        .collect();
    times.sort_unstable();
    let counts = |f: fn(&crate::swarm::schedule::PeerCounts) -> u64| -> u64 {
        world.nodes.iter().map(|node| f(&node.schedule.progress().counts)).sum()
    };
    let good_len = counts(|c| c.good_len).max(1);
    let waste = counts(|c| c.duplicate_len + c.unwanted_len) * 1000 / good_len;
    let sent_len: u64 = world.nodes.iter().map(|node| node.sent_len).sum();
    let seeder = world.nodes[0].sent_len * 1000 / sent_len.max(1);
    (times[times.len() / 2], times[times.len() - 1], seeder, waste)
}

#[test]
fn a_thousand_nodes_fetch_a_file_from_each_other() {
    let mut world = swarm(1, 1000, 192, 5 * SECOND);
    assert!(world.run_all(300 * SECOND));
    let (median, longest, seeder, waste) = summary(&world);
    println!(
        "1,000 nodes, 12 MiB: median {median} ms, longest {longest} ms, seeder sent {seeder} and \
         waste is {waste} of a thousand; {} searches",
        world.searches
    );
    // Alone the seeder would take a thousand seconds.
    assert!(longest <= 60_000, "{longest} ms");
    assert!(seeder <= 100, "the seeder sent {seeder} of a thousand");
    assert!(waste < 10, "{waste} of a thousand wasted");
}

#[test]
fn a_swarm_survives_churn_and_a_partition() {
    for seed in 0..2 {
        let mut world = swarm(seed, 100, 192, 5 * SECOND);
        churn(&mut world, 1..100, 10);
        let until = world.now + 10 * SECOND;
        world.cut(|node| node % 2 == 0, until);
        assert!(world.run_all(300 * SECOND), "seed {seed}");
        let (median, longest, _, waste) = summary(&world);
        println!("seed {seed}: 100 nodes: median {median} ms, longest {longest} ms, waste {waste}");
        assert!(longest <= 90_000, "seed {seed}: {longest} ms");
    }
}

#[test]
fn nodes_with_different_seeds_take_different_parts_first() {
    let mut world = swarm(3, 9, 256, MS);
    world.run_for(2 * SECOND);
    let held = |node: usize| world.nodes[node].held.get(&0).cloned().unwrap_or_default();
    let union = (0..256).filter(|i| (1..9).any(|n| held(n).get(*i) == Some(&true))).count();
    let sum: usize = (1..9).map(|n| held(n).iter().filter(|has| **has).count()).sum();
    println!("eight readers hold {sum} chunks, {union} different ones");
    assert!(union * 10 >= sum.min(256) * 6, "{union} different of {sum}");
}
