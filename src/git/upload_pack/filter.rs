//! Filters of partial clones, from git's words for them.

#![deny(clippy::indexing_slicing)]

use mega_storage::{Filter, ObjectKind};
use percent_encoding::percent_decode;

use super::limits::{FILTER_LEN_MAX, FILTER_NESTING_MAX, FILTER_PARTS_MAX};

/// Characters that git asks to be escaped inside a combined filter, besides spaces and controls.
const RESERVED: &[u8] = b"~`!@#$^&*()[]{}\\;'\",<>?";

/// Reads a filter.
///
/// # Errors
/// What git says of it, or that it cannot be served.
pub(super) fn parse(spec: &[u8]) -> Result<Filter, String> {
    if spec.len() > FILTER_LEN_MAX {
        return Err(format!("a filter may have at most {FILTER_LEN_MAX} bytes"));
    }
    parse_part(spec, 0, &mut 0)
}

fn parse_part(spec: &[u8], nesting: usize, count: &mut usize) -> Result<Filter, String> {
    *count += 1;
    if *count > FILTER_PARTS_MAX || nesting > FILTER_NESTING_MAX {
        return Err(format!(
            "a filter may combine at most {FILTER_PARTS_MAX} others, {FILTER_NESTING_MAX} deep"
        ));
    }
    let shown = || String::from_utf8_lossy(spec).into_owned();
    if spec == b"blob:none" {
        return Ok(Filter::BlobNone);
    }
    if let Some(limit) = spec.strip_prefix(b"blob:limit=") {
        let limit =
            parse_size(limit).ok_or_else(|| format!("invalid filter-spec '{}'", shown()))?;
        return Ok(Filter::BlobLimit(limit));
    }
    if let Some(depth) = spec.strip_prefix(b"tree:") {
        return parse_size(depth).map(Filter::TreeDepth).ok_or("expected 'tree:<depth>'".into());
    }
    if let Some(kind) = spec.strip_prefix(b"object:type=") {
        return parse_kind(kind).map(Filter::ObjectType).ok_or_else(|| {
            let kind = String::from_utf8_lossy(kind);
            format!("'{kind}' for 'object:type=<type>' is not a valid object type")
        });
    }
    if spec.starts_with(b"sparse:oid=") {
        return Err("filter 'sparse:oid' not supported".to_owned());
    }
    if spec.starts_with(b"sparse:path=") {
        return Err("sparse:path filters support has been dropped".to_owned());
    }
    match spec.strip_prefix(b"combine:") {
        Some([]) => Err("expected something after combine:".to_owned()),
        Some(parts) => parse_combined(parts, nesting, count),
        None => Err(format!("invalid filter-spec '{}'", shown())),
    }
}

fn parse_combined(parts: &[u8], nesting: usize, count: &mut usize) -> Result<Filter, String> {
    let mut filters = Vec::new();
    for part in parts.split(|&b| b == b'+').filter(|part| !part.is_empty()) {
        if let Some(&b) = part.iter().find(|&b| *b <= b' ' || RESERVED.contains(b)) {
            return Err(format!("must escape char in sub-filter-spec: '{}'", b.escape_ascii()));
        }
        let part: Vec<u8> = percent_decode(part).collect();
        filters.push(parse_part(&part, nesting + 1, count)?);
    }
    Ok(Filter::Combine(filters))
}

fn parse_kind(name: &[u8]) -> Option<ObjectKind> {
    let kinds = [ObjectKind::Commit, ObjectKind::Tree, ObjectKind::Blob, ObjectKind::Tag];
    kinds.into_iter().find(|kind| kind.as_str().as_bytes() == name)
}

/// A number with `k`, `m` or `g` behind it for 1024 and its powers.
fn parse_size(text: &[u8]) -> Option<u64> {
    let (digits, shift) = match text.split_last()? {
        (b'k' | b'K', digits) => (digits, 10),
        (b'm' | b'M', digits) => (digits, 20),
        (b'g' | b'G', digits) => (digits, 30),
        _ => (text, 0),
    };
    parse_number(digits)?.checked_mul(1 << shift)
}

