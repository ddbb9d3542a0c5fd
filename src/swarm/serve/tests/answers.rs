//! What each question brings.

use std::ops::ControlFlow;

use mega_storage::{
    ChunkBytes, Held, NoProgress, ObjectHeader, ObjectId, ObjectKind, Progress, RefName, RepoName,
    Unit, Visibility,
};

use super::scene::{Content, noise};
use super::*;
use crate::swarm::vouch::is_vouched_for;
use crate::swarm::wire::{Priority, RefLine, Reply, RepoKey, Request};

fn name(text: &str) -> RefName {
    RefName::new(text.as_bytes()).expect("a name")
}

fn refs(after: Option<&str>, names: &[&str]) -> Request {
    let names = names.iter().map(|text| name(text)).collect();
    Request::Refs { repo: key(1), after: after.map(name), names }
}

fn lines(replies: &[Reply]) -> (Vec<RefLine>, bool) {
    let [Reply::Refs { refs, more }] = replies else { panic!("{replies:?}") };
    (refs.clone(), *more)
}

#[test]
fn a_name_resolves_to_a_record() {
    let scene = Scene::new();
    let resolve = |text: &str| {
        let name = RepoName::new(text).expect("a name");
        scene.ask(&stranger(), &Request::Resolve { name })
    };
    assert_eq!(resolve("open"), [Reply::Record("the record of open".into())]);
    assert_eq!(resolve("none"), [Reply::NotFound]);
}

#[test]
fn references_come_page_by_page_without_hidden_ones() {
    let scene = Scene::new();
    let repo = scene.get("open");
    scene.point(&repo, "refs/internal/x", Some(scene.first));
    scene.point_to(&repo, "refs/heads/alias", "refs/heads/main");
    scene.point_to(&repo, "refs/heads/unborn", "refs/heads/none");
    scene.set("open", "transfer.hideRefs", "refs/internal");
    let ask = |request: &Request| lines(&scene.ask(&stranger(), request));
    let line = |text: &str, id, target: Option<&str>| {
        let (name, target) = (name(text), target.map(name));
        RefLine { name, id, target }
    };
    let (main, last) = (Some("refs/heads/main"), Some(scene.last));
    let all = [
        line("HEAD", last, main),
        line("refs/heads/alias", last, main),
        line("refs/heads/main", last, None),
        line("refs/heads/unborn", None, Some("refs/heads/none")),
    ];
    assert_eq!(ask(&refs(None, &[])), (all.to_vec(), false));
    assert_eq!(ask(&refs(Some("refs/heads/alias"), &[])), (all[2..].to_vec(), false));
    assert_eq!(ask(&refs(Some("refs/heads/unborn"), &[])), (Vec::new(), false));
    let names = ["refs/heads/main", "HEAD", "refs/internal/x", "refs/tags/no", "HEAD"];
    let expected = vec![all[0].clone(), all[2].clone()];
    assert_eq!(ask(&refs(None, &names)), (expected, false));
    assert_eq!(ask(&refs(Some("HEAD"), &names)), (vec![all[2].clone()], false));
}

#[test]
fn a_page_of_references_ends_where_a_frame_does() {
    let scene = Scene::new();
    let repo = scene.get("open");
    let edits = (0..1_100u32).map(|number| mega_storage::RefEdit {
        name: name(&format!("refs/x/{number:04}/{}", "y".repeat(1_000))),
        expect: mega_storage::Expect::Any,
        new: Some(mega_storage::RefTarget::Direct(scene.first)),
    });
    let transaction = mega_storage::RefTransaction { edits: edits.collect() };
    scene.store.refs().apply(repo.id, &transaction).expect("applied");
    // Hidden ones stand in the middle: a page is filled from behind them.
    scene.set("open", "uploadpack.hideRefs", "refs/x/0500");
    let (mut all, mut pages, mut after) = (Vec::new(), 0, None);
    loop {
        let request = Request::Refs { repo: key(1), after, names: Vec::new() };
        let (page, more) = lines(&scene.ask(&stranger(), &request));
        after = page.last().map(|line| line.name.clone());
        all.extend(page);
        pages += 1;
        if !more {
            break;
        }
    }
    assert_eq!((all.len(), pages), (2 + 1_099, 2));
    assert!(all.windows(2).all(|two| two[0].name < two[1].name));
}

