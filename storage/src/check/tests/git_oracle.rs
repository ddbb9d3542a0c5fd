//! The same repositories, damaged in the same ways, judged by `git fsck --full --strict` and by
//! ours.
//!
//! Both must find the same objects missing, the same checks' findings of the same objects, and the
//! whole sound or not. What only one of them speaks of (git's broken links and dangling objects) is
//! left out.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::*;
use crate::name::RefName;
use crate::object::{ObjectKind, hash_object};
use crate::refs::RefTarget;

/// Repositories that are made.
const REPOSITORIES: u64 = 40;

/// A repository in the making: its objects, which of them stay away, its references.
struct Made {
    objects: Objects,
    absent: BTreeSet<ObjectId>,
    refs: Vec<(String, ObjectId)>,
    random: u64,
}

fn entry(mode: &str, name: &[u8], id: ObjectId) -> Vec<u8> {
    [mode.as_bytes(), b" ", name, b"\0", id.as_bytes()].concat()
}

impl Made {
    fn random(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
        (self.random >> 33) % below
    }

    fn blob(&mut self) -> ObjectId {
        let text = format!("blob {}\n", self.random(1 << 30));
        self.objects.blob(text.as_bytes())
    }

    fn tree(&mut self, entries: &[Vec<u8>]) -> ObjectId {
        self.objects.add(ObjectKind::Tree, entries.concat())
    }

    fn commit_text(&mut self, text: &str) -> ObjectId {
        self.objects.add(ObjectKind::Commit, text.as_bytes().to_vec())
    }

    fn good_tree(&mut self) -> ObjectId {
        let (a, b) = (self.blob(), self.blob());
        let below = self.tree(&[entry("100644", b"x", a)]);
        self.tree(&[entry("40000", b"dir", below), entry("100755", b"run", b)])
    }

    fn commit(&mut self, tree: ObjectId, parents: &[ObjectId]) -> ObjectId {
        self.objects.commit(tree, parents)
    }

    fn branch(&mut self, id: ObjectId) {
        let name = format!("refs/heads/b{}", self.refs.len());
        self.refs.push((name, id));
    }

    fn away(&mut self, id: ObjectId) {
        self.absent.insert(id);
    }

    /// A branch whose newest tree has these entries.
    fn branch_of(&mut self, entries: &[Vec<u8>]) {
        let tree = self.tree(entries);
        let tip = self.commit(tree, &[]);
        self.branch(tip);
    }

    /// One more branch, with the damage of this number.
    fn damage(&mut self, number: u64) {
        let (blob, tree) = (self.blob(), self.good_tree());
        match number {
            0 => {
                let tip = self.commit(tree, &[]);
                self.branch(tip);
            }
            1 => {
                self.away(blob);
                self.branch_of(&[entry("100644", b"gone", blob)]);
            }
            2 => {
                self.away(tree);
                let tip = self.commit(tree, &[]);
                self.branch(tip);
            }
            3 => {
                let parent = self.commit(tree, &[]);
                self.away(parent);
                let tree = self.good_tree();
                let tip = self.commit(tree, &[parent]);
                self.branch(tip);
            }
            4 => {
                self.away(tree);
                self.branch_of(&[entry("40000", b"gone", tree)]);
            }
            5 => self.branch_of(&[entry("100644", b"a", blob), entry("100644", b"a", blob)]),
            6 => self.branch_of(&[entry("100644", b"b", blob), entry("100644", b"a", blob)]),
            7 => self.branch_of(&[entry("040000", b"a", tree)]),
            8 => self.branch_of(&[entry("40000", b".git", tree)]),
            9 => self.branch_of(&[entry("40000", b"..", tree)]),
            10 => self.branch_of(&[entry("100644", b"a/b", blob)]),
            11 => self.branch_of(&[entry("100640", b"a", blob)]),
            20 => self.branch(tree),
            21 => {
                let other = ObjectId::from_bytes([0; 20]);
                self.branch_of(&[entry("100644", b"null", other)]);
                self.away(other);
            }
            22 => self.branch_of(&[entry("160000", b"sub", ObjectId::from_bytes([5; 20]))]),
            24 => self.branch_of(&[entry("120000", b".gitmodules", blob)]),
            other => self.further_damage(other, tree),
        }
    }

