//! Test data that is the same on every machine: bytes that look like weights, text, and noise.

use std::fmt::Write as _;

/// A small generator of numbers (xorshift64*).
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number of about the normal distribution with deviation 0.02, as weights have: a sum of
    /// twelve uniforms.
    pub(crate) fn weight(&mut self) -> f32 {
        let mut sum = 0;
        for _ in 0..6 {
            let bits = self.next();
            sum += (bits & 0xffff_ffff) + (bits >> 32);
        }
        ((sum as f64 / 4_294_967_296.0 - 6.0) * 0.02) as f32
    }
}

/// Noise.
pub(crate) fn random(len: usize, seed: u64) -> Vec<u8> {
    let mut numbers = Numbers::new(seed);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend_from_slice(&numbers.next().to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Normal weights as bf16 (rounded to even).
pub(crate) fn bf16(len: usize, seed: u64) -> Vec<u8> {
    weights(len, seed, |weight| {
        let bits = weight.to_bits();
        (((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16).to_le_bytes()
    })
}

/// Normal weights as IEEE half precision (cut off, subnormals as zero).
pub(crate) fn fp16(len: usize, seed: u64) -> Vec<u8> {
    weights(len, seed, |weight| {
        let bits = weight.to_bits();
        let exponent = (bits >> 23 & 0xff) as i32 - 112;
        let half = if exponent <= 0 { 0 } else { (exponent as u32) << 10 | (bits >> 13 & 0x3ff) };
        ((bits >> 16 & 0x8000 | half) as u16).to_le_bytes()
    })
}

/// Normal weights as fp32.
pub(crate) fn fp32(len: usize, seed: u64) -> Vec<u8> {
    weights(len, seed, f32::to_le_bytes)
}

fn weights<const N: usize>(len: usize, seed: u64, bytes_of: impl Fn(f32) -> [u8; N]) -> Vec<u8> {
    let mut numbers = Numbers::new(seed);
    let mut bytes = Vec::with_capacity(len + N);
    while bytes.len() < len {
        bytes.extend_from_slice(&bytes_of(numbers.weight()));
    }
    bytes.truncate(len);
    bytes
}

/// Lines that look like a program's log.
pub(crate) fn text(len: usize, seed: u64) -> Vec<u8> {
    const WORDS: [&str; 8] =
        ["loss", "step", "gradient", "layer", "attention", "token", "epoch", "rate"];
    let mut numbers = Numbers::new(seed);
    let mut text = String::with_capacity(len + 64);
    while text.len() < len {
        let number = numbers.next();
        let word = WORDS[(number & 7) as usize];
        let other = WORDS[(number >> 3 & 7) as usize];
        writeln!(text, "{word} of the {other} is {}", number >> 40).expect("a string takes all");
    }
    text.truncate(len);
    text.into_bytes()
}
