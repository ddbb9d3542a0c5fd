//! Generated histories: after any pushes by two clients, this server has the references and objects
//! that git's own server has after the same pushes.

use std::fmt::Write as _;

use crate::support::cgi::GitServer;
use crate::support::client::{Git, gits};
use crate::support::repos::fast_import;
use crate::support::server::Server;
use crate::support::{Numbers, World};

/// Histories that are tried; `MEGA_HISTORY_SEEDS` asks for more.
const SEEDS: u64 = 6;
/// Rounds of changes and pushes in each.
const STEPS: usize = 14;
/// Branches that the clients use. Two cannot be there at once.
const NAMES: [&str; 6] = ["main", "a", "b", "d", "d/e", "x-PACK"];
/// What is pushed; `1` and `2` stand for branches. The client may refuse some itself.
const SPECS: [&[&str]; 12] = [
    &["--all"],
    &["--all", "--force"],
    &["--tags"],
    &["--tags", "--force"],
    &["--prune", "--force", "refs/heads/*:refs/heads/*"],
    &["--mirror"],
    &["refs/heads/1:refs/heads/2"],
    &["+refs/heads/1:refs/heads/2", "refs/heads/2:refs/heads/1"],
    &["--atomic", "+refs/heads/1:refs/heads/2", "refs/heads/2:refs/heads/1"],
    &[":refs/heads/1", "+refs/heads/2:refs/odd/2"],
    &["--force-with-lease=1:refs/seen/heads/1", "+refs/heads/1"],
    &["--follow-tags", "refs/heads/1"],
];

struct Run<'w> {
    world: &'w World,
    gits: &'w [Git<'w>],
    numbers: Numbers,
    label: String,
}

impl Run<'_> {
    fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.numbers.next() % count as u64).expect("below count")
    }

    fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    fn git(&mut self) -> &Git<'_> {
        let index = self.below(self.gits.len());
        &self.gits[index]
    }

    fn refs(&self, dir: &str) -> Vec<String> {
        let format = "--format=%(refname)";
        let text = self.gits[0].ok(dir, &["for-each-ref", format, "refs/heads", "refs/seen/heads"]);
        text.lines().map(str::to_owned).collect()
    }

    /// Changes branches and tags of a client: commits, merges, rewinds, new roots, deletions.
    fn change(&mut self, dir: &str, step: usize) {
        let there = self.refs(dir);
        let mut stream = String::new();
        for part in 0..=self.below(3) {
            // A client has d or d/e: the server has to refuse what the other has.
            let other = if dir == "one" { "d/e" } else { "d" };
            let name = self.pick(&NAMES);
            if name == other {
                continue;
            }
            let branch = format!("refs/heads/{name}");
            let from = if there.is_empty() { None } else { Some(self.below(there.len())) };
            let from = from.map(|index| there[index].as_str());
            match self.below(10) {
                0 if there.contains(&branch) => {
                    let _ = writeln!(stream, "reset {branch}\nfrom {}\n", "0".repeat(40));
                }
                1 | 2 if from.is_some() => {
                    let from = from.expect("just seen");
                    let _ = writeln!(stream, "reset {branch}\nfrom {from}^0\n");
                }
                3 if from.is_some() => {
                    let from = from.expect("just seen");
                    let words = format!("tag {step} {part}");
                    let tag = format!("tag t{}\n", self.below(5));
                    if stream.contains(&tag) {
                        // fast-import takes a tag once.
                        continue;
                    }
                    let _ = writeln!(stream, "{tag}from {from}^0");
                    let _ = writeln!(stream, "tagger T <t@example.com> {step} +0000");
                    let _ = writeln!(stream, "data {}\n{words}", words.len());
                }
                _ => self.commits(&mut stream, &branch, &there, from),
            }
        }
        fast_import(self.world, dir, stream.as_bytes());
    }

    /// Commits on a branch: onto what it has, or as a new root, some of them merges.
    fn commits(&mut self, out: &mut String, branch: &str, there: &[String], other: Option<&str>) {
        let is_root = self.below(12) == 0;
        let mut first = !is_root && there.iter().any(|name| name == branch);
        for _ in 0..=self.below(4) {
            let number = self.numbers.next();
            let message = format!("change {number}");
            let _ = writeln!(out, "commit {branch}");
            let _ = writeln!(out, "committer A <a@example.com> {} +0100", number % 2_000_000_000);
            let _ = writeln!(out, "data {}\n{message}", message.len());
            if first {
                let _ = writeln!(out, "from {branch}^0");
            }
            if let Some(other) = other.filter(|other| first && *other != branch) {
                let _ = writeln!(out, "merge {other}^0");
            }
            first = false;
            for _ in 0..=self.below(3) {
                let (dir, file) = (self.below(4), self.below(6));
                if self.below(8) == 0 {
                    let _ = writeln!(out, "D dir{dir}");
                } else {
                    let content = format!("{file}\n{}\n", self.numbers.next() % 50).repeat(40);
                    let _ = writeln!(out, "M 100644 inline dir{dir}/file{file}");
                    let _ = writeln!(out, "data {}\n{content}", content.len());
                }
            }
            out.push('\n');
        }
    }

    /// Pushes the same to both servers; both have to say the same.
    fn push(&mut self, dir: &str, urls: &[String; 2]) {
        let (mut from, to) = (self.pick(&NAMES), self.pick(&NAMES));
        let specs = self.pick(&SPECS);
        if specs[0].starts_with(':') && from.starts_with('d') {
            // git's server keeps references in files: it cannot even look for d/e where d is one.
            from = "b";
        }
        let specs: Vec<String> =
            specs.iter().map(|spec| spec.replace('1', from).replace('2', to)).collect();
        let mut words = vec!["push", "--porcelain"];
        let (options, refs): (Vec<&str>, Vec<&str>) =
            specs.iter().map(String::as_str).partition(|word| word.starts_with("--"));
        words.extend(options);
        let label = self.label.clone();
        let git = self.git();
        let answers = urls.each_ref().map(|url| {
            let run = git.run(dir, &[&words[..], &[url], &refs].concat());
            // Why a command was refused, each says in its own words.
            let lines = run.text().lines().filter(|line| line.contains('\t'));
            let mut lines: Vec<String> =
                lines.map(|line| line.split(" (").next().unwrap_or_default().to_owned()).collect();
            lines.sort_unstable();
            (run.code, lines, run.words)
        });
        let [ours, theirs] = answers;
        assert_eq!(
            (&ours.0, &ours.1),
            (&theirs.0, &theirs.1),
            "{label}: {} {words:?} {refs:?}: {} <> {}",
            git.label,
            ours.2,
            theirs.2
        );
    }

    /// Pushes a first commit on main.
    fn commit_first(&mut self, dir: &str, urls: &[String; 2]) {
        let mut stream = String::new();
        self.commits(&mut stream, "refs/heads/main", &[], None);
        fast_import(self.world, dir, stream.as_bytes());
        for url in urls {
            self.git().ok(dir, &["push", "-q", url, "main"]);
        }
    }
}