    /// As [`Self::damage`]: of commits, tags and files with a meaning.
    fn further_damage(&mut self, number: u64, tree: ObjectId) {
        let who = "A <a@b> 1700000000 +0000";
        match number {
            12 => {
                let tip = self.commit_text(&format!("tree {tree}\ncommitter {who}\n\nm\n"));
                self.branch(tip);
            }
            13 => {
                let text = format!("tree {tree}\nauthor A <a@b> x +0000\ncommitter {who}\n\nm\n");
                let tip = self.commit_text(&text);
                self.branch(tip);
            }
            14 => {
                let text = format!("tree {tree}\nauthor A<a@b> 1 +0000\ncommitter {who}\n\nm\n");
                let tip = self.commit_text(&text);
                self.branch(tip);
            }
            15 => {
                let text = b"[submodule \"../x\"]\n\tpath = a\n\turl = https://h/a\n";
                let modules = self.objects.blob(text);
                self.branch_of(&[entry("100644", b".gitmodules", modules)]);
            }
            16 => {
                let text = b"[submodule \"x\"]\n\tpath = a\n\turl = -u./payload\n";
                let modules = self.objects.blob(text);
                self.branch_of(&[entry("100644", b".gitmodules", modules)]);
            }
            17 => {
                let modules = self.blob();
                self.away(modules);
                self.branch_of(&[entry("100644", b".gitmodules", modules)]);
            }
            18 => {
                let tip = self.commit(tree, &[]);
                let text = format!("object {tip}\ntype commit\ntag v\ntagger {who}\n\nm\n");
                let tag = self.objects.add(ObjectKind::Tag, text.into_bytes());
                self.away(tip);
                self.refs.push((format!("refs/tags/t{}", self.refs.len()), tag));
            }
            19 => {
                let tip = self.commit(tree, &[]);
                let text = format!("object {tip}\ntype commit\ntag bad name\ntagger {who}\n\nm\n");
                let tag = self.objects.add(ObjectKind::Tag, text.into_bytes());
                self.refs.push((format!("refs/tags/t{}", self.refs.len()), tag));
            }
            23 => {
                let text = [&vec![b'x'; 3_000][..], b" filter=lfs\n"].concat();
                let attributes = self.objects.blob(&text);
                self.branch_of(&[entry("100644", b".gitattributes", attributes)]);
            }
            _ => {
                let tip = self.commit(tree, &[]);
                self.away(tip);
                self.branch(tip);
            }
        }
    }
}

/// Damages that [`Made::damage`] knows.
const DAMAGES: u64 = 26;

/// What one of the two found, in words that both have.
#[derive(PartialEq, Eq, Debug, Default)]
struct Verdict {
    missing: BTreeSet<String>,
    errors: BTreeSet<String>,
    warnings: BTreeSet<String>,
    not_commits: BTreeSet<String>,
    is_sound: bool,
}

fn git_verdict(dir: &Path) -> Verdict {
    let output = Command::new("git")
        .args(["fsck", "--full", "--strict", "--no-dangling", "--no-progress"])
        .current_dir(dir)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").expect("a path"))
        .envs([("HOME", "/nonexistent"), ("GIT_CONFIG_NOSYSTEM", "1"), ("LC_ALL", "C")])
        .output()
        .expect("git runs");
    let text = [output.stdout, output.stderr].concat();
    let mut verdict = Verdict { is_sound: output.status.success(), ..Verdict::default() };
    for line in String::from_utf8_lossy(&text).lines() {
        if let Some(what) = line.strip_prefix("missing ") {
            verdict.missing.insert(what.to_owned());
        } else if let Some(found) = line.strip_prefix("error in ") {
            verdict.errors.extend(content(found));
        } else if let Some(found) = line.strip_prefix("warning in ") {
            verdict.warnings.extend(content(found));
        } else if let Some((_, id)) = line.split_once(": invalid sha1 pointer ") {
            verdict.missing.insert(format!("object {id}"));
        } else if let Some(name) = line.strip_suffix(": not a commit") {
            verdict.not_commits.insert(name.trim_start_matches("error: ").to_owned());
        }
    }
    verdict
}

