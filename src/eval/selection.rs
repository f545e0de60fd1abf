//! The rules that select one of a problem's candidates, and how clear each selection is.
//!
//! Measuring the rules is left to [`bon`](super::bon).
//!
//! ```
//! use mmprm::data::candidates::parse;
//! use mmprm::eval::selection::{Contenders, Selection};
//! let text = r#"[{"question": "1+1?", "solutions_splits": [["Answer: 3"], ["Answer: 2"], ["Answer: 3"]],
//!                 "prm_scores": [[0.1], [0.9], [0.2]]}]"#;
//! let sets = parse("scored.json".as_ref(), text.as_bytes()).unwrap();
//! let contenders = Contenders::new(&sets[0]);
//! let by_score = contenders.select("product".parse().unwrap()).unwrap();
//! assert_eq!((by_score.index, by_score.agreement, by_score.margin), (1, 1, Some(0.7)));
//! let by_vote = contenders.select(Selection::Majority).unwrap();
//! assert_eq!((by_vote.index, by_vote.agreement), (0, 2));
//! ```

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use super::classes::answer_classes;
use super::metrics::{Aggregator, best};
use crate::data::candidates::CandidateSet;

/// A rule that selects a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection {
    /// The first candidate with the most frequent answer (self-consistency, arXiv 2203.11171).
    Majority,
    /// The candidate with the highest aggregate of its step scores.
    Score(Aggregator),
    /// The first candidate with the answer whose candidates have the largest sum of aggregates.
    WeightedVote(Aggregator),
    /// The candidate whose least likely step, by the mean log-probability of its tokens, is the likeliest.
    LogprobWorstStep,
    /// The candidate with the highest mean log-probability of its tokens.
    LogprobMean,
}

/// The aggregators that votes are weighted by: those with values from 0 to 1.
const VOTE_WEIGHTS: [Aggregator; 4] = [Aggregator::Min, Aggregator::Last, Aggregator::Product, Aggregator::Average];

impl Selection {
    /// All rules: the vote, the aggregators in MM-PRM's order, weighted votes, log-probabilities.
    pub fn all() -> Vec<Self> {
        let scores = Aggregator::ALL.map(Self::Score);
        let votes = VOTE_WEIGHTS.map(Self::WeightedVote);
        let logprobs = [Self::LogprobWorstStep, Self::LogprobMean];
        std::iter::once(Self::Majority).chain(scores).chain(votes).chain(logprobs).collect()
    }

    /// The rule for a set whose user named none: the product of the step scores, or else the majority.
    pub fn usual(set: &CandidateSet) -> Self {
        if set.scores.is_some() { Self::Score(Aggregator::Product) } else { Self::Majority }
    }

    /// The rule for a file whose user named none: the product of the step scores where any record has them, or else the majority.
    pub fn usual_of(sets: &[CandidateSet]) -> Self {
        let scored = sets.iter().find(|set| !set.failed && set.scores.is_some());
        scored.map_or(Self::Majority, Self::usual)
    }

    /// The rule's name, such as `product` or `weighted_vote_min`.
    pub fn name(self) -> String {
        match self {
            Self::Majority => "majority".to_owned(),
            Self::Score(aggregator) => aggregator.name().to_owned(),
            Self::WeightedVote(aggregator) => format!("weighted_vote_{}", aggregator.name()),
            Self::LogprobWorstStep => "logprob_worst_step".to_owned(),
            Self::LogprobMean => "logprob_mean".to_owned(),
        }
    }

    /// The field that the rule needs and `set` does not have.
    pub fn missing(self, set: &CandidateSet) -> Option<&'static str> {
        match self {
            Self::Majority => None,
            Self::Score(_) | Self::WeightedVote(_) => set.scores.is_none().then_some("prm_scores"),
            Self::LogprobWorstStep | Self::LogprobMean => set.logprobs.is_none().then_some("step_logprobs"),
        }
    }
}

