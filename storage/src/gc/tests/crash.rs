//! A crash at each point: nothing that lives is lost, and the next run takes all that is dead.

use std::collections::BTreeMap;

use super::*;

/// Something living and something dead of each kind.
fn scene(world: &World) -> (Objects, FileId, FileId) {
    let repo = world.repo("a");
    world.repo("empty");
    let (kept, _) = world.push_file(repo.id, 1, "main");
    let (gone, _) = world.push_file(repo.id, 2, "topic");
    // A living delta of what goes, and a dead one of what lives.
    let base = noise(7, 4_000);
    let target = [&base[..], b"more"].concat();
    let mut living = Objects::default();
    let tip = living.simple(&target, &[]);
    let mut dying = Objects::default();
    let old = dying.simple(&base, &[]);
    let mut pack = PackBuilder::new();
    let at = pack.blob(&base);
    pack.ofs_delta(at, &delta(&base, &target));
    for (kind, data) in living.0.iter().chain(&dying.0).filter(|o| o.0 != ObjectKind::Blob) {
        pack.object(*kind, data);
    }
    drop(world.bring(repo.id, &pack.finish()).expect("taken"));
    world.set(repo.id, "delta", Some(tip)).expect("set");
    world.set(repo.id, "old", Some(old)).expect("set");
    world.set(repo.id, "old", None).expect("deleted");
    world.set(repo.id, "topic", None).expect("deleted");
    let other = world.repo("b");
    world.push_file(other.id, 3, "main");
    world.store.repos().delete(&name("b")).expect("deleted");
    (living, kept, gone)
}

fn end(world: &World) -> BTreeMap<&'static str, usize> {
    Family::ALL
        .into_iter()
        .filter(|family| !matches!(family, Family::Outbox | Family::Store | Family::Repo))
        .map(|family| (family.name(), world.count(family)))
        .collect()
}

#[test]
fn a_crash_at_any_point_loses_nothing_and_the_next_run_finishes() {
    let world = World::new();
    let (living, kept, gone) = scene(&world);
    let images: RefCell<Vec<(Point, World)>> = RefCell::default();
    let watch = |point: Point| {
        images.borrow_mut().push((point, world.crashed()));
        Ok(())
    };
    world.store.gc_watched(&NOW, &NoProgress, &watch).expect("collected");
    world.check();
    let expected = end(&world);
    assert!(world.store.files().head(&gone).expect("read").is_none());
    let images = images.into_inner();
    let points: std::collections::HashSet<Point> = images.iter().map(|(point, _)| *point).collect();
    assert_eq!(points.len(), 16, "every point is met: {points:?}");
    for (point, image) in images {
        image.check();
        image.gc();
        assert!(image.has_all(&living.ids()), "{point:?}");
        assert!(image.store.files().head(&kept).expect("read").is_some(), "{point:?}");
        assert_eq!(end(&image), expected, "{point:?}");
    }
}

#[test]
fn a_run_that_is_ended_at_any_point_loses_nothing_and_the_next_one_finishes() {
    let world = World::new();
    scene(&world);
    let mut count = 0;
    loop {
        let image = world.crashed();
        let left = std::cell::Cell::new(count);
        let watch = |_: Point| match left.get() {
            0 => Err(StoreError::Interrupted),
            more => {
                left.set(more - 1);
                Ok(())
            }
        };
        let ended = image.store.gc_watched(&NOW, &NoProgress, &watch);
        image.check();
        match ended {
            Err(StoreError::Interrupted) => count += 1,
            Ok(_) => break,
            Err(error) => panic!("{error}"),
        }
        // Others are not held up by what was cut off.
        let repo = image.store.repos().get(&name("a")).expect("there");
        let mut objects = Objects::default();
        let tip = objects.simple(b"after", &[]);
        image.push(repo.id, &objects, "after", tip);
        image.gc();
        assert!(image.has_all(&objects.ids()));
    }
    assert!(count >= 16, "{count}");
}
