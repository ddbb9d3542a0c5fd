//! Pushes by real git, of every version on the machine and every protocol version.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::Stdio;

use crate::support::client::{Git, git, gits};
use crate::support::repos::history;
use crate::support::server::{Server, client};
use crate::support::{World, repos};

/// References in one push.
const MANY: usize = 5_000;

/// Every object that a reference reaches, sorted.
fn reachable(git: &Git<'_>, dir: &str) -> Vec<String> {
    let text = git.ok(dir, &["rev-list", "--objects", "--all", "--no-object-names"]);
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}

/// A clone `dir` of a repository that this has pushed with one commit.
fn pushed(git: &Git<'_>, url: &str, dir: &str) -> String {
    git.ok("", &["init", "-q", dir]);
    let commit = git.commit(dir, "a.txt", "one\n");
    git.ok(dir, &["remote", "add", "origin", url]);
    git.ok(dir, &["push", "-q", "-u", "origin", "main"]);
    commit
}

fn update_refs(git: &Git<'_>, dir: &str, lines: &str) {
    let mut command = git.command(dir);
    let mut child = command.args(["update-ref", "--stdin"]).stdin(Stdio::piped()).spawn();
    let child = child.as_mut().expect("started");
    child.stdin.take().expect("a pipe").write_all(lines.as_bytes()).expect("written");
    assert!(child.wait().expect("ended").success());
}

#[test]
fn a_push_makes_the_repository_and_a_clone_brings_it_back() {
    let world = World::with_store();
    history(&world, "source.git");
    let server = Server::start(&world);
    for git in gits(&world) {
        let (label, url) = (&git.label, server.repo(&format!("team/{}", git.label)));
        let all = ["push", "-q", &url, "refs/heads/*:refs/heads/*", "refs/tags/*:refs/tags/*"];
        git.ok("source.git", &all);
        let expected = git.ok("source.git", &["ls-remote", "--heads", "--tags", "."]);
        assert_eq!(git.ok("", &["ls-remote", "--heads", "--tags", &url]), expected, "{label}");
        let copy = format!("{label}.git");
        git.ok("", &["clone", "-q", "--bare", &url, &copy]);
        git.ok("", &["clone", "-q", "--bare", "source.git", "local.git"]);
        assert_eq!(reachable(&git, &copy), reachable(&git, "local.git"), "{label}");
        world.sh("rm -r local.git");
        // As git's own findings: the history has tags that fsck warns of.
        assert!(repos::fsck(&world, &copy).contains(&"well: true".to_owned()), "{label}");
        assert_eq!(git.ok(&copy, &["symbolic-ref", "HEAD"]), "refs/heads/main\n", "{label}");
    }
    let names = world.ok(&["repo", "list"]);
    gits(&world).iter().for_each(|git| assert!(names.contains(&git.label), "{names}"));
}

#[test]
fn what_one_clone_pushes_the_other_pulls() {
    let world = World::with_store();
    let server = Server::start(&world);
    for git in gits(&world) {
        let url = server.repo(&git.label);
        let (one, two) = (format!("{}-one", git.label), format!("{}-two", git.label));
        pushed(&git, &url, &one);
        git.ok("", &["clone", "-q", &url, &two]);
        let first = git.commit(&one, "b.txt", "two\n");
        git.ok(&one, &["push", "-q"]);
        git.ok(&two, &["pull", "-q"]);
        assert_eq!(git.id(&two, "HEAD"), first, "{}", git.label);
        // Both go on; the second has to merge.
        git.commit(&one, "c.txt", "three\n");
        git.ok(&one, &["push", "-q"]);
        git.commit(&two, "d.txt", "four\n");
        git.run(&two, &["push", "-q"]).says(1, &["rejected"]);
        git.ok(&two, &["pull", "-q", "--no-rebase", "--no-edit"]);
        git.ok(&two, &["push", "-q"]);
        git.ok(&one, &["pull", "-q"]);
        assert_eq!(git.id(&one, "HEAD"), git.id(&two, "HEAD"), "{}", git.label);
        assert_eq!(
            git.remote_refs(&url),
            git.ok(&one, &["ls-remote", "."])
                .replace(&format!("{}\trefs/remotes/origin/main\n", git.id(&one, "HEAD")), ""),
            "{}",
            git.label
        );
        git.assert_clean(&two);
    }
}

