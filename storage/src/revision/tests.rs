//! Revisions of a repository that git made, with git as the oracle.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use super::*;
use crate::name::{RefName, RepoName};
use crate::objects::{IngestOptions, PackInput};
use crate::refs::{Expect, RefEdit, RefTarget, RefTransaction};
use crate::repos::Visibility;
use crate::store::StoreOptions;
use crate::{NoProgress, StoreError};

fn git(dir: &Path, args: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new("git")
        .args(args)
        .current_dir(dir)
        .envs([("GIT_CONFIG_NOSYSTEM", "1"), ("GIT_CONFIG_GLOBAL", "/dev/null"), ("LC_ALL", "C")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("git runs");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    // Git answers while it reads.
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("git ends");
    let _ = writer.join();
    output.stdout
}

/// A history in fast-import's language: 500 commits on `main` with a side branch merged every 50.
fn history() -> String {
    let mut stream = String::new();
    for n in 1..=500u32 {
        let who = format!("A <a@b> {} +0000", 1_700_000_000 + n);
        let data = |text: String| format!("data {}\n{text}\n", text.len());
        stream += &format!("commit refs/heads/main\nmark :{n}\ncommitter {who}\n");
        stream += &data(format!("commit {n}"));
        if n > 1 {
            stream += &format!("from :{}\n", n - 1);
        }
        if n % 50 == 0 {
            stream += &format!("merge :{}\nmerge :{}\n", n - 20, n - 30);
        }
        stream += &format!("M 100644 inline f\n{}", data(format!("content {n}")));
    }
    for (name, from) in [("topic", 77), ("same", 10), ("deadbeef", 5), ("a/b", 6)] {
        stream += &format!("reset refs/heads/{name}\nfrom :{from}\n\n");
    }
    stream += "reset refs/tags/same\nfrom :11\n\nreset refs/tags/light\nfrom :12\n\n";
    stream += "reset refs/remotes/origin/main\nfrom :13\n\nreset refs/odd\nfrom :14\n\n";
    stream
}

struct Fixture {
    dir: tempfile::TempDir,
    store: Store,
    repo: Repo,
}

impl Fixture {
    fn git(&self, args: &[&str], input: &[u8]) -> Vec<u8> {
        git(&self.dir.path().join("git"), args, input)
    }

    /// What git makes of each text; `None` when it names nothing, or several.
    fn oracle(&self, texts: &[String]) -> Vec<Option<String>> {
        let input = texts.iter().map(|text| format!("{text}\n")).collect::<String>();
        let output = self.git(&["cat-file", "--batch-check=%(objectname)"], input.as_bytes());
        let output = String::from_utf8_lossy(&output).into_owned();
        let id = |line: &str| (!line.contains(' ') && line.len() == 40).then(|| line.to_owned());
        output.lines().map(id).collect()
    }

    fn resolve(&self, text: &str) -> Option<String> {
        match resolve_revision(&self.store, &self.repo, text) {
            Ok(id) => Some(id.to_string()),
            Err(StoreError::NoRevision { .. }) => None,
            Err(other) => panic!("{text}: {other}"),
        }
    }

    fn reason(&self, text: &str) -> String {
        match resolve_commit(&self.store, &self.repo, text) {
            Err(StoreError::NoRevision { reason, .. }) => reason,
            other => panic!("{text}: {other:?}"),
        }
    }
}

fn fixture() -> Fixture {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("git");
    std::fs::create_dir(&path).expect("made");
    git(&path, &["init", "-q", "--bare", "-b", "main", "."], b"");
    git(&path, &["fast-import", "--quiet"], history().as_bytes());
    git(&path, &["symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/main"], b"");
    git(&path, &["symbolic-ref", "refs/heads/dangling", "refs/heads/none"], b"");
    let who = ["-c", "user.name=A", "-c", "user.email=a@b", "tag", "-m", "x"];
    let tag = |name, of| git(&path, &[&who[..], &[name, of]].concat(), b"");
    tag("v1.0", "main~3");
    tag("nested", "v1.0");
    tag("tree", "main^{tree}");
    tag("blob", "main:f");
    let store = Store::create(&dir.path().join("store"), &StoreOptions::default()).expect("made");
    let name = RepoName::new("r").expect("valid");
    let repo = store.repos().create(&name, Visibility::Private).expect("made");
    let pack = git(&path, &["pack-objects", "--all", "--stdout", "-q"], b"");
    let input = PackInput::Stream(&mut &pack[..]);
    let options = IngestOptions::default();
    store.objects().ingest_pack(repo.id, input, &options, &NoProgress).expect("taken in");
    let format = "--format=%(refname) %(objectname) %(symref)";
    let listed = git(&path, &["for-each-ref", format], b"");
    let mut edits = Vec::new();
    let edit = |name: &str, new| RefEdit {
        name: RefName::new(name.as_bytes()).expect("valid"),
        expect: Expect::Absent,
        new: Some(new),
    };
    let symbolic = |to: &str| RefTarget::Symbolic(RefName::new(to.as_bytes()).expect("valid"));
    for line in String::from_utf8(listed).expect("text").lines() {
        let parts: Vec<&str> = line.split(' ').collect();
        let target = match parts[2] {
            "" => RefTarget::Direct(parts[1].parse().expect("an id")),
            to => symbolic(to),
        };
        edits.push(edit(parts[0], target));
    }
    edits.push(edit("HEAD", symbolic("refs/heads/main")));
    edits.push(edit("refs/heads/dangling", symbolic("refs/heads/none")));
    store.refs().apply(repo.id, &RefTransaction { edits }).expect("applied");
    Fixture { dir, store, repo }
}

/// Names by blanks; `MAIN` stands for twelve digits of the id of `main`, `UPPER` for all of it.
const NAMES: &str = "\
     HEAD @ main heads/main refs/heads/main topic same heads/same tags/same light v1.0 nested \
     tree blob origin origin/main remotes/origin origin/HEAD odd refs/odd deadbeef a/b a \
     dangling none v1.0-3-gMAIN x-gMAIN -gMAIN v1-gmain MAIN7 main. refs HEAD/ head @@ MAIN \
     UPPER";
/// Steps by blanks.
const STEPS: &str = "\
     ~ ^ ~0 ^0 ~1 ^1 ^2 ^3 ^4 ~~ ^^ ~3^2 ^2~3 ~30^3 ~499 ~500 ~600 ^{} ^{commit} ^{tree} \
     ^{tag} ^{blob} ^{object} ^{nothing} ^{ ^{commit ^{}~2^{tree} ^{tree}^{tree} ^{tree}~1 \
     ^{commit}^{tag} ^{}^{}~1 ~4294967296 ^4294967297 ~-1 ~1x ^x ^{tree}^0 ~01 ^00";

/// Names, ids and steps, good and bad, that git and we should agree on.
fn expressions(fixture: &Fixture) -> Vec<String> {
    let main = fixture.resolve("main").expect("there");
    let whole = ["", &main, &main[..39], &main[..4]];
    let mut all = Vec::new();
    for name in NAMES.split(' ').chain(whole) {
        let name = name.replace("MAIN", &main[..12]).replace("UPPER", &main.to_uppercase());
        all.push(name.clone());
        all.extend(STEPS.split(' ').map(|step| format!("{name}{step}")));
    }
    all
}

#[test]
fn agrees_with_git() {
    let fixture = fixture();
    let texts = expressions(&fixture);
    let answers = fixture.oracle(&texts);
    assert_eq!(answers.len(), texts.len());
    let mut found = 0;
    for (text, expected) in texts.iter().zip(answers) {
        assert_eq!(fixture.resolve(text), expected, "{text}");
        found += usize::from(expected.is_some());
    }
    assert!(found > 400, "{found}");
}

#[test]
fn abbreviations_agree_with_git() {
    let fixture = fixture();
    let listed = fixture.git(&["rev-list", "--objects", "--all", "--no-object-names"], b"");
    let ids: Vec<String> =
        String::from_utf8(listed).expect("text").lines().map(str::to_owned).collect();
    let mut prefixes: Vec<String> = ids.iter().map(|id| id[..4].to_owned()).collect();
    prefixes.sort();
    let shared: Vec<String> =
        prefixes.windows(2).filter(|p| p[0] == p[1]).map(|p| p[0].clone()).collect();
    assert!(shared.len() > 5, "{}", shared.len());
    for step in ["^{commit}", "^{tree}", "~0", "^{}", ""] {
        let mut texts: Vec<String> =
            prefixes.iter().step_by(10).map(|prefix| format!("{prefix}{step}")).collect();
        texts.extend(shared.iter().map(|prefix| format!("{prefix}{step}")));
        let prefers_commits = ["", "^{}"].contains(&step);
        for (text, expected) in texts.iter().zip(fixture.oracle(&texts)) {
            let ours = fixture.resolve(text);
            if prefers_commits && expected.is_none() && ours.is_some() {
                // Git's plumbing gives up where its porcelain, and we, take the only commit.
                let commit = fixture.oracle(&[format!("{}^{{commit}}", &text[..4])]);
                assert!(commit[0].is_some(), "{text}");
                continue;
            }
            assert_eq!(ours, expected, "{text}");
        }
    }
    let ambiguous = shared.iter().find(|text| fixture.resolve(text).is_none());
    if let Some(text) = ambiguous {
        let reason = fixture.reason(text);
        assert!(reason.starts_with("the id is ambiguous, it starts "), "{reason}");
    }
}

#[test]
fn commits_and_kinds_are_reached() {
    let fixture = fixture();
    let id = |text: &str| resolve_revision(&fixture.store, &fixture.repo, text).expect("there");
    let commit = resolve_commit(&fixture.store, &fixture.repo, "nested").expect("there");
    assert_eq!(commit, id("main~3"));
    let tag = id("nested");
    let peel = |to| peel(&fixture.store, &tag, to);
    assert_eq!(peel(ObjectKind::Tag).expect("itself"), tag);
    assert_eq!(peel(ObjectKind::Tree).expect("there"), id("main~3^{tree}"));
    assert!(matches!(peel(ObjectKind::Blob), Err(StoreError::WrongKind { actual: "commit", .. })));
    let missing = super::peel(&fixture.store, &ObjectId::NULL, ObjectKind::Commit);
    assert!(matches!(missing, Err(StoreError::MissingObject { .. })));
}

#[test]
fn reasons_say_what_is_missing() {
    let fixture = fixture();
    for (text, start) in [
        ("absent", "no branch, tag, other reference or object"),
        ("blob", "object "),
        ("main~500", "there are only 499 commits before it"),
        ("main^9", "commit "),
        ("main^{commits}", "'commits' is no kind"),
        ("main^{/fix}", "commits cannot be searched"),
        ("main@{1}", "reflogs"),
        ("main:f", "a path"),
        ("main..topic", "it is a range"),
        ("", "it does not start with a name"),
        ("main~99999999999", "99999999999 is too large"),
        (&"0".repeat(40), "no object of the repository"),
        (&"x".repeat(REVISION_LEN_MAX), "no branch"),
        (&"x".repeat(REVISION_LEN_MAX + 1), "it is longer"),
    ] {
        let reason = fixture.reason(text);
        assert!(reason.starts_with(start), "{text}: {reason}");
    }
    let other = RepoName::new("other").expect("valid");
    let other = fixture.store.repos().create(&other, Visibility::Private).expect("made");
    let id = fixture.resolve("main").expect("there");
    for text in ["main", &id, &id[..10]] {
        let result = resolve_commit(&fixture.store, &other, text);
        assert!(matches!(result, Err(StoreError::NoRevision { .. })), "another repository's");
    }
}
