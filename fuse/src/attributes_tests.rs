//! `git check-attr` is the oracle: generated files and paths must get its answers.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use proptest::prelude::*;

use super::Attributes;

const DIRS: [&str; 3] = ["", "sub", "sub/x y"];

const NAMES: [&str; 14] = [
    "a",
    "b",
    "ab",
    "a.bin",
    "b.bin",
    "x y",
    "q\"q",
    "ba\\k",
    "[z]",
    "foo.safetensors",
    ".hid",
    "é",
    "a-b",
    "sub",
];

fn paths() -> Vec<String> {
    let dirs = ["", "sub/", "sub/x y/", "sub/x y/deep/", "other/", "a/b/", "foo/bar/"];
    dirs.iter().flat_map(|dir| NAMES.iter().map(move |name| format!("{dir}{name}"))).collect()
}

fn rules(files: &[String; 3]) -> Arc<Attributes> {
    let mut above = None;
    for (dir, text) in DIRS.iter().zip(files) {
        above = Some(Arc::new(Attributes::parse(above, dir.as_bytes(), text.as_bytes())));
    }
    above.expect("three files")
}

/// Our answer for a path: from the file of the deepest directory of the three that it is in.
fn ours(rules: &Arc<Attributes>, path: &str) -> bool {
    let mut level = rules;
    for dir in DIRS.iter().rev() {
        if dir.is_empty() || path.starts_with(&format!("{dir}/")) {
            return level.is_lfs(path.as_bytes());
        }
        level = level.above.as_ref().expect("one for each directory");
    }
    false
}

fn git(repo: &Path, args: &[&str]) -> Command {
    let mut git = Command::new("git");
    git.args(args).current_dir(repo).env("HOME", repo).env("XDG_CONFIG_HOME", repo);
    git.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_ATTR_NOSYSTEM", "1").stderr(Stdio::null());
    git
}

/// Git's answers, in the order of `paths`.
fn theirs(repo: &Path, paths: &[String]) -> Vec<bool> {
    let mut child = git(repo, &["check-attr", "-z", "--stdin", "filter"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("git runs");
    let input: String = paths.iter().map(|path| format!("{path}\0")).collect();
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("git ends").stdout;
    let fields: Vec<&[u8]> = output.split(|&b| b == 0).collect();
    fields.chunks_exact(3).map(|triple| triple[2] == b"lfs").collect()
}

fn compare(repo: &Path, files: &[String; 3]) {
    let paths = paths();
    for (dir, text) in DIRS.iter().zip(files) {
        fs::create_dir_all(repo.join(dir)).expect("made");
        fs::write(repo.join(dir).join(".gitattributes"), text).expect("written");
    }
    let rules = rules(files);
    let answers = theirs(repo, &paths);
    assert_eq!(answers.len(), paths.len());
    for (path, theirs) in paths.iter().zip(answers) {
        assert_eq!(ours(&rules, path), theirs, "{path:?} under {files:#?}");
    }
}

fn pattern() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a",
        "b",
        "ab",
        "*",
        "**",
        "/",
        "/",
        "?",
        "[a-b]",
        "[!a]",
        "[[:alpha:]]",
        "\\*",
        "\\",
        "[",
        "]",
        "-",
        ".",
        ".bin",
        "*.bin",
        "sub",
        "x y",
        "foo",
        "!",
        "**/",
        "/**",
        "é",
        "[^b-z]",
        "#",
        "[]a]",
        "[a\\]]",
        "[[:x:]]",
        "*.safetensors",
        "deep",
    ]);
    let plain = prop::collection::vec(piece, 1..6).prop_map(|pieces| pieces.concat());
    let fixed = prop::sample::select(vec![
        "*",
        "*.bin",
        "/a",
        "sub/*",
        "sub/**",
        "**/a",
        "a/**/b",
        "\"x y\"",
        "\"q\\\"q\"",
        "\"\\141\"",
        "\"bad",
        "\"a\"b",
        "\\!a",
        "!a",
        "a/",
        "/sub/",
        "ba\\\\k",
        "\\[z\\]",
        "[[]z]",
        "\"ba\\\\\\\\k\"",
        "sub/x?y/a",
        "\"sub/x y/**\"",
        "foo/**",
        "**/deep/*",
        "\"\\303\\251\"",
        "[attr]",
        "[attr]-x",
    ]);
    prop_oneof![plain, fixed.prop_map(str::to_owned)]
}