impl Selection {
    /// The field that the rule needs and none of these sets has; `None` also without any set.
    pub fn missing_in<'a>(self, sets: impl IntoIterator<Item = &'a CandidateSet>) -> Option<&'static str> {
        sets.into_iter().map(|set| self.missing(set)).min().flatten()
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

/// A name that is none of a [`Selection`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected one of {}", Selection::all().iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
pub struct UnknownSelection;

impl FromStr for Selection {
    type Err = UnknownSelection;

    /// Hyphens may stand for underscores; `weighted_vote` is the vote weighted by the product.
    fn from_str(name: &str) -> Result<Self, UnknownSelection> {
        let name = name.replace('-', "_");
        if name == "weighted_vote" {
            return Ok(Self::WeightedVote(Aggregator::Product));
        }
        Self::all().into_iter().find(|rule| rule.name() == name).ok_or(UnknownSelection)
    }
}

/// The candidate that a rule selects.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Selected {
    /// Index of the candidate.
    pub index: usize,
    /// What the rule compares: an aggregate of step scores, a log-probability, or the (weighted) votes for its answer.
    pub value: f64,
    /// By how much `value` exceeds the best one of another answer; `None` if all answers are equal.
    pub margin: Option<f64>,
    /// Candidates with an equal answer, itself included.
    pub agreement: usize,
}

/// The candidates of a problem with their answers compared, from which any rule can select.
#[derive(Debug)]
pub struct Contenders<'a> {
    set: &'a CandidateSet,
    classes: Vec<Option<String>>,
    /// The value of a candidate without steps.
    without_steps: f64,
}

impl<'a> Contenders<'a> {
    /// Compares the answers of all candidates.
    pub fn new(set: &'a CandidateSet) -> Self {
        Self { set, classes: answer_classes(set), without_steps: f64::NEG_INFINITY }
    }

    /// Gives a candidate without steps the value 0 in the aggregates, as MM-PRM does, instead of the last rank.
    #[must_use]
    pub fn with_reference(mut self, reference: bool) -> Self {
        self.without_steps = if reference { 0.0 } else { f64::NEG_INFINITY };
        self
    }

    /// The final answer of each candidate, equal ones in the words of the first; `None` without steps.
    pub fn answers(&self) -> &[Option<String>] {
        &self.classes
    }

    /// Selects a candidate; `None` if there is none to select or the set lacks [what the rule needs](Selection::missing).
    pub fn select(&self, rule: Selection) -> Option<Selected> {
        if rule.missing(self.set).is_some() {
            return None;
        }
        let values = self.values(rule);
        let index = best(&values)?;
        let (value, own) = (values[index], &self.classes[index]);
        // A vote is for an answer, so a candidate without one cannot win it.
        if own.is_none() && matches!(rule, Selection::Majority | Selection::WeightedVote(_)) {
            return None;
        }
        let others = self.classes.iter().zip(&values).filter(|(class, _)| *class != own);
        let margin = others.map(|(_, other)| value - other).min_by(f64::total_cmp).filter(|margin| margin.is_finite());
        let agreement = self.classes.iter().filter(|class| *class == own).count();
        Some(Selected { index, value, margin, agreement })
    }

    /// What the rule compares, for each candidate.
    pub fn values(&self, rule: Selection) -> Vec<f64> {
        match rule {
            Selection::Majority => self.votes(&vec![1.0; self.classes.len()]),
            Selection::Score(aggregator) => self.aggregates(aggregator, self.without_steps),
            Selection::WeightedVote(aggregator) => self.votes(&self.aggregates(aggregator, 0.0)),
            Selection::LogprobWorstStep => self.logprobs(worst_step),
            Selection::LogprobMean => self.logprobs(mean_token),
        }
    }

    /// For each candidate the sum of the weights of those with its answer.
    fn votes(&self, weights: &[f64]) -> Vec<f64> {
        let mut sums: HashMap<&str, f64> = HashMap::new();
        for (class, weight) in self.classes.iter().zip(weights) {
            if let Some(class) = class {
                *sums.entry(class).or_default() += weight;
            }
        }
        let sum = |class: &Option<String>| class.as_deref().and_then(|class| sums.get(class).copied());
        self.classes.iter().map(|class| sum(class).unwrap_or(f64::NEG_INFINITY)).collect()
    }

