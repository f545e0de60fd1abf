//! Best-of-N: how good each way of choosing among candidates is, with intervals.
//!
//! Reads what candidate files hold (labels, step scores, the policy's own logprobs); what answers mean the same is the
//! caller's to say, because the majority vote needs it.
//!
//! ```
//! use mmprm::eval::bon::{Options, report};
//! use mmprm::data::candidates::parse;
//! let text = r#"[{"question": "1+1?", "solutions_splits": [["Answer: 3"], ["Answer: 2"]], "labels": [0, 1],
//!                 "prm_scores": [[0.1], [0.9]]}]"#;
//! let sets = parse("scored.json".as_ref(), text.as_bytes()).unwrap();
//! let votes = vec![vec![Some("3".to_owned()), Some("2".to_owned())]];
//! let report = report(&sets, &votes, Options::default());
//! let min = report.iter().find(|choice| choice.name == "min").unwrap();
//! assert_eq!((min.correct, min.total), (1.0, 1));
//! ```

use std::collections::HashMap;

use serde::Serialize;

use super::metrics::{Aggregator, best, majority, pass_at_k};
use crate::compat::random::Random;
use crate::data::candidates::CandidateSet;

/// Resamplings of the problems for an interval.
const RESAMPLINGS: usize = 2000;

/// How to compute a report.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Give a candidate without steps the value 0, as the reference does: by sums of logarithms it is then chosen before
    /// candidates with steps. Otherwise it is chosen last.
    pub reference: bool,
    /// Seed of the intervals.
    pub seed: u64,
}

/// A way of choosing among candidates and how good it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Choice {
    /// What chooses.
    #[serde(skip)]
    pub name: String,
    /// The share of problems for which a right candidate is chosen.
    pub accuracy: f64,
    /// Problems, or expected problems where chance has a part.
    pub correct: f64,
    /// Problems with labels.
    pub total: usize,
    /// 95 % interval of the accuracy: percentiles of bootstrap resamplings of the problems.
    pub ci: [f64; 2],
}

/// Ways of choosing, in order: a candidate at random, pass@k, any right one (oracle), the majority of `answers`; where all
/// records have step scores, each [`Aggregator`] and the majority weighted by it; where all have logprobs, these.
///
/// Records without labels are left out. `answers` has for each record the answer of each candidate, alike where they mean
/// the same.
///
/// # Panics
/// If `answers` has not one list for each record.
pub fn report(sets: &[CandidateSet], answers: &[Vec<Option<String>>], options: Options) -> Vec<Choice> {
    assert_eq!(sets.len(), answers.len(), "one list of answers for each record");
    let labelled: Vec<Labelled<'_>> = sets
        .iter()
        .zip(answers)
        .filter_map(|(set, answers)| Some(Labelled { set, answers, labels: set.labels.as_deref()? }))
        .collect();
    let most = labelled.iter().map(|record| record.labels.len()).max().unwrap_or(0);
    let mut choices = Table { records: &labelled, options, choices: Vec::new() };
    choices.add("random", |record| record.pass(1));
    for k in std::iter::successors(Some(2), |k| Some(k * 2)).take_while(|k| *k <= most) {
        choices.add(&format!("pass@{k}"), |record| record.pass(k));
    }
    choices.add("oracle", |record| record.pass(record.labels.len()));
    choices.add("majority", |record| record.chosen(majority(record.answers)));
    if labelled.iter().all(|record| record.set.scores.is_some()) {
        for aggregator in Aggregator::ALL {
            choices.add(aggregator.name(), |record| record.chosen(best(&record.values(aggregator, options.reference))));
        }
        for aggregator in [Aggregator::Min, Aggregator::Last, Aggregator::Average] {
            choices.add(&format!("weighted_vote_{}", aggregator.name()), |record| {
                record.chosen(record.weighted(aggregator))
            });
        }
    }
    if labelled.iter().all(|record| record.set.logprobs.is_some()) {
        choices.add("logprob_worst_step", |record| record.chosen(best(&record.logprobs(worst_step))));
        choices.add("logprob_mean", |record| record.chosen(best(&record.logprobs(mean_token))));
    }
    choices.choices
}

struct Labelled<'a> {
    set: &'a CandidateSet,
    answers: &'a [Option<String>],
    labels: &'a [bool],
}

impl Labelled<'_> {
    fn pass(&self, k: usize) -> f64 {
        pass_at_k(self.labels.len(), self.labels.iter().filter(|label| **label).count(), k)
    }

    fn chosen(&self, choice: Option<usize>) -> f64 {
        f64::from(choice.and_then(|index| self.labels.get(index)).is_some_and(|label| *label))
    }

    fn values(&self, aggregator: Aggregator, reference: bool) -> Vec<f64> {
        let without_steps = if reference { 0.0 } else { f64::NEG_INFINITY };
        let scores = self.set.scores.as_deref().unwrap_or_default();
        scores.iter().map(|steps| aggregator.apply(steps).unwrap_or(without_steps)).collect()
    }

    /// The first candidate of the answer whose candidates have the largest sum of values.
    fn weighted(&self, aggregator: Aggregator) -> Option<usize> {
        let values = self.values(aggregator, true);
        let mut votes: HashMap<&str, (f64, usize)> = HashMap::new();
        for (index, (answer, value)) in self.answers.iter().zip(values).enumerate() {
            if let Some(answer) = answer {
                votes.entry(answer).or_insert((0.0, index)).0 += value;
            }
        }
        let heavier = |a: &(f64, usize), b: &(f64, usize)| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1));
        votes.into_values().max_by(heavier).map(|(_, first)| first)
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

struct Table<'a> {
    records: &'a [Labelled<'a>],
    options: Options,
    choices: Vec<Choice>,
}

impl Table<'_> {
    fn add(&mut self, name: &str, success: impl Fn(&Labelled<'_>) -> f64) {
        let successes: Vec<f64> = self.records.iter().map(success).collect();
        let (total, correct) = (successes.len(), successes.iter().sum::<f64>());
        let accuracy = correct / total.max(1) as f64;
        let ci = interval(&successes, self.options.seed);
        self.choices.push(Choice { name: name.to_owned(), accuracy, correct, total, ci });
    }
}

/// The 2.5th and 97.5th percentile of the mean over resampled problems.
fn interval(successes: &[f64], seed: u64) -> [f64; 2] {
    if successes.is_empty() {
        return [0.0; 2];
    }
    // Every choice sees the same resamplings, so that intervals compare.
    let mut random = Random::new(seed);
    let mut means: Vec<f64> = (0..RESAMPLINGS)
        .map(|_| {
            let draw = |_| successes[random.below(successes.len())];
            (0..successes.len()).map(draw).sum::<f64>() / successes.len() as f64
        })
        .collect();
    means.sort_by(f64::total_cmp);
    [means[RESAMPLINGS / 40], means[RESAMPLINGS - 1 - RESAMPLINGS / 40]]
}
