//! A token's secret: made, shown once, known here afterwards by its SHA-256 alone.
//!
//! Invariant: a secret is in no log, no error and no debug output.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// How every token begins, so that a scanner for leaked secrets finds it.
pub const PREFIX: &str = "mst_";
/// Random bytes of a secret.
const RANDOM_LEN: usize = 32;

/// A new secret.
pub struct Secret(String);

impl Secret {
    /// Makes one from the system's random bytes.
    ///
    /// # Errors
    /// When the system has none.
    pub fn new() -> Result<Self, getrandom::Error> {
        let mut random = [0; RANDOM_LEN];
        getrandom::fill(&mut random)?;
        Ok(Self(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random))))
    }

    /// The text to show to whoever made it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What the store keeps.
    pub fn hash(&self) -> [u8; 32] {
        hash(&self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// What the store keeps of a secret.
pub fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

/// Compares in constant time.
pub fn is_same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    a.ct_eq(b).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_differ_and_do_not_show_themselves() {
        let (one, two) = (Secret::new().expect("random"), Secret::new().expect("random"));
        assert_ne!(one.reveal(), two.reveal());
        assert!(one.reveal().starts_with(PREFIX) && one.reveal().len() == 47, "{}", one.reveal());
        assert!(is_same(&one.hash(), &hash(one.reveal())) && !is_same(&one.hash(), &two.hash()));
        assert!(!format!("{one:?}").contains(&one.reveal()[4..]));
    }
}
