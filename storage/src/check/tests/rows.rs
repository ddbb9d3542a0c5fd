//! Rows flipped and removed, family by family.

use super::*;
use crate::manifest::chunk_ids;

/// One kind of damage: a family, a key, what becomes of the row, what verify has to say.
struct Case {
    family: Family,
    key: Vec<u8>,
    value: Option<Vec<u8>>,
    said: Vec<String>,
}

impl Case {
    #[track_caller]
    fn run(&self, scene: &Scene) {
        let was = scene.row(self.family, &self.key);
        scene.put(self.family, &self.key, self.value.as_deref());
        // What is cached is what was read before: the rows count.
        let found = scene.damages();
        let family = self.family.name();
        assert_eq!(found, self.said, "'{family}' {:?} -> {:?}", self.key, self.value);
        scene.put(self.family, &self.key, was.as_deref());
        assert_eq!(scene.damages(), [""; 0], "as it was: '{family}' {:?}", self.key);
    }
}

fn flipped(scene: &Scene, family: Family, key: &[u8]) -> Option<Vec<u8>> {
    let mut row = scene.row(family, key).expect("there");
    let middle = row.len() / 2;
    row[middle] ^= 0x10;
    Some(row)
}

#[test]
fn a_sound_store_is_found_sound_and_counted() {
    let scene = Scene::new();
    scene.assert_sound();
    let report = scene.verify();
    assert_eq!(report.object_count, 9);
    assert_eq!((report.file_count, report.chunk_count), (1, scene.chunks.len() as u64));
    assert!(report.read_len > (3 << 20) + 400_000 && !report.is_resumed, "{report:?}");
    let report = scene.store().fsck(&scene.repo, &NoProgress).expect("checked");
    assert_eq!((report.ref_count, report.object_count, report.file_count), (1, 9, 1));
}

#[test]
fn objects_with_other_rows_or_none_are_named() {
    let scene = Scene::new();
    let places = [
        ("text", "team/model:refs/heads/main:sub/text"),
        ("dir", "team/model:refs/heads/main:sub"),
        ("root", "team/model:refs/heads/main:"),
        ("new", "team/model:refs/heads/main"),
        ("was", ""),
        ("old", "team/model:refs/heads/main"),
    ];
    let other = scene.row(Family::Object, scene.ids["pointer"].as_bytes());
    for (id, place) in places {
        let oid = scene.ids[id];
        let key = oid.as_bytes().to_vec();
        let place = match id {
            "was" => format!("team/model:{}:gone.txt", scene.ids["old"]),
            _ => place.to_owned(),
        };
        let said = vec![format!("object {oid} {place}")];
        for value in [flipped(&scene, Family::Object, &key), None, Some(Vec::new()), other.clone()]
        {
            let said = said.clone();
            Case { family: Family::Object, key: key.clone(), value, said }.run(&scene);
        }
    }
}

#[test]
fn parts_of_large_objects_are_read() {
    let scene = Scene::new();
    let key = scene.part_key();
    let said = format!("object {} team/model:refs/heads/main:sub/large.bin", scene.ids["large"]);
    for value in [flipped(&scene, Family::ObjectPart, &key), None] {
        let said = vec![said.clone()];
        Case { family: Family::ObjectPart, key: key.clone(), value, said }.run(&scene);
    }
}

#[test]
fn what_is_noted_of_pointers_is_compared_with_the_blobs() {
    let scene = Scene::new();
    let (pointer, text) = (scene.ids["pointer"], scene.ids["text"]);
    let key = pointer.as_bytes().to_vec();
    let row = scene.row(Family::ObjectPointer, &key);
    let said = |id, path| vec![format!("pointer {id} team/model:refs/heads/main:{path}")];
    for value in [flipped(&scene, Family::ObjectPointer, &key), None] {
        let (key, said) = (key.clone(), said(pointer, "model.bin"));
        Case { family: Family::ObjectPointer, key, value, said }.run(&scene);
    }
    let (key, said) = (text.as_bytes().to_vec(), said(text, "sub/text"));
    Case { family: Family::ObjectPointer, key, value: row, said }.run(&scene);
}

#[test]
fn chunks_and_what_is_noted_of_them_are_named_with_the_path() {
    let scene = Scene::new();
    assert!(scene.chunks.len() > 2);
    let chunk = scene.chunks[1];
    let key = chunk.as_bytes().to_vec();
    let said = vec![format!("chunk {chunk} team/model:refs/heads/main:model.bin")];
    let other = scene.row(Family::Chunk, scene.chunks[0].as_bytes());
    for value in [flipped(&scene, Family::Chunk, &key), None, other, Some(Vec::new())] {
        let (key, said) = (key.clone(), said.clone());
        Case { family: Family::Chunk, key, value, said }.run(&scene);
    }
    let mut other_len = scene.row(Family::ChunkMeta, &key).expect("there");
    other_len[3] ^= 1;
    let mut other_stored = scene.row(Family::ChunkMeta, &key).expect("there");
    other_stored[7] ^= 1;
    for value in [None, Some(other_len), Some(other_stored), Some(vec![1])] {
        let (key, said) = (key.clone(), said.clone());
        Case { family: Family::ChunkMeta, key, value, said }.run(&scene);
    }
}

