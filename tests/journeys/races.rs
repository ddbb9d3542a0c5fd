//! Many clients at once: everyone gets something whole, and of those who race one wins.

use std::io::Write as _;
use std::process::{Child, Stdio};
use std::sync::Barrier;
use std::thread;

use crate::support::World;
use crate::support::client::{Git, git};
use crate::support::repos::history;
use crate::support::server::{Server, client};

const CLONES: usize = 16;
const PUSHERS: usize = 4;
/// Pushes of each pusher, one after the other.
const PUSHES: usize = 3;
const RACERS: usize = 8;
const RACES: usize = 4;

fn spawn(git: &Git<'_>, dir: &str, args: &[&str]) -> Child {
    let mut command = git.command(dir);
    command.args(args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("started")
}

#[track_caller]
fn ends_well(child: Child, what: &str) {
    let output = child.wait_with_output().expect("ended");
    assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn sixteen_clones_while_four_push() {
    let world = World::with_store();
    history(&world, "source.git");
    let server = Server::start(&world);
    let git = git(&world);
    let url = server.repo("r");
    git.ok("source.git", &["push", "-q", &url, "main"]);
    let mut made: Vec<Vec<String>> = Vec::new();
    for pusher in 0..PUSHERS {
        let dir = format!("pusher{pusher}");
        git.ok("", &["clone", "-q", &url, &dir]);
        git.ok(&dir, &["switch", "-q", "-c", &format!("branch{pusher}")]);
        let commit = |n| git.commit(&dir, "new.txt", &format!("{pusher} {n}\n"));
        made.push((0..PUSHES).map(commit).collect());
    }
    let clones: Vec<Child> = (0..CLONES)
        .map(|n| spawn(&git, "", &["clone", "-q", "--mirror", &url, &format!("clone{n}.git")]))
        .collect();
    thread::scope(|scope| {
        for (pusher, commits) in made.iter().enumerate() {
            let (git, url) = (&git, &url);
            scope.spawn(move || {
                for commit in commits {
                    let spec = format!("{commit}:refs/heads/branch{pusher}");
                    let dir = format!("pusher{pusher}");
                    ends_well(spawn(git, &dir, &["push", "-q", url, &spec]), &spec);
                }
            });
        }
    });
    for (n, clone) in clones.into_iter().enumerate() {
        ends_well(clone, &format!("clone {n}"));
        let dir = format!("clone{n}.git");
        git.assert_clean(&dir);
        for (pusher, commits) in made.iter().enumerate() {
            let name = format!("refs/heads/branch{pusher}");
            let seen = git.run(&dir, &["rev-parse", "-q", "--verify", &name]);
            let seen = seen.text().trim();
            assert!(seen.is_empty() || commits.iter().any(|id| id == seen), "{dir}: {name} {seen}");
        }
    }
    let refs = git.remote_refs(&url);
    for (pusher, commits) in made.iter().enumerate() {
        let last = commits.last().expect("some");
        assert!(refs.contains(&format!("{last}\trefs/heads/branch{pusher}\n")), "{refs}");
    }
    git.ok("", &["clone", "-q", "--mirror", &url, "after.git"]);
    git.assert_clean("after.git");
}

/// A push of one commit onto `old`, as git would send it.
fn request(git: &Git<'_>, dir: &str, old: &str, new: &str) -> Vec<u8> {
    let line = format!("{old} {new} refs/heads/main\0report-status agent=journey");
    let mut body = format!("{:04x}{line}0000", line.len() + 4).into_bytes();
    let mut command = git.command(dir);
    command.args(["pack-objects", "--revs", "--stdout", "-q"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("started");
    let revs = format!("{new}\n^{old}\n");
    child.stdin.take().expect("a pipe").write_all(revs.as_bytes()).expect("written");
    body.extend(child.wait_with_output().expect("ended").stdout);
    body
}

#[test]
fn of_pushes_from_one_base_exactly_one_wins() {
    let world = World::with_store();
    let server = Server::start(&world);
    let git = git(&world);
    let url = server.repo("r");
    git.ok("", &["init", "-q", "base"]);
    let mut old = git.commit("base", "a.txt", "base\n");
    git.ok("base", &["push", "-q", &url, "main"]);
    for race in 0..RACES {
        let mut racers = Vec::new();
        for racer in 0..RACERS {
            git.ok("base", &["reset", "-q", "--hard", &old]);
            let new = git.commit("base", "a.txt", &format!("{race} {racer}\n"));
            racers.push((request(&git, "base", &old, &new), new));
        }
        let start = Barrier::new(RACERS);
        let answers: Vec<(String, String)> = thread::scope(|scope| {
            let run = |(body, new): (Vec<u8>, String)| {
                let (start, url) = (&start, &url);
                scope.spawn(move || {
                    let kind = "application/x-git-receive-pack-request";
                    let request = client().post(format!("{url}/git-receive-pack"));
                    let request = request.header("Content-Type", kind).body(body);
                    start.wait();
                    let answer = request.send().expect("an answer");
                    assert_eq!(answer.status(), 200);
                    (new, answer.text().expect("text"))
                })
            };
            let threads: Vec<_> = racers.into_iter().map(run).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        let won: Vec<&String> = answers
            .iter()
            .filter(|(_, text)| text.contains("ok refs/heads/main"))
            .map(|(new, _)| new)
            .collect();
        let lost = answers.iter().filter(|(_, text)| text.contains("ng refs/heads/main")).count();
        assert_eq!((won.len(), lost), (1, RACERS - 1), "race {race}: {answers:?}");
        old.clone_from(won[0]);
        assert!(git.remote_refs(&url).contains(&format!("{old}\trefs/heads/main\n")), "{race}");
    }
    // Deleting is a race too.
    git.ok("base", &["push", "-q", &url, &format!("{old}:refs/heads/gone")]);
    let none = "0".repeat(40);
    let start = Barrier::new(RACERS);
    let wins = thread::scope(|scope| {
        let threads: Vec<_> = (0..RACERS)
            .map(|_| {
                let line = format!("{old} {none} refs/heads/gone\0report-status agent=journey");
                let body = format!("{:04x}{line}0000", line.len() + 4);
                let (start, url) = (&start, &url);
                scope.spawn(move || {
                    let kind = "application/x-git-receive-pack-request";
                    let request = client().post(format!("{url}/git-receive-pack"));
                    let request = request.header("Content-Type", kind).body(body);
                    start.wait();
                    request.send().expect("an answer").text().expect("text")
                })
            })
            .collect();
        let texts = threads.into_iter().map(|thread| thread.join().expect("no panic"));
        texts.filter(|text| text.contains("ok refs/heads/gone")).count()
    });
    assert_eq!(wins, 1);
}

#[test]
fn of_real_clients_that_push_at_once_exactly_one_wins() {
    let world = World::with_store();
    let server = Server::start(&world);
    let git = git(&world);
    let url = server.repo("r");
    git.ok("", &["init", "-q", "base"]);
    git.commit("base", "a.txt", "base\n");
    git.ok("base", &["push", "-q", &url, "main"]);
    let dirs: Vec<String> = (0..RACERS).map(|racer| format!("racer{racer}")).collect();
    for dir in &dirs {
        git.ok("", &["clone", "-q", &url, dir]);
        git.commit(dir, "a.txt", dir);
    }
    let children: Vec<Child> =
        dirs.iter().map(|dir| spawn(&git, dir, &["push", "-q", "origin", "main"])).collect();
    let ended = children.into_iter().map(|child| child.wait_with_output().expect("ended"));
    let wins: Vec<bool> = ended.map(|output| output.status.success()).collect();
    assert_eq!(wins.iter().filter(|won| **won).count(), 1, "{wins:?}");
    let winner = &dirs[wins.iter().position(|won| *won).expect("one")];
    assert!(git.remote_refs(&url).contains(&git.id(winner, "main")));
}
