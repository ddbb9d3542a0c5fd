//! Git's delta instructions (gitformat-pack, "Deltified representation") and bounded inflation.
//!
//! Both work on bytes from outside: no length that the input announces is trusted before it is
//! checked.

use std::cell::RefCell;

use flate2::{Decompress, FlushDecompress, Status};

thread_local! {
    /// Making an inflater costs more than inflating a small object.
    static INFLATER: RefCell<Decompress> = RefCell::new(Decompress::new(true));
}

/// Inflates a zlib stream that must yield exactly `len` bytes into `out`. What `out` held before is
/// lost.
pub(crate) fn inflate(stream: &[u8], len: u64, out: &mut Vec<u8>) -> Result<(), &'static str> {
    let len = usize::try_from(len).map_err(|_| "it does not fit into memory")?;
    // Not cleared: what is there already need not be zeroed to be written over.
    out.truncate(len);
    out.try_reserve_exact(len - out.len()).map_err(|_| "it does not fit into memory")?;
    INFLATER.with_borrow_mut(|inflater| {
        inflater.reset(true);
        inflate_with(inflater, stream, len, out)
    })
}

fn inflate_with(
    inflater: &mut Decompress,
    stream: &[u8],
    len: usize,
    out: &mut Vec<u8>,
) -> Result<(), &'static str> {
    out.resize(len, 0);
    let status = inflater
        .decompress(stream, out, FlushDecompress::Finish)
        .map_err(|_| "its deflate stream is damaged")?;
    let written = inflater.total_out();
    if written < len as u64 {
        return Err("its deflate stream is shorter than announced");
    }
    if status == Status::StreamEnd {
        let whole = inflater.total_in() == stream.len() as u64;
        return if whole { Ok(()) } else { Err("bytes follow its deflate stream") };
    }
    // The output is full, but the stream's end with its checksum may still stand in the input.
    let rest = stream.get(inflater.total_in() as usize..).unwrap_or_default();
    let mut more = [0u8; 1];
    match inflater.decompress(rest, &mut more, FlushDecompress::Finish) {
        Ok(Status::StreamEnd)
            if inflater.total_out() == written && inflater.total_in() == stream.len() as u64 =>
        {
            Ok(())
        }
        Ok(_) => Err("its deflate stream does not end where announced"),
        Err(_) => Err("its deflate stream is damaged"),
    }
}

/// Reads the two lengths at the front of inflated delta instructions: base and result, in bytes,
/// and the rest.
pub(crate) fn lengths(delta: &[u8]) -> Result<(u64, u64, &[u8]), &'static str> {
    let (base_len, rest) = crate::row::take_varint(delta)?;
    let (result_len, rest) = crate::row::take_varint(rest)?;
    Ok((base_len, result_len, rest))
}

/// One instruction of a delta.
pub(crate) enum Instruction<'a> {
    /// Bytes of the base. Both fit into 32 bits, so that their sum cannot overflow.
    Copy { offset: usize, len: usize },
    /// Bytes of the delta itself.
    Insert(&'a [u8]),
}

/// Takes one instruction off the front of `rest`, which is not empty.
pub(crate) fn take_instruction<'a>(rest: &mut &'a [u8]) -> Result<Instruction<'a>, &'static str> {
    let (&command, tail) = rest.split_first().ok_or("its delta is cut off")?;
    *rest = tail;
    if command & 0x80 != 0 {
        let offset = take_field(command, rest)?;
        let len = match take_field((command >> 4) & 0x07, rest)? {
            0 => 0x10000,
            len => len,
        };
        Ok(Instruction::Copy { offset, len })
    } else if command != 0 {
        let (bytes, tail) =
            rest.split_at_checked(usize::from(command)).ok_or("its delta is cut off")?;
        *rest = tail;
        Ok(Instruction::Insert(bytes))
    } else {
        Err("its delta has the reserved instruction")
    }
}