#[test]
fn kinds_and_lengths_of_what_is_reached() {
    let scene = Scene::new();
    let ids = vec![scene.last, ObjectId::NULL, scene.root, scene.blobs[2]];
    let header = |kind, len| Some(ObjectHeader { kind, len });
    let commit = scene.store.objects().header(&scene.last).expect("read").expect("there").len;
    let root = scene.store.objects().header(&scene.root).expect("read").expect("there").len;
    let expected = vec![
        header(ObjectKind::Commit, commit),
        None,
        header(ObjectKind::Tree, root),
        header(ObjectKind::Blob, 700_000),
    ];
    let request = Request::Headers { repo: key(1), ids: ids.clone() };
    assert_eq!(scene.ask(&stranger(), &request), [Reply::Headers(expected)]);
    // Pushed back by force: only the first commit's directory is left.
    scene.point(&scene.get("open"), "refs/heads/main", Some(scene.first));
    let replies = scene.ask(&stranger(), &request);
    assert_eq!(replies, [Reply::Headers(vec![None; 4])]);
    let objects =
        |ids| Request::Objects { repo: key(1), levels: 0, blob_len_max: 0, history: 0, ids };
    assert_eq!(scene.ask(&stranger(), &objects(ids)), [Reply::NotFound]);
    assert_ne!(scene.ask(&stranger(), &objects(vec![scene.below])), [Reply::NotFound]);
}

#[test]
fn objects_come_as_a_pack_in_pieces() {
    let scene = Scene::new();
    let want = |ids: Vec<ObjectId>, levels, blob_len_max, history| {
        let request = Request::Objects { repo: key(1), levels, blob_len_max, history, ids };
        let mut replies = scene.ask(&stranger(), &request);
        let Some(Reply::End { .. }) = replies.pop() else { panic!("no end") };
        let pieces = replies.iter().map(|reply| match reply {
            Reply::Bytes(piece) => piece.to_vec(),
            other => panic!("{other:?}"),
        });
        let pieces: Vec<Vec<u8>> = pieces.collect();
        let number = 100 + u8::try_from(scene.table.0.lock().len()).expect("few");
        let target = scene.repo(number, &format!("target{number}"), Visibility::Private);
        (scene::ingest(&scene.store, target.id, &pieces.concat()), pieces.len())
    };
    let sorted = |mut ids: Vec<ObjectId>| {
        ids.sort_unstable();
        ids
    };
    assert_eq!(want(vec![scene.last], 0, 0, 1).0, [scene.last]);
    let expected = sorted(vec![scene.last, scene.first]);
    assert_eq!(want(vec![scene.last], 0, 0, 2).0, expected);
    let expected = sorted(vec![scene.root, scene.below, scene.blobs[0]]);
    assert_eq!(want(vec![scene.root], 2, 1_024, 0).0, expected);
    let (ids, piece_count) = want(vec![ObjectId::NULL, scene.blobs[2]], 0, 0, 0);
    assert_eq!((ids, piece_count), (vec![scene.blobs[2]], 3));
}

#[test]
fn a_file_its_manifest_and_its_chunks() {
    let scene = Scene::new();
    let content = &scene.files["open"];
    let (file, none) = (content.file, mega_storage::FileId::from_bytes([0; 32]));
    for repo in [key(1), RepoKey::ANY] {
        let ask = |request: Request| scene.ask(&stranger(), &request);
        assert_eq!(
            ask(Request::Files { repo, files: vec![none, file] }),
            [Reply::Files(vec![None, Some(500_000)])]
        );
        assert_eq!(ask(Request::Files { repo, files: vec![none] }), [Reply::NotFound]);
        let have = Reply::Have { len: 500_000, held: Held::All };
        assert_eq!(ask(Request::Have { repo, file }), [have]);
        let (offset, publisher) = (content.spans[2].offset, scene.publisher());
        let replies = ask(Request::Manifest { repo, file, offset, publisher });
        let [Reply::Manifest(page)] = &replies[..] else { panic!("{replies:?}") };
        assert_eq!((page.len, &page.spans[..]), (500_000, &content.spans[..]));
        assert!(is_vouched_for(&scene.table.2.peer_id(), &file, page));
        // Somebody else's word of it is not here.
        let publisher = mega_storage::PeerIdBytes::new(&[7; 38]).expect("an id");
        let replies = ask(Request::Manifest { repo, file, offset, publisher });
        assert_eq!(replies, [Reply::NotFound]);
        let mut spans = content.spans.clone();
        spans[1].chunk.id = spans[0].chunk.id;
        let replies =
            ask(Request::Chunks { repo, file, priority: Priority::Now, spans: spans.clone() });
        let (last, chunks) = replies.split_last().expect("answered");
        assert_eq!(*last, Reply::End { absent: vec![1] });
        assert_eq!(chunks.len(), spans.len() - 1);
        for reply in chunks {
            let Reply::Chunk { index, chunk } = reply else { panic!("{reply:?}") };
            let span = &spans[usize::from(*index)];
            let verified = ChunkBytes::Stored(chunk.clone()).verify(&span.chunk);
            let at = usize::try_from(span.offset).expect("small");
            let plain = &content.data[at..][..span.chunk.len as usize];
            assert_eq!(verified.expect("the chunk").plain(), plain);
        }
    }
}

