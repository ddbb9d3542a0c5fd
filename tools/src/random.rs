//! Deterministic random numbers for corpora and torture: the same seed gives the same bytes
//! everywhere.
//!
//! SplitMix64 (Steele, Lea, Flood 2014) for bits; normal values by a table of 65,537 quantiles,
//! interpolated, which is fast enough for gigabytes of weights. Not for anything that must not be
//! guessed.

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// Starts the stream of `seed`.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// Starts a stream of its own for `label`, so that what is made under one name never moves
    /// another.
    pub fn labelled(seed: u64, label: &str) -> Self {
        // FNV-1a over the label, then one step of the generator to spread it.
        let hash = label.bytes().fold(0xcbf2_9ce4_8422_2325 ^ seed, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        let mut random = Self::new(hash);
        random.next();
        random
    }

    /// Gives 64 random bits.
    #[expect(clippy::should_implement_trait, reason = "an endless stream is not an iterator")]
    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// Gives a number below `bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    /// Says yes once in `count` times.
    pub fn once_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    /// Fills `out` with random bytes.
    pub fn fill(&mut self, out: &mut [u8]) {
        for piece in out.chunks_mut(8) {
            let bits = self.next().to_le_bytes();
            piece.copy_from_slice(&bits[..piece.len()]);
        }
    }
}

/// Quantiles of the normal distribution with mean 0 and deviation 1.
pub struct Normal {
    quantiles: Vec<f32>,
}

impl Default for Normal {
    fn default() -> Self {
        Self::new()
    }
}

impl Normal {
    const STEPS: usize = 1 << 16;

    /// Computes the table: about a millisecond.
    pub fn new() -> Self {
        let step = 1.0 / Self::STEPS as f64;
        // The ends are infinite; a quarter step inside gives tails of 4.5 deviations.
        let point = |index: usize| (index as f64 * step).clamp(step / 4.0, 1.0 - step / 4.0);
        Self { quantiles: (0..=Self::STEPS).map(|index| quantile(point(index)) as f32).collect() }
    }

    /// Draws one value.
    pub fn draw(&self, random: &mut Random) -> f32 {
        let bits = random.next();
        let index = (bits >> 48) as usize;
        let fraction = (bits & 0xff_ffff) as f32 / (1 << 24) as f32;
        let low = self.quantiles[index];
        low + (self.quantiles[index + 1] - low) * fraction
    }
}

/// The normal quantile by Acklam's rational approximation: relative error below 1.2e-9.
fn quantile(p: f64) -> f64 {
    const A: [f64; 6] = [
        -39.69683028665376,
        220.9460984245205,
        -275.9285104469687,
        138.357751867269,
        -30.66479806614716,
        2.506628277459239,
    ];
    const B: [f64; 6] = [
        -54.47609879822406,
        161.5858368580409,
        -155.6989798598866,
        66.80131188771972,
        -13.28068155288572,
        1.0,
    ];
    const C: [f64; 6] = [
        -0.007784894002430293,
        -0.3223964580411365,
        -2.400758277161838,
        -2.549732539343734,
        4.374664141464968,
        2.938163982698783,
    ];
    const D: [f64; 5] =
        [0.007784695709041462, 0.3224671290700398, 2.445134137142996, 3.754408661907416, 1.0];
    let evaluate = |terms: &[f64], x: f64| terms.iter().fold(0.0, |sum, term| sum * x + term);
    let tail = |p: f64| {
        let q = (-2.0 * p.ln()).sqrt();
        evaluate(&C, q) / evaluate(&D, q)
    };
    if p < 0.02425 {
        tail(p)
    } else if p > 1.0 - 0.02425 {
        -tail(1.0 - p)
    } else {
        let q = p - 0.5;
        q * evaluate(&A, q * q) / evaluate(&B, q * q)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        assert_eq!(Random::new(0).next(), 0xe220_a839_7b1d_cdaf, "SplitMix64's first number");
        let mut a = Random::labelled(1, "a");
        let mut b = Random::labelled(1, "b");
        assert_ne!(a.next(), b.next());
        assert!((0..1000).all(|_| a.below(7) < 7));
        assert_eq!(a.below(0), 0);
    }

    #[test]
    fn normal_values_have_mean_zero_and_deviation_one() {
        let (normal, mut random) = (Normal::new(), Random::new(42));
        let values: Vec<f64> = (0..100_000).map(|_| f64::from(normal.draw(&mut random))).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64;
        assert!(mean.abs() < 0.02, "mean {mean}");
        assert!((variance - 1.0).abs() < 0.03, "variance {variance}");
        assert!(values.iter().all(|v| v.abs() < 4.6));
    }
}
