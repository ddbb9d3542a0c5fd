//! What everyone may see, and what nobody may who only knows a hash.

use tempfile::TempDir;

use super::*;
use crate::chunk::samples;
use crate::db::{Durability, Family, keys};
use crate::files::holders::{FILES_TRIED_MAX, RIGHTS_TRIED_MAX};
use crate::name::RepoName;
use crate::progress::NoProgress;
use crate::repos::{Repo, Visibility};
use crate::store::StoreOptions;

struct World {
    _dir: TempDir,
    store: Store,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::create(&dir.path().join("s"), &StoreOptions::default()).expect("made");
        Self { _dir: dir, store }
    }

    fn repo(&self, text: &str, visibility: Visibility) -> Repo {
        self.store.repos().create(&name(text), visibility).expect("made")
    }

    fn set(&self, text: &str, visibility: Visibility) {
        self.store.repos().set_visibility(&name(text), visibility).expect("set");
    }

    fn add(&self, repo: &Repo, bytes: &[u8]) -> FileId {
        let files = self.store.files();
        files.ingest(Some(repo.id), &mut { bytes }, None, &NoProgress).expect("taken in").id
    }

    fn chunks(&self, file: &FileId) -> Vec<ChunkRef> {
        let spans = self.store.files().chunk_spans(file, 0, u64::MAX).expect("there");
        spans.into_iter().map(|span| span.chunk).collect()
    }

    fn found(&self, chunk: &ChunkRef) -> Option<FileId> {
        let found = self.store.public_chunk(&chunk.id).expect("read");
        found.map(|(file, found)| {
            assert_eq!(found, *chunk);
            file
        })
    }

    fn is_public(&self, file: &FileId) -> bool {
        self.store.is_public_file(file).expect("read")
    }

    fn put(&self, family: Family, key: &[u8], value: &[u8]) {
        let mut batch = self.store.db().batch();
        batch.put(family, key, value);
        self.store.db().commit(batch, Durability::Logged).expect("written");
    }
}

fn name(text: &str) -> RepoName {
    RepoName::new(text).expect("a name")
}

#[test]
fn an_object_is_everyones_as_long_as_a_public_repository_has_it() {
    let world = World::new();
    let id = ObjectId::from_slice(&[7; 20]).expect("20 bytes");
    let is_public = || world.store.is_public_object(&id).expect("read");
    for number in 0..2 * ASKED_COUNT {
        world.repo(&format!("r{number}"), Visibility::Public);
    }
    let (a, b) = (world.repo("a", Visibility::Private), world.repo("b", Visibility::Mesh));
    assert!(!is_public());
    for repo in [&a, &b] {
        world.put(Family::RepoObject, &keys::repo_object(repo.id, &id), b"");
    }
    assert!(!is_public(), "neither of the two is public");
    world.set("b", Visibility::Public);
    assert!(is_public());
    world.set("a", Visibility::Public);
    world.set("b", Visibility::Private);
    assert!(is_public(), "the other one still is");
    let fork = world.store.repos().fork(&name("a"), &name("c")).expect("forked");
    assert_eq!(fork.visibility, Visibility::Public);
    world.store.repos().delete(&name("a")).expect("deleted");
    assert!(is_public(), "the fork is");
    world.store.repos().delete(&name("c")).expect("deleted");
    assert!(!is_public());
}