#[test]
fn a_lease_is_kept_or_refused() {
    let world = World::with_store();
    let server = Server::start(&world);
    for git in gits(&world) {
        let url = server.repo(&git.label);
        let (one, two) = (format!("{}-one", git.label), format!("{}-two", git.label));
        pushed(&git, &url, &one);
        git.ok("", &["clone", "-q", &url, &two]);
        // Fresh: nobody has pushed since.
        git.ok(&one, &["commit", "-q", "--amend", "-m", "rewritten"]);
        git.run(&one, &["push", "-q"]).says(1, &["non-fast-forward"]);
        git.ok(&one, &["push", "-q", "--force-with-lease"]);
        let now = git.id(&one, "HEAD");
        // Stale: the other has not seen that.
        git.ok(&two, &["commit", "-q", "--amend", "-m", "mine"]);
        git.run(&two, &["push", "-q", "--force-with-lease"]).says(1, &["stale info"]);
        let stale = format!("--force-with-lease=main:{}", git.id(&two, "HEAD"));
        git.run(&two, &["push", "-q", &stale]).says(1, &["stale info"]);
        assert!(git.remote_refs(&url).contains(&now), "{}", git.label);
        let fresh = format!("--force-with-lease=main:{now}");
        git.ok(&two, &["push", "-q", &fresh]);
        assert!(git.remote_refs(&url).contains(&git.id(&two, "HEAD")), "{}", git.label);
        // A branch that shall not be there yet.
        git.ok(&two, &["push", "-q", "--force-with-lease=new:", "origin", "HEAD:new"]);
        let run = git.run(&one, &["push", "-q", "--force-with-lease=new:", "origin", "HEAD:new"]);
        run.says(1, &["stale info"]);
    }
}

/// A request of git-receive-pack with one command, and no pack.
fn command(old: &str, new: &str, name: &str) -> Vec<u8> {
    let line = format!("{old} {new} {name}\0report-status atomic agent=journey");
    format!("{:04x}{line}0000", line.len() + 4).into_bytes()
}

#[test]
fn a_command_whose_old_value_is_not_the_present_one_is_refused_by_the_server() {
    let world = World::with_store();
    let server = Server::start(&world);
    let git = git(&world);
    let url = server.repo("cas");
    let first = pushed(&git, &url, "one");
    git.ok("one", &["push", "-q", "origin", "main:gone"]);
    let second = git.commit("one", "b.txt", "two\n");
    git.ok("one", &["push", "-q"]);
    let none = "0".repeat(40);
    let bad = [
        (first.as_str(), none.as_str(), "refs/heads/main"),
        (&first, &second, "refs/heads/gone-already"),
        (&none, &first, "refs/heads/main"),
        (&second, &none, "refs/heads/gone"),
    ];
    let before = git.remote_refs(&url);
    for (old, new, name) in bad {
        let mut body = command(old, new, name);
        if new != none {
            body.extend_from_slice(&empty_pack());
        }
        let (status, text) = post(&url, body);
        assert_eq!(status, 200, "{text}");
        assert!(text.contains(&format!("ng {name} ")), "{name}: {text}");
        assert_eq!(git.remote_refs(&url), before, "{name}");
    }
    let (_, text) = post(&url, command(&first, &none, "refs/heads/gone"));
    assert!(text.contains("ok refs/heads/gone"), "{text}");
}

/// Posts a request to git-receive-pack; status and text of the answer.
fn post(url: &str, body: Vec<u8>) -> (u16, String) {
    let request = client().post(format!("{url}/git-receive-pack")).body(body);
    let request = request.header("Content-Type", "application/x-git-receive-pack-request");
    let answer = request.send().expect("an answer");
    (answer.status().as_u16(), answer.text().expect("text"))
}

/// A pack without objects.
fn empty_pack() -> Vec<u8> {
    let mut pack = b"PACK\0\0\0\x02\0\0\0\0".to_vec();
    let sum = [
        0x02, 0x9d, 0x08, 0x82, 0x3b, 0xd8, 0xa8, 0xea, 0xb5, 0x10, 0xad, 0x6a, 0xc7, 0x5c, 0x82,
        0x3c, 0xfd, 0x3e, 0xd3, 0x1e,
    ];
    pack.extend_from_slice(&sum);
    pack
}

#[test]
fn an_atomic_push_is_all_or_nothing() {
    let world = World::with_store();
    let server = Server::start(&world);
    for git in gits(&world) {
        let url = server.repo(&git.label);
        let dir = &git.label;
        pushed(&git, &url, dir);
        world.ok(&["repo", "config", &git.label, "receive.denyNonFastForwards", "true"]);
        git.ok(dir, &["commit", "-q", "--amend", "-m", "rewritten"]);
        let before = git.remote_refs(&url);
        let both = ["push", "-q", "--atomic", "origin", "+main", "main:new", "main:newer"];
        git.run(dir, &both).says(1, &["main", "new", "newer", "remote rejected"]);
        assert_eq!(git.remote_refs(&url), before, "{}: none of them", git.label);
        // Each for itself: the good one is there.
        git.run(dir, &["push", "-q", "origin", "+main", "main:new"]).says(1, &["main"]);
        let after = git.remote_refs(&url);
        assert!(after.contains("refs/heads/new\n") && after.starts_with(&before), "{after}");
        let good = ["push", "-q", "--atomic", "origin", "main:a", "main:b", ":new"];
        git.ok(dir, &good);
        let after = git.remote_refs(&url);
        assert!(after.contains("heads/a\n") && after.contains("heads/b\n"), "{after}");
        assert!(!after.contains("heads/new"), "{after}");
    }
}

