//! A chunk as it travels between stores: plain, or in the form in which it is stored, so that it is
//! not decoded there and encoded here.
//!
//! Invariant: a [`VerifiedChunk`] is made by [`ChunkBytes::verify`] alone, and its plain bytes have
//! the chunk's length and hash. Nothing else that came from elsewhere is kept or handed to readers.

use bytes::Bytes;

use super::hash_chunk;
use crate::chunk::codec;
use crate::manifest::ChunkRef;

/// A chunk in the form in which it is stored: what the codec byte says and what follows it. One
/// that came from elsewhere may hold anything.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredChunk {
    /// How the payload is coded.
    pub codec: u8,
    /// Length of the plain bytes.
    pub plain_len: u32,
    /// The row in the family `chunk` without its codec byte.
    pub payload: Bytes,
}

impl StoredChunk {
    /// The plain bytes: exactly as many as announced, and never more in memory. Their hash is not
    /// looked at.
    ///
    /// # Errors
    /// What is wrong: a codec that this version does not know, an impossible length, a payload that
    /// is none or longer than what it stands for.
    pub fn decode(&self) -> Result<Bytes, &'static str> {
        if self.payload.len() as u64 > u64::from(self.plain_len) {
            return Err("its stored form is longer than its plain bytes");
        }
        codec::decode_payload(self.codec, &self.payload, self.plain_len)
    }
}

/// A chunk's bytes as somebody brings them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ChunkBytes {
    /// Plain, not verified.
    Plain(Bytes),
    /// As another store keeps it, not verified.
    Stored(StoredChunk),
    /// Verified before, by whoever had to know which peer to blame.
    Verified(VerifiedChunk),
}

impl From<Bytes> for ChunkBytes {
    fn from(plain: Bytes) -> Self {
        Self::Plain(plain)
    }
}

impl From<Vec<u8>> for ChunkBytes {
    fn from(plain: Vec<u8>) -> Self {
        Self::Plain(plain.into())
    }
}

/// A chunk whose plain bytes have its length and its hash.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifiedChunk {
    chunk: ChunkRef,
    plain: Bytes,
    stored: Option<StoredChunk>,
}

impl VerifiedChunk {
    /// Which it is.
    pub fn chunk(&self) -> ChunkRef {
        self.chunk
    }

    /// Its plain bytes.
    pub fn plain(&self) -> &Bytes {
        &self.plain
    }

    /// Appends its row in the family `chunk`: as it came, when it came stored.
    pub(crate) fn encode(&self, row: &mut Vec<u8>) {
        match &self.stored {
            Some(stored) => {
                row.push(stored.codec);
                row.extend_from_slice(&stored.payload);
            }
            None => codec::encode(&self.plain, row),
        }
    }
}

impl ChunkBytes {
    /// Decodes and hashes: the bytes must be this chunk.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn verify(self, chunk: &ChunkRef) -> Result<VerifiedChunk, &'static str> {
        let (plain, stored) = match self {
            Self::Verified(verified) if verified.chunk == *chunk => return Ok(verified),
            Self::Verified(_) => return Err("it is another chunk"),
            Self::Plain(plain) => (plain, None),
            Self::Stored(stored) if stored.plain_len == chunk.len => {
                (stored.decode()?, Some(stored))
            }
            Self::Stored(_) => return Err("it is announced with another length"),
        };
        if plain.len() as u64 != u64::from(chunk.len) {
            return Err("its bytes are more or fewer than the chunk's");
        }
        if hash_chunk(&plain) != chunk.id {
            return Err("its bytes do not have the chunk's hash");
        }
        Ok(VerifiedChunk { chunk: *chunk, plain, stored })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::{CHUNK_LEN_MAX, samples};
    use crate::id::ChunkId;

    fn chunk_of(plain: &[u8]) -> ChunkRef {
        ChunkRef { id: hash_chunk(plain), len: u32::try_from(plain.len()).expect("short") }
    }

    fn stored(plain: &[u8]) -> StoredChunk {
        let mut row = Vec::new();
        codec::encode(plain, &mut row);
        let (&codec, payload) = row.split_first().expect("a codec byte");
        let payload = Bytes::copy_from_slice(payload);
        StoredChunk { codec, plain_len: chunk_of(plain).len, payload }
    }

