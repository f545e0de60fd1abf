//! Best-of-N: the accuracy of each way to select among candidates, with confidence intervals.
//!
//! Uses what files of candidates contain: labels, step scores, the policy's log-probabilities, and
//! the answers themselves for majority votes.
//!
//! ```
//! use mmprm::eval::bon::{BonOptions, report};
//! use mmprm::data::candidates::parse;
//! let text = r#"[{"question": "1+1?", "solutions_splits": [["Answer: 3"], ["Answer: 2"]], "labels": [0, 1],
//!                 "prm_scores": [[0.1], [0.9]]}]"#;
//! let sets = parse("scored.json".as_ref(), text.as_bytes()).unwrap();
//! let report = report(&sets, BonOptions::default());
//! assert_eq!((report.used, report.failed, report.unlabelled, report.unscored), (1, 0, 0, 0));
//! let min = report.methods.iter().find(|method| method.name == "min").unwrap();
//! assert_eq!((min.correct, min.total), (1.0, 1));
//! ```

use std::collections::BTreeMap;

use serde::Serialize;

use super::metrics::pass_at_k;
use super::selection::{Contenders, Selected, Selection};
use crate::compat::random::Random;
use crate::data::candidates::CandidateSet;

/// Bootstrap resamples of the problems per interval.
const RESAMPLES: usize = 2000;

/// How to compute a report.
#[derive(Debug, Clone, Copy, Default)]
pub struct BonOptions {
    /// Gives a candidate without steps the value 0, as MM-PRM does, which ranks it above others for
    /// sums of logarithms. Otherwise it ranks last.
    pub reference: bool,
    /// Random seed of the bootstrap.
    pub seed: u64,
}

/// A selection method and its accuracy.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MethodAccuracy {
    /// The method.
    #[serde(skip)]
    pub name: String,
    /// The fraction of problems for which a right candidate is selected.
    pub accuracy: f64,
    /// The number of these problems; an expectation for random methods.
    pub correct: f64,
    /// Problems that count.
    pub total: usize,
    /// 95 % confidence interval of the accuracy: percentiles over bootstrap resamples of the
    /// problems.
    pub ci: [f64; 2],
    /// Where records name the first error of each candidate (`step_errors`), the wrong candidates that the method selects, by
    /// the kind of their error.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub errors: BTreeMap<String, usize>,
    /// Of the problems in which it selects a right candidate and the majority a wrong one, that with the highest value.
    #[serde(skip)]
    pub beats_majority: Option<BeatsMajority>,
    /// Comparisons with choices that need no reward model ([`BASELINES`], as far as the file has them), on the same problems.
    pub against: Vec<Comparison>,
}

impl MethodAccuracy {
    /// Whether the method selects a candidate by itself: pass@k and the oracle need to know the right answer.
    pub fn selects(&self) -> bool {
        self.name.parse::<Selection>().is_ok()
    }

    /// The most accurate method that selects, the first of equals.
    pub fn best(methods: &[Self]) -> Option<&Self> {
        let rules = methods.iter().filter(|method| method.selects());
        rules.reduce(|best, other| if other.accuracy > best.accuracy { other } else { best })
    }
}

/// A problem in which a method is right and the majority is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BeatsMajority {
    /// Index of the record.
    pub set: usize,
    /// The candidate that the method selects.
    pub choice: usize,
    /// The candidate that the majority selects.
    pub majority: usize,
}

/// The difference of a method's accuracy from a baseline's, on the same problems.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The baseline's name.
    pub baseline: &'static str,
    /// Accuracy of the method minus that of the baseline.
    pub difference: f64,
    /// 95 % confidence interval of the difference: percentiles over bootstrap resamples of the problems.
    pub ci: [f64; 2],
}

/// The methods that every method is compared with.
pub const BASELINES: [&str; 3] = ["random", "majority", LOGPROB_MEAN];

/// The method that selects by the policy's mean log-probability of a token.
const LOGPROB_MEAN: &str = "logprob_mean";

/// The accuracy of each selection method, and which problems it is of.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Problems that every figure is of.
    pub used: usize,
    /// Problems left out because their candidates could not be generated.
    pub failed: usize,
    /// Problems left out because they have no labels, or no labelled candidate.
    pub unlabelled: usize,
    /// Problems left out because they could not be scored, where others have step scores.
    pub unscored: usize,
    /// Problems without the policy's log-probabilities, where others have them; then no method that
    /// uses these is listed.
    pub without_logprobs: usize,
    /// The methods.
    #[serde(skip)]
    pub methods: Vec<MethodAccuracy>,
}

impl Report {
    /// The problems left out, by reason: how many, and why; reasons without a problem are not among them.
    pub fn left_out(&self) -> Vec<(usize, &'static str)> {
        let reasons = [(self.failed, "failed"), (self.unlabelled, "without labels"), (self.unscored, "not scored")];
        reasons.into_iter().filter(|(count, _)| *count > 0).collect()
    }
}

