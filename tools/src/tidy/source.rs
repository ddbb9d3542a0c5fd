//! A Rust file as the house rules see it: its code with comments and texts blanked, its tests, its
//! functions.
//!
//! This is a scanner, not a parser: it knows comments, texts, characters, lifetimes and braces,
//! which is enough to count lines and find names. Blanked code has the same lines and columns (in
//! bytes) as the original.

use std::ops::Range;

/// A Rust file, scanned once.
pub struct Source {
    /// The file's text.
    pub text: String,
    /// The text with everything inside comments, string and character literals replaced by blanks.
    pub code: String,
    /// Byte ranges of `code` that are compiled for tests only.
    pub tests: Vec<Range<usize>>,
    line_starts: Vec<usize>,
}

/// A function with a body.
pub struct Function<'a> {
    /// Its name.
    pub name: &'a str,
    /// Line of `fn`, from 1.
    pub line: usize,
    /// Lines from `fn` to the closing brace, both counted.
    pub line_count: usize,
}

impl Source {
    /// Scans `text`.
    pub fn new(text: String) -> Self {
        let code = blank(&text);
        let mut line_starts = vec![0];
        line_starts
            .extend(text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i + 1));
        let tests = test_ranges(&code);
        Self { text, code, tests, line_starts }
    }

    /// Line of the byte at `offset`, from 1.
    pub fn line(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset)
    }

    /// Whether the byte at `offset` is compiled for tests only.
    pub fn in_tests(&self, offset: usize) -> bool {
        self.tests.iter().any(|range| range.contains(&offset))
    }

    /// Lines of the file that are not in inline tests.
    pub fn body_line_count(&self) -> usize {
        let inside = |range: &Range<usize>| self.line(range.end) - self.line(range.start) + 1;
        self.text.lines().count().saturating_sub(self.tests.iter().map(inside).sum())
    }

    /// Offsets in `code` where `word` stands as a whole word.
    pub fn words<'a>(&'a self, word: &'a str) -> impl Iterator<Item = usize> + 'a {
        let bytes = self.code.as_bytes();
        self.code.match_indices(word).map(|(offset, _)| offset).filter(move |offset| {
            let before = offset.checked_sub(1).map(|index| bytes[index]);
            let after = bytes.get(offset + word.len()).copied();
            let edge = |byte: Option<u8>, end: Option<u8>| {
                !(byte.is_some_and(is_word) && end.is_some_and(is_word))
            };
            edge(before, word.bytes().next()) && edge(after, word.bytes().last())
        })
    }

    /// Every function that has a body.
    pub fn functions(&self) -> Vec<Function<'_>> {
        self.words("fn").filter_map(|offset| self.function(offset)).collect()
    }

    fn function(&self, offset: usize) -> Option<Function<'_>> {
        let rest = self.code[offset + 2..].trim_start();
        let name_len = rest.bytes().take_while(|byte| is_word(*byte)).count();
        if name_len == 0 {
            return None; // A function type: `fn(u8) -> u8`.
        }
        let open = item_end(&self.code, offset)?;
        if self.code.as_bytes()[open] != b'{' {
            return None; // Declared in a trait without a body.
        }
        let line = self.line(offset);
        let line_count = self.line(closing_brace(&self.code, open)) - line + 1;
        Some(Function { name: &rest[..name_len], line, line_count })
    }
}

fn is_word(byte: u8) -> bool {
    byte == b'_' || byte.is_ascii_alphanumeric()
}

/// Finds the `{` that opens an item's body, or the `;` that ends an item without one.
fn item_end(code: &str, from: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (index, byte) in code.bytes().enumerate().skip(from) {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth = depth.saturating_sub(1),
            b'{' | b';' if depth == 0 => return Some(index),
            _ => {}
        }
    }
    None
}

/// Finds the brace that closes the one at `open`; the last byte when there is none.
fn closing_brace(code: &str, open: usize) -> usize {
    let mut depth = 0usize;
    for (index, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 1 => return index,
            b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    code.len().saturating_sub(1)
}

/// Items under `#[cfg(test)]` or `#[test]`.
fn test_ranges(code: &str) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    let marks = ["#[cfg(test)]", "#[test]"];
    let mut starts: Vec<(usize, usize)> = marks
        .iter()
        .flat_map(|mark| code.match_indices(mark).map(|(offset, _)| (offset, mark.len())))
        .collect();
    starts.sort_unstable();
    for (start, mark_len) in starts {
        if ranges.last().is_some_and(|range| range.contains(&start)) {
            continue;
        }
        let Some(open) = item_end(code, skip_attributes(code, start + mark_len)) else { continue };
        let end = if code.as_bytes()[open] == b'{' { closing_brace(code, open) } else { open };
        ranges.push(start..end);
    }
    ranges
}

/// Steps over further `#[...]` attributes, whose brackets may hold anything.
fn skip_attributes(code: &str, from: usize) -> usize {
    let mut at = from;
    loop {
        let rest = &code[at..];
        let trimmed = rest.trim_start();
        if !trimmed.starts_with("#[") {
            return at;
        }
        let start = at + rest.len() - trimmed.len();
        let mut depth = 0usize;
        let Some(close) = code[start..].bytes().position(|byte| {
            depth = depth + usize::from(byte == b'[') - usize::from(byte == b']');
            byte == b']' && depth == 0
        }) else {
            return at;
        };
        at = start + close + 1;
    }
}

