//! Whether `.gitattributes` gives a path `filter=lfs`, decided as git decides it.
//!
//! Files apply from the root down; the last line that matches wins; the deepest file wins over
//! those above it. Macros (`[attr]name ...`) count in the root's file only. Lines that git refuses
//! are skipped: over 2,048 bytes, a negative pattern, a malformed name. `core.ignorecase` is taken
//! to be off.

#![deny(clippy::indexing_slicing)]

use std::collections::HashMap;
use std::sync::Arc;

use crate::wildmatch::wildmatch;

/// Longest line that git reads, in bytes.
const LINE_LEN_MAX: usize = 2048;

/// Longest file that git reads, in bytes.
pub(crate) const ATTRIBUTES_LEN_MAX: u64 = 100 << 20;

const BLANK: &[u8] = b" \t\r\n";

/// What a line says of an attribute.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Setting {
    /// `name`.
    True,
    /// `name=lfs`.
    Lfs,
    /// `-name`, `!name` or another value: whatever it is, it is decided.
    Other,
}

type Settings = Vec<(Box<[u8]>, Setting)>;

#[derive(Debug)]
struct Rule {
    pattern: Pattern,
    settings: Settings,
}

/// The rules of one `.gitattributes` and of those above it.
#[derive(Debug)]
pub(crate) struct Attributes {
    above: Option<Arc<Attributes>>,
    /// Length of the path of the directory that has the file; 0 for the root.
    base_len: usize,
    rules: Vec<Rule>,
    /// The root's macros, which all share.
    macros: Arc<HashMap<Box<[u8]>, Settings>>,
}

impl Attributes {
    /// Reads a file. `above` are the rules of the directories above, `base` is the path of the
    /// file's directory.
    pub(crate) fn parse(above: Option<Arc<Self>>, base: &[u8], text: &[u8]) -> Self {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let mut macros = HashMap::new();
        let mut rules = Vec::new();
        for line in text.split(|&b| b == b'\n') {
            match parse_line(line) {
                Some(Line::Rule(rule)) => rules.push(rule),
                Some(Line::Macro(name, settings)) if base.is_empty() => {
                    macros.insert(name, settings);
                }
                Some(Line::Macro(..)) | None => {}
            }
        }
        let macros = above.as_ref().map_or_else(|| Arc::new(macros), |above| above.macros.clone());
        let matters =
            |(name, _): &(Box<[u8]>, Setting)| &**name == b"filter" || macros.contains_key(name);
        rules.retain(|rule| rule.settings.iter().any(matters));
        Self { above, base_len: base.len(), rules, macros }
    }

    /// Whether the file at `path` (from the root) has `filter=lfs`.
    pub(crate) fn is_lfs(&self, path: &[u8]) -> bool {
        let mut decided = Vec::new();
        let mut level = Some(self);
        while let Some(attributes) = level {
            for rule in attributes.rules.iter().rev() {
                if rule.pattern.matches(path, attributes.base_len)
                    && let Some(setting) = self.apply(&rule.settings, &mut decided)
                {
                    return setting == Setting::Lfs;
                }
            }
            level = attributes.above.as_deref();
        }
        false
    }

    /// Applies a line's settings, the last first, to what nothing has decided yet. A macro that is
    /// set is expanded at once. Returns what `filter` becomes, when the line decides it.
    fn apply<'a>(&'a self, settings: &'a Settings, decided: &mut Vec<&'a [u8]>) -> Option<Setting> {
        let mut open = vec![settings.iter().rev()];
        while let Some(settings) = open.last_mut() {
            let Some((name, setting)) = settings.next() else {
                open.pop();
                continue;
            };
            let expansion = self.macros.get(name);
            if &**name == b"filter" {
                return Some(*setting);
            }
            if let Some(expansion) = expansion
                && !decided.contains(&&**name)
            {
                decided.push(name);
                if *setting == Setting::True {
                    open.push(expansion.iter().rev());
                }
            }
        }
        None
    }
}

enum Line {
    Rule(Rule),
    Macro(Box<[u8]>, Settings),
}

