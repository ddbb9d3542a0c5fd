//! First pushes, which make their repository: those that are refused make none, those that race
//! make one, those that a crash cuts off make none.

use std::io::Write;
use std::thread;

use super::*;
use crate::support::raw::{line, request};

const CONTENT: &str = "application/octet-stream";
const LFS: &str = "application/vnd.git-lfs+json";

fn repos(world: &World) -> String {
    world.ok(&["repo", "list"])
}

fn receive(repo: &str, fields: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let media_type = ("Content-Type", "application/x-git-receive-pack-request");
    let fields = [&[media_type], fields].concat();
    request("POST", &format!("/{repo}.git/git-receive-pack"), &fields, body)
}

fn body(commands: &[String], pack: &[u8]) -> Vec<u8> {
    [&commands.iter().flat_map(line).collect::<Vec<u8>>()[..], b"0000", pack].concat()
}

fn main_at(id: &str) -> [String; 1] {
    [format!("{ZERO} {id} refs/heads/main\0 report-status")]
}

#[test]
fn a_first_push_that_is_refused_leaves_nothing() {
    let world = World::with_store();
    let server = started(&world);
    let (good, id) = history(&[Entry::whole(3, b"x")]);
    let good = good.write();
    let (mut bad, _) = history(&[Entry::whole(3, b"x")]);
    bad.entries.truncate(1);
    let incomplete = bad.write();
    let blob = hex(id_of(&Entry::whole(3, b"x")).expect("a blob"));
    let git = tree_of(&[("40000", b".git", id_of(&Entry::whole(2, b"")).expect("a tree"))]);
    let git = Entry::whole(2, &git);
    let (commit, git_id) = commit_of(id_of(&git).expect("a tree"));
    let git = Pack::new(vec![Entry::whole(2, b""), git, commit]).write();
    let moved = format!("{} {id} refs/heads/main\0 report-status", "1".repeat(40));
    let cert = format!("push-cert\0 report-status\n{ZERO} {id} refs/heads/main");
    let cases: [(&str, Vec<u8>); 11] = [
        ("no pack", body(&main_at(&id), b"PACKnothing of the kind")),
        ("a pack that ends early", body(&main_at(&id), &good[..good.len() - 30])),
        ("a commit without its tree", body(&main_at(&id), &incomplete)),
        ("what fsck refuses", body(&main_at(&git_id), &git)),
        ("a blob for a branch", body(&main_at(&blob), &good)),
        ("a branch that is not where it should be", body(&[moved], &good)),
        ("a name that is refused", {
            body(&[format!("{ZERO} {id} refs/heads/-x\0 report-status")], &good)
        }),
        ("a signature", body(&[cert], &good)),
        ("other hashes", {
            body(&[format!("{ZERO} {id} refs/heads/main\0 object-format=sha256")], &good)
        }),
        ("no lines", b"00zz".to_vec()),
        ("lines and no end", line(&main_at(&id)[0])),
    ];
    for (what, body) in cases {
        let answer = raw::send(&server, &receive("team/new", &[], &body));
        assert!(!answer.text().contains("ok refs/"), "{what}: {answer:?}");
        assert_eq!(repos(&world), "", "{what}: {answer:?}");
    }
    let gzip = receive("team/new", &[("Content-Encoding", "gzip")], b"\x1f\x8b and no more");
    assert_eq!(raw::send(&server, &gzip).status, 400);
    assert_eq!(repos(&world), "");
    // As with git, what is not there is as a deletion wants it.
    let deletion = format!("{id} {ZERO} refs/heads/main\0 report-status");
    assert_eq!(push_lines(&server, "team/new", &[deletion], b"").len(), 2);
    assert_eq!(repos(&world), "");
    assert_eq!(push(&server, "team/new", &id, &good)[0], "unpack ok");
    assert_eq!(repos(&world), "team/new\n");
    world.git("", &["clone", "-q", &server.repo("team/new"), "clone"]);
    assert_well(&server);
}

