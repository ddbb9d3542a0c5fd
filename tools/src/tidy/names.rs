//! Rules on names: what only one file may name, what nobody may, and what a crate may depend on.

use super::source::Source;
use super::{Finding, Report};

/// A foreign crate and the paths (from their start) that may name it.
const DOORS: &[(&str, &[&str])] = &[
    ("fuser", &["fuse/src/adapter.rs"]),
    ("rocksdb", &["storage/src/db/", "storage/src/error.rs"]),
];

/// A crate's folder and the dependencies that would break its wall.
const WALLS: &[(&str, &[&str])] = &[
    (
        "storage/Cargo.toml",
        &["tokio", "clap", "reqwest", "fuser", "libp2p", "axum", "hyper", "nostr"],
    ),
    (
        "fuse/Cargo.toml",
        &["tokio", "clap", "reqwest", "rocksdb", "libp2p", "axum", "hyper", "nostr"],
    ),
    ("tools/Cargo.toml", &["mega-storage", "mega-fuse", "mega-store", "tokio", "clap"]),
];

/// Files whose matches are tables from errors to answers.
const ERROR_TABLES: &[&str] = &["errno.rs", "exit.rs", "status.rs"];

/// Macros and attributes that mean unfinished work.
const UNFINISHED_MACROS: &[&str] = &["todo", "unimplemented", "dbg"];
const UNFINISHED_ATTRIBUTES: &[&str] = &["ignore"];

/// Checks the names in a Rust file.
pub fn check(path: &str, source: &Source, report: &mut Report<'_>) {
    for (name, doors) in DOORS {
        if doors.iter().any(|door| path.starts_with(door)) {
            continue;
        }
        if let Some(offset) = source.words(name).next() {
            report("one-door", source.line(offset), format!("only {} may name {name}", doors[0]));
        }
    }
    let macros = UNFINISHED_MACROS.iter().map(|name| format!("{name}!"));
    let attributes = UNFINISHED_ATTRIBUTES.iter().map(|name| format!("#[{name}"));
    for word in macros.chain(attributes) {
        for offset in source.words(&word) {
            report("unfinished", source.line(offset), format!("'{word}' is left"));
        }
    }
    if !is_test_file(path) {
        for offset in source.words(".unwrap()").filter(|offset| !source.in_tests(*offset)) {
            report("unwrap", source.line(offset), "unwrap() outside tests".to_owned());
        }
    }
    for word in ["thread::sleep", "time::sleep", "sleep_ms"] {
        for offset in source.words(word) {
            report("sleep", source.line(offset), format!("'{word}'"));
        }
    }
    check_error_table(path, source, report);
}

fn check_error_table(path: &str, source: &Source, report: &mut Report<'_>) {
    let file_name = path.rsplit('/').next().unwrap_or(path);
    if !ERROR_TABLES.contains(&file_name) {
        return;
    }
    let mut line_start = 0;
    for line in source.code.split_inclusive('\n') {
        let arm = line.trim_start();
        if (arm.starts_with("_ =>") || arm.starts_with("_ if ")) && !source.in_tests(line_start) {
            report(
                "error-table",
                source.line(line_start),
                "an arm that swallows variants".to_owned(),
            );
        }
        line_start += line.len();
    }
}

fn is_test_file(path: &str) -> bool {
    path.ends_with("tests.rs") || path.split('/').any(|part| part == "tests")
}

/// Checks which dependencies a manifest names.
pub fn check_manifest(path: &str, text: &str, findings: &mut Vec<Finding>) {
    let Some((_, banned)) = WALLS.iter().find(|(wall, _)| *wall == path) else { return };
    let mut in_dependencies = false;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with('[') {
            in_dependencies = line.contains("dependencies");
        }
        let name =
            line.trim_start_matches("[dependencies.").trim_start_matches("[dev-dependencies.");
        let len = name
            .bytes()
            .take_while(|b| matches!(b, b'-' | b'_') || b.is_ascii_alphanumeric())
            .count();
        let name = &name[..len];
        if in_dependencies
            && banned.iter().any(|word| name == *word || name.starts_with(&format!("{word}-")))
        {
            findings.push(Finding {
                path: path.to_owned(),
                line: index + 1,
                rule: "walls",
                message: format!("this crate must not know {name}"),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(path: &str, code: &str) -> Vec<&'static str> {
        let mut found = Vec::new();
        check(path, &Source::new(code.to_owned()), &mut |rule, _, _| found.push(rule));
        found
    }

    #[test]
    fn doors_are_kept() {
        assert_eq!(rules("fuse/src/adapter.rs", "use fuser::Session;"), [""; 0]);
        assert_eq!(rules("fuse/src/fs.rs", "use fuser::Session;"), ["one-door"]);
        assert_eq!(rules("storage/src/db/mod.rs", "use rocksdb::DB;"), [""; 0]);
        assert_eq!(rules("storage/src/store.rs", "use rocksdb::DB;"), ["one-door"]);
        assert_eq!(rules("storage/src/store.rs", "//! rocksdb in words"), [""; 0]);
    }

    #[test]
    fn unfinished_work_is_found() {
        for name in UNFINISHED_MACROS {
            assert_eq!(rules("src/a.rs", &format!("{name}!()")), ["unfinished"]);
            assert_eq!(rules("src/a.rs", &format!("let {name} = 1; // {name}!")), [""; 0]);
        }
        for end in ["]", " = \"later\"]"] {
            let text = format!("#[{}{end}\nfn a() {{}}", UNFINISHED_ATTRIBUTES[0]);
            assert_eq!(rules("src/a.rs", &text), ["unfinished"]);
        }
    }

    #[test]
    fn unwrap_is_for_tests() {
        assert_eq!(rules("src/a.rs", "fn a() { b().unwrap(); }"), ["unwrap"]);
        assert_eq!(
            rules("src/a.rs", "#[cfg(test)]\nmod tests { fn a() { b().unwrap(); } }"),
            [""; 0]
        );
        assert_eq!(rules("src/git/tests.rs", "fn a() { b().unwrap(); }"), [""; 0]);
        assert_eq!(rules("tests/a/main.rs", "fn a() { b().unwrap(); }"), [""; 0]);
    }

    #[test]
    fn tables_have_an_arm_for_each_variant() {
        let table = "match e {\n    A => 1,\n    _ => 2,\n}";
        assert_eq!(rules("fuse/src/errno.rs", table), ["error-table"]);
        assert_eq!(rules("fuse/src/fs.rs", table), [""; 0]);
    }

    #[test]
    fn sleeping_is_found() {
        assert_eq!(rules("tests/a.rs", "std::thread::sleep(d);"), ["sleep"]);
    }

    #[test]
    fn walls_are_kept() {
        let mut findings = Vec::new();
        let text = "[package]\nname = \"tokio\"\n[dependencies]\n\
                    tokio.workspace = true\nlibp2p-kad = \"0\"\nbytes = \"1\"\n";
        check_manifest("storage/Cargo.toml", text, &mut findings);
        assert_eq!(findings.iter().map(|f| f.line).collect::<Vec<_>>(), [4, 5]);
    }
}
