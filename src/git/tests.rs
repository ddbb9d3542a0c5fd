//! Reading repositories that real git made: what the journeys do not reach.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::*;

fn git_in(dir: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=a", "-c", "user.email=a@b", "-C"])
        .arg(dir)
        .args(args)
        .output()
        .expect("git");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn repository(dir: &Path) {
    git_in(dir, &["init", "-q", "-b", "main"]);
    git_in(dir, &["commit", "-q", "--allow-empty", "-m", "one"]);
}

#[test]
fn alternates_are_followed_to_the_limit_and_loops_end() {
    let dir = tempfile::tempdir().expect("a directory");
    repository(dir.path());
    let objects = dir.path().join(".git/objects");
    let mut last = objects.clone();
    for depth in 1..=6 {
        let next = dir.path().join(format!("a{depth}"));
        fs::create_dir_all(next.join("info")).expect("made");
        // Relative to the object directory, with a comment, and back to where it came from.
        let text = format!("# a comment\n../../a{depth}\n{}\n", objects.display());
        let text = if depth == 1 { text } else { text.replace("../../", "../") };
        fs::create_dir_all(last.join("info")).expect("made");
        fs::write(last.join("info/alternates"), text).expect("written");
        last = next;
        let opened = Source::open(&Git::default(), dir.path());
        match opened {
            Ok(source) => {
                assert!(depth <= 5, "depth {depth}");
                assert_eq!(source.object_dirs().len(), depth + 1);
            }
            Err(SourceError::AlternatesDepth { limit: 5, .. }) => assert_eq!(depth, 6),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn the_same_pack_in_an_alternate_counts_once() {
    let dir = tempfile::tempdir().expect("a directory");
    repository(dir.path());
    git_in(dir.path(), &["repack", "-adq"]);
    let pack = dir.path().join(".git/objects/pack");
    let alternate = dir.path().join("alternate");
    fs::create_dir_all(alternate.join("pack")).expect("made");
    for entry in fs::read_dir(&pack).expect("listed") {
        let path = entry.expect("an entry").path();
        fs::copy(&path, alternate.join("pack").join(path.file_name().expect("a name")))
            .expect("copied");
    }
    let info = dir.path().join(".git/objects/info");
    fs::write(info.join("alternates"), format!("{}\n", alternate.display())).expect("written");
    let source = Source::open(&Git::default(), dir.path()).expect("opened");
    let packs = source.packs().expect("listed");
    assert_eq!(packs.len(), 1);
    let name = packs[0].pack.file_stem().expect("a name").to_string_lossy().into_owned();
    let id = mega_storage::ObjectId::from_bytes(packs[0].id);
    assert_eq!(name, format!("pack-{id}"), "git names packs by the same SHA-1");
}

#[test]
fn references_and_heads_of_all_kinds_are_read() {
    let dir = tempfile::tempdir().expect("a directory");
    repository(dir.path());
    git_in(dir.path(), &["tag", "-a", "-m", "t", "v1"]);
    git_in(dir.path(), &["symbolic-ref", "refs/heads/alias", "refs/heads/main"]);
    git_in(dir.path(), &["symbolic-ref", "refs/heads/dangling", "refs/heads/none"]);
    let source = Source::open(&Git::default(), dir.path()).expect("opened");
    let SourceRefs { refs, head } = source.refs().expect("listed");
    assert_eq!(head, Some(Head::Branch(b"refs/heads/main".to_vec())));
    let names: Vec<_> =
        refs.iter().map(|r| String::from_utf8_lossy(&r.name).into_owned()).collect();
    assert_eq!(names, ["refs/heads/alias", "refs/heads/main", "refs/tags/v1"]);
    assert_eq!(refs[0].symbolic.as_deref(), Some(&b"refs/heads/main"[..]));
    assert_eq!(refs[2].id.to_string(), git_in(dir.path(), &["rev-parse", "v1"]).trim());
    git_in(dir.path(), &["checkout", "-q", "--detach"]);
    assert_eq!(source.refs().expect("listed").head, Some(Head::Detached(refs[1].id)));
    for branch in [&b"refs/heads/unborn"[..], b"refs/heads/dangling"] {
        let name = String::from_utf8_lossy(branch);
        git_in(dir.path(), &["symbolic-ref", "HEAD", &name]);
        let expected = if branch.ends_with(b"unborn") { branch } else { b"refs/heads/none" };
        let head = source.refs().expect("listed").head;
        assert_eq!(head, Some(Head::Branch(expected.to_vec())));
    }
    git_in(dir.path(), &["symbolic-ref", "HEAD", "refs/heads/alias"]);
    let head = source.refs().expect("listed").head;
    assert_eq!(head, Some(Head::Branch(b"refs/heads/main".to_vec())), "as symbolic-ref says");
    let loose = source.loose_ids().expect("listed");
    assert_eq!(loose.len(), 3, "commit, tree, tag");
}

#[test]
fn the_checkout_is_found_from_inside_and_through_links() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().canonicalize().expect("there").join("repo");
    fs::create_dir_all(root.join("a/b")).expect("made");
    repository(&root);
    std::os::unix::fs::symlink(root.join("a/b"), dir.path().join("link")).expect("made");
    for path in [root.clone(), root.join("a"), root.join("a/b/.."), dir.path().join("link")] {
        let source = Source::open(&Git::default(), &path).expect("opened");
        assert_eq!(source.worktree(), Some(root.as_path()), "{}", path.display());
        assert_eq!(source.name().as_deref(), Some("repo"));
    }
    let source = Source::open(&Git::default(), &root.join(".git")).expect("opened");
    assert_eq!(source.worktree(), None);
    assert_eq!(source.name().as_deref(), Some("repo"));
}

#[test]
fn failures_carry_gits_words_without_control_characters() {
    let dir = tempfile::tempdir().expect("a directory");
    let error = run(Git::default().in_dir(dir.path().as_os_str()).arg("log"), "log", b"");
    let Err(SourceError::Failed { command, words }) = error else { panic!("{error:?}") };
    assert_eq!(command, "log");
    assert!(words.starts_with("not a git repository"), "{words}");
    assert_eq!(process::tidy("fatal: a\x1b[2Jb\nhint: c\n\nerror: d\r\n"), "a[2Jb; d");
    let missing = Git::new([("PATH".to_owned(), "/nowhere".into())]);
    let error = run(missing.anywhere().arg("version"), "version", b"");
    assert!(error.is_err() || Path::new("/usr/bin/git").exists());
}

#[test]
fn only_named_variables_are_passed() {
    let git = Git::new([
        ("GIT_SSH_COMMAND".to_owned(), "ssh -v".into()),
        ("LD_PRELOAD".to_owned(), "/x".into()),
        ("GIT_DIR".to_owned(), "/x".into()),
    ]);
    let command = git.anywhere();
    let set: Vec<_> = command.get_envs().filter_map(|(name, value)| value.map(|_| name)).collect();
    assert!(set.contains(&OsStr::new("GIT_SSH_COMMAND")));
    assert!(!set.contains(&OsStr::new("LD_PRELOAD")) && !set.contains(&OsStr::new("GIT_DIR")));
}

#[test]
fn plain_references_are_those_that_git_lists() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("a.git");
    git_in(dir.path(), &["init", "-q", "--bare", "a.git"]);
    let source = || Source::open(&Git::new([]), &path).expect("opened");
    let same = |is_plain: bool| {
        let (asked, read) = (source().ask_refs().expect("listed"), plain::refs(&path));
        assert_eq!(read.is_some(), is_plain, "{read:?}");
        assert_eq!(source().refs().expect("listed"), asked);
        asked.refs.len()
    };
    assert_eq!(same(true), 0, "an unborn branch");
    let tree = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";
    git_in(&path, &["hash-object", "-w", "-t", "tree", "/dev/null"]);
    let commits: Vec<String> = (0..3)
        .map(|n| git_in(&path, &["commit-tree", "-m", &n.to_string(), tree]).trim().to_owned())
        .collect();
    let set = |name: &str, n: usize| {
        git_in(&path, &["update-ref", name, &commits[n]]);
    };
    for (number, name) in
        ["refs/heads/a/b", "refs/heads/a.b", "refs/x", "refs/notes/c"].iter().enumerate()
    {
        set(name, number % 3);
    }
    git_in(&path, &["tag", "-a", "-m", "t", "t", &commits[0]]);
    assert_eq!(same(true), 5);
    git_in(&path, &["pack-refs", "--all"]);
    assert_eq!(same(true), 5);
    // Loose beside packed, one over another, one that went, what is no reference.
    set("refs/heads/a/b", 2);
    set("refs/heads/main", 1);
    git_in(&path, &["update-ref", "-d", "refs/x"]);
    fs::write(path.join("refs/heads/main.lock"), "").expect("written");
    fs::write(path.join("refs/heads/.hidden"), "").expect("written");
    assert_eq!(same(true), 5);
    git_in(&path, &["update-ref", "--no-deref", "HEAD", &commits[0]]);
    assert!(matches!(source().refs().expect("listed").head, Some(Head::Detached(_))));
    assert_eq!(same(true), 5);
    // What has to be looked at twice is git's.
    git_in(&path, &["symbolic-ref", "refs/remotes/o/HEAD", "refs/heads/main"]);
    assert_eq!(same(false), 6);
    git_in(&path, &["symbolic-ref", "--delete", "refs/remotes/o/HEAD"]);
    for (name, text) in [
        ("refs/heads/zero", "0000000000000000000000000000000000000000\n"),
        ("refs/heads/sp ace", &format!("{}\n", commits[0])),
        ("refs/heads/empty", ""),
    ] {
        fs::write(path.join(name), text).expect("written");
        assert_eq!(same(false), 5, "{name}");
        fs::remove_file(path.join(name)).expect("removed");
    }
}

#[test]
fn a_plain_git_directory_is_what_git_says_it_is() {
    let dir = tempfile::tempdir().expect("a directory");
    let git = Git::new([]);
    let bare = dir.path().join("a.git");
    let link = dir.path().join("link");
    git_in(dir.path(), &["init", "-q", "--bare", "a.git"]);
    std::os::unix::fs::symlink(&bare, &link).expect("linked");
    let facts = |source: &Source| {
        let worktree = source.worktree().map(Path::to_owned);
        let (dir, common) = (source.git_dir().to_owned(), source.common_dir().to_owned());
        (dir, common, worktree, source.object_dirs().to_vec(), source.name())
    };
    let both = |path: &Path| {
        let (opened, asked) = (Source::open(&git, path), Source::ask(&git, path));
        match (opened, asked) {
            (Ok(opened), Ok(asked)) => assert_eq!(facts(&opened), facts(&asked), "{path:?}"),
            (opened, asked) => {
                let words = |found: Result<Source, SourceError>| found.err().map(|e| e.to_string());
                assert_eq!(words(opened), words(asked), "{path:?}");
            }
        }
    };
    both(&bare);
    both(&link);
    both(&bare.join("objects"));
    fs::write(bare.join("config"), "").expect("written");
    both(&bare);
    // All that makes it another kind of repository is left to git.
    std::fs::write(bare.join("shallow"), "0123456789012345678901234567890123456789\n").expect("w");
    both(&bare);
    assert!(Source::open(&git, &bare).is_err(), "it is shallow");
    std::fs::remove_file(bare.join("shallow")).expect("gone");
    std::fs::write(bare.join("HEAD"), "nonsense\n").expect("written");
    both(&bare);
    git_in(dir.path(), &["init", "-q", "--bare", "--object-format=sha256", "b.git"]);
    both(&dir.path().join("b.git"));
    git_in(dir.path(), &["init", "-q", "c"]);
    both(&dir.path().join("c"));
    both(&dir.path().join("c/.git"));
    git_in(&dir.path().join("c/.git"), &["config", "core.bare", "true"]);
    git_in(&dir.path().join("c/.git"), &["config", "core.worktree", "/tmp"]);
    both(&dir.path().join("c/.git"));
}
