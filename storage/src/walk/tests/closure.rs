//! Closures: kept, extended, rebuilt, lost.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::refs::{Expect, RefEdit, RefTransaction};
use crate::{RefName, Unit};

/// Counts the objects that a walk looked at.
#[derive(Default)]
struct Counter(AtomicU64);

impl Progress for Counter {
    fn start(&self, _: &'static str, _: Option<u64>, _: Unit) {}

    fn advance(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    fn interrupted(&self) -> bool {
        false
    }
}

/// The closure, and how many objects were looked at for it.
fn closure(world: &World, tips: &[ObjectId]) -> (Ids, u64) {
    let counter = Counter::default();
    let reach = world.store.closure(world.repo, tips, &counter).expect("walked");
    (reach.ids.iter().copied().collect(), counter.0.into_inner())
}

fn files(world: &World) -> Vec<PathBuf> {
    let dir = world.dir.path().join("s/cache/closures").join(world.repo.to_string());
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    entries.map(|entry| entry.expect("a listing").path()).collect()
}

/// Closes the store and opens it again, so that nothing is in memory.
fn reopen(world: World) -> World {
    let World { store, repo, other, git, commits, dir } = world;
    drop(store);
    let store = Store::open(&dir.path().join("s"), &StoreOptions::default()).expect("opens");
    World { store, repo, other, git, commits, dir }
}

#[test]
fn kept_across_a_reopening_and_extended_after_a_push() {
    let mut world = World::generated(1, 50, false);
    let old = vec![world.commits[49], world.commits[48]];
    let (ids, cost) = closure(&world, &old);
    assert_eq!(ids, world.reachable(&old, &[]));
    assert!(cost > 50);
    assert_eq!(closure(&world, &old).1, 0, "from memory");
    world = reopen(world);
    assert_eq!(closure(&world, &old), (ids, 0), "from the file");
    // A branch that moved on; a merge whose branches are deleted; one more beside it.
    let moved = world.child(&old[..1]);
    let merge = world.child(&[moved, old[1]]);
    let next = world.child(&[merge]);
    world.take_in();
    let mut dice = Dice::new(3);
    for new in [vec![moved, old[1]], vec![merge], vec![next, old[0]], vec![next, moved, merge]] {
        let (ids, cost) = closure(&world, &new);
        assert_eq!(ids, world.reachable(&new, &[]));
        assert!(cost < 10, "{cost}");
    }
    for _ in 0..10 {
        let tips = dice.some(&world.commits, 5);
        assert_eq!(closure(&world, &tips).0, world.reachable(&tips, &[]));
    }
    assert!(files(&world).len() <= 4, "bounded");
}

#[test]
fn a_rewind_makes_a_new_one_without_what_is_gone() {
    let world = World::generated(8, 40, true);
    let secret = world.reachable(&[world.commits[39]], &[]);
    let kept = world.reachable(&[world.commits[5]], &[]);
    assert!(secret.difference(&kept).next().is_some());
    closure(&world, &[world.commits[39]]);
    let tag = world.tag(&world.commits[5], "commit", "t");
    world.take_in();
    assert_eq!(closure(&world, &[world.commits[5]]).0, kept);
    assert_eq!(closure(&world, &[tag]).0.len(), kept.len() + 1);
    assert_eq!(closure(&world, &[world.commits[5]]).0, kept, "the deleted tag is not in it");
}

/// Pushes what a revision list of git names, and keeps what is known of the pack.
fn push(world: &World, revisions: &str) -> Option<Vec<ObjectId>> {
    let args = ["pack-objects", "--stdout", "-q", "--revs"];
    let pack = git(&world.git, &args, revisions.as_bytes());
    let options = IngestOptions { links: true, ..IngestOptions::default() };
    let (objects, mut input) = (world.store.objects(), &pack[..]);
    let input = PackInput::Stream(&mut input);
    let prepared = objects.prepare_pack(world.other, input, &options, &NoProgress);
    let mut prepared = prepared.expect("git's own pack");
    prepared.check_connected(&[]).expect("nothing is missing");
    let closed = prepared.commit().expect("taken").closed?;
    world.store.keep_closure(world.other, &closed);
    Some(closed.tips)
}

#[test]
fn a_whole_push_brings_its_closure_and_the_next_one_extends_it() {
    let mut world = World::generated(3, 50, false);
    let old = world.commits.clone();
    let all: String = old.iter().map(|id| format!("{id}\n")).collect();
    let tips = push(&world, &all).expect("it names nothing outside");
    let lines = git(&world.git, &["rev-list", "--all", "--parents"], b"");
    let lines = String::from_utf8(lines).expect("hex");
    let parents: Vec<&str> = lines.lines().flat_map(|line| line.split(' ').skip(1)).collect();
    let is_head = |id: &&ObjectId| !parents.contains(&id.to_string().as_str());
    let heads: Ids = old.iter().filter(is_head).copied().collect();
    assert_eq!(tips.iter().copied().collect::<Ids>(), heads);
    let counted = |world: &World, tips: &[ObjectId]| {
        let counter = Counter::default();
        let reach = world.store.closure(world.other, tips, &counter).expect("walked");
        (reach.ids.iter().copied().collect::<Ids>(), counter.0.into_inner())
    };
    // By the pack's own tips, and by more that they reach.
    assert_eq!(counted(&world, &tips), (world.reachable(&tips, &[]), 0));
    assert_eq!(counted(&world, &old), (world.reachable(&old, &[]), 0));
    let next = world.child(&old[..1]);
    assert!(push(&world, &format!("{next}\n^{}\n", old[0])).is_none(), "it names what was here");
    let moved = [&old[..], &[next]].concat();
    let (ids, cost) = counted(&world, &moved);
    assert_eq!(ids, world.reachable(&moved, &[]));
    assert!(cost < 20, "{cost}");
}

#[test]
fn a_torn_or_damaged_file_counts_as_absent() {
    let mut world = World::generated(1, 20, false);
    let tips = [world.commits[19]];
    let expected = world.reachable(&tips, &[]);
    closure(&world, &tips);
    let path = files(&world).pop().expect("it is kept");
    let good = std::fs::read(&path).expect("reads");
    let mut bad = vec![vec![], good[..10].to_vec(), good[..good.len() - 1].to_vec()];
    for at in [0, 9, 12, 16, 17, 25, 60, good.len() / 2, good.len() - 1] {
        let mut damaged = good.clone();
        damaged[at] ^= 0x41;
        bad.push(damaged);
    }
    bad.push([&good[..], b"x"].concat());
    for bytes in bad {
        std::fs::write(&path, bytes).expect("written");
        world = reopen(world);
        assert_eq!(closure(&world, &tips).0, expected);
        assert_eq!(std::fs::read(&path).expect("reads"), good, "made again");
    }
    // Another repository's file is not taken for this one's.
    let dir = path.parent().expect("it is in one").with_file_name(world.other.to_string());
    std::fs::create_dir(&dir).expect("made");
    std::fs::copy(&path, dir.join(path.file_name().expect("a name"))).expect("copied");
    assert!(world.store.closure(world.other, &tips, &NoProgress).is_err(), "not members there");
}

#[test]
fn goes_with_its_repository() {
    let world = World::generated(1, 10, false);
    closure(&world, &[world.commits[9]]);
    assert_eq!(files(&world).len(), 1);
    world.store.repos().delete(&RepoName::new("one").expect("a name")).expect("deleted");
    assert!(files(&world).is_empty());
}

#[test]
fn many_ask_at_once() {
    let world = World::generated(1, 60, false);
    let expected = world.reachable(&world.commits, &[]);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for tips in [&world.commits[..], &world.commits[50..], &world.commits[..]] {
                    let (ids, _) = closure(&world, tips);
                    assert!(ids.is_subset(&expected));
                }
            });
        }
    });
    assert_eq!(closure(&world, &world.commits).0, expected);
}

#[test]
fn closed_until_something_is_left_behind() {
    let world = World::generated(2, 30, false);
    let is_closed = || world.store.is_closed(world.repo, &NoProgress).expect("walked");
    assert!(!is_closed(), "members without references");
    let edit = |name: &str, new: Option<ObjectId>| {
        let name = RefName::new(name.as_bytes()).expect("a good name");
        let new = new.map(crate::RefTarget::Direct);
        let edits = vec![RefEdit { name, expect: Expect::Any, new }];
        world.store.refs().apply(world.repo, &RefTransaction { edits }).expect("applied");
    };
    for (index, id) in world.commits.iter().enumerate() {
        edit(&format!("refs/heads/{index}"), Some(*id));
    }
    assert!(is_closed());
    edit("refs/heads/29", Some(world.commits[28]));
    assert!(!is_closed(), "after a rewind");
    edit("refs/heads/29", Some(world.commits[29]));
    assert!(is_closed());
}
