//! Git's glob matching (its `wildmatch.c`), for the patterns of `.gitattributes`.
//!
//! Answers as git does, also for malformed patterns. Unlike git's it is polynomial: what has been
//! tried at one place of pattern and text is not tried again, so a hostile pattern cannot hold a
//! mount up.

#![deny(clippy::indexing_slicing)]

use std::collections::HashMap;

/// How far a failure reaches, as in git: only the innermost star may try on, or only `**`, or none.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Match,
    NoMatch,
    AbortToStarStar,
    AbortAll,
}

/// Whether `text` matches `pattern`. With `is_path`, `*`, `?` and classes do not match a slash, and
/// `**` does.
pub(crate) fn wildmatch(pattern: &[u8], text: &[u8], is_path: bool) -> bool {
    let mut matcher = Matcher { pattern, text, is_path, tried: HashMap::new() };
    matcher.run(0, 0) == Outcome::Match
}

struct Matcher<'a> {
    pattern: &'a [u8],
    text: &'a [u8],
    is_path: bool,
    /// Outcomes of what followed a star, by offset in the pattern and in the text.
    tried: HashMap<(usize, usize), Outcome>,
}

impl Matcher<'_> {
    /// The pattern's byte; 0 past the end, as in C. A pattern has no NUL.
    fn p(&self, at: usize) -> u8 {
        self.pattern.get(at).copied().unwrap_or(0)
    }

    fn t(&self, at: usize) -> u8 {
        self.text.get(at).copied().unwrap_or(0)
    }

    /// Matches what is left of both. Recursion is as deep as the pattern has stars.
    fn run(&mut self, start: usize, mut t: usize) -> Outcome {
        let mut p = start;
        while p < self.pattern.len() {
            if t >= self.text.len() && self.p(p) != b'*' {
                return Outcome::AbortAll;
            }
            match self.p(p) {
                b'?' if self.is_path && self.t(t) == b'/' => return Outcome::NoMatch,
                b'?' => {}
                b'*' => match self.star(start, p, t) {
                    Ok((slash_p, slash_t)) => (p, t) = (slash_p, slash_t),
                    Err(outcome) => return outcome,
                },
                b'[' => match self.class(p, self.t(t)) {
                    None => return Outcome::AbortAll,
                    Some((true, end)) if !(self.is_path && self.t(t) == b'/') => p = end,
                    Some(_) => return Outcome::NoMatch,
                },
                mut wanted => {
                    if wanted == b'\\' {
                        p += 1;
                        wanted = self.p(p);
                    }
                    if self.t(t) != wanted {
                        return Outcome::NoMatch;
                    }
                }
            }
            p += 1;
            t += 1;
        }
        if t < self.text.len() { Outcome::NoMatch } else { Outcome::Match }
    }

    /// Handles the stars at `at`. `Ok` is where a slash after one star met the next slash of the
    /// text.
    fn star(&mut self, start: usize, at: usize, t: usize) -> Result<(usize, usize), Outcome> {
        let mut p = at + 1;
        while self.p(p) == b'*' {
            p += 1;
        }
        let mut over_slashes = !self.is_path;
        if self.is_path && p > at + 1 {
            let opens = at == start || self.p(at.wrapping_sub(1)) == b'/';
            let closes = p >= self.pattern.len()
                || self.p(p) == b'/'
                || (self.p(p) == b'\\' && self.p(p + 1) == b'/');
            if opens && closes {
                // `**/` may stand for nothing.
                if self.p(p) == b'/' && self.attempt(p + 1, t) == Outcome::Match {
                    return Err(Outcome::Match);
                }
                over_slashes = true;
            }
        }
        let next_slash = || self.text.iter().skip(t).position(|&b| b == b'/').map(|at| at + t);
        if p >= self.pattern.len() {
            let is_stopped = !over_slashes && next_slash().is_some();
            return Err(if is_stopped { Outcome::AbortToStarStar } else { Outcome::Match });
        }
        if !over_slashes && self.p(p) == b'/' {
            return next_slash().map(|slash| (p, slash)).ok_or(Outcome::AbortAll);
        }
        Err(self.stretch(p, t, over_slashes))
    }

    /// Lets a star take ever more of the text until what follows it matches.
    fn stretch(&mut self, p: usize, mut t: usize, over_slashes: bool) -> Outcome {
        let wanted = self.p(p);
        let is_literal = !matches!(wanted, b'*' | b'?' | b'[' | b'\\');
        while t < self.text.len() {
            if is_literal {
                while t < self.text.len()
                    && (over_slashes || self.t(t) != b'/')
                    && self.t(t) != wanted
                {
                    t += 1;
                }
                if t >= self.text.len() || self.t(t) != wanted {
                    return if over_slashes { Outcome::AbortAll } else { Outcome::AbortToStarStar };
                }
            }
            match self.attempt(p, t) {
                Outcome::NoMatch if !over_slashes && self.t(t) == b'/' => {
                    return Outcome::AbortToStarStar;
                }
                Outcome::NoMatch => {}
                Outcome::AbortToStarStar if over_slashes => {}
                outcome => return outcome,
            }
            t += 1;
        }
        Outcome::AbortAll
    }

    fn attempt(&mut self, p: usize, t: usize) -> Outcome {
        if let Some(&outcome) = self.tried.get(&(p, t)) {
            return outcome;
        }
        let outcome = self.run(p, t);
        self.tried.insert((p, t), outcome);
        outcome
    }

    /// Reads the class that opens at `at`: whether it has `byte`, and where its `]` is. `None` when
    /// it is malformed.
    fn class(&self, at: usize, byte: u8) -> Option<(bool, usize)> {
        let mut p = at + 1;
        let is_negated = matches!(self.p(p), b'!' | b'^');
        if is_negated {
            p += 1;
        }
        let mut is_in = false;
        let mut before = 0u8;
        loop {
            let mut item = self.p(p);
            match item {
                0 => return None,
                b'\\' => {
                    p += 1;
                    item = self.p(p);
                    if item == 0 {
                        return None;
                    }
                    is_in |= byte == item;
                }
                b'-' if before != 0 && !matches!(self.p(p + 1), 0 | b']') => {
                    p += 1;
                    let mut last = self.p(p);
                    if last == b'\\' {
                        p += 1;
                        last = self.p(p);
                        if last == 0 {
                            return None;
                        }
                    }
                    is_in |= (before..=last).contains(&byte);
                    item = 0;
                }
                b'[' if self.p(p + 1) == b':' => {
                    let name_at = p + 2;
                    let rest = self.pattern.get(name_at..)?;
                    let end = rest.iter().position(|&b| b == b']')?;
                    match rest.get(..end).and_then(|inner| inner.strip_suffix(b":")) {
                        Some(name) => {
                            is_in |= in_named_class(name, byte)?;
                            p = name_at + end;
                            item = 0;
                        }
                        // Not `:]`: the bracket stands for itself.
                        None => is_in |= byte == b'[',
                    }
                }
                _ => is_in |= byte == item,
            }
            before = item;
            p += 1;
            if self.p(p) == b']' {
                return Some((is_in != is_negated, p));
            }
        }
    }
}

