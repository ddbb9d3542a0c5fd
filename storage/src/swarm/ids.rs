//! Names among peers: of repositories, of peers, of places in the DHT. Each is its own type.

use std::fmt::{self, Write};
use std::str::FromStr;

/// Longest id of a peer, in bytes: a multihash of 64.
pub const PEER_ID_LEN_MAX: usize = 68;

/// Digits of a repository's id after the letter that says base32.
const DIGIT_COUNT: usize = 52;

/// A repository's id among peers ("rid"). It is made of its origin's id, a nonce and the name that
/// it had then, so that nobody else can make a record for it; it stays when the name changes.
///
/// As text: `b`, the multibase letter of base32, and 52 lower-case digits of RFC 4648.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepoKey([u8; 32]);

impl RepoKey {
    /// Length in bytes.
    pub const LEN: usize = 32;
    /// In a request: any public repository of the one that is asked. No repository's id.
    pub const ANY: Self = Self([0; 32]);

    /// Wraps raw bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads the id from a slice; `None` unless it has exactly [`Self::LEN`] bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The raw bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// A text is no repository's id.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RepoKeyParseError {
    /// Another base, or none.
    #[error("a repository's id starts with 'b'")]
    Prefix,
    /// It is too long or too short.
    #[error("a repository's id has 53 characters, not {actual}")]
    Length {
        /// Bytes of the text.
        actual: usize,
    },
    /// A character that base32 does not have.
    #[error("a repository's id has only the characters a-z and 2-7")]
    Digit,
    /// Bits past the id's end are set.
    #[error("a repository's id ends in 'a' or 'q'")]
    End,
}

impl fmt::Display for RepoKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('b')?;
        let (mut bits, mut count) = (0u32, 0u32);
        for byte in self.0 {
            bits = (bits << 8) | u32::from(byte);
            count += 8;
            while count >= 5 {
                count -= 5;
                f.write_char(digit(bits >> count))?;
            }
        }
        f.write_char(digit(bits << (5 - count)))
    }
}

fn digit(bits: u32) -> char {
    let value = (bits & 31) as u8;
    char::from(if value < 26 { b'a' + value } else { b'2' + (value - 26) })
}

impl fmt::Debug for RepoKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for RepoKey {
    type Err = RepoKeyParseError;

    fn from_str(text: &str) -> Result<Self, RepoKeyParseError> {
        let digits = text.strip_prefix('b').ok_or(RepoKeyParseError::Prefix)?;
        if digits.len() != DIGIT_COUNT {
            return Err(RepoKeyParseError::Length { actual: text.len() });
        }
        let mut bytes = [0; 32];
        let mut next = bytes.iter_mut();
        let (mut bits, mut count) = (0u32, 0u32);
        for digit in digits.bytes() {
            let value = match digit {
                b'a'..=b'z' => digit - b'a',
                b'2'..=b'7' => digit - b'2' + 26,
                _ => return Err(RepoKeyParseError::Digit),
            };
            bits = (bits << 5) | u32::from(value);
            count += 5;
            if count >= 8 {
                count -= 8;
                if let Some(byte) = next.next() {
                    *byte = (bits >> count) as u8;
                }
            }
        }
        // 260 bits: four are left.
        if bits & 0b1111 != 0 {
            return Err(RepoKeyParseError::End);
        }
        Ok(Self(bytes))
    }
}

/// Random bytes in a repository's id, so that one that is made again has another.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RepoNonce([u8; 16]);

impl RepoNonce {
    /// Length in bytes.
    pub const LEN: usize = 16;

    /// Wraps raw bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The raw bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for RepoNonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

/// A place in the DHT: a SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DhtKey([u8; 32]);

impl DhtKey {
    /// Wraps raw bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads the key from a slice; `None` unless it has exactly 32 bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The raw bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for DhtKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

/// A peer's id as bytes: for libp2p the multihash of its key. 1 to [`PEER_ID_LEN_MAX`] bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerIdBytes(Box<[u8]>);

impl PeerIdBytes {
    /// Wraps the bytes; `None` when there are none or too many.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        (1..=PEER_ID_LEN_MAX).contains(&bytes.len()).then(|| Self(bytes.into()))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for PeerIdBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_repositories_as_text() {
        // Python: "b" + base64.b32encode(bytes(range(32))).decode().lower().rstrip("=")
        let mut bytes = [0; 32];
        bytes.iter_mut().zip(0..).for_each(|(byte, n)| *byte = n);
        let key = RepoKey::from_bytes(bytes);
        let text = "baaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dypq";
        assert_eq!(key.to_string(), text);
        assert_eq!(text.parse(), Ok(key));
        let all = RepoKey::from_bytes([0xff; 32]);
        assert_eq!(all.to_string(), format!("b{}q", "7".repeat(51)));
        for key in [all, RepoKey::ANY] {
            assert_eq!(key.to_string().parse(), Ok(key));
        }
    }

    #[test]
    fn what_is_no_id_is_refused_with_its_reason() {
        let text = RepoKey::from_bytes([0xff; 32]).to_string();
        let parse = |text: &str| text.parse::<RepoKey>();
        assert_eq!(parse(""), Err(RepoKeyParseError::Prefix));
        assert_eq!(parse(&text.replacen('b', "z", 1)), Err(RepoKeyParseError::Prefix));
        assert_eq!(parse(&text[..52]), Err(RepoKeyParseError::Length { actual: 52 }));
        assert_eq!(parse(&format!("{text}a")), Err(RepoKeyParseError::Length { actual: 54 }));
        for bad in ["0", "1", "8", "A", "=", " "] {
            assert_eq!(parse(&text.replacen('7', bad, 1)), Err(RepoKeyParseError::Digit), "{bad}");
        }
        for last in "bcdefghijklmnoprstuvwxyz234567".chars() {
            let other = format!("{}{last}", &text[..52]);
            assert_eq!(parse(&other), Err(RepoKeyParseError::End), "{last}");
        }
        assert!(parse(&format!("{}a", &text[..52])).is_ok());
    }

    #[test]
    fn peers_have_bounded_ids() {
        assert_eq!(PeerIdBytes::new(b""), None);
        assert!(PeerIdBytes::new(&[7; PEER_ID_LEN_MAX]).is_some());
        assert_eq!(PeerIdBytes::new(&[7; PEER_ID_LEN_MAX + 1]), None);
    }
}
