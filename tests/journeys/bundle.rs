//! Clones that begin with a bundle, as `transfer.bundleURI` asks for; and those that do not.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::World;
use crate::support::client::{Git, gits};
use crate::support::repos::history;
use crate::support::server::{Server, client};

/// Bundles that were sent.
const BUNDLES: &str = "route=\"/{repo}.git/info/bundle/{oid}\",status=\"2xx\"";
const WITH: [&str; 2] = ["-c", "transfer.bundleURI=true"];

fn world() -> World {
    let world = World::with_store();
    history(&world, "source.git");
    world
}

fn serve(world: &World) -> Server<'_> {
    let server = Server::start(world);
    let (url, refs) = (server.repo("r"), ["main", "side", "merged", "v1.0", "nested"]);
    world.git("source.git", &[&["push", "-q", &url], &refs[..]].concat());
    server
}

/// How often the server has answered so; `token` opens its metrics.
fn count(server: &Server<'_>, labels: &str, token: &str) -> u64 {
    let answer = client().get(format!("{}/metrics", server.url)).bearer_auth(token).send();
    let text = answer.expect("an answer").text().expect("text");
    assert!(text.contains("mega_store_uptime_seconds"), "{text}");
    let line = text.lines().find(|line| line.contains(labels));
    line.map_or(0, |line| line.rsplit(' ').next().and_then(|n| n.parse().ok()).expect("a number"))
}

/// Whether this git asks for bundles that a server tells of: it has learned to in 2.40.
fn asks(git: &Git<'_>) -> bool {
    let minor = git.label.split('.').nth(1).and_then(|minor| minor.parse::<u32>().ok());
    minor.expect("git 2.x") >= 40 && git.label.ends_with("-v2")
}

/// Those that ask. Debian 12's own git does not, which is no fault of the machine.
fn asking(world: &World) -> Vec<Git<'_>> {
    let gits: Vec<_> = gits(world).into_iter().filter(asks).collect();
    if gits.is_empty() {
        eprintln!("SKIPPED: no git on this machine asks for bundles: that takes 2.40");
    }
    gits
}

/// Objects and references, without git's own references to what came in bundles.
fn state(git: &Git<'_>, dir: &str) -> (Vec<String>, String) {
    let refs = git.ok(dir, &["for-each-ref", "--format=%(refname) %(objectname)"]);
    let refs: Vec<&str> = refs.lines().filter(|line| !line.starts_with("refs/bundles/")).collect();
    (git.objects(dir), refs.join("\n"))
}

/// Clones with more options into `with`, and without into `plain`: both have to be the same. What
/// the clone with options says.
#[track_caller]
fn same(world: &World, git: &Git<'_>, url: &str, options: &[&str], clone: &[&str]) -> String {
    world.sh("rm -rf plain with");
    git.ok("", &[&["clone", "-q"], clone, &[url, "plain"]].concat());
    let run = git.run("", &[options, &["clone", "-q"], clone, &[url, "with"]].concat());
    run.says(0, &[]);
    assert!(state(git, "with") == state(git, "plain"), "{} {options:?}", git.label);
    git.assert_clean("with");
    run.words
}

#[test]
fn a_clone_that_asks_begins_with_the_bundle_and_others_notice_nothing() {
    let world = world();
    let server = serve(&world);
    let url = server.repo("r");
    let _ = asking(&world);
    for git in gits(&world) {
        let bundles = count(&server, BUNDLES, "");
        git.ok("", &["clone", "-q", &url, &git.label]);
        assert_eq!(count(&server, BUNDLES, ""), bundles, "{} was not asked to", git.label);
        let words = same(&world, &git, &url, &WITH, &[]);
        // In version 2 it says nothing; in the others this git says that it cannot ask.
        assert!(words.is_empty() || !git.label.ends_with("-v2"), "{}: {words}", git.label);
        let fetched = count(&server, BUNDLES, "") - bundles;
        assert_eq!(fetched, u64::from(asks(&git)), "{}", git.label);
        if fetched > 0 {
            assert_eq!(git.id("with", "refs/bundles/main"), git.id("with", "HEAD"));
        }
    }
}

#[test]
fn what_the_bundle_has_does_not_come_in_the_pack() {
    let world = world();
    let server = serve(&world);
    for git in asking(&world) {
        let mut command = git.command("");
        command.args(WITH).args(["clone", "--progress", &server.repo("r"), "loud"]);
        command.env("GIT_TRACE_PACKET", world.path("trace"));
        let output = command.output().expect("started");
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{words}");
        let total = words.lines().find_map(|line| line.strip_prefix("remote: Total "));
        let total = total.and_then(|line| line.split(',').next()).expect(&words);
        let whole = git.objects("loud").len();
        let sent: usize = total.parse().expect("a number");
        assert!(sent * 20 < whole, "{sent} of {whole} objects after the bundle");
        let trace = fs::read_to_string(world.path("trace")).expect("traced");
        assert!(trace.contains("bundle.default.uri=info/bundle/"), "{trace}");
    }
}

