//! Names that some filesystem takes for `.git`, `.gitmodules` and the like.
//!
//! HFS+ leaves code points out of a name (zero-width joiners, marks of direction), NTFS knows short
//! names (`GIT~1`), drops dots and spaces at a name's end and has streams
//! (`.git::$INDEX_ALLOCATION`). Names are given without NUL.

#![deny(clippy::indexing_slicing)]

/// A file that git gives a meaning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct DotFile {
    /// The name in lower case, without its dot.
    name: &'static [u8],
    /// The six characters that NTFS's fallback short name starts with.
    short: &'static [u8; 6],
}

/// `.gitmodules`.
pub(super) const MODULES: DotFile = DotFile { name: b"gitmodules", short: b"gi7eba" };
/// `.gitattributes`.
pub(super) const ATTRIBUTES: DotFile = DotFile { name: b"gitattributes", short: b"gi7d29" };
/// `.gitignore`.
pub(super) const IGNORE: DotFile = DotFile { name: b"gitignore", short: b"gi250a" };
/// `.mailmap`.
pub(super) const MAILMAP: DotFile = DotFile { name: b"mailmap", short: b"maba30" };

/// Whether any of this file's questions may be answered with yes: a quick look that almost all
/// names do not pass.
#[inline]
pub(super) fn is_suspicious(name: &[u8]) -> bool {
    match name.first() {
        // A dot; a tilde (a short name of nothing); the first bytes of what HFS+ leaves out.
        Some(b'.' | b'~' | 0xe2 | 0xef) => true,
        // git~1, gitmod~1, gi7eba~1, mailma~1, maba30~1: short names.
        Some(b'g' | b'G') => {
            matches!(name.get(1), Some(b'i' | b'I' | b'~')) && name.contains(&b'~')
        }
        Some(b'm' | b'M') => {
            matches!(name.get(1), Some(b'a' | b'A' | b'~')) && name.contains(&b'~')
        }
        _ => false,
    }
}

/// Whether HFS+ or NTFS takes the name for `.git`.
pub(super) fn is_dotgit(name: &[u8]) -> bool {
    is_hfs_dot(name, b"git") || is_ntfs_dotgit(name)
}

/// Whether HFS+ or NTFS takes the name for the file.
pub(super) fn is(file: DotFile, name: &[u8]) -> bool {
    is_hfs_dot(name, file.name) || is_ntfs(file, name)
}

/// The byte at `index`, or NUL past the end, as C sees a name.
fn at(name: &[u8], index: usize) -> u8 {
    name.get(index).copied().unwrap_or(0)
}

fn is_hfs_dot(name: &[u8], needle: &[u8]) -> bool {
    let mut rest = name;
    if next_hfs_char(&mut rest) != u32::from(b'.') {
        return false;
    }
    for &letter in needle {
        match u8::try_from(next_hfs_char(&mut rest)) {
            Ok(c) if c.is_ascii() && c.to_ascii_lowercase() == letter => {}
            _ => return false,
        }
    }
    matches!(next_hfs_char(&mut rest), 0 | 0x2f)
}

/// The next code point that HFS+ does not leave out; 0 at the end and for what is not UTF-8.
fn next_hfs_char(rest: &mut &[u8]) -> u32 {
    loop {
        let Some((code, len)) = decode_utf8(rest) else {
            return 0;
        };
        *rest = rest.get(len..).unwrap_or_default();
        match code {
            0x200c..=0x200f | 0x202a..=0x202e | 0x206a..=0x206f | 0xfeff => {}
            _ => return code,
        }
    }
}

/// The first code point and its length; `None` for what git finds malformed.
fn decode_utf8(bytes: &[u8]) -> Option<(u32, usize)> {
    let len = match bytes.first()? {
        0..0x80 => 1,
        0x80..0xe0 => 2,
        0xe0..0xf0 => 3,
        _ => 4,
    };
    let text = std::str::from_utf8(bytes.get(..len)?).ok()?;
    let code = u32::from(text.chars().next()?);
    (!matches!(code, 0xfffe | 0xffff)).then_some((code, len))
}

/// Whether NTFS takes the name, up to a separator, for `.git`.
pub(super) fn is_ntfs_dotgit(name: &[u8]) -> bool {
    let rest = match name.first() {
        Some(b'.') => name.get(1..4).filter(|t| t.eq_ignore_ascii_case(b"git")).map(|_| 4),
        Some(b'g' | b'G') => name.get(..5).filter(|t| t.eq_ignore_ascii_case(b"git~1")).map(|_| 5),
        _ => None,
    };
    let Some(start) = rest else {
        return false;
    };
    let tail = name.get(start..).unwrap_or_default();
    let end = tail.iter().find(|b| !matches!(b, b'.' | b' '));
    matches!(end, None | Some(b'/' | b'\\' | b':'))
}

/// Whether NTFS takes the name for the file.
pub(super) fn is_ntfs(file: DotFile, name: &[u8]) -> bool {
    let starts = |start: usize, text: &[u8]| {
        name.get(start..start + text.len()).is_some_and(|part| part.eq_ignore_ascii_case(text))
    };
    let tail = if at(name, 0) == b'.' && starts(1, file.name) {
        Some(file.name.len() + 1)
    } else if file.name.get(..6).is_some_and(|part| starts(0, part))
        && at(name, 6) == b'~'
        && matches!(at(name, 7), b'1'..=b'4')
    {
        Some(8)
    } else {
        fallback_short_len(file, name)
    };
    let Some(tail) = tail else {
        return false;
    };
    let end = name.get(tail..).unwrap_or_default().iter().find(|b| !matches!(b, b'.' | b' '));
    matches!(end, None | Some(b':'))
}

/// Length of an 8.3 name that NTFS falls back to: up to six characters of the file's hashed form, a
/// tilde, digits.
fn fallback_short_len(file: DotFile, name: &[u8]) -> Option<usize> {
    let mut index = 0;
    let mut saw_tilde = false;
    while index < 8 {
        let byte = at(name, index);
        if saw_tilde {
            if !byte.is_ascii_digit() {
                return None;
            }
        } else if byte == b'~' {
            index += 1;
            if !matches!(at(name, index), b'1'..=b'9') {
                return None;
            }
            saw_tilde = true;
        } else if file.short.get(index) != Some(&byte.to_ascii_lowercase()) {
            return None;
        }
        index += 1;
    }
    Some(index)
}
