//! Sound copies from a second store in the place of what is damaged.

use std::io::Read;
use std::sync::Arc;

use super::*;
use crate::object::ObjectHeader;
use crate::read_through::Sources;
use crate::source::{ObjectSource, ObjectWant, SourceError, SourceResult};

/// A second store with the same content, as a source.
fn source(scene: &Scene) -> MendSource {
    let store = Arc::new(StoreSource::new(scene.store().clone(), "second".to_owned()));
    let sources = Sources { objects: vec![store.clone()], chunks: vec![store] };
    MendSource { name: "second".to_owned(), repo: None, sources }
}

/// Verifies, mends, and returns what is open; all else is sound then.
fn mend(scene: &Scene, sources: &[MendSource]) -> Vec<String> {
    let mut report = scene.verify();
    assert!(!report.damages.is_empty(), "there is something to mend");
    scene.store().mend(&mut report, sources, &NoProgress).expect("mended");
    let open: Vec<Damage> =
        report.damages.iter().filter(|d| !matches!(d.mend, Mend::Done(_))).cloned().collect();
    assert_eq!(open.len() as u64, report.open_count());
    let left = scene.verify().damages;
    let names = |damages: &[Damage]| damages.iter().map(|d| d.what.to_string()).collect();
    let (open, left): (Vec<String>, Vec<String>) = (names(&open), names(&left));
    assert_eq!(open, left);
    left
}

#[test]
fn everything_that_has_a_hash_is_mended_from_a_second_store() {
    let (scene, second) = (Scene::new(), Scene::new());
    let sources = [source(&second)];
    let of = |id: &str| scene.ids[id].as_bytes().to_vec();
    let chunk = |index: usize| scene.chunks[index].as_bytes().to_vec();
    let file = scene.file;
    // Each by itself, then all at once.
    let damages: Vec<(Family, Vec<u8>, bool)> = vec![
        (Family::Object, of("text"), false),
        (Family::Object, of("old"), true),
        (Family::Object, of("root"), false),
        (Family::ObjectPart, scene.part_key(), true),
        (Family::Object, of("pointer"), true),
        (Family::ObjectPointer, of("pointer"), true),
        (Family::Chunk, chunk(0), false),
        (Family::Chunk, chunk(1), true),
        (Family::ChunkMeta, chunk(2), true),
        (Family::FileSegment, keys::file_segment(&file, 0).to_vec(), true),
        (Family::File, file.as_bytes().to_vec(), true),
        (Family::FileRepo, keys::file_repo(&file, scene.repo.id).to_vec(), true),
    ];
    for (family, key, is_removed) in &damages {
        match is_removed {
            true => scene.put(*family, key, None),
            false => scene.flip(*family, key),
        }
        assert_eq!(mend(&scene, &sources), [""; 0], "'{}' {key:?}", family.name());
        scene.assert_sound();
    }
    for (family, key, _) in &damages {
        if scene.row(*family, key).is_some() {
            scene.put(*family, key, None);
        }
    }
    assert_eq!(mend(&scene, &sources), [""; 0]);
    scene.assert_sound();
}

#[test]
fn what_no_source_has_is_listed_and_stays_as_it_is() {
    let scene = Scene::new();
    let key = scene.ids["text"].as_bytes();
    scene.flip(Family::Object, key);
    let was = scene.row(Family::Object, key);
    let text = format!("object {}", scene.ids["text"]);
    assert_eq!(mend(&scene, &[]), std::slice::from_ref(&text));
    let empty = World::new();
    let store = Arc::new(StoreSource::new(empty.store.clone(), "empty".to_owned()));
    let sources = Sources { objects: vec![store.clone()], chunks: vec![store] };
    let sources = [MendSource { name: "empty".to_owned(), repo: None, sources }];
    assert_eq!(mend(&scene, &sources), [text]);
    assert_eq!(scene.row(Family::Object, key), was);
    // What only needs what is here needs no source.
    scene.put(Family::Object, key, None);
    scene.put(Family::ChunkMeta, scene.chunks[0].as_bytes(), None);
    scene.put(Family::ObjectPointer, scene.ids["pointer"].as_bytes(), None);
    assert_eq!(mend(&scene, &[]).len(), 1);
}

#[test]
fn a_source_of_another_repository_is_not_asked_and_a_liar_is_not_believed() {
    /// Sends an object that nobody asked for.
    struct Liar;
    impl ObjectSource for Liar {
        fn name(&self) -> String {
            "liar".to_owned()
        }
        fn headers(&self, _ids: &[ObjectId]) -> SourceResult<Vec<Option<ObjectHeader>>> {
            Err(SourceError::Unsupported { what: "lengths" })
        }
        fn objects<'a>(
            &'a self,
            _want: &ObjectWant<'_>,
        ) -> SourceResult<Option<Box<dyn Read + Send + 'a>>> {
            let mut objects = Objects::default();
            objects.blob(b"something else\n");
            Ok(Some(Box::new(std::io::Cursor::new(objects.pack()))))
        }
    }
    let (scene, second) = (Scene::new(), Scene::new());
    scene.flip(Family::Object, scene.ids["text"].as_bytes());
    let sources = Sources { objects: vec![Arc::new(Liar)], chunks: Vec::new() };
    let liar = MendSource { name: "liar".to_owned(), repo: None, sources };
    assert_eq!(mend(&scene, std::slice::from_ref(&liar)).len(), 1);
    let elsewhere = MendSource { repo: Some("other".to_owned()), ..source(&second) };
    assert_eq!(mend(&scene, &[elsewhere]).len(), 1);
    let here = MendSource { repo: Some("team/model".to_owned()), ..source(&second) };
    assert_eq!(mend(&scene, &[liar, here]), [""; 0]);
}

#[test]
fn a_repository_that_was_mended_is_read_as_before() {
    let (scene, second) = (Scene::new(), Scene::new());
    let store = scene.store();
    let read = |id: &str| store.objects().read_verified(&scene.ids[id]).map(|o| o.map(|o| o.data));
    let text = read("text").expect("read");
    // What was read and found damaged is not what is remembered.
    scene.flip(Family::Object, scene.ids["text"].as_bytes());
    store.objects().forget_cached(&scene.ids["text"]);
    assert!(read("text").is_err());
    let head = scene.file.as_bytes();
    scene.put(Family::File, head, Some(&[9; 40]));
    mend(&scene, &[source(&second)]);
    assert_eq!(read("text").expect("read"), text);
    let mut content = Vec::new();
    store.files().reader(&scene.file).expect("there").read_to_end(&mut content).expect("read");
    assert_eq!(crate::gc::tests::file_id(&content), scene.file);
}