#[test]
fn an_older_bundle_still_gives_a_right_clone_and_one_that_is_gone_does_no_harm() {
    let world = world();
    let server = serve(&world);
    let url = server.repo("r");
    for git in asking(&world) {
        let main = git.id("source.git", "main");
        let old = format!("{url}/info/bundle/{main}");
        git.ok("", &["clone", "-q", &url, "w"]);
        git.commit("w", "new.txt", &git.label);
        git.ok("w", &["push", "-q"]);
        let option = ["--bundle-uri", old.as_str()];
        world.sh("rm -rf with plain");
        git.ok("", &["clone", "-q", &url, "plain"]);
        let bundles = count(&server, BUNDLES, "");
        git.ok("", &[&["clone", "-q"], &option[..], &[&url, "with"]].concat());
        assert_eq!(count(&server, BUNDLES, ""), bundles + 1);
        assert_eq!(git.id("with", "refs/bundles/main"), main);
        assert!(state(&git, "with") == state(&git, "plain"));
        git.assert_clean("with");

        git.ok("w", &["checkout", "-q", "--detach", "main~9"]);
        git.commit("w", "other.txt", &git.label);
        git.ok("w", &["push", "-qf", "origin", "HEAD:main"]);
        world.sh("rm -rf with plain");
        git.ok("", &["clone", "-q", &url, "plain"]);
        let run = git.run("", &[&["clone", "-q"], &option[..], &[&url, "with"]].concat());
        run.says(0, &["failed to download bundle"]);
        assert!(state(&git, "with") == state(&git, "plain"));
        assert_eq!(same(&world, &git, &url, &WITH, &[]), "");
        git.ok("source.git", &["push", "-qf", &url, "main"]);
        world.sh("rm -rf w");
    }
}

#[test]
fn parts_of_a_repository_are_right_with_a_bundle_too() {
    let world = world();
    let server = serve(&world);
    let url = server.repo("r");
    for git in asking(&world) {
        same(&world, &git, &url, &WITH, &["--mirror"]);
        same(&world, &git, &url, &WITH, &["--bare"]);
        for clone in [&["--single-branch", "--branch=side"][..], &["--no-tags"]] {
            // The default branch comes along, wanted or not: git asks without saying what it needs.
            world.sh("rm -rf with");
            git.ok("", &[&WITH[..], &["clone", "-q"], clone, &[&url, "with"]].concat());
            git.assert_clean("with");
        }
    }
}

#[test]
fn a_private_bundle_comes_with_the_credentials_that_git_has() {
    let world = world();
    let server = serve(&world);
    let token = world.ok(&["token", "create", "--repo", "r"]).trim().to_owned();
    let all = world.ok(&["token", "create", "--repo", "*"]).trim().to_owned();
    let (url, host) = (server.repo("r"), server.address());
    let with_token = format!("http://x:{token}@{host}/r.git");
    fs::write(world.path("kept"), format!("http://x:{token}@{host}\n")).expect("written");
    let helper = format!("credential.helper=store --file={}", world.path("kept").display());
    let header = format!("http.extraHeader=Authorization: Bearer {token}");
    for git in asking(&world) {
        for (url, how) in
            [(&with_token, "user.name=unused"), (&url, helper.as_str()), (&url, header.as_str())]
        {
            world.sh("rm -rf with");
            let bundles = count(&server, BUNDLES, &all);
            let options = [&WITH[..], &["-c", how, "clone", "-q", url, "with"]].concat();
            let run = git.run("", &options);
            assert_eq!((run.code, run.words.as_str()), (0, ""), "{how}");
            assert_eq!(count(&server, BUNDLES, &all), bundles + 1, "{how}");
            assert_eq!(git.id("with", "HEAD"), git.id("source.git", "main"));
            git.assert_clean("with");
        }
        // Somebody who is there to be asked once only: the clone is whole without the bundle.
        let script = format!(
            "#!/bin/sh\ncase $1 in Pass*) test -e asked && exit 1; touch asked; echo {token};; \
             *) echo x;; esac\n"
        );
        fs::write(world.path("ask"), script).expect("written");
        fs::set_permissions(world.path("ask"), fs::Permissions::from_mode(0o755)).expect("set");
        world.sh("rm -rf with asked");
        let mut command = git.command("");
        command
            .env("GIT_ASKPASS", world.path("ask"))
            .args(WITH)
            .args(["clone", "-q", &url, "with"]);
        let output = command.output().expect("started");
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{words}");
        assert!(words.contains("failed to download bundle"), "{words}");
        git.assert_clean("with");
    }
}
