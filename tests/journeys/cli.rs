//! The command line itself: help, exit codes, hints, JSON.

use std::fmt::Write;
use std::path::Path;

use crate::support::World;

/// Where the help of every command is kept. `UPDATE_HELP=1` writes it anew.
const HELP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/journeys/help.txt");

fn help(world: &World, path: &[&str], text: &mut String) {
    let run = world.run(&[path, &["--help"]].concat());
    run.says(0, &[]);
    let plain: Vec<&str> = run.text().lines().map(str::trim_end).collect();
    let shown = plain.join("\n");
    let command = [&["mega-store"], path, &["--help"]].concat().join(" ");
    let gap = if text.is_empty() { "" } else { "\n" };
    let _ = writeln!(text, "{gap}$ {command}\n{}", shown.trim_end());
    let commands = run.text().split("\nCommands:\n").nth(1).unwrap_or_default();
    for line in commands.lines().take_while(|line| !line.is_empty()) {
        if let Some(name) = line.strip_prefix("  ").filter(|line| !line.starts_with(' ')) {
            let name = name.split(' ').next().expect("a name");
            help(world, &[path, &[name]].concat(), text);
        }
    }
}

#[test]
fn the_help_of_every_command_is_as_written_down() {
    let world = World::new();
    let mut text = String::new();
    help(&world, &[], &mut text);
    assert!(text.contains("$ mega-store debug locate-chunk --help"), "the whole tree is walked");
    if std::env::var_os("UPDATE_HELP").is_some() {
        std::fs::write(HELP, &text).expect("written");
    }
    let kept = std::fs::read_to_string(Path::new(HELP)).unwrap_or_default();
    assert!(kept == text, "help has changed: run with UPDATE_HELP=1 and look at the difference");
    assert!(text.lines().all(|line| line.chars().count() <= 100), "no line is over 100 columns");
}

#[test]
fn wrong_usage_is_2_and_ends_in_a_hint() {
    let world = World::with_store();
    for args in [
        &["frobnicate"][..],
        &["import"],
        &["ls", "a b"],
        &["cat", "x"],
        &["repo", "visibility", "x", "secret"],
        &["mount", "x", "/m", "--lfs", "some"],
        &["--json", "--quiet", "--verbose", "status"],
        &["file", "add"],
        &["gc", "--grace", "soon"],
    ] {
        let run = world.run(args);
        assert_eq!(run.code, 2, "{args:?}: {run:?}");
        assert!(run.words.lines().last().is_some_and(|l| l.starts_with("hint: ")), "{run:?}");
        assert!(run.out.is_empty());
    }
    let run = world.run(&[]);
    assert_eq!(run.code, 2);
    assert!(run.words.contains("Usage: mega-store"), "{run:?}");
    let run = world.run(&["--version"]);
    assert_eq!((run.code, run.text().starts_with("mega-store 0.")), (0, true));
}

#[test]
fn repositories_are_made_renamed_copied_and_deleted() {
    let world = World::with_store();
    world
        .sh("git init -q x && cd x && echo x > x && git add . && git commit -qm x && git branch b");
    world.ok(&["import", "x", "team/x"]);
    world.run(&["repo", "create", "team/x"]).says(1, &["exists already", "hint: "]);
    world.ok(&["repo", "fork", "team/x", "mine"]);
    world.ok(&["repo", "rename", "team/x", "ours"]);
    world.ok(&["repo", "visibility", "ours", "public"]);
    world.ok(&["repo", "head", "ours", "b"]);
    world.run(&["repo", "head", "ours", "nope"]).says(1, &["has no branch 'nope'", "hint: "]);
    world.ok(&["repo", "create", "empty"]);
    let rows = world.run(&["repo", "list", "--json"]).json();
    let row = |name: &str| rows.iter().find(|row| row["name"] == name).expect("listed");
    assert_eq!(rows.len(), 3);
    assert_eq!(
        (&row("ours")["visibility"], &row("ours")["head"]),
        (&"public".into(), &"refs/heads/b".into())
    );
    assert_eq!(
        (&row("mine")["visibility"], &row("mine")["head"]),
        (&"private".into(), &"refs/heads/main".into())
    );
    assert_eq!(row("empty")["head"], "refs/heads/main");
    world.ok(&["repo", "delete", "ours"]);
    world.run(&["ls", "ours"]).says(1, &["there is no repository 'ours'", "repo list"]);
    assert_eq!(world.ok(&["cat", "mine@b", "x"]), "x\n");
    world.run(&["ls", "empty"]).says(1, &["names no revision", "hint: "]);
}

