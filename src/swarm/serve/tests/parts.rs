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
use crate::swarm::wire::{Priority, Reply, RepoKey, Request};

/// A store elsewhere, whose one repository is called `open`.
struct Elsewhere(Store);

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
        Ok(held.and_then(|held| held.manifest(offset, 100).expect("read")))
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
fn read(
    here: &Scene,
    repo: &Repo,
    there: &Scene,
    file: FileId,
    (offset, len): (u64, usize),
) -> ReadThrough {
    let chunks: Vec<Arc<dyn ChunkSource>> = vec![Arc::new(Elsewhere(there.store.clone()))];
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
            Request::Manifest { repo, file, offset: 0 },
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
    assert!(matches!(ask(manifest)[..], [Reply::Manifest(_)]));
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
