//! A chunk's row in the family `chunk`: one codec byte, then the payload. `storage/README.md` gives
//! it byte by byte.
//!
//! Weights do not repeat, so searching them for matches is wasted; but the bytes that hold their
//! exponents are few different ones. Split into byte planes, with the exponent's bits brought
//! together in one of them, and entropy-coded, bf16 shrinks to 0.66 where plain zstd reaches 0.78.
//! Coded planes are ordinary zstd frames without matches, so that any zstd decoder reads them.
//!
//! Promises: a row is never longer than the chunk and one byte. Decoding never allocates more than
//! the expected length and two buffers of [`CHUNK_LEN_MAX`] per thread, and never panics, whatever
//! the row holds.

use std::cell::RefCell;

use bytes::Bytes;
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::{CParameter, ParamSwitch, compress_bound};

use super::CHUNK_LEN_MAX;
use super::planes::{merge, plane_len, split};
use super::sample::{Plan, Split, plan};

/// The set of codecs below, named in a file's head.
pub(crate) const CODEC_VERSION: u8 = 1;

const RAW: u8 = 0;
const ZSTD: u8 = 1;
const PLANES_2: u8 = 2;
const PLANES_4: u8 = 3;

/// Level of the match search for text-like chunks: source code is 5 % smaller than at level 1 and
/// costs 25 % more.
const ZSTD_LEVEL: i32 = 3;

/// A level whose match search skips nearly everything: with literal compression forced this is
/// Huffman coding alone, smaller on exponents than levels 1 or 3, which take chance repetitions for
/// matches.
const HUFFMAN_LEVEL: i32 = -1000;

/// In the byte that says which planes are coded: their numbers are rotated.
const ROTATED: u8 = 1 << 4;

/// In that byte, the lowest bit of the phase: how many bytes stand before the first number.
const PHASE_SHIFT: u32 = 5;

/// Bytes of a coded plane's length in the payload.
const PLANE_LEN_BYTES: usize = 4;

/// Contexts and buffers of one thread. Making a zstd context costs more than coding a chunk.
struct Coder {
    zstd: Compressor<'static>,
    huffman: Compressor<'static>,
    decoder: Decompressor<'static>,
    planes: Vec<u8>,
    coded: Vec<u8>,
}

thread_local! {
    static CODER: RefCell<Option<Coder>> = const { RefCell::new(None) };
}

impl Coder {
    fn new() -> Self {
        let mut huffman = Compressor::new(HUFFMAN_LEVEL).expect("zstd takes any level");
        huffman
            .set_parameter(CParameter::LiteralCompressionMode(ParamSwitch::Enable))
            .expect("a parameter of the zstd that is linked in");
        Self {
            zstd: Compressor::new(ZSTD_LEVEL).expect("zstd takes any level"),
            huffman,
            decoder: Decompressor::new().expect("an empty dictionary is accepted"),
            planes: vec![0; CHUNK_LEN_MAX as usize],
            coded: Vec::with_capacity(compress_bound(CHUNK_LEN_MAX as usize)),
        }
    }
}

fn with_coder<T>(action: impl FnOnce(&mut Coder) -> T) -> T {
    CODER.with_borrow_mut(|coder| action(coder.get_or_insert_with(Coder::new)))
}

/// Appends the row of a chunk to `row`.
pub(crate) fn encode(plain: &[u8], row: &mut Vec<u8>) {
    assert!(plain.len() <= CHUNK_LEN_MAX as usize, "the chunker cuts before");
    let start = row.len();
    let coded = match plan(plain) {
        Plan::Raw => false,
        Plan::Huffman => {
            with_coder(|coder| whole(&mut coder.huffman, &mut coder.coded, plain, row))
        }
        Plan::Zstd => with_coder(|coder| whole(&mut coder.zstd, &mut coder.coded, plain, row)),
        Plan::Planes(split) => with_coder(|coder| planes(coder, plain, split, row)),
        Plan::PlanesOrZstd(split) => with_coder(|coder| {
            let split = planes(coder, plain, split, row);
            let split_len = if split { row.len() - start } else { plain.len() + 1 };
            let Coder { zstd, coded, .. } = coder;
            if zstd_len(zstd, coded, plain).is_some_and(|len| len + 1 < split_len) {
                row.truncate(start);
                row.push(ZSTD);
                row.extend_from_slice(coded);
                return true;
            }
            split
        }),
    };
    if !coded {
        row.truncate(start);
        row.push(RAW);
        row.extend_from_slice(plain);
    }
}

/// Appends the row of codec 1; says whether it is smaller than the plain bytes.
fn whole(zstd: &mut Compressor<'_>, coded: &mut Vec<u8>, plain: &[u8], row: &mut Vec<u8>) -> bool {
    if zstd_len(zstd, coded, plain).is_none_or(|len| len >= plain.len()) {
        return false;
    }
    row.push(ZSTD);
    row.extend_from_slice(coded);
    true
}

/// Compresses `plain` into `coded`, replacing what it held; returns the length.
fn zstd_len(zstd: &mut Compressor<'_>, coded: &mut Vec<u8>, plain: &[u8]) -> Option<usize> {
    coded.clear();
    // It fails only for want of room, and `coded` has room for the worst case. If it did, raw is
    // right.
    zstd.compress_to_buffer(plain, coded).ok()
}

