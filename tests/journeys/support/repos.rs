//! Repositories that real git makes: a history with everything in it, and one with weights under
//! LFS.

use std::fmt::Write;
use std::io::Write as _;
use std::process::Stdio;

use super::{Numbers, World};

/// Commits of the long branch of [`history`].
pub const COMMITS: usize = 420;

/// A bare repository `name` with more than 2,000 objects: a long branch, a merge, a rename, tags of
/// all kinds, symbolic links, exec bits, a submodule's link, odd names, an empty file, a large
/// blob. Packed with deltas.
pub fn history(world: &World, name: &str) {
    world.sh(&format!("git init -q --bare {name}"));
    fast_import(world, name, &stream());
    let git = |args: &[&str]| world.git(name, args);
    git(&["tag", "light", "main~5"]);
    git(&["tag", "-a", "-m", "first", "v1.0", "main~100"]);
    git(&["tag", "-a", "-m", "of a tag", "nested", "v1.0"]);
    git(&["tag", "-a", "-m", "of a tree", "tree-tag", "main^{tree}"]);
    git(&["tag", "blob-tag", "main:dir0/file0.txt"]);
    git(&["update-ref", "refs/remotes/origin/main", "main~1"]);
    git(&["symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/main"]);
    git(&["update-ref", "refs/odd/x/y", "main~2"]);
    git(&["notes", "add", "-m", "a note", "main~3"]);
    git(&["symbolic-ref", "HEAD", "refs/heads/main"]);
    git(&["repack", "-adfq", "--depth=50", "--window=10"]);
    git(&["pack-refs", "--all"]);
}

/// Feeds `stream` to git fast-import.
pub fn fast_import(world: &World, name: &str, stream: &[u8]) {
    let mut command = world.command("git");
    command.args(["-C", name, "fast-import", "--quiet", "--force"]);
    let mut child = command.stdin(Stdio::piped()).spawn().expect("git fast-import");
    child.stdin.take().expect("a pipe").write_all(stream).expect("written");
    assert!(child.wait().expect("ended").success());
}

fn stream() -> Vec<u8> {
    let mut numbers = Numbers(7);
    let mut text = Vec::new();
    let mut lines: Vec<Vec<String>> = (0..60)
        .map(|file| {
            (0..40).map(|line| format!("file {file} line {line}: {}", numbers.next())).collect()
        })
        .collect();
    for commit in 0..COMMITS {
        head(&mut text, "refs/heads/main", commit, &format!("change {commit}"));
        let files = if commit == 0 { 0..60 } else { commit % 60..commit % 60 + 1 };
        for file in files {
            let at = commit % 40;
            lines[file][at] = format!("changed in {commit}: {}", numbers.next());
            let path = format!("dir{}/sub{}/file{file}.txt", file % 7, file % 3);
            let path = if file == 0 { "dir0/file0.txt".to_owned() } else { path };
            put(&mut text, "100644", &path, lines[file].join("\n").as_bytes());
        }
        if commit == 10 {
            extras(&mut text, &mut numbers);
        }
        if commit == 20 {
            text.extend_from_slice(b"R dir1 renamed/dir1\n");
        }
        if commit == 30 {
            text.extend_from_slice(b"R renamed/dir1 dir1\nD empty\n");
        }
    }
    head(&mut text, "refs/heads/side", COMMITS, "a side branch");
    text.extend_from_slice(format!("from :{}\n", COMMITS - 50).as_bytes());
    put(&mut text, "100644", "side.txt", b"side\n");
    head(&mut text, "refs/heads/merged", COMMITS + 1, "a merge");
    text.extend_from_slice(format!("from :{COMMITS}\nmerge :{}\n", COMMITS + 1).as_bytes());
    put(&mut text, "100644", "side.txt", b"side\n");
    text
}

