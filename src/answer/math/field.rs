//! Arithmetic modulo the prime 2⁶⁴ − 2³² + 1, in which −1 has a square root.

use std::hash::{Hash, Hasher};
use std::ops::{Add, Mul, Neg, Sub};

use crate::util::random::{STEP, finalise};

const PRIME: u64 = 0xFFFF_FFFF_0000_0001;

/// An element of the field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field(u64);

impl Field {
    pub const ZERO: Self = Self(0);
    pub const ONE: Self = Self(1);

    /// Returns the image of an integer.
    pub fn from_integer(value: i128) -> Self {
        match u64::try_from(value) {
            Ok(small) if small < PRIME => Self(small),
            _ => Self(value.rem_euclid(i128::from(PRIME)) as u64),
        }
    }

    /// Hashes `parts` to an element, for values that the field cannot express.
    pub fn from_hash(parts: &impl Hash) -> Self {
        let mut hasher = StableHasher(STEP);
        parts.hash(&mut hasher);
        Self(hasher.finish() % PRIME)
    }

    /// Returns a square root of −1; 7 generates the multiplicative group.
    pub fn imaginary_unit() -> Self {
        Self(7).power((PRIME - 1) / 4)
    }

    pub fn power(self, mut exponent: u64) -> Self {
        let (mut result, mut square) = (Self::ONE, self);
        while exponent > 0 {
            if exponent & 1 == 1 {
                result = result * square;
            }
            square = square * square;
            exponent >>= 1;
        }
        result
    }

    /// Returns the multiplicative inverse; `None` for zero.
    pub fn inverse(self) -> Option<Self> {
        if self == Self::ZERO {
            return None;
        }
        let squared = |value: Self, times: u32| (0..times).fold(value, |square, _| square * square);
        // By Fermat, the inverse is the power p − 2 = (2³¹ − 1) · 2³³ + (2³² − 1). `ones` is the
        // power whose exponent has `count` binary ones.
        let (mut ones, mut count) = (self, 1);
        while count < 31 {
            ones = squared(squared(ones, count) * ones, 1) * self;
            count = 2 * count + 1;
        }
        Some(squared(ones, 33) * squared(ones, 1) * self)
    }

    /// Returns the element as an integer below the prime.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// Maps the element to a floating-point number from 0.25 to 3.25.
    pub fn to_sample(self) -> f64 {
        0.25 + 3.0 * (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}

impl Add for Field {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        let (sum, carry) = self.0.overflowing_add(other.0);
        Self(if carry || sum >= PRIME { sum.wrapping_sub(PRIME) } else { sum })
    }
}

impl Neg for Field {
    type Output = Self;
    fn neg(self) -> Self {
        Self(if self.0 == 0 { 0 } else { PRIME - self.0 })
    }
}

impl Sub for Field {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self + -other
    }
}

impl Mul for Field {
    type Output = Self;
    /// Reduces without a division: 2⁶⁴ is 2³² − 1 and 2⁹⁶ is −1 modulo the prime.
    fn mul(self, other: Self) -> Self {
        const LOW_HALF: u64 = 0xFFFF_FFFF;
        let product = u128::from(self.0) * u128::from(other.0);
        let (low, high) = (product as u64, (product >> 64) as u64);
        let (middle, top) = (high & LOW_HALF, high >> 32);
        // Both are below the prime: at most (2³² − 1)², and 2³² − 1.
        Self(if low >= PRIME { low - PRIME } else { low }) + Self(middle * LOW_HALF) - Self(top)
    }
}

/// FNV-1a with the finaliser of `SplitMix64`: unlike the standard library's hasher, it gives the
/// same bits on every machine and in every version.
struct StableHasher(u64);

impl Hasher for StableHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
    }

    fn finish(&self) -> u64 {
        finalise(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_obeys_the_laws_of_arithmetic() {
        let (a, b) = (Field::from_integer(-12_345_678_901_234_567), Field::from_hash(&"b"));
        assert_eq!(a + b - b, a);
        assert_eq!(a * b * b.inverse().unwrap(), a);
        assert_eq!(a.power(3), a * a * a);
        assert_eq!(-a + a, Field::ZERO);
        assert_eq!(Field::ZERO.inverse(), None);
        assert_eq!(b.inverse(), Some(b.power(PRIME - 2)));
        assert_eq!(Field::imaginary_unit() * Field::imaginary_unit(), -Field::ONE);
        assert_eq!(Field::from_integer(1 << 96), -Field::ONE);
        let product = |a: u64, b: u64| u128::from(a) * u128::from(b) % u128::from(PRIME);
        for a in [0, 1, 1 << 32, PRIME / 2, PRIME - 1, 0x0123_4567_89AB_CDEF] {
            for b in [1, 0xFFFF_FFFF, PRIME - 2, PRIME - 1, 0xFEDC_BA98_7654_3210] {
                assert_eq!(u128::from((Field(a) * Field(b)).0), product(a, b), "{a} * {b}");
                assert_eq!(u128::from((Field(a) + Field(b)).0), (u128::from(a) + u128::from(b)) % u128::from(PRIME));
            }
        }
    }
}
