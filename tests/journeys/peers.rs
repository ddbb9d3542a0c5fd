//! Stores that read from one another as peers: two programs, libp2p between them.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use crate::mount::tree;
use crate::support::repos::{self, weights};
use crate::support::server::Server;
use crate::support::world::has_fuse;
use crate::support::{Numbers, World};

/// Length of the large file, in bytes: far more than is read ahead of a reader.
const LEN: usize = 48_000_000;
/// A reader of what cannot be had gets its error within this: the product's own limit, and some
/// time for a busy machine.
const ERROR_WITHIN: Duration = Duration::from_secs(30 + 15);

/// A store that is a peer on this machine.
pub fn peer(world: &World) -> Server<'_> {
    Server::start_with(
        world,
        &["--swarm", "--swarm-listen", "/ip4/127.0.0.1/tcp/0", "--no-mdns", "--reachable", "yes"],
    )
}

/// The address with the peer id that it prints, before its URL but on another stream.
pub fn address(server: &Server<'_>) -> String {
    server.line("peer ")
}

pub fn id(world: &World) -> String {
    world.ok(&["peer", "id"]).trim().to_owned()
}

#[test]
fn a_mount_from_a_peer_is_what_git_checks_out() {
    if !has_fuse() {
        return;
    }
    let (there, here) = (World::with_store(), World::with_store());
    repos::history(&there, "source.git");
    there.ok(&["import", "source.git"]);
    there.ok(&["repo", "visibility", "source", "public"]);
    let server = peer(&there);
    here.ok(&["peer", "add", &address(&server)]);
    let url = format!("p2p://{}/repo/source", id(&there));
    for (index, rev) in ["HEAD", "main~400", "v1.0"].into_iter().enumerate() {
        let mounted = here.mount(&format!("{url}@{rev}"), &format!("mnt{index}"), &[]);
        let expected = there.path(format!("checkout{index}"));
        let commit = there.git("source.git", &["rev-parse", &format!("{rev}^{{commit}}")]);
        let shown = expected.display();
        there
            .sh(&format!("umask 022; git -C source.git worktree add -q --detach {shown} {commit}"));
        let (left, right) = (expected.display(), mounted.path.display());
        here.sh(&format!("diff -r --no-dereference --exclude=.git '{left}' '{right}'"));
        assert_eq!(tree(&there, &expected), tree(&here, &mounted.path));
    }
    here.make("no");
    here.run(&["mount", &format!("{url}@nope"), "no"]).says(1, &["names no revision"]);
    let absent = format!("p2p://{}/repo/absent", id(&there));
    here.run(&["mount", &absent, "no"]).says(1, &["no such repository", "hint: "]);
}

#[test]
fn only_what_is_touched_comes_from_a_peer_and_stays_when_it_has_gone() {
    if !has_fuse() {
        return;
    }
    let (there, here) = (World::with_store(), World::with_store());
    let bytes = Numbers(77).bytes(LEN);
    there.sh("git init -q big && cd big && git lfs track '*.bin' >&2");
    fs::write(there.path("big/model.bin"), &bytes).expect("written");
    there.sh("cd big && git add . && git commit -qm one");
    there.ok(&["import", "big"]);
    there.ok(&["repo", "visibility", "big", "public"]);
    let server = peer(&there);
    here.ok(&["peer", "add", &address(&server)]);
    let mounted = here.mount(&format!("p2p://{}/repo/big", id(&there)), "mnt", &[]);
    let path = mounted.path.join("model.bin");
    let file = File::open(&path).expect("opened");
    let mut part = vec![0; 1 << 20];
    file.read_exact_at(&mut part, 20_000_000).expect("read");
    assert!(part == bytes[20_000_000..21_048_576], "right bytes from the middle");
    let rows = here.run(&["peer", "list", "--json"]).json();
    let received = rows[0]["received"].as_u64().expect("a number");
    assert!((1 << 20..6 << 20).contains(&received), "{received} bytes for one mebibyte");
    assert_eq!(rows[0]["wrong_chunks"], 0);
    drop(server);
    file.read_exact_at(&mut part, 20_000_000).expect("what is here reads");
    let asked = Instant::now();
    let error = file.read_exact_at(&mut part, 40_000_000).expect_err("nobody has it");
    assert_eq!(error.raw_os_error(), Some(5), "EIO: {error}");
    assert!(asked.elapsed() < ERROR_WITHIN, "{:?}", asked.elapsed());
}

