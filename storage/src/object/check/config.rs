//! Reads git's configuration syntax, as far as `.gitmodules` needs it: sections, keys, values.
//!
//! The oddities are git's: carriage returns before newlines vanish, keys and plain sections fold to
//! lower case, an old-style `[section.sub]` is one word, a name or value ends at a NUL. A byte
//! order mark is skipped, as git does when it reads the file of a working tree (its fsck trips over
//! the mark, and takes the byte 0xff for the end).

#![deny(clippy::indexing_slicing)]

/// One key and its value.
pub(super) struct Setting<'a> {
    /// Section, subsection and key with dots between, as git names a variable.
    variable: &'a [u8],
    value: Option<&'a [u8]>,
}

impl<'a> Setting<'a> {
    /// The submodule's name and the key, when this belongs to a `submodule` section with a
    /// subsection.
    pub(super) fn submodule(&self) -> Option<(&'a [u8], &'a [u8])> {
        let rest = until_nul(self.variable).strip_prefix(b"submodule.")?;
        let dot = rest.iter().rposition(|&b| b == b'.')?;
        Some((rest.get(..dot)?, rest.get(dot + 1..)?))
    }

    /// The value; `None` for a key without `=`.
    pub(super) fn value(&self) -> Option<&'a [u8]> {
        self.value.map(until_nul)
    }
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|&b| b == 0).next().unwrap_or_default()
}

/// Calls `each` for every setting up to the first error, which gives `None`.
pub(super) fn parse(data: &[u8], mut each: impl FnMut(Setting<'_>)) -> Option<()> {
    let mut source =
        Source { rest: data.strip_prefix(b"\xef\xbb\xbf").unwrap_or(data), eof: false };
    let mut variable = Vec::new();
    let mut section_len = 0;
    let mut comment = false;
    loop {
        match source.next() {
            b'\n' if source.eof => return Some(()),
            b'\n' => comment = false,
            _ if comment => {}
            b' ' | b'\t' | b'\r' => {}
            b'#' | b';' => comment = true,
            b'[' => {
                variable.clear();
                source.section(&mut variable)?;
                if variable.is_empty() {
                    return None;
                }
                variable.push(b'.');
                section_len = variable.len();
            }
            first if first.is_ascii_alphabetic() => {
                variable.truncate(section_len);
                variable.push(first.to_ascii_lowercase());
                let value = source.setting(&mut variable)?;
                each(Setting { variable: &variable, value: value.as_deref() });
            }
            _ => return None,
        }
    }
}

struct Source<'a> {
    rest: &'a [u8],
    eof: bool,
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

const fn is_key(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-'
}

impl Source<'_> {
    /// The next byte; newlines lose their carriage return, and the end is a newline, again and
    /// again.
    fn next(&mut self) -> u8 {
        match self.rest {
            [b'\r', b'\n', rest @ ..] => {
                self.rest = rest;
                b'\n'
            }
            [byte, rest @ ..] => {
                self.rest = rest;
                *byte
            }
            [] => {
                self.eof = true;
                b'\n'
            }
        }
    }

    /// After `[`: the section's name, a dot and the subsection if there is one, up to `]`.
    fn section(&mut self, variable: &mut Vec<u8>) -> Option<()> {
        loop {
            match self.next() {
                _ if self.eof => return None,
                b']' => return Some(()),
                space if is_space(space) => return self.subsection(space, variable),
                byte if is_key(byte) || byte == b'.' => variable.push(byte.to_ascii_lowercase()),
                _ => return None,
            }
        }
    }

    /// After a section's name and one space: more space, the quoted subsection, `]`.
    fn subsection(&mut self, mut byte: u8, variable: &mut Vec<u8>) -> Option<()> {
        while is_space(byte) {
            if byte == b'\n' {
                return None;
            }
            byte = self.next();
        }
        if byte != b'"' {
            return None;
        }
        variable.push(b'.');
        loop {
            let mut byte = self.next();
            if byte == b'"' {
                break;
            }
            if byte == b'\\' {
                byte = self.next();
            }
            if byte == b'\n' {
                return None;
            }
            variable.push(byte);
        }
        (self.next() == b']').then_some(())
    }

    /// After a key's first letter: its rest, and the value of its line. The outer `None` is an
    /// error.
    fn setting(&mut self, variable: &mut Vec<u8>) -> Option<Option<Vec<u8>>> {
        let mut byte = self.next();
        while !self.eof && is_key(byte) {
            variable.push(byte.to_ascii_lowercase());
            byte = self.next();
        }
        while matches!(byte, b' ' | b'\t') {
            byte = self.next();
        }
        match byte {
            b'\n' => Some(None),
            b'=' => self.value().map(Some),
            _ => None,
        }
    }

    /// The value up to the end of its line: quotes and escapes resolved, space around it and
    /// comments cut off.
    fn value(&mut self) -> Option<Vec<u8>> {
        let mut value = Vec::new();
        let mut kept_len = 0;
        let (mut quoted, mut comment) = (false, false);
        loop {
            let byte = self.next();
            if byte == b'\n' {
                value.truncate(kept_len);
                return (!quoted).then_some(value);
            }
            if comment {
                continue;
            }
            if is_space(byte) && !quoted {
                if !value.is_empty() {
                    value.push(byte);
                }
                continue;
            }
            match byte {
                b';' | b'#' if !quoted => {
                    comment = true;
                    continue;
                }
                b'"' => quoted = !quoted,
                b'\\' => match self.next() {
                    b'\n' => {}
                    b't' => value.push(b'\t'),
                    b'b' => value.push(8),
                    b'n' => value.push(b'\n'),
                    plain @ (b'\\' | b'"') => value.push(plain),
                    _ => return None,
                },
                _ => value.push(byte),
            }
            kept_len = value.len();
        }
    }
}