#[test]
fn lists_of_chunks_are_held_to_the_file_s_hash() {
    let scene = Scene::new();
    let file = scene.file;
    let said = vec![format!("file {file} team/model:refs/heads/main:model.bin")];
    let head = file.as_bytes().to_vec();
    let mut other_len = scene.row(Family::File, &head).expect("there");
    other_len[8] ^= 1;
    for value in [Some(other_len), Some(vec![9; 40]), None] {
        let (key, said) = (head.clone(), said.clone());
        Case { family: Family::File, key, value, said }.run(&scene);
    }
    let segment = keys::file_segment(&file, 0).to_vec();
    let row = scene.row(Family::FileSegment, &segment).expect("there");
    // Two chunks in each other's place: every length and every chunk is right.
    let swapped = [&row[36..72], &row[..36], &row[72..]].concat();
    assert_eq!(chunk_ids(&swapped).next(), Some(scene.chunks[1]));
    for value in [Some(swapped), Some(row[36..].to_vec()), None] {
        let (key, said) = (segment.clone(), said.clone());
        Case { family: Family::FileSegment, key, value, said }.run(&scene);
    }
}

#[test]
fn rights_memberships_and_the_rest_are_looked_at() {
    let scene = Scene::new();
    let (repo, file) = (scene.repo.id, scene.file);
    let back = keys::file_repo(&file, repo).to_vec();
    let place = "team/model:refs/heads/main:model.bin";
    let said = vec![format!("right of repository {repo} to file {file} {place}")];
    Case { family: Family::FileRepo, key: back, value: None, said }.run(&scene);
    let row = |family: Family, key: &[u8]| {
        vec![format!("row of '{}' {}", family.name(), super::super::finding::hex(key))]
    };
    let main = RefRow(b"refs/heads/main").key(repo);
    let cases: Vec<(Family, Vec<u8>, Vec<u8>)> = vec![
        (Family::RepoObject, keys::repo_object(repo, &scene.ids["text"]).to_vec(), vec![1]),
        (Family::RepoFile, keys::repo_file(repo, &file).to_vec(), vec![1, 2]),
        (Family::ChunkFile, keys::chunk_file(&scene.chunks[0], &file).to_vec(), vec![1]),
        (Family::Ref, main, vec![1, 2, 3]),
        (Family::Repo, keys::repo_name(&scene.repo.name), vec![0]),
        (Family::Store, b"repo_next".to_vec(), vec![0]),
        (Family::Lease, b"x".to_vec(), vec![0]),
        (Family::Outbox, 1u64.to_be_bytes().to_vec(), vec![9]),
        (Family::Event, b"x".to_vec(), vec![0]),
        (Family::Partial, b"x".to_vec(), vec![0]),
        (Family::Swarm, b"x".to_vec(), vec![0]),
        (Family::Gone, b"x".to_vec(), vec![0]),
    ];
    for (family, key, value) in cases {
        let mut said = row(family, &key);
        if family == Family::Repo {
            // And the record, which the name does not lead to.
            said.push(row(family, &keys::repo_record(repo)).remove(0));
        }
        Case { family, key, value: Some(value), said }.run(&scene);
    }
}

/// A reference's name.
struct RefRow(&'static [u8]);

impl RefRow {
    fn key(&self, repo: crate::RepoId) -> Vec<u8> {
        keys::repo_prefixed(repo, self.0)
    }
}

#[test]
fn what_another_object_is_made_from_is_named_with_it() {
    let scene = Scene::new();
    let world = &scene.world;
    let repo = world.repo("b");
    let base = noise(7, 4_000);
    let mut target = base.clone();
    target.extend_from_slice(b"and more");
    let mut pack = crate::objects::packs_for_tests::PackBuilder::new();
    let base_id = crate::object::hash_object(crate::object::ObjectKind::Blob, &base);
    let target_id = crate::object::hash_object(crate::object::ObjectKind::Blob, &target);
    let (base_id, target_id) = (base_id.expect("no attack"), target_id.expect("no attack"));
    pack.object(crate::object::ObjectKind::Blob, &base);
    let instructions = crate::objects::packs_for_tests::delta(&base, &target);
    pack.ref_delta(&base_id, &instructions);
    world.bring(repo.id, &pack.finish()).expect("taken");
    scene.assert_sound();
    scene.flip(Family::Object, base_id.as_bytes());
    let report = scene.verify();
    let reasons: BTreeMap<String, &str> =
        report.damages.iter().map(|d| (d.what.to_string(), d.reason.as_str())).collect();
    assert_eq!(reasons.len(), 2, "{report:?}");
    let of_target = reasons[&format!("object {target_id}")];
    assert!(of_target.contains(&base_id.to_string()), "{of_target}");
}
