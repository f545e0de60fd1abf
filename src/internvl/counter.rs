//! Random numbers addressed by position (`SplitMix64`): the same in any order and on any number of
//! threads.

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}

/// One stream of random numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counter(u64);

impl Counter {
    pub fn new(seed: u64, stream: u64) -> Self {
        Self(mix(seed ^ mix(stream.wrapping_add(STEP))))
    }

    /// Returns the 64 random bits at a position.
    pub fn bits(self, place: u64) -> u64 {
        mix(self.0.wrapping_add(place.wrapping_mul(STEP)))
    }

    /// Returns the uniform number at a position, strictly between 0 and 1.
    pub fn uniform(self, place: u64) -> f64 {
        ((self.bits(place) >> 11) as f64 + 0.5) * 2f64.powi(-53)
    }

    /// Returns the standard normal number at a position (Box–Muller transform).
    pub fn normal(self, place: u64) -> f64 {
        let (radius, angle) = (self.uniform(2 * place), self.uniform(2 * place + 1));
        (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
    }
}
