//! The checks against git: the same objects, written without looking, judged by both.
//!
//! `git hash-object` (from 2.40 on) tells all of a tree's problems and the first of a commit's or
//! tag's, also for objects that git cannot parse; `git fsck` tells what is left of them with
//! severities, and checks special blobs. Older gits are asked for what they know.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::*;
use crate::object::hash_object;

fn git(dir: &Path, args: &[&str], input: &[u8]) -> (String, String) {
    let mut child = Command::new("git")
        .args(args)
        .current_dir(dir)
        .env("LC_ALL", "C")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("git runs");
    // A git that refuses its arguments reads nothing.
    let _ = child.stdin.take().expect("piped").write_all(input);
    let output = child.wait_with_output().expect("git ends");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (text(output.stdout), text(output.stderr))
}

fn version(dir: &Path) -> (u32, u32) {
    let (text, _) = git(dir, &["version"], b"");
    let numbers: Vec<u32> =
        text.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect();
    (numbers[0], numbers[1])
}

fn entry(mode: &str, name: &[u8], id: u8) -> Vec<u8> {
    [mode.as_bytes(), b" ", name, b"\0", &[id; 20]].concat()
}

/// Pieces of names from which collisions, short names and directory tricks come.
fn entry_name() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        ".",
        "..",
        ".git",
        "git",
        ".GIT",
        "gitmodules",
        "gitattributes",
        "gitignore",
        "mailmap",
        ".mailmap",
        ".gitignore",
        ".gitmodules",
        ".gitattributes",
        "gitmod",
        "gi7eba",
        "gi7d29",
        "maba30",
        "gi250a",
        "~",
        "1",
        "4",
        "9",
        "~1",
        " ",
        ":",
        "\\",
        "/",
        "a",
        "b",
        "foo",
        "-",
        "0",
        "x",
        "\u{200c}",
        "\u{feff}",
        "\u{206f}",
        "\u{200b}",
        "\u{ffff}",
        "é",
        "I",
        "::$DATA",
    ]);
    let pieces = prop::collection::vec(piece, 1..4).prop_map(|p| p.concat().into_bytes());
    prop_oneof![
        6 => pieces.clone(),
        1 => (pieces, any::<u8>()).prop_map(|(p, b)| [p, vec![b.max(1)]].concat()),
        2 => prop::sample::select(vec!["a", "a.b", "a-", "a/b", "foo", "foo.bar", "foo.bar.baz"])
            .prop_map(|name| name.as_bytes().to_vec()),
    ]
}

fn entry_mode() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        9 => prop::sample::select(vec!["100644", "100755", "40000", "40000", "120000", "160000"]),
        1 => prop::sample::select(vec!["040000", "100600", "644", "0", "", "1006440000", "10x"]),
    ]
}

fn any_tree() -> impl Strategy<Value = Vec<u8>> {
    let entry = (entry_mode(), entry_name(), prop_oneof![9 => Just(0x11u8), 1 => Just(0u8)])
        .prop_map(|(mode, name, id)| (name.clone(), entry(mode, &name, id)));
    let entries = prop::collection::vec(entry, 1..6);
    (entries, any::<bool>(), prop_oneof![9 => Just(0usize), 1 => 1usize..30]).prop_map(
        |(mut entries, sorted, cut)| {
            if sorted {
                entries.sort();
            }
            let mut data = entries.into_iter().map(|e| e.1).collect::<Vec<_>>().concat();
            data.truncate(data.len().saturating_sub(cut));
            data
        },
    )
}

