//! Real mounts: what a program sees is what git would check out.

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::repos::{self, weights};
use crate::support::world::has_fuse;
use crate::support::{Numbers, World};

/// Everything below a directory: kind, permission bits, path, link target.
pub fn tree(world: &World, dir: &Path) -> Vec<String> {
    let script = format!(
        "cd '{}' && find . -mindepth 1 -name .git -prune -o -mindepth 1 -printf '%y %m %p %l\\n' \
         | LC_ALL=C sort",
        dir.display()
    );
    world.sh(&script).lines().map(str::to_owned).collect()
}

#[test]
fn a_mount_is_what_git_checks_out() {
    if !has_fuse() {
        return;
    }
    let world = World::with_store();
    repos::history(&world, "source.git");
    world.ok(&["import", "source.git"]);
    for (index, rev) in
        ["HEAD", "main~400", "v1.0", "nested", "side", "merged^2", "HEAD~25^{commit}"]
            .into_iter()
            .enumerate()
    {
        let (checkout, dir) = (format!("checkout{index}"), format!("mnt{index}"));
        let commit = world.git("source.git", &["rev-parse", &format!("{rev}^{{commit}}")]);
        world.sh(&format!(
            "umask 022; git -C source.git worktree add -q --detach ../{checkout} {commit}"
        ));
        let mounted = world.mount(&format!("source@{rev}"), &dir, &[]);
        world.sh(&format!("diff -r --no-dereference --exclude=.git {checkout} {dir}"));
        assert_eq!(tree(&world, &world.path(&checkout)), tree(&world, &mounted.path), "{rev}");
    }
    let abbreviated = &world.git("source.git", &["rev-parse", "main~3"])[..8];
    let mounted = world.mount(&format!("source@{abbreviated}"), "mnt", &[]);
    let time = fs::metadata(mounted.path.join("bin/run")).expect("there").modified().expect("set");
    let seconds = time.duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    let expected = world.git("source.git", &["log", "-1", "--format=%ct", "main~3"]);
    assert_eq!(seconds.to_string(), expected.trim());
    let error = fs::write(mounted.path.join("new"), "x").expect_err("read-only");
    assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
}

#[test]
fn lfs_files_are_their_content_where_asked() {
    if !has_fuse() {
        return;
    }
    let world = World::with_store();
    let bytes = weights(&world, "model");
    world.ok(&["import", "model"]);
    let pointer = world.git("model", &["cat-file", "blob", "HEAD:model.safetensors"]);
    {
        let mounted = world.mount("model@v1", "mnt", &[]);
        let mut file = fs::File::open(mounted.path.join("model.safetensors")).expect("opened");
        assert_eq!(file.metadata().expect("there").len(), 3_000_000);
        file.seek(SeekFrom::Start(1_234_567)).expect("sought");
        let mut part = vec![0; 100_000];
        file.read_exact(&mut part).expect("read");
        assert!(part == bytes[0][1_234_567..1_334_567]);
        assert!(fs::read(mounted.path.join("model.safetensors")).expect("read") == bytes[0]);
    }
    let mounted = world.mount("model", "mnt", &["--lfs", "off"]);
    assert_eq!(fs::read_to_string(mounted.path.join("model.safetensors")).expect("read"), pointer);
}

