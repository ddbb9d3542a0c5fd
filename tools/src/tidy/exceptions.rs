//! The list of files that break a rule on purpose. It may only shrink.
//!
//! Each line of the list is `rule path: reason`. A line that excuses nothing is itself a finding,
//! and so is a list longer than [`COUNT_MAX`]: lower that number whenever a line goes.

use super::{Finding, RULES};

/// Where the list stands.
pub const PATH: &str = "tools/tidy.exceptions";

/// Lines that the list may have.
const COUNT_MAX: usize = 0;

/// Takes out what the list excuses, and adds what is wrong with the list.
pub fn apply(findings: Vec<Finding>, list: &str) -> Vec<Finding> {
    apply_at_most(findings, list, COUNT_MAX)
}

fn apply_at_most(findings: Vec<Finding>, list: &str, count_max: usize) -> Vec<Finding> {
    let mut wrong = Vec::new();
    let mut report = |line, message| {
        wrong.push(Finding { path: PATH.to_owned(), line, rule: "exceptions", message });
    };
    let mut excused: Vec<(usize, &str, &str)> = Vec::new();
    for (index, line) in list.lines().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let parsed = line.split_once(": ").and_then(|(head, _)| head.split_once(' '));
        match parsed {
            Some((rule, path)) if RULES.iter().any(|(name, _)| *name == rule) => {
                excused.push((index + 1, rule, path));
            }
            _ => report(index + 1, "a line is 'rule path: reason'".to_owned()),
        }
    }
    if excused.len() > count_max {
        report(0, format!("{} exceptions, more than {count_max}", excused.len()));
    }
    for (line, rule, path) in &excused {
        if !findings.iter().any(|finding| finding.rule == *rule && finding.path == *path) {
            report(*line, format!("{path} keeps the rule '{rule}' now: take the line out"));
        }
    }
    let stays = |finding: &Finding| {
        !excused.iter().any(|(_, rule, path)| finding.rule == *rule && finding.path == *path)
    };
    let mut left: Vec<Finding> = findings.into_iter().filter(stays).collect();
    left.extend(wrong);
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(rule: &'static str, path: &str) -> Finding {
        Finding { path: path.to_owned(), line: 1, rule, message: String::new() }
    }

    #[test]
    fn an_exception_excuses_its_file_only() {
        let findings = vec![finding("columns", "a.rs"), finding("columns", "b.rs")];
        let left = apply_at_most(findings, "# why\ncolumns a.rs: a table\n", 1);
        assert_eq!(left, [finding("columns", "b.rs")]);
    }

    #[test]
    fn the_list_may_only_shrink() {
        assert_eq!(apply_at_most(vec![], "columns a.rs: gone\n", 1).len(), 1, "excuses nothing");
        assert_eq!(apply_at_most(vec![], "nonsense\n", 1).len(), 1);
        let both = vec![finding("columns", "a.rs"), finding("columns", "b.rs")];
        let left = apply_at_most(both, "columns a.rs: x\ncolumns b.rs: y\n", 1);
        assert_eq!(left.len(), 1, "one too many");
    }
}
