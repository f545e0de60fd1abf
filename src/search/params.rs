//! The numbers that steer a search.

use super::rate::Plan;
use crate::judge::OnUnjudged;

/// Parameters of `OmegaPRM`, named as in the reference; the defaults are those of its run script.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SearchParams {
    /// Weight of exploration in a candidate's priority.
    pub c_puct: f64,
    /// Base of `alpha^(1 - MC)`: how much a state that is solved more often is preferred.
    pub alpha: f64,
    /// Base of `beta^(words / length_scale)`: how much a short rollout is preferred.
    pub beta: f64,
    /// Words of a rollout that cost one factor `beta`.
    pub length_scale: f64,
    /// Rollouts drawn to estimate a state.
    pub rollouts: usize,
    /// Searches after which a problem is done.
    pub max_searches: usize,
    /// Rollouts after which no further search is begun.
    pub rollout_budget: usize,
    /// Draw fewer rollouts from states other than the root: five of 16 where none of these is right, else eight, and take a
    /// Monte Carlo value without bias of them. The reference always draws all.
    pub adaptive: bool,
    /// Ask for both probes that may come next while a bisection waits for one. The tree is the same.
    pub speculative: bool,
    /// What becomes of rollouts that nobody could judge. The reference's way is [`OnUnjudged::Incorrect`].
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

/// A parameter outside its range.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("search parameter {name}: expected {expected}, got {value}")]
pub struct ParamsError {
    /// The parameter.
    pub name: &'static str,
    /// Its range.
    pub expected: &'static str,
    /// The value given.
    pub value: String,
}

impl SearchParams {
    /// Rollouts of the first request for a state below the root.
    pub fn at_once(&self) -> usize {
        self.plan().first().len()
    }

    /// How many rollouts a state below the root gets.
    pub(super) fn plan(&self) -> Plan {
        if self.adaptive { Plan::adaptive(self.rollouts) } else { Plan::full(self.rollouts) }
    }

    /// Checks that every parameter is in its range, so that all priorities are numbers.
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
        check(self.rollouts > 0, "rollouts", "at least 1", &self.rollouts)
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
    }
}
