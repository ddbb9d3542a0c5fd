//! Fetches by real git, compared with what the same git gets from the source itself.

use crate::support::World;
use crate::support::cgi::GitServer;
use crate::support::client::{Git, few, git, gits};
use crate::support::repos::{COMMITS, history};
use crate::support::server::Server;

/// A world whose server has the source's branches and tags as `r`. git's own server, the oracle,
/// answers for `source.git`.
fn world() -> World {
    let world = World::with_store();
    history(&world, "source.git");
    world.sh("cd source.git && git config uploadpack.allowFilter true && \
        git config uploadpack.allowAnySHA1InWant true && \
        git update-ref -d refs/notes/commits && git update-ref -d refs/odd/x/y && \
        git symbolic-ref -d refs/remotes/origin/HEAD && \
        git update-ref -d refs/remotes/origin/main");
    world
}

fn serve(world: &World) -> (Server<'_>, String) {
    let server = Server::start(world);
    let url = server.repo("r");
    git(world).ok("source.git", &["push", "-q", "--mirror", &url]);
    (server, url)
}

/// What a client has after a fetch: objects, the shallow border, references.
#[track_caller]
fn state(git: &Git<'_>, dir: &str) -> (Vec<String>, String, String) {
    let inside = git.ok(dir, &["rev-parse", "--absolute-git-dir"]);
    let shallow = std::fs::read_to_string(format!("{}/shallow", inside.trim()));
    let mut shallow: Vec<String> = shallow.unwrap_or_default().lines().map(str::to_owned).collect();
    shallow.sort_unstable();
    let refs = git.ok(dir, &["for-each-ref", "--format=%(refname) %(objectname) %(symref)"]);
    (git.objects(dir), shallow.join("\n"), refs)
}

#[track_caller]
fn assert_same_state(git: &Git<'_>, done: &str) {
    let (ours, theirs) = (state(git, "ours"), state(git, "theirs"));
    let only = |a: &[String], b: &[String]| {
        a.iter().filter(|line| !b.contains(line)).take(20).cloned().collect::<Vec<_>>()
    };
    let label = &git.label;
    assert_eq!((&ours.1, &ours.2), (&theirs.1, &theirs.2), "{label} {done}");
    let (more, less) = (only(&ours.0, &theirs.0), only(&theirs.0, &ours.0));
    assert!(ours.0 == theirs.0, "{label} {done}: more: {more:#?}, less: {less:#?}");
}

/// Does the same with the server and with the source, in the same steps; asserts that the results
/// are the same after each.
#[track_caller]
fn same(world: &World, git: &Git<'_>, url: &str, clone: &[&str], steps: &[&[&str]]) {
    let source = format!("{}/source.git", GitServer::start(world).url);
    let (ours, theirs) = ("ours", "theirs");
    world.sh("rm -rf ours theirs");
    for (from, dir) in [(url, ours), (source.as_str(), theirs)] {
        git.ok("", &[&["clone", "-q"], clone, &[from, dir]].concat());
    }
    let mut done = format!("{clone:?}");
    assert_same_state(git, &done);
    for step in steps {
        done = format!("{done} {step:?}");
        git.ok(ours, step);
        git.ok(theirs, step);
        assert_same_state(git, &done);
    }
    git.assert_clean(ours);
}

#[test]
fn shallow_fetches_bring_what_gits_own_server_sends() {
    let world = world();
    let (_server, url) = serve(&world);
    let since = format!("--shallow-since={}", 1_600_000_000 + (COMMITS - 60) * 60);
    let earlier = format!("--shallow-since={}", 1_600_000_000 + (COMMITS - 200) * 60);
    for git in few(&world) {
        let unshallow: &[&str] = &["fetch", "-q", "--unshallow"];
        let deepen: &[&str] = &["fetch", "-q", "--deepen=3"];
        let same = |clone: &[&str], steps: &[&[&str]]| same(&world, &git, &url, clone, steps);
        same(&["--depth=1"], &[deepen, &["fetch", "-q", "--depth=2"], unshallow]);
        same(&["--depth=1", "--no-single-branch"], &[deepen, &["fetch", "-q", &since]]);
        same(&[&since], &[&["fetch", "-q", &earlier], unshallow]);
        same(&["--shallow-exclude=v1.0", "--no-single-branch"], &[unshallow]);
    }
}

#[test]
fn every_git_clones_shallow_and_filtered_by_every_protocol_version() {
    let world = world();
    let (_server, url) = serve(&world);
    for git in gits(&world) {
        let same = |clone: &[&str], steps: &[&[&str]]| same(&world, &git, &url, clone, steps);
        same(&["--depth=1"], &[&["fetch", "-q", "--unshallow"]]);
        same(&["--filter=blob:none", "--no-checkout"], &[&["checkout", "-q", "main"]]);
        same(&[], &[]);
    }
}

