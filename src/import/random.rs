//! Synthetic inputs: a small counter-based generator, the same numbers on every machine.

/// SplitMix64 (Steele, Lea & Flood, "Fast splittable pseudorandom number generators", 2014) as a
/// counter-based generator: number `i` of stream `key` needs no state.
#[derive(Clone, Copy, Debug)]
pub struct Random {
    key: u64,
    counter: u64,
}

impl Random {
    /// The stream of a seed and a name, so that one input's numbers don't depend on the others.
    pub fn new(seed: u64, name: &str) -> Self {
        let key = name.bytes().fold(mix(seed ^ 0x6365_7274_6966_7921), |k, b| mix(k ^ u64::from(b)));
        Random { key, counter: 0 }
    }

    /// 64 uniform bits.
    pub fn bits(&mut self) -> u64 {
        self.counter = self.counter.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.key.wrapping_add(self.counter))
    }

    /// Roughly N(0, 1) by Irwin–Hall: the sum of twelve uniforms on [0, 1) less 6. Only additions
    /// of 24-bit integers, so the value is exact and the same everywhere; |x| < 6.
    pub fn normal(&mut self) -> f32 {
        // Σ u_i − 6 with u_i = k_i·2^−24, in integers; the result is a multiple of 2^−20 after
        // dropping four bits, below 2^3 in magnitude: 23 bits, exact in binary32
        let sum: i64 = (0..12).map(|_| (self.bits() >> 40) as i64).sum();
        ((sum - (6 << 24)) >> 4) as f32 / (1 << 20) as f32
    }

    /// A uniform integer of 0 .. bound (exclusive); the bias is below 2^−32 for bounds below 2^32.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u64
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_reproducible_and_differ_by_name_and_seed() {
        let draw =
            |seed, name| (0..4).map(|_| 0).scan(Random::new(seed, name), |r, _| Some(r.bits())).collect::<Vec<_>>();
        assert_eq!(draw(1, "x"), draw(1, "x"));
        assert_ne!(draw(1, "x"), draw(2, "x"));
        assert_ne!(draw(1, "x"), draw(1, "y"));
    }

    #[test]
    fn normals_have_mean_zero_and_variance_one() {
        let mut r = Random::new(7, "x");
        let n = 100_000;
        let xs: Vec<f64> = (0..n).map(|_| f64::from(r.normal())).collect();
        let mean = xs.iter().sum::<f64>() / f64::from(n);
        let var = xs.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / f64::from(n);
        assert!(mean.abs() < 0.02 && (var - 1.0).abs() < 0.03, "{mean} {var}");
        assert!(xs.iter().all(|x| (x * f64::from(1 << 20)).fract() == 0.0 && x.abs() < 6.0));
    }

    #[test]
    fn bounded_integers_stay_below() {
        let mut r = Random::new(7, "y");
        let mut seen = [false; 10];
        (0..1000).for_each(|_| seen[r.below(10) as usize] = true);
        assert!(seen.iter().all(|&s| s));
    }
}
