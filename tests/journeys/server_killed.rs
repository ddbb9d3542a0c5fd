//! A server that is killed in the middle of pushes and uploads: what a client was told is there,
//! and nothing is half there.

use std::fs;
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use crate::support::client::{Git, git};
use crate::support::server::Server;
use crate::support::{Numbers, World};

/// Rounds; `MEGA_KILL_ROUNDS` asks for more.
const ROUNDS: u64 = 5;
const URL: &str = "torture/r";

/// A commit with small files, a larger one, and a model under LFS. The commit.
fn work(world: &World, git: &Git<'_>, numbers: &mut Numbers, round: u64) -> String {
    let dir = world.path("work");
    for file in 0..60 {
        let text: String = (0..60).map(|_| format!("{}\n", numbers.next())).collect();
        fs::write(dir.join(format!("file{file}.txt")), text).expect("written");
    }
    fs::write(dir.join("blob.dat"), numbers.bytes(2 << 20)).expect("written");
    fs::write(dir.join("model.bin"), numbers.weights(8 << 20)).expect("written");
    git.ok("work", &["add", "."]);
    git.ok("work", &["commit", "-q", "-m", &format!("round {round}")]);
    git.id("work", "HEAD")
}

/// Starts a push of the branch that also makes another: one transaction.
fn push(git: &Git<'_>, url: &str, round: u64) -> Child {
    let spec = format!("main:refs/heads/round{round}");
    let mut command = git.command("work");
    command.args(["push", "-q", "--atomic", url, "main", &spec]);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started")
}

/// Asserts that the server is whole: a fresh clone with all LFS content is clean. Its main and the
/// branch of this round.
fn check(git: &Git<'_>, world: &World, url: &str, round: u64) -> [String; 2] {
    world.sh("rm -rf check");
    git.ok("", &["clone", "-q", "--mirror", url, "check"]);
    git.assert_clean("check");
    git.ok("check", &["lfs", "fetch", "--all", "origin"]);
    git.ok("check", &["lfs", "fsck"]);
    ["main", &format!("round{round}")].map(|branch| {
        let name = format!("refs/heads/{branch}");
        git.run("check", &["rev-parse", "-q", "--verify", &name]).text().trim().to_owned()
    })
}

#[test]
fn a_server_may_be_killed_anywhere() {
    let world = World::with_store();
    let git = git(&world);
    world.sh("git init -q work && cd work && git lfs install --local >&2 && \
        git lfs track '*.bin' >&2 && git config lfs.transfer.maxretries 1");
    let mut server = Server::start(&world);
    let url = server.repo(URL);
    let mut numbers = Numbers(77);
    let mut last = work(&world, &git, &mut numbers, 0);
    let began = Instant::now();
    assert!(push(&git, &url, 0).wait().expect("ended").success());
    let whole = began.elapsed();
    let rounds = std::env::var("MEGA_KILL_ROUNDS").ok().and_then(|n| n.parse().ok());
    for round in 1..=rounds.unwrap_or(ROUNDS) {
        let new = work(&world, &git, &mut numbers, round);
        let delay = whole.mul_f64((numbers.next() % 1000) as f64 / 1000.0);
        let mut client = push(&git, &url, round);
        let (ended, wait) = mpsc::channel();
        let waiter = thread::spawn(move || {
            let _ended = ended;
            client.wait().expect("ended").success()
        });
        let _: Result<(), _> = wait.recv_timeout(delay);
        server.kill();
        let was_told = waiter.join().expect("no panic");
        server.restart();
        let at = format!("round {round}, {} of {} ms", delay.as_millis(), whole.as_millis());
        let [main, branch] = check(&git, &world, &url, round);
        match (was_told, main == new) {
            (_, true) => assert_eq!(branch, new, "{at}: both or none"),
            (false, false) => assert_eq!((&main, branch.as_str()), (&last, ""), "{at}: as before"),
            (true, false) => panic!("{at}: the client was told that it is there"),
        }
        // It can be done now.
        assert!(push(&git, &url, round).wait().expect("ended").success(), "{at}");
        assert_eq!(check(&git, &world, &url, round), [new.clone(), new.clone()], "{at}");
        last = new;
    }
    assert_eq!(world.run(&["repo", "list"]).text().lines().count(), 1);
}
