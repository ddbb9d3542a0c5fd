//! Tests of cutting and coding.

use std::io::{self, Read};
use std::sync::Arc;

use proptest::prelude::*;

use super::chunker::{BufferPool, CHUNK_LEN_AVG, CHUNK_LEN_MAX, CHUNK_LEN_MIN, Chunker, RUN_LEN};
use super::codec::{decode, encode};
use super::samples;

const MIN: usize = CHUNK_LEN_MIN as usize;
const MAX: usize = CHUNK_LEN_MAX as usize;

/// Gives bytes out in pieces of odd lengths, interrupted now and then.
struct Trickle<'a> {
    rest: &'a [u8],
    numbers: samples::Numbers,
    piece_max: u64,
}

impl Read for Trickle<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let number = self.numbers.next();
        if number.is_multiple_of(7) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let len = (1 + number / 7 % self.piece_max) as usize;
        let len = len.min(out.len()).min(self.rest.len());
        let (piece, rest) = self.rest.split_at(len);
        out[..len].copy_from_slice(piece);
        self.rest = rest;
        Ok(len)
    }
}

/// Lengths of the chunks of a stream, which must hold `expected`.
fn cut_stream(input: impl Read, expected: &[u8]) -> Vec<usize> {
    let pool = Arc::new(BufferPool::default());
    let mut chunker = Chunker::new(input, &pool);
    let mut lens = Vec::new();
    let mut at = 0;
    while let Some(run) = chunker.next_run().expect("readable") {
        assert_eq!(run.ends.last(), Some(&run.bytes.len()));
        for chunk in run.chunks() {
            assert!(!chunk.is_empty());
            assert_eq!(chunk, &expected[at..at + chunk.len()]);
            at += chunk.len();
            lens.push(chunk.len());
        }
    }
    assert_eq!(at, expected.len());
    assert!(chunker.is_done());
    assert_eq!(chunker.read_len(), expected.len() as u64);
    lens
}

/// What the fastcdc crate makes of the whole at once.
fn cut_whole(bytes: &[u8]) -> Vec<usize> {
    fastcdc::v2020::FastCDC::new(bytes, MIN, CHUNK_LEN_AVG as usize, MAX)
        .map(|chunk| chunk.length)
        .collect()
}

#[test]
fn cuts_depend_on_the_bytes_alone() {
    let lens = [0, 1, MIN - 1, MIN, MIN + 1, MAX - 1, MAX, MAX + 1, MAX + MIN, 2 * MAX];
    let long = [RUN_LEN - 1, RUN_LEN, RUN_LEN + 1, RUN_LEN + MAX, 3 * RUN_LEN + 77];
    for len in lens.into_iter().chain(long) {
        for bytes in [samples::random(len, 1), vec![0; len], samples::text(len, 2)] {
            let expected = cut_whole(&bytes);
            assert_eq!(cut_stream(&bytes[..], &bytes), expected, "at once, {len}");
            for piece_max in [10_000, 1 << 20] {
                let numbers = samples::Numbers::new(len as u64);
                let trickle = Trickle { rest: &bytes, numbers, piece_max };
                assert_eq!(cut_stream(trickle, &bytes), expected, "in pieces, {len}");
            }
        }
    }
}

#[test]
fn cuts_stay_what_they_were() {
    // If these change, CHUNKER_ID must: files cut before would share nothing with files cut after.
    let bytes = samples::random(512 << 10, 11);
    assert_eq!(cut_stream(&bytes[..], &bytes), GOLDEN_CUTS);
}

const GOLDEN_CUTS: [usize; 6] = [79_890, 60_403, 112_664, 72_164, 96_547, 102_620];

#[test]
fn an_insertion_moves_few_cuts() {
    let bytes = samples::bf16(4 << 20, 3);
    let mut shifted = samples::random(333, 4);
    shifted.extend_from_slice(&bytes);
    let (before, after) = (cut_whole(&bytes), cut_stream(&shifted[..], &shifted));
    let common = before.iter().rev().zip(after.iter().rev()).take_while(|(a, b)| a == b).count();
    assert!(common + 4 > before.len(), "{common} of {}", before.len());
}