#[test]
fn one_process_serves_all_mounts_and_ends_with_the_last() {
    if !has_fuse() {
        return;
    }
    let world = World::with_store();
    repos::history(&world, "source.git");
    world.ok(&["import", "source.git"]);
    world.make("mnt");
    let began = Instant::now();
    let first = world.run(&["mount", "source", "mnt", "--json"]);
    let listed = fs::read_dir(world.path("mnt")).expect("listed").count();
    // The target is 200 ms on a quiet machine; this one may be busy.
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert!(listed > 5);
    assert_eq!(first.json()[0]["commit"], world.git("source.git", &["rev-parse", "HEAD"]).trim());
    let second = world.mount("source@v1.0", "mnt2", &[]);
    let status = &world.run(&["status", "--json"]).json()[0];
    assert_eq!(status["mounts"].as_array().map(Vec::len), Some(2), "{status}");
    assert_eq!(status["holder"]["keeps_mounts"], true);
    // Commands work meanwhile, done by that process.
    world.sh("git init -q x && cd x && echo x > x && git add . && git commit -qm x");
    world.ok(&["import", "x"]);
    assert_eq!(world.ok(&["cat", "x", "x"]), "x\n");
    world.run(&["repo", "delete", "source"]).says(1, &["is mounted at", "hint: "]);
    world.run(&["init"]).says(1, &["exists already"]);
    // A file that is open stays readable after the unmount, and the process stays for it.
    let open = fs::File::open(world.path("mnt/large.bin")).expect("opened");
    world.ok(&["unmount", "mnt"]);
    assert_eq!(fs::read_dir(world.path("mnt")).expect("listed").count(), 0);
    let mut byte = [0];
    open.read_exact_at(&mut byte, 1_000_000).expect("still there");
    drop(open);
    drop(second);
    let status = &world.run(&["status", "--json"]).json()[0];
    assert!(status["mounts"].as_array().is_some_and(Vec::is_empty), "{status}");
    world.run(&["unmount", "mnt"]).says(1, &["nothing is mounted on", "hint: "]);
    world.ok(&["repo", "delete", "source"]);
}

#[test]
fn places_that_cannot_be_mounted_on_are_refused() {
    if !has_fuse() {
        return;
    }
    let world = World::with_store();
    repos::history(&world, "source.git");
    world.ok(&["import", "source.git"]);
    world.make("full/inside");
    fs::write(world.path("file"), "x").expect("written");
    world.make("mnt");
    for (args, words) in [
        (["mount", "source", "full"], "is not empty"),
        (["mount", "source", "file"], "is not a directory"),
        (["mount", "source", "absent"], "does not exist"),
        (["mount", "source@nope", "mnt"], "names no revision"),
        (["mount", "nope", "mnt"], "there is no repository 'nope'"),
        (["mount", "source@v1.0:dir0", "mnt"], "names no revision"),
    ] {
        world.run(&args).says(1, &[words, "hint: "]);
    }
    world.run(&["mount", "source@", "mnt"]).says(2, &["a revision is missing"]);
    let _mounted = world.mount("source", "mnt", &[]);
    world.run(&["mount", "source", "mnt"]).says(1, &["mounted on it already", "hint: "]);
    world.run(&["mount", "source@nope", "mnt"]).says(1, &["names no revision"]);
}

#[test]
fn signals_and_foreign_unmounts_end_it_cleanly() {
    if !has_fuse() {
        return;
    }
    let world = World::with_store();
    world.sh("git init -q x && cd x && echo x > x && git add . && git commit -qm x");
    world.ok(&["import", "x"]);
    for end in ["kill -TERM $pid", "kill -INT $pid", "fusermount3 -u mnt", "umount mnt"] {
        world.make("mnt");
        let mut child = world
            .mega()
            .args(["mount", "x", "mnt", "--foreground"])
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        // It says so when the mount answers.
        let mut words = [0; 8];
        child.stderr.as_mut().expect("a pipe").read_exact(&mut words).expect("words");
        assert_eq!(&words, b"x@HEAD (");
        assert_eq!(world.sh("cat mnt/x"), "x\n");
        world.sh(&format!("pid={}; {end}", child.id()));
        let status = child.wait().expect("ended");
        assert_eq!(status.code(), Some(0), "{end}");
        assert_eq!(world.sh("ls -A mnt"), "", "{end}");
        assert!(!world.store().join("control.sock").exists(), "{end}");
    }
}