fn in_named_class(name: &[u8], byte: u8) -> Option<bool> {
    Some(match name {
        b"alnum" => byte.is_ascii_alphanumeric(),
        b"alpha" => byte.is_ascii_alphabetic(),
        b"blank" => matches!(byte, b' ' | b'\t'),
        b"cntrl" => byte.is_ascii_control(),
        b"digit" => byte.is_ascii_digit(),
        b"graph" => byte.is_ascii_graphic(),
        b"lower" => byte.is_ascii_lowercase(),
        b"print" => byte == b' ' || byte.is_ascii_graphic(),
        b"punct" => byte.is_ascii_punctuation(),
        b"space" => matches!(byte, b' ' | b'\t'..=b'\r'),
        b"upper" => byte.is_ascii_uppercase(),
        b"xdigit" => byte.is_ascii_hexdigit(),
        _ => return None,
    })
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use super::wildmatch;

    /// From git's t3070, plus what its rules say of patterns that stop early.
    #[test]
    fn answers_of_git() {
        let cases: &[(bool, &str, &str)] = &[
            (true, "foo", "foo"),
            (false, "foo", "bar"),
            (true, "???", "foo"),
            (false, "??", "foo"),
            (true, "*", "foo"),
            (true, "f*", "foo"),
            (false, "*f", "foo"),
            (true, "*foo*", "foo"),
            (true, "*ob*a*r*", "foobar"),
            (true, "*ab", "aaaaaaabababab"),
            (true, "foo\\*", "foo*"),
            (false, "foo\\*bar", "foobar"),
            (true, "f\\\\oo", "f\\oo"),
            (true, "*[al]?", "ball"),
            (false, "[ten]", "ten"),
            (true, "**[!te]", "ten"),
            (false, "**[!ten]", "ten"),
            (true, "t[a-g]n", "ten"),
            (false, "t[!a-g]n", "ten"),
            (true, "a[]]b", "a]b"),
            (true, "a[]-]b", "a-b"),
            (false, "a[]-]b", "aab"),
            (true, "]", "]"),
            (false, "foo*bar", "foo/baz/bar"),
            (false, "foo**bar", "foo/baz/bar"),
            (true, "foo/**/bar", "foo/baz/bar"),
            (true, "foo/**/**/bar", "foo/b/a/z/bar"),
            (true, "foo/**/bar", "foo/bar"),
            (false, "foo?bar", "foo/bar"),
            (false, "foo[/]bar", "foo/bar"),
            (false, "f[^eiu][^eiu][^eiu][^eiu][^eiu]r", "foo/bar"),
            (true, "**/foo", "foo"),
            (true, "**/foo", "bar/baz/foo"),
            (false, "*/foo", "bar/baz/foo"),
            (false, "**/bar*", "foo/bar/baz"),
            (true, "**/bar/*", "deep/foo/bar/baz"),
            (false, "**/bar/*", "deep/foo/bar"),
            (true, "**/bar/**", "deep/foo/bar/baz"),
            (true, "*/bar/**", "foo/bar/baz/x"),
            (true, "[[:alpha:]][[:digit:]][[:upper:]]", "a1B"),
            (false, "[[:digit:][:upper:][:spaci:]]", "1"),
            (true, "[a-c[:digit:]x-z]", "5"),
            (true, "[\\]]", "]"),
            (false, "[", "["),
            (false, "[a", "a"),
            (
                true,
                "-*-*-*-*-*-*-12-*-*-*-m-*-*-*",
                "-adobe-courier-bold-o-normal--12-120-75-75-m-70-iso8859-1",
            ),
            (false, "**/*a*b*g*n*t", "abcd/abcdefg/abcdefghijk/abcdefghijklmnop.txtz"),
        ];
        for &(wanted, pattern, text) in cases {
            let found = wildmatch(pattern.as_bytes(), text.as_bytes(), true);
            assert_eq!(found, wanted, "{pattern} on {text}");
        }
        assert!(wildmatch(b"*a", b"b/a", false));
    }

    #[test]
    fn a_hostile_pattern_ends_soon() {
        let pattern = [b"**/a/".repeat(60), b"z".to_vec()].concat();
        let text = b"a/".repeat(300);
        assert!(!wildmatch(&pattern, &text, true));
        let pattern = [b"*a".repeat(60), b"z".to_vec()].concat();
        assert!(!wildmatch(&pattern, &b"a".repeat(300), false));
    }
}
