//! What lives and what goes, with nobody else about.

use super::*;

#[test]
fn what_a_branch_alone_reached_goes_with_it_and_all_else_stays() {
    let world = World::new();
    let repo = world.repo("a");
    let mut main = Objects::default();
    let first = main.simple(b"one", &[]);
    world.push(repo.id, &main, "main", first);
    let mut topic = Objects::default();
    let second = topic.simple(b"two", &[first]);
    world.push(repo.id, &topic, "topic", second);
    assert_eq!(world.gc().object_count, 0);
    world.set(repo.id, "topic", None).expect("deleted");
    let later = GcOptions { grace_s: 3600, dry_run: false };
    let report = world.store.gc(&later, &NoProgress).expect("collected");
    assert_eq!((report.object_count, world.has_all(&topic.ids())), (0, true), "within the grace");
    let dry = GcOptions { dry_run: true, ..NOW };
    let report = world.store.gc(&dry, &NoProgress).expect("planned");
    let listed = |report: &GcReport| {
        let [repo] = &report.repos[..] else { panic!("one repository: {report:?}") };
        assert_eq!(repo.refs.len(), 1);
        (repo.name.clone(), repo.why.clone(), repo.object_count, repo.refs[0].1)
    };
    let expected = (Some(name("a")), GcWhy::Unreachable, 3, second);
    assert_eq!((listed(&report), report.object_count), (expected.clone(), 3));
    assert!(world.has_all(&topic.ids()), "nothing went");
    let report = world.gc();
    assert_eq!((listed(&report), report.object_count), (expected, 3));
    assert!(world.has_none(&topic.ids()) && world.has_all(&main.ids()));
    assert_eq!(world.count(Family::Gone), 0);
    let report = world.gc();
    assert!(report.repos.is_empty() && report.object_count == 0, "{report:?}");
    // The same branch comes back.
    world.push(repo.id, &topic, "topic", second);
    world.gc();
    assert!(world.has_all(&topic.ids()));
}

#[test]
fn a_fork_keeps_its_own_and_the_last_takes_all_along() {
    let world = World::new();
    let repo = world.repo("a");
    let (file, objects) = world.push_file(repo.id, 1, "main");
    let fork = world.store.repos().fork(&name("a"), &name("b")).expect("forked");
    let mut more = Objects::default();
    let tip = more.simple(b"only the first has this", &[]);
    world.push(repo.id, &more, "more", tip);
    let (only, _) = world.push_file(repo.id, 2, "large");
    world.store.repos().delete(&name("a")).expect("deleted");
    let later = GcOptions { grace_s: 3600, dry_run: false };
    world.store.gc(&later, &NoProgress).expect("collected");
    assert!(world.has_all(&more.ids()), "a deleted repository's content stays for the grace");
    let dry = world.store.gc(&GcOptions { dry_run: true, ..NOW }, &NoProgress).expect("planned");
    let report = world.gc();
    assert_eq!((report.object_count, report.file_count), (6, 1));
    assert_eq!((dry.object_count, dry.file_count), (6, 1));
    assert_eq!((dry.chunk_count, dry.chunk_len), (report.chunk_count, report.chunk_len));
    assert_eq!(report.repos[0].why, GcWhy::Deleted);
    assert!(world.has_none(&more.ids()) && world.has_all(&objects.ids()));
    assert!(world.store.files().has(fork.id, &file).expect("read"));
    assert!(world.store.files().head(&only).expect("read").is_none());
    world.store.repos().delete(&name("b")).expect("deleted");
    world.gc();
    for family in [
        Family::Object,
        Family::RepoObject,
        Family::ObjectPointer,
        Family::File,
        Family::FileSegment,
        Family::ChunkFile,
        Family::Chunk,
        Family::ChunkMeta,
        Family::RepoFile,
        Family::FileRepo,
        Family::Gone,
    ] {
        assert_eq!(world.count(family), 0, "{family:?}");
    }
}

#[test]
fn deltas_of_what_goes_are_made_whole() {
    let world = World::new();
    let repo = world.repo("a");
    let base = noise(7, 5_000);
    let middle = [&base[..], b"middle"].concat();
    let last = [&middle[..], b"last"].concat();
    let mut kept = Objects::default();
    let tip = kept.simple(&last, &[]);
    let mut pack = PackBuilder::new();
    let at = pack.blob(&base);
    let at = pack.ofs_delta(at, &delta(&base, &middle));
    pack.ofs_delta(at, &delta(&middle, &last));
    for (kind, data) in kept.0.iter().filter(|(kind, _)| *kind != ObjectKind::Blob) {
        pack.object(*kind, data);
    }
    let _report = world.bring(repo.id, &pack.finish()).expect("taken");
    world.set(repo.id, "main", Some(tip)).expect("set");
    drop(_report);
    let report = world.gc();
    assert_eq!((report.object_count, report.rebased_count), (2, 1));
    assert!(world.has_all(&kept.ids()));
    let blob = kept.ids()[0];
    assert_eq!(
        world.store.objects().read_verified(&blob).expect("read").expect("there").data,
        last
    );
}

