//! Accuracy against the number of candidates.
//!
//! The accuracy of a rule at `n` is that of selecting among `n` candidates drawn at random from those of the file, without
//! replacement; of a problem with fewer, all. For rules that rank candidates by a value of their own, and for pass@n, the mean
//! over all subsets of `n` is computed exactly; for votes it is the mean over [`SUBSETS`] random ones.
//! With all candidates the figures are those of [`bon`](super::bon).
//!
//! ```
//! use mmprm::data::candidates::parse;
//! use mmprm::eval::curve::curves;
//! let text = r#"[{"question": "1+1?", "solutions_splits": [["Answer: 3"], ["Answer: 2"]], "labels": [0, 1],
//!                 "prm_scores": [[0.1], [0.9]]}]"#;
//! let sets = parse("scored.json".as_ref(), text.as_bytes()).unwrap();
//! let curves = curves(&sets, 0);
//! let min = curves.lines.iter().find(|line| line.name == "min").unwrap();
//! assert_eq!(curves.counts, [1, 2]);
//! assert_eq!((min.points[0].accuracy, min.points[1].accuracy), (0.5, 1.0));
//! ```

use std::collections::HashMap;

use serde::Serialize;

use super::metrics::{best, pass_at_k};
use super::selection::{Contenders, Selection};
use crate::compat::random::Random;
use crate::data::candidates::CandidateSet;
use crate::util::random::{CounterStream, mix};

/// Random subsets of each size that the accuracy of a vote is averaged over.
pub const SUBSETS: usize = 64;

/// Bootstrap resamples of the problems per interval, as in [`bon`](super::bon).
const RESAMPLES: usize = 2000;

/// The accuracy with one number of candidates.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Point {
    /// Mean over the problems.
    pub accuracy: f64,
    /// 95 % confidence interval: percentiles over bootstrap resamples of the problems.
    pub ci: [f64; 2],
}

/// The accuracy of one rule at each of [`Curves::counts`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line {
    /// The rule's name, or `oracle` for any right candidate (pass@n).
    pub name: String,
    /// A point for each number of candidates.
    pub points: Vec<Point>,
}

/// The accuracy of all rules against the number of candidates.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Curves {
    /// 1, 2, 4 and so on, up to the largest number of candidates.
    pub counts: Vec<usize>,
    /// The oracle and every rule that all problems have the fields for.
    pub lines: Vec<Line>,
}

/// Computes the curves over the problems that count: neither failed, nor without labels, nor unscored where others have scores.
pub fn curves(sets: &[CandidateSet], seed: u64) -> Curves {
    mean_curves(&[counted(sets)], seed)
}

/// As [`curves`], of the same problems scored several times, as by reward models of several seeds: the success in a problem is the mean
/// over the runs. Each run has the same problems, in one order, and all of them count.
pub fn mean_curves(runs: &[Vec<&CandidateSet>], seed: u64) -> Curves {
    let all = || runs.iter().flatten();
    let max = all().map(|set| set.solutions.len()).max().unwrap_or(0);
    let mut counts: Vec<usize> = std::iter::successors(Some(1), |n| Some(n * 2)).take_while(|n| *n < max).collect();
    if max > 0 {
        counts.push(max);
    }
    let records: Vec<Vec<Record<'_>>> =
        runs.iter().map(|run| run.iter().filter_map(|&set| Record::new(set)).collect()).collect();
    let problems = records.first().map_or(0, Vec::len);
    let resamples = Resamples::new(problems, seed);
    let line = |name: String, accuracy: &dyn Fn(usize, &Record<'_>, usize) -> f64| {
        let mean = |index: usize, n: usize| {
            records.iter().map(|run| accuracy(index, &run[index], n)).sum::<f64>() / records.len() as f64
        };
        let points = counts.iter().map(|&n| {
            let values: Vec<f64> = (0..problems).map(|index| mean(index, n)).collect();
            resamples.point(&values)
        });
        Line { name, points: points.collect() }
    };
    let oracle = |_: usize, record: &Record<'_>, n: usize| {
        pass_at_k(record.labels.len(), record.labels.iter().filter(|label| **label).count(), n)
    };
    let mut lines = vec![line("oracle".to_owned(), &oracle)];
    for rule in Selection::all() {
        if problems == 0 || all().any(|set| rule.missing(set).is_some()) {
            continue;
        }
        lines.push(match rule {
            Selection::Majority | Selection::WeightedVote(_) => line(rule.name(), &|index, record, n| {
                let draws = CounterStream::new(mix(mix(seed) ^ index as u64 ^ (n as u64) << 32));
                record.vote(&record.weights(rule), n, draws)
            }),
            _ => line(rule.name(), &|_, record, n| record.ranked(&record.contenders.values(rule), n)),
        });
    }
    Curves { counts, lines }
}

