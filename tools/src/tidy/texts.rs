//! Rules on texts of every kind: links that lead somewhere, scripts that bash can read, newlines,
//! places.

use std::path::Path;
use std::process::Command;

use super::Finding;

/// Folders that exist on one machine only, in two halves so that this file does not name them
/// itself.
const PLACES: &[(&str, &str)] = &[("/ro", "ot/wt"), ("/wo", "rk/"), ("/home", "/user")];

/// Checks one text file at `path` under `root`.
pub fn check(root: &Path, path: &str, text: &str, findings: &mut Vec<Finding>) {
    let mut report = |rule, line, message| {
        findings.push(Finding { path: path.to_owned(), line, rule, message });
    };
    if !text.is_empty() && (!text.ends_with('\n') || text.ends_with("\n\n")) {
        report("newline", text.lines().count(), "the file ends without one newline".to_owned());
    }
    for (index, line) in text.lines().enumerate() {
        // A .txt is what a program printed, as it printed it.
        if line.ends_with([' ', '\t']) && !path.ends_with(".txt") {
            report("newline", index + 1, "blanks at the end of the line".to_owned());
        }
        for (head, tail) in PLACES {
            if line.contains(&format!("{head}{tail}")) {
                report("place", index + 1, format!("{head}{tail} is on one machine only"));
            }
        }
    }
    if path.ends_with(".md") {
        for (line, target) in broken_links(root, path, text) {
            report("link", line, format!("there is no {target}"));
        }
    }
    if is_shell(text) {
        check_script(root, path, text, &mut report);
    }
}

fn is_shell(text: &str) -> bool {
    let first = text.lines().next().unwrap_or("");
    first.starts_with("#!") && (first.ends_with("bash") || first.ends_with("/sh"))
}

fn check_script(
    root: &Path,
    path: &str,
    text: &str,
    report: &mut dyn FnMut(&'static str, usize, String),
) {
    if !text.lines().any(|line| line.starts_with("set -eu")) {
        report("shell", 1, "the script does not 'set -euo pipefail'".to_owned());
    }
    match Command::new("bash").arg("-n").arg(root.join(path)).output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            report("shell", 1, format!("bash cannot read it: {}", text.trim()));
        }
        Err(error) => report("shell", 1, format!("bash did not start: {error}")),
    }
}

/// Targets of `](target)` that are paths and lead nowhere, with their lines.
fn broken_links(root: &Path, path: &str, text: &str) -> Vec<(usize, String)> {
    let folder = Path::new(path).parent().unwrap_or(Path::new(""));
    let mut broken = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for part in line.split("](").skip(1) {
            let target = part.split([')', ' ']).next().unwrap_or("");
            let target = target.split('#').next().unwrap_or("");
            let foreign = target.contains("://") || target.starts_with("mailto:");
            if !target.is_empty() && !foreign && !root.join(folder).join(target).exists() {
                broken.push((index + 1, target.to_owned()));
            }
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(path: &str, text: &str) -> Vec<(&'static str, usize)> {
        let mut findings = Vec::new();
        check(Path::new(env!("CARGO_MANIFEST_DIR")), path, text, &mut findings);
        findings.iter().map(|finding| (finding.rule, finding.line)).collect()
    }

    #[test]
    fn texts_end_with_one_newline() {
        assert_eq!(rules("a.txt", "a\n"), []);
        assert_eq!(rules("a.txt", "a"), [("newline", 1)]);
        assert_eq!(rules("a.txt", "a\n\n"), [("newline", 2)]);
        assert_eq!(rules("a.toml", "a \nb\n"), [("newline", 1)]);
        assert_eq!(rules("a.txt", "a \nb\n"), []);
    }

    #[test]
    fn links_lead_somewhere() {
        let text = "[a](Cargo.toml) [b](https://example.org) [c](#here)\n[d](nowhere.md#x)\n";
        assert_eq!(rules("README.md", text), [("link", 2)]);
    }

    #[test]
    fn scripts_can_be_read() {
        assert_eq!(
            rules("a.sh", "#!/bin/bash\necho\n"),
            [("shell", 1), ("shell", 1)],
            "no set, no file"
        );
        assert_eq!(rules("a.txt", "echo (\n"), []);
    }

    #[test]
    fn places_are_found() {
        assert_eq!(rules("a.txt", concat!("cd /wo", "rk/main\n")), [("place", 1)]);
    }
}
