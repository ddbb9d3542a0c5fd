//! Decides a chunk's codec from a sample of its bytes, at about one hundredth of what encoding
//! costs.
//!
//! Two questions: how many bits a byte needs (its histogram's entropy, for the bytes together and
//! for each byte plane), and whether four-byte sequences come again (then a match search pays, as
//! in text). The answer depends on the chunk alone, never on its neighbours, so that equal chunks
//! become equal rows.

use std::sync::LazyLock;

/// The sample: this many pieces at even distances, each long enough to show repetition.
const PIECE_COUNT: usize = 4;
const PIECE_LEN: usize = 1 << 10;
const SAMPLE_LEN: usize = PIECE_COUNT * PIECE_LEN;

/// Bits per byte from which coding is not tried: it would save less than 2 %.
const FLAT_BITS: f32 = 7.85;

/// Bits per byte that planes must gain over the whole to be worth their splitting and merging.
const PLANE_GAIN_BITS: f32 = 0.15;

/// Bits per byte that planes must gain before they are tried against a match search.
const PLANE_GAIN_OVER_MATCHES_BITS: f32 = 0.5;

/// Slots of the table that remembers sequences.
const SEQUENCE_BITS: u32 = 10;

/// What to do with a chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Plan {
    /// Keep it as it is.
    Raw,
    /// Entropy coding of the whole, no match search.
    Huffman,
    /// Match search and entropy coding of the whole.
    Zstd,
    /// Byte planes, of which those in `coded` (bit = index) are worth entropy coding.
    Planes { count: usize, coded: u8 },
    /// As `Planes` and as `Zstd`: the sample cannot say which is smaller.
    PlanesOrZstd { count: usize, coded: u8 },
}

/// Counts of each byte value, by position modulo four.
type Histogram = [[u16; 256]; 4];

/// `n * log2(n)` for every count that a sample can give.
static N_LOG_N: LazyLock<Vec<f32>> = LazyLock::new(|| {
    (0..=SAMPLE_LEN).map(|n| if n == 0 { 0.0 } else { n as f32 * (n as f32).log2() }).collect()
});

/// Decides for one chunk.
pub(super) fn plan(plain: &[u8]) -> Plan {
    let mut histogram: Histogram = [[0; 256]; 4];
    let mut sequences = [0u32; 1 << SEQUENCE_BITS];
    let mut sampled = 0;
    let mut repeated = 0;
    for piece in pieces(plain) {
        sampled += piece.len();
        count_bytes(piece, &mut histogram);
        repeated += count_repeats(piece, &mut sequences);
    }
    decide(&histogram, sampled, repeated)
}

/// The pieces of the sample; each starts at a multiple of four, so that positions modulo four mean
/// the same in all.
fn pieces(plain: &[u8]) -> impl Iterator<Item = &[u8]> {
    let step = if plain.len() <= SAMPLE_LEN {
        PIECE_LEN
    } else {
        ((plain.len() - PIECE_LEN) / (PIECE_COUNT - 1)) & !3
    };
    (0..PIECE_COUNT).filter_map(move |index| {
        let rest = plain.get(index * step..)?;
        Some(rest.get(..PIECE_LEN).unwrap_or(rest))
    })
}

fn count_bytes(piece: &[u8], histogram: &mut Histogram) {
    let (fours, tail) = piece.as_chunks::<4>();
    let [a, b, c, d] = histogram;
    for four in fours {
        a[usize::from(four[0])] += 1;
        b[usize::from(four[1])] += 1;
        c[usize::from(four[2])] += 1;
        d[usize::from(four[3])] += 1;
    }
    for (plane, byte) in [a, b, c].into_iter().zip(tail) {
        plane[usize::from(*byte)] += 1;
    }
}

/// Positions whose four bytes stood in the slot of their hash already.
fn count_repeats(piece: &[u8], sequences: &mut [u32; 1 << SEQUENCE_BITS]) -> usize {
    let mut repeated = 0;
    for four in piece.windows(4) {
        let four = u32::from_le_bytes([four[0], four[1], four[2], four[3]]);
        // Zero is the empty slot's value; adding one keeps runs of zeros countable.
        let value = four.wrapping_add(1);
        let slot = (value.wrapping_mul(0x9E37_79B1) >> (32 - SEQUENCE_BITS)) as usize;
        repeated += usize::from(sequences[slot] == value);
        sequences[slot] = value;
    }
    repeated
}

fn decide(histogram: &Histogram, sampled: usize, repeated: usize) -> Plan {
    let [a, b, c, d] = histogram.each_ref().map(entropy_bits);
    let even = add(&histogram[0], &histogram[2]);
    let odd = add(&histogram[1], &histogram[3]);
    let two = [entropy_bits(&even), entropy_bits(&odd)];
    let four = [a, b, c, d];
    let whole = coded_bits(entropy_bits(&add(&even, &odd)));
    let two_bits = two.map(coded_bits).iter().sum::<f32>() / 2.0;
    let four_bits = four.map(coded_bits).iter().sum::<f32>() / 4.0;
    // Fewer planes unless more of them gain: each coded plane costs its header and table.
    let (plane_bits, count, planes) = if four_bits + PLANE_GAIN_BITS < two_bits {
        (four_bits, 4, &four[..])
    } else {
        (two_bits, 2, &two[..])
    };
    let coded = planes
        .iter()
        .enumerate()
        .map(|(index, &bits)| u8::from(bits < FLAT_BITS) << index)
        .sum::<u8>();
    if repeated * 50 > sampled {
        return if plane_bits + PLANE_GAIN_OVER_MATCHES_BITS < whole {
            Plan::PlanesOrZstd { count, coded }
        } else {
            Plan::Zstd
        };
    }
    if plane_bits + PLANE_GAIN_BITS < whole {
        Plan::Planes { count, coded }
    } else if whole < FLAT_BITS {
        Plan::Huffman
    } else {
        Plan::Raw
    }
}

fn add(a: &[u16; 256], b: &[u16; 256]) -> [u16; 256] {
    std::array::from_fn(|index| a[index] + b[index])
}

/// What coding at `bits` per byte costs: flat bytes are kept as they are.
fn coded_bits(bits: f32) -> f32 {
    if bits < FLAT_BITS { bits } else { 8.0 }
}

/// Entropy of a histogram in bits per byte, corrected for the sample's smallness (Miller and
/// Madow).
fn entropy_bits(counts: &[u16; 256]) -> f32 {
    let table = &**N_LOG_N;
    let mut total = 0usize;
    let mut sum = 0.0;
    let mut seen = 0u32;
    for &count in counts {
        total += usize::from(count);
        sum += table[usize::from(count)];
        seen += u32::from(count > 0);
    }
    if total == 0 {
        return 0.0;
    }
    let correction = (seen as f32 - 1.0) * std::f32::consts::LOG2_E / 2.0;
    (table[total] - sum + correction) / total as f32
}
