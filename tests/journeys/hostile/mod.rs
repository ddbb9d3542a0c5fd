//! What a client should not send, to the real server by hand: the right answer, nothing kept,
//! memory within bounds, and the next one is served.

mod first;
mod flood;
mod packs;
mod routes;
mod secrets;
mod wire;

use crate::support::World;
use crate::support::pack::{Entry, Pack, id_of};
use crate::support::raw::{self, Answer};
use crate::support::server::Server;

const ZERO: &str = "0000000000000000000000000000000000000000";
/// What no test here may make the server need, in bytes.
const MEMORY_MAX: u64 = 256 << 20;

/// Asserts that the server serves, and never needed too much memory.
#[track_caller]
fn assert_well(server: &Server<'_>) {
    assert_eq!(raw::get(server, "/healthz", &[]).status, 200);
    let peak = server.memory_peak();
    assert!(peak < MEMORY_MAX, "{} MiB", peak >> 20);
    let said = server.said();
    assert!(!said.contains("panicked"), "{said}");
}

/// Pushes a pack by hand to `refs/heads/main`; the lines of the report.
fn push(server: &Server<'_>, repo: &str, new: &str, pack: &[u8]) -> Vec<String> {
    let command = format!("{ZERO} {new} refs/heads/main\0 report-status");
    push_lines(server, repo, &[command], pack)
}

fn push_lines(server: &Server<'_>, repo: &str, commands: &[String], pack: &[u8]) -> Vec<String> {
    let commands: Vec<u8> = commands.iter().flat_map(raw::line).collect();
    let answer = push_raw(server, repo, &[&commands, &b"0000"[..], pack].concat());
    assert_eq!(answer.status, 200, "{answer:?}");
    raw::lines(&answer.body)
}

fn push_raw(server: &Server<'_>, repo: &str, body: &[u8]) -> Answer {
    raw::git(server, repo, "git-receive-pack", "version=1", body)
}

/// Asserts that the push was refused as a whole, for this reason, and left nothing.
#[track_caller]
fn assert_refused(server: &Server<'_>, repo: &str, report: &[String], reason: &str) {
    let unpack = report.first().map(String::as_str).unwrap_or_default();
    assert!(unpack.starts_with("unpack ") && unpack != "unpack ok", "{report:?}");
    assert!(unpack.contains(reason), "'{reason}' is not in {report:?}");
    assert!(report.iter().skip(1).all(|line| line.starts_with("ng ")), "{report:?}");
    assert_no_refs(server, repo);
}

#[track_caller]
fn assert_no_refs(server: &Server<'_>, repo: &str) {
    let answer = raw::get(server, &format!("/{repo}.git/info/refs?service=git-upload-pack"), &[]);
    let is_there = answer.status == 200 && answer.text().contains("refs/");
    assert!(!is_there, "{answer:?}");
}

fn hex(id: [u8; 20]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A commit of a tree, as an entry of a pack, and its id.
fn commit_of(tree: [u8; 20]) -> (Entry, String) {
    let who = "A U Thor <author@example.com> 1700000000 +0000";
    let text = format!("tree {}\nauthor {who}\ncommitter {who}\n\nhostile\n", hex(tree));
    let entry = Entry::whole(1, text.as_bytes());
    let id = hex(id_of(&entry).expect("no attack"));
    (entry, id)
}

/// An entry of a tree: its mode, its name, what it names.
type Child<'a> = (&'a str, &'a [u8], [u8; 20]);

/// A tree's bytes.
fn tree_of(entries: &[Child<'_>]) -> Vec<u8> {
    let entry = |(mode, name, id): &Child<'_>| [mode.as_bytes(), b" ", name, b"\0", id].concat();
    entries.iter().flat_map(entry).collect()
}

/// A whole history of one commit with these blobs as `0`, `1`, ... in its tree; the pack and the
/// commit.
fn history(blobs: &[Entry]) -> (Pack, String) {
    let names: Vec<String> = (0..blobs.len()).map(|index| format!("{index:06}")).collect();
    let ids = blobs.iter().map(|blob| id_of(blob).expect("a blob"));
    let entries: Vec<_> =
        names.iter().zip(ids).map(|(name, id)| ("100644", name.as_bytes(), id)).collect();
    let tree = Entry::whole(2, &tree_of(&entries));
    let (commit, id) = commit_of(id_of(&tree).expect("a tree"));
    let entries = blobs.iter().cloned().chain([tree, commit]).collect();
    (Pack::new(entries), id)
}

fn started(world: &World) -> Server<'_> {
    Server::start(world)
}
