//! The four identifiers of the store. Each is its own type, so that one cannot be passed for
//! another.
//!
//! Invariant: an id that came from content was computed here or verified against the content before
//! use. [`ObjectId`] is always computed with collision-detecting SHA-1 (see
//! [`crate::object::hash_object`]).

use std::fmt;
use std::str::FromStr;

use crate::error::IdParseError;

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;

            /// Wraps raw bytes.
            pub const fn from_bytes(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// Reads the id from a slice; `None` unless it has exactly [`Self::LEN`] bytes.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }

            /// The raw bytes.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// Parses lower-case or upper-case hex.
            ///
            /// # Errors
            /// [`IdParseError`] when the text has another length or a character that is not hex.
            pub fn from_hex(text: &[u8]) -> Result<Self, IdParseError> {
                let mut bytes = [0u8; $len];
                decode_hex(text, &mut bytes)?;
                Ok(Self(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(f, &self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(f, &self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdParseError;

            fn from_str(text: &str) -> Result<Self, IdParseError> {
                Self::from_hex(text.as_bytes())
            }
        }
    };
}

id_type!(
    /// SHA-1 of a git object with its header (`"<kind> <len>\0"` + content), as git computes it.
    ObjectId,
    20
);
id_type!(
    /// SHA-256 of a chunk's plain (decoded) bytes.
    ChunkId,
    32
);
id_type!(
    /// SHA-256 of a whole file: the LFS oid.
    FileId,
    32
);

/// A repository's number. Numbers are never reused, so rows of a deleted repository cannot be taken
/// for another's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RepoId(pub u32);

impl fmt::Display for RepoId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl ObjectId {
    /// The id of no object: forty zeros, git's "does not exist" in a ref update.
    pub const NULL: Self = Self([0; 20]);
}

impl From<ObjectId> for gix_hash::ObjectId {
    fn from(id: ObjectId) -> Self {
        Self::Sha1(id.0)
    }
}

impl From<&gix_hash::oid> for ObjectId {
    fn from(id: &gix_hash::oid) -> Self {
        let mut bytes = [0u8; 20];
        bytes.copy_from_slice(id.as_bytes());
        Self(bytes)
    }
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    // In one piece: lists of references are made of little else.
    let mut text = [0; 64];
    let text = text.get_mut(..bytes.len() * 2).ok_or(fmt::Error)?;
    f.write_str(faster_hex::hex_encode(bytes, text).map_err(|_| fmt::Error)?)
}

fn decode_hex(text: &[u8], out: &mut [u8]) -> Result<(), IdParseError> {
    if text.len() != out.len() * 2 {
        return Err(IdParseError::Length { expected: out.len() * 2, actual: text.len() });
    }
    for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        let (Some(high), Some(low)) = (hex_digit(pair[0]), hex_digit(pair[1])) else {
            return Err(IdParseError::Digit);
        };
        *byte = (high << 4) | low;
    }
    Ok(())
}

fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_round_trip_and_refusals() {
        let text = "8ab686eafeb1f44702738c8b0f24f2567c36da6d";
        let id: ObjectId = text.parse().expect("a valid id");
        assert_eq!(id.to_string(), text);
        assert_eq!(
            "8ab6".parse::<ObjectId>(),
            Err(IdParseError::Length { expected: 40, actual: 4 })
        );
        assert_eq!(format!("{}g", &text[..39]).parse::<ObjectId>(), Err(IdParseError::Digit));
    }
}
