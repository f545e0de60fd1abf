//! Dynamic loss scaling for f16.

use serde::{Deserialize, Serialize};

/// Steps without overflow after which the scale doubles.
const GROWTH_INTERVAL: u32 = 2000;
const MAX_SCALE: f64 = (1_u64 << 24) as f64;

/// Factor of the loss that keeps small gradients from vanishing in f16 (Micikevicius and others, arXiv 1710.03740).
///
/// A step whose gradients overflow is skipped and halves the scale; 2,000 consecutive steps without overflow double it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LossScale {
    scale: f64,
    good: u32,
    dynamic: bool,
    skipped: u64,
}

impl LossScale {
    /// A constant scale of 1, enough for f32 and bf16.
    pub fn none() -> Self {
        Self { scale: 1.0, good: 0, dynamic: false, skipped: 0 }
    }

    /// A dynamic scale that starts at 2¹⁶.
    pub fn dynamic() -> Self {
        Self { scale: 65536.0, good: 0, dynamic: true, skipped: 0 }
    }

    /// The current factor.
    pub fn factor(&self) -> f64 {
        self.scale
    }

    /// Steps skipped so far.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Records a step with finite gradients.
    pub fn passed(&mut self) {
        self.good += 1;
        if self.dynamic && self.good >= GROWTH_INTERVAL {
            self.good = 0;
            self.scale = (self.scale * 2.0).min(MAX_SCALE);
        }
    }

    /// Records a step with overflowing gradients. Returns whether the scale was lowered: a constant one, and one of 1, is
    /// not.
    pub fn overflowed(&mut self) -> bool {
        let lowers = self.dynamic && self.scale > 1.0;
        if lowers {
            self.good = 0;
            self.skipped += 1;
            self.scale = (self.scale / 2.0).max(1.0);
        }
        lowers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_halves_on_overflow_and_doubles_after_many_sound_steps() {
        let mut scale = LossScale::dynamic();
        assert!(scale.overflowed());
        assert_eq!((scale.factor(), scale.skipped()), (32768.0, 1));
        for _ in 0..GROWTH_INTERVAL {
            scale.passed();
        }
        assert_eq!(scale.factor(), 65536.0);
    }

    #[test]
    fn a_scale_that_cannot_be_lowered_says_so() {
        assert!(!LossScale::none().overflowed());
        let mut scale = LossScale::dynamic();
        assert_eq!((0..20).filter(|_| scale.overflowed()).count(), 16);
    }
}