/// A little-endian number of which only the bytes named by the low four bits of `present` are
/// there.
fn take_field(present: u8, rest: &mut &[u8]) -> Result<usize, &'static str> {
    let mut value = 0usize;
    for index in 0..4 {
        if present & (1 << index) != 0 {
            let (&byte, tail) = rest.split_first().ok_or("its delta is cut off")?;
            *rest = tail;
            value |= usize::from(byte) << (8 * index);
        }
    }
    Ok(value)
}

/// Applies inflated delta instructions to `base`; the result must have exactly `len` bytes.
pub(crate) fn apply(base: &[u8], delta: &[u8], len: u64) -> Result<Vec<u8>, &'static str> {
    let mut out = Vec::new();
    apply_into(base, delta, len, &mut out)?;
    Ok(out)
}

/// As [`apply`], into `out`, which is cleared first.
pub(crate) fn apply_into(
    base: &[u8],
    delta: &[u8],
    len: u64,
    out: &mut Vec<u8>,
) -> Result<(), &'static str> {
    let (base_len, result_len, mut rest) = lengths(delta)?;
    if base_len != base.len() as u64 {
        return Err("its delta was made for another base");
    }
    if result_len != len {
        return Err("its delta has another length than its row");
    }
    let len = usize::try_from(len).map_err(|_| "it does not fit into memory")?;
    out.clear();
    out.try_reserve_exact(len).map_err(|_| "it does not fit into memory")?;
    while !rest.is_empty() {
        let piece = match take_instruction(&mut rest)? {
            Instruction::Copy { offset, len } => {
                base.get(offset..offset + len).ok_or("its delta copies from outside its base")?
            }
            Instruction::Insert(bytes) => bytes,
        };
        if out.len() + piece.len() > len {
            return Err("its delta yields more than announced");
        }
        out.extend_from_slice(piece);
    }
    if out.len() != len {
        return Err("its delta yields less than announced");
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write;

    use super::*;

    pub(crate) fn deflate(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::new(6));
        encoder.write_all(data).expect("memory");
        encoder.finish().expect("memory")
    }

    /// Ways to make `target` from `base`: with pieces of several lengths, copied when the base has
    /// them anywhere.
    pub(crate) fn deltas(base: &[u8], target: &[u8]) -> Vec<Vec<u8>> {
        let with = |piece_len: usize| {
            let mut out = Vec::new();
            crate::row::put_varint(&mut out, base.len() as u64);
            crate::row::put_varint(&mut out, target.len() as u64);
            for piece in target.chunks(piece_len) {
                match base.windows(piece.len()).position(|window| window == piece) {
                    Some(at) => out.extend([0x91, at as u8, piece.len() as u8]),
                    None => {
                        out.push(piece.len() as u8);
                        out.extend_from_slice(piece);
                    }
                }
            }
            out
        };
        [3, 17, 29, 31, 60, 100].map(with).to_vec()
    }

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
    }

    #[test]
    fn refuses_hostile_instructions() {
        let base = b"0123456789";
        assert_eq!(apply(base, b"\x0a\x03\x90\x03", 3).expect("copies"), b"012");
        assert_eq!(apply(base, b"\x0a\x04\x91\x08\x02\x02ab", 4).expect("mixes"), b"89ab");
        for (bad, len) in [
            (&b"\x0b\x03\x90\x03"[..], 3),
            (b"\x0a\x04\x90\x03", 3),
            (b"\x0a\x03\x90\x04", 3),
            (b"\x0a\x04\x90\x03", 4),
            (b"\x0a\x03\x91\x09\x03", 3),
            (b"\x0a\x03\x00", 3),
            (b"\x0a\x03\x05ab", 3),
            (b"\x0a\x03\xff\xff\xff\xff\xff\xff\xff\xff", 3),
            (b"\x0a\x03\x91", 3),
            (b"\x0a", 3),
        ] {
            assert!(apply(base, bad, len).is_err(), "{bad:?}");
        }
    }
}