/// The problems that figures are of.
pub fn counted(sets: &[CandidateSet]) -> Vec<&CandidateSet> {
    let has_labels = |set: &CandidateSet| set.labels.as_ref().is_some_and(|labels| !labels.is_empty());
    let labelled: Vec<&CandidateSet> = sets.iter().filter(|set| !set.failed && has_labels(set)).collect();
    let is_scored = labelled.iter().any(|set| set.scores.is_some());
    labelled.into_iter().filter(|set| !is_scored || set.scores.is_some()).collect()
}

/// A problem with its answers compared.
struct Record<'a> {
    labels: &'a [bool],
    contenders: Contenders<'a>,
}

impl<'a> Record<'a> {
    fn new(set: &'a CandidateSet) -> Option<Self> {
        Some(Self { labels: set.labels.as_deref()?, contenders: Contenders::new(set) })
    }

    /// The probability that the candidate with the highest value, the first of equals, of a random subset of `n` is right.
    fn ranked(&self, values: &[f64], n: usize) -> f64 {
        let (total, n) = (values.len(), n.min(values.len()));
        let mut order: Vec<usize> = (0..total).collect();
        order.sort_by(|&a, &b| values[b].partial_cmp(&values[a]).unwrap_or(std::cmp::Ordering::Equal));
        if n == total {
            return best(values).map_or(0.0, |index| f64::from(u8::from(self.labels[index])));
        }
        // The probability that none of the first `rank` is drawn and the next one is.
        let (mut right, mut none_before) = (0.0, 1.0);
        for (rank, &index) in order.iter().enumerate() {
            let drawn = n as f64 / (total - rank) as f64;
            if self.labels[index] {
                right += none_before * drawn.min(1.0);
            }
            none_before *= (1.0 - drawn).max(0.0);
        }
        right
    }

    /// The weight of each candidate's vote.
    fn weights(&self, rule: Selection) -> Vec<f64> {
        match rule {
            Selection::WeightedVote(aggregator) => {
                let values = self.contenders.values(Selection::Score(aggregator));
                values.into_iter().map(|value| if value == f64::NEG_INFINITY { 0.0 } else { value }).collect()
            }
            _ => vec![1.0; self.labels.len()],
        }
    }

    /// The fraction of random subsets of `n` in which the answer with the most votes is right.
    fn vote(&self, weights: &[f64], n: usize, draws: CounterStream) -> f64 {
        let total = self.labels.len();
        if n >= total {
            return f64::from(u8::from(self.winner(weights, &(0..total).collect::<Vec<_>>())));
        }
        if n == 1 {
            // Each candidate wins alone, unless it has no answer to vote for.
            let answers = self.contenders.answers();
            let right = (0..total).filter(|&index| self.labels[index] && answers[index].is_some()).count();
            return right as f64 / total as f64;
        }
        let subset = |number: usize| {
            let mut indices: Vec<usize> = (0..total).collect();
            for at in 0..n {
                let random = draws.uniform((number * total + at) as u64);
                indices.swap(at, at + (random * (total - at) as f64) as usize);
            }
            indices.truncate(n);
            // Ties go to the earliest candidate of the file.
            indices.sort_unstable();
            indices
        };
        let right = (0..SUBSETS).filter(|&number| self.winner(weights, &subset(number))).count();
        right as f64 / SUBSETS as f64
    }

    /// Whether the first candidate with the answer of the largest sum of weights is right.
    fn winner(&self, weights: &[f64], subset: &[usize]) -> bool {
        let answers = self.contenders.answers();
        let mut sums: HashMap<&str, f64> = HashMap::new();
        for &index in subset {
            if let Some(answer) = &answers[index] {
                *sums.entry(answer).or_default() += weights[index];
            }
        }
        let votes = |&index: &usize| {
            let sum = answers[index].as_deref().and_then(|answer| sums.get(answer).copied());
            sum.unwrap_or(f64::NEG_INFINITY)
        };
        let votes: Vec<f64> = subset.iter().map(votes).collect();
        best(&votes).is_some_and(|at| answers[subset[at]].is_some() && self.labels[subset[at]])
    }
}

