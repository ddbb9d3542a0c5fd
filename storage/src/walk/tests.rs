//! Walks, with git as the oracle: histories are generated from seeds.

mod ancestry;
mod closure;
mod hostile;
mod oracle;
mod shallow;
mod want;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::*;
use crate::objects::{IngestOptions, PackInput};
use crate::testing::git;
use crate::{RepoName, StoreOptions, Visibility};

/// A set of ids, as the oracle gives it.
pub(super) type Ids = BTreeSet<ObjectId>;

/// Numbers from a seed.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn below(&mut self, count: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % count
    }

    /// Some of `items`, at most `max`.
    pub(super) fn some(&mut self, items: &[ObjectId], max: usize) -> Vec<ObjectId> {
        let count = self.below(max + 1);
        (0..count).map(|_| items[self.below(items.len())]).collect()
    }
}

/// A history in a git repository and in a store.
pub(super) struct World {
    pub(super) store: Store,
    pub(super) repo: RepoId,
    pub(super) other: RepoId,
    pub(super) git: PathBuf,
    pub(super) commits: Vec<ObjectId>,
    pub(super) dir: TempDir,
}

impl World {
    /// An empty repository on both sides.
    pub(super) fn empty() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::create(&dir.path().join("s"), &StoreOptions::default()).expect("made");
        let make = |name: &str| {
            let name = RepoName::new(name).expect("a good name");
            store.repos().create(&name, Visibility::Private).expect("made").id
        };
        let (repo, other) = (make("one"), make("two"));
        let path = dir.path().join("g");
        git(dir.path(), &["init", "-q", "--bare", "g"], b"");
        Self { store, repo, other, git: path, commits: Vec::new(), dir }
    }

    /// A generated history; with `skew`, clocks are wrong.
    pub(super) fn generated(seed: u64, count: usize, skew: bool) -> Self {
        let mut world = Self::empty();
        world.grow(seed, count, skew);
        world.take_in();
        world
    }

    /// Adds commits, on top of what is there.
    pub(super) fn grow(&mut self, seed: u64, count: usize, skew: bool) {
        let script = script(&mut Dice::new(seed), &self.commits, count, skew);
        let marks = self.dir.path().join("marks");
        let export = format!("--export-marks={}", marks.display());
        git(&self.git, &["fast-import", "--quiet", "--force", &export], script.as_bytes());
        let text = std::fs::read_to_string(marks).expect("git wrote it");
        let mut lines: Vec<(usize, ObjectId)> = text
            .lines()
            .map(|line| line.split_once(' ').expect("a mark and an id"))
            .map(|(mark, id)| (mark[1..].parse().expect("a number"), id.parse().expect("an id")))
            .collect();
        lines.sort_unstable();
        self.commits.extend(lines.into_iter().map(|(_, id)| id));
        // Branches are moved back and forth: everything stays reachable all the same.
        let mut refs = String::new();
        for (number, id) in self.commits.iter().enumerate() {
            writeln!(refs, "update refs/keep/{number} {id}").expect("memory");
        }
        git(&self.git, &["update-ref", "--stdin"], refs.as_bytes());
    }

    /// Makes a commit on top of others, with the first one's tree.
    pub(super) fn child(&mut self, parents: &[ObjectId]) -> ObjectId {
        let tree = format!("{}^{{tree}}", parents[0]);
        let mut args = vec!["commit-tree".to_owned(), tree, "-m".into(), "m".into()];
        for parent in parents {
            args.extend(["-p".to_owned(), parent.to_string()]);
        }
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let id = *self.list(&args, &[]).first().expect("one line");
        let name = format!("refs/keep/{}", self.commits.len());
        git(&self.git, &["update-ref", &name, &id.to_string()], b"");
        self.commits.push(id);
        id
    }

    /// Brings all that git has into the store.
    pub(super) fn take_in(&self) {
        git(&self.git, &["repack", "-adfq"], b"");
        for entry in std::fs::read_dir(self.git.join("objects/pack")).expect("packed") {
            let pack = entry.expect("a listing").path();
            if pack.extension().is_some_and(|e| e == "pack") {
                self.ingest(&pack);
            }
        }
    }

    fn ingest(&self, pack: &Path) {
        let input = PackInput::Indexed { pack, index: &pack.with_extension("idx") };
        let objects = self.store.objects();
        let options = IngestOptions::default();
        objects.ingest_pack(self.repo, input, &options, &NoProgress).expect("git's own pack");
    }

    /// What git lists: the ids at the starts of the lines.
    pub(super) fn list(&self, args: &[&str], input: &[ObjectId]) -> Ids {
        let mut text = String::new();
        input.iter().for_each(|id| writeln!(text, "{id}").expect("memory"));
        let output = git(&self.git, args, text.as_bytes());
        let output = String::from_utf8(output).expect("hex");
        output.lines().map(|line| line[..40].parse().expect("an id")).collect()
    }

    /// What git finds reachable.
    pub(super) fn reachable(&self, tips: &[ObjectId], extra: &[&str]) -> Ids {
        if tips.is_empty() {
            return Ids::new();
        }
        let args = [&["rev-list", "--objects", "--stdin"], extra].concat();
        self.list(&args, tips)
    }

    pub(super) fn reach(&self, wants: &[ObjectId], haves: &[ObjectId], filter: Filter) -> Ids {
        let shallow = Shallow::default();
        self.try_reach(wants, haves, filter, shallow).expect("walked").ids.into_iter().collect()
    }

    pub(super) fn try_reach(
        &self,
        wants: &[ObjectId],
        haves: &[ObjectId],
        filter: Filter,
        shallow: Shallow<'_>,
    ) -> Result<Reach> {
        let request = WalkRequest { repo: self.repo, wants, haves, filter, shallow };
        let reach = self.store.reach(&request, &NoProgress)?;
        assert!(reach.ids.is_sorted_by(|a, b| a < b) && reach.edge.is_sorted_by(|a, b| a < b));
        Ok(reach)
    }

    /// One object's id, as git names it.
    pub(super) fn id(&self, revision: &str) -> ObjectId {
        *self.list(&["rev-parse", revision], &[]).first().expect("one line")
    }

    /// Makes an annotated tag and returns it.
    pub(super) fn tag(&self, target: &ObjectId, kind: &str, name: &str) -> ObjectId {
        let text =
            format!("object {target}\ntype {kind}\ntag {name}\ntagger t <t@t> 1 +0000\n\nm\n");
        let output = git(&self.git, &["mktag"], text.as_bytes());
        let id = String::from_utf8(output).expect("hex");
        let id = id.trim();
        git(&self.git, &["update-ref", &format!("refs/tags/{name}"), id], b"");
        id.parse().expect("an id")
    }
}