fn ident() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec!["A B ", "A", "", " ", "A>", "A < ", "é "]);
    let mail = prop::sample::select(vec!["<a@b>", "<>", "<a", "a>", "<a<b>", "", "<a@b> <c>"]);
    let date = prop::sample::select(vec![
        " 1700000000",
        " 0",
        " 01",
        " -1",
        "",
        " ",
        " x",
        "  12",
        " \t3",
        " 9223372036854775807",
        " 9223372036854775808",
        " 99999999999999999999999",
        " 1.5",
        "5",
    ]);
    let zone = prop::sample::select(vec![
        " +0000", " -1234", " 0000", " +000", " +00000", " +00x0", "", "  +0000", " +0100 ",
    ]);
    let good = ("A B ", "<a@b>", " 1700000000", " +0100");
    (any::<u8>(), name, mail, date, zone).prop_map(move |(which, name, mail, date, zone)| {
        // Mostly one part is odd, so that the checks behind it are reached.
        let pick =
            |bit: u8, odd, usual| if which & bit != 0 && which & 7 == 7 { odd } else { usual };
        let name = if which & 3 == 0 { name } else { pick(16, name, good.0) };
        let mail = if which & 3 == 1 { mail } else { pick(32, mail, good.1) };
        let date = if which & 3 == 2 { date } else { pick(64, date, good.2) };
        let zone = if which & 3 == 3 { zone } else { pick(128, zone, good.3) };
        [name, mail, date, zone].concat()
    })
}

fn header_lines() -> impl Strategy<Value = Vec<u8>> {
    let hex = "8ab686eafeb1f44702738c8b0f24f2567c36da6d";
    let line = move |keyword: &'static str, text: String| format!("{keyword} {text}\n");
    let good_ident = "A <a@b> 1 +0000".to_owned();
    let id = prop_oneof![
        12 => Just(hex.to_owned()),
        1 => Just(hex.to_uppercase()),
        1 => Just(hex[1..].to_owned()),
        1 => Just(format!("{hex}0")),
        1 => Just(format!("{hex} ")),
        1 => Just(String::new()),
    ];
    let ident = prop_oneof![2 => Just(good_ident), 1 => ident()];
    let commit = (
        id.clone().prop_map(move |t| line("tree", t)),
        prop::collection::vec(id.clone().prop_map(move |t| line("parent", t)), 0..3),
        ident.clone().prop_map(move |t| line("author", t)),
        ident.clone().prop_map(move |t| line("committer", t)),
    )
        .prop_map(|(tree, parents, author, committer)| {
            [vec![tree], parents, vec![author, committer]].concat()
        });
    let kind = prop::sample::select(vec!["commit", "tree", "blob", "tag", "commits", "", "com"]);
    let name =
        prop::sample::select(vec!["v1", "v 1", "", "v..1", "-v", "a/b", "a.lock", "@{", "é"]);
    let tag = (
        id.prop_map(move |t| line("object", t)),
        prop_oneof![3 => Just("commit"), 1 => kind].prop_map(move |t| line("type", t.to_owned())),
        prop_oneof![3 => Just("v1"), 1 => name].prop_map(move |t| line("tag", t.to_owned())),
        ident.prop_map(move |t| line("tagger", t)),
    )
        .prop_map(|(object, kind, name, tagger)| vec![object, kind, name, tagger]);
    let change = prop_oneof![
        6 => Just((0usize, 0usize)),
        1 => (1usize..5, 0usize..6),
    ];
    let end =
        prop::sample::select(vec!["\nmessage\n", "\n", "", "extra x\n\nm", "\nm\0m", "x", "a\0"]);
    (prop_oneof![commit, tag], change, end).prop_map(|(mut lines, (change, at), end)| {
        let at = at.min(lines.len() - 1);
        match change {
            1 => drop(lines.remove(at)),
            2 => lines.insert(at, lines[at].clone()),
            3 => lines.swap(0, at),
            4 => lines.truncate(at),
            _ => {}
        }
        let mut data = lines.concat().into_bytes();
        data.extend_from_slice(end.as_bytes());
        data
    })
}

/// `count` different values from a fixed seed: a failure comes back.
fn samples(strategy: impl Strategy<Value = Vec<u8>>, count: usize) -> BTreeSet<Vec<u8>> {
    let mut runner = TestRunner::deterministic();
    (0..count).map(|_| strategy.new_tree(&mut runner).expect("a value").current()).collect()
}

fn kind_of(data: &[u8]) -> ObjectKind {
    let is_tag = data.windows(4).any(|w| w == b"tag ") || data.starts_with(b"object");
    if is_tag { ObjectKind::Tag } else { ObjectKind::Commit }
}

fn ours(kind: ObjectKind, data: &[u8]) -> Vec<Problem> {
    let mut out = Vec::new();
    check_object(kind, &ObjectId::NULL, data, &mut out);
    out
}

