//! Others at work at each point of a run: what they count on stays.

use super::*;

/// Every point at which a repository is being collected.
const IN_REPO: [Point; 5] =
    [Point::Begun, Point::Marked, Point::BeforeFlip, Point::Flipped, Point::RightsGone];
const IN_ROWS: [Point; 4] = [Point::RowsBegun, Point::RowsMarked, Point::Rebased, Point::RowsGone];
const IN_CONTENT: [Point; 6] = [
    Point::FilesBegun,
    Point::FilesMarked,
    Point::HeadsGone,
    Point::ChunksBegun,
    Point::ChunksMarked,
    Point::ChunksGone,
];

fn all() -> impl Iterator<Item = Point> {
    IN_REPO.into_iter().chain(IN_ROWS).chain(IN_CONTENT).chain([Point::Swept])
}

/// A repository with a living and a dead branch.
fn scene(world: &World) -> (RepoId, Objects, ObjectId) {
    let repo = world.repo("a");
    let mut main = Objects::default();
    let first = main.simple(b"one", &[]);
    world.push(repo.id, &main, "main", first);
    let mut topic = Objects::default();
    let second = topic.simple(b"two", &[first]);
    world.push(repo.id, &topic, "topic", second);
    world.set(repo.id, "topic", None).expect("deleted");
    (repo.id, topic, second)
}

#[test]
fn a_branch_that_was_deleted_is_pushed_again_at_each_point() {
    for point in all() {
        let world = World::new();
        let (repo, topic, tip) = scene(&world);
        // Something dead that lets every point be met.
        let (_, _) = world.push_file(repo, 1, "file");
        world.set(repo, "file", None).expect("deleted");
        world.gc_with(point, || world.push(repo, &topic, "again", tip));
        assert!(world.has_all(&topic.ids()), "{point:?}");
        world.gc();
        assert!(world.has_all(&topic.ids()), "{point:?}");
    }
}

