//! Bytes that change on the disk, in the database's own files.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::StoreOptions;

/// Files of the database whose names end so.
fn files(store: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(store.join("db")).expect("listed");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("listed").path()).collect();
    files.retain(|path| path.to_string_lossy().ends_with(ending));
    files.sort();
    files
}

/// Changes a bit of a file.
fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).expect("read");
    bytes[at] ^= 0x20;
    fs::write(path, bytes).expect("written");
}

/// A store with many objects, closed.
fn closed() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("s");
    let scene = Scene::new();
    let repo = scene.world.repo("many");
    let mut objects = Objects::default();
    let names: Vec<String> = (0..2_000).map(|number| format!("file{number:05}")).collect();
    let entries: Vec<(&str, ObjectId)> =
        names.iter().map(|name| (name.as_str(), objects.blob(name.repeat(9).as_bytes()))).collect();
    let tree = objects.tree(&entries);
    let tip = objects.commit(tree, &[]);
    scene.world.push(repo.id, &objects, "main", tip);
    scene.store().compact().expect("compacted");
    let from = scene.world.path.clone();
    drop(scene.world.store);
    copy(&from, &path);
    (dir, path)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("listed") {
        let entry = entry.expect("listed");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        match entry.file_type().expect("known").is_dir() {
            true => copy(&from, &to),
            false => drop(fs::copy(&from, &to).expect("copied")),
        }
    }
}

fn verify(path: &Path) -> VerifyReport {
    let store = Store::open(path, &StoreOptions::default()).expect("opened");
    store.verify(&VerifyOptions::default(), &NoProgress).expect("verified")
}

#[test]
fn a_byte_of_any_file_of_values_is_noticed_and_named() {
    let (_dir, path) = closed();
    assert_eq!(verify(&path).damages, []);
    let blobs = files(&path, ".blob");
    assert!(!blobs.is_empty());
    for file in &blobs {
        let len = fs::metadata(file).expect("there").len() as usize;
        for at in [200, len / 2, len - 200] {
            flip(file, at);
            let report = verify(&path);
            let [damage] = &report.damages[..] else { panic!("{at} of {file:?}: {report:?}") };
            assert!(
                matches!(damage.what, DamagedThing::Object(_) | DamagedThing::Chunk(_)),
                "{damage:?}"
            );
            let [of] = &damage.uses[..] else { panic!("{damage:?}") };
            assert_eq!(of.repo.as_deref(), Some("team/model"));
            assert!(of.stands.as_ref().is_some_and(|s| s.path.is_some()), "{damage:?}");
            flip(file, at);
        }
    }
    assert_eq!(verify(&path).damages, []);
}

#[test]
fn a_block_of_keys_that_cannot_be_read_is_named_and_the_rest_is_read() {
    let (_dir, path) = closed();
    let sound = verify(&path);
    let (mut ranges, mut bounded, mut objects) = (0, 0, 0);
    for file in files(&path, ".sst") {
        let len = fs::metadata(&file).expect("there").len() as usize;
        // The first block of rows; and one in the middle of the larger ones.
        let places = if len > 60_000 { vec![12, len / 2] } else { vec![12] };
        for at in places {
            flip(&file, at);
            match Store::open(&path, &StoreOptions::default()) {
                // The store says so at once where what it needs to open is damaged.
                Err(error) => assert!(error.to_string().contains("orruption"), "{error}"),
                Ok(store) => {
                    let report = store.verify(&VerifyOptions::default(), &NoProgress);
                    let report = report.expect("it goes on");
                    assert!(report.is_whole && !report.damages.is_empty(), "{at} of {file:?}");
                    let name = file.file_name().expect("a name").to_string_lossy().into_owned();
                    let is_named = report.damages.iter().any(|d| d.reason.contains(&name));
                    assert!(is_named, "{at} of {name}: {:?}", report.damages);
                    ranges += count(&report, |what| matches!(what, DamagedThing::Range { .. }));
                    bounded += count(&report, |what| {
                        matches!(what, DamagedThing::Range { to: Some(_), .. })
                    });
                    let bad = count(&report, |what| matches!(what, DamagedThing::Object(_)));
                    objects += bad;
                    // A block is some dozen rows of thousands.
                    let lost = sound.object_count - report.object_count;
                    assert!(lost <= 400, "{lost} of {} in {name}", sound.object_count);
                    assert!(bad as u64 >= lost, "{bad} named of {lost} in {name}");
                }
            }
            flip(&file, at);
        }
    }
    assert!(ranges > 5 && bounded > 0 && objects > 5, "{ranges}, {bounded}, {objects}");
    assert_eq!(verify(&path).damages, []);
}

fn count(report: &VerifyReport, is: impl Fn(&DamagedThing) -> bool) -> usize {
    report.damages.iter().filter(|damage| is(&damage.what)).count()
}
