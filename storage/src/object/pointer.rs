//! Reads LFS pointers: a blob is one exactly when git-lfs would take it for one.
//!
//! What git-lfs takes is wider than its specification: white space around the text, empty lines,
//! carriage returns and a sign before the size are let through, and two former names of the
//! version. It is followed here, since `git lfs` puts a file's content in the place of such a blob.
//! The empty blob, git-lfs's pointer to nothing, is left to be what it is.

#![deny(clippy::indexing_slicing)]

use crate::id::FileId;
use crate::read::Pointer;

/// A blob of this length or longer is not a pointer, whatever it says (git-lfs's own cutoff).
pub const POINTER_LEN_MAX: usize = 1024;

/// The versions that git-lfs knows: the alpha's, the pre-release's and the one in use.
const VERSIONS: [&[u8]; 3] = [
    b"http://git-media.io/v/2",
    b"https://hawser.github.com/spec/v1",
    b"https://git-lfs.github.com/spec/v1",
];

/// Reads a blob as an LFS pointer; `None` when it is not one.
pub fn parse_pointer(data: &[u8]) -> Option<Pointer> {
    if data.len() >= POINTER_LEN_MAX || !may_be_pointer(data) {
        return None;
    }
    let text = trim_unicode(data);
    let mut keys = [&b"version"[..], b"oid", b"size"].into_iter().peekable();
    let mut values = Vec::with_capacity(keys.len());
    let mut extensions = Vec::new();
    for line in text.split(|&b| b == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        let space = line.iter().position(|&b| b == b' ')?;
        let (key, value) = (line.get(..space)?, line.get(space + 1..)?);
        if keys.peek()? == &key {
            keys.next();
            values.push(value);
        } else {
            add_extension(&mut extensions, key, value)?;
        }
    }
    let [version, oid, size] = values.try_into().ok()?;
    if !VERSIONS.contains(&version) || !extensions_are_valid(&extensions) {
        return None;
    }
    Some(Pointer { file: parse_oid(oid)?, len: parse_size(size)? })
}

/// Tells most blobs apart at their first byte: the first line's key is `version` or starts with
/// `ext-`.
fn may_be_pointer(data: &[u8]) -> bool {
    match data.first() {
        Some(b'v') => data.starts_with(b"version "),
        Some(b'e') => data.starts_with(b"ext-"),
        // White space of one byte, and the first bytes of its longer forms in UTF-8.
        Some(9..=13 | b' ' | 0xc2 | 0xe1 | 0xe2 | 0xe3) => true,
        _ => false,
    }
}

/// Cuts Unicode's white space off both ends, as Go's `bytes.TrimSpace` does.
fn trim_unicode(data: &[u8]) -> &[u8] {
    let blank = |chunk: &str| chunk.len() - chunk.trim_start().len();
    let start = data.utf8_chunks().next().map_or(0, |chunk| blank(chunk.valid()));
    let data = data.get(start..).unwrap_or_default();
    let end = match data.utf8_chunks().last() {
        Some(chunk) if chunk.invalid().is_empty() => {
            chunk.valid().len() - chunk.valid().trim_end().len()
        }
        _ => 0,
    };
    data.get(..data.len() - end).unwrap_or_default()
}

/// Keeps an extension line; one with the same key takes the place of the earlier, as in git-lfs.
fn add_extension<'a>(
    extensions: &mut Vec<(&'a [u8], &'a [u8])>,
    key: &'a [u8],
    value: &'a [u8],
) -> Option<()> {
    let [digit, b'-', first, ..] = key.strip_prefix(b"ext-")? else {
        return None;
    };
    if !digit.is_ascii_digit() || !(first.is_ascii_alphanumeric() || *first == b'_') {
        return None;
    }
    match extensions.iter_mut().find(|(known, _)| *known == key) {
        Some(known) => known.1 = value,
        None => extensions.push((key, value)),
    }
    Some(())
}

/// Each extension names an oid, and no two have one priority (the digit after `ext-`).
fn extensions_are_valid(extensions: &[(&[u8], &[u8])]) -> bool {
    let mut seen = 0u128;
    extensions.iter().all(|(key, oid)| {
        let bit = key.get(4).map_or(0, |digit| 1u128 << (digit & 0x7f));
        let fresh = seen & bit == 0;
        seen |= bit;
        fresh && parse_oid(oid).is_some()
    })
}

/// `sha256:` and 64 lower-case digits.
fn parse_oid(value: &[u8]) -> Option<FileId> {
    let hex = value.strip_prefix(b"sha256:")?;
    if hex.iter().any(u8::is_ascii_uppercase) {
        return None;
    }
    FileId::from_hex(hex).ok()
}

/// A number from 0 to 2^63 - 1; a sign and leading zeros are let through.
fn parse_size(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.parse::<i64>().ok()?.try_into().ok()
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
#[path = "pointer_tests.rs"]
mod tests;
