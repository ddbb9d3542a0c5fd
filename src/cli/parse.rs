//! Values of arguments: `NAME`, `NAME@REV`, ids, ranges. Checked before anything is opened.

use mega_storage::{FileId, ObjectId, RepoName};

use crate::http::client::RemoteUrl;
use crate::swarm::record::{P2pTarget, P2pUrl, P2pUrlError};

/// A repository and a revision of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Spec {
    pub(super) repo: String,
    pub(super) revision: String,
}

/// `NAME` or `NAME@REV`; the revision comes after the last `@`, and is HEAD when there is none.
pub(super) fn spec(text: &str) -> Result<Spec, String> {
    let (repo, revision) = text.rsplit_once('@').unwrap_or((text, "HEAD"));
    if revision.is_empty() {
        return Err("a revision is missing after '@'".to_owned());
    }
    Ok(Spec { repo: repo_name(repo)?, revision: revision.to_owned() })
}

/// As [`spec`], or the address of a repository on a server: `http(s)://HOST/NAME.git[@REV]`. The
/// revision comes after `.git@`: an `@` before that is the user's.
pub(super) fn place(text: &str) -> Result<Spec, String> {
    if text.starts_with("p2p://") {
        return peer_place(text);
    }
    if !is_address(text) {
        return spec(text);
    }
    let (repo, revision) = match text.rfind(".git@") {
        Some(at) => (&text[..at + 4], &text[at + 5..]),
        None => (text, "HEAD"),
    };
    if revision.is_empty() {
        return Err("a revision is missing after '@'".to_owned());
    }
    RemoteUrl::parse(repo).map_err(|e| e.to_string())?;
    Ok(Spec { repo: repo.to_owned(), revision: revision.to_owned() })
}

/// The address of a repository on a server: `http(s)://HOST/NAME.git`.
pub(super) fn server(text: &str) -> Result<String, String> {
    RemoteUrl::parse(text).map(|_| text.to_owned()).map_err(|e| e.to_string())
}

/// The address of a repository at a peer: `p2p://PEER/repo/NAME[@REV]`.
fn peer_place(text: &str) -> Result<Spec, String> {
    let url: P2pUrl = text.parse().map_err(|e: P2pUrlError| e.to_string())?;
    match url.target {
        P2pTarget::Repo { name, revision } => {
            let repo = P2pUrl::repo(url.peer, name).to_string();
            Ok(Spec { repo, revision: revision.unwrap_or_else(|| "HEAD".to_owned()) })
        }
        P2pTarget::Object(_) | P2pTarget::File(_) => {
            Err("it names no repository: p2p://PEER/repo/NAME does".to_owned())
        }
    }
}

/// Whether a repository is given by its address.
pub(super) fn is_address(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

/// A repository's name.
pub(super) fn repo_name(text: &str) -> Result<String, String> {
    RepoName::new(text).map(|name| name.as_str().to_owned()).map_err(|e| e.to_string())
}

/// A SHA-256 in hex.
pub(super) fn file_id(text: &str) -> Result<String, String> {
    let text = text.strip_prefix("sha256:").unwrap_or(text);
    text.parse::<FileId>().map(|id| id.to_string()).map_err(|e| e.to_string())
}

/// A SHA-1 in hex.
pub(super) fn object_id(text: &str) -> Result<String, String> {
    text.parse::<ObjectId>().map(|id| id.to_string()).map_err(|e| e.to_string())
}

/// `A-B` (both included), `A-` or `-N` (the last N bytes).
pub(super) fn range(text: &str) -> Result<String, String> {
    byte_range(text, u64::MAX)
        .map(|_| text.to_owned())
        .ok_or_else(|| "a range is A-B, A- or -N, in bytes, A not after B".to_owned())
}

/// Offset and length of a range in a file of `len` bytes; `None` when it is no range, or not in the
/// file.
pub(super) fn byte_range(text: &str, len: u64) -> Option<(u64, u64)> {
    let (from, to) = text.split_once('-')?;
    let (from, to) = match (from, to) {
        ("", "") => return None,
        ("", last) => {
            let last = last.parse::<u64>().ok()?;
            return Some((len.saturating_sub(last), last.min(len)));
        }
        (from, "") => (from.parse().ok()?, len.checked_sub(1)?),
        (from, to) => (from.parse().ok()?, to.parse::<u64>().ok()?.min(len.checked_sub(1)?)),
    };
    let count = to.checked_sub(from)?.checked_add(1)?;
    Some((from, count))
}

/// Bytes, with `k`, `m`, `g` or `t` behind the number for 1024 and its powers, as in settings.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let wrong = || "a size is a number of bytes, or one with k, m, g or t behind it".to_owned();
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 10),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 20),
        Some(b'g' | b'G') => (&text[..text.len() - 1], 30),
        Some(b't' | b'T') => (&text[..text.len() - 1], 40),
        Some(b'0'..=b'9') => (text, 0),
        Some(_) | None => return Err(wrong()),
    };
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    digits.parse::<u64>().ok().and_then(|n| n.checked_mul(1 << shift)).ok_or_else(wrong)
}