#[test]
fn branches_and_tags_come_and_go() {
    let world = World::with_store();
    let server = Server::start(&world);
    for git in gits(&world) {
        let url = server.repo(&git.label);
        let dir = &git.label;
        pushed(&git, &url, dir);
        for name in ["x-PACK", "PACK", "feature/0000", "a\u{fc}\u{4e2d}"] {
            git.ok(dir, &["push", "-q", "origin", &format!("main:refs/heads/{name}")]);
            assert!(git.remote_refs(&url).contains(&format!("refs/heads/{name}\n")), "{name}");
            // A push without a pack.
            git.ok(dir, &["push", "-q", "origin", "--delete", name]);
            assert!(!git.remote_refs(&url).contains(name), "{}: {name}", git.label);
        }
        git.run(dir, &["push", "-q", "origin", "--delete", "x-PACK"]).says(1, &["does not exist"]);
        git.ok(dir, &["tag", "light"]);
        git.ok(dir, &["tag", "-a", "-m", "annotated", "heavy"]);
        git.ok(dir, &["tag", "-a", "-m", "of a tag", "nested", "heavy"]);
        git.ok(dir, &["push", "-q", "--tags"]);
        let refs = git.remote_refs(&url);
        for name in ["light", "heavy", "heavy^{}", "nested", "nested^{}"] {
            assert!(refs.contains(&format!("refs/tags/{name}\n")), "{}: {refs}", git.label);
        }
        git.run(dir, &["tag", "-f", "light", "heavy"]);
        git.run(dir, &["push", "-q", "--tags"]).says(1, &["already exists"]);
        git.ok(dir, &["push", "-q", "origin", "+refs/tags/light", ":refs/tags/heavy"]);
        assert!(!git.remote_refs(&url).contains("tags/heavy"), "{}", git.label);
        // A tag that comes along with its commit.
        git.commit(dir, "b.txt", "two\n");
        git.ok(dir, &["tag", "-a", "-m", "follows", "follows"]);
        git.ok(dir, &["push", "-q", "--follow-tags"]);
        let expected = git.ok(dir, &["ls-remote", "."]);
        // heavy is back: it goes along with the commit that it names.
        let expected: Vec<&str> =
            expected.lines().filter(|line| !line.contains("refs/remotes/")).collect();
        assert_eq!(git.remote_refs(&url).lines().collect::<Vec<_>>(), expected, "{}", git.label);
    }
}

#[test]
fn a_mirror_is_the_same_again_after_every_push() {
    let world = World::with_store();
    history(&world, "source.git");
    let server = Server::start(&world);
    for git in gits(&world) {
        let url = server.repo(&git.label);
        let dir = &format!("{}.git", git.label);
        git.ok("", &["clone", "-q", "--mirror", "source.git", dir]);
        let check = || {
            git.ok(dir, &["push", "-q", "--mirror", &url]);
            let back = &format!("{}-back.git", git.label);
            world.sh(&format!("rm -rf {back}"));
            git.ok("", &["clone", "-q", "--mirror", &url, back]);
            assert_eq!(repos::refs(&world, dir), repos::refs(&world, back), "{}", git.label);
            assert_eq!(reachable(&git, dir), reachable(&git, back), "{}", git.label);
            git.assert_clean(back);
        };
        check();
        let lines = "delete refs/heads/side\nupdate refs/heads/merged refs/heads/main~3\n\
            create refs/notes/more refs/heads/main\ndelete refs/tags/nested\n";
        update_refs(&git, dir, lines);
        check();
    }
}

