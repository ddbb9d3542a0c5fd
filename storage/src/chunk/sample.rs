//! Decides a chunk's codec from a sample of its bytes, at about one sixth of what encoding weights
//! costs.
//!
//! Two questions: how many bits a byte needs (its histogram's entropy, for the bytes together and
//! for each byte plane), and whether four-byte sequences come again (then a match search pays, as
//! in text). Where planes pay, one more: whether a byte needs fewer bits once the numbers are
//! rotated. The answer depends on the chunk alone, never on its neighbours, so that equal chunks
//! become equal rows.

use std::sync::LazyLock;

use super::planes::rotate;

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

/// Bits per byte that planes must gain by rotation: less is the sample's chance.
const ROTATION_GAIN_BITS: f32 = 0.02;

/// Slots of the table that remembers sequences.
const SEQUENCE_BITS: u32 = 10;

/// How a chunk is split into planes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Split {
    /// Bytes of a number, and planes: 2 or 4.
    pub(super) count: usize,
    /// Whether the numbers are rotated.
    pub(super) rotated: bool,
    /// Bytes before the first number, less than `count`.
    pub(super) phase: usize,
    /// The planes that are worth entropy coding (bit = index).
    pub(super) worth: u8,
}

/// What to do with a chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Plan {
    /// Keep it as it is.
    Raw,
    /// Entropy coding of the whole, no match search.
    Huffman,
    /// Match search and entropy coding of the whole.
    Zstd,
    /// Byte planes, entropy-coded.
    Planes(Split),
    /// As `Planes` and as `Zstd`: the sample cannot say which is smaller.
    PlanesOrZstd(Split),
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
    decide(plain, &histogram, sampled, repeated)
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

fn decide(plain: &[u8], histogram: &Histogram, sampled: usize, repeated: usize) -> Plan {
    let [a, b, c, d] = histogram;
    let whole = coded_bits(entropy_bits(&add(&add(a, b), &add(c, d))));
    let (two, four) = (plane_bits::<2>(histogram), plane_bits::<4>(histogram));
    // Fewer planes unless more of them gain: each coded plane costs its header and table.
    let by_four = mean_bits(&four) + PLANE_GAIN_BITS < mean_bits(&two);
    let gain = whole - if by_four { mean_bits(&four) } else { mean_bits(&two) };
    let split = || if by_four { split(plain, &four) } else { split(plain, &two) };
    if repeated * 50 > sampled {
        return match gain > PLANE_GAIN_OVER_MATCHES_BITS {
            true => Plan::PlanesOrZstd(split()),
            false => Plan::Zstd,
        };
    }
    if gain > PLANE_GAIN_BITS {
        Plan::Planes(split())
    } else if whole < FLAT_BITS {
        Plan::Huffman
    } else {
        Plan::Raw
    }
}

/// Decides whether the numbers are rotated. `planes` has the bits of each plane when they are not.
fn split<const N: usize>(plain: &[u8], planes: &[f32; N]) -> Split {
    // The exponent is in a number's last byte and has the fewest bits. Where another byte has
    // fewer it hardly varies, and then numbers that are taken to end there gain as much.
    let last = (0..N).min_by(|&a, &b| planes[a].total_cmp(&planes[b])).unwrap_or(0);
    let phase = (last + 1) % N;
    let rotated = rotated_bits::<N>(plain, phase);
    let gains = mean_bits(&rotated) + ROTATION_GAIN_BITS < mean_bits(planes);
    // Another plane to decode would cost more than so little gains.
    if gains && worth(&rotated).count_ones() <= worth(planes).count_ones() {
        Split { count: N, rotated: true, phase, worth: worth(&rotated) }
    } else {
        Split { count: N, rotated: false, phase: 0, worth: worth(planes) }
    }
}

/// Bits per byte of each plane, the numbers rotated.
fn rotated_bits<const N: usize>(plain: &[u8], phase: usize) -> [f32; N] {
    let mut histogram: Histogram = [[0; 256]; 4];
    let mut rotated = [0; PIECE_LEN];
    for piece in pieces(plain) {
        let (numbers, _) = piece.get(phase..).unwrap_or_default().as_chunks::<N>();
        for (out, number) in rotated.as_chunks_mut().0.iter_mut().zip(numbers) {
            *out = rotate(*number);
        }
        count_bytes(&rotated[..numbers.len() * N], &mut histogram);
    }
    plane_bits(&histogram)
}

/// Bits per byte of each of two or four planes.
fn plane_bits<const N: usize>(histogram: &Histogram) -> [f32; N] {
    std::array::from_fn(|index| match N {
        2 => entropy_bits(&add(&histogram[index], &histogram[index + 2])),
        _ => entropy_bits(&histogram[index]),
    })
}

/// The planes that are worth entropy coding.
fn worth(planes: &[f32]) -> u8 {
    planes.iter().enumerate().map(|(index, &bits)| u8::from(bits < FLAT_BITS) << index).sum()
}

/// Bits per byte of all planes together.
fn mean_bits(planes: &[f32]) -> f32 {
    planes.iter().copied().map(coded_bits).sum::<f32>() / planes.len() as f32
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