#[test]
fn settings_are_set_added_shown_and_removed() {
    let world = World::with_store();
    world.ok(&["repo", "create", "x"]);
    assert_eq!(world.ok(&["repo", "config", "x"]), "");
    world.ok(&["repo", "config", "x", "receive.protect", "main"]);
    world.ok(&["repo", "config", "x", "receive.protect", "release/*", "--add"]);
    world.ok(&["repo", "config", "x", "receive.QUOTA", "2g"]);
    let all = "receive.protect=main\nreceive.protect=release/*\nreceive.quota=2g\n";
    assert_eq!(world.ok(&["repo", "config", "x"]), all);
    assert_eq!(world.ok(&["repo", "config", "x", "receive.protect"]), "main\nrelease/*\n");
    let rows = world.run(&["repo", "config", "x", "receive.quota", "--json"]).json();
    assert_eq!(rows[0]["value"], "2g");
    world.ok(&["repo", "config", "x", "receive.protect", "--unset"]);
    world.run(&["repo", "config", "x", "receive.protect"]).says(1, &["no setting", "hint: "]);
    world.run(&["repo", "config", "x", "receive.quota", "lots"]).says(2, &["lots", "hint: "]);
    world.run(&["repo", "config", "x", "core.bare", "1"]).says(2, &["core.bare", "hint: "]);
    world.run(&["repo", "config", "nope"]).says(1, &["there is no repository 'nope'"]);
}

#[test]
fn directories_and_files_of_a_revision_are_shown() {
    let world = World::with_store();
    world.sh(
        "git init -q x && cd x && mkdir -p a/b && echo deep > a/b/c && printf x > $'od\\nd\\e' && \
        ln -s a/b link && chmod +x a/b/c && git add . && git commit -qm x",
    );
    world.ok(&["import", "x"]);
    let text = world.ok(&["ls", "x"]);
    assert!(text.contains("120000 symlink              3  link"), "{text}");
    assert!(text.contains("\"od\\nd\\033\""), "{text:?}");
    assert_eq!(world.ok(&["ls", "x@main", "/a//b/"]), "100755 blob                 5  c\n");
    assert_eq!(world.ok(&["ls", "x", "a/b/c"]), "100755 blob                 5  c\n");
    let rows = world.run(&["ls", "x", "--json"]).json();
    assert_eq!((&rows[1]["name"], &rows[1]["kind"]), (&"link".into(), &"symlink".into()));
    assert_eq!(world.ok(&["cat", "x", "a/b/c"]), "deep\n");
    assert_eq!(world.ok(&["cat", "x", "link"]), "a/b");
    world.run(&["cat", "x", "a"]).says(1, &["is a directory", "hint: "]);
    world.run(&["cat", "x", "a/nope"]).says(1, &["x@HEAD has no 'a/nope'", "hint: "]);
    world.run(&["ls", "x", "a/b/c/d"]).says(1, &["has no 'a/b/c/d'"]);
    world.run(&["ls", "x@nope"]).says(1, &["'nope' names no revision of x", "hint: "]);
}

#[test]
fn quiet_is_quiet_and_scripts_for_shells_are_made() {
    let world = World::with_store();
    world.sh("git init -q x && cd x && echo x > x && git add . && git commit -qm x");
    let run = world.run(&["-q", "import", "x"]);
    assert_eq!((run.code, run.words.as_str(), run.out.len()), (0, "", 0));
    let run = world.run(&["-q", "ls", "nope"]);
    run.says(1, &["error: ", "hint: "]);
    for shell in ["bash", "zsh", "fish"] {
        assert!(world.ok(&["completions", shell]).contains("mega-store"));
    }
    let bash = world.ok(&["completions", "bash"]);
    std::fs::write(world.path("script"), bash).expect("written");
    world.sh("bash -n script");
    let stats = &world.run(&["stats", "--json"]).json()[0];
    assert_eq!(stats["repos"], 1);
    assert!(stats["families"]["object"].is_u64(), "{stats}");
    let status = &world.run(&["status", "--json"]).json()[0];
    assert_eq!((&status["format"], status["holder"].is_null()), (&1.into(), true));
}
