//! The name by which peers know a repository: the same at its origin and at everybody who has it
//! from there.

use std::fmt;

/// A repository's key among peers, 32 bytes that are a hash or, as [`RepoKey::ANY`], zeros.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepoKey([u8; 32]);

impl RepoKey {
    /// In questions for files: any public repository of the peer that is asked.
    pub const ANY: Self = Self([0; 32]);

    /// Wraps raw bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The raw bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for RepoKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
