//! `cargo x tidy --fix`: wraps comment lines that are too long, which rustfmt leaves alone.
//!
//! A word moves to the next line of the same comment, or to a new line when the next one begins a
//! list item, a heading, a table row or another kind of text. Code blocks and lines without a blank
//! to break at stay.

use super::sizes::COLUMNS_MAX;

/// Gives `text` with its long comment lines wrapped.
pub fn wrap(text: &str) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let (mut index, mut in_code) = (0, false);
    while index < lines.len() {
        if let Some((marker, body)) = comment(&lines[index]) {
            in_code ^= body.starts_with("```");
            if lines[index].chars().count() > COLUMNS_MAX && !in_code && !body.starts_with('|') {
                let (marker, hang) = (marker.to_owned(), hang(body));
                if let Some((head, rest)) = split(&lines[index], marker.len()) {
                    let joined = lines.get(index + 1).and_then(|next| joined(next, &marker, &rest));
                    let fresh = joined.is_none();
                    let line = joined.unwrap_or_else(|| format!("{marker}{hang}{rest}"));
                    lines[index] = head;
                    if fresh {
                        lines.insert(index + 1, line);
                    } else {
                        lines[index + 1] = line;
                    }
                }
            }
        } else {
            in_code = false;
        }
        index += 1;
    }
    let mut out = lines.join("\n");
    if !out.is_empty() {
        out.push('\n');
    }
    out
}

/// Splits a line that is a comment into its marker, blanks before and one behind included, and its
/// text.
fn comment(line: &str) -> Option<(&str, &str)> {
    let trimmed = line.trim_start();
    let marker = ["//! ", "/// ", "// "].into_iter().find(|marker| trimmed.starts_with(marker))?;
    Some(line.split_at(line.len() - trimmed.len() + marker.len()))
}

/// Blanks that a list item's next line begins with.
fn hang(body: &str) -> String {
    let item = body.trim_start();
    let indent = body.len() - item.len();
    let digits = item.bytes().take_while(u8::is_ascii_digit).count();
    let extra = match item.as_bytes().get(digits..digits + 2) {
        Some(b". ") if digits > 0 => digits + 2,
        Some(b"- " | b"* ") if digits == 0 => 2,
        _ => 0,
    };
    " ".repeat(indent + extra)
}

/// Breaks a line at its last blank inside the limit and behind the marker.
fn split(line: &str, marker_len: usize) -> Option<(String, String)> {
    let limit = line.char_indices().nth(COLUMNS_MAX).map_or(line.len(), |(offset, _)| offset);
    // A blank right at the limit is a good place, too.
    let at = line[..=limit].rfind(' ').filter(|at| *at > marker_len)?;
    let head = line[..at].trim_end();
    (head.len() > marker_len).then(|| (head.to_owned(), line[at + 1..].to_owned()))
}

/// Puts `rest` before the text of the next line, when that line goes on with the same sentence.
fn joined(next: &str, marker: &str, rest: &str) -> Option<String> {
    let (next_marker, body) = comment(next)?;
    let text = body.trim_start();
    let begins =
        ["- ", "* ", "#", "|", "```", "Invariant:"].iter().any(|start| text.starts_with(start));
    let numbered = text.bytes().take_while(u8::is_ascii_digit).count() > 0 && text.contains(". ");
    if next_marker != marker || text.is_empty() || begins || numbered {
        return None;
    }
    let indent = &body[..body.len() - text.len()];
    Some(format!("{marker}{indent}{rest} {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_move_to_the_next_line() {
        let text = format!("//! {}\n//! tail.\n\nfn a() {{}}\n", "word ".repeat(25).trim_end());
        let wrapped = wrap(&text);
        assert!(wrapped.lines().all(|line| line.chars().count() <= COLUMNS_MAX), "{wrapped}");
        assert!(wrapped.contains("word tail.\n\nfn a() {}\n"), "{wrapped}");
        assert_eq!(wrap(&wrapped), wrapped);
        assert_eq!(wrapped.matches("word").count(), 25);
    }

    #[test]
    fn list_items_stay_apart() {
        let long = "word ".repeat(25);
        let wrapped = wrap(&format!("/// - {long}\n/// - next\n"));
        assert_eq!(wrapped.lines().nth(1).map(|line| &line[..10]), Some("///   word"), "{wrapped}");
        assert!(wrapped.ends_with("\n/// - next\n"));
    }

    #[test]
    fn what_cannot_be_wrapped_stays() {
        for text in [
            format!("/// {}\n", "x".repeat(120)),
            format!("/// ```\n/// {}\n/// ```\n", "word ".repeat(25).trim_end()),
            format!("let a = \"{}\";\n", "word ".repeat(25)),
            format!("/// | {} |\n", "word ".repeat(25)),
        ] {
            assert_eq!(wrap(&text), text);
        }
    }
}
