//! A repository that is filled from elsewhere serves on what came, and nothing else.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use mega_storage::{
    ChunkSource, ChunkSpan, ChunkTake, Content, FileId, Held, ManifestPage, Pointer, ReadStore,
    ReadThrough, ReadThroughOptions, Repo, RepoName, SourceResult, Sources, Store, Urgency,
    Visibility,
};

use super::*;
use crate::swarm::identity::Identity;
use crate::swarm::vouch;
use crate::swarm::wire::{Priority, Reply, RepoKey, Request};

/// A store elsewhere, whose one repository is called `open`; who signs what it tells.
struct Elsewhere(Store, Option<Identity>);

impl Elsewhere {
    fn repo(&self) -> Repo {
        self.0.repos().get(&RepoName::new("open").expect("a name")).expect("there")
    }
}

impl ChunkSource for Elsewhere {
    fn name(&self) -> String {
        "elsewhere".to_owned()
    }

    fn files(&self, files: &[Pointer]) -> SourceResult<Vec<Option<u64>>> {
        Ok(files.iter().map(|pointer| Some(pointer.len)).collect())
    }

    fn manifest(&self, file: &FileId, offset: u64) -> SourceResult<Option<ManifestPage>> {
        let held = self.0.held_file(self.repo().id, file).expect("read");
        let mut page = held.and_then(|held| held.manifest(offset, 100).expect("read"));
        if let (Some(page), Some(identity)) = (&mut page, &self.1) {
            vouch::sign(identity, file, page);
        }
        Ok(page)
    }

