//! How many rollouts a state gets, and the unbiased success rate estimated from them.
//!
//! By default every state gets all `N` rollouts, and its rate is the fraction of right ones. With
//! *adaptive* rollouts, states below the root are sampled in two stages: the first has `5/16 N`
//! rollouts. If none of them is right, the state counts as unsolvable: with five of 16 rollouts,
//! this is wrong in at most one case in 20 for a state with a success rate of 0.45 or more.
//! Otherwise a second stage brings the total to `N/2`. The root, on whose rollouts the whole problem
//! depends, always gets all `N`.
//!
//! The fraction of right rollouts would be biased: a state whose first stage happens to fail keeps
//! the rate 0 and never gets the rollouts that would correct it. The rate is therefore the expected
//! fraction in the *first stage*, given the total number of right rollouts and that the first stage
//! is not all wrong. It is unbiased because the first stage is always sampled (Rao–Blackwell; for
//! such plans Girshick, Mosteller and Savage 1946), 0 only if none is right, and 1 only if all are.

use std::ops::Range;

/// The stages in which a state's rollouts are sampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RolloutPlan {
    first: usize,
    all: usize,
}

impl RolloutPlan {
    /// One stage of `count` rollouts.
    pub(super) fn full(count: usize) -> Self {
        Self { first: count, all: count }
    }

    /// Two stages, of at most `count` rollouts together.
    pub(super) fn adaptive(count: usize) -> Self {
        let first = count.saturating_mul(5).div_ceil(16).max(2).min(count);
        Self { first, all: count.div_ceil(2).max(first) }
    }

    /// The rollouts of the first stage.
    pub(super) fn first(self) -> Range<usize> {
        0..self.first
    }

    /// The rollouts to sample next, if any.
    pub(super) fn next(self, tally: &Tally) -> Option<Range<usize>> {
        match tally.drawn {
            0 => Some(self.first()),
            drawn if drawn < self.all && (tally.right > 0 || tally.unjudged > 0) => Some(drawn..self.all),
            _ => None,
        }
    }
}

/// Counts of a state's rollouts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Rollouts sampled.
    pub(super) drawn: usize,
    /// Of those, rollouts that could not be judged.
    pub(super) unjudged: usize,
    /// Rollouts that count.
    pub(super) counted: usize,
    /// Of those, right ones.
    pub(super) right: usize,
    /// Rollouts that counted in the first stage, if a second one followed because they were not all
    /// wrong.
    first: Option<usize>,
}

impl Tally {
    /// Must be called before the rollouts of the second stage are counted.
    pub(super) fn begin_second_stage(&mut self) {
        self.first = (self.unjudged == 0).then_some(self.counted);
    }

    /// The unbiased success rate, 0 to 1. There must be rollouts that count.
    pub(super) fn rate(&self) -> f64 {
        let (right, counted) = (self.right as f64, self.counted as f64);
        let share = right / counted;
        let Some(first) = self.first else { return share };
        // Among all orders of the rollouts, those in which the first stage is all wrong are
        // excluded.
        let wrong = counted - right;
        let all_wrong: f64 =
            (0..first).map(|index| (wrong - index as f64).max(0.0) / (counted - index as f64)).product();
        share / (1.0 - all_wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every outcome of a plan, with its number of orders.
    fn outcomes(plan: RolloutPlan) -> Vec<(Tally, f64)> {
        let mut open = vec![(Tally::default(), 1.0)];
        let mut done = Vec::new();
        while let Some((mut tally, orders)) = open.pop() {
            let Some(part) = plan.next(&tally) else {
                done.push((tally, orders));
                continue;
            };
            if tally.drawn > 0 {
                tally.begin_second_stage();
            }
            for right in 0..=part.len() {
                let more =
                    Tally { drawn: part.end, counted: tally.counted + part.len(), right: tally.right + right, ..tally };
                open.push((more, orders * choose(part.len(), right)));
            }
        }
        done
    }

    fn choose(of: usize, some: usize) -> f64 {
        (0..some).map(|index| (of - index) as f64 / (index + 1) as f64).product()
    }

    #[test]
    fn the_rate_is_unbiased_for_any_number_of_rollouts_and_any_success_rate() {
        for count in [2, 3, 4, 8, 16, 33, 64] {
            for plan in [RolloutPlan::full(count), RolloutPlan::adaptive(count)] {
                let outcomes = outcomes(plan);
                for chance in [0.0, 0.03, 0.2, 0.5, 0.77, 0.9, 1.0] {
                    let odds = |tally: &Tally, orders: f64| {
                        let wrong = tally.counted - tally.right;
                        orders * f64::powi(chance, tally.right as i32) * f64::powi(1.0 - chance, wrong as i32)
                    };
                    let expected: f64 =
                        outcomes.iter().map(|(tally, orders)| odds(tally, *orders) * tally.rate()).sum();
                    assert!((expected - chance).abs() < 1e-9, "{plan:?}: {expected} instead of {chance}");
                }
            }
        }
    }

    #[test]
    fn a_rate_is_0_if_none_is_right_and_1_if_all_are_and_only_then() {
        for (tally, _) in outcomes(RolloutPlan::adaptive(16)) {
            let rate = tally.rate();
            assert_eq!((rate <= 0.0, rate >= 1.0), (tally.right == 0, tally.right == tally.counted), "{tally:?}");
            assert!((0.0..=1.0).contains(&rate), "{tally:?}: {rate}");
        }
    }

    #[test]
    fn unjudged_rollouts_do_not_decide_the_first_stage() {
        let mut tally = Tally { drawn: 5, unjudged: 1, counted: 4, right: 4, first: None };
        assert_eq!(RolloutPlan::adaptive(16).next(&tally), Some(5..8));
        tally.begin_second_stage();
        let after = Tally { drawn: 8, counted: 7, right: 6, ..tally };
        assert!((after.rate() - 6.0 / 7.0).abs() < 1e-12);
    }

    #[test]
    fn there_are_never_more_rollouts_than_the_full_number() {
        for count in 1..70 {
            let RolloutPlan { first, all } = RolloutPlan::adaptive(count);
            assert!(1 <= first && first <= all && all <= count, "{count}: {first} of {all}");
        }
    }
}
