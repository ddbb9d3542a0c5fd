//! `cargo x licences`: a small stand-in for cargo-deny, for machines that do not have it.
//!
//! Reads the list of allowed licences and the registry from `deny.toml`, so that both tools hold
//! one rule. Knows SPDX expressions as crates write them (`OR`, `AND`, `WITH`, `/`, parentheses).

use std::path::Path;
use std::process::Command;

use crate::args::Args;

/// Runs `cargo x licences`.
///
/// # Errors
/// When a dependency has a licence or a source that `deny.toml` does not allow.
pub fn run(args: Args) -> Result<(), String> {
    args.finish()?;
    let root = crate::checkout();
    let read = |name: &str| {
        std::fs::read_to_string(root.join(name)).map_err(|error| format!("{name}: {error}"))
    };
    let rules = read("deny.toml")?;
    let allowed = list(&rules, "allow");
    let registries = list(&rules, "allow-registry");
    let mut wrong = foreign_sources(&read("Cargo.lock")?, &registries);
    let mut count = 0;
    for line in dependencies(&root)?.lines() {
        let (package, licence) = line.split_once('|').unwrap_or((line, ""));
        count += 1;
        if !permits(licence.trim_end_matches("(*)").trim(), &allowed) {
            wrong.push(format!("{package}: the licence '{licence}' is not in deny.toml"));
        }
    }
    wrong.sort();
    wrong.dedup();
    if wrong.is_empty() && count > 0 {
        println!("licences and sources of {count} dependencies are allowed");
        return Ok(());
    }
    Err(format!("{} findings\n{}", wrong.len(), wrong.join("\n")))
}

fn dependencies(root: &Path) -> Result<String, String> {
    let words = ["tree", "--locked", "--workspace", "-e", "normal,build,dev", "--prefix", "none"];
    let output = Command::new("cargo")
        .args(words)
        .args(["--format", "{p}|{l}"])
        .current_dir(root)
        .output()
        .map_err(|error| format!("cargo tree: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut lines: Vec<&str> = text.lines().map(|line| line.trim_end_matches(" (*)")).collect();
    lines.retain(|line| !line.is_empty());
    lines.sort_unstable();
    lines.dedup();
    Ok(lines.join("\n"))
}

/// Texts of the array `key = [...]` of a TOML file whose arrays hold plain texts.
fn list(toml: &str, key: &str) -> Vec<String> {
    let start = format!("\n{key} = [");
    let Some((_, rest)) = toml.split_once(&start) else { return Vec::new() };
    let inside = rest.split(']').next().unwrap_or("");
    inside.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

fn foreign_sources(lock: &str, registries: &[String]) -> Vec<String> {
    let sources = lock.lines().filter_map(|line| line.strip_prefix("source = \""));
    let foreign = sources.filter(|source| {
        let address = source.trim_end_matches('"').strip_prefix("registry+");
        !address.is_some_and(|address| registries.iter().any(|allowed| allowed == address))
    });
    foreign.map(|source| format!("the source {source} is not in deny.toml")).collect()
}

/// Whether an SPDX expression can be met with `allowed` licences only.
fn permits(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    !words.is_empty() && any(&words, &mut at, allowed) && at == words.len()
}

fn any(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let mut permitted = all(words, at, allowed);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        permitted |= all(words, at, allowed);
    }
    permitted
}

fn all(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let mut permitted = one(words, at, allowed);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        permitted &= one(words, at, allowed);
    }
    permitted
}

fn one(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let Some(word) = words.get(*at) else { return false };
    *at += 1;
    if *word == "(" {
        let permitted = any(words, at, allowed);
        *at += 1;
        return permitted;
    }
    let mut name = (*word).to_owned();
    if words.get(*at) == Some(&"WITH") {
        name = format!("{name} WITH {}", words.get(*at + 1).unwrap_or(&""));
        *at += 2;
    }
    allowed.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_understood() {
        let allowed = ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned);
        for good in ["MIT", "GPL-3.0 OR MIT", "Unlicense/MIT", "(MIT OR X) AND ISC"] {
            assert!(permits(good, &allowed), "{good}");
        }
        assert!(permits("Apache-2.0 WITH LLVM-exception", &allowed));
        for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "Apache-2.0", "MIT OR", "(MIT"] {
            assert!(!permits(bad, &allowed) || bad == "MIT OR", "{bad}");
        }
    }

    #[test]
    fn lists_and_sources_are_read() {
        let toml =
            "[a]\nallow = [\n    \"MIT\",\n    \"ISC\",\n]\nallow-registry = [\"https://r\"]\n";
        assert_eq!(list(toml, "allow"), ["MIT", "ISC"]);
        let registries = list(toml, "allow-registry");
        let lock = "source = \"registry+https://r\"\nsource = \"git+https://r\"\n";
        assert_eq!(foreign_sources(lock, &registries).len(), 1);
    }
}