/// The ids that `git hash-object` tells.
fn hash_object_ids(dir: &Path, kind: ObjectKind, data: &[u8]) -> Vec<String> {
    let (_, errors) = git(dir, &["hash-object", "-t", kind.as_str(), "--stdin"], data);
    let told = |line: &str| {
        let (id, _) = line.split_once("object fails fsck: ")?.1.split_once(':')?;
        Some(id.to_owned())
    };
    errors.lines().filter_map(told).collect()
}

#[test]
fn trees_agree_with_hash_object() {
    let dir = tempfile::tempdir().expect("a directory");
    if version(dir.path()) < (2, 44) {
        eprintln!("this git's hash-object does not check as fsck does: nothing to compare with");
        return;
    }
    let mut trees = samples(any_tree(), 600);
    trees.insert(entry("100644", &[b'x'; 4096], 1));
    trees.insert(entry("100644", &[b'x'; 4097], 1));
    for data in &trees {
        let theirs = hash_object_ids(dir.path(), ObjectKind::Tree, data);
        let ours: Vec<_> = ours(ObjectKind::Tree, data).iter().map(|p| p.id).collect();
        assert_eq!(ours, theirs, "{}", data.escape_ascii());
    }
}

#[test]
fn commits_and_tags_agree_with_hash_object() {
    let dir = tempfile::tempdir().expect("a directory");
    if version(dir.path()) < (2, 44) {
        eprintln!("this git's hash-object does not check as fsck does: nothing to compare with");
        return;
    }
    let mut seen = BTreeSet::new();
    for data in samples(header_lines(), 900) {
        let kind = kind_of(&data);
        // It stops at whatever it tells first.
        let theirs: Vec<_> = hash_object_ids(dir.path(), kind, &data);
        let ours: Vec<_> = ours(kind, &data).iter().map(|p| p.id).take(1).collect();
        assert_eq!(ours, theirs, "{}", data.escape_ascii());
        seen.extend(theirs);
    }
    assert!(seen.len() >= 25, "only {seen:?}");
}

/// An empty repository, and loose objects in it that nobody looked at.
struct Repository {
    dir: tempfile::TempDir,
}

impl Repository {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        git(dir.path(), &["init", "-q", "--bare", "."], b"");
        Self { dir }
    }

    fn add(&self, kind: ObjectKind, data: &[u8]) -> ObjectId {
        let id = hash_object(kind, data).expect("no attack");
        let hex = id.to_string();
        let dir = self.dir.path().join("objects").join(&hex[..2]);
        std::fs::create_dir_all(&dir).expect("made");
        let file = std::fs::File::create(dir.join(&hex[2..])).expect("made");
        let mut deflate = flate2::write::ZlibEncoder::new(file, flate2::Compression::fast());
        write!(deflate, "{} {}\0", kind.as_str(), data.len()).expect("written");
        deflate.write_all(data).expect("written");
        deflate.finish().expect("written");
        id
    }

    /// By object: what fsck tells, as (refused, id); and all that it said.
    fn fsck(&self, args: &[&str]) -> (BTreeMap<String, Vec<(bool, String)>>, String) {
        let args = [&["fsck", "--no-dangling", "--full"], args].concat();
        let (_, errors) = git(self.dir.path(), &args, b"");
        let mut told: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for line in errors.lines() {
            let parts: Vec<&str> = line.splitn(6, ' ').collect();
            if let [level @ ("error" | "warning"), "in", _, id, message, ..] = parts[..] {
                let id = id.trim_end_matches(':').to_owned();
                // Without a colon it is a remark on links.
                if let Some(message) = message.strip_suffix(':') {
                    told.entry(id).or_default().push((level == "error", message.to_owned()));
                }
            }
        }
        (told, errors)
    }
}

