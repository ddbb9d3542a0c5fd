//! The list of a backup's files, as text. Its last line is the hash of all before: what does not
//! read to its end is no list.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use super::{BESIDE, BackupInfo};
use crate::id::FileId;

const HEAD: &str = "mega-store backup ";
const VERSION: u64 = 1;
/// Digits of a number in a file's name.
const DIGITS: usize = 6;

/// A backup.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Set {
    /// When it was made, in seconds since 1970.
    pub(super) made_unix: u64,
    /// The store's format.
    pub(super) format: u32,
    pub(super) members: Vec<Member>,
}

/// A file of a backup.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Member {
    /// Relative to the store's directory.
    pub(super) path: String,
    pub(super) id: FileId,
    pub(super) len: u64,
}

pub(super) fn name_of(number: u32) -> String {
    format!("{number:0DIGITS$}")
}

pub(super) fn number_of(name: &str) -> Option<u32> {
    let is_number = name.len() >= DIGITS && name.bytes().all(|b| b.is_ascii_digit());
    name.parse().ok().filter(|_| is_number)
}

/// Whether a path is one that a store has: nothing else is ever written.
fn is_a_store_s(path: &str) -> bool {
    let is_plain = |name: &str| {
        let is_good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        !name.is_empty() && !name.starts_with('.') && name.bytes().all(is_good)
    };
    path == "FORMAT" || BESIDE.contains(&path) || path.strip_prefix("db/").is_some_and(is_plain)
}

impl Set {
    pub(super) fn info(&self, number: u32) -> BackupInfo {
        let (file_count, len) =
            (self.members.len() as u64, self.members.iter().map(|member| member.len).sum());
        BackupInfo { number, made_unix: self.made_unix, file_count, len }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut text =
            format!("{HEAD}{VERSION}\nmade {}\nformat {}\n", self.made_unix, self.format);
        for Member { path, id, len } in &self.members {
            let _ = writeln!(text, "{id} {len} {path}");
        }
        let hash = FileId::from_bytes(Sha256::digest(&text).into());
        let _ = writeln!(text, "end {hash}");
        text.into_bytes()
    }

    pub(super) fn decode(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let (body, end) = text.split_at(text.rfind("end ")?);
        let hash = end.strip_prefix("end ")?.strip_suffix('\n')?.parse::<FileId>().ok()?;
        if hash != FileId::from_bytes(Sha256::digest(body).into()) {
            return None;
        }
        let mut lines = body.lines();
        let mut number = |word: &str| lines.next()?.strip_prefix(word)?.parse::<u64>().ok();
        let head = number(HEAD)?;
        let (made_unix, format) = (number("made ")?, u32::try_from(number("format ")?).ok()?);
        let member = |line: &str| {
            let mut words = line.splitn(3, ' ');
            let (id, len) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            let path = words.next().filter(|path| is_a_store_s(path))?.to_owned();
            Some(Member { path, id, len })
        };
        let members = lines.map(member).collect::<Option<Vec<_>>>()?;
        (head == VERSION).then_some(Self { made_unix, format, members })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_list() {
        let id = FileId::from_bytes([0xab; 32]);
        let member = Member { path: "db/CURRENT".to_owned(), id, len: 16 };
        let set = Set { made_unix: 7, format: 1, members: vec![member] };
        let text = set.encode();
        let hex = "ab".repeat(32);
        let body = format!("mega-store backup 1\nmade 7\nformat 1\n{hex} 16 db/CURRENT\n");
        let hash = FileId::from_bytes(Sha256::digest(&body).into());
        assert_eq!(String::from_utf8_lossy(&text), format!("{body}end {hash}\n"));
        assert_eq!(Set::decode(&text), Some(set.clone()));
        for len in 0..text.len() {
            assert_eq!(Set::decode(&text[..len]), None);
        }
        for path in ["../x", "db/../x", "db/a/b", "/etc/passwd", "db/", "owner", "db/.x"] {
            let member = Member { path: path.to_owned(), ..set.members[0].clone() };
            let bad = Set { members: vec![member], ..set.clone() };
            assert_eq!(Set::decode(&bad.encode()), None, "{path}");
        }
        assert_eq!(number_of(&name_of(12)), Some(12));
        assert_eq!(number_of("000001.new"), None);
    }
}
