//! Mounts of what is on another mega-store: two stores, two processes, HTTP between them.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::mount::tree;
use crate::support::repos::{self, weights};
use crate::support::server::Server;
use crate::support::world::has_fuse;
use crate::support::{Numbers, World};

/// Length of the large file, in bytes: far more than is read ahead of a reader.
const LEN: usize = 72_000_000;
/// A reader of what cannot be had gets its error within this: the product's own limit, and some
/// time for a busy machine.
const ERROR_WITHIN: Duration = Duration::from_secs(30 + 15);

/// Asserts that two directories, of different worlds, have the same in them.
#[track_caller]
fn same(world: &World, left: &Path, right: &Path) {
    let (shown, other) = (left.display(), right.display());
    world.sh(&format!("diff -r --no-dereference --exclude=.git '{shown}' '{other}'"));
    assert_eq!(tree(world, left), tree(world, right));
}

/// What git checks out of `name`, under umask 022.
fn checkout(world: &World, name: &str, rev: &str, dir: &str) -> PathBuf {
    let commit = world.git(name, &["rev-parse", &format!("{rev}^{{commit}}")]);
    let path = world.path(dir);
    let shown = path.display();
    world.sh(&format!("umask 022; git -C {name} worktree add -q --detach {shown} {commit}"));
    path
}

/// What the world's only mount has fetched, by name.
#[track_caller]
fn fetched(world: &World, what: &str) -> u64 {
    let status = &world.run(&["status", "--json"]).json()[0];
    let count = status["mounts"][0]["fetched"][what].as_u64();
    count.unwrap_or_else(|| panic!("no '{what}' in {status}"))
}

/// A served repository `big` with a large file under LFS and one that is not; the large one.
fn big(world: &World) -> Vec<u8> {
    let bytes = Numbers(31).bytes(LEN);
    world.sh("git init -q big && cd big && git lfs track '*.bin' >&2");
    fs::write(world.path("big/model.bin"), &bytes).expect("written");
    fs::write(world.path("big/blob"), Numbers(32).bytes(300_000)).expect("written");
    world.sh("cd big && mkdir dir && echo text > dir/text && git add . && git commit -qm one");
    world.ok(&["import", "big"]);
    bytes
}

#[test]
fn a_mount_from_a_server_is_what_git_checks_out() {
    if !has_fuse() {
        return;
    }
    let (there, here) = (World::with_store(), World::with_store());
    repos::history(&there, "source.git");
    there.ok(&["import", "source.git"]);
    there.ok(&["repo", "visibility", "source", "public"]);
    // From now on nobody is the owner.
    there.ok(&["token", "create", "--repo", "source"]);
    let server = Server::start(&there);
    let url = server.repo("source");
    for (index, rev) in ["HEAD", "main~400", "v1.0", "side"].into_iter().enumerate() {
        let mounted = here.mount(&format!("{url}@{rev}"), &format!("mnt{index}"), &[]);
        let expected = checkout(&there, "source.git", rev, &format!("checkout{index}"));
        same(&here, &expected, &mounted.path);
    }
    // An id that no branch names, and one that nobody has.
    let commit = there.git("source.git", &["rev-parse", "main~77"]);
    let mounted = here.mount(&format!("{url}@{}", commit.trim()), "by-id", &[]);
    let expected = there.git("source.git", &["show", "main~77:dir0/file0.txt"]);
    assert_eq!(fs::read_to_string(mounted.path.join("dir0/file0.txt")).expect("read"), expected);
    here.make("no");
    let absent = format!("{url}@{}", "12".repeat(20));
    here.run(&["mount", &absent, "no"]).says(1, &["1212121212", "hint: "]);
    here.run(&["mount", &format!("{url}@nope"), "no"]).says(1, &["names no revision"]);
    let other = url.replace("source.git", "absent.git");
    here.run(&["mount", &other, "no"]).says(1, &["hint: "]);
}

#[test]
fn a_private_repository_is_mounted_with_a_token_and_not_without() {
    if !has_fuse() {
        return;
    }
    let (there, here) = (World::with_store(), World::with_store());
    let [first, second] = weights(&there, "model");
    there.ok(&["import", "model"]);
    let token = there.ok(&["token", "create", "--repo", "model"]).trim().to_owned();
    let server = Server::start(&there);
    let (plain, host) = (server.repo("model"), server.address());
    here.make("no");
    let run = here.run(&["mount", &plain, "no"]);
    run.says(1, &["asks for a name and a password", "hint: "]);
    let run = here.run(&["mount", &format!("http://x:wrong@{host}/model.git"), "no"]);
    run.says(1, &["password", "hint: "]);
    assert!(!run.words.contains("wrong"), "{}", run.words);
    let with_token = format!("http://x:{token}@{host}/model.git");
    {
        let mounted = here.mount(&with_token, "mnt", &[]);
        same(&here, &checkout(&there, "model", "HEAD", "checkout"), &mounted.path);
        assert!(fs::read(mounted.path.join("model.safetensors")).expect("read") == second);
        let log = fs::read_to_string(here.store().join("log/mount.log")).expect("kept");
        let shown = here.ok(&["status", "--json"]) + &here.ok(&["repo", "list", "--json"]) + &log;
        assert!(!shown.contains(&token), "{shown}");
    }
    // As git does it: by a helper.
    fs::write(here.path("kept"), format!("http://x:{token}@{host}\n")).expect("written");
    here.sh(&format!(
        "git config --global credential.helper 'store --file={}'",
        here.path("kept").display()
    ));
    let mounted = here.mount(&format!("{plain}@v1"), "mnt", &[]);
    assert!(fs::read(mounted.path.join("model.safetensors")).expect("read") == first);
}