#[test]
fn a_chunk_is_everyones_as_long_as_a_public_repository_has_a_file_with_it() {
    let world = World::new();
    let shared = samples::random(600_000, 1);
    let (open, secret) =
        (world.repo("open", Visibility::Public), world.repo("secret", Visibility::Private));
    let hidden = world.add(&secret, &[&shared[..], &samples::random(400_000, 2)].concat());
    let chunks = world.chunks(&hidden);
    assert!(chunks.iter().all(|chunk| world.found(chunk).is_none()), "all is private");
    let shown = world.add(&open, &[&shared[..], &samples::random(400_000, 3)].concat());
    let shown_chunks = world.chunks(&shown);
    for chunk in &chunks {
        let is_shared = shown_chunks.contains(chunk);
        assert_eq!(world.found(chunk), is_shared.then_some(shown));
    }
    let [first, last] = [chunks[0], chunks[chunks.len() - 1]];
    assert!(shown_chunks.contains(&first) && !shown_chunks.contains(&last));
    assert!(world.is_public(&shown) && !world.is_public(&hidden));
    world.set("open", Visibility::Private);
    assert!(shown_chunks.iter().all(|chunk| world.found(chunk).is_none()), "made private");
    assert!(!world.is_public(&shown));
    world.set("secret", Visibility::Public);
    assert_eq!((world.found(&first), world.found(&last)), (Some(hidden), Some(hidden)));
    // Rights go and come without the files.
    assert!(world.store.files().remove(secret.id, &hidden).expect("removed"));
    assert_eq!(world.found(&first), None);
    world.store.files().grant(secret.id, &hidden).expect("given");
    assert_eq!(world.found(&last), Some(hidden));
    world.store.repos().fork(&name("secret"), &name("fork")).expect("forked");
    world.store.repos().delete(&name("secret")).expect("deleted");
    assert_eq!(world.found(&last), Some(hidden), "the fork has a right of its own");
    world.store.repos().delete(&name("fork")).expect("deleted");
    assert_eq!(world.found(&last), None);
    let count = || world.store.db().scan(Family::FileRepo, b"").count();
    assert_eq!(count(), 3, "for the grace");
    let options = crate::GcOptions { grace_s: 0, dry_run: false };
    world.store.gc(&options, &crate::NoProgress).expect("collected");
    // No pointer names the file of the one that is left.
    assert_eq!(count(), 0);
}

#[test]
fn rows_that_lead_nowhere_are_passed_over_up_to_the_limit() {
    let world = World::new();
    let open = world.repo("open", Visibility::Public);
    let file = world.add(&open, &samples::random(300_000, 4));
    let chunk = world.chunks(&file)[0];
    let wrong = world.add(&open, b"a file that does not have the chunk");
    let row = |half: &[u8]| [&keys::chunk_files(&chunk.id)[..], half].concat();
    // A file that has gone, one without the chunk, and one without the segment.
    let gone = |number: usize| [&(number as u64).to_be_bytes()[..], &[0; 8]].concat();
    for number in 0..FILES_TRIED_MAX - 3 {
        world.put(Family::ChunkFile, &row(&gone(number)), &[0; 4]);
    }
    world.put(Family::ChunkFile, &row(&wrong.as_bytes()[..16]), &[0; 4]);
    assert_eq!(world.found(&chunk), Some(file));
    world.put(Family::ChunkFile, &row(&wrong.as_bytes()[..16]), &9u32.to_be_bytes());
    assert_eq!(world.found(&chunk), Some(file));
    for number in FILES_TRIED_MAX - 3..FILES_TRIED_MAX {
        world.put(Family::ChunkFile, &row(&gone(number)), &[0; 4]);
    }
    assert_eq!(world.found(&chunk), None, "so many are tried and no more");
}

#[test]
fn many_private_rights_are_passed_over_up_to_the_limit() {
    let world = World::new();
    // The public one has a number after those of all others.
    let last = u32::try_from(RIGHTS_TRIED_MAX).expect("small") + 10;
    world.put(Family::Store, b"repo_next", &last.to_be_bytes());
    let open = world.repo("open", Visibility::Public);
    let file = world.add(&open, b"shared");
    let chunk = world.chunks(&file)[0];
    for number in 1..last - 10 {
        world.put(Family::FileRepo, &keys::file_repo(&file, RepoId(number)), b"");
    }
    assert_eq!(world.found(&chunk), Some(file));
    world.put(Family::FileRepo, &keys::file_repo(&file, RepoId(last - 1)), b"");
    assert_eq!(world.found(&chunk), None, "so many are looked at and no more");
}

#[test]
fn a_damaged_row_is_named() {
    let world = World::new();
    let chunk = ChunkId::from_bytes([3; 32]);
    world.put(Family::ChunkFile, &[&keys::chunk_files(&chunk)[..], b"short"].concat(), &[0; 4]);
    let error = world.store.public_chunk(&chunk).expect_err("damaged");
    assert!(error.to_string().contains("chunk_file"), "{error}");
}
