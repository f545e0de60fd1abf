//! Learning-rate schedules with warm-up.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

/// Learning-rate schedule after a linear warm-up from 0.
///
/// Equals transformers' `get_{constant,linear,cosine}_schedule_with_warmup` with default cycles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Constant.
    Constant,
    /// Linear to 0 at the last step.
    Linear,
    /// Half a cosine wave to 0 at the last step.
    #[default]
    Cosine,
}

impl Schedule {
    /// Factor of the learning rate at step `step` (from 0) of `total`, of which the first `warmup` warm up. The first step
    /// of a warm-up has factor 0, as in MM-PRM.
    pub fn factor(self, step: u64, warmup: u64, total: u64) -> f64 {
        if step < warmup {
            return step as f64 / warmup as f64;
        }
        let rest = total.saturating_sub(warmup).max(1) as f64;
        match self {
            Self::Constant => 1.0,
            Self::Linear => total.saturating_sub(step) as f64 / rest,
            Self::Cosine => (0.5 * (1.0 + (PI * ((step - warmup) as f64 / rest)).cos())).max(0.0),
        }
    }
}

/// Warm-up steps of a run: the fraction `ratio` of all steps, rounded up.
pub fn warmup_steps(ratio: f64, total: u64) -> u64 {
    (ratio * total as f64).ceil() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_factor_rises_to_1_and_falls_to_0() {
        for schedule in [Schedule::Linear, Schedule::Cosine] {
            let factors: Vec<f64> = (0..=10).map(|step| schedule.factor(step, 2, 10)).collect();
            assert_eq!(factors[..3], [0.0, 0.5, 1.0]);
            assert!(factors[2..].windows(2).all(|pair| pair[1] < pair[0]), "{schedule:?}: {factors:?}");
            approx::assert_abs_diff_eq!(factors[6], 0.5, epsilon = 1e-12);
            approx::assert_abs_diff_eq!(factors[10], 0.0, epsilon = 1e-12);
        }
        assert_eq!(Schedule::Constant.factor(9, 2, 10), 1.0);
    }

    #[test]
    fn a_run_without_warmup_starts_at_the_full_rate() {
        assert_eq!(Schedule::Cosine.factor(0, 0, 3), 1.0);
        assert_eq!(Schedule::Linear.factor(0, 0, 1), 1.0);
    }

    #[test]
    fn warmup_is_rounded_up() {
        assert_eq!(warmup_steps(0.03, 3), 1);
        assert_eq!(warmup_steps(0.0, 100), 0);
        assert_eq!(warmup_steps(0.03, 100), 3);
    }
}
