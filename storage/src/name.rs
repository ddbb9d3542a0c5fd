//! Names that people give: repositories and references. A value of these types has been checked.

use std::fmt;
use std::sync::Arc;

use crate::error::NameError;

/// Most segments in a repository name.
const REPO_SEGMENTS_MAX: usize = 4;
/// Longest segment of a repository name, in bytes.
const REPO_SEGMENT_LEN_MAX: usize = 100;
/// Longest reference name, in bytes; git's own practical limit is a path component of 255 and a
/// path of 4,096.
pub const REF_NAME_LEN_MAX: usize = 1024;
/// First segments that the HTTP routes use for themselves.
const REPO_RESERVED: [&str; 8] =
    ["v1", "metrics", "healthz", "readyz", "object", "file", "repos", "status"];

/// A repository's name: 1 to 4 segments of `[A-Za-z0-9._-]{1,100}` with `/` between; no leading
/// dot, no `.git` or `.lock` ending, no `..`; the first segment is not one that the HTTP routes
/// use.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RepoName(String);

impl RepoName {
    /// Checks `text`.
    ///
    /// # Errors
    /// [`NameError::Repo`] with the rule that it breaks.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let refuse = |reason| Err(NameError::Repo { name: text.to_owned(), reason });
        let segments: Vec<&str> = text.split('/').collect();
        if segments.len() > REPO_SEGMENTS_MAX {
            return refuse("it has more than 4 segments");
        }
        if REPO_RESERVED.contains(&segments[0]) {
            return refuse("its first segment is reserved");
        }
        for segment in segments {
            if segment.is_empty() || segment.len() > REPO_SEGMENT_LEN_MAX {
                return refuse("a segment must have 1 to 100 characters");
            }
            if !segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) {
                return refuse("only A-Z a-z 0-9 . _ - and / may be used");
            }
            if segment.starts_with('.') || segment.starts_with('-') || segment.contains("..") {
                return refuse("a segment may not start with '.' or '-' or contain '..'");
            }
            let lower = segment.to_ascii_lowercase();
            if lower.ends_with(".git") || lower.ends_with(".lock") {
                return refuse("a segment may not end in .git or .lock");
            }
        }
        Ok(Self(text.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RepoName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A reference's full name as git checks it (`HEAD` or `refs/...`): bytes, not always UTF-8. Clones
/// share them: a push names many, and each of its steps keeps them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RefName(Arc<[u8]>);

impl RefName {
    /// The default branch's symbolic reference.
    pub fn head() -> Self {
        Self(b"HEAD".as_slice().into())
    }

    /// Checks `name` by git's rules (git-check-ref-format); it must be `HEAD` or start with
    /// `refs/`.
    ///
    /// # Errors
    /// [`NameError::Ref`] with what git would refuse.
    pub fn new(name: &[u8]) -> Result<Self, NameError> {
        let refuse = |reason: String| NameError::Ref {
            name: String::from_utf8_lossy(name).into_owned(),
            reason,
        };
        if name == b"HEAD" {
            return Ok(Self::head());
        }
        if name.len() > REF_NAME_LEN_MAX {
            return Err(refuse(format!("it is longer than {REF_NAME_LEN_MAX} bytes")));
        }
        if !name.starts_with(b"refs/") {
            return Err(refuse("it must be HEAD or start with refs/".to_owned()));
        }
        gix_validate::reference::name(name.into()).map_err(|e| refuse(e.to_string()))?;
        Ok(Self(name.into()))
    }

    /// A name out of a row, where only a checked one gets; the row has its checksum.
    pub(crate) fn of_row(name: &[u8]) -> Option<Self> {
        let is_one = name == b"HEAD" || name.starts_with(b"refs/");
        is_one.then(|| Self(name.into()))
    }

    /// The name's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for RefName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for RefName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repository_names() {
        for good in ["a", "a/b/c/d", "A-1_2.x", "llama-3.1", &"x".repeat(100)] {
            assert!(RepoName::new(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "/",
            "a/",
            "/a",
            "a//b",
            "a/b/c/d/e",
            ".a",
            "a..b",
            "a.git",
            "a.LOCK",
            "v1",
            "v1/x",
            "a b",
            "ä",
            "-a",
            "a/../b",
            &"x".repeat(101),
        ] {
            assert!(RepoName::new(bad).is_err(), "{bad}");
        }
        assert!(RepoName::new("team/v1").is_ok(), "only the first segment is reserved");
    }

    #[test]
    fn reference_names() {
        for good in [&b"HEAD"[..], b"refs/heads/main", b"refs/heads/x-PACK", b"refs/tags/\xffv1"] {
            assert!(RefName::new(good).is_ok());
        }
        for bad in [
            &b"main"[..],
            b"FETCH_HEAD",
            b"refs/heads/..",
            b"refs/heads/a.lock",
            b"refs/heads/a b",
            b"refs/heads/",
            b"refs/heads/a@{1}",
            b"refs//x",
            b"refs/heads/a\x07",
        ] {
            assert!(RefName::new(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
        assert!(RefName::new(&[b"refs/heads/".as_slice(), &vec![b'a'; 1013]].concat()).is_ok());
        assert!(RefName::new(&[b"refs/heads/".as_slice(), &vec![b'a'; 1014]].concat()).is_err());
    }
}