#[test]
fn a_first_upload_that_brings_nothing_leaves_nothing() {
    let world = World::with_store();
    let server = started(&world);
    let oid = "1".repeat(64);
    let batch = format!(r#"{{"operation":"upload","objects":[{{"oid":"{oid}","size":3}}]}}"#);
    let object = format!("objects/{oid}");
    let missing = format!("mega/v1/objects/{oid}/missing");
    let cases = [
        ("POST", "objects/batch", LFS, batch.as_str(), 200),
        ("POST", "locks/verify", LFS, "{}", 200),
        ("POST", "locks", LFS, r#"{"path":""}"#, 422),
        ("PUT", &object, CONTENT, "abc", 422),
        ("POST", &missing, CONTENT, "nothing that can be read", 422),
    ];
    for (method, path, media_type, body, status) in cases {
        let path = format!("/team/new.git/info/lfs/{path}");
        let fields = [("Content-Type", media_type)];
        let answer = raw::send(&server, &request(method, &path, &fields, body.as_bytes()));
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        assert_eq!(repos(&world), "", "{path}");
    }
    let path = "/team/new.git/info/lfs/locks";
    let fields = [("Content-Type", LFS)];
    let answer = raw::send(&server, &request("POST", path, &fields, br#"{"path":"a"}"#));
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(repos(&world), "team/new\n", "a lock stands in it");
}

#[test]
fn first_pushes_that_race_make_one_repository() {
    let world = World::with_store();
    let server = started(&world);
    for round in 0..10 {
        let repo = format!("race{round}");
        let packs: Vec<_> = (0..4u8)
            .map(|number| history(&[Entry::whole(3, &[number; 5_000])]))
            .map(|(pack, id)| (pack.write(), id))
            .collect();
        let reports: Vec<String> = thread::scope(|scope| {
            let (server, repo) = (&server, repo.as_str());
            let pushes: Vec<_> = packs
                .iter()
                .enumerate()
                .map(|(number, (pack, id))| {
                    // Every other one is refused, before or after the others are done.
                    let is_bad = number % 2 == 1;
                    let pack = if is_bad { &pack[..pack.len() - 7] } else { pack };
                    let name = format!("refs/heads/b{number}");
                    let command = format!("{ZERO} {id} {name}\0 report-status");
                    scope.spawn(move || push_lines(server, repo, &[command], pack).join("\n"))
                })
                .collect();
            pushes.into_iter().map(|push| push.join().expect("no panic")).collect()
        });
        for (number, report) in reports.iter().enumerate() {
            let is_good = report.contains(&format!("ok refs/heads/b{number}"));
            assert_eq!(is_good, number % 2 == 0, "{round}: {reports:?}");
        }
        let refs = world.git("", &["ls-remote", "--heads", &server.repo(&repo)]);
        let expected = format!("{}\trefs/heads/b0\n{}\trefs/heads/b2\n", packs[0].1, packs[2].1);
        assert_eq!(refs, expected);
        let log = std::fs::read_to_string(world.store().join("log/audit.log")).expect("a log");
        let is_it = |line: &&str| line.contains(r#""create""#) && line.contains(&repo);
        assert_eq!(log.lines().filter(is_it).count(), 1, "{log}");
    }
    assert_eq!(repos(&world).lines().count(), 10);
    assert_well(&server);
}

#[test]
fn a_first_push_that_a_crash_cuts_off_leaves_nothing() {
    let world = World::with_store();
    let mut server = started(&world);
    let (pack, id) = history(&[Entry::whole(3, &crate::support::Numbers(3).bytes(300_000))]);
    let pack = pack.write();
    let whole = receive("team/new", &[], &body(&main_at(&id), &pack));
    for part in [4, 2] {
        let mut stream = raw::connect(&server);
        stream.write_all(&whole[..whole.len() - whole.len() / part]).expect("sent");
        // The repository is begun once the pack is being read.
        while server.metric("mega_store_packs") == 0 {
            thread::yield_now();
        }
        server.kill();
        assert_eq!(repos(&world), "");
        server.restart();
        assert_eq!(server.text("/v1/repos"), r#"{"repos":[]}"#);
    }
    assert_eq!(push(&server, "team/new", &id, &pack)[0], "unpack ok");
    assert_eq!(repos(&world), "team/new\n");
}
