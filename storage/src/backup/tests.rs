//! Backups that are made beside writers, that share what they can, and what damage does to them.

use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::check::VerifyOptions;
use crate::gc::tests::{Objects, World};
use crate::objects::packs_for_tests::noise;
use crate::progress::NoProgress;
use crate::{StoreOptions, StoreSource};

fn backups(dir: &Path) -> Backups {
    Backups::open(dir, true).expect("opened")
}

/// Restores the newest backup, and checks every byte of it.
fn restored(backups: &Backups, target: &Path) -> Store {
    backups.restore(None, target, &NoProgress).expect("restored");
    let store = Store::open(target, &StoreOptions::default()).expect("opened");
    let report = store.verify(&VerifyOptions::default(), &NoProgress).expect("verified");
    assert_eq!(report.damages, []);
    for repo in store.repos().list().expect("listed") {
        let report = store.fsck(&repo, &NoProgress).expect("checked");
        assert_eq!(report.findings, [], "{}", repo.name);
    }
    store
}

#[test]
fn a_second_backup_copies_what_is_new_and_both_come_back() {
    let world = World::new();
    let repo = world.repo("a");
    let (first, _) = world.push_file(repo.id, 1, "main");
    std::fs::create_dir(world.path.join("swarm")).expect("made");
    std::fs::write(world.path.join("swarm/key"), "secret").expect("written");
    let dir = tempfile::tempdir().expect("a directory");
    let backups = backups(&dir.path().join("b"));
    let one = backups.create(&world.store, &NoProgress).expect("made");
    assert_eq!(one.backup.len, one.copied_len);
    let (second, _) = world.push_file(repo.id, 2, "other");
    let two = backups.create(&world.store, &NoProgress).expect("made");
    assert!(two.copied_len > 400_000 && two.copied_len < one.copied_len + 200_000, "{two:?}");
    let three = backups.create(&world.store, &NoProgress).expect("made");
    assert!(three.copied_len < 100_000 && three.backup.len > 800_000, "{three:?}");
    let numbers: Vec<u32> = backups.list().expect("listed").iter().map(|b| b.number).collect();
    assert_eq!(numbers, [1, 2, 3]);
    assert_eq!(backups.verify(&NoProgress).expect("verified"), []);
    let target = dir.path().join("t");
    let store = restored(&backups, &target);
    assert!(store.files().has(repo.id, &second).expect("read"));
    assert_eq!(std::fs::read(target.join("swarm/key")).expect("there"), b"secret");
    for name in ["swarm/key", "FORMAT", "db", "swarm"] {
        let mode = std::fs::metadata(target.join(name)).expect("there").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name}: {mode:o}");
    }
    backups.restore(Some(1), &dir.path().join("old"), &NoProgress).expect("restored");
    let old = Store::open(&dir.path().join("old"), &StoreOptions::default()).expect("opened");
    assert!(old.files().has(repo.id, &first).expect("read"));
    assert!(!old.files().has(repo.id, &second).expect("read"));
    // As a source, where it is.
    let open = backups.open_as_store(Some(2)).expect("opened");
    assert!(open.store.files().has(repo.id, &second).expect("read"));
    drop(StoreSource::new(open.store.clone(), "backup".to_owned()));
    drop(open);
    assert_eq!(backups.verify(&NoProgress).expect("verified"), []);
}

#[test]
fn a_backup_made_beside_pushes_and_uploads_is_whole() {
    let world = World::new();
    let dir = tempfile::tempdir().expect("a directory");
    let backups = backups(&dir.path().join("b"));
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for writer in 0..2u64 {
            let (world, is_over) = (&world, &is_over);
            scope.spawn(move || {
                let repo = world.repo(&format!("r{writer}"));
                let mut number = 0;
                while !is_over.load(Ordering::Relaxed) {
                    number += 1;
                    world.push_file(repo.id, writer << 32 | number, "main");
                    let mut objects = Objects::default();
                    let tip = objects.simple(&noise(number, 5_000), &[]);
                    world.push(repo.id, &objects, "other", tip);
                }
            });
        }
        for number in 0..6 {
            backups.create(&world.store, &NoProgress).expect("made");
            restored(&backups, &dir.path().join(format!("t{number}")));
        }
        is_over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn damage_of_a_backup_is_found_and_never_restored() {
    let world = World::new();
    let repo = world.repo("a");
    world.push_file(repo.id, 1, "main");
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("b");
    let backups = backups(&path);
    backups.create(&world.store, &NoProgress).expect("made");
    let set = backups.set(1).expect("read");
    let target = dir.path().join("t");
    let largest = set.members.iter().max_by_key(|member| member.len).expect("one");
    let file = path.join(copy::path_of(&largest.id));
    let good = std::fs::read(&file).expect("read");
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    for bad in [Some(&flipped[..]), Some(&good[1..]), None] {
        match bad {
            Some(bytes) => std::fs::write(&file, bytes).expect("written"),
            None => std::fs::remove_file(&file).expect("removed"),
        }
        let [damage] = &backups.verify(&NoProgress).expect("verified")[..] else {
            panic!("one is damaged")
        };
        assert_eq!(
            (damage.path.clone(), &damage.backups[..]),
            (copy::path_of(&largest.id), &[1][..])
        );
        let error = backups.restore(None, &target, &NoProgress).map(|_| ()).expect_err("refused");
        assert!(matches!(error, StoreError::DamagedBackup { .. }), "{error}");
        assert!(!target.exists(), "nothing is left");
    }
    // What the next backup finds damaged by its length it brings again.
    std::fs::write(&file, &good).expect("written");
    assert_eq!(backups.verify(&NoProgress).expect("verified"), []);
    let list = path.join(SETS).join(set::name_of(1));
    let text = std::fs::read_to_string(&list).expect("read");
    std::fs::write(&list, text.replace("made", "Made")).expect("written");
    assert_eq!(backups.verify(&NoProgress).expect("verified").len(), 1);
    assert_eq!(backups.list().expect("listed"), []);
}

#[test]
fn nothing_is_overwritten_and_one_process_is_at_it() {
    let world = World::new();
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("b");
    assert!(matches!(Backups::open(&path, false).map(|_| ()), Err(StoreError::NotABackup { .. })));
    let open = backups(&path);
    assert!(matches!(Backups::open(&path, true).map(|_| ()), Err(StoreError::Held { .. })));
    open.create(&world.store, &NoProgress).expect("made");
    let full = open.restore(None, &world.path, &NoProgress).map(|_| ());
    assert!(matches!(full, Err(StoreError::StoreExists { .. })), "{full:?}");
    let other = tempfile::tempdir().expect("a directory");
    std::fs::write(other.path().join("x"), "").expect("written");
    let taken = Backups::open(other.path(), true).map(|_| ());
    assert!(matches!(taken, Err(StoreError::NotABackup { .. })));
    let mode = std::fs::metadata(&path).expect("there").permissions().mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");
}
