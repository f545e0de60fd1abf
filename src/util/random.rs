//! Counter-based random numbers: number `i` of a stream depends on the stream's key and on `i`
//! only.
//!
//! Streams can therefore be read in any order and on any number of threads. The generator is
//! `SplitMix64` (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
//! Numbers that must equal `CPython`'s, as MM-PRM's data sampling draws them, come from
//! [`compat::random`](crate::compat::random) instead.
//!
//! ```
//! use mmprm::util::random::CounterStream;
//! let stream = CounterStream::new(42);
//! let forward: Vec<f64> = (0..3).map(|i| stream.uniform(i)).collect();
//! let backward: Vec<f64> = (0..3).rev().map(|i| stream.uniform(i)).collect();
//! assert!(forward.iter().eq(backward.iter().rev()));
//! assert_eq!(CounterStream::new(0).bits(0), 0xe220_a839_7b1d_cdaf);
//! ```

pub use mmprm_quant::random::{STEP, finalise, mix};

/// A stream of random numbers, addressed by position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CounterStream(u64);

impl CounterStream {
    /// Returns the stream of this key; use [`mix`] to combine several values into a key.
    pub fn new(key: u64) -> Self {
        Self(key)
    }

    /// Returns the 64 random bits at `position`.
    pub fn bits(self, position: u64) -> u64 {
        mix(self.0.wrapping_add(position.wrapping_mul(STEP)))
    }

    /// Returns the uniform number in `[0, 1)` at `position`, with 53 random bits.
    pub fn uniform(self, position: u64) -> f64 {
        (self.bits(position) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_splitmix64_of_its_key() {
        // The first outputs of the published generator for seed 1234567.
        let expected: [u64; 3] = [6457827717110365317, 3203168211198807973, 9817491932198370423];
        let stream = CounterStream::new(1_234_567);
        assert_eq!([0, 1, 2].map(|position| stream.bits(position)), expected);
    }

    #[test]
    fn uniform_numbers_fill_the_unit_interval() {
        let numbers: Vec<f64> = (0..10_000).map(|position| CounterStream::new(3).uniform(position)).collect();
        assert!(numbers.iter().all(|number| (0.0..1.0).contains(number)));
        let mean = numbers.iter().sum::<f64>() / numbers.len() as f64;
        assert!((mean - 0.5).abs() < 0.01, "{mean}");
    }
}