#[test]
fn who_has_had_enough_gets_no_more() {
    let scene = Scene::new();
    let content = &scene.files["open"];
    let (repo, spans) = (key(1), content.spans.clone());
    let objects = Request::Objects {
        repo,
        levels: 0,
        blob_len_max: 0,
        history: 0,
        ids: vec![scene.blobs[2]],
    };
    let chunks =
        Request::Chunks { repo, file: content.file, priority: Priority::Background, spans };
    for request in [objects, chunks] {
        let mut count = 0;
        let mut sink = |_: Reply| {
            count += 1;
            if count == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let answered = scene.answerer.answer(&stranger(), &request, &NoProgress, &mut sink);
        answered.expect("no failure");
        assert_eq!(count, 2, "{request:?}");
    }
    assert!(scene.ask(&stranger(), &Request::Cancel).is_empty());
}

/// Says from the start that it is to stop.
struct Stopped;

impl Progress for Stopped {
    fn start(&self, _: &'static str, _: Option<u64>, _: Unit) {}

    fn advance(&self, _: u64) {}

    fn interrupted(&self) -> bool {
        true
    }
}

#[test]
fn an_answer_that_is_stopped_ends_as_not_found() {
    let scene = Scene::new();
    let (repo, ids) = (key(1), vec![scene.last]);
    let request = Request::Objects { repo, levels: 2, blob_len_max: 0, history: 0, ids };
    let mut replies = Vec::new();
    let mut sink = |reply: Reply| {
        replies.push(reply);
        ControlFlow::Continue(())
    };
    scene.answerer.answer(&stranger(), &request, &Stopped, &mut sink).expect("no failure");
    assert_eq!(replies, [Reply::NotFound]);
}

#[test]
fn the_first_page_of_a_manifest_is_short_and_who_goes_on_gets_long_ones() {
    let scene = Scene::new();
    let repo = scene.repo(9, "large", Visibility::Public);
    let Content { file, spans, .. } = scene.add_file(&repo, noise(9, 80 << 20));
    let first = mega_storage::SIGNED_CHUNKS;
    assert!(spans.len() > 2 * first + 50, "{} chunks", spans.len());
    let page = |offset: u64| {
        let publisher = scene.publisher();
        let request = Request::Manifest { repo: key(9), file, offset, publisher };
        match &scene.ask(&stranger(), &request)[..] {
            [Reply::Manifest(page)] => {
                assert!(is_vouched_for(&scene.table.2.peer_id(), &file, page));
                page.clone()
            }
            other => panic!("{other:?}"),
        }
    };
    let start = page(0);
    assert_eq!(start.spans, spans[..first]);
    // Any byte of it brings the same page, signature and all.
    for offset in [1, spans[10].offset + 1, spans[first].offset - 1] {
        assert_eq!(page(offset), start);
    }
    assert_eq!(page(spans[first].offset + 1).spans, spans[first..2 * first]);
    let rest = page(spans[first].offset);
    assert_eq!(rest.spans, spans[first..]);
    assert_eq!(page(spans[first].offset + 1).signatures, rest.signatures[..1]);
    let last = spans.len() / first * first;
    for offset in [96 << 20, mega_storage::FILE_LEN_MAX] {
        assert_eq!(page(offset).spans, spans[last..], "after the end");
    }
}
