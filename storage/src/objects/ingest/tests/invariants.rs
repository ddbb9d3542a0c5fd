//! The invariants at the top of the room, each attacked.

use super::*;
use crate::db::{Durability, Family, keys};
use crate::objects::limits::DEPTH_MAX;

const A: &[u8] = b"one long enough line that is shared, then A";
const B: &[u8] = b"one long enough line that is shared, then B";

fn whole_and_delta(whole: &[u8], target: &[u8]) -> Vec<u8> {
    let mut pack = PackBuilder::new();
    let base = pack.blob(whole);
    pack.ofs_delta(base, &delta(whole, target));
    pack.finish()
}

#[test]
fn two_pushes_with_opposite_deltas_make_no_cycle() {
    let fixture = Fixture::new();
    assert_eq!(fixture.push(&whole_and_delta(A, B)).expect("taken").new_count, 2);
    let report = fixture.push(&whole_and_delta(B, A)).expect("taken");
    assert_eq!((report.object_count, report.new_count), (2, 0));
    assert_eq!(fixture.depth(&blob_id(A)), 0);
    assert_eq!(fixture.depth(&blob_id(B)), 1);
    fixture.assert_blob(A);
    fixture.assert_blob(B);
}

#[test]
fn two_thin_pushes_with_opposite_deltas_make_no_cycle() {
    let fixture = Fixture::new();
    let mut pack = PackBuilder::new();
    pack.blob(B);
    fixture.push(&pack.finish()).expect("taken");
    for (base, target) in [(B, A), (A, B)] {
        let mut pack = PackBuilder::new();
        pack.ref_delta(&blob_id(base), &delta(base, target));
        fixture.push(&pack.finish()).expect("taken");
    }
    assert_eq!((fixture.depth(&blob_id(B)), fixture.depth(&blob_id(A))), (0, 1));
    fixture.assert_blob(A);
    fixture.assert_blob(B);
}

#[test]
fn two_racing_pushes_with_opposite_deltas_lose_nothing() {
    for first_commits_first in [true, false] {
        let fixture = Fixture::new();
        let mut racers = vec![
            fixture.prepare(&whole_and_delta(A, B)).expect("prepared"),
            fixture.prepare(&whole_and_delta(B, A)).expect("prepared"),
        ];
        if !first_commits_first {
            racers.reverse();
        }
        let news: Vec<u64> =
            racers.into_iter().map(|r| r.commit().expect("committed").new_count).collect();
        assert_eq!(news, [2, 0]);
        fixture.assert_blob(A);
        fixture.assert_blob(B);
    }
}

#[test]
fn many_threads_push_the_same_objects_as_sorted_files() {
    let fixture = Fixture::new();
    let blobs: Vec<Vec<u8>> = (0..3_000u32).map(|i| noise(i.into(), 60)).collect();
    std::thread::scope(|scope| {
        for rotation in 0..4 {
            let (fixture, blobs) = (&fixture, &blobs);
            scope.spawn(move || {
                let mut pack = PackBuilder::new();
                for index in 0..blobs.len() {
                    let data = &blobs[(index + rotation * 700) % blobs.len()];
                    if index % 2 == 0 {
                        pack.blob(data);
                    } else {
                        let base = &blobs[(index + rotation * 700 - 1) % blobs.len()];
                        pack.ref_delta(&blob_id(base), &delta(base, data));
                    }
                }
                fixture.push(&pack.finish()).expect("taken");
            });
        }
    });
    for data in &blobs {
        fixture.assert_blob(data);
    }
    assert_eq!(fixture.store.objects().member_count(fixture.repo).expect("reads"), 3_000);
}

#[test]
fn the_same_id_twice_in_one_pack_is_kept_once() {
    let fixture = Fixture::new();
    let mut pack = PackBuilder::new();
    let first = pack.blob(A);
    let second = pack.ofs_delta(first, &delta(A, B));
    let again = pack.ofs_delta(second, &delta(B, A));
    pack.ofs_delta(again, &delta(A, b"one long enough line, third"));
    pack.blob(B);
    let report = fixture.push(&pack.finish()).expect("taken, as git does");
    assert_eq!((report.object_count, report.new_count), (5, 3));
    assert_eq!(fixture.depth(&blob_id(A)), 0, "the first in resolution order");
    assert_eq!(fixture.depth(&blob_id(B)), 0, "whole entries come before deltas");
    fixture.assert_blob(A);
    fixture.assert_blob(B);
    fixture.assert_blob(b"one long enough line, third");
}

