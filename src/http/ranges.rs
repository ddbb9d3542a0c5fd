//! `Range` and what decides whether it counts (RFC 9110, section 14).

use hyper::header::{IF_NONE_MATCH, IF_RANGE, RANGE};

use super::ask::Ask;
use super::limits::RANGES_MAX;

/// What a client wants of a content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wish {
    /// All of it.
    Whole,
    /// Parts: offset and length, each within the content and not empty.
    Parts(Vec<(u64, u64)>),
    /// Only what is not there.
    Outside,
}

/// What a request wants of a content with this length and entity tag.
pub fn wish_of(ask: &Ask, etag: &str, len: u64) -> Wish {
    // Two Range fields are as good as one that nobody understands.
    let Some(range) = ask.header(RANGE) else { return Wish::Whole };
    match ask.header(IF_RANGE) {
        Some(condition) if condition != etag => Wish::Whole,
        _ => parse(range, len),
    }
}

/// Whether the client has the content already.
pub fn is_known(ask: &Ask, etag: &str) -> bool {
    let tags = ask.headers.get_all(IF_NONE_MATCH).iter().filter_map(|tags| tags.to_str().ok());
    let mut tags = tags.flat_map(|tags| tags.split(',')).map(str::trim);
    tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

/// Reads a `Range` field. What cannot be understood is not there, as the standard says.
fn parse(field: &str, len: u64) -> Wish {
    let Some((unit, list)) = field.split_once('=') else { return Wish::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Wish::Whole;
    }
    let mut parts = Vec::new();
    let mut total = 0u64;
    for (index, spec) in list.split(',').enumerate() {
        if index == RANGES_MAX {
            return Wish::Whole;
        }
        let Some(range) = parse_one(spec.trim(), len) else { return Wish::Whole };
        if let Some((offset, part_len)) = range {
            total = total.saturating_add(part_len);
            parts.push((offset, part_len));
        }
    }
    match parts.len() {
        0 => Wish::Outside,
        // Overlapping parts that are more than the whole: the whole is less work.
        2.. if total > len => Wish::Whole,
        _ => Wish::Parts(parts),
    }
}

/// `None` when it is no range; `Some(None)` when the content does not have it.
fn parse_one(spec: &str, len: u64) -> Option<Option<(u64, u64)>> {
    let (first, last) = spec.split_once('-')?;
    match (first, last) {
        ("", suffix) => {
            let count = number(suffix)?.min(len);
            Some((count > 0).then(|| (len - count, count)))
        }
        (first, last) => {
            let first = number(first)?;
            let last = if last.is_empty() { u64::MAX } else { number(last)? };
            if last < first {
                return None;
            }
            let end = last.saturating_add(1).min(len);
            Some((first < end).then(|| (first, end - first)))
        }
    }
}

/// Digits and nothing else; what no `u64` holds is as good as the largest.
fn number(digits: &str) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(field: &str, len: u64) -> Option<Vec<(u64, u64)>> {
        match parse(field, len) {
            Wish::Whole => None,
            Wish::Parts(parts) => Some(parts),
            Wish::Outside => Some(Vec::new()),
        }
    }

    #[test]
    fn ranges_are_read_as_the_standard_says() {
        assert_eq!(parts("bytes=0-9", 100), Some(vec![(0, 10)]));
        assert_eq!(parts("Bytes=90-", 100), Some(vec![(90, 10)]));
        assert_eq!(parts("bytes=-10", 100), Some(vec![(90, 10)]));
        assert_eq!(parts("bytes=-200", 100), Some(vec![(0, 100)]));
        assert_eq!(parts("bytes=90-200", 100), Some(vec![(90, 10)]));
        assert_eq!(parts("bytes=0-0, 99-", 100), Some(vec![(0, 1), (99, 1)]));
        assert_eq!(parts("bytes=0-0,200-", 100), Some(vec![(0, 1)]));
        assert_eq!(parts("bytes=0-99999999999999999999999", 100), Some(vec![(0, 100)]));
        for outside in ["bytes=100-", "bytes=-0", "bytes=99999999999999999999999-", "bytes=100-200"]
        {
            assert_eq!(parts(outside, 100), Some(vec![]), "{outside}");
        }
        assert_eq!(parts("bytes=0-", 0), Some(vec![]));
        for ignored in [
            "",
            "bytes",
            "bytes=",
            "lines=0-1",
            "bytes=9-1",
            "bytes=a-b",
            "bytes=+1-2",
            "bytes=1",
            "bytes=--1",
            "bytes=0-1,x",
            "bytes=0-99,0-99",
        ] {
            assert_eq!(parts(ignored, 100), None, "{ignored}");
        }
        let many = |count: usize| format!("bytes={}", vec!["0-0"; count].join(","));
        assert!(parts(&many(RANGES_MAX), 100).is_some());
        assert!(parts(&many(RANGES_MAX + 1), 100).is_none());
    }
}