#[test]
fn pushes_of_two_clients_leave_what_gits_own_server_has() {
    let world = World::with_store();
    let server = Server::start(&world);
    let oracle = GitServer::start(&world);
    let gits = gits(&world);
    let seeds =
        std::env::var("MEGA_HISTORY_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(SEEDS);
    for seed in 0..seeds {
        let mut run =
            Run { world: &world, gits: &gits, numbers: Numbers(seed), label: String::new() };
        let urls = [server.repo(&format!("r{seed}")), format!("{}/r{seed}.git", oracle.url)];
        world.ok(&["repo", "create", &format!("r{seed}")]);
        world.sh(&format!(
            "rm -rf one two && git init -q --bare one && git init -q --bare two && \
            git init -q --bare r{seed}.git && cd r{seed}.git && \
            git config receive.fsckObjects true"
        ));
        // HEAD is where the first push leads it; here both have it at main.
        run.commit_first("one", &urls);
        for step in 0..STEPS {
            run.label = format!("seed {seed}, step {step}");
            let dir = run.pick(&["one", "two"]);
            if run.below(2) == 0 {
                let from = run.pick(&[0, 1]);
                let specs = ["+refs/heads/*:refs/seen/heads/*", "+refs/tags/*:refs/tags/*"];
                let words = [&["fetch", "-q", "--prune", &urls[from]], &specs[..]].concat();
                run.git().ok(dir, &words);
            }
            run.change(dir, step);
            run.push(dir, &urls);
            let [ours, theirs] = urls.each_ref().map(|url| run.git().remote_refs(url));
            assert_eq!(ours, theirs, "{}", run.label);
        }
        let git = &gits[2];
        let copies = ["ours.git", "theirs.git"];
        world.sh("rm -rf ours.git theirs.git");
        for (url, copy) in urls.iter().zip(copies) {
            git.ok("", &["clone", "-q", "--mirror", url, copy]);
        }
        git.assert_clean("ours.git");
        assert_eq!(git.objects("ours.git"), git.objects("theirs.git"), "seed {seed}");
        // A clone has what the server says that there is.
        let url = format!("/v1/r{seed}/objects?list");
        assert_eq!(server.text(&url).lines().count(), git.objects("ours.git").len(), "seed {seed}");
    }
}