#[test]
fn a_base_that_only_another_repository_holds_is_not_found() {
    let fixture = Fixture::new();
    let mut pack = PackBuilder::new();
    pack.blob(A);
    fixture.push_to(fixture.other, &pack.finish()).expect("taken");
    let mut thin = PackBuilder::new();
    thin.ref_delta(&blob_id(A), &delta(A, B));
    let thin = thin.finish();
    let error = fixture.push(&thin).expect_err("its base is private to another");
    assert!(matches!(error, crate::StoreError::Pack(crate::PackError::UnresolvedDeltas { .. })));
    assert!(fixture.store.objects().header(&blob_id(B)).expect("reads").is_none());
    fixture.push_to(fixture.other, &thin).expect("there it is known");
}

#[test]
fn thin_pushes_stacked_a_thousand_deep_stay_within_the_cap() {
    let fixture = Fixture::new();
    let version = |n: u32| format!("{}version {n}", "a common front ".repeat(10)).into_bytes();
    let mut pack = PackBuilder::new();
    pack.blob(&version(0));
    fixture.push(&pack.finish()).expect("taken");
    let mut deepest = 0;
    for n in 1..=1_000 {
        let mut pack = PackBuilder::new();
        pack.ref_delta(&blob_id(&version(n - 1)), &delta(&version(n - 1), &version(n)));
        fixture.push(&pack.finish()).expect("taken");
        let depth = fixture.depth(&blob_id(&version(n)));
        deepest = deepest.max(depth);
        assert_eq!(u32::from(depth), n % (u32::from(DEPTH_MAX) + 1));
    }
    assert_eq!(deepest, DEPTH_MAX);
    for n in 0..=1_000 {
        fixture.assert_blob(&version(n));
    }
}

#[test]
fn a_chain_20_000_deep_is_taken_in_and_cut_at_the_cap() {
    let fixture = Fixture::new();
    let version = |n: u32| format!("a common front, version {n}").into_bytes();
    let mut pack = PackBuilder::new();
    let mut base = pack.blob(&version(0));
    for n in 1..=20_000 {
        base = pack.ofs_delta(base, &delta(&version(n - 1), &version(n)));
    }
    let report = fixture.push(&pack.finish()).expect("taken, as git does");
    assert_eq!(report.new_count, 20_001);
    for n in (0..=20_000).step_by(97).chain([250, 251, 252, 20_000]) {
        assert_eq!(u32::from(fixture.depth(&blob_id(&version(n)))), n % 251);
        fixture.assert_blob(&version(n));
    }
}

#[test]
fn what_a_sweep_took_between_filter_and_commit_is_written_after_all() {
    let fixture = Fixture::new();
    let mut pack = PackBuilder::new();
    pack.blob(A);
    fixture.push(&pack.finish()).expect("taken");
    // Skipped because it is stored, and an outside base, at once.
    let full = fixture.prepare(&whole_and_delta(A, B)).expect("prepared");
    sweep(&fixture, A);
    assert_eq!(full.commit().expect("committed").new_count, 2, "A is written from quarantine");
    fixture.assert_blob(A);
    fixture.assert_blob(B);

    let third = b"one long enough line that is shared, then a third";
    let mut thin = PackBuilder::new();
    thin.ref_delta(&blob_id(B), &delta(B, third));
    let thin = fixture.prepare(&thin.finish()).expect("prepared");
    sweep(&fixture, B);
    thin.commit().expect("committed");
    fixture.assert_blob(third);
}

/// What gc will do: delete under the commit lock and say so.
fn sweep(fixture: &Fixture, data: &[u8]) {
    let db = &fixture.store.objects().db;
    let guard = db.commit_lock();
    let mut batch = db.batch();
    batch.delete(Family::Object, blob_id(data).as_bytes());
    batch.delete(Family::RepoObject, &keys::repo_object(fixture.repo, &blob_id(data)));
    db.commit(batch, Durability::Synced).expect("written");
    db.bump_generation();
    drop(guard);
}

