//! Answers byte for byte: what a client of version 2 sends and gets, as git's own tests have it.

use super::*;

/// What the client is told, without the flush.
fn refusal(world: &World, request: &[u8]) -> String {
    let (out, report) = world.serve(Protocol::V2, request);
    let refused = report.expect("answered").refused.expect("refused");
    assert_eq!(answer(&out).lines, [format!("ERR {refused}\n")]);
    refused
}

#[test]
fn capabilities_of_version_2() {
    let version = env!("CARGO_PKG_VERSION");
    let agent = format!("agent=mega-store/{version}\n");
    let expected = format!(
        "000eversion 2\n{:04x}{agent}0013ls-refs=unborn\n0033fetch=shallow wait-for-done filter \
         ref-in-want\n0012server-option\n0017object-format=sha1\n0015object-info=size\n0000",
        agent.len() + 4
    );
    let world = World::new();
    let told = || String::from_utf8(world.advertise(Protocol::V2)).expect("text");
    assert_eq!(told(), expected);
    world.commit("one");
    world.sync();
    let (front, flush) = expected.split_at(expected.len() - 4);
    assert_eq!(told(), format!("{front}000fbundle-uri\n{flush}"));
}

#[test]
fn requests_without_anything_are_answered_with_nothing() {
    let world = World::new();
    for request in [&b""[..], b"0000"] {
        for protocol in [Protocol::V0, Protocol::V1, Protocol::V2] {
            let (out, report) = world.serve(protocol, request);
            assert_eq!((out, report.expect("fine")), (Vec::new(), UploadReport::default()));
        }
    }
    let (out, _) = world.serve(Protocol::V2, &command("fetch", &["done"]));
    assert!(out.is_empty(), "as git: nothing wanted, nothing said");
}

#[test]
fn what_is_no_request_is_refused_in_gits_words() {
    let world = World::new();
    let lines = |lines: &[&str]| request(lines);
    let many: Vec<String> = std::iter::repeat_n("server-option=x".to_owned(), 1025).collect();
    for (request, words) in [
        (lines(&["foobar", FLUSH]), "unknown capability 'foobar'"),
        (lines(&["agent=git/test", "object-format=sha1", FLUSH]), "no command requested"),
        (lines(&["command=foo", FLUSH]), "invalid command 'foo'"),
        (lines(&["command=agent", FLUSH]), "invalid command 'agent'"),
        (lines(&["command=ls-refs", "fetch", FLUSH]), "unknown capability 'fetch'"),
        (lines(&["command=ls-refs=whatever", FLUSH]), "invalid command 'ls-refs=whatever'"),
        (lines(&["command=ls-refs", "command=fetch", FLUSH]), "command 'fetch' requested after"),
        (
            lines(&["command=fetch", "object-format=sha256", FLUSH]),
            "mismatched object format: server sha1; client sha256",
        ),
        (lines(&["command=fetch", "object-format=x", FLUSH]), "unknown object format 'x'"),
        (lines(&["command=fetch", "object-format", FLUSH]), "requires an argument"),
        (request(&many), "more than 1024 capabilities"),
        (command("ls-refs", &["no-such-arg"]), "unexpected line: 'no-such-arg'"),
        (command("fetch", &["this-is-not-a-command"]), "unexpected line: 'this-is-not-a-command'"),
        (command("fetch", &["want x"]), "protocol error"),
        (command("fetch", &["have x"]), "expected SHA1 object, got 'x'"),
        (command("fetch", &["filter sparse:oid=x"]), "filter 'sparse:oid' not supported"),
        (command("fetch", &["sideband-all"]), "unexpected line"),
        (command("object-info", &["oid x"]), "expected to get oid, not 'x'"),
        (command("bundle-uri", &["x"]), "bundle-uri: unexpected argument: 'x'"),
        (command("object-info", &["sizes"]), "unexpected line: 'sizes'"),
        (lines(&["command=ls-refs", DELIM, "peel", DELIM]), "expected flush"),
    ] {
        let refused = refusal(&world, &request);
        assert!(refused.contains(words), "{refused}");
    }
}

