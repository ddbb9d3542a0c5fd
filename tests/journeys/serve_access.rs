//! Who may do what with a server: tokens, visibility, read-only, and where it does not start.

use crate::support::World;
use crate::support::client::git;
use crate::support::repos::{oid, weights};
use crate::support::server::{HELLO, Server, bytes, client};

#[test]
fn what_is_private_looks_like_what_is_not_there() {
    let world = World::with_store();
    let [_, second] = weights(&world, "model");
    let id = oid(&world, "model", "main:model.safetensors");
    let server = Server::start(&world);
    let git = git(&world);
    world.sh(&format!(
        "cd model && printf 'Hello, World!\\n' >hello && git add hello && \
        git commit -qm hello && git lfs push --all {0} && git push -q {0} main",
        server.repo("secret")
    ));
    let token = world.ok(&["token", "create", "--repo", "secret", "--write"]);
    let token = token.trim();
    let paths = [
        format!("/v1/object/{HELLO}"),
        format!("/v1/object/{HELLO}?repo=secret"),
        format!("/v1/file/{id}"),
        format!("/v1/file/{id}?repo=secret"),
        format!("/v1/file/{id}/chunks?repo=secret"),
        "/v1/secret/objects".to_owned(),
    ];
    for path in &paths {
        let absent = path.replace("secret", "absent").replace(HELLO, &"1".repeat(40));
        let absent = server.get(&absent.replace(&id, &"1".repeat(64)));
        let answer = server.get(path);
        assert_eq!(answer.status(), 404, "{path}");
        assert_eq!(answer.status(), absent.status());
        assert_eq!(answer.text().expect("text"), absent.text().expect("text"), "{path}");
    }
    let with = |path: &str| {
        let request = client().get(format!("{}{path}", server.url)).bearer_auth(token);
        request.send().expect("an answer")
    };
    assert_eq!(bytes(with(&paths[1])), b"Hello, World!\n");
    assert!(bytes(with(&paths[3])) == second);
    git.run("", &["ls-remote", &server.repo("secret")]).says(128, &["could not read Username"]);
    let login = server.repo("secret").replace("//", &format!("//any:{token}@"));
    assert_eq!(git.remote_refs(&login).lines().count(), 2);
    world.ok(&["repo", "visibility", "secret", "public"]);
    for path in &paths {
        assert_eq!(server.get(path).status(), 200, "{path}");
    }
    let run = git.run("model", &["push", "-q", &server.repo("secret"), "main:new"]);
    run.says(128, &["could not read Username"]);
}

#[test]
fn a_read_only_server_takes_nothing() {
    let world = World::with_store();
    let git = git(&world);
    git.ok("", &["init", "-q", "r"]);
    git.commit("r", "a.txt", "one\n");
    world.ok(&["import", "r", "r"]);
    let server = Server::start_with(&world, &["--read-only"]);
    git.ok("", &["clone", "-q", &server.repo("r"), "copy"]);
    git.run("r", &["push", "-q", &server.repo("r"), "main:new"]).says(128, &["403"]);
    git.run("r", &["push", "-q", &server.repo("new"), "main"]).says(128, &["403"]);
    assert_eq!(git.remote_refs(&server.repo("r")).lines().count(), 2);
    assert_eq!(world.ok(&["repo", "list"]).lines().count(), 1);
}

#[test]
fn tokens_open_what_they_say_and_end_when_they_are_revoked() {
    let world = World::with_store();
    let server = Server::start(&world);
    let (git, url) = (git(&world), server.repo("m"));
    let with = |token: &str| url.replace("//", &format!("//x:{}@", token.trim_end()));
    git.ok("", &["init", "-q", "w"]);
    git.commit("w", "a", "one\n");
    git.ok("w", &["push", "-q", &url, "main"]);
    let reader = world.ok(&["token", "create", "--repo", "m", "--note", "r"]);
    let writer = world.ok(&["token", "create", "--repo", "m", "--write", "--expires", "30d"]);
    git.run("", &["clone", "-q", &url, "no"]).says(128, &["could not read Username"]);
    git.ok("", &["clone", "-q", &with(&reader), "c"]);
    git.commit("c", "b", "two\n");
    git.run("c", &["push", "-q", &with(&reader), "main"]).says(128, &["403"]);
    git.ok("c", &["push", "-q", &with(&writer), "main"]);
    let rows = world.run(&["token", "list", "--json"]).json();
    assert_eq!(rows.len(), 2);
    assert_eq!(
        (&rows[0]["repo"], &rows[0]["write"], &rows[0]["note"]),
        (&"m".into(), &false.into(), &"r".into())
    );
    assert!(rows[1]["expires_unix"].is_u64() && rows[1]["expired"] == false);
    world.ok(&["token", "revoke", "1"]);
    world.run(&["token", "revoke", "1"]).says(1, &["there is no token 1", "hint: "]);
    git.run("", &["ls-remote", &with(&reader)]).says(128, &[]);
    git.ok("", &["ls-remote", &with(&writer)]);
}

#[test]
fn a_server_says_why_it_does_not_start() {
    let world = World::with_store();
    let open = world.run(&["serve", "--listen", "0.0.0.0:0"]);
    open.says(1, &["can be reached from other machines", "hint: make one first"]);
    world.run(&["serve", "--listen", "here"]).says(2, &["ADDRESS:PORT"]);
    world.run(&["serve", "--tls-cert", "x"]).says(2, &["--tls-key"]);
    let tls = world.run(&["serve", "--listen", "127.0.0.1:0", "--tls-cert", "x", "--tls-key", "y"]);
    tls.says(1, &["x: ", "hint: --tls-cert and --tls-key take PEM files"]);
    let token = world.run(&["token", "create", "--repo", "none"]);
    token.says(1, &["there is no repository 'none'"]);
    world.run(&["token", "create", "--repo", "*", "--expires", "soon"]).says(2, &["30d"]);
}