#[test]
fn only_what_is_touched_is_fetched() {
    if !has_fuse() {
        return;
    }
    let (there, here) = (World::with_store(), World::with_store());
    let bytes = big(&there);
    let server = Server::start(&there);
    let sent = || server.metric("mega_store_body_out_bytes_total");
    let before = sent();
    let mounted = here.mount(&server.repo("big"), "mnt", &[]);
    here.sh(&format!("ls -lR '{}' >&2", mounted.path.display()));
    let file = File::open(mounted.path.join("model.bin")).expect("opened");
    assert_eq!(file.metadata().expect("there").len(), LEN as u64);
    assert_eq!(fetched(&here, "chunks"), 0, "looking is not reading");
    let looked = sent() - before;
    assert!(looked < 100_000, "{looked} bytes for names and sizes");

    let mut part = vec![0; 4096];
    file.read_exact_at(&mut part, 12_345_678).expect("read");
    assert!(part == bytes[12_345_678..][..4096]);
    let touched = fetched(&here, "chunk_bytes");
    assert!((1..2 << 20).contains(&touched), "{touched} bytes for 4 KiB");
    let moved = sent() - before - looked;
    assert!(moved < touched + 200_000, "{moved} bytes sent for {touched}");
    // Once more, and near it: they are here.
    let mut near = vec![0; 1000];
    file.read_exact_at(&mut part, 12_345_678).expect("read");
    file.read_exact_at(&mut near, 12_345_678).expect("read");
    assert_eq!(fetched(&here, "chunk_bytes"), touched);
    assert_eq!(fs::read_to_string(mounted.path.join("dir/text")).expect("read"), "text\n");
    assert_eq!(fetched(&here, "chunk_bytes"), touched);
    assert_eq!(fetched(&here, "wrong") + fetched(&here, "failed"), 0);

    // All of it, then from another mount after a new start: nothing comes twice.
    assert!(fs::read(mounted.path.join("model.bin")).expect("read") == bytes);
    let all = fetched(&here, "chunk_bytes");
    assert!(all <= LEN as u64, "{all} bytes: no chunk twice");
    drop((file, mounted));
    let before = sent();
    let mounted = here.mount(&server.repo("big"), "mnt", &[]);
    assert!(fs::read(mounted.path.join("model.bin")).expect("read") == bytes);
    let again = sent() - before;
    assert!(again < 100_000, "{again} bytes for what is here");
}

#[test]
fn with_the_server_gone_what_is_here_stays_and_reads_go_on_when_it_is_back() {
    if !has_fuse() {
        return;
    }
    let (there, here) = (World::with_store(), World::with_store());
    let bytes = big(&there);
    let mut server = Server::start(&there);
    let url = server.repo("big");
    let mounted = here.mount(&url, "mnt", &[]);
    let path = mounted.path.join("model.bin");
    let file = File::open(&path).expect("opened");
    let mut part = vec![0; 100_000];
    file.read_exact_at(&mut part, 1_000_000).expect("read");
    let text = mounted.path.join("dir/text");
    assert_eq!(fs::read_to_string(&text).expect("read"), "text\n");

    // In the middle of a reader's way through the file, and of what is read ahead of it.
    let (mut at, mut buffer) = (0, vec![0; 64 << 10]);
    let error = loop {
        match file.read_at(&mut buffer, at as u64) {
            Ok(count) => {
                assert!(count > 0 && buffer[..count] == bytes[at..at + count], "at {at}");
                at += count;
            }
            Err(error) => break error,
        }
        if at > 3_000_000 {
            server.kill();
        }
    };
    assert_eq!(error.raw_os_error(), Some(libc::EIO), "{error}");
    assert!(at > 3_000_000);
    // What came is read from here, what did not is an error in time.
    file.read_exact_at(&mut part, 1_000_000).expect("still here");
    assert!(part == bytes[1_000_000..][..100_000]);
    assert_eq!(fs::read_to_string(&text).expect("still here"), "text\n");
    let began = Instant::now();
    let error = file.read_exact_at(&mut part, LEN as u64 - 100_000).expect_err("not here");
    assert_eq!(error.raw_os_error(), Some(libc::EIO), "{error}");
    let error = fs::read(mounted.path.join("blob")).expect_err("not here");
    assert_eq!(error.raw_os_error(), Some(libc::EIO), "{error}");
    assert!(began.elapsed() < ERROR_WITHIN, "{:?}", began.elapsed());
    // A new mount shows what was known, and says so.
    {
        here.make("mnt2");
        let run = here.run(&["mount", &url, "mnt2"]);
        run.says(0, &["when it was last reached"]);
        let again = fs::read_to_string(here.path("mnt2/dir/text"));
        assert_eq!(again.expect("still here"), "text\n");
        here.ok(&["unmount", "mnt2"]);
    }

    server.restart();
    let began = Instant::now();
    let whole = loop {
        // Sources that could not be reached are left alone for some seconds.
        match fs::read(&path) {
            Ok(whole) => break whole,
            Err(error) => assert!(began.elapsed() < ERROR_WITHIN, "{error}"),
        }
        std::thread::yield_now();
    };
    assert!(whole == bytes);
    assert!(fs::read(mounted.path.join("blob")).expect("read") == Numbers(32).bytes(300_000));
    same(&here, &checkout(&there, "big", "HEAD", "checkout"), &mounted.path);
}