/// A number as C reads it: decimal, `0x` before hexadecimal, `0` before octal digits.
pub(super) fn parse_number(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    if !text.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    let hexadecimal = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    match (hexadecimal, text.strip_prefix('0')) {
        (Some(digits), _) => u64::from_str_radix(digits, 16).ok(),
        (None, Some(digits)) if !digits.is_empty() => u64::from_str_radix(digits, 8).ok(),
        _ => text.parse().ok(),
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn filters_as_git_writes_them() {
        let limit = Filter::BlobLimit;
        for (spec, filter) in [
            ("blob:none", Filter::BlobNone),
            ("blob:limit=0", limit(0)),
            ("blob:limit=10", limit(10)),
            ("blob:limit=0x10", limit(16)),
            ("blob:limit=1k", limit(1 << 10)),
            ("blob:limit=2M", limit(2 << 20)),
            ("blob:limit=3g", limit(3 << 30)),
            ("tree:0", Filter::TreeDepth(0)),
            ("tree:3", Filter::TreeDepth(3)),
            ("object:type=blob", Filter::ObjectType(ObjectKind::Blob)),
            ("object:type=tag", Filter::ObjectType(ObjectKind::Tag)),
            ("combine:blob:none", Filter::Combine(vec![Filter::BlobNone])),
            ("combine:tree:2+blob:limit=7", Filter::Combine(vec![Filter::TreeDepth(2), limit(7)])),
            (
                "combine:combine%3Ablob%3Anone%2Btree%3A1+tree:9",
                Filter::Combine(vec![
                    Filter::Combine(vec![Filter::BlobNone, Filter::TreeDepth(1)]),
                    Filter::TreeDepth(9),
                ]),
            ),
        ] {
            assert_eq!(parse(spec.as_bytes()), Ok(filter), "{spec}");
        }
    }

    #[test]
    fn what_is_not_a_filter_is_refused_in_gits_words() {
        for (spec, words) in [
            ("", "invalid filter-spec ''"),
            ("blob:some", "invalid filter-spec 'blob:some'"),
            ("blob:limit=", "invalid filter-spec"),
            ("blob:limit=-1", "invalid filter-spec"),
            ("blob:limit=18446744073709551616", "invalid filter-spec"),
            ("blob:limit=99999999999g", "invalid filter-spec"),
            ("tree:x", "expected 'tree:<depth>'"),
            ("object:type=file", "'file' for 'object:type=<type>' is not a valid object type"),
            ("sparse:oid=HEAD:x", "filter 'sparse:oid' not supported"),
            ("sparse:path=x", "sparse:path filters support has been dropped"),
            ("combine:", "expected something after combine:"),
            ("combine:tree:1+sparse:oid=a", "filter 'sparse:oid' not supported"),
            ("combine:tree:1+a*b", "must escape char in sub-filter-spec: '*'"),
            ("auto", "invalid filter-spec 'auto'"),
        ] {
            let error = parse(spec.as_bytes()).expect_err(spec);
            assert!(error.contains(words), "{spec}: {error}");
        }
    }

    #[test]
    fn limits_hold_at_and_past_the_limit() {
        let wide = |count: usize| format!("combine:{}", vec!["tree:1"; count].join("+"));
        assert!(parse(wide(FILTER_PARTS_MAX - 1).as_bytes()).is_ok());
        assert!(parse(wide(FILTER_PARTS_MAX).as_bytes()).is_err());
        let deep = |nesting: usize| "combine:".repeat(nesting) + "tree:1";
        assert!(parse(deep(FILTER_NESTING_MAX).as_bytes()).is_ok());
        assert!(parse(deep(FILTER_NESTING_MAX + 1).as_bytes()).is_err());
        let long = |len: usize| format!("tree:{}", "0".repeat(len - 5));
        assert_eq!(parse(long(FILTER_LEN_MAX).as_bytes()), Ok(Filter::TreeDepth(0)));
        assert!(parse(long(FILTER_LEN_MAX + 1).as_bytes()).is_err());
    }
}
