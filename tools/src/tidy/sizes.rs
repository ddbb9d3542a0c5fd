//! Rules on one file's shape: opening, lines, columns, functions.

use super::Report;
use super::source::Source;

/// A room that can be held in the head; the aim is 180.
const FILE_LINES_MAX: usize = 600;
/// A function on one screen.
const FUNCTION_LINES_MAX: usize = 70;
/// Two files beside each other on one screen.
pub const COLUMNS_MAX: usize = 100;

/// Checks `source`.
pub fn check(source: &Source, report: &mut Report<'_>) {
    if !source.text.starts_with("//!") {
        report("opening", 1, "the file does not open with //!".to_owned());
    }
    let line_count = source.body_line_count();
    if line_count > FILE_LINES_MAX {
        report("file-size", 1, format!("{line_count} lines, more than {FILE_LINES_MAX}"));
    }
    for function in source.functions() {
        if function.line_count > FUNCTION_LINES_MAX {
            let message = format!("fn {} has {} lines", function.name, function.line_count);
            report("function-size", function.line, message);
        }
    }
    for (index, line) in source.text.lines().enumerate() {
        let column_count = line.chars().count();
        if column_count > COLUMNS_MAX {
            report("columns", index + 1, format!("{column_count} columns"));
        }
        if line.contains('\t') {
            report("tabs", index + 1, "a tab".to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: String) -> Vec<&'static str> {
        let mut found = Vec::new();
        check(&Source::new(text), &mut |rule, _, _| found.push(rule));
        found
    }

    #[test]
    fn each_limit_holds_and_one_past_it_is_found() {
        let function =
            |lines| format!("//! Doc.\nfn a() {{\n{}}}\n", "    b();\n".repeat(lines - 2));
        assert_eq!(rules(function(FUNCTION_LINES_MAX)), [""; 0]);
        assert_eq!(rules(function(FUNCTION_LINES_MAX + 1)), ["function-size"]);
        let file = |lines| format!("//! Doc.\n{}", "use a;\n".repeat(lines - 1));
        assert_eq!(rules(file(FILE_LINES_MAX)), [""; 0]);
        assert_eq!(rules(file(FILE_LINES_MAX + 1)), ["file-size"]);
        let line = |columns: usize| format!("//! {}\n", "é".repeat(columns - 4));
        assert_eq!(rules(line(COLUMNS_MAX)), [""; 0]);
        assert_eq!(rules(line(COLUMNS_MAX + 1)), ["columns"]);
        assert_eq!(rules("fn a() {}\n".to_owned()), ["opening"]);
        assert_eq!(rules("//! Doc.\n\tuse a;\n".to_owned()), ["tabs"]);
    }
}