#[test]
fn broken_lines_are_the_clients_fault_and_nothing_is_written() {
    let world = World::new();
    let whole = command("ls-refs", &["peel"]);
    for protocol in [Protocol::V0, Protocol::V2] {
        for broken in [&b"000"[..], b"zzzz", b"0003", b"fff1", b"0010short"] {
            let (out, report) = world.serve(protocol, broken);
            assert!(out.is_empty());
            assert!(matches!(report, Err(GitError::Wire(_))), "{report:?}");
        }
    }
    for len in 1..whole.len() {
        let (out, report) = world.serve(Protocol::V2, &whole[..len]);
        assert!(out.is_empty());
        assert!(matches!(report, Err(GitError::Wire(_))), "{len}: {report:?}");
    }
}

#[test]
fn references_as_they_are_asked_for() {
    let world = World::new();
    let unborn = command("ls-refs", &["symrefs", "unborn"]);
    assert_eq!(world.serve(Protocol::V2, &unborn).0, b"0000", "HEAD itself is absent");
    world.sync();
    let line = "unborn HEAD symref-target:refs/heads/main\n";
    let lines = |request: &[u8]| answer(&world.serve(Protocol::V2, request).0).lines;
    assert_eq!(lines(&unborn), [line, FLUSH]);
    assert_eq!(lines(&command("ls-refs", &["symrefs", "unborn", "ref-prefix refs/"])), [FLUSH]);
    assert_eq!(lines(&command("ls-refs", &["unborn"])), [FLUSH]);
    let one = world.commit("one");
    world.git(&["branch", "dev"]);
    let two = world.commit("two");
    world.git(&["symbolic-ref", "refs/heads/release", "refs/heads/main"]);
    world.git(&["tag", "-a", "-m", "annotated", "v1"]);
    let tag = world.id("v1");
    world.sync();
    let all = lines(&request(&["command=ls-refs", FLUSH]));
    let expected = [
        format!("{two} HEAD\n"),
        format!("{one} refs/heads/dev\n"),
        format!("{two} refs/heads/main\n"),
        format!("{two} refs/heads/release\n"),
        format!("{tag} refs/tags/v1\n"),
        FLUSH.to_owned(),
    ];
    assert_eq!(all, expected);
    let arguments = ["peel", "symrefs", "ref-prefix HEAD", "ref-prefix refs/tags/"];
    let expected = [
        format!("{two} HEAD symref-target:refs/heads/main\n"),
        format!("{tag} refs/tags/v1 peeled:{two}\n"),
        FLUSH.to_owned(),
    ];
    assert_eq!(lines(&command("ls-refs", &arguments)), expected);
    let prefix = |count| vec!["ref-prefix refs/none".to_owned(); count];
    let max = limits::REF_PREFIXES_MAX;
    assert_eq!(lines(&command("ls-refs", &prefix(max - 1))), [FLUSH]);
    assert_eq!(lines(&command("ls-refs", &prefix(max))), all, "too many are none at all");
}

#[test]
fn references_of_versions_0_and_1() {
    let world = World::new();
    world.sync();
    let features = |symref: &str| {
        format!(
            "\0multi_ack thin-pack side-band side-band-64k ofs-delta shallow deepen-since \
             deepen-not deepen-relative no-progress include-tag multi_ack_detailed \
             allow-tip-sha1-in-want allow-reachable-sha1-in-want no-done{symref} filter \
             object-format=sha1 agent=mega-store/{}\n",
            env!("CARGO_PKG_VERSION")
        )
    };
    let null = "0".repeat(40);
    let empty = [format!("{null} capabilities^{{}}{}", features("")), FLUSH.to_owned()];
    assert_eq!(answer(&world.advertise(Protocol::V0)).lines, empty);
    let one = world.commit("one");
    world.git(&["tag", "-a", "-m", "annotated", "v1"]);
    let tag = world.id("v1");
    world.sync();
    let expected = [
        format!("{one} HEAD{}", features(" symref=HEAD:refs/heads/main")),
        format!("{one} refs/heads/main\n"),
        format!("{tag} refs/tags/v1\n"),
        format!("{one} refs/tags/v1^{{}}\n"),
        FLUSH.to_owned(),
    ];
    assert_eq!(answer(&world.advertise(Protocol::V0)).lines, expected);
    let named = answer(&world.advertise(Protocol::V1)).lines;
    assert_eq!(named[0], "version 1\n");
    assert_eq!(named[1..], expected);
}