#[test]
fn five_thousand_references_in_one_push() {
    let world = World::with_store();
    let server = Server::start(&world);
    let git = git(&world);
    let url = server.repo("r");
    pushed(&git, &url, "many");
    let commit = git.commit("many", "b.txt", "two\n");
    let mut lines = String::new();
    for number in 0..MANY {
        let _ = writeln!(lines, "create refs/heads/of/many/b{number} {commit}");
    }
    update_refs(&git, "many", &lines);
    // git itself takes seconds for this: it compares every name with every other.
    git.ok("many", &["push", "-q", "origin", "refs/heads/*:refs/heads/*"]);
    for git in gits(&world) {
        let count = |url: &str| git.ok("", &["ls-remote", "--heads", url]).lines().count();
        assert_eq!(count(&url), MANY + 1, "{}", git.label);
        let back = &format!("{}-back.git", git.label);
        git.ok("", &["clone", "-q", "--mirror", &url, back]);
        assert_eq!(count(back), MANY + 1, "{}", git.label);
    }
    // And gone at once, in git's words but without its comparisons.
    let mut body = Vec::new();
    for number in 0..MANY {
        let end = if number == 0 { "\0report-status agent=journey" } else { "" };
        let none = "0".repeat(40);
        let line = format!("{commit} {none} refs/heads/of/many/b{number}{end}");
        body.extend_from_slice(format!("{:04x}{line}", line.len() + 4).as_bytes());
    }
    body.extend_from_slice(b"0000");
    let (status, text) = post(&url, body);
    assert_eq!((status, text.matches("ok refs/heads/of/many/").count()), (200, MANY));
    assert_eq!(git.remote_refs(&url).lines().count(), 2, "HEAD and main");
}

#[test]
fn too_many_references_are_refused_in_words() {
    let world = World::with_store();
    let server = Server::start(&world);
    for git in gits(&world) {
        let (url, dir) = (server.repo(&git.label), &git.label);
        pushed(&git, &url, dir);
        world.ok(&["repo", "config", &git.label, "receive.maxRefs", "3"]);
        (0..4).for_each(|number| drop(git.ok(dir, &["tag", &format!("t{number}")])));
        let told =
            ["a push may change at most 3 references: push them in parts", "receive.maxRefs"];
        git.run(dir, &["push", "--tags", "origin"]).says(1, &told);
        assert_eq!(git.remote_refs(&url).lines().count(), 2, "HEAD and main");
        git.ok(dir, &["push", "-q", "origin", "t0", "t1", "t2"]);
        git.ok(dir, &["push", "-q", "--tags", "origin"]);
    }
}

#[test]
fn push_options_reach_the_program_that_runs_after_a_push() {
    let world = World::with_store();
    let server = Server::start(&world);
    let hook = world.path("after-push");
    let noted = world.path("noted");
    let script = format!(
        "#!/bin/sh\n{{ echo \"$GIT_PUSH_OPTION_COUNT $GIT_PUSH_OPTION_0 $GIT_PUSH_OPTION_1\"; cat; \
         }} >>{}\necho words of the program\n",
        noted.display()
    );
    std::fs::write(&hook, script).expect("written");
    world.sh("chmod +x after-push");
    for git in gits(&world) {
        let url = server.repo(&git.label);
        let dir = &git.label;
        let first = pushed(&git, &url, dir);
        let program = hook.to_string_lossy().into_owned();
        world.ok(&["repo", "config", &git.label, "receive.postReceive", &program]);
        let second = git.commit(dir, "b.txt", "two\n");
        let run = git.run(dir, &["push", "-o", "ci.skip", "--push-option=a b", "origin"]);
        run.says(0, &["remote: words of the program"]);
        let text = std::fs::read_to_string(&noted).expect("the program ran");
        let expected = format!("2 ci.skip a b\n{first} {second} refs/heads/main\n");
        assert_eq!(text, expected, "{}", git.label);
        std::fs::remove_file(&noted).expect("removed");
    }
}

#[test]
fn pushes_from_shallow_clones_and_of_large_and_tiny_things() {
    let world = World::with_store();
    history(&world, "source.git");
    let server = Server::start(&world);
    for git in gits(&world) {
        let url = server.repo(&git.label);
        git.ok("source.git", &["push", "-q", &url, "main", "side"]);
        let dir = &git.label;
        git.ok("", &["clone", "-q", "--depth=2", &url, dir]);
        let made = git.commit(dir, "new.txt", "from a shallow clone\n");
        git.ok(dir, &["push", "-q"]);
        assert!(git.remote_refs(&url).contains(&made), "{}", git.label);
        // Above git's post buffer: a chunked body after a probe.
        let large = crate::support::Numbers(3).bytes(3 << 20);
        std::fs::write(world.path(dir).join("large"), large).expect("written");
        git.ok(dir, &["add", "large"]);
        git.ok(dir, &["commit", "-q", "-m", "large"]);
        git.ok(dir, &["-c", "http.postBuffer=65536", "push", "-q"]);
        git.ok(dir, &["push", "-q", "origin", "HEAD:refs/heads/same"]);
        let run = git.run(dir, &["push", "origin", "HEAD:refs/heads/same"]);
        run.says(0, &["Everything up-to-date"]);
        let back = &format!("{}-back", git.label);
        git.ok("", &["clone", "-q", &url, back]);
        git.assert_clean(back);
        assert_eq!(git.id(back, "HEAD"), git.id(dir, "HEAD"), "{}", git.label);
    }
}