/// Appends the row of codecs 2 and 3; says whether it is smaller than the plain bytes. Of the
/// planes, only those worth coding are tried.
fn planes(coder: &mut Coder, plain: &[u8], by: Split, row: &mut Vec<u8>) -> bool {
    let start = row.len();
    let Split { count, rotated, phase, worth } = by;
    let Some((head, numbers)) = plain.split_at_checked(phase) else { return false };
    let buffer = &mut coder.planes[..numbers.len()];
    split(numbers, count, rotated, buffer);
    row.push(if count == 2 { PLANES_2 } else { PLANES_4 });
    row.push(0);
    row.extend_from_slice(head);
    let mut taken = 0u8;
    let mut rest = &coder.planes[..numbers.len()];
    for index in 0..count {
        let (plane, after) = rest.split_at(plane_len(numbers.len(), count, index));
        rest = after;
        let coded_len = if worth & (1 << index) == 0 {
            None
        } else {
            zstd_len(&mut coder.huffman, &mut coder.coded, plane)
        };
        match coded_len {
            Some(len) if len + PLANE_LEN_BYTES < plane.len() => {
                taken |= 1 << index;
                row.extend_from_slice(&(len as u32).to_be_bytes());
                row.extend_from_slice(&coder.coded);
            }
            _ => row.extend_from_slice(plane),
        }
    }
    let turned = if rotated { ROTATED } else { 0 };
    row[start + 1] = taken | turned | (phase as u8) << PHASE_SHIFT;
    taken != 0 && row.len() - start < plain.len()
}

/// Reads a row back. `len` is the chunk's length as the manifest gives it.
///
/// # Errors
/// What is wrong with the row. The content is not checked against the chunk's hash here.
#[deny(clippy::indexing_slicing)]
pub(crate) fn decode(row: &[u8], len: u32) -> Result<Bytes, &'static str> {
    let (&codec, payload) = row.split_first().ok_or("the row is empty")?;
    decode_payload(codec, payload, len)
}

/// As [`decode`], for a row whose codec byte is not in front of the rest.
///
/// # Errors
/// As [`decode`].
#[deny(clippy::indexing_slicing)]
pub(crate) fn decode_payload(codec: u8, payload: &[u8], len: u32) -> Result<Bytes, &'static str> {
    if len == 0 || len > CHUNK_LEN_MAX {
        return Err("no chunk has this length");
    }
    let len = len as usize;
    match codec {
        RAW if payload.len() == len => Ok(Bytes::copy_from_slice(payload)),
        RAW => Err("the row has another length than the chunk"),
        ZSTD => {
            let mut plain = Vec::with_capacity(len);
            with_coder(|coder| coder.decoder.decompress_to_buffer(payload, &mut plain))
                .map_err(|_| "the zstd frame is broken")?;
            if plain.len() != len {
                return Err("the zstd frame has another length than the chunk");
            }
            Ok(plain.into())
        }
        PLANES_2 => with_coder(|coder| decode_planes::<2>(coder, payload, len)),
        PLANES_4 => with_coder(|coder| decode_planes::<4>(coder, payload, len)),
        _ => Err("the codec is unknown"),
    }
}

#[deny(clippy::indexing_slicing)]
fn decode_planes<const N: usize>(
    coder: &mut Coder,
    payload: &[u8],
    len: usize,
) -> Result<Bytes, &'static str> {
    let (&flags, rest) = payload.split_first().ok_or("the row ends before its planes")?;
    let (coded, phase) = (flags & (ROTATED - 1), usize::from(flags >> PHASE_SHIFT));
    if coded >> N != 0 {
        return Err("the row names a plane that there is not");
    }
    if phase >= N {
        return Err("the row names a phase that there is not");
    }
    let numbers_len =
        len.checked_sub(phase).ok_or("the first number lies behind the chunk's end")?;
    let (head, mut rest) = rest.split_at_checked(phase).ok_or("the row ends before its planes")?;
    let mut planes: [&[u8]; N] = [&[]; N];
    let mut buffer = coder.planes.get_mut(..numbers_len).ok_or("no chunk has this length")?;
    for (index, slot) in planes.iter_mut().enumerate() {
        let (plane, after) = buffer.split_at_mut(plane_len(numbers_len, N, index));
        buffer = after;
        if coded & (1 << index) == 0 {
            (*slot, rest) = rest.split_at_checked(plane.len()).ok_or("the row ends in a plane")?;
            continue;
        }
        let (coded_len, after) = rest
            .split_first_chunk::<PLANE_LEN_BYTES>()
            .ok_or("the row ends in a plane's length")?;
        let (frame, after) = after
            .split_at_checked(u32::from_be_bytes(*coded_len) as usize)
            .ok_or("the row ends in a plane")?;
        rest = after;
        let written = coder.decoder.decompress_to_buffer(frame, plane);
        if written.map_err(|_| "a plane's zstd frame is broken")? != plane.len() {
            return Err("a plane's zstd frame has another length than the plane");
        }
        *slot = plane;
    }
    if !rest.is_empty() {
        return Err("bytes follow the last plane");
    }
    let mut plain = vec![0; len];
    let (start, numbers) = plain.split_at_mut_checked(phase).ok_or("no chunk has this length")?;
    start.copy_from_slice(head);
    merge(&planes, flags & ROTATED != 0, numbers);
    Ok(plain.into())
}