    fn aggregates(&self, aggregator: Aggregator, without_steps: f64) -> Vec<f64> {
        let scores = self.set.scores.as_deref().unwrap_or_default();
        scores.iter().map(|steps| aggregator.apply(steps).unwrap_or(without_steps)).collect()
    }

    fn logprobs(&self, value: fn(&[(f64, usize)]) -> f64) -> Vec<f64> {
        let candidates = self.set.logprobs.as_deref().unwrap_or_default();
        candidates.iter().map(|steps| if steps.is_empty() { f64::NEG_INFINITY } else { value(steps) }).collect()
    }
}

/// The smallest mean log-probability of a step's tokens.
fn worst_step(steps: &[(f64, usize)]) -> f64 {
    let mean = |(sum, tokens): &(f64, usize)| sum / (*tokens).max(1) as f64;
    steps.iter().map(mean).fold(f64::INFINITY, f64::min)
}

/// The mean log-probability of all tokens.
fn mean_token(steps: &[(f64, usize)]) -> f64 {
    let (sum, tokens) = steps.iter().fold((0.0, 0), |(sum, tokens), step| (sum + step.0, tokens + step.1));
    sum / tokens.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::candidates::parse;

    fn set(fields: &str) -> CandidateSet {
        parse("c.json".as_ref(), format!(r#"[{{"question": "?", {fields}}}]"#).as_bytes()).unwrap().remove(0)
    }

    #[test]
    fn the_majority_is_the_most_frequent_answer_and_the_earliest_of_equals() {
        let index = |answers: &str| {
            let set = set(&format!(r#""solutions_splits": {answers}"#));
            Contenders::new(&set).select(Selection::Majority).map(|selected| (selected.index, selected.agreement))
        };
        assert_eq!(index(r#"[["a"], ["b"], ["b"], ["a"], ["c"]]"#), Some((0, 2)));
        assert_eq!(index(r#"[[], ["x"], []]"#), Some((1, 1)));
        assert_eq!(index("[[], []]"), None);
        assert_eq!(index("[]"), None);
    }

    #[test]
    fn weights_decide_between_answers() {
        let select = |scores: &str| {
            let set = set(&format!(r#""solutions_splits": [["a"], ["b"], ["b"], ["c"], []], "prm_scores": {scores}"#));
            Contenders::new(&set).select(Selection::WeightedVote(Aggregator::Min)).unwrap()
        };
        let pair = select("[[0.5], [0.375], [0.25], [0.125], []]");
        assert_eq!((pair.index, pair.value, pair.margin, pair.agreement), (1, 0.625, Some(0.125), 2));
        let single = select("[[0.75], [0.375], [0.25], [0.125], []]");
        assert_eq!((single.index, single.agreement), (0, 1));
    }

    #[test]
    fn a_candidate_without_steps_is_last_unless_the_reference_is_followed() {
        let set = set(r#""solutions_splits": [["a"], []], "prm_scores": [[0.5], []]"#);
        let rule = Selection::Score(Aggregator::SumLogProb);
        let by_us = Contenders::new(&set).select(rule).unwrap();
        assert_eq!((by_us.index, by_us.margin), (0, None));
        assert_eq!(Contenders::new(&set).with_reference(true).select(rule).unwrap().index, 1);
    }

    #[test]
    fn names_are_read_back_and_rules_without_their_field_select_nothing() {
        let bare = set(r#""solutions_splits": [["a"]]"#);
        for rule in Selection::all() {
            assert_eq!(rule.name().replace('_', "-").parse(), Ok(rule));
            let selected = Contenders::new(&bare).select(rule);
            assert_eq!(selected.is_some(), rule.missing(&bare).is_none(), "{rule}");
        }
        assert_eq!("weighted-vote".parse(), Ok(Selection::WeightedVote(Aggregator::Product)));
        assert!("best".parse::<Selection>().unwrap_err().to_string().contains("weighted_vote_product"));
    }
}
