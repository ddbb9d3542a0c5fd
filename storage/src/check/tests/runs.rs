//! Runs that end early and go on, runs beside gc, repositories that are filled as they are read.

use super::*;
use crate::gc::tests::NOW;

#[test]
fn a_run_that_is_out_of_time_goes_on_where_it_was() {
    let scene = Scene::new();
    scene.flip(Family::Object, scene.ids["text"].as_bytes());
    scene.flip(Family::Chunk, scene.chunks[1].as_bytes());
    let whole = scene.damages();
    assert_eq!(whole.len(), 2);
    let options = VerifyOptions { time: Some(Duration::ZERO), ..VerifyOptions::default() };
    let (mut found, mut runs) = (Vec::new(), 0);
    loop {
        let report = scene.store().verify(&options, &NoProgress).expect("verified");
        assert_eq!(report.is_resumed, runs > 0);
        found.extend(lines(&report));
        runs += 1;
        if report.is_whole {
            break;
        }
        assert!(runs < 1_000, "it moves on");
    }
    assert!(runs > 5, "{runs}");
    found.sort();
    found.dedup();
    let mut whole = whole;
    whole.sort();
    assert_eq!(found, whole);
    // And then from the front.
    assert!(!scene.verify().is_resumed);
}

#[test]
fn a_file_in_the_middle_keeps_what_its_hash_is_in_the_middle_of() {
    let world = World::new();
    let repo = world.repo("a");
    // More chunks than are hashed between two places.
    let content = noise(9, 40 << 20);
    let files = world.store.files();
    let report = files.ingest(Some(repo.id), &mut &content[..], None, &NoProgress).expect("taken");
    assert!(report.chunk_count > 300, "{}", report.chunk_count);
    let options = VerifyOptions { time: Some(Duration::ZERO), ..VerifyOptions::default() };
    let mut is_middle = false;
    let mut files = 0;
    loop {
        let report = world.store.verify(&options, &NoProgress).expect("verified");
        assert_eq!(report.damages, []);
        files += report.file_count;
        if report.is_whole {
            break;
        }
        is_middle |= !Place::load(world.store.db()).expect("read").file.is_empty();
    }
    assert!(is_middle && files == 1, "{is_middle} {files}");
}

#[test]
fn an_interruption_ends_it_at_once_and_damage_found_is_told() {
    struct Stop;
    impl Progress for Stop {
        fn start(&self, _what: &'static str, _total: Option<u64>, _unit: Unit) {}
        fn advance(&self, _count: u64) {}
        fn interrupted(&self) -> bool {
            true
        }
    }
    let scene = Scene::new();
    scene.flip(Family::Object, scene.ids["text"].as_bytes());
    let report = scene.store().verify(&VerifyOptions::default(), &Stop).expect("ended");
    assert!(!report.is_whole);
    assert!(matches!(scene.store().fsck(&scene.repo, &Stop), Err(StoreError::Interrupted)));
}

#[test]
fn what_gc_takes_meanwhile_is_no_damage() {
    let scene = Scene::new();
    let options = VerifyOptions { time: Some(Duration::ZERO), ..VerifyOptions::default() };
    // Everything goes while the run is anywhere.
    for step in 0..16 {
        let repo = scene.world.repo(&format!("gone/{step}"));
        scene.world.push_file(repo.id, 100 + step, "main");
        for _ in 0..step {
            let report = scene.store().verify(&options, &NoProgress).expect("verified");
            assert_eq!(report.damages, []);
        }
        scene.store().repos().delete(&repo.name).expect("deleted");
        scene.store().gc(&NOW, &NoProgress).expect("collected");
        let report = scene.store().verify(&options, &NoProgress).expect("verified");
        assert_eq!(report.damages, []);
    }
}

#[test]
fn absence_is_no_damage_where_all_is_filled_as_it_is_read_and_other_bytes_are() {
    let world = World::new();
    let made = world.store.repos().create_partial(&name("there/x"), "http://there/x.git");
    let repo = made.expect("made");
    let mut objects = Objects::default();
    let (absent, here) = (ObjectId::from_bytes([7; 20]), objects.blob(b"here\n"));
    let tree = objects.tree(&[("absent", absent), ("here", here)]);
    let tip = objects.commit(tree, &[ObjectId::from_bytes([9; 20])]);
    let options = crate::IngestOptions::default();
    let pack = objects.pack();
    let input = crate::PackInput::Stream(&mut &pack[..]);
    world.store.objects().ingest_pack(repo.id, input, &options, &NoProgress).expect("taken");
    world.set(repo.id, "main", Some(tip)).expect("set");
    let fsck = || world.store.fsck(&repo, &NoProgress).expect("checked");
    assert_eq!(fsck().findings, []);
    let verify = || world.store.verify(&VerifyOptions::default(), &NoProgress).expect("verified");
    assert_eq!(verify().damages, []);
    put(&world.store, Family::Object, here.as_bytes(), None);
    assert_eq!(lines(&verify()), [format!("object {here} there/x:refs/heads/main:here")]);
    let [finding] = &fsck().findings[..] else { panic!("{:?}", fsck()) };
    assert!(matches!(finding.what, What::Missing { id, .. } if id == here), "{finding:?}");
}
