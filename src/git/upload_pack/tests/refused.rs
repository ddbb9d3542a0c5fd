//! What is not to be seen: hidden tips, what was force-pushed away, what other repositories have.

use super::*;

const UNKNOWN: &str = "1234567890123456789012345678901234567890";

/// A repository with a secret behind a hidden reference and one that was force-pushed away, and
/// another repository with a third.
fn world() -> (World, [ObjectId; 3]) {
    let world = World::new();
    world.commit("base");
    world.git(&["checkout", "-q", "-b", "gone"]);
    let gone = world.commit("gone");
    world.git(&["checkout", "-q", "-B", "secret", "main"]);
    let hidden = world.commit("secret");
    world.git(&["update-ref", "refs/internal/secret", "HEAD"]);
    world.git(&["checkout", "-q", "main"]);
    world.git(&["branch", "-q", "-D", "secret"]);
    world.sync();
    world.git(&["branch", "-q", "-D", "gone"]);
    world.hide("refs/internal");
    world.sync();
    let other = World::new();
    let foreign = other.commit("foreign");
    let pack = git_with_input(&other.git_dir(), &["bundle", "create", "-q", "x", "main"], b"");
    assert!(pack.is_empty());
    let bundle = std::fs::read(other.git_dir().join("x")).expect("read");
    let at = bundle.windows(4).position(|w| w == b"PACK").expect("a pack");
    let name = RepoName::new("two").expect("a name");
    let second = world.store.repos().create(&name, Visibility::Public).expect("made");
    let input = PackInput::Stream(&mut &bundle[at..]);
    let options = IngestOptions::default();
    world.store.objects().ingest_pack(second.id, input, &options, &NoProgress).expect("taken in");
    (world, [gone, hidden, foreign])
}

fn words(world: &World, protocol: Protocol, request: &[u8]) -> Option<String> {
    let (out, report) = world.serve(protocol, request);
    let refused = report.expect("answered").refused?;
    assert_eq!(answer(&out).lines, [format!("ERR {refused}\n")], "nothing else is said");
    Some(refused)
}

#[test]
fn secrets_are_refused_like_what_never_was() {
    let (world, secrets) = world();
    let unknown: ObjectId = UNKNOWN.parse().expect("an id");
    for id in secrets.into_iter().chain([unknown]) {
        let expected = Some(format!("upload-pack: not our ref {id}"));
        let fetch = command("fetch", &[format!("want {id}"), "done".into()]);
        assert_eq!(words(&world, Protocol::V2, &fetch), expected);
        let fetch = request(&[format!("want {id}"), FLUSH.into(), "done".into()]);
        assert_eq!(words(&world, Protocol::V0, &fetch), expected);
    }
    for path in ["gone", "secret"] {
        let blob = git_with_input(
            &world.git_dir(),
            &["hash-object", "--stdin"],
            format!("{path}\n").as_bytes(),
        );
        let fetch = command("fetch", &[format!("want {blob}"), "done".into()]);
        let expected = format!("upload-pack: not our ref {blob}");
        assert_eq!(words(&world, Protocol::V2, &fetch), Some(expected));
    }
}

#[test]
fn haves_and_sizes_of_secrets_are_unknown() {
    let (world, secrets) = world();
    let main = world.id("main");
    let mut arguments = vec![format!("want {main}")];
    arguments.extend(secrets.iter().map(|id| format!("have {id}")));
    let (out, report) = world.serve(Protocol::V2, &command("fetch", &arguments));
    assert_eq!(answer(&out).lines, ["acknowledgments\n", "NAK\n", FLUSH]);
    assert_eq!(report.expect("answered").common_count, 0);
    let mut arguments = vec!["size".to_owned(), format!("oid {main}")];
    arguments.extend(secrets.iter().map(|id| format!("oid {id}")));
    let (out, _) = world.serve(Protocol::V2, &command("object-info", &arguments));
    let mut expected =
        vec!["size".to_owned(), format!("{main} {}", world.git(&["cat-file", "-s", "main"]))];
    expected.extend(secrets.iter().map(|id| format!("{id} ")));
    expected.push(FLUSH.to_owned());
    assert_eq!(answer(&out).lines, expected);
}

#[test]
fn hidden_references_have_no_names() {
    let (world, [_, hidden, _]) = world();
    let (out, _) = world.serve(Protocol::V2, &command("ls-refs", &["ref-prefix refs/"]));
    assert!(!String::from_utf8_lossy(&out).contains("internal"));
    for protocol in [Protocol::V0, Protocol::V1] {
        let out = world.advertise(protocol);
        assert!(!String::from_utf8_lossy(&out).contains(&hidden.to_string()));
    }
    let fetch = command("fetch", &["want-ref refs/internal/secret", "done"]);
    let expected = Some("unknown ref refs/internal/secret".to_owned());
    assert_eq!(words(&world, Protocol::V2, &fetch), expected);
    let twice = command("fetch", &["want-ref refs/heads/main", "want-ref refs/heads/main", "done"]);
    let expected = Some("duplicate want-ref refs/heads/main".to_owned());
    assert_eq!(words(&world, Protocol::V2, &twice), expected);
    let not = ["want-ref refs/heads/main", "deepen-not refs/internal/secret", "done"];
    let refused = words(&world, Protocol::V2, &command("fetch", &not)).expect("refused");
    assert!(refused.contains("deepen-not is not a ref"), "{refused}");
}

#[test]
fn what_cannot_be_both_is_refused() {
    let (world, _) = world();
    let both = ["want-ref refs/heads/main", "deepen 1", "deepen-since 1", "done"];
    let refused = words(&world, Protocol::V2, &command("fetch", &both)).expect("refused");
    assert!(refused.contains("cannot be used together"), "{refused}");
    let nothing = ["want-ref refs/heads/main", "deepen-since 9000000000", "done"];
    let refused = words(&world, Protocol::V2, &command("fetch", &nothing)).expect("refused");
    assert!(refused.contains("no commits selected"), "{refused}");
    let main = world.id("main");
    let filter = request(&[format!("want {main}"), "filter blob:none".into(), FLUSH.into()]);
    let refused = words(&world, Protocol::V0, &filter).expect("refused");
    assert!(refused.contains("filtering capability not negotiated"), "{refused}");
    let line = request(&[format!("want {main}"), FLUSH.into(), "give me".into(), FLUSH.into()]);
    let refused = words(&world, Protocol::V0, &line).expect("refused");
    assert!(refused.contains("expected SHA1 list, got 'give me'"), "{refused}");
}
