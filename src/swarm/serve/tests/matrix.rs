//! Who is answered about what: whatever may not be seen looks like what is not there.

use mega_storage::{RepoName, Visibility};

use super::*;
use crate::swarm::serve::{Asker, PeerRights};
use crate::swarm::wire::{Priority, Reply, RepoKey, Request};

/// A question of each kind about a repository.
fn questions(scene: &Scene, name: &str, repo: RepoKey) -> Vec<Request> {
    let content = &scene.files[name];
    let (file, ids) = (content.file, vec![scene.last, scene.root, scene.blobs[0]]);
    let name = RepoName::new(name).expect("a name");
    let (spans, publisher) = (content.spans.clone(), scene.publisher());
    vec![
        Request::Resolve { name },
        Request::Refs { repo, after: None, names: Vec::new() },
        Request::Headers { repo, ids: ids.clone() },
        Request::Objects { repo, levels: 2, blob_len_max: 1024, history: 2, ids },
        Request::Files { repo, files: vec![file] },
        Request::Have { repo, file },
        Request::Manifest { repo, file, offset: 0, publisher },
        Request::Chunks { repo, file, priority: Priority::Now, spans },
    ]
}

fn is_answered(scene: &Scene, asker: &Asker, name: &str, repo: RepoKey) -> bool {
    let answers = questions(scene, name, repo).into_iter().map(|question| {
        let replies = scene.ask(asker, &question);
        let is_refused = replies == [Reply::NotFound];
        assert!(is_refused || !replies.contains(&Reply::NotFound), "{question:?}");
        !is_refused
    });
    let answers: Vec<bool> = answers.collect();
    assert!(answers.windows(2).all(|two| two[0] == two[1]), "{name}: {answers:?}");
    answers[0]
}

#[test]
fn each_peer_sees_what_lets_it_in_and_all_else_looks_absent() {
    let scene = Scene::new();
    // Asker; whether it sees the public, the mesh and the private repository.
    let cases = [
        (stranger(), [true, false, false]),
        (mesh(), [true, true, false]),
        (reader(), [true, false, true]),
        (writer(), [true, false, true]),
    ];
    for (asker, expected) in &cases {
        for (number, (name, sees)) in (1..).zip(["open", "meshed", "secret"].iter().zip(expected)) {
            let answered = is_answered(&scene, asker, name, key(number));
            assert_eq!(answered, *sees, "{asker:?} {name}");
        }
    }
    let rights = |asker: &Asker, number| {
        let found = scene.answerer.rights(asker, &key(number)).expect("read");
        found.map(|(_, rights)| rights)
    };
    assert_eq!(rights(&writer(), 3), Some(PeerRights::Write));
    assert_eq!(rights(&reader(), 3), Some(PeerRights::Read));
    assert_eq!((rights(&mesh(), 2), rights(&stranger(), 2)), (Some(PeerRights::Read), None));
    assert_eq!((rights(&writer(), 1), rights(&writer(), 9)), (Some(PeerRights::Read), None));
}

#[test]
fn what_changes_counts_at_once() {
    let scene = Scene::new();
    let (stranger, mesh) = (stranger(), mesh());
    assert!(is_answered(&scene, &stranger, "open", key(1)));
    scene.show("open", Visibility::Mesh);
    assert!(!is_answered(&scene, &stranger, "open", key(1)));
    assert!(is_answered(&scene, &mesh, "open", key(1)));
    scene.show("open", Visibility::Private);
    assert!(!is_answered(&scene, &mesh, "open", key(1)));
    assert!(is_answered(&scene, &reader(), "secret", key(3)));
    let secret = scene.get("secret");
    let unset = mega_storage::SettingChange::Unset;
    scene.store.set_setting(secret.id, "swarm.allowRead", &unset).expect("set");
    assert!(!is_answered(&scene, &reader(), "secret", key(3)));
    scene.show("secret", Visibility::Public);
    assert!(is_answered(&scene, &stranger, "secret", key(3)));
    scene.store.repos().delete(&secret.name).expect("deleted");
    assert!(!is_answered(&scene, &stranger, "secret", key(3)), "its key is still in the table");
}

#[test]
fn a_key_that_is_not_known_and_one_repository_s_content_under_another_s_key() {
    let scene = Scene::new();
    for asker in [stranger(), mesh(), reader(), writer()] {
        for question in &questions(&scene, "secret", key(99))[1..] {
            assert_eq!(scene.ask(&asker, question), [Reply::NotFound], "{question:?}");
        }
        // The private repository's file, under the public one's key and under any.
        for repo in [key(1), RepoKey::ANY] {
            for question in &questions(&scene, "secret", repo)[4..] {
                assert_eq!(scene.ask(&asker, question), [Reply::NotFound], "{question:?}");
            }
        }
        for question in &questions(&scene, "open", RepoKey::ANY)[4..] {
            assert_ne!(scene.ask(&asker, question), [Reply::NotFound], "{question:?}");
        }
    }
}

#[test]
fn a_chunk_of_a_private_file_is_not_given_for_its_hash() {
    let scene = Scene::new();
    let (open, secret) = (&scene.files["open"], &scene.files["secret"]);
    let chunks = |file, repo, spans: &[mega_storage::ChunkSpan]| {
        let spans = spans.to_vec();
        Request::Chunks { repo, file, priority: Priority::Now, spans }
    };
    for asker in [stranger(), mesh(), reader()] {
        for repo in [key(1), RepoKey::ANY] {
            // Named as a chunk of a public file, where it would stand in that.
            let absent = (0..).take(secret.spans.len()).collect();
            let replies = scene.ask(&asker, &chunks(open.file, repo, &secret.spans));
            assert_eq!(replies, [Reply::End { absent }]);
            let mut moved = secret.spans[0];
            moved.offset = open.spans[1].offset;
            let replies = scene.ask(&asker, &chunks(open.file, repo, &[moved]));
            assert_eq!(replies, [Reply::End { absent: vec![0] }]);
        }
    }
    // The same bytes in a public file are everybody's: as that file's.
    let again = scene.add_file(&scene.get("open"), secret.data.clone());
    let replies = scene.ask(&stranger(), &chunks(again.file, RepoKey::ANY, &again.spans));
    assert_eq!(replies.len(), again.spans.len() + 1);
}