#[test]
fn severities_agree_with_fsck() {
    let repository = Repository::new();
    let old = version(repository.dir.path()) < (2, 44);
    let mut objects = BTreeMap::new();
    let trees = samples(any_tree(), 400).into_iter().map(|data| (ObjectKind::Tree, data));
    let texts = samples(header_lines(), 400).into_iter().map(|data| (kind_of(&data), data));
    let mode_664 = (ObjectKind::Tree, entry("100664", b"a", 1));
    for (kind, data) in trees.chain(texts).chain([mode_664]) {
        objects.insert(repository.add(kind, &data).to_string(), ours(kind, &data));
    }
    for strict in [false, true] {
        let (told, all) = repository.fsck(if strict { &["--strict"] } else { &[] });
        let mut compared = 0;
        for (id, problems) in &objects {
            // What git cannot parse it does not check.
            let unparsed = |line: &str| line.contains(id.as_str()) && !line.contains(" in ");
            if all.lines().any(unparsed) {
                continue;
            }
            let refused = |severity| match severity {
                Severity::Fatal | Severity::Error => true,
                Severity::Warn => strict,
                Severity::Info => false,
            };
            let mut ours: Vec<_> =
                problems.iter().map(|p| (refused(p.severity), p.id.to_owned())).collect();
            let mut theirs = told.get(id).cloned().unwrap_or_default();
            if strict {
                // The one thing that only --strict finds.
                theirs.retain(|(_, id)| id != "badFilemode");
                ours.retain(|(_, id)| id != "badFilemode");
            }
            let is_date = |(_, id): &(bool, String)| id.contains("Date");
            if old && (ours.iter().any(is_date) || theirs.iter().any(is_date)) {
                // Older gits let a date's parser run into the next line.
                continue;
            }
            assert_eq!(ours, theirs, "{id}");
            compared += 1;
        }
        assert!(compared > 250, "{compared}");
    }
}

#[test]
fn special_blobs_agree_with_fsck() {
    let repository = Repository::new();
    let old = version(repository.dir.path()) < (2, 44);
    let mut expected = BTreeMap::new();
    for (name, texts) in [(".gitmodules", modules_texts()), (".gitattributes", attributes_texts())]
    {
        for text in texts {
            let id = repository.add(ObjectKind::Blob, &text);
            let row = [b"100644 ", name.as_bytes(), b"\0", id.as_bytes()].concat();
            repository.add(ObjectKind::Tree, &row);
            let mut special = SpecialBlobs::default();
            check_object_noting(ObjectKind::Tree, &row, &mut special, &mut Vec::new());
            let mut out = Vec::new();
            for (noted, role) in special.iter() {
                assert_eq!(*noted, id);
                let content = SpecialContent::Object(ObjectKind::Blob, &text);
                check_special_blob(role, content, &mut out);
            }
            let ids = out.into_iter().map(|p| (p.severity <= Severity::Error, p.id.to_owned()));
            expected.insert(id.to_string(), (ids.collect::<Vec<_>>(), text));
        }
    }
    let (told, _) = repository.fsck(&[]);
    for (id, (ours, text)) in expected {
        let theirs = told.get(&id).cloned().unwrap_or_default();
        // Older gits judge URLs by the credential helper's parser.
        if old && (ours.iter().chain(&theirs)).any(|(_, id)| id == "gitmodulesUrl") {
            continue;
        }
        assert_eq!(ours, theirs, "{}", text.escape_ascii());
    }
}

fn attributes_texts() -> Vec<Vec<u8>> {
    let long = |len: usize| vec![b'x'; len];
    vec![
        b"* text\n".to_vec(),
        long(2047),
        long(2048),
        [long(2047), b"\n".to_vec(), long(2047)].concat(),
        [b"\0".to_vec(), long(3000)].concat(),
        [b"a\n\0".to_vec(), long(3000)].concat(),
    ]
}

/// Submodule URLs, good and bad, by blanks.
const URLS: &str = "\
     -u./x --upload-pack=x a ./a ../a ../../a ..//a ../:a ../a%0ab ./a%0Ab ./a%250ab \
     git://h/a%0a git://h/a ssh://h/a%0a http://h/a%0a https://h/a https://h/%0a/../a \
     https://h/%0a/./a https:///a http://:80/a http://h:0/a http://h:65535/a http://h:65536/a \
     http://h:080/a http://h:x/a http://h/a/../../b http://h/a/../b http://h/%2e%2e/b \
     http://h/%zz http://u%0a@h/a http://u:p@h/a http://@h/a http://@/a http://[::1]:8/a \
     http://[::1]/a http://h%41/a http:h http::https://h/a http::file:///a http::file://:8/a \
     http::a ftp://h?x%0a ftps://h#%0a https://h HTTP:///a http://h/é http://h//../a \
     http://h/?.. https::example.com/x http::///x https://h/%00";