fn line() -> impl Strategy<Value = String> {
    let state = prop::sample::select(vec![
        "filter=lfs",
        "filter=lfs",
        "filter=lfs diff=lfs merge=lfs -text",
        "filter",
        "-filter",
        "!filter",
        "filter=other",
        "m",
        "-m",
        "!m",
        "n",
        "-n",
        "binary",
        "text=auto",
        "m=lfs",
        "-filter=lfs",
        "b@d",
        "filter=",
        "x.y_z",
        "",
    ]);
    let states = prop::collection::vec(state, 0..4).prop_map(|states| states.join(" "));
    let macros = prop::sample::select(vec!["[attr]m ", "[attr]n\t", "[attr] m ", "[attr]binary "]);
    let lead = prop::sample::select(vec!["", "", "", "", " ", "\t", "# ", "\r"]);
    let end = prop::sample::select(vec!["", "", "", "\r", " ", " #x"]);
    prop_oneof![
        5 => (lead, pattern(), states.clone(), end)
            .prop_map(|(lead, pattern, states, end)| format!("{lead}{pattern} {states}{end}")),
        1 => (macros, states).prop_map(|(name, states)| format!("{name}{states}")),
    ]
}

fn file() -> impl Strategy<Value = String> {
    prop::collection::vec(line(), 0..6).prop_map(|lines| lines.join("\n"))
}

fn new_repo() -> tempfile::TempDir {
    let repo = tempfile::tempdir().expect("a directory");
    assert!(git(repo.path(), &["init", "-q"]).status().expect("git runs").success());
    repo
}

#[test]
fn generated_files_are_read_as_git_reads_them() {
    let repo = new_repo();
    let config = ProptestConfig { cases: 250, failure_persistence: None, ..Default::default() };
    proptest!(config, |(files in [file(), file(), file()])| {
        compare(repo.path(), &files);
    });
}

#[test]
fn the_usual_and_the_unusual_file() {
    let repo = new_repo();
    let long = format!("*.bin filter=lfs {}", "x".repeat(2031));
    let longest = format!("*.bin filter=lfs {}", "x".repeat(2030));
    for root in [
        "*.safetensors filter=lfs diff=lfs merge=lfs -text\n*.bin filter=lfs\na.bin -filter\n",
        "\u{feff}* filter=lfs\n",
        "[attr]m filter=lfs\n*.bin m\n[attr]m -filter\n",
        "[attr]m n\n[attr]n m filter=lfs\n* m\n",
        "[attr]m filter=lfs\n*.bin m\na.bin -m\nb.bin !m\n",
        "* filter=lfs\n[attr]m n\n[attr]n m\n* m\n",
        "[attr]m filter=lfs -n\n[attr]n -filter\n* m n\n*.bin n m\n",
        "[attr]filter m\n* filter\n",
        "* filter=lfs filter=other\n",
        &long,
        &longest,
    ] {
        let below = "[attr]n filter=lfs\n*.bin !filter\n".to_owned();
        compare(repo.path(), &[root.to_owned(), below, "a filter=lfs\n/b n".to_owned()]);
    }
}

#[test]
fn macros_of_macros_do_not_recurse() {
    let mut text = String::new();
    for n in 0..50_000 {
        text.push_str(&format!("[attr]m{n} m{}\n", n + 1));
    }
    text.push_str("[attr]m50000 filter=lfs\n* m0\n");
    assert!(Attributes::parse(None, b"", text.as_bytes()).is_lfs(b"a"));
}

proptest! {
    #[test]
    fn never_panics(text in prop::collection::vec(any::<u8>(), 0..200)) {
        Attributes::parse(None, b"", &text).is_lfs(b"a/b");
    }
}