#[test]
fn reads_go_on_by_the_upstream_when_the_peer_is_killed() {
    if !has_fuse() {
        return;
    }
    let (there, beside, here) = (World::with_store(), World::with_store(), World::with_store());
    let bytes = Numbers(78).bytes(LEN);
    there.sh("git init -q big && cd big && git lfs track '*.bin' >&2 && mkdir later");
    fs::write(there.path("big/model.bin"), &bytes).expect("written");
    fs::write(there.path("big/later/small"), "small\n").expect("written");
    there.sh("cd big && git add . && git commit -qm one");
    there.ok(&["import", "big"]);
    there.ok(&["repo", "visibility", "big", "public"]);
    beside.ok(&["import", &there.path("big").display().to_string()]);
    let server = Server::start(&beside);
    let upstream = server.repo("big");
    let mut killed = peer(&there);
    here.ok(&["peer", "add", &address(&killed)]);
    let url = format!("p2p://{}/repo/big", id(&there));
    let whole = |path: &std::path::Path| {
        assert!(fs::read(path.join("model.bin")).expect("read") == bytes, "every byte");
        assert_eq!(fs::read_to_string(path.join("later/small")).expect("read"), "small\n");
    };
    {
        let mounted = here.mount(&url, "mnt", &["--upstream", &upstream]);
        let file = File::open(mounted.path.join("model.bin")).expect("opened");
        let mut part = vec![0; 1 << 20];
        file.read_exact_at(&mut part, 20_000_000).expect("read");
        assert!(part == bytes[20_000_000..21_048_576], "right bytes from the middle");
        killed.kill();
        whole(&mounted.path);
        let status = here.run(&["status", "--json"]).json().remove(0);
        let shown = &status["mounts"][0]["upstream"];
        assert_eq!(shown["url"], upstream);
        let used = shown["bytes"].as_u64().expect("a number");
        assert!(used > LEN as u64 / 2, "{used} bytes from the server");
    }
    // It is kept, and with the peer away for good it is what a mount finds.
    let local = format!("{}/big", id(&there));
    assert_eq!(here.ok(&["repo", "config", &local, "swarm.upstream"]).trim(), upstream);
    let again = here.mount(&local, "again", &[]);
    whole(&again.path);
    // Only what is read from a peer has one, and none with a password is kept.
    here.make("no");
    let run = here.run(&["mount", &upstream, "no", "--upstream", &upstream]);
    run.says(2, &["only what is read from a peer"]);
    let secret = "http://me:secret@127.0.0.1:1/big.git";
    let run = here.run(&["repo", "config", &local, "swarm.upstream", secret]);
    run.says(2, &["without user and password"]);
    assert!(!run.words.contains("secret"), "{}", run.words);
}

#[test]
fn a_seeder_that_is_killed_and_comes_back_is_read_on_from() {
    if !has_fuse() {
        return;
    }
    let (there, here) = (World::with_store(), World::with_store());
    let [_, second] = weights(&there, "model");
    there.ok(&["import", "model"]);
    there.ok(&["repo", "visibility", "model", "public"]);
    let server = peer(&there);
    let at = address(&server);
    here.ok(&["peer", "add", &at]);
    let mounted = here.mount(&format!("p2p://{}/repo/model", id(&there)), "mnt", &[]);
    let file = File::open(mounted.path.join("model.safetensors")).expect("opened");
    let mut first = [0; 1000];
    file.read_exact_at(&mut first, 0).expect("read");
    // Killed, and back on the same port while a reader waits.
    drop(server);
    let listen = at.split("/p2p/").next().expect("an address").to_owned();
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        std::io::Read::read_to_end(&mut &file, &mut all).map(|_| all)
    });
    let again = Server::start_with(
        &there,
        &["--swarm", "--swarm-listen", &listen, "--no-mdns", "--reachable", "yes"],
    );
    let all = reader.join().expect("no panic").expect("it goes on");
    assert!(all == second, "every byte");
    drop(again);
}

#[test]
fn who_is_not_let_in_sees_the_same_as_for_what_is_not_there() {
    let (there, here) = (World::with_store(), World::with_store());
    weights(&there, "model");
    there.ok(&["import", "model"]);
    let server = peer(&there);
    here.ok(&["peer", "add", &address(&server)]);
    here.make("no");
    let of = |name: &str| format!("p2p://{}/repo/{name}", id(&there));
    let refusal = |name: &str| {
        let run = here.run(&["mount", &of(name), "no"]);
        run.says(1, &["no such repository", "hint: "]);
        run.words.replace(name, "NAME")
    };
    assert_eq!(refusal("model"), refusal("absent"));
    // The mesh is whom the owner added, both ways.
    there.ok(&["repo", "visibility", "model", "mesh"]);
    assert_eq!(refusal("model"), refusal("absent"));
    if has_fuse() {
        there.ok(&["peer", "add", &format!("/ip4/127.0.0.1/tcp/9/p2p/{}", id(&here))]);
        let mounted = here.mount(&of("model"), "mnt", &[]);
        assert!(mounted.path.join("model.safetensors").exists());
    }
}
