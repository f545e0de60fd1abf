//! The `SplitMix64` mixing functions (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014), for this
//! package and the library above it.

/// The increment of the counter: 2⁶⁴ divided by the golden ratio, made odd.
pub const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Returns the `SplitMix64` output of state `value`: adds [`STEP`] and finalises. Every output bit depends on every input bit, so
/// it also hashes and combines keys.
pub fn mix(value: u64) -> u64 {
    finalise(value.wrapping_add(STEP))
}

/// Returns the `SplitMix64` finaliser alone. It maps 0 to 0; prefer [`mix`] for keys.
pub fn finalise(value: u64) -> u64 {
    let mut x = value;
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
