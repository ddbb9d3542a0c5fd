//! Git's delta instructions (gitformat-pack, "Deltified representation"), on bytes from outside: no
//! length that the input announces is trusted before it is checked.

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
#[inline]
pub(crate) fn take_instruction<'a>(rest: &mut &'a [u8]) -> Result<Instruction<'a>, &'static str> {
    let (&command, tail) = rest.split_first().ok_or("its delta is cut off")?;
    *rest = tail;
    if command & 0x80 != 0 {
        let (offset, len) = match tail.first_chunk() {
            Some(front) => take_both(command, front, rest),
            None => (take_field(command, rest)?, take_field((command >> 4) & 0x07, rest)?),
        };
        let len = if len == 0 { 0x10000 } else { len };
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

/// Offset and length of a copy, as [`take_field`] takes them, off the front of `rest`: without a
/// branch for each bit, which no processor foresees.
fn take_both(command: u8, front: &[u8; 8], rest: &mut &[u8]) -> (usize, usize) {
    let (mut at, mut fields) = (0, 0u64);
    for bit in 0..7 {
        let is_there = (command >> bit) & 1;
        fields |= u64::from(front[at & 7] * is_there) << (8 * bit);
        at += usize::from(is_there);
    }
    *rest = rest.get(at..).unwrap_or_default();
    ((fields & 0xffff_ffff) as usize, (fields >> 32) as usize)
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
    fn copies_are_read_the_same_near_the_end_and_far_from_it() {
        let fields = [0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77];
        for command in 0x80..=0xffu8 {
            let used = &fields[..(command & 0x7f).count_ones() as usize];
            let near = [&[command][..], used].concat();
            let far = [&near[..], &[0xee; 9]].concat();
            let take = |bytes: &[u8], left: usize| {
                let mut rest = bytes;
                let Ok(Instruction::Copy { offset, len }) = take_instruction(&mut rest) else {
                    panic!("a copy")
                };
                assert_eq!(rest.len(), left, "{command:x}");
                (offset, len)
            };
            assert_eq!(take(&near, 0), take(&far, 9), "{command:x}");
        }
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