/// Bootstrap resamples of the problems, the same as [`bon`](super::bon) draws.
struct Resamples {
    count: usize,
    indices: Vec<u32>,
}

impl Resamples {
    fn new(count: usize, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let draws = if count == 0 { 0 } else { RESAMPLES * count };
        Self { count, indices: (0..draws).map(|_| random.below(count) as u32).collect() }
    }

    fn point(&self, values: &[f64]) -> Point {
        if values.is_empty() {
            return Point { accuracy: 0.0, ci: [0.0; 2] };
        }
        let mean =
            |indices: &[u32]| indices.iter().map(|&index| values[index as usize]).sum::<f64>() / self.count as f64;
        let mut means: Vec<f64> = self.indices.chunks(self.count).map(mean).collect();
        means.sort_by(f64::total_cmp);
        let ci = [means[RESAMPLES / 40], means[RESAMPLES - 1 - RESAMPLES / 40]];
        Point { accuracy: values.iter().sum::<f64>() / self.count as f64, ci }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::candidates::parse;
    use crate::eval::bon::{BonOptions, report};

    fn sets() -> Vec<CandidateSet> {
        let record = |labels: [u8; 4], answers: [u8; 4], scores: [f64; 4]| {
            let steps = answers.map(|answer| format!(r#"["Answer: {answer}"]"#)).join(",");
            let scores = scores.map(|score| format!("[{score}]")).join(",");
            format!(
                r#"{{"question": "q", "labels": {labels:?}, "solutions_splits": [{steps}], "prm_scores": [{scores}]}}"#
            )
        };
        let records = [
            record([1, 0, 0, 0], [1, 2, 2, 3], [0.9, 0.5, 0.4, 0.3]),
            record([0, 0, 1, 0], [2, 2, 1, 3], [0.5, 0.5, 0.7, 0.9]),
            record([1, 1, 1, 0], [1, 1, 1, 3], [0.1, 0.2, 0.3, 0.4]),
            r#"{"question": "q", "solutions_splits": [], "error": "no image"}"#.to_owned(),
            r#"{"question": "q", "solutions_splits": [["a"]], "labels": [1], "prm_scores": null}"#.to_owned(),
        ];
        parse("c.json".as_ref(), format!("[{}]", records.join(",")).as_bytes()).unwrap()
    }

    #[test]
    fn the_curve_of_a_small_case_is_as_by_hand() {
        let curves = curves(&sets(), 0);
        assert_eq!(curves.counts, [1, 2, 4]);
        let line = |name: &str| curves.lines.iter().find(|line| line.name == name).unwrap();
        let values = |name: &str| line(name).points.iter().map(|point| point.accuracy).collect::<Vec<_>>();
        let close = |found: Vec<f64>, expected: [f64; 3]| {
            assert!(found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-12), "{found:?}");
        };
        // A random candidate is right with 1/4, 1/4 and 3/4. Of the six pairs of the first problem three have candidate 0,
        // which scores best; of the second two have candidate 2 and not candidate 3; of the third three lack candidate 3.
        close(values("min"), [1.25 / 3.0, (3.0 / 6.0 + 2.0 / 6.0 + 3.0 / 6.0) / 3.0, 1.0 / 3.0]);
        close(values("oracle"), [1.25 / 3.0, (0.5 + 0.5 + 1.0) / 3.0, 1.0]);
        assert!((values("majority")[0] - 1.25 / 3.0).abs() < 1e-12);
        assert!((values("majority")[2] - 1.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn with_all_candidates_the_figures_are_those_of_best_of_n() {
        let sets = sets();
        let (curves, bon) = (curves(&sets, 7), report(&sets, BonOptions { seed: 7, ..BonOptions::default() }));
        assert_eq!(counted(&sets).len(), bon.used);
        assert!(curves.lines.len() > 10);
        for line in &curves.lines {
            let method = bon.methods.iter().find(|method| method.name == line.name).unwrap();
            let last = line.points.last().unwrap();
            assert_eq!((last.accuracy, last.ci), (method.accuracy, method.ci), "{}", line.name);
            assert!((line.points[0].accuracy - curves.lines[0].points[0].accuracy).abs() < 1e-12, "{}", line.name);
        }
    }

    #[test]
    fn without_problems_there_are_no_lines_to_draw() {
        let curves = curves(&[], 0);
        assert!(curves.counts.is_empty() && curves.lines.len() == 1 && curves.lines[0].points.is_empty());
    }
}
