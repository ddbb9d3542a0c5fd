//! Objects that a client may not have, however it asks.

use super::*;
use crate::support::pack::{Base, REF_DELTA};
use crate::support::raw::line;

const SECRET: &str = "nobody may see this\n";

/// A repository with a hidden reference to a secret, and the ids of its commit, its tree and blob.
fn with_hidden(world: &World, server: &Server<'_>) -> [String; 3] {
    world.sh("git init -q w && cd w && echo open > open && git add open && git commit -qm open");
    std::fs::write(world.path("w/secret"), SECRET).expect("written");
    world.sh("cd w && git checkout -qb secret && git add secret && git commit -qm secret");
    let url = server.repo("r");
    world.git("w", &["push", "-q", &url, "main", "secret:refs/hidden/h"]);
    world.ok(&["repo", "config", "r", "transfer.hideRefs", "refs/hidden"]);
    ["secret", "secret^{tree}", "secret:secret"].map(|rev| {
        let id = world.git("w", &["rev-parse", rev]);
        id.trim().to_owned()
    })
}

#[track_caller]
fn assert_not_sent(server: &Server<'_>, repo: &str, id: &str) {
    let v2 =
        [&line("command=fetch")[..], b"0001", &line(format!("want {id}")), &line("done"), b"0000"];
    let v0 = [&line(format!("want {id} side-band-64k")), &b"0000"[..], &line("done")];
    let by_v2 = raw::git(server, repo, "git-upload-pack", "version=2", &v2.concat());
    let by_v0 = raw::git(server, repo, "git-upload-pack", "version=0", &v0.concat());
    for answer in [by_v2, by_v0] {
        assert!([200, 400].contains(&answer.status), "{answer:?}");
        let said = answer.text();
        assert!(said.contains("not our ref") && !said.contains("PACK"), "{said}");
    }
}

#[test]
fn hidden_and_forgotten_objects_are_not_our_refs() {
    let world = World::with_store();
    let server = started(&world);
    for id in with_hidden(&world, &server) {
        assert_not_sent(&server, "r", &id);
    }
    // What was force-pushed away is as good as absent.
    let url = server.repo("f");
    world.git("w", &["push", "-q", &url, "secret:refs/heads/main"]);
    world.git("w", &["push", "-qf", &url, "main:refs/heads/main"]);
    let id = world.git("w", &["rev-parse", "secret"]);
    assert_not_sent(&server, "f", id.trim());
    assert_not_sent(&server, "f", &"1".repeat(40));
    let size = [&line("command=object-info")[..], b"0001", &line("size"), b""].concat();
    let oid = line(format!("oid {}", id.trim()));
    let asked = [&size[..], &oid, b"0000"].concat();
    let answer = raw::git(&server, "f", "git-upload-pack", "version=2", &asked);
    let told = raw::lines(&answer.body);
    assert_eq!(told, ["size", id.trim()], "no size: as git tells of what is not there");
    assert_well(&server);
}

#[test]
fn a_base_in_another_repository_is_no_base() {
    let world = World::with_store();
    let server = started(&world);
    let secret = Entry::whole(3, SECRET.as_bytes());
    let (pack, id) = history(std::slice::from_ref(&secret));
    assert_eq!(push(&server, "private", &id, &pack.write())[0], "unpack ok");
    // The other one names it as a base: by its answer it would learn that it is there.
    let len = SECRET.len() as u8;
    let data = vec![len, len, 0x90, len];
    let base = Base::Id(id_of(&secret).expect("no attack"));
    let thin = Entry { kind: REF_DELTA, base, data, lie: None, stream: None };
    let (mut pack, other) = history(&[Entry::whole(3, b"mine")]);
    pack.entries.insert(0, thin.clone());
    let here = push(&server, "other", &other, &pack.write());
    assert_refused(&server, "other", &here, "unresolved delta");
    pack.entries[0].base = Base::Id([7; 20]);
    let absent = push(&server, "other", &other, &pack.write());
    let plain = |report: &[String]| report[0].replace(|c: char| c.is_ascii_hexdigit(), "");
    assert_eq!(plain(&here), plain(&absent), "there and not there look the same");
    // A tree of the other one that names it is not whole.
    let (pack, id) = history(&[secret]);
    let without = Pack::new(pack.entries[1..].to_vec()).write();
    let report = push(&server, "third", &id, &without);
    assert!(report.iter().any(|line| line.starts_with("ng refs/heads/main")), "{report:?}");
    assert_no_refs(&server, "third");
    assert_well(&server);
}

#[test]
fn a_hash_is_no_key_to_private_content() {
    let world = World::with_store();
    let server = started(&world);
    let ids = with_hidden(&world, &server);
    world.ok(&["repo", "create", "mine"]);
    let token = world.ok(&["token", "create", "--repo", "mine", "--write"]);
    let secret = token.split_whitespace().find(|word| word.starts_with("mst_")).expect("a token");
    let stranger = format!("Bearer {secret}");
    for id in &ids {
        for path in
            ["/v1/object/", "/v1/object/?repo=r"].map(|p| p.replace("t/", &format!("t/{id}")))
        {
            let absent = path.replace(id.as_str(), &"1".repeat(40));
            for fields in [&[][..], &[("Authorization", stranger.as_str())][..]] {
                let [there, not_there] = [&path, &absent].map(|p| raw::get(&server, p, fields));
                assert!([401, 404].contains(&there.status), "{there:?}");
                assert_eq!(there.status, not_there.status, "{path}");
                assert_eq!(there.body, not_there.body, "{path}");
                assert!(!there.text().contains(SECRET.trim()), "{there:?}");
            }
        }
    }
    for path in [
        "/v1/r/objects",
        "/r.git/info/refs?service=git-upload-pack",
        "/r.git/info/lfs/locks",
        "/r.git/info/refs?service=git-receive-pack",
    ] {
        let absent = path.replace("r.git", "absent.git").replace("v1/r/", "v1/absent/");
        for fields in [&[][..], &[("Authorization", stranger.as_str())][..]] {
            let [there, not_there] = [path, &absent].map(|p| raw::get(&server, p, fields));
            assert!([401, 404].contains(&there.status), "{path}: {there:?}");
            assert_eq!((there.status, there.body), (not_there.status, not_there.body), "{path}");
        }
    }
    // Guesses are refused each time, and never written down.
    for guess in 0..100 {
        let field = format!("Bearer mst_guess{guess}");
        let answer = raw::get(&server, "/v1/r/objects", &[("Authorization", &field)]);
        assert!([401, 404, 429].contains(&answer.status), "{answer:?}");
    }
    assert!(!server.said().contains("mst_"), "{}", server.said());
    assert_well(&server);
}