/// `KIND ID: CHECK` of `KIND ID: CHECK: words`.
fn content(line: &str) -> Option<String> {
    let mut parts = line.splitn(3, ": ");
    let (object, check) = (parts.next()?, parts.next()?);
    parts.next().map(|_| format!("{object}: {check}"))
}

fn our_verdict(world: &World, repo: &Repo) -> Verdict {
    let report = world.store.fsck(repo, &NoProgress).expect("checked");
    let mut verdict = Verdict { is_sound: report.is_sound(), ..Verdict::default() };
    for Finding { what, is_error, .. } in report.findings {
        match what {
            What::Missing { id, kind, .. } => {
                let kind = kind.map_or("object", ObjectKind::as_str);
                verdict.missing.insert(format!("{kind} {id}"));
            }
            What::Content { id, kind, problem } => {
                let line = format!("{} {id}: {}", kind.as_str(), problem.id);
                let _ = if is_error {
                    verdict.errors.insert(line)
                } else {
                    verdict.warnings.insert(line)
                };
            }
            What::Ref { name, reason } if reason.starts_with("not a commit") => {
                verdict.not_commits.insert(name.to_string());
            }
            other => panic!("nothing else was made: {other:?}"),
        }
    }
    verdict
}

fn write_git(dir: &Path, made: &Made) {
    crate::testing::git(dir, &["init", "-q", "--bare", "."], b"");
    for (kind, data) in &made.objects.0 {
        let id = hash_object(*kind, data).expect("no attack");
        if made.absent.contains(&id) {
            continue;
        }
        let kind = kind.as_str();
        let args = ["hash-object", "-w", "--literally", "--stdin", "-t", kind];
        let said = crate::testing::git(dir, &args, data);
        assert_eq!(String::from_utf8_lossy(&said).trim(), id.to_string());
    }
    for (name, id) in &made.refs {
        fs::write(dir.join(name), format!("{id}\n")).expect("written");
    }
}

fn write_ours(world: &World, repo: &Repo, made: &Made) {
    let mut here = Objects::default();
    for (kind, data) in &made.objects.0 {
        if !made.absent.contains(&hash_object(*kind, data).expect("no attack")) {
            here.add(*kind, data.clone());
        }
    }
    let pack = here.pack();
    let input = crate::PackInput::Stream(&mut &pack[..]);
    let options = crate::IngestOptions::default();
    world.store.objects().ingest_pack(repo.id, input, &options, &NoProgress).expect("taken");
    for (text, id) in &made.refs {
        let key = keys::reference(repo.id, &RefName::new(text.as_bytes()).expect("a name"));
        put(&world.store, Family::Ref, &key, Some(&RefTarget::Direct(*id).encode()));
    }
}

#[test]
fn finds_what_git_finds() {
    let world = World::new();
    let mut seen = Verdict::default();
    for seed in 0..DAMAGES + REPOSITORIES {
        let (objects, absent, refs) = Default::default();
        let mut made = Made { objects, absent, refs, random: seed * 7_919 + 1 };
        // First each damage by itself, then some together.
        let mut damages = vec![seed];
        if seed >= DAMAGES {
            damages = (0..2 + made.random(4)).map(|_| made.random(DAMAGES)).collect();
        }
        damages.iter().for_each(|number| made.damage(*number));
        made.objects.0.dedup();
        let dir = tempfile::tempdir().expect("a directory");
        write_git(dir.path(), &made);
        let repo = world.repo(&format!("r/{seed}"));
        write_ours(&world, &repo, &made);
        let (git, ours) = (git_verdict(dir.path()), our_verdict(&world, &repo));
        assert_eq!(ours, git, "damages {damages:?}");
        seen.missing.extend(git.missing);
        seen.errors.extend(git.errors);
        seen.not_commits.extend(git.not_commits);
    }
    assert!(seen.missing.len() > 10 && seen.errors.len() > 20 && !seen.not_commits.is_empty());
}