#[test]
fn an_object_goes_out_whole_when_its_base_belongs_to_another_repository() {
    let fixture = Fixture::new();
    fixture.push_to(fixture.other, &whole_and_delta(A, B)).expect("taken");
    let mut pack = PackBuilder::new();
    pack.blob(B);
    assert_eq!(fixture.push(&pack.finish()).expect("taken").new_count, 0);
    assert_eq!(fixture.depth(&blob_id(B)), 1, "stored against A, which is private");
    let dir = tempfile::tempdir().expect("a directory");
    git(dir.path(), &["init", "-q", "--bare", "."], b"");
    let packs = dir.path().join("objects/pack");
    let report = fixture.store.objects().export_pack(fixture.repo, &packs, &NoProgress);
    assert_eq!(report.expect("written").expect("not empty").object_count, 1);
    let listed = git(dir.path(), &["cat-file", "--batch-all-objects", "--batch-check"], b"");
    let listed = String::from_utf8(listed).expect("text");
    assert_eq!(listed, format!("{} blob {}\n", blob_id(B), B.len()));
    let raw = std::fs::read(report_path(&packs)).expect("reads");
    assert!(!raw.windows(20).any(|w| w == blob_id(A).as_bytes()), "its base's id does not leave");
}

fn report_path(packs: &Path) -> std::path::PathBuf {
    let entries = std::fs::read_dir(packs).expect("reads").map(|e| e.expect("an entry").path());
    entries.into_iter().find(|p| p.extension().is_some_and(|e| e == "pack")).expect("a pack")
}

#[test]
fn a_cycle_on_the_disk_is_named_not_followed() {
    let fixture = Fixture::new();
    fixture.push(&whole_and_delta(A, B)).expect("taken");
    // Damage: A becomes a delta against B, at the depth of B's own.
    let db = &fixture.store.objects().db;
    let value =
        db.get(Family::Object, blob_id(B).as_bytes()).expect("reads").expect("there").to_vec();
    let mut row = value;
    let at = row.windows(20).position(|w| w == blob_id(A).as_bytes()).expect("its base");
    row[at..at + 20].copy_from_slice(blob_id(B).as_bytes());
    let mut batch = db.batch();
    batch.put(Family::Object, blob_id(A).as_bytes(), &row);
    db.commit(batch, Durability::Synced).expect("written");
    let error = fixture.store.objects().read(&blob_id(B)).expect_err("a cycle");
    assert!(error.to_string().contains("depth"), "{error}");
}

#[test]
fn membership_does_not_follow_from_being_stored() {
    let fixture = Fixture::new();
    fixture.push_to(fixture.other, &whole_and_delta(A, B)).expect("taken");
    let objects = fixture.store.objects();
    assert!(!objects.is_member(fixture.repo, &blob_id(A)).expect("reads"));
    assert_eq!(objects.members(fixture.repo).count(), 0);
    assert_eq!(objects.members_with_prefix(fixture.repo, "", 9).expect("reads"), []);
    let hex = blob_id(A).to_string();
    let found = objects.members_with_prefix(fixture.other, &hex[..7], 9).expect("reads");
    assert_eq!(found, [blob_id(A)]);
}

/// A pack with one whole blob, deflated at `level`.
fn blob_at_level(data: &[u8], level: u32) -> Vec<u8> {
    let mut pack = PackBuilder::new();
    entry_header(&mut pack.bytes, ObjectKind::Blob.pack_type(), data.len() as u64);
    deflate_at(data, level, &mut pack.bytes).expect("memory");
    pack.count += 1;
    pack.finish()
}