/// The accuracy of each selection method, in order: a random candidate, pass@k, any right candidate
/// (oracle), the majority; where records have step scores, each
/// [aggregator](super::metrics::Aggregator) and the majority weighted by three of them; where all have log-probabilities, the
/// solution whose least likely step is likeliest and the one with the highest mean of token
/// log-probabilities. Problems that failed, are not labelled or not scored are left out of every figure
/// and counted.
pub fn report(sets: &[CandidateSet], options: BonOptions) -> Report {
    report_of(&sets.iter().enumerate().collect::<Vec<_>>(), options)
}

/// The [`report`] of the records with each value of `field`, by the values; `(none)` for those without it.
pub fn grouped(sets: &[CandidateSet], field: &str, options: BonOptions) -> Vec<(String, Report)> {
    let mut groups: BTreeMap<String, Vec<(usize, &CandidateSet)>> = BTreeMap::new();
    for (index, set) in sets.iter().enumerate() {
        groups.entry(set.group(field)).or_default().push((index, set));
    }
    groups.into_iter().map(|(value, sets)| (value, report_of(&sets, options))).collect()
}

/// The report of records with their indices.
fn report_of(sets: &[(usize, &CandidateSet)], options: BonOptions) -> Report {
    let failed = sets.iter().filter(|(_, set)| set.failed).count();
    let has_labels = |set: &CandidateSet| set.labels.as_ref().is_some_and(|labels| !labels.is_empty());
    let candidates: Vec<(usize, &CandidateSet)> =
        sets.iter().filter(|(_, set)| !set.failed && has_labels(set)).copied().collect();
    let unlabelled = sets.len() - failed - candidates.len();
    let is_scored = candidates.iter().any(|(_, set)| set.scores.is_some());
    let used: Vec<(usize, &CandidateSet)> =
        candidates.iter().filter(|(_, set)| !is_scored || set.scores.is_some()).copied().collect();
    let unscored = candidates.len() - used.len();
    let labelled: Vec<Labelled<'_>> = used
        .iter()
        .filter_map(|&(index, set)| {
            let contenders = Contenders::new(set).with_reference(options.reference);
            let majority = contenders.select(Selection::Majority).map(|selected| selected.index);
            Some(Labelled { index, labels: set.labels.as_deref()?, majority, contenders, set })
        })
        .collect();
    let max = labelled.iter().map(|record| record.labels.len()).max().unwrap_or(0);
    let mut methods = Table { records: &labelled, methods: Vec::new() };
    methods.add("random", |record| record.pass(1));
    for k in std::iter::successors(Some(2), |k| Some(k * 2)).take_while(|k| *k <= max) {
        methods.add(&format!("pass@{k}"), |record| record.pass(k));
    }
    methods.add("oracle", |record| record.pass(record.labels.len()));
    let without_logprobs = labelled.iter().filter(|record| record.set.logprobs.is_none()).count();
    for rule in Selection::all() {
        let is_possible = match rule {
            Selection::Majority => true,
            Selection::Score(_) | Selection::WeightedVote(_) => is_scored,
            Selection::LogprobWorstStep | Selection::LogprobMean => without_logprobs == 0 && !labelled.is_empty(),
        };
        if is_possible {
            methods.select(rule);
        }
    }
    let (methods, used) = (methods.finish(options.seed), labelled.len());
    let without_logprobs = if without_logprobs == used { 0 } else { without_logprobs };
    Report { used, failed, unlabelled, unscored, without_logprobs, methods }
}

struct Labelled<'a> {
    /// Index of the record.
    index: usize,
    set: &'a CandidateSet,
    majority: Option<usize>,
    contenders: Contenders<'a>,
    labels: &'a [bool],
}

impl Labelled<'_> {
    fn pass(&self, k: usize) -> f64 {
        pass_at_k(self.labels.len(), self.labels.iter().filter(|label| **label).count(), k)
    }

    fn is_right(&self, choice: Option<usize>) -> bool {
        choice.and_then(|index| self.labels.get(index)).is_some_and(|label| *label)
    }

    /// The kind of a candidate's first error, where the record names it.
    fn error(&self, choice: Option<usize>) -> Option<&str> {
        self.set.record.get("step_errors")?.get(choice?)?.as_str()
    }
}

struct Table<'a> {
    records: &'a [Labelled<'a>],
    methods: Vec<Method>,
}

/// A method with its success in each problem, and the errors of the wrong candidates that it selects.
struct Method {
    name: String,
    successes: Vec<f64>,
    errors: BTreeMap<String, usize>,
    beats_majority: Option<BeatsMajority>,
}

