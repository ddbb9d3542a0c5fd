//! Pushes, uploads, forks and deletions on several threads while gc runs all the time, with no
//! grace: what was acknowledged is there, and at the end what nobody has is not.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::*;

const TIME: Duration = Duration::from_secs(4);

/// Numbers from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, count: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % count
    }
}

/// Contents are few, so that what one deletes another pushes.
fn push_and_delete(world: &World, repo: RepoId, seed: u64, done: &AtomicBool) -> u64 {
    let mut dice = Dice(seed | 1);
    let mut count = 0;
    while !done.load(Ordering::Relaxed) {
        let branch = format!("b{}", dice.below(3));
        match dice.below(4) {
            0 => world.set(repo, &branch, None).expect("deleted"),
            1 => {
                let (file, _) = world.push_file(repo, dice.below(4), &branch);
                assert!(world.store.files().has(repo, &file).expect("read"), "{file}");
                let mut whole = Vec::new();
                let mut reader = world.store.files().reader(&file).expect("there");
                std::io::Read::read_to_end(&mut reader, &mut whole).expect("read");
                assert_eq!(file_id(&whole), file);
            }
            _ => {
                let mut objects = Objects::default();
                let mut tip = objects.simple(&[dice.below(5) as u8; 40], &[]);
                for _ in 0..dice.below(4) {
                    tip = objects.simple(&[dice.below(5) as u8; 60], &[tip]);
                }
                world.push(repo, &objects, &branch, tip);
                assert!(world.has_all(&objects.ids()));
            }
        }
        world.check_repo_refs(repo);
        count += 1;
    }
    count
}

fn fork_and_delete(world: &World, done: &AtomicBool) {
    let mut number = 0;
    while !done.load(Ordering::Relaxed) {
        number += 1;
        let fork = name(&format!("fork{number}"));
        let repo = world.store.repos().fork(&name("a"), &fork).expect("forked");
        world.check_repo_refs(repo.id);
        thread::park_timeout(Duration::from_millis(20));
        world.check_repo_refs(repo.id);
        world.store.repos().delete(&fork).expect("deleted");
    }
}

#[test]
fn under_load_nothing_acknowledged_is_lost_and_nothing_dead_is_left() {
    let world = World::new();
    let repos = [world.repo("a").id, world.repo("b").id];
    let done = AtomicBool::new(false);
    let mut runs = 0;
    thread::scope(|scope| {
        let done = &done;
        let world = &world;
        let pushers = repos.map(|repo| {
            scope.spawn(move || push_and_delete(world, repo, 77 + u64::from(repo.0), done))
        });
        let forker = scope.spawn(move || fork_and_delete(world, done));
        let end = Instant::now() + TIME;
        while Instant::now() < end || runs < 3 {
            world.store.gc(&NOW, &NoProgress).expect("collected");
            runs += 1;
        }
        done.store(true, Ordering::Relaxed);
        for pusher in pushers {
            assert!(pusher.join().expect("well") > 0);
        }
        forker.join().expect("well");
    });
    world.gc();
    let mut living = BTreeSet::new();
    for repo in repos {
        living.extend(world.store.objects().members(repo).map(|id| id.expect("read")));
    }
    assert_eq!(world.count(Family::Object), living.len(), "after {runs} runs");
    let rights: BTreeSet<FileId> = repos
        .iter()
        .flat_map(|r| world.store.files().files(*r))
        .map(|f| f.expect("read"))
        .collect();
    assert_eq!(world.count(Family::File), rights.len());
    assert_eq!(world.count(Family::RepoFile), world.count(Family::FileRepo));
}