    #[test]
    fn what_came_stored_is_kept_as_it_came_byte_for_byte() {
        let len = CHUNK_LEN_MAX as usize;
        let noise = samples::random(len, 1);
        for plain in [noise, samples::bf16(len, 2), samples::fp32(999, 3), samples::text(len, 4)] {
            let stored = stored(&plain);
            let verified = ChunkBytes::Stored(stored.clone()).verify(&chunk_of(&plain));
            let verified = verified.expect("it is the chunk");
            assert_eq!((verified.chunk(), &verified.plain()[..]), (chunk_of(&plain), &plain[..]));
            let mut row = Vec::new();
            verified.encode(&mut row);
            assert_eq!((row[0], &row[1..]), (stored.codec, &stored.payload[..]));
            let again = ChunkBytes::Verified(verified.clone()).verify(&chunk_of(&plain));
            assert_eq!(again, Ok(verified));
        }
    }

    #[test]
    fn what_is_not_the_chunk_is_refused_in_each_form() {
        let plain = samples::text(70_000, 1);
        let chunk = chunk_of(&plain);
        let good = stored(&plain);
        assert_eq!(good.codec, 1, "text is one zstd frame");
        let verify = |bytes: ChunkBytes| bytes.verify(&chunk).map(|_| ()).expect_err("refused");
        let plain_of = |bytes: &[u8]| ChunkBytes::Plain(Bytes::copy_from_slice(bytes));
        assert!(verify(plain_of(&plain[1..])).contains("more or fewer"));
        let mut other = plain.clone();
        other[9] ^= 1;
        assert!(verify(plain_of(&other)).contains("hash"));
        assert!(verify(ChunkBytes::Stored(stored(&other))).contains("hash"));
        let change = |change: &dyn Fn(&mut StoredChunk)| {
            let mut stored = good.clone();
            change(&mut stored);
            verify(ChunkBytes::Stored(stored))
        };
        assert_eq!(change(&|s| s.codec = 9), "the codec is unknown");
        assert!(change(&|s| s.plain_len += 1).contains("another length"));
        assert!(change(&|s| s.payload = s.payload.slice(1..)).contains("frame"));
        let verified = plain_of(&other).verify(&chunk_of(&other)).expect("right for itself");
        assert_eq!(verify(ChunkBytes::Verified(verified)), "it is another chunk");
    }

    #[test]
    fn a_bomb_and_a_padded_form_take_no_more_than_was_announced() {
        // Ten megabytes of nothing in a few hundred bytes.
        let bomb = zstd::bulk::compress(&vec![0; 10 << 20], 19).expect("compressed");
        assert!(bomb.len() < 2_000, "{}", bomb.len());
        let announced = |plain_len, payload: Vec<u8>| StoredChunk {
            codec: 1,
            plain_len,
            payload: payload.into(),
        };
        for len in [bomb.len() as u32, 65_536, CHUNK_LEN_MAX] {
            announced(len, bomb.clone()).decode().expect_err("more than announced");
        }
        assert!(announced(CHUNK_LEN_MAX + 1, bomb.clone()).decode().is_err());
        assert!(announced(0, Vec::new()).decode().is_err());
        // A frame that says nothing, of any length, before the one that counts: one byte too many.
        let plain: Vec<u8> = (0..1_000u32).map(|i| (i % 7) as u8).collect();
        let frame = zstd::bulk::compress(&plain, 3).expect("compressed");
        let padded = |len: usize| {
            let pad = len - frame.len() - 8;
            let mut payload = 0x184d_2a50u32.to_le_bytes().to_vec();
            payload.extend_from_slice(&(pad as u32).to_le_bytes());
            payload.resize(8 + pad, 0);
            payload.extend_from_slice(&frame);
            announced(1_000, payload)
        };
        assert_eq!(padded(1_000).decode().expect("as long as it is plain"), plain);
        assert!(padded(1_001).decode().expect_err("longer").contains("longer"));
        let id = ChunkId::from_bytes([0; 32]);
        let chunk = ChunkRef { id, len: 1_000 };
        assert!(ChunkBytes::Stored(padded(1_000)).verify(&chunk).is_err());
    }
}