#[test]
fn an_impossible_shallow_fetch_says_so() {
    let world = world();
    let (_server, url) = serve(&world);
    for git in gits(&world) {
        let run = git.run("", &["clone", "-q", "--shallow-since=2100-01-01", &url, "none"]);
        run.says(128, &["no commits selected for shallow requests"]);
        let run = git.run("", &["clone", "-q", "--branch=absent", &url, "none"]);
        run.says(128, &["Remote branch absent not found"]);
        let run = git.run("", &["clone", "-q", &url.replace("r.git", "absent.git"), "none"]);
        run.says(128, &["not found"]);
    }
}

#[test]
fn filtered_clones_bring_what_gits_own_server_sends_and_the_rest_on_demand() {
    let world = world();
    let (_server, url) = serve(&world);
    for git in few(&world) {
        let same = |clone: &[&str], steps: &[&[&str]]| same(&world, &git, &url, clone, steps);
        let older: &[&str] = &["checkout", "-q", "main~20"];
        same(&["--filter=blob:none", "--no-checkout"], &[&["checkout", "-q", "main"], older]);
        same(&["--filter=blob:none", "--no-checkout", "--depth=5"], &[]);
        same(&["--filter=blob:limit=1k", "--no-checkout"], &[older]);
        same(&["--filter=tree:0", "--bare"], &[&["cat-file", "-p", "main~3^{tree}"]]);
        // A tree that a tag names would be sent deeper than one of a commit.
        let no_tags = ["--no-tags", "--single-branch", "--branch=side"];
        same(&[&["--filter=tree:2", "--no-checkout"], &no_tags[..]].concat(), &[]);
    }
}

#[test]
fn parts_of_a_repository_and_what_is_new_in_it() {
    let world = world();
    let (_server, url) = serve(&world);
    for git in few(&world) {
        let same = |clone: &[&str], steps: &[&[&str]]| same(&world, &git, &url, clone, steps);
        let more: &[&str] = &["fetch", "-q", "origin", "refs/heads/merged:refs/heads/merged"];
        let tag: &[&str] = &["fetch", "-q", "origin", "tag", "tree-tag"];
        same(&["--single-branch", "--branch=side"], &[more, tag, &["fetch", "-q", "--all"]]);
        same(&["--no-tags"], &[&["fetch", "-q", "--tags"]]);
        same(&["--branch=v1.0"], &[]);
        same(&["--mirror"], &[&["fetch", "-q", "--prune"]]);
        let id = git.id("source.git", "main~7");
        same(&["--depth=1", "--branch=side"], &[&["fetch", "-q", "origin", &id]]);
    }
}

#[test]
fn ls_remote_lists_what_gits_own_server_lists() {
    let world = world();
    let (_server, url) = serve(&world);
    let source = format!("{}/source.git", GitServer::start(&world).url);
    for git in gits(&world) {
        let cases: [&[&str]; 6] =
            [&[], &["--heads"], &["--tags"], &["--refs"], &["--symref"], &["--symref", "HEAD"]];
        for args in cases {
            let (options, patterns): (Vec<&str>, Vec<&str>) =
                args.iter().copied().partition(|arg| arg.starts_with('-'));
            let list = |from: &str| {
                let words = [&["ls-remote"], &options[..], &[from], &patterns[..]].concat();
                git.ok("", &words)
            };
            assert_eq!(list(&url), list(&source), "{} {args:?}", git.label);
        }
        let run = git.run("", &["ls-remote", "--exit-code", &url, "absent"]);
        run.says(2, &[]);
    }
}

#[test]
fn an_empty_repository_is_cloned_and_pushed_to() {
    let world = World::with_store();
    let server = Server::start(&world);
    for git in gits(&world) {
        world.ok(&["repo", "create", &git.label]);
        let (url, dir) = (server.repo(&git.label), &git.label);
        git.run("", &["clone", &url, dir]).says(0, &["empty repository"]);
        assert_eq!(git.remote_refs(&url), "");
        git.ok(dir, &["fetch", "-q"]);
        git.commit(dir, "a.txt", "one\n");
        git.ok(dir, &["push", "-q", "origin", "HEAD"]);
        assert_eq!(git.remote_refs(&url).lines().count(), 2, "{}: HEAD and main", git.label);
    }
}

#[test]
fn a_fetch_sends_only_what_is_new() {
    let world = world();
    let (server, url) = serve(&world);
    for git in gits(&world) {
        let (old, new) = (&git.label, &format!("{}-new", git.label));
        git.ok("", &["clone", "-q", &url, old]);
        git.ok("", &["clone", "-q", &url, new]);
        let commit = git.commit(new, "new.txt", &git.label);
        git.ok(new, &["push", "-q"]);
        let before = server.metric("mega_store_body_out_bytes_total");
        git.ok(old, &["fetch", "-q"]);
        let sent = server.metric("mega_store_body_out_bytes_total") - before;
        assert!(sent < 20_000, "{}: {sent} bytes for one commit", git.label);
        assert_eq!(git.id(old, "origin/main"), commit);
        git.ok(old, &["merge", "-q", "--ff-only", "origin/main"]);
        git.assert_clean(old);
    }
}