    fn chunks(
        &self,
        file: &FileId,
        spans: &[ChunkSpan],
        _: Urgency,
        take: &mut ChunkTake<'_>,
    ) -> SourceResult<()> {
        let held = self.0.held_file(self.repo().id, file).expect("read").expect("there");
        for span in spans {
            let Some(stored) = held.chunk(span).expect("read") else { continue };
            if take(span, mega_storage::ChunkBytes::Stored(stored)) == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }
}

/// Reads a part of a file of `there` in a partial repository of `here`. What was fetched goes on
/// being looked after as long as the reader is there.
fn read(here: &Scene, repo: &Repo, there: &Scene, file: FileId, part: (u64, usize)) -> ReadThrough {
    read_from(here, repo, there, file, part, None)
}

/// As [`read`], with a source whose pages are signed.
fn read_from(
    here: &Scene,
    repo: &Repo,
    there: &Scene,
    file: FileId,
    (offset, len): (u64, usize),
    signer: Option<Identity>,
) -> ReadThrough {
    let chunks: Vec<Arc<dyn ChunkSource>> = vec![Arc::new(Elsewhere(there.store.clone(), signer))];
    let sources = Sources { objects: Vec::new(), chunks };
    let options = ReadThroughOptions { rest: Duration::ZERO, ..ReadThroughOptions::default() };
    let reader = ReadThrough::new(&here.store, repo, &sources, options).expect("opened");
    let mut out = vec![0; len];
    let count = reader.read_at(&Content::File(file), offset, &mut out).expect("read");
    assert_eq!(count, len);
    assert_eq!(out, there.files["open"].data[usize::try_from(offset).expect("small")..][..len]);
    reader
}

#[test]
fn chunks_that_came_are_served_before_the_file_is_whole() {
    let (here, there) = (Scene::new(), Scene::with_seed(100));
    let content = &there.files["open"];
    let (file, span) = (content.file, content.spans[2]);
    let name = RepoName::new("parts").expect("a name");
    let repo = here.store.repos().create_partial(&name, "p2p://there/repo/open").expect("made");
    here.table.0.lock().insert(key(7), repo.id);
    drop(read(&here, &repo, &there, file, (span.offset, 10)));
    let ask = |request: Request| here.ask(&stranger(), &request);
    let spans = content.spans.clone();
    let questions = |repo: RepoKey| {
        let spans = spans.clone();
        [
            Request::Have { repo, file },
            Request::Chunks { repo, file, priority: Priority::Soon, spans },
            Request::Manifest { repo, file, offset: 0, publisher: there.publisher() },
            Request::Files { repo, files: vec![file] },
        ]
    };
    for question in questions(key(7)).into_iter().chain(questions(RepoKey::ANY)) {
        assert_eq!(ask(question), [Reply::NotFound], "it is private");
    }
    // Served on, it is no more than what it is a copy of: nothing is told to who does not name it.
    here.table.1.lock().push(repo.id);
    let [have, chunks, ..] = questions(key(7));
    assert!(matches!(ask(have)[..], [Reply::Have { held: Held::Runs(_), .. }]));
    assert!(matches!(ask(chunks)[..], [Reply::Chunk { index: 2, .. }, Reply::End { .. }]));
    for question in questions(RepoKey::ANY) {
        assert_eq!(ask(question), [Reply::NotFound], "it is not this store's to show");
    }
    here.table.1.lock().clear();
    assert_eq!(ask(questions(key(7))[0].clone()), [Reply::NotFound], "it is withdrawn");
    here.show("parts", Visibility::Public);
    for repo in [key(7), RepoKey::ANY] {
        let [have, chunks, manifest, files] = questions(repo);
        let replies = ask(have);
        let [Reply::Have { len: 500_000, held: Held::Runs(runs) }] = &replies[..] else {
            panic!("{replies:?}")
        };
        assert_eq!(runs.len(), 1);
        assert_eq!((runs[0].offset, runs[0].len), (span.offset, span.chunk.len.into()));
        let replies = ask(chunks);
        let [Reply::Chunk { index: 2, .. }, Reply::End { absent }] = &replies[..] else {
            panic!("{replies:?}")
        };
        assert_eq!(absent.len(), content.spans.len() - 1);
        assert_eq!((ask(manifest), ask(files)), (vec![Reply::NotFound], vec![Reply::NotFound]));
    }
    // All of it: it is a file like any other.
    let _reader = read(&here, &repo, &there, file, (0, 500_000));
    let [have, chunks, manifest, files] = questions(key(7));
    assert_eq!(ask(have), [Reply::Have { len: 500_000, held: Held::All }]);
    assert_eq!(ask(chunks).len(), content.spans.len() + 1);
    while ask(files.clone()) == [Reply::NotFound] {
        // The threads that fetch make a file of it after the last chunk was read.
        std::thread::yield_now();
    }
    assert_eq!(ask(files), [Reply::Files(vec![Some(500_000)])]);
    assert_eq!(ask(manifest), [Reply::NotFound], "it is proven here, and nobody signed it");
}

#[test]
fn a_source_that_knows_hashes_learns_and_gets_nothing_by_them() {
    let (here, there) = (Scene::new(), Scene::with_seed(100));
    // The private repository here has the file; the attacker, elsewhere, its manifest.
    let content = &there.files["open"];
    let secret = here.add_file(&here.get("secret"), content.data.clone());
    assert_eq!((secret.file, &secret.spans), (content.file, &content.spans));
    let name = RepoName::new("parts").expect("a name");
    let repo = here.store.repos().create_partial(&name, "p2p://there/repo/open").expect("made");
    here.table.0.lock().insert(key(7), repo.id);
    here.show("parts", Visibility::Public);
    // Somebody here reads a byte of it: the chunk is at hand, and does not come.
    let _reader = read(&here, &repo, &there, content.file, (content.spans[2].offset, 10));
    for repo in [key(7), RepoKey::ANY] {
        let (file, spans) = (content.file, content.spans.clone());
        let have = here.ask(&stranger(), &Request::Have { repo, file });
        assert_eq!(have, [Reply::Have { len: 500_000, held: Held::None }]);
        let chunks = Request::Chunks { repo, file, priority: Priority::Now, spans };
        let absent = (0..).take(content.spans.len()).collect();
        assert_eq!(here.ask(&stranger(), &chunks), [Reply::End { absent }]);
    }
}

#[test]
fn what_its_publisher_signed_is_told_on_with_the_signature_and_nothing_else() {
    let (here, there) = (Scene::new(), Scene::with_seed(100));
    let (content, publisher) = (&there.files["open"], there.table.2.peer_id());
    let (file, span) = (content.file, content.spans[2]);
    let copy = |number: u8, name: &str| {
        let name = RepoName::new(name).expect("a name");
        let repo = here.store.repos().create_partial(&name, "p2p://there/repo/open").expect("made");
        here.table.0.lock().insert(key(number), repo.id);
        here.table.1.lock().push(repo.id);
        repo
    };
    let ask = |number: u8, publisher| {
        let request = Request::Manifest { repo: key(number), file, offset: 70_000, publisher };
        here.ask(&stranger(), &request)
    };
    let (repo, other) = (copy(7, "parts"), copy(8, "others"));
    let part = (span.offset, 10);
    let signer = Some(there.table.2.clone());
    let reader = read_from(&here, &repo, &there, file, part, signer.clone());
    let is_told = || {
        let replies = ask(7, there.publisher());
        let [Reply::Manifest(page)] = &replies[..] else { panic!("{replies:?}") };
        assert_eq!(page.spans, content.spans);
        assert!(vouch::is_vouched_for(&publisher, &file, page));
        assert_eq!(ask(7, here.publisher()), [Reply::NotFound], "this store does not vouch for it");
        assert_eq!(ask(8, there.publisher()), [Reply::NotFound], "it was told to another one");
    };
    is_told();
    // What came with no good signature is not passed on.
    let forger = Some(Identity::from_secret([200; 32]));
    drop(read_from(&here, &other, &there, file, part, forger));
    is_told();
    here.table.1.lock().clear();
    assert_eq!(ask(7, there.publisher()), [Reply::NotFound], "it is private again");
    here.table.1.lock().push(repo.id);
    drop(reader);
    // Whole, and then removed again: what was signed stays so.
    let reader = read_from(&here, &repo, &there, file, (0, 500_000), signer);
    let is_whole = || here.store.files().has(repo.id, &file).expect("read");
    while !is_whole() {
        std::thread::yield_now();
    }
    is_told();
    drop(reader);
    here.store.set_cache_limit(Some(0)).expect("set");
    while is_whole() {
        here.store.evict(&mega_storage::NoProgress).expect("evicted");
        std::thread::yield_now();
    }
    is_told();
    here.store.repos().delete(&repo.name).expect("deleted");
    assert_eq!(ask(7, there.publisher()), [Reply::NotFound]);
}
