//! Validation on held-out samples: loss, for PRMs step accuracy and ROC AUC, for implicit PRMs the accuracy of their choices.
//!
//! ```
//! use mmprm::train::data::Sample;
//! use mmprm::train::validation::hold_out;
//! let sample = |problem| Sample { id: String::new(), problem, tokens: vec![], images: vec![], targets: vec![],
//!     right: None, prefixes: vec![] };
//! let (kept, held) = hold_out((0..40).map(|index| sample(index / 4)).collect(), 0.3, 1);
//! assert_eq!((kept.len(), held.len()), (28, 12)); // whole problems
//! ```

use serde::Serialize;

use super::data::{Dataset, Sample};
use super::learner::{Learner, LearnerError};
use super::pack::{Packing, PackingLimits, Sequence, SequenceTargets, WeightedPath, divisor};
use crate::compat::random::Random;
use crate::util::auc::auc;

/// The threshold of scores and labels from which a step counts as correct.
const THRESHOLD: f32 = 0.5;

/// Results of a validation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Validation {
    /// Weighted mean loss of the targets, or mean loss of what is compared.
    pub loss: f64,
    /// Total weight of the targets, or number of what is compared: solutions, or problems.
    pub targets: f64,
    /// Weighted fraction of steps, or of candidates with a reference model, whose score and label are on the same side of 0.5.
    pub accuracy: Option<f64>,
    /// ROC AUC of the same scores against labels of at least 0.5, weighted.
    pub auc: Option<f64>,
    /// Fraction of problems with right and wrong candidates whose candidate of the highest score is right (implicit PRM).
    pub best_of_n: Option<f64>,
}

/// Validates a model on the samples of `data`.
///
/// # Errors
/// [`LearnerError`].
pub fn validate(learner: &mut dyn Learner, data: &Dataset, limits: &PackingLimits) -> Result<Validation, LearnerError> {
    let limits = PackingLimits { shuffle: false, ..*limits };
    let packing = Packing::new(&data.samples, data.special.context, &limits, 0);
    let (mut loss, mut targets, mut steps, mut agree) = (0.0, 0.0, 0.0, 0.0);
    let (mut scores, mut mixed, mut chosen) = (Vec::new(), 0, 0);
    // Candidates have one score each.
    let has_candidates = data.samples.iter().any(|sample| sample.right.is_some());
    for batch in packing.epoch(0) {
        for sequence in packing.sequences(&data.samples, &batch) {
            let outcome = learner.loss(&sequence, 1.0)?;
            loss += outcome.loss;
            targets += sequence.weight();
            if has_candidates {
                let (of, right) = choices(&sequence, &outcome.outputs);
                (mixed, chosen) = (mixed + of, chosen + right);
            }
            let own = step_scores(&sequence, &outcome.outputs);
            steps += own.iter().map(|(_, _, weight)| weight).sum::<f64>();
            for (score, label, weight) in own {
                let positive = label >= THRESHOLD;
                agree += if (score >= THRESHOLD) == positive { weight } else { 0.0 };
                scores.push((f64::from(score), positive, weight));
            }
        }
    }
    let is_prm = !scores.is_empty();
    Ok(Validation {
        loss: loss / divisor(targets),
        targets,
        accuracy: is_prm.then(|| agree / divisor(steps)),
        auc: auc(&scores),
        best_of_n: has_candidates.then(|| f64::from(chosen) / divisor(f64::from(mixed))),
    })
}

/// The number of problems, among those with right and wrong candidates, and how many of them have a right candidate of the highest
/// score.
fn choices(sequence: &Sequence, scores: &[f32]) -> (u32, u32) {
    let verdicts: Vec<Vec<bool>> = match &sequence.targets {
        SequenceTargets::Ranking(_, problems) => {
            problems.iter().map(|problem| problem.iter().map(|candidate| candidate.right).collect()).collect()
        }
        SequenceTargets::Ratio(_, problems) => {
            let is_right =
                |solution: &WeightedPath| solution.path.prefixes.iter().all(|prefix| prefix.label >= THRESHOLD);
            problems.iter().map(|problem| problem.iter().map(is_right).collect()).collect()
        }
        SequenceTargets::Labels(..) | SequenceTargets::Tokens(_) => return (0, 0),
    };
    let (mut rest, mut mixed, mut count) = (scores, 0, 0);
    for verdicts in verdicts {
        let (own, after) = rest.split_at(verdicts.len());
        rest = after;
        let best = (0..own.len()).max_by(|a, b| own[*a].total_cmp(&own[*b]));
        let is_mixed = verdicts.contains(&true) && verdicts.contains(&false);
        mixed += u32::from(is_mixed);
        count += u32::from(is_mixed && best.is_some_and(|best| verdicts[best]));
    }
    (mixed, count)
}

/// Scores, labels and weights of the steps of a sequence, or of the prefixes of its solutions.
fn step_scores(sequence: &Sequence, scores: &[f32]) -> Vec<(f32, f32, f64)> {
    let labelled: Vec<(f32, f64)> = match &sequence.targets {
        SequenceTargets::Labels(labels, _) => labels.iter().copied().zip(sequence.weights.iter().copied()).collect(),
        SequenceTargets::Ratio(_, problems) => {
            let of = |solution: &WeightedPath| {
                let weights = solution.weights.iter().map(|weight| f64::from(*weight));
                let labels = solution.path.prefixes.iter().map(|prefix| prefix.label);
                labels.zip(weights).collect::<Vec<_>>()
            };
            problems.iter().flatten().flat_map(of).collect()
        }
        SequenceTargets::Tokens(_) | SequenceTargets::Ranking(..) => Vec::new(),
    };
    scores.iter().zip(labelled).map(|(score, (label, weight))| (*score, label, weight)).collect()
}

/// Splits samples into a training and a validation set; the latter gets the samples of the fraction `fraction` of problems,
/// at least one problem if it is not 0. All samples of a problem are in the same set.
pub fn hold_out(samples: Vec<Sample>, fraction: f64, seed: u64) -> (Vec<Sample>, Vec<Sample>) {
    if fraction <= 0.0 {
        return (samples, Vec::new());
    }
    let mut problems: Vec<u64> = samples.iter().map(|sample| sample.problem).collect();
    problems.sort_unstable();
    problems.dedup();
    let count = ((problems.len() as f64 * fraction).round() as usize).max(1);
    let chosen = Random::new(seed).sample(problems.len(), count.min(problems.len()));
    let held: std::collections::HashSet<u64> = chosen.into_iter().map(|index| problems[index]).collect();
    samples.into_iter().partition(|sample| !held.contains(&sample.problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_held_out_whole() {
        let sample = |problem| Sample {
            id: String::new(),
            problem,
            tokens: vec![],
            images: vec![],
            targets: vec![],
            right: None,
            prefixes: vec![],
        };
        let samples: Vec<Sample> = (0..40).map(|index| sample(index / 4)).collect();
        let (kept, held) = hold_out(samples.clone(), 0.3, 1);
        assert_eq!((kept.len(), held.len()), (28, 12));
        assert!(held.iter().all(|held| kept.iter().all(|kept| kept.problem != held.problem)));
        assert_eq!(hold_out(samples.clone(), 0.3, 1).1, held);
        assert!(hold_out(samples.clone(), 0.0, 1).1.is_empty());
        assert_eq!(hold_out(samples, 0.001, 1).1.len(), 4);
    }
}