#[test]
fn racing_pushes_of_one_large_blob_with_other_streams_keep_it() {
    let data = [noise(21, 3 << 19), vec![b'z'; 3 << 19]].concat();
    let (small, large) = (blob_at_level(&data, 6), blob_at_level(&data, 0));
    for (first, second) in [(&small, &large), (&large, &small)] {
        let fixture = Fixture::new();
        let first = fixture.prepare(first).expect("prepared");
        let second = fixture.prepare(second).expect("prepared");
        assert_eq!(first.commit().expect("committed").new_count, 1);
        fixture.assert_blob(&data);
        assert_eq!(second.commit().expect("committed").new_count, 0);
        fixture.assert_blob(&data);
    }
    // The second gives up: what the first was told is durable must stay.
    let fixture = Fixture::new();
    let first = fixture.prepare(&small).expect("prepared");
    drop(fixture.prepare(&large).expect("prepared"));
    first.commit().expect("committed");
    fixture.assert_blob(&data);
}

#[test]
fn a_commit_that_fails_half_way_counts_as_a_change() {
    let fixture = Fixture::new();
    let version = |n: u8| [&b"a front that all versions share, number "[..], &[n]].concat();
    let mut pack = PackBuilder::new();
    let base = pack.blob(&version(0));
    pack.ofs_delta(base, &delta(&version(0), &version(1)));
    for n in 0..3_000 {
        pack.blob(&noise(n, 30));
    }
    let first = pack.finish();
    let mut pack = PackBuilder::new();
    let base = pack.blob(&version(2));
    let next = pack.ofs_delta(base, &delta(&version(2), &version(3)));
    pack.ofs_delta(next, &delta(&version(3), &version(0)));
    let second = pack.finish();

    let failing = fixture.prepare(&first).expect("prepared");
    let racer = fixture.prepare(&second).expect("prepared");
    for entry in std::fs::read_dir(fixture.store.tmp()).expect("reads") {
        let path = entry.expect("an entry").path();
        if path.to_string_lossy().contains("repo_object-") {
            std::fs::remove_file(path).expect("removed");
        }
    }
    failing.commit().expect_err("the memberships cannot be taken in");
    racer.commit().expect("committed");
    fixture.push(&first).expect("the second try completes it");
    for n in 0..4 {
        fixture.assert_blob(&version(n));
    }
}

#[test]
fn damage_stays_an_error_however_often_it_is_read() {
    let fixture = Fixture::new();
    let mut pack = PackBuilder::new();
    pack.blob(A);
    fixture.push(&pack.finish()).expect("taken");
    let db = &fixture.store.objects().db;
    let row = db.get(Family::Object, blob_id(A).as_bytes()).expect("reads").expect("there");
    let mut batch = db.batch();
    batch.put(Family::Object, blob_id(B).as_bytes(), &row);
    db.commit(batch, Durability::Synced).expect("written");
    let mut out = [0; 8];
    for _ in 0..3 {
        let read = fixture.store.objects().read_at(&blob_id(B), 0, &mut out);
        assert!(matches!(read, Err(crate::StoreError::DamagedRow { .. })), "{read:?}");
    }
}

#[test]
fn a_view_shows_no_object_of_another_repository() {
    use crate::{Content, ReadStore};
    let fixture = Fixture::new();
    let mut pack = PackBuilder::new();
    pack.blob(A);
    fixture.push_to(fixture.other, &pack.finish()).expect("taken");
    // Whoever knows the id names it in a tree of their own.
    let tree = [b"100644 stolen\0", &blob_id(A).as_bytes()[..]].concat();
    let mut pack = PackBuilder::new();
    pack.object(ObjectKind::Tree, &tree);
    fixture.push(&pack.finish()).expect("taken");
    let (mine, theirs) = (fixture.store.view(fixture.repo), fixture.store.view(fixture.other));
    let id = blob_id(A);
    assert!(theirs.stat(&[id]).expect("reads")[0].is_some());
    assert!(mine.stat(&[id]).expect("reads")[0].is_none());
    assert!(matches!(mine.object(&id), Err(crate::StoreError::MissingObject { .. })));
    let read = mine.read_at(&Content::Blob(id), 0, &mut [0; 4]);
    assert!(matches!(read, Err(crate::StoreError::MissingObject { .. })), "{read:?}");
    assert_eq!(mine.resident(&Content::Blob(id)).expect("reads"), 0);
    assert_eq!(theirs.object(&id).expect("reads").data, A);
}
