//! The floors of the root package: which room may import from which.
//!
//! An import goes down to a lower floor. A room that is not listed has no floor: give it one here
//! first.

use super::Report;
use super::source::Source;

/// Rooms of `src/` with their floors. `lib` and `main` open the house and may name every room.
const FLOORS: &[(&str, u8)] = &[
    ("main", 6),
    ("lib", 6),
    ("cli", 5),
    ("node", 4),
    ("http", 3),
    ("tunnel", 3),
    ("bridge", 3),
    ("git", 2),
    ("lfs", 2),
    ("swarm", 2),
    ("events", 2),
    ("config", 1),
    ("control", 1),
    ("audit", 1),
];

/// The mount stands on the second floor: only rooms above it may name its crate.
const MOUNT_CRATE: &str = "mega_fuse";
const MOUNT_FLOOR: u8 = 2;

fn floor_of(room: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == room).map(|(_, floor)| *floor)
}

/// Room of a file of the root package: `src/cli/ls.rs` is in `cli`.
fn room_of(path: &str) -> Option<&str> {
    let inside = path.strip_prefix("src/")?;
    let first = inside.split('/').next()?;
    Some(first.strip_suffix(".rs").unwrap_or(first))
}

/// Checks the imports of a file of the root package; other files pass.
pub fn check(path: &str, source: &Source, report: &mut Report<'_>) {
    let Some(room) = room_of(path) else { return };
    let Some(floor) = floor_of(room) else {
        report("floors", 1, format!("the room '{room}' has no floor in tools/src/tidy/floors.rs"));
        return;
    };
    for (offset, other) in imports(path, source) {
        let Some(other_floor) = floor_of(other) else { continue };
        if other != room && other_floor >= floor {
            let way = if other_floor > floor { "up" } else { "sideways" };
            let message = format!("{room} (floor {floor}) imports {way} {other} ({other_floor})");
            report("floors", source.line(offset), message);
        }
    }
    if floor <= MOUNT_FLOOR
        && let Some(offset) = source.words(MOUNT_CRATE).next()
    {
        report("floors", source.line(offset), format!("{room} (floor {floor}) imports the mount"));
    }
}

/// Rooms that the code names, each with the offset: by `crate::`, `mega_store::`, or `super::` up
/// to the root.
fn imports<'a>(path: &str, source: &'a Source) -> Vec<(usize, &'a str)> {
    let code = source.code.as_str();
    let mut found = Vec::new();
    for root in ["crate::", "mega_store::"] {
        for offset in source.words(root) {
            first_names(code, offset + root.len(), &mut found);
        }
    }
    let depth = module_depth(path);
    for (offset, _) in code.match_indices("super::") {
        if code[..offset].ends_with("super::") {
            continue; // Counted with the first of its chain.
        }
        let rest = &code[offset..];
        let hop_count = rest.split("super::").take_while(|part| part.is_empty()).count();
        if hop_count >= depth + usize::from(source.in_tests(offset)) {
            first_names(code, offset + hop_count * "super::".len(), &mut found);
        }
    }
    found
}

/// Modules above the file's content: 1 for `src/node.rs` and `src/cli/mod.rs`, 0 for `src/lib.rs`.
fn module_depth(path: &str) -> usize {
    let inside = path.strip_prefix("src/").unwrap_or(path);
    let names = inside.trim_end_matches(".rs").split('/');
    names.filter(|name| !matches!(*name, "mod" | "lib" | "main")).count()
}

/// Collects the name at `at`, or the first name of each member of a `{...}` group there.
fn first_names<'a>(code: &'a str, at: usize, found: &mut Vec<(usize, &'a str)>) {
    let mut starts = vec![at];
    if code[at..].starts_with('{') {
        starts.clear();
        let mut depth = 0usize;
        for (index, byte) in code.bytes().enumerate().skip(at) {
            match byte {
                b'{' => depth += 1,
                b'}' if depth <= 1 => break,
                b'}' => depth -= 1,
                _ => {}
            }
            if depth == 1 && matches!(byte, b'{' | b',') {
                starts.push(index + 1);
            }
        }
    }
    for start in starts {
        let rest = &code[start..];
        let name = rest.trim_start();
        let len = name.bytes().take_while(|b| *b == b'_' || b.is_ascii_alphanumeric()).count();
        if len > 0 {
            found.push((start + rest.len() - name.len(), &name[..len]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, code: &str) -> usize {
        let mut count = 0;
        check(path, &Source::new(code.to_owned()), &mut |rule, _, _| {
            assert_eq!(rule, "floors");
            count += 1;
        });
        count
    }

    #[test]
    fn down_is_allowed() {
        assert_eq!(findings("src/cli/ls.rs", "use crate::node::Node;\nuse crate::cli::text;"), 0);
        assert_eq!(findings("src/main.rs", "mega_store::cli::main()"), 0);
        assert_eq!(findings("src/node.rs", "use crate::{git, lfs::client, config};"), 0);
        assert_eq!(findings("src/node.rs", "use mega_fuse::Mount;"), 0);
        assert_eq!(findings("storage/src/node.rs", "use crate::cli;"), 0);
    }

    #[test]
    fn up_and_sideways_are_found() {
        assert_eq!(findings("src/node.rs", "use crate::cli::Args;"), 1);
        assert_eq!(findings("src/git/mod.rs", "use crate::lfs;"), 1);
        assert_eq!(findings("src/git/mod.rs", "use crate::{config, lfs::{a, b}, node};"), 2);
        assert_eq!(findings("src/config.rs", "fn a() { crate::control::b(); }"), 1);
        assert_eq!(findings("src/git/import.rs", "use super::super::lfs;"), 1);
        assert_eq!(findings("src/git/import.rs", "use super::lfs;"), 0, "git::lfs is inside git");
        assert_eq!(findings("src/config.rs", "use super::node;"), 1);
        assert_eq!(findings("src/config.rs", "#[cfg(test)]\nmod tests { use super::*; }"), 0);
        assert_eq!(findings("src/git/mod.rs", "use mega_fuse::Mount;"), 1);
        assert_eq!(findings("src/attic.rs", ""), 1, "a room without a floor");
    }

    #[test]
    fn comments_and_texts_are_no_imports() {
        assert_eq!(findings("src/config.rs", "// crate::cli\nlet a = \"crate::cli\";"), 0);
    }
}
