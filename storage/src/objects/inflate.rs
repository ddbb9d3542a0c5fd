//! Bounded inflation of whole zlib streams (RFC 1950), by libdeflate.
//!
//! The streams are from outside: the length that goes with one is checked, never trusted. zlib-rs,
//! which reads streams piece by piece, takes twice the time for streams that are whole in memory.

use std::cell::RefCell;

use libdeflater::{DecompressionError, Decompressor, adler32};

thread_local! {
    /// Making an inflater costs more than inflating a small object.
    static INFLATER: RefCell<Decompressor> = RefCell::new(Decompressor::new());
}

/// The checksum at a zlib stream's end, in bytes.
const CHECKSUM_LEN: usize = 4;

/// Inflates a zlib stream that must yield exactly `len` bytes into `out`. What `out` held before is
/// lost.
pub(crate) fn inflate(stream: &[u8], len: u64, out: &mut Vec<u8>) -> Result<(), &'static str> {
    const TOO_LARGE: &str = "it does not fit into memory";
    let len = usize::try_from(len).map_err(|_| TOO_LARGE)?;
    // Not cleared: what is there already need not be zeroed to be written over.
    out.truncate(len);
    out.try_reserve_exact(len - out.len()).map_err(|_| TOO_LARGE)?;
    out.resize(len, 0);
    inflate_to(stream, out)
}

/// Inflates a zlib stream that must fill `out`.
pub(crate) fn inflate_to(stream: &[u8], out: &mut [u8]) -> Result<(), &'static str> {
    match INFLATER.with_borrow_mut(|inflater| inflater.zlib_decompress(stream, out)) {
        Ok(written) if written < out.len() => Err("its deflate stream is shorter than announced"),
        // It says nothing of bytes behind the stream: they would stand where the checksum should.
        Ok(_) if stream.last_chunk::<CHECKSUM_LEN>() != Some(&adler32(out).to_be_bytes()) => {
            Err("bytes follow its deflate stream")
        }
        Ok(_) => Ok(()),
        Err(DecompressionError::InsufficientSpace) => {
            Err("its deflate stream does not end where announced")
        }
        Err(DecompressionError::BadData) => Err("its deflate stream is damaged"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use proptest::prelude::*;

    use super::super::delta::tests::deflate;
    use super::*;

    #[test]
    fn inflates_exactly_what_was_announced() {
        let stream = deflate(&[5; 1000]);
        let mut out = Vec::new();
        inflate(&stream, 1000, &mut out).expect("right");
        assert_eq!(out, [5; 1000]);
        assert!(inflate(&stream, 999, &mut out).is_err());
        assert!(inflate(&[&stream[..], b"x"].concat(), 1000, &mut out).is_err());
        assert!(inflate(&stream, 1001, &mut out).is_err());
        assert!(inflate(&stream[..stream.len() - 1], 1000, &mut out).is_err());
        let mut damaged = stream.clone();
        *damaged.last_mut().expect("not empty") ^= 1;
        assert!(inflate(&damaged, 1000, &mut out).is_err());
        inflate(&deflate(b""), 0, &mut out).expect("empty");
        assert!(out.is_empty());
        assert!(inflate(b"", 0, &mut out).is_err());
    }

    proptest! {
        #[test]
        fn agrees_with_zlib(
            data in proptest::collection::vec(0u8..9, 0..3000),
            level in 0u32..10,
            at in any::<usize>(),
            bit in 0u8..8,
        ) {
            let mut encoder =
                flate2::bufread::ZlibEncoder::new(&data[..], flate2::Compression::new(level));
            let mut stream = Vec::new();
            encoder.read_to_end(&mut stream).expect("memory");
            let mut out = Vec::new();
            inflate(&stream, data.len() as u64, &mut out).expect("right");
            prop_assert_eq!(&out, &data);
            let at = at % stream.len();
            stream[at] ^= 1 << bit;
            // What zlib takes for the same bytes is the same; the checksum finds all else.
            if inflate(&stream, data.len() as u64, &mut out).is_ok() {
                let mut plain = Vec::new();
                let mut decoder = flate2::bufread::ZlibDecoder::new(&stream[..]);
                decoder.read_to_end(&mut plain).expect("zlib takes it too");
                prop_assert_eq!(&out, &plain);
            }
        }
    }
}