/// A stream for fast-import: branches, merges of two and three, files that move, links, submodules,
/// clocks that go backwards.
fn script(dice: &mut Dice, before: &[ObjectId], count: usize, skew: bool) -> String {
    let mut out = String::new();
    let mut line = |text: String| writeln!(out, "{text}").expect("memory");
    for mark in 1..=count {
        let number = before.len() + mark;
        let wrong = if skew && dice.below(4) == 0 { dice.below(2_000_000) as i64 } else { 0 };
        let date = 1_600_000_000 + number as i64 * 1_000 - wrong + 300_000 * (wrong % 3 - 1).max(0);
        line(format!("commit refs/heads/b{}\nmark :{mark}", dice.below(4)));
        line(format!("committer c <c@example.org> {date} +0000\ndata 2\nm"));
        let parent = |dice: &mut Dice| match number {
            1 => None,
            _ => Some(match (number - 2).saturating_sub(dice.below(8)) {
                index if index < before.len() => before[index].to_string(),
                index => format!(":{}", index - before.len() + 1),
            }),
        };
        let is_root = dice.below(25) == 0;
        let first = parent(dice).filter(|_| !is_root);
        match &first {
            Some(first) => line(format!("from {first}")),
            None => line("from 0000000000000000000000000000000000000000\ndeleteall".to_owned()),
        }
        let merges = if first.is_some() { [0, 0, 0, 0, 1, 2][dice.below(6)] } else { 0 };
        for _ in 0..merges {
            parent(dice).into_iter().for_each(|other| line(format!("merge {other}")));
        }
        for _ in 0..1 + dice.below(3) {
            change(dice, &mut line);
        }
    }
    out
}

fn change(dice: &mut Dice, line: &mut dyn FnMut(String)) {
    let place = ["", "a/", "a/b/", "a/b/c/", "d/", "d/e/"][dice.below(6)];
    let path = format!("{place}f{}", dice.below(5));
    match dice.below(20) {
        0 => line(format!("D {path}")),
        1 => line(format!("D {place}f0")),
        2 => line(format!("M 160000 {:040x} {place}sub", dice.below(1 << 30))),
        kind => {
            let mode = ["100644", "100644", "100755", "120000"][kind % 4];
            let body = format!("{}{}", "a line\n".repeat(dice.below(40)), dice.below(60));
            line(format!("M {mode} inline {path}\ndata {}\n{body}", body.len()));
        }
    }
}