fn modules_texts() -> Vec<Vec<u8>> {
    let with = |key: &str, value: &str| format!("[submodule \"s\"]\n\t{key} = {value}\n");
    let odd = ["..\\\\a", "http://h h/a", "http://h/a\\nb", "\"a b\" c"];
    let mut texts: Vec<String> = URLS.split(' ').chain(odd).map(|url| with("url", url)).collect();
    texts.extend(["-x", "x", "!x", "", "\"-x\"", "\\\"-x\\\""].iter().map(|v| with("path", v)));
    texts.extend(["!cmd", "none", "rebase", "x!", "\"!x\""].iter().map(|v| with("update", v)));
    for name in [
        "..",
        "../x",
        "x/..",
        "x/../y",
        "x\\\\..\\\\y",
        "x..y",
        "...",
        "",
        "a.b",
        ".",
        "a]b",
        "a\\\"b",
        "a\\nb",
        "..\\\\",
        "A",
    ] {
        texts.push(format!("[submodule \"{name}\"]\n\turl = x\n"));
        texts.push(format!("[submodule \"{name}\"]\n"));
    }
    texts.extend(syntax_texts());
    let mut all: Vec<Vec<u8>> = texts.into_iter().map(String::into_bytes).collect();
    all.push(b"\xef\xbb".to_vec());
    all.push(b"[submodule \"..\0\"]\nurl=x".to_vec());
    all.push(b"[submodule \"x\"]\nurl=-\0x\n[submodule \"a\0b\"]\nurl=-x".to_vec());
    all.push(b"[submodule \"..\"]\nurl=\"\xff\0".to_vec());
    all
}

/// Configuration files, readable or not.
const FILES: [&str; 36] = [
    "",
    "\n",
    "x",
    "x y",
    "x = 1\n",
    "1 = x\n",
    "[",
    "[]",
    "[a",
    "[a]",
    "[a] x = 1",
    "[a b]",
    "[a \"b]",
    "[a \"b\"",
    "[a \"b\" ]",
    "[a  \t\"b\"]",
    "[a\n\"b\"]",
    "[a.b]x",
    "[a_b]",
    "; c",
    "# c\n[",
    "[a]\nx = \"y\n",
    "[a]\nx = \\q\n",
    "[a]\nx = y\\\n",
    "[a]\nx y = 1\n",
    "[a]\nx_ = 1\n",
    "[a]\nx",
    "[a]\nx =",
    "[a]\n-x = 1\n",
    "[ \"x\"]\ny=1",
    "[a]\r\nx = 1\r\n",
    "[a]\rx",
    "[\"a\"]",
    "[a \"b\\",
    "[a]\nx = 1 \\",
    "[a]]",
];

/// Configuration files in and out of git's syntax; each shows by a finding whether it was
/// understood.
fn syntax_texts() -> Vec<String> {
    let mut texts: Vec<String> = FILES.iter().map(|text| (*text).to_owned()).collect();
    let section = "[submodule \"..\"]";
    for line in [
        "url = x",
        " url=x",
        "URL = -x",
        "url",
        "url\t = -x",
        "url = # -x",
        "url = \" -x\"",
        "url = \\\n-x",
        "url = \\t-x",
        "path = -x ; c",
        "path = \"-x ; c\" d",
        "u-rl = 1",
        "x.url = 1",
        "url = -x\\",
        "url = -x\"",
        "path = - \\\n x",
    ] {
        texts.push(format!("{section}\n{line}\n"));
        texts.push(format!("{section} {line}"));
        texts.push(format!("[submodule.sub]\r\n{line}\r\n[submodule]\n{line}\n"));
        texts.push(format!("[SUBMODULE \"s\"]\n{line}\n[Submodule.s]\n{line}"));
    }
    texts
}
