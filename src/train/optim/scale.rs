use serde::{Deserialize, Serialize};

/// Steps without an overflow after which the scale is doubled.
const PATIENCE: u32 = 2000;
const LARGEST: f64 = (1_u64 << 24) as f64;

/// What the loss is multiplied by, so that small gradients do not vanish in f16 (Micikevicius and others, arXiv 1710.03740).
///
/// A step whose gradients overflow is skipped and the scale halved; after 2000 good steps in a row it is doubled.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LossScale {
    scale: f64,
    good: u32,
    dynamic: bool,
    skipped: u64,
}

impl LossScale {
    /// A scale of 1 that stays: f32 and bf16 have room enough.
    pub fn none() -> Self {
        Self { scale: 1.0, good: 0, dynamic: false, skipped: 0 }
    }

    /// A scale that begins at 2¹⁶ and follows the gradients.
    pub fn dynamic() -> Self {
        Self { scale: 65536.0, good: 0, dynamic: true, skipped: 0 }
    }

    /// The factor now.
    pub fn factor(&self) -> f64 {
        self.scale
    }

    /// Steps skipped so far.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Notes a step whose gradients were finite.
    pub fn passed(&mut self) {
        self.good += 1;
        if self.dynamic && self.good >= PATIENCE {
            self.good = 0;
            self.scale = (self.scale * 2.0).min(LARGEST);
        }
    }

    /// Notes a step whose gradients were not. Whether a lower scale may help: not if it does not move, or is 1 already.
    pub fn overflowed(&mut self) -> bool {
        let hope = self.dynamic && self.scale > 1.0;
        if hope {
            self.good = 0;
            self.skipped += 1;
            self.scale = (self.scale / 2.0).max(1.0);
        }
        hope
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_halves_on_overflow_and_doubles_after_many_good_steps() {
        let mut scale = LossScale::dynamic();
        assert!(scale.overflowed());
        assert_eq!((scale.factor(), scale.skipped()), (32768.0, 1));
        for _ in 0..PATIENCE {
            scale.passed();
        }
        assert_eq!(scale.factor(), 65536.0);
    }

    #[test]
    fn gradients_that_overflow_without_a_scale_are_beyond_hope() {
        assert!(!LossScale::none().overflowed());
        let mut scale = LossScale::dynamic();
        assert_eq!((0..20).filter(|_| scale.overflowed()).count(), 16);
    }
}