fn parse_line(line: &[u8]) -> Option<Line> {
    // A NUL ends a line, as it does in C.
    let line = line.split(|&b| b == 0).next().unwrap_or_default();
    let body = skip_blank(line);
    if body.is_empty() || body.starts_with(b"#") || line.len() >= LINE_LEN_MAX {
        return None;
    }
    let quoted = if body.starts_with(b"\"") { unquote(body) } else { None };
    let (name, states): (Vec<u8>, &[u8]) = match quoted {
        Some((name, states)) => (name, states),
        None => {
            let (name, states) = split_blank(body);
            (name.to_vec(), states)
        }
    };
    if let Some(name) = name.strip_prefix(b"[attr]").filter(|name| !name.is_empty()) {
        let (name, _) = split_blank(skip_blank(name));
        let settings = parse_settings(states)?;
        return is_name(name).then(|| Line::Macro(name.into(), settings));
    }
    Some(Line::Rule(Rule { settings: parse_settings(states)?, pattern: Pattern::parse(&name)? }))
}

fn parse_settings(states: &[u8]) -> Option<Settings> {
    let mut settings = Vec::new();
    let mut rest = skip_blank(states);
    while !rest.is_empty() {
        let (state, after) = split_blank(rest);
        rest = skip_blank(after);
        let (is_off, state) = match state {
            [b'-' | b'!', name @ ..] => (true, name),
            name => (false, name),
        };
        let mut parts = state.splitn(2, |&b| b == b'=');
        let (name, value) = (parts.next().unwrap_or_default(), parts.next());
        if !is_name(name) || name.starts_with(b"builtin_") {
            return None;
        }
        let setting = match value {
            _ if is_off => Setting::Other,
            None => Setting::True,
            Some(b"lfs") => Setting::Lfs,
            Some(_) => Setting::Other,
        };
        settings.push((name.into(), setting));
    }
    Some(settings)
}

fn is_name(name: &[u8]) -> bool {
    !name.is_empty()
        && !name.starts_with(b"-")
        && name.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
}

fn skip_blank(text: &[u8]) -> &[u8] {
    let blank_len = text.iter().take_while(|b| BLANK.contains(b)).count();
    text.get(blank_len..).unwrap_or_default()
}

fn split_blank(text: &[u8]) -> (&[u8], &[u8]) {
    text.split_at(text.iter().take_while(|b| !BLANK.contains(b)).count())
}

/// Reads a C-quoted name: its bytes and what follows the closing quote. `None` when the quoting is
/// malformed.
fn unquote(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut name = Vec::new();
    let mut bytes = text.get(1..)?.iter();
    loop {
        match *bytes.next()? {
            b'"' => return Some((name, bytes.as_slice())),
            b'\\' => name.push(match *bytes.next()? {
                b'a' => 7,
                b'b' => 8,
                b'f' => 12,
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'v' => 11,
                byte @ (b'\\' | b'"') => byte,
                high @ b'0'..=b'3' => {
                    let digits = [high, *bytes.next()?, *bytes.next()?];
                    digits.iter().try_fold(0u8, |value, digit| match digit {
                        b'0'..=b'7' => Some((value << 3) | (digit - b'0')),
                        _ => None,
                    })?
                }
                _ => return None,
            }),
            byte => name.push(byte),
        }
    }
}

/// A pattern of gitignore's kind, without negation.
#[derive(Debug)]
struct Pattern {
    text: Box<[u8]>,
    /// Bytes before the first special one.
    literal_len: usize,
    /// It has no slash: it is held against the last name of the path.
    is_name: bool,
}

impl Pattern {
    /// `None` when no file can match: a negative pattern, or one for directories only.
    fn parse(text: &[u8]) -> Option<Self> {
        if text.starts_with(b"!") || text.ends_with(b"/") {
            return None;
        }
        let is_name = !text.contains(&b'/');
        let text = text.strip_prefix(b"/").unwrap_or(text);
        let is_special = |b: &u8| matches!(b, b'*' | b'?' | b'[' | b'\\');
        let literal_len = text.iter().position(is_special).unwrap_or(text.len());
        Some(Self { text: text.into(), literal_len, is_name })
    }

    fn matches(&self, path: &[u8], base_len: usize) -> bool {
        if self.is_name {
            let name = path.rsplit(|&b| b == b'/').next().unwrap_or_default();
            return if self.literal_len == self.text.len() {
                *self.text == *name
            } else {
                wildmatch(&self.text, name, false)
            };
        }
        let from = if base_len == 0 { 0 } else { base_len + 1 };
        let Some(path) = path.get(from..) else {
            return false;
        };
        let (literal, glob) = self.text.split_at(self.literal_len);
        let Some(rest) = path.strip_prefix(literal) else {
            return false;
        };
        if glob.is_empty() { rest.is_empty() } else { wildmatch(glob, rest, true) }
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
#[path = "attributes_tests.rs"]
mod tests;