#[test]
fn a_reference_alone_comes_back_or_is_refused() {
    for point in all() {
        let world = World::new();
        let (repo, topic, tip) = scene(&world);
        world.push_file(repo, 1, "file");
        world.set(repo, "file", None).expect("deleted");
        let mut set = None;
        world.gc_with(point, || set = Some(world.set(repo, "again", Some(tip))));
        match set.expect("the point was met") {
            Ok(()) => assert!(world.has_all(&topic.ids()), "{point:?}"),
            Err(StoreError::MissingObject { id }) => assert_eq!(id, tip, "{point:?}"),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_push_that_was_prepared_before_finds_what_it_skipped() {
    for begun in [true, false] {
        for point in all() {
            let world = World::new();
            let (repo, topic, tip) = scene(&world);
            world.push_file(repo, 1, "file");
            world.set(repo, "file", None).expect("deleted");
            let pack = topic.pack();
            let mut prepared = begun.then(|| world.prepared(repo, &pack).expect("prepared"));
            world.gc_with(point, || {
                let prepared = prepared.take();
                let prepared = prepared.unwrap_or_else(|| world.prepared(repo, &pack).expect("ok"));
                let report = prepared.commit().expect("committed");
                world.check();
                world.set(repo, "again", Some(tip)).expect("set");
                drop(report);
            });
            assert!(world.has_all(&topic.ids()), "{point:?}");
        }
    }
}

#[test]
fn a_push_whose_references_come_later_keeps_its_objects_by_its_lease() {
    for point in IN_REPO {
        let world = World::new();
        let (repo, topic, tip) = scene(&world);
        let report = RefCell::new(None);
        world.gc_with(point, || {
            *report.borrow_mut() = Some(world.bring(repo, &topic.pack()).expect("taken"));
        });
        // A whole run later, and one more, the reference comes.
        world.gc();
        world.set(repo, "late", Some(tip)).expect("set");
        drop(report.into_inner());
        world.gc();
        assert!(world.has_all(&topic.ids()), "{point:?}");
    }
}

#[test]
fn new_objects_that_name_dead_ones_keep_them() {
    for point in IN_REPO {
        let world = World::new();
        let (repo, topic, tip) = scene(&world);
        let mut child = Objects::default();
        let new = child.simple(b"three", &[tip]);
        let pack = child.pack();
        world.gc_with(point, || match world.bring(repo, &pack) {
            Ok(report) => {
                world.set(repo, "child", Some(new)).expect("set");
                drop(report);
                assert!(!matches!(point, Point::Flipped | Point::RightsGone), "{point:?}");
            }
            // Its parent had gone: git sends it along when it pushes again.
            Err(StoreError::Pack(crate::PackError::MissingLink { id, .. })) => {
                assert_eq!(id, tip);
                assert!(matches!(point, Point::Flipped | Point::RightsGone), "{point:?}");
            }
            Err(error) => panic!("{point:?}: {error}"),
        });
        let stays = !matches!(point, Point::Flipped | Point::RightsGone);
        assert_eq!(world.has_all(&topic.ids()), stays, "{point:?}");
    }
}

#[test]
fn a_thin_pack_against_a_base_that_is_going_keeps_it_or_is_refused() {
    for point in all() {
        let world = World::new();
        let (repo, topic, _) = scene(&world);
        world.push_file(repo, 1, "file");
        world.set(repo, "file", None).expect("deleted");
        let target = b"two and a half".to_vec();
        let mut new = Objects::default();
        let tip = new.simple(&target, &[]);
        let mut pack = PackBuilder::new();
        pack.ref_delta(&topic.ids()[0], &delta(b"two", &target));
        for (kind, data) in new.0.iter().filter(|object| object.0 != ObjectKind::Blob) {
            pack.object(*kind, data);
        }
        let pack = pack.finish();
        let mut is_taken = false;
        world.gc_with(point, || match world.bring(repo, &pack) {
            Ok(report) => {
                world.set(repo, "thin", Some(tip)).expect("set");
                drop(report);
                is_taken = true;
            }
            Err(StoreError::Pack(crate::PackError::UnresolvedDeltas { .. })) => {}
            Err(error) => panic!("{point:?}: {error}"),
        });
        assert_eq!(is_taken, matches!(point, Point::Begun | Point::Marked | Point::BeforeFlip));
        if is_taken {
            assert!(world.has_all(&new.ids()), "{point:?}");
        }
        world.gc();
    }
}

#[test]
fn another_repository_takes_in_rows_that_are_going() {
    for point in all() {
        let world = World::new();
        let (repo, topic, tip) = scene(&world);
        world.push_file(repo, 1, "file");
        world.set(repo, "file", None).expect("deleted");
        let other = world.repo("b");
        let mut all = topic.clone();
        all.simple(b"one", &[]);
        world.gc_with(point, || world.push(other.id, &all, "main", tip));
        assert!(world.has_all(&all.ids()), "{point:?}");
        world.gc();
        assert!(world.has_all(&all.ids()), "{point:?}");
    }
}

#[test]
fn a_fork_made_at_any_point_is_whole() {
    for point in all() {
        let world = World::new();
        let (repo, _, _) = scene(&world);
        world.push_file(repo, 1, "file");
        world.set(repo, "file", None).expect("deleted");
        world.push_file(repo, 2, "kept");
        world.gc_with(point, || {
            world.store.repos().fork(&name("a"), &name("b")).expect("forked");
            world.store.repos().delete(&name("a")).expect("deleted");
        });
        world.gc();
        world.gc();
        let fork = world.store.repos().get(&name("b")).expect("there").id;
        assert_eq!(world.store.files().files(fork).count(), 1, "{point:?}");
    }
}

#[test]
fn a_file_that_is_uploaded_again_survives_at_each_point() {
    for point in all() {
        let world = World::new();
        let (repo, _, _) = scene(&world);
        let (file, objects) = world.push_file(repo, 1, "file");
        world.set(repo, "file", None).expect("deleted");
        let mut again = None;
        world.gc_with(point, || again = Some(world.push_file(repo, 1, "again")));
        assert_eq!(again.expect("the point was met").0, file);
        assert!(world.store.files().has(repo, &file).expect("read"), "{point:?}");
        world.gc();
        assert!(world.store.files().has(repo, &file).expect("read"), "{point:?}");
        assert!(world.has_all(&objects.ids()), "{point:?}");
    }
}

#[test]
fn a_client_that_was_told_it_need_not_upload_may_push() {
    for point in IN_REPO {
        let world = World::new();
        let (repo, _, _) = scene(&world);
        let (file, objects) = world.push_file(repo, 1, "file");
        world.set(repo, "file", None).expect("deleted");
        let mut is_there = false;
        world.gc_with(point, || {
            is_there = world.store.files().has_for_push(repo, &file).expect("renewed");
        });
        if is_there {
            world.push(repo, &objects, "again", *objects.ids().last().expect("a tip"));
        }
        world.gc();
        assert_eq!(is_there, point != Point::RightsGone, "{point:?}");
        assert_eq!(world.store.files().has(repo, &file).expect("read"), is_there, "{point:?}");
    }
}

#[test]
fn another_file_with_chunks_that_are_going_keeps_them() {
    for point in all() {
        let world = World::new();
        let (repo, _, _) = scene(&world);
        world.push_file(repo, 1, "file");
        world.set(repo, "file", None).expect("deleted");
        let content = [noise(1, FILE_LEN), b"and an end of its own".to_vec()].concat();
        let file = file_id(&content);
        let mut report = None;
        world.gc_with(point, || {
            let files = world.store.files();
            report = Some(files.ingest(None, &mut &content[..], None, &NoProgress).expect("taken"));
        });
        assert!(world.store.files().head(&file).expect("read").is_some(), "{point:?}");
        let new = report.expect("the point was met").new_chunk_count;
        let is_early = !matches!(point, Point::ChunksGone | Point::Swept);
        assert_eq!(new == 1, is_early, "{point:?}: {new} new chunks");
        world.gc();
    }
}

#[test]
fn readers_read_on() {
    for point in all() {
        let world = World::new();
        let (repo, topic, tip) = scene(&world);
        let (file, _) = world.push_file(repo, 1, "file");
        world.set(repo, "file", None).expect("deleted");
        let held = world.store.hold(repo, &[tip]).expect("held");
        let mut spans = world.store.files().spans_of(&file).expect("there");
        world.gc_with(point, || {
            let span = spans.next().expect("a span").expect("read");
            world.store.files().chunk(&file, &span.chunk).expect("a chunk");
        });
        for span in spans {
            world.store.files().chunk(&file, &span.expect("read").chunk).expect("a chunk");
        }
        assert!(world.has_all(&topic.ids()), "{point:?}");
        drop(held);
        world.gc();
        assert!(world.has_none(&topic.ids()), "{point:?}");
        assert!(world.store.files().head(&file).expect("read").is_none(), "{point:?}");
        assert!(world.store.hold(repo, &[tip]).is_err());
    }
}

#[test]
fn an_import_keeps_all_of_its_repository_and_the_next_one_brings_what_went() {
    let world = World::new();
    let (repo, topic, _) = scene(&world);
    world.store.repos().add_packs(repo, &[[7; 20]]).expect("noted");
    let lease = world.store.lease(repo);
    let report = world.gc();
    assert!(matches!(&report.repos[..], [GcRepo { why: GcWhy::Kept(_), .. }]), "{report:?}");
    assert!(world.has_all(&topic.ids()));
    assert!(world.store.repos().has_pack(repo, &[7; 20]).expect("read"));
    drop(lease);
    // One that comes between marking and the end has counted on what it found, too.
    let lease = RefCell::new(None);
    world.gc_with(Point::Marked, || *lease.borrow_mut() = Some(world.store.lease(repo)));
    assert!(world.has_all(&topic.ids()));
    drop(lease.into_inner());
    world.gc();
    assert!(world.has_none(&topic.ids()));
    assert!(!world.store.repos().has_pack(repo, &[7; 20]).expect("read"), "it is not whole now");
}
