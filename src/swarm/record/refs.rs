//! A digest of a repository's references: who fetches them from any peer holds them to the record
//! of their publisher.
//!
//! SHA-256 of `mega/refs/1` and, for each visible reference in the order of the names as bytes: its
//! name, counted by two bytes, big-endian; a byte of flags, 1 = it leads to an object, 2 = it is
//! symbolic; with 1 the object's id; with 2 the name that it points to, counted likewise.

use std::fmt;

use mega_storage::{ObjectId, RefName};
use sha2::{Digest, Sha256};

const DOMAIN: &[u8] = b"mega/refs/1";
const FLAG_ID: u8 = 1;
const FLAG_TARGET: u8 = 2;

/// The digest.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RefsDigest([u8; 32]);

impl RefsDigest {
    /// Wraps raw bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The raw bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for RefsDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A reference does not come after the one before it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the reference {name} is out of order")]
pub struct RefsOrder {
    /// The reference.
    pub name: RefName,
}

/// Takes references one by one, so that a million of them need not be in memory.
pub struct RefsHasher {
    hash: Sha256,
    last: Option<RefName>,
}

impl Default for RefsHasher {
    fn default() -> Self {
        Self { hash: Sha256::new_with_prefix(DOMAIN), last: None }
    }
}

impl RefsHasher {
    /// Adds a reference: the object that it leads to, and what it points to when it is symbolic.
    ///
    /// # Errors
    /// [`RefsOrder`] unless its name is above the last one's.
    pub fn add(
        &mut self,
        name: &RefName,
        id: Option<&ObjectId>,
        target: Option<&RefName>,
    ) -> Result<(), RefsOrder> {
        if self.last.as_ref().is_some_and(|last| last >= name) {
            return Err(RefsOrder { name: name.clone() });
        }
        self.put_counted(name);
        let flags = id.map_or(0, |_| FLAG_ID) | target.map_or(0, |_| FLAG_TARGET);
        self.hash.update([flags]);
        if let Some(id) = id {
            self.hash.update(id.as_bytes());
        }
        if let Some(target) = target {
            self.put_counted(target);
        }
        self.last = Some(name.clone());
        Ok(())
    }

    /// The digest of all that was added.
    pub fn finish(self) -> RefsDigest {
        RefsDigest(self.hash.finalize().into())
    }

    fn put_counted(&mut self, name: &RefName) {
        let len = u16::try_from(name.as_bytes().len()).expect("a name has at most 1,024 bytes");
        self.hash.update(len.to_be_bytes());
        self.hash.update(name.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> RefName {
        RefName::new(text.as_bytes()).expect("a name")
    }

    #[test]
    fn the_digest_is_that_of_the_described_bytes() {
        let id = ObjectId::from_bytes([7; 20]);
        let (main, head) = (name("refs/heads/main"), name("HEAD"));
        let mut hasher = RefsHasher::default();
        hasher.add(&head, Some(&id), Some(&main)).expect("in order");
        hasher.add(&main, Some(&id), None).expect("in order");
        hasher.add(&name("refs/heads/z"), None, Some(&main)).expect("in order");
        let bytes = [
            &b"mega/refs/1\0\x04HEAD\x03"[..],
            &[7; 20],
            b"\0\x0frefs/heads/main\0\x0frefs/heads/main\x01",
            &[7; 20],
            b"\0\x0crefs/heads/z\x02\0\x0frefs/heads/main",
        ];
        let expected: [u8; 32] = Sha256::digest(bytes.concat()).into();
        assert_eq!(hasher.finish(), RefsDigest(expected));
        let empty: [u8; 32] = Sha256::digest("mega/refs/1").into();
        assert_eq!(RefsHasher::default().finish(), RefsDigest(empty));
    }

    #[test]
    fn names_ascend_and_are_not_repeated() {
        let mut hasher = RefsHasher::default();
        hasher.add(&name("refs/heads/b"), None, None).expect("the first");
        for bad in ["refs/heads/b", "refs/heads/a", "HEAD"] {
            let error = hasher.add(&name(bad), None, None).expect_err("out of order");
            assert_eq!(error, RefsOrder { name: name(bad) });
        }
        hasher.add(&name("refs/heads/b0"), None, None).expect("above");
    }
}