/// Replaces comments and the inside of literals by blanks.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = literal_end(bytes, at);
        match end {
            Some(end) => {
                for byte in &mut out[at..end.min(bytes.len())] {
                    if *byte != b'\n' {
                        *byte = b' ';
                    }
                }
                at = end;
            }
            None => at += 1,
        }
    }
    // Whole characters were replaced, or none of them: what is left is still UTF-8.
    String::from_utf8(out).unwrap_or_default()
}

/// Where the comment or literal that begins at `at` ends, or none when code stands there.
fn literal_end(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    let begins_word = at == 0 || !is_word(bytes[at - 1]);
    match rest {
        [b'/', b'/', ..] => Some(at + find(rest, b"\n").unwrap_or(rest.len())),
        [b'/', b'*', ..] => Some(at + block_comment_len(rest)),
        [b'"', ..] => Some(at + 1 + quoted_len(&rest[1..], b'"')),
        [b'r', b'"' | b'#', ..] if begins_word => raw_len(&rest[1..]).map(|len| at + 1 + len),
        [b'b', b'r', b'"' | b'#', ..] if begins_word => raw_len(&rest[2..]).map(|len| at + 2 + len),
        [b'\'', b'\\', ..] => Some(at + 1 + quoted_len(&rest[1..], b'\'')),
        [b'\'', second, ..] => {
            // A character, or a lifetime: a character's closing quote follows it at once.
            let len = 1
                + usize::from(*second >= 0xc0)
                + usize::from(*second >= 0xe0)
                + usize::from(*second >= 0xf0);
            (rest.get(1 + len) == Some(&b'\'')).then_some(at + 2 + len)
        }
        _ => None,
    }
}

fn find(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes.windows(pattern.len()).position(|window| window == pattern)
}

fn block_comment_len(bytes: &[u8]) -> usize {
    let (mut depth, mut at) = (0usize, 0);
    while at < bytes.len() {
        match &bytes[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] if depth == 1 => return at + 2,
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    at
}

/// Length up to and with the closing quote, backslashes obeyed.
fn quoted_len(bytes: &[u8], quote: u8) -> usize {
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    at
}

/// Length of `#"..."#` with any number of `#`; none for a raw identifier.
fn raw_len(bytes: &[u8]) -> Option<usize> {
    let hash_count = bytes.iter().take_while(|byte| **byte == b'#').count();
    if bytes.get(hash_count) != Some(&b'"') {
        return None;
    }
    let mut close = vec![b'"'];
    close.resize(1 + hash_count, b'#');
    let inside = &bytes[hash_count + 1..];
    let len = find(inside, &close).unwrap_or(inside.len());
    Some((hash_count + 1 + len + close.len()).min(bytes.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::new(text.to_owned())
    }

    #[test]
    fn texts_and_comments_are_blanked() {
        let text = r####"let a = "x.unwrap()"; // unwrap
let b = r#"a "quoted" unwrap"#; /* a /* nested */ unwrap */ let c = '"';
let d: &'static str = b"\"unwrap";
let e = 'é'; let f = '\''; let g = r"\"; g.unwrap()"####;
        let source = source(text);
        assert_eq!(source.code.len(), text.len());
        assert_eq!(source.words("unwrap").count(), 1, "{}", source.code);
        assert_eq!(source.line(source.words("unwrap").next().expect("one is left")), 4);
        assert!(source.code.contains("'static"));
    }

    #[test]
    fn functions_are_measured() {
        let source = source("fn a() {\n    let x = [0; 3];\n}\ntrait T {\n    fn b(&self);\n}\n");
        let found: Vec<_> =
            source.functions().iter().map(|f| (f.name, f.line, f.line_count)).collect();
        assert_eq!(found, [("a", 1, 3)]);
    }

    #[test]
    fn inline_tests_are_set_aside() {
        let source = source(
            "//! Doc.\nfn a() {}\n\n#[cfg(test)]\n#[allow(x)]\nmod tests {\n    fn b() {}\n}\n",
        );
        assert_eq!(source.body_line_count(), 3);
        let b = source.words("b").next().expect("b is there");
        assert!(source.in_tests(b) && !source.in_tests(10));
    }

    #[test]
    fn words_are_whole() {
        assert_eq!(source("my_fn(fn_x); fn y() {}").words("fn").count(), 1);
        assert_eq!(source("a.unwrap(); a.unwrap_or(0)").words(".unwrap()").count(), 1);
    }

    #[test]
    fn nothing_makes_the_scanner_panic() {
        for text in [
            "\"open",
            "/* open",
            "r#\"open",
            "'",
            "'\\",
            "fn",
            "#[cfg(test)]",
            "fn a() {",
            "b'",
            "é'é",
        ] {
            let source = source(text);
            source.functions();
            source.body_line_count();
        }
    }
}
