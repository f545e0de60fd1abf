//! The parameters of a search.

use super::rate::RolloutPlan;
use crate::judge::OnUnjudged;

/// Parameters of `OmegaPRM`, named as in MM-PRM; the defaults are those of its run script.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SearchParams {
    /// Weight of the exploration term in a candidate's priority.
    pub c_puct: f64,
    /// Base of `alpha^(1 - MC)`: preference for states with a high Monte Carlo value.
    pub alpha: f64,
    /// Base of `beta^(words / length_scale)`: preference for short rollouts.
    pub beta: f64,
    /// Words per factor `beta`.
    pub length_scale: f64,
    /// Rollouts per state.
    pub rollouts: usize,
    /// Maximum number of searches (bisected candidates) per problem.
    pub max_searches: usize,
    /// Number of rollouts after which no further search begins.
    pub rollout_budget: usize,
    /// Sample fewer rollouts from states other than the root, with an unbiased Monte Carlo value:
    /// of 16, five where none of these is right, else eight. MM-PRM always samples all.
    pub adaptive: bool,
    /// Request both possible next probes while a bisection waits for one. The tree is the same.
    pub speculative: bool,
    /// What to do with rollouts that could not be judged. MM-PRM uses [`OnUnjudged::Incorrect`].
    pub unjudged: OnUnjudged,
}

impl Default for SearchParams {
    fn default() -> Self {
        Self {
            c_puct: 0.125,
            alpha: 0.5,
            beta: 0.9,
            length_scale: 2000.0,
            rollouts: 16,
            max_searches: 200,
            rollout_budget: 1000,
            adaptive: false,
            speculative: false,
            unjudged: OnUnjudged::Drop,
        }
    }
}

/// Maximum of `rollouts`, which are requested at once.
const MAX_ROLLOUTS: usize = 1 << 16;
/// Maximum of `max_searches` and `rollout_budget`.
const MAX_BUDGET: usize = 1 << 30;

/// A parameter is out of range.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("search parameter {name}: expected {expected}, got {value}")]
pub struct ParamsError {
    /// The parameter.
    pub name: &'static str,
    /// Its range.
    pub expected: &'static str,
    /// Its value.
    pub value: String,
}

impl SearchParams {
    /// Number of rollouts in the first request for a state below the root.
    #[doc(hidden)]
    pub fn first_request(&self) -> usize {
        self.plan().first().len()
    }

    /// The rollouts of a state below the root.
    pub(super) fn plan(&self) -> RolloutPlan {
        if self.adaptive { RolloutPlan::adaptive(self.rollouts) } else { RolloutPlan::full(self.rollouts) }
    }

    /// Checks that every parameter is in range, so that no priority is NaN.
    ///
    /// # Errors
    /// [`ParamsError`] for the first that is not.
    pub fn validate(&self) -> Result<(), ParamsError> {
        let check = |good: bool, name, expected, value: &dyn ToString| {
            if good { Ok(()) } else { Err(ParamsError { name, expected, value: value.to_string() }) }
        };
        for (name, number) in [("c_puct", self.c_puct), ("alpha", self.alpha), ("beta", self.beta)] {
            check(number >= 0.0 && number.is_finite(), name, "a number of at least 0", &number)?;
        }
        let scale = self.length_scale;
        check(scale > 0.0 && scale.is_finite(), "length_scale", "a number above 0", &scale)?;
        check(self.rollouts > 0, "rollouts", "at least 1", &self.rollouts)?;
        check(self.rollouts <= MAX_ROLLOUTS, "rollouts", "at most 65536", &self.rollouts)?;
        for (name, number) in [("max_searches", self.max_searches), ("rollout_budget", self.rollout_budget)] {
            check(number <= MAX_BUDGET, name, "at most 1073741824", &number)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid() {
        assert_eq!(SearchParams::default().validate(), Ok(()));
    }

    #[test]
    fn a_parameter_out_of_range_is_named_with_its_range() {
        let error = SearchParams { alpha: f64::NAN, ..SearchParams::default() }.validate().unwrap_err();
        assert_eq!(error.to_string(), "search parameter alpha: expected a number of at least 0, got NaN");
        let error = SearchParams { rollouts: 0, ..SearchParams::default() }.validate().unwrap_err();
        assert_eq!(error.to_string(), "search parameter rollouts: expected at least 1, got 0");
        let most = |params: SearchParams| params.validate().unwrap_err().to_string();
        let error = most(SearchParams { rollouts: usize::MAX, ..SearchParams::default() });
        assert!(error.starts_with("search parameter rollouts: expected at most 65536, got 18"), "{error}");
        let error = most(SearchParams { max_searches: usize::MAX, ..SearchParams::default() });
        assert!(error.starts_with("search parameter max_searches: expected at most 1073741824, got "), "{error}");
    }
}