#[test]
fn files_live_by_pointers_by_their_owner_and_for_a_push_that_is_to_come() {
    let world = World::new();
    let repo = world.repo("a");
    let (named, _) = world.push_file(repo.id, 1, "main");
    let (dropped, _) = world.push_file(repo.id, 2, "topic");
    let (awaited, _) = world.upload(repo.id, 3);
    let files = world.store.files();
    let own = noise(4, FILE_LEN);
    files.ingest(None, &mut &own[..], None, &NoProgress).expect("taken");
    world.set(repo.id, "topic", None).expect("deleted");
    let is_there = |file: &FileId| files.head(file).expect("read").is_some();
    let report = world.gc();
    assert_eq!(report.file_count, 1);
    let own = file_id(&own);
    assert_eq!([named, dropped, awaited, own].map(|f| is_there(&f)), [true, false, true, true]);
    // Whoever is told that it need not upload a file may count on it.
    assert!(files.has_for_push(repo.id, &awaited).expect("renewed"));
    assert!(!files.has_for_push(repo.id, &dropped).expect("read"));
    files.remove(crate::NO_REPO, &own).expect("removed");
    let later = GcOptions { grace_s: 3600, dry_run: false };
    world.store.gc(&later, &NoProgress).expect("collected");
    assert!(is_there(&own), "within the grace");
    world.gc();
    assert!(!is_there(&own) && is_there(&awaited));
}

#[test]
fn what_uploads_and_repositories_that_are_being_filled_brought_stays() {
    let world = World::new();
    let repo = world.repo("a");
    let partial = world.store.repos().create_partial(&name("p"), "http://x/y.git").expect("made");
    let mut objects = Objects::default();
    objects.simple(b"nothing names this", &[]);
    let _report = world.bring(partial.id, &objects.pack()).expect("taken");
    drop(_report);
    let content = noise(5, FILE_LEN);
    let pointer = Pointer { file: file_id(&content), len: content.len() as u64 };
    let upload = world.store.files().partial_upload(repo.id, pointer);
    let sent = upload.add(content[..100_000].to_vec().into(), vec![50_000, 100_000]).expect("sent");
    world.gc();
    assert!(world.has_all(&objects.ids()));
    let ids: Vec<_> = sent.iter().map(|chunk| chunk.id).collect();
    let stored = |ids: &[_]| world.store.files().stored_chunks(ids).expect("read");
    assert_eq!(stored(&ids), [true, true]);
    // As when nobody goes on with it for long.
    let mut batch = world.store.db().batch();
    batch.delete_prefix(Family::Lease, b"");
    world.store.db().commit(batch, crate::db::Durability::Synced).expect("written");
    world.gc();
    assert_eq!(stored(&ids), [false, false]);
}

#[test]
fn a_repository_with_a_gap_is_left_whole_and_said() {
    let world = World::new();
    let repo = world.repo("a");
    let mut objects = Objects::default();
    let tip = objects.simple(b"one", &[]);
    world.push(repo.id, &objects, "main", tip);
    let mut more = Objects::default();
    more.simple(b"two", &[tip]);
    let _ = world.bring(repo.id, &more.pack()).expect("taken");
    let tree = objects.ids()[1];
    let mut batch = world.store.db().batch();
    batch.delete(Family::Object, tree.as_bytes());
    world.store.db().commit(batch, crate::db::Durability::Synced).expect("written");
    let report = world.store.gc(&NOW, &NoProgress).expect("collected");
    let [repo] = &report.repos[..] else { panic!("{report:?}") };
    assert!(matches!(&repo.why, GcWhy::Kept(why) if why.contains(&tree.to_string())), "{repo:?}");
    assert!(world.has_all(&more.ids()));
}

#[test]
fn space_returns_and_the_answer_says_how_much() {
    let world = World::new();
    let repo = world.repo("a");
    let files = world.store.files();
    for seed in 0..4 {
        let content = noise(seed, 6 << 20);
        let pointer = Pointer { file: file_id(&content), len: content.len() as u64 };
        files.ingest_for_push(repo.id, &mut &content[..], pointer, &NoProgress).expect("taken");
    }
    let kept = noise(9, 6 << 20);
    files.ingest(None, &mut &kept[..], None, &NoProgress).expect("taken");
    world.store.repos().delete(&name("a")).expect("deleted");
    let report = world.gc();
    assert_eq!((report.file_count, report.file_len), (4, 24 << 20));
    assert!(report.before_len - report.after_len > 20 << 20, "{report:?}");
    assert!(report.after_len < 12 << 20, "{report:?}");
    world.check();
}