/// A time in seconds: a number with `s`, `m`, `h`, `d` or `w` behind it.
pub(super) fn duration(text: &str) -> Result<u64, String> {
    let wrong = || "it is not a number with s, m, h, d or w, as 30d".to_owned();
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let digits = text.strip_suffix(unit).ok_or_else(wrong)?;
    let unit_s = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 7 * 86_400,
        _ => return Err(wrong()),
    };
    let count: u64 = digits.parse().map_err(|_| wrong())?;
    count.checked_mul(unit_s).ok_or_else(wrong)
}

/// As [`duration`]; a bare `0` is none.
pub(super) fn grace(text: &str) -> Result<u64, String> {
    if text == "0" { Ok(0) } else { duration(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_revision_comes_after_the_last_at() {
        let parts = |text| spec(text).map(|s| (s.repo, s.revision));
        assert_eq!(parts("a/b"), Ok(("a/b".into(), "HEAD".into())));
        assert_eq!(parts("a@v1.0"), Ok(("a".into(), "v1.0".into())));
        assert_eq!(parts("a@HEAD~2"), Ok(("a".into(), "HEAD~2".into())));
        for bad in ["a@", "@x", "", "a@b@c", "../x", "a b"] {
            assert!(spec(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_revision_of_an_address_comes_after_its_end() {
        let parts = |text: &str| place(text).map(|s| (s.repo, s.revision));
        let address = "http://u:p@h:1/a/b.git";
        assert_eq!(parts(address), Ok((address.into(), "HEAD".into())));
        assert_eq!(parts(&format!("{address}@v1~2")), Ok((address.into(), "v1~2".into())));
        assert_eq!(parts("a/b@v1"), Ok(("a/b".into(), "v1".into())));
        for bad in ["http://h/a", "http://h/a.git@", "https://", "http://h/a@v1"] {
            assert!(place(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_have_suffixes() {
        let sizes = [
            ("0", 0),
            ("1234", 1234),
            ("500m", 500 << 20),
            ("2G", 2 << 30),
            ("7k", 7168),
            ("1t", 1 << 40),
        ];
        for (text, len) in sizes {
            assert_eq!(size(text), Ok(len));
        }
        for bad in ["", "g", "-1", "+1", "1p", "1.5g", "1 g", "99999999999g", "1gg", "é"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_have_units_and_no_grace_needs_none() {
        let times = [("30d", 2_592_000), ("0d", 0), ("2w", 1_209_600), ("90s", 90), ("3h", 10_800)];
        for (text, time) in times {
            assert_eq!((duration(text), grace(text)), (Ok(time), Ok(time)));
        }
        assert_eq!((grace("0"), duration("0").is_err()), (Ok(0), true));
        for bad in ["", "d", "-1d", "1.5h", "14", "1y", "99999999999999999999w", "é"] {
            assert!(grace(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ranges_are_those_of_http() {
        assert_eq!(byte_range("0-9", 100), Some((0, 10)));
        assert_eq!(byte_range("90-", 100), Some((90, 10)));
        assert_eq!(byte_range("-10", 100), Some((90, 10)));
        assert_eq!(byte_range("-200", 100), Some((0, 100)));
        assert_eq!(byte_range("90-200", 100), Some((90, 10)));
        assert_eq!(byte_range("99-99", 100), Some((99, 1)));
        for bad in ["100-", "100-200", "9-1", "-", "x-1", "1-x", "5", "", "--1"] {
            assert_eq!(byte_range(bad, 100), None, "{bad}");
        }
        assert_eq!(byte_range("0-", 0), None);
        assert_eq!(byte_range("-5", 0), Some((0, 0)));
        assert!(range("0-18446744073709551615").is_ok());
    }
}
