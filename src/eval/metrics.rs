//! Metrics of candidates: pass@k, and the aggregators that turn step scores into one number for
//! Best-of-N.
//!
//! ```
//! use mmprm::eval::metrics::{Aggregator, pass_at_k};
//! assert_eq!(pass_at_k(4, 1, 1), 0.25);
//! assert_eq!(Aggregator::Min.apply(&[0.9, 0.2, 0.8]), Some(0.2));
//! ```

/// Aggregates the step scores of a candidate into one number (those of MM-PRM's
/// `evaluate_k12_prm.py`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aggregator {
    /// Smallest.
    Min,
    /// Last.
    Last,
    /// Product.
    Product,
    /// Mean.
    Average,
    /// Sum of ln p, with −9999 for ln 0.
    SumLogProb,
    /// Largest.
    Max,
    /// Sum of ln(p/(1−p)), with 9999 for p = 1 and −9999 for p = 0.
    SumLogit,
    /// Mean of p/(1−p), with 9999 for p = 1.
    MeanOdd,
}

impl Aggregator {
    /// All aggregators in MM-PRM's order.
    pub const ALL: [Self; 8] = [
        Self::Min,
        Self::Last,
        Self::Product,
        Self::Average,
        Self::SumLogProb,
        Self::Max,
        Self::SumLogit,
        Self::MeanOdd,
    ];

    /// MM-PRM's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Min => "min",
            Self::Last => "last",
            Self::Product => "product",
            Self::Average => "average",
            Self::SumLogProb => "sum_logprob",
            Self::Max => "max",
            Self::SumLogit => "sum_logit",
            Self::MeanOdd => "mean_odd",
        }
    }

    /// Aggregates the step scores of a candidate; `None` without steps.
    pub fn apply(self, scores: &[f64]) -> Option<f64> {
        let mean = |total: f64| total / scores.len() as f64;
        let &last = scores.last()?;
        Some(self.of_steps(scores, last, mean))
    }

    fn of_steps(self, scores: &[f64], last: f64, mean: impl Fn(f64) -> f64) -> f64 {
        match self {
            Self::Min => scores.iter().copied().fold(f64::INFINITY, f64::min),
            Self::Last => last,
            Self::Product => scores.iter().product(),
            Self::Average => mean(scores.iter().sum()),
            Self::SumLogProb => scores.iter().map(|&p| if p > 0.0 { p.ln() } else { -9999.0 }).sum(),
            Self::Max => scores.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            // MM-PRM raises an error for the logit of 0, which is −∞; −9999 mirrors its value for p
            // = 1.
            Self::SumLogit => scores
                .iter()
                .map(|&p| {
                    if p >= 1.0 {
                        9999.0
                    } else if p > 0.0 {
                        (p / (1.0 - p)).ln()
                    } else {
                        -9999.0
                    }
                })
                .sum(),
            Self::MeanOdd => mean(scores.iter().map(|&p| if p < 1.0 { p / (1.0 - p) } else { 9999.0 }).sum()),
        }
    }
}

/// pass@k: the probability that at least one of `k` candidates drawn without replacement from
/// `total`, of which `correct` are right, is right (the unbiased estimator of Chen et al. 2021,
/// arXiv 2107.03374). `k` is capped at `total`.
pub fn pass_at_k(total: usize, correct: usize, k: usize) -> f64 {
    let k = k.min(total);
    if total == 0 || correct == 0 || k == 0 {
        return 0.0;
    }
    if total - correct < k {
        return 1.0;
    }
    let none: f64 = (0..k).map(|i| (total - correct - i) as f64 / (total - i) as f64).product();
    1.0 - none
}

/// The candidate with the highest value, the first of equals; `None` without candidates.
pub fn best(values: &[f64]) -> Option<usize> {
    let mut best: Option<usize> = None;
    for (index, value) in values.iter().enumerate() {
        if best.is_none_or(|chosen| *value > values[chosen]) {
            best = Some(index);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pass_at_k_counts_draws_without_replacement() {
        approx::assert_abs_diff_eq!(pass_at_k(4, 2, 2), 5.0 / 6.0, epsilon = 1e-12);
        approx::assert_abs_diff_eq!(pass_at_k(16, 16, 1), 1.0);
        approx::assert_abs_diff_eq!(pass_at_k(3, 1, 16), 1.0);
        approx::assert_abs_diff_eq!(pass_at_k(16, 0, 16), 0.0);
    }

    #[test]
    fn best_takes_the_first_of_equals() {
        assert_eq!(best(&[0.1, 0.7, 0.7]), Some(1));
        assert_eq!(best(&[]), None);
    }

    #[test]
    fn extreme_scores_have_the_values_of_mm_prm() {
        assert_eq!(Aggregator::SumLogProb.apply(&[0.0, 1.0]), Some(-9999.0));
        assert_eq!(Aggregator::SumLogit.apply(&[1.0]), Some(9999.0));
        assert_eq!(Aggregator::MeanOdd.apply(&[1.0, 0.5]), Some(5000.0));
        for aggregator in Aggregator::ALL {
            assert_eq!(aggregator.apply(&[]), None);
        }
    }
}
