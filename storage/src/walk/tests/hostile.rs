//! Objects that are damaged, missing, private to others or nested too deep.

use super::*;
use crate::StoreError;
use crate::object::hash_object;
use crate::objects::deflate_for_tests as deflate;
use crate::testing::try_git;

impl World {
    /// Takes loose objects in as they are, without git's opinion.
    fn put(&self, repo: RepoId, objects: &[(ObjectKind, Vec<u8>)]) -> Vec<ObjectId> {
        let mut pack = b"PACK\0\0\0\x02".to_vec();
        pack.extend((objects.len() as u32).to_be_bytes());
        for (kind, data) in objects {
            let len = data.len();
            assert!(len < 1 << 11);
            let first = kind.pack_type() << 4 | (len & 15) as u8;
            pack.extend([first | 0x80, (len >> 4) as u8]);
            pack.extend(deflate(data));
        }
        let mut hasher = gix_hash::hasher(gix_hash::Kind::Sha1);
        hasher.update(&pack);
        pack.extend(hasher.try_finalize().expect("no attack").as_slice());
        let options = IngestOptions::default();
        let mut input = &pack[..];
        let input = PackInput::Stream(&mut input);
        let report = self.store.objects().ingest_pack(repo, input, &options, &NoProgress);
        report.expect("taken in");
        objects.iter().map(|(kind, data)| hash_object(*kind, data).expect("no attack")).collect()
    }

    fn fails(&self, want: ObjectId) -> StoreError {
        let shallow = Shallow::default();
        self.try_reach(&[want], &[], Filter::None, shallow).expect_err("not walkable")
    }
}

fn tree(mode: &str, name: &str, id: &ObjectId) -> Vec<u8> {
    [mode.as_bytes(), b" ", name.as_bytes(), b"\0", id.as_bytes()].concat()
}

#[test]
fn an_object_of_another_repository_is_missing() {
    let world = World::empty();
    let blob = world.put(world.other, &[(ObjectKind::Blob, b"private".to_vec())])[0];
    let tree = world.put(world.repo, &[(ObjectKind::Tree, tree("100644", "x", &blob))])[0];
    assert!(matches!(world.fails(tree), StoreError::MissingObject { id } if id == blob));
    assert!(matches!(world.fails(blob), StoreError::MissingObject { id } if id == blob));
    // As a have it is passed over: nothing can be learned from it.
    let got = world.reach(&[tree_alone(&world)], &[blob], Filter::None);
    assert_eq!(got.len(), 1);
    let error = world.store.closure(world.repo, &[tree], &NoProgress).expect_err("incomplete");
    assert!(matches!(error, StoreError::MissingObject { .. }));
}

fn tree_alone(world: &World) -> ObjectId {
    world.put(world.repo, &[(ObjectKind::Tree, Vec::new())])[0]
}

#[test]
fn directories_nested_too_deep_are_an_error_and_the_limit_itself_is_not() {
    let world = World::empty();
    let mut objects = vec![(ObjectKind::Blob, b"bottom".to_vec())];
    let mut below = hash_object(ObjectKind::Blob, b"bottom").expect("no attack");
    let mut ids = Vec::new();
    for level in 0..4_100 {
        let data = tree(if level == 0 { "100644" } else { "40000" }, "d", &below);
        below = hash_object(ObjectKind::Tree, &data).expect("no attack");
        ids.push(below);
        objects.push((ObjectKind::Tree, data));
    }
    world.put(world.repo, &objects);
    let commit = |id: &ObjectId| {
        let who = "a <a@example.org> 1 +0000";
        let text = format!("tree {id}\nauthor {who}\ncommitter {who}\n\nm\n");
        world.put(world.repo, &[(ObjectKind::Commit, text.into_bytes())])[0]
    };
    assert!(matches!(world.fails(commit(&ids[4_099])), StoreError::Limit { .. }));
    assert!(matches!(world.fails(commit(&ids[4_096])), StoreError::Limit { .. }));
    let got = world.reach(&[commit(&ids[4_095])], &[], Filter::None);
    assert_eq!(got.len(), 4_098);
    let shallow = Shallow::default();
    let haves = [ids[4_099]];
    let request = world.try_reach(&[ids[0]], &haves, Filter::None, shallow);
    assert!(matches!(request, Err(StoreError::Limit { .. })), "as a have too");
}

#[test]
fn kinds_that_lie_are_errors() {
    let world = World::empty();
    let blob = world.put(world.repo, &[(ObjectKind::Blob, b"no tree".to_vec())])[0];
    let wrong = world.put(world.repo, &[(ObjectKind::Tree, tree("40000", "x", &blob))])[0];
    assert!(matches!(world.fails(wrong), StoreError::WrongKind { .. }));
    let text = format!("tree {blob}\nauthor a <a@b> 1 +0000\ncommitter a <a@b> 1 +0000\n\nm\n");
    let commit = world.put(world.repo, &[(ObjectKind::Commit, text.into_bytes())])[0];
    assert!(matches!(world.fails(commit), StoreError::WrongKind { .. }));
    let nonsense = world.put(world.repo, &[(ObjectKind::Commit, b"nonsense".to_vec())])[0];
    assert!(matches!(world.fails(nonsense), StoreError::MalformedObject { .. }));
    let cut = world.put(world.repo, &[(ObjectKind::Tree, b"100644 x\0short".to_vec())])[0];
    assert!(matches!(world.fails(cut), StoreError::MalformedObject { .. }));
}

#[test]
fn an_id_that_is_named_as_a_file_and_as_a_directory_is_walked_as_both() {
    let world = World::empty();
    let blob = world.put(world.repo, &[(ObjectKind::Blob, b"x".to_vec())])[0];
    let inner = world.put(world.repo, &[(ObjectKind::Tree, tree("100644", "f", &blob))])[0];
    let both = [tree("100644", "a", &inner), tree("40000", "b", &inner)].concat();
    let outer = world.put(world.repo, &[(ObjectKind::Tree, both)])[0];
    assert_eq!(world.reach(&[outer], &[], Filter::None), Ids::from([blob, inner, outer]));
}

#[test]
fn a_bomb_of_trees_is_walked_once_each() {
    let world = World::empty();
    let mut id = world.put(world.repo, &[(ObjectKind::Blob, b"x".to_vec())])[0];
    for level in 0..12 {
        let mode = if level == 0 { "100644" } else { "40000" };
        let data: Vec<u8> = (0..10).flat_map(|n| tree(mode, &format!("d{n}"), &id)).collect();
        id = world.put(world.repo, &[(ObjectKind::Tree, data)])[0];
    }
    assert_eq!(world.reach(&[id], &[], Filter::None).len(), 13);
    assert!(try_git(&world.git, &["--version"], b"").0);
}