#[test]
fn a_failing_stream_fails_the_chunker() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _out: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::ConnectionReset.into())
        }
    }
    let bytes = samples::random(2 << 20, 5);
    let mut chunker = Chunker::new((&bytes[..]).chain(Broken), &Arc::default());
    assert!(chunker.next_run().expect("the first run is whole").is_some());
    let error = loop {
        match chunker.next_run() {
            Ok(run) => assert!(run.is_some(), "a broken stream has no end"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

fn row_of(plain: &[u8]) -> Vec<u8> {
    let mut row = b"before".to_vec();
    encode(plain, &mut row);
    let row = row.split_off(6);
    assert!(row.len() <= plain.len() + 1);
    let decoded = decode(&row, plain.len() as u32).expect("what was encoded can be decoded");
    assert!(decoded == plain, "{} bytes of codec {}", plain.len(), row[0]);
    row
}

/// The codec that was chosen, and stored over plain bytes.
fn outcome(plain: &[u8]) -> (u8, f64) {
    let row = row_of(plain);
    (row[0], row.len() as f64 / plain.len() as f64)
}

/// What a row says of its planes: whether numbers are rotated, from which byte, and which planes
/// are coded.
fn layout(plain: &[u8]) -> (bool, usize, u8) {
    let flags = row_of(plain)[1];
    (flags & 0x10 != 0, usize::from(flags >> 5), flags & 0x0f)
}

/// A row of `plain` in `count` planes, made by the letter of the format, without the encoder.
fn planes_by_hand(plain: &[u8], count: usize, flags: u8) -> Vec<u8> {
    let (head, numbers) = plain.split_at(usize::from(flags >> 5));
    let mut planes = vec![Vec::new(); count];
    for number in numbers.chunks(count) {
        let mut bytes = number.to_vec();
        if flags & 0x10 != 0 && number.len() == count {
            let wide = number.iter().rev().fold(0u64, |wide, byte| wide << 8 | u64::from(*byte));
            let turned = wide << 1 | wide >> (8 * count - 1);
            bytes.copy_from_slice(&turned.to_le_bytes()[..count]);
        }
        for (plane, byte) in planes.iter_mut().zip(bytes) {
            plane.push(byte);
        }
    }
    let mut row = [&[if count == 2 { 2 } else { 3 }, flags][..], head].concat();
    for (index, plane) in planes.iter().enumerate() {
        if flags & (1 << index) != 0 {
            let frame = zstd::bulk::compress(plane, 1).expect("compressed");
            row.extend_from_slice(&(frame.len() as u32).to_be_bytes());
            row.extend_from_slice(&frame);
        } else {
            row.extend_from_slice(plane);
        }
    }
    row
}

#[test]
fn every_kind_of_content_comes_back() {
    let lens = [1, 2, 3, 4, 5, 63, 64, 1000, 4095, 4096, 4097, 5001, MIN, 65_535, 65_536, MAX];
    for len in lens {
        let kinds = [
            samples::random(len, 1),
            samples::text(len, 2),
            samples::bf16(len, 3),
            samples::fp16(len, 4),
            samples::fp32(len, 5),
            vec![0; len],
            vec![0xff; len],
            (0..len).map(|i| (i % 251) as u8).collect(),
            (0..len).map(|i| if i % 4 == 0 { (i / 4) as u8 } else { 0 }).collect(),
        ];
        for plain in kinds {
            row_of(&plain);
        }
    }
}

#[test]
fn content_gets_the_codec_that_suits_it() {
    const LEN: usize = 80_001;
    assert_eq!(outcome(&samples::random(LEN, 1)).0, 0);
    let (codec, ratio) = outcome(&samples::text(LEN, 2));
    assert!(codec == 1 && ratio < 0.3, "text: {codec}, {ratio}");
    let (codec, ratio) = outcome(&vec![0; LEN]);
    assert!(codec == 1 && ratio < 0.01, "zeros: {codec}, {ratio}");
    // Chunks are cut at any byte: the exponent may lie in any plane.
    for phase in 0..4 {
        let (codec, ratio) = outcome(&samples::bf16(LEN + phase, 3)[phase..]);
        assert!(codec == 2 && ratio < 0.67, "bf16 from {phase}: {codec}, {ratio}");
        let (codec, ratio) = outcome(&samples::fp16(LEN + phase, 3)[phase..]);
        assert!(codec == 2 && ratio < 0.86, "fp16 from {phase}: {codec}, {ratio}");
        let (codec, ratio) = outcome(&samples::fp32(LEN + phase, 3)[phase..]);
        assert!(codec == 3 && ratio < 0.84, "fp32 from {phase}: {codec}, {ratio}");
    }
    // Half zeros, half weights: the sample sees both.
    let mut sparse = samples::bf16(LEN, 6);
    for (index, pair) in sparse.chunks_mut(2).enumerate() {
        if index / 64 % 2 == 0 {
            pair.fill(0);
        }
    }
    let (codec, ratio) = outcome(&sparse);
    assert!(ratio < 0.42, "sparse: {codec}, {ratio}");
}

#[test]
fn weights_are_rotated_from_their_first_number() {
    for cut in 0..4 {
        let bf16 = &samples::bf16(80_001, 3)[cut..];
        assert_eq!(layout(bf16), (true, cut % 2, 0b10), "bf16 cut at {cut}");
        let fp32 = &samples::fp32(80_001, 3)[cut..];
        assert_eq!(layout(fp32), (true, (4 - cut) % 4, 0b1000), "fp32 cut at {cut}");
        // The exponent of fp16 is shorter: a rotation would bring nothing together.
        let fp16 = &samples::fp16(80_001, 3)[cut..];
        assert_eq!(layout(fp16), (false, 0, 0b10 >> (cut % 2)), "fp16 cut at {cut}");
    }
    // bf16 made wide: rotated, the signs would be one more plane to decode.
    let bf16 = samples::bf16(40_000, 3);
    let wide: Vec<u8> = bf16.as_chunks::<2>().0.iter().flat_map(|&[a, b]| [0, 0, a, b]).collect();
    assert_eq!(layout(&wide), (false, 0, 0b1011));
}

#[test]
fn planes_of_every_layout_and_length_can_be_read() {
    for count in [2, 4] {
        for len in 1..=64 {
            let plain = samples::random(len, len as u64);
            for flags in 0..=u8::MAX {
                let (phase, coded) = (usize::from(flags >> 5), flags & 0x0f);
                let right = phase < count && phase <= len && coded >> count == 0;
                let row = planes_by_hand(&plain, count, if right { flags } else { 0 });
                if right {
                    let decoded = decode(&row, len as u32).expect("decoded");
                    assert!(decoded == plain, "{count} planes, {len} bytes, flags {flags:#x}");
                }
                // Another byte of flags, too few bytes, too many: refused or read, never a panic.
                for cut in 0..row.len().min(16) {
                    let mut other = row[..row.len() - cut].to_vec();
                    if let Some(byte) = other.get_mut(1) {
                        *byte = flags;
                    }
                    if let Ok(decoded) = decode(&other, len as u32) {
                        assert_eq!(decoded.len(), len);
                    }
                }
            }
        }
    }
}

#[test]
fn malformed_rows_are_refused_by_name() {
    let refused = |row: &[u8], len: u32| decode(row, len).expect_err("refused");
    let max = CHUNK_LEN_MAX;
    assert_eq!(refused(&[0], 0), "no chunk has this length");
    assert_eq!(refused(&vec![0; MAX + 2], max + 1), "no chunk has this length");
    assert!(decode(&vec![0; MAX + 1], max).is_ok());
    assert_eq!(refused(&[], 5), "the row is empty");
    assert_eq!(refused(b"\0hell", 5), "the row has another length than the chunk");
    assert_eq!(refused(b"\0hello!", 5), "the row has another length than the chunk");
    assert_eq!(refused(b"\x04hello", 5), "the codec is unknown");
    assert_eq!(refused(b"\x01hello", 5), "the zstd frame is broken");
    let zeros = zstd::bulk::compress(&[0; 1000], 1).expect("compressed");
    let row = [&[1][..], &zeros].concat();
    assert!(decode(&row, 1000).is_ok());
    assert_eq!(refused(&row, 999), "the zstd frame is broken");
    assert_eq!(refused(&row, 1001), "the zstd frame has another length than the chunk");
    assert_eq!(refused(&[2], 5), "the row ends before its planes");
    assert_eq!(refused(&[2, 4, 0, 0, 0], 5), "the row names a plane that there is not");
    assert_eq!(refused(&[2, 0, 0, 0, 0], 5), "the row ends in a plane");
    assert_eq!(refused(&[2, 1, 0, 0, 0], 5), "the row ends in a plane's length");
    assert_eq!(refused(&[2, 1, 0xff, 0xff, 0xff, 0xff, 0], 5), "the row ends in a plane");
    assert_eq!(refused(&[2, 1, 0, 0, 0, 1, 9, 9, 9], 5), "a plane's zstd frame is broken");
    assert_eq!(refused(&[3, 0, 1, 2, 3, 4, 5, 6], 5), "bytes follow the last plane");
    assert_eq!(refused(&[2, 0x40, 1, 2, 3], 3), "the row names a phase that there is not");
    assert_eq!(refused(&[3, 0x80, 1, 2, 3], 3), "the row names a phase that there is not");
    assert_eq!(refused(&[3, 0x60, 1, 2], 2), "the first number lies behind the chunk's end");
    assert_eq!(refused(&[3, 0x60, 1, 2], 3), "the row ends before its planes");
    assert_eq!(refused(&[3, 0x70, 1, 2, 3, 4], 3), "bytes follow the last plane");
    assert_eq!(&decode(&[3, 0x70, 1, 2, 3], 3).expect("decoded")[..], [1, 2, 3]);
    assert_eq!(&decode(&[2, 0x30, 1, 0x81, 2], 3).expect("decoded")[..], [1, 0x40, 0x81]);
    assert_eq!(&decode(&[3, 0, 1, 5, 2, 3, 4], 5).expect("decoded")[..], [1, 2, 3, 4, 5]);
}

#[test]
fn a_bomb_is_not_inflated() {
    // 64 MiB of zeros in a row of a few kilobytes.
    let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 3).expect("compressed");
    let row = [&[1][..], &bomb].concat();
    assert_eq!(decode(&row, CHUNK_LEN_MAX), Err("the zstd frame is broken"));
    let len = (bomb.len() as u32).to_be_bytes();
    let row = [&[2, 1][..], &len, &bomb, &[0; 1000]].concat();
    assert_eq!(decode(&row, 2000), Err("a plane's zstd frame is broken"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_row_is_decoded_or_refused(
        codec in 0u8..5,
        payload in prop::collection::vec(any::<u8>(), 0..200),
        len in 0u32..400,
    ) {
        let row = [&[codec][..], &payload].concat();
        if let Ok(plain) = decode(&row, len) {
            prop_assert_eq!(plain.len(), len as usize);
        }
    }

    #[test]
    fn any_planes_are_decoded_or_refused(
        codec in 2u8..4,
        flags in any::<u8>(),
        coded_len in 0u32..40,
        payload in prop::collection::vec(any::<u8>(), 0..80),
        len in 1u32..64,
    ) {
        let bytes = [&[codec, flags][..], &coded_len.to_be_bytes(), &payload].concat();
        for row in [bytes.clone(), [&bytes[..2], &bytes[6..]].concat()] {
            if let Ok(plain) = decode(&row, len) {
                prop_assert_eq!(plain.len(), len as usize);
            }
        }
    }

    #[test]
    fn planes_made_by_the_letter_are_read(
        plain in prop::collection::vec(any::<u8>(), 1..3000),
        four in any::<bool>(),
        flags in 0u8..128,
    ) {
        let count = if four { 4 } else { 2 };
        let phase = usize::from(flags >> 5) % count;
        prop_assume!(phase <= plain.len());
        let flags = flags & 0x10 | (phase as u8) << 5 | flags & ((1 << count) - 1);
        let row = planes_by_hand(&plain, count, flags);
        prop_assert_eq!(&decode(&row, plain.len() as u32).expect("decoded")[..], &plain);
    }

    #[test]
    fn a_changed_row_is_decoded_or_refused(
        kind in 0usize..4,
        len in 1usize..20_000,
        at in any::<prop::sample::Index>(),
        change in 1u8..,
        cut in any::<prop::sample::Index>(),
    ) {
        let plain = match kind {
            0 => samples::text(len, 1),
            1 => samples::bf16(len, 2),
            2 => samples::fp32(len, 3),
            _ => samples::random(len, 4),
        };
        let row = row_of(&plain);
        let mut changed = row.clone();
        changed[at.index(row.len())] ^= change;
        for bad in [&changed[..], &row[..cut.index(row.len())]] {
            if let Ok(plain) = decode(bad, len as u32) {
                prop_assert_eq!(plain.len(), len);
            }
        }
    }
}