impl Table<'_> {
    /// Adds a method that succeeds with some probability.
    fn add(&mut self, name: &str, success: impl Fn(&Labelled<'_>) -> f64) {
        let successes = self.records.iter().map(success).collect();
        self.methods.push(Method { name: name.to_owned(), successes, errors: BTreeMap::new(), beats_majority: None });
    }

    /// Adds a method that selects a candidate.
    fn select(&mut self, rule: Selection) {
        let (mut successes, mut errors) = (Vec::new(), BTreeMap::new());
        let mut beats_majority: Option<(f64, BeatsMajority)> = None;
        for record in self.records {
            let selected = record.contenders.select(rule);
            let choice = selected.map(|selected| selected.index);
            let is_right = record.is_right(choice);
            successes.push(f64::from(u8::from(is_right)));
            if let (Some(Selected { index: choice, value, .. }), Some(majority)) = (selected, record.majority)
                && is_right
                && !record.is_right(record.majority)
                && beats_majority.is_none_or(|(highest, _)| value > highest)
            {
                beats_majority = Some((value, BeatsMajority { set: record.index, choice, majority }));
            }
            if let (false, Some(error)) = (is_right, record.error(choice)) {
                *errors.entry(error.to_owned()).or_default() += 1;
            }
        }
        let beats_majority = beats_majority.map(|(_, place)| place);
        self.methods.push(Method { name: rule.name(), successes, errors, beats_majority });
    }

    fn finish(self, seed: u64) -> Vec<MethodAccuracy> {
        let baseline = |name: &'static str| {
            self.methods.iter().find(|method| method.name == name).map(|method| (name, &method.successes))
        };
        let baselines: Vec<_> = BASELINES.into_iter().filter_map(baseline).collect();
        let accuracy = |Method { name, successes, errors, beats_majority }: &Method| {
            let (total, correct) = (successes.len(), successes.iter().sum::<f64>());
            let compare = |(baseline, others): &(&'static str, &Vec<f64>)| {
                let differences: Vec<f64> = successes.iter().zip(*others).map(|(own, other)| own - other).collect();
                let difference = differences.iter().sum::<f64>() / total.max(1) as f64;
                Comparison { baseline, difference, ci: interval(&differences, seed) }
            };
            MethodAccuracy {
                name: name.clone(),
                accuracy: correct / total.max(1) as f64,
                correct,
                total,
                ci: interval(successes, seed),
                errors: errors.clone(),
                beats_majority: *beats_majority,
                against: baselines.iter().filter(|(baseline, _)| baseline != name).map(compare).collect(),
            }
        };
        self.methods.iter().map(accuracy).collect()
    }
}

/// The 2.5th and 97.5th percentile of the mean over bootstrap resamples.
pub(super) fn interval(successes: &[f64], seed: u64) -> [f64; 2] {
    if successes.is_empty() {
        return [0.0; 2];
    }
    // Every method sees the same resamples, so that intervals are comparable.
    let mut random = Random::new(seed);
    let mut means: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let draw = |_| successes[random.below(successes.len())];
            (0..successes.len()).map(draw).sum::<f64>() / successes.len() as f64
        })
        .collect();
    means.sort_by(f64::total_cmp);
    [means[RESAMPLES / 40], means[RESAMPLES - 1 - RESAMPLES / 40]]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::candidates::parse;

    #[test]
    fn problems_that_failed_are_left_out_and_counted() {
        let good = r#"{"question": "q", "solutions_splits": [["Answer: 3"], ["Answer: 2"]], "labels": [0, 1], "prm_scores": [[0.1], [0.9]]}"#;
        let failed =
            r#"{"question": "q", "solutions_splits": [], "labels": [], "error": "no image", "prm_scores": []}"#;
        let unscored =
            r#"{"question": "q", "solutions_splits": [["a"]], "labels": [1], "prm_scores": null, "prm_error": "x"}"#;
        let unlabelled = r#"{"question": "q", "solutions_splits": [["a"]], "prm_scores": [[0.5]]}"#;
        let undrawn = r#"{"question": "q", "solutions_splits": [], "labels": [], "unjudged": 2, "prm_scores": []}"#;
        let of = |records: &[&str]| {
            let sets = parse("c.json".as_ref(), format!("[{}]", records.join(",")).as_bytes()).unwrap();
            report(&sets, BonOptions::default())
        };
        let (alone, among) = (of(&[good]), of(&[failed, unscored, good, unlabelled, undrawn]));
        let figures = |report: &Report| {
            let without_place = |method: &MethodAccuracy| MethodAccuracy { beats_majority: None, ..method.clone() };
            report.methods.iter().map(without_place).collect::<Vec<_>>()
        };
        assert_eq!(figures(&alone), figures(&among));
        let min = among.methods.iter().find(|method| method.name == "min").unwrap();
        assert_eq!(min.beats_majority, Some(BeatsMajority { set: 2, choice: 1, majority: 0 }));
        assert_eq!((among.used, among.failed, among.unlabelled, among.unscored), (1, 1, 2, 1));
        assert!(among.methods.iter().any(|method| method.name == "min"));
        let none = of(&[failed, failed]);
        assert_eq!((none.used, none.failed), (0, 2));
        let plain = of(&[r#"{"question": "q", "solutions_splits": [["a"]], "labels": [1]}"#]);
        assert!(plain.used == 1 && plain.unscored == 0 && !plain.methods.iter().any(|method| method.name == "min"));
    }
}
