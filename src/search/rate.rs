//! How many rollouts a state gets, and what they say of its success rate.
//!
//! By default every state gets the full number `N`, and its rate is the share of right ones. *Adaptive* states (all but the
//! root, on whose rollouts the whole problem hangs) get a first part of `5/16 N`. If none of these is right the state is
//! taken for lost: of 16 rollouts five are drawn, and a state with a success rate of 0.45 or more is taken so in one case of
//! 20 at most. If one is right, it gets half of `N` in all for its label.
//!
//! The share of right ones would then be biased: a state whose first rollouts happen to be wrong keeps the rate 0 and never
//! gets the rollouts that would correct it. The rate is therefore the expected share among the *first* rollouts, given how
//! many are right in all and that the first are not all wrong. It is without bias because the first rollouts are always
//! drawn (Rao and Blackwell; for such plans Girshick, Mosteller and Savage 1946), 0 only if none is right, and 1 only if all
//! are.

use std::ops::Range;

/// Which rollouts are drawn, at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan {
    first: usize,
    all: usize,
}

impl Plan {
    /// All of `count` rollouts at once.
    pub(super) fn full(count: usize) -> Self {
        Self { first: count, all: count }
    }

    /// As few of `count` rollouts as will do.
    pub(super) fn adaptive(count: usize) -> Self {
        let first = count.saturating_mul(5).div_ceil(16).max(2).min(count);
        Self { first, all: count.div_ceil(2).max(first) }
    }

    /// The rollouts of the first part.
    pub(super) fn first(self) -> Range<usize> {
        0..self.first
    }

    /// The rollouts to draw next, if those counted do not do.
    pub(super) fn next(self, tally: &Tally) -> Option<Range<usize>> {
        match tally.drawn {
            0 => Some(self.first()),
            drawn if drawn < self.all && (tally.right > 0 || tally.unjudged > 0) => Some(drawn..self.all),
            _ => None,
        }
    }
}

/// Rollouts of a state, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// How many were drawn.
    pub(super) drawn: usize,
    /// How many of them nobody could judge.
    pub(super) unjudged: usize,
    /// How many count.
    pub(super) counted: usize,
    /// How many of these are right.
    pub(super) right: usize,
    /// How many counted in the first part, if there was another because they were not all wrong.
    first: Option<usize>,
}

impl Tally {
    /// To be called before rollouts are counted that were drawn because those before did not do.
    pub(super) fn go_on(&mut self) {
        self.first = (self.unjudged == 0).then_some(self.counted);
    }

    /// The success rate, without bias. There must be rollouts that count.
    pub(super) fn rate(&self) -> f64 {
        let (right, counted) = (self.right as f64, self.counted as f64);
        let share = right / counted;
        let Some(first) = self.first else { return share };
        // Of all orders in which so many may be right, those do not count in which the first are all wrong.
        let wrong = counted - right;
        let all_wrong: f64 =
            (0..first).map(|index| (wrong - index as f64).max(0.0) / (counted - index as f64)).product();
        share / (1.0 - all_wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every outcome of a plan with its number of orders, each as a tally.
    fn outcomes(plan: Plan) -> Vec<(Tally, f64)> {
        let mut open = vec![(Tally::default(), 1.0)];
        let mut done = Vec::new();
        while let Some((mut tally, orders)) = open.pop() {
            let Some(part) = plan.next(&tally) else {
                done.push((tally, orders));
                continue;
            };
            if tally.drawn > 0 {
                tally.go_on();
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
    fn the_rate_is_without_bias_for_any_number_of_rollouts_and_any_success_rate() {
        for count in [2, 3, 4, 8, 16, 33, 64] {
            for plan in [Plan::full(count), Plan::adaptive(count)] {
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
        for (tally, _) in outcomes(Plan::adaptive(16)) {
            let rate = tally.rate();
            assert_eq!((rate <= 0.0, rate >= 1.0), (tally.right == 0, tally.right == tally.counted), "{tally:?}");
            assert!((0.0..=1.0).contains(&rate), "{tally:?}: {rate}");
        }
    }

    #[test]
    fn rollouts_that_nobody_could_judge_settle_nothing() {
        let mut tally = Tally { drawn: 5, unjudged: 1, counted: 4, right: 4, first: None };
        assert_eq!(Plan::adaptive(16).next(&tally), Some(5..8));
        tally.go_on();
        let after = Tally { drawn: 8, counted: 7, right: 6, ..tally };
        assert!((after.rate() - 6.0 / 7.0).abs() < 1e-12);
    }

    #[test]
    fn there_are_never_more_rollouts_than_the_full_number() {
        for count in 1..70 {
            let Plan { first, all } = Plan::adaptive(count);
            assert!(1 <= first && first <= all && all <= count, "{count}: {first} of {all}");
        }
    }
}