#[test]
fn a_mount_whose_process_was_killed_is_cleared_away() {
    if !has_fuse() {
        return;
    }
    let world = World::with_store();
    world.sh("git init -q x && cd x && echo x > x && git add . && git commit -qm x");
    world.ok(&["import", "x"]);
    let mounted = world.mount("x", "mnt", &[]);
    let kill = || {
        let status = &world.run(&["status", "--json"]).json()[0];
        let pid = status["holder"]["pid"].as_u64().expect("a holder");
        world.sh(&format!("kill -KILL {pid}; while kill -0 {pid} 2>/dev/null; do :; done"));
        assert!(fs::read_dir(&mounted.path).is_err(), "a dead mount");
    };
    kill();
    world.ok(&["mount", "x", "mnt"]);
    assert_eq!(world.sh("cat mnt/x"), "x\n");
    kill();
    world.ok(&["unmount", "mnt"]);
    assert_eq!(world.sh("ls -A mnt"), "");
}

#[test]
fn mount_8_finds_us() {
    if !has_fuse() {
        return;
    }
    let world = World::with_store();
    world.sh("git init -q x && cd x && echo x > x && git add . && git commit -qm x");
    world.ok(&["import", "x"]);
    world.make("mnt");
    let program = env!("CARGO_BIN_EXE_mega-store");
    world.sh(&format!("ln -s {program} mount.mega"));
    let store = world.store();
    let helper = |options: &str| {
        let mut command = world.command(world.path("mount.mega"));
        command.args(["x@main", "mnt", "-o", options]);
        command.output().expect("started")
    };
    let output = helper(&format!("rw,store={},noatime", store.display()));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(world.sh("cat mnt/x"), "x\n");
    world.sh("umount mnt");
    let output = helper("store=/x,color=blue");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("unknown option 'color=blue'"));
}

#[test]
fn a_damaged_chunk_is_an_error_for_its_range_alone() {
    if !has_fuse() {
        return;
    }
    let world = World::with_store();
    // Random bytes are stored as they are, so that a place in the file can be found in the
    // database.
    let bytes = Numbers(21).bytes(4_000_000);
    world.sh("git init -q x && cd x && git lfs track '*.bin' >&2");
    fs::write(world.path("x/w.bin"), &bytes).expect("written");
    world.sh("cd x && git add . && git commit -qm x");
    world.ok(&["import", "x"]);
    // Opened again, the database moves its log into tables: a log that is damaged is another
    // matter.
    world.ok(&["status"]);
    let place = 2_345_678;
    let damaged = damage(&world.store().join("db"), &bytes[place..place + 32]);
    assert!(damaged > 0, "the chunk was found on the disk");
    let mounted = world.mount("x", "mnt", &[]);
    let file = fs::File::open(mounted.path.join("w.bin")).expect("opened");
    let mut part = vec![0; 4096];
    for (offset, is_right) in
        [(0, true), (place as u64, false), (3_900_000, true), (1_000_000, true)]
    {
        let read = file.read_exact_at(&mut part, offset);
        let at = usize::try_from(offset).expect("small");
        match read {
            Ok(()) => assert!(is_right && part == bytes[at..at + 4096], "at {offset}"),
            Err(e) => assert!(!is_right && e.raw_os_error() == Some(libc::EIO), "{e} at {offset}"),
        }
    }
    // Other commands say which chunk it is; nothing else is hurt.
    let run = world.run(&["cat", "x", "w.bin"]);
    assert_eq!(run.code, 1, "{}", run.words);
    assert!(bytes.starts_with(&run.out), "what was written before the error is right");
    assert_eq!(world.ok(&["cat", "x", ".gitattributes"]).lines().count(), 1);
}

/// Flips a bit wherever `pattern` stands in a file of `dir`; how often that was.
fn damage(dir: &Path, pattern: &[u8]) -> usize {
    let mut count = 0;
    for entry in fs::read_dir(dir).expect("listed") {
        let path = entry.expect("an entry").path();
        let Ok(mut bytes) = fs::read(&path) else { continue };
        let found: Vec<usize> = bytes
            .windows(pattern.len())
            .enumerate()
            .filter(|(_, w)| *w == pattern)
            .map(|(at, _)| at)
            .collect();
        for &at in &found {
            bytes[at + 3] ^= 0x10;
        }
        if !found.is_empty() {
            fs::write(&path, &bytes).expect("written");
        }
        count += found.len();
    }
    count
}