fn extras(text: &mut Vec<u8>, numbers: &mut Numbers) {
    put(text, "100755", "bin/run", b"#!/bin/sh\necho run\n");
    put(text, "120000", "link", b"dir0/file0.txt");
    put(text, "120000", "dangling", b"../nowhere/at all");
    put(text, "100644", "empty", b"");
    put(text, "100644", "really/empty", b"");
    put(text, "100644", "\"a\\nb \\\"c\\\" \\377\"", b"an odd name\n");
    put(text, "100644", "\"gr\\303\\266\\303\\237e\"", b"a name beyond ASCII\n");
    put(text, "100644", "large.bin", &numbers.bytes(1_500_000));
    let modules = b"[submodule \"m\"]\n\tpath = m\n\turl = https://example.com/m.git\n";
    put(text, "100644", ".gitmodules", modules);
    text.extend_from_slice(b"M 160000 8ab686eafeb1f44702738c8b0f24f2567c36da6d m\n");
}

fn head(text: &mut Vec<u8>, branch: &str, number: usize, message: &str) {
    let time = 1_600_000_000 + number * 60;
    let mut lines = String::new();
    let _ = writeln!(lines, "commit {branch}\nmark :{}", number + 1);
    let _ = writeln!(lines, "committer A U Thor <author@example.com> {time} +0200");
    let _ = writeln!(lines, "data {}\n{message}", message.len());
    text.extend_from_slice(lines.as_bytes());
}

fn put(text: &mut Vec<u8>, mode: &str, path: &str, data: &[u8]) {
    text.extend_from_slice(format!("M {mode} inline {path}\ndata {}\n", data.len()).as_bytes());
    text.extend_from_slice(data);
    text.push(b'\n');
}

/// A checkout `name` whose `model.safetensors` of about 3 MB is under LFS, in two versions.
/// Returns the bytes of both.
pub fn weights(world: &World, name: &str) -> [Vec<u8>; 2] {
    let mut numbers = Numbers(11);
    let first = numbers.weights(3_000_000);
    let mut second = first.clone();
    second[1_000_000..1_100_000].copy_from_slice(&numbers.weights(100_000));
    world.sh(&format!("git init -q {name} && cd {name} && git lfs track '*.safetensors' >&2"));
    let path = world.path(name).join("model.safetensors");
    std::fs::write(&path, &first).expect("written");
    std::fs::write(world.path(name).join("config.json"), "{}\n").expect("written");
    world.sh(&format!("cd {name} && git add . && git commit -qm one && git tag v1"));
    std::fs::write(&path, &second).expect("written");
    world.sh(&format!("cd {name} && git commit -qam two"));
    [first, second]
}

/// The LFS oid of a path in a revision, from the pointer that git has.
pub fn oid(world: &World, name: &str, spec: &str) -> String {
    let pointer = world.git(name, &["cat-file", "blob", spec]);
    let line = pointer.lines().find(|line| line.starts_with("oid sha256:")).expect("a pointer");
    line.trim_start_matches("oid sha256:").to_owned()
}

/// Every reference with what it is, and HEAD.
pub fn refs(world: &World, name: &str) -> String {
    let format = "--format=%(refname) %(objectname) %(symref) %(*objectname)";
    let head = world.try_git(name, &["symbolic-ref", "HEAD"]);
    let head = if head.code == 0 {
        head.text().to_owned()
    } else {
        world.git(name, &["rev-parse", "HEAD"])
    };
    world.git(name, &["for-each-ref", format]) + &head
}

/// What fsck says, both streams.
pub fn fsck(world: &World, name: &str) -> Vec<String> {
    let run = world.try_git(name, &["fsck", "--full", "--strict", "--no-progress"]);
    let mut lines: Vec<String> =
        run.text().lines().chain(run.words.lines()).map(str::to_owned).collect();
    lines.sort_unstable();
    // The code's bits also say whether what was found is in a pack.
    lines.push(format!("well: {}", run.code == 0));
    lines
}

/// Asserts that two repositories have the same references, the same objects, and the same findings.
#[track_caller]
pub fn assert_same(world: &World, source: &str, copy: &str) {
    assert_eq!(refs(world, source), refs(world, copy));
    let list = |name| {
        let text = world.git(name, &["rev-list", "--objects", "--all"]);
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    };
    assert_eq!(list(source), list(copy));
    assert_eq!(fsck(world, source), fsck(world, copy));
}
