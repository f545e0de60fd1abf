//! Validation on held-out samples: loss, and for PRMs step accuracy and ROC AUC.
//!
//! ```
//! use mmprm::train::validation::auc;
//! // Score, whether the label is positive, and weight.
//! assert_eq!(auc(&[(0.9, true, 1.0), (0.2, false, 1.0), (0.9, false, 2.0)]), Some(2.0 / 3.0));
//! assert_eq!(auc(&[(0.9, true, 1.0)]), None);
//! ```

use serde::Serialize;

use super::data::{Dataset, Sample};
use super::learner::{Learner, LearnerError};
use super::pack::{Packing, PackingLimits, Sequence, SequenceTargets, divisor};
use crate::compat::random::Random;

/// The threshold of scores and labels from which a step counts as correct.
const THRESHOLD: f32 = 0.5;

/// Results of a validation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Validation {
    /// Weighted mean loss of the targets.
    pub loss: f64,
    /// Total weight of the targets.
    pub targets: f64,
    /// Weighted fraction of steps whose score and label are on the same side of 0.5 (PRM).
    pub accuracy: Option<f64>,
    /// ROC AUC of the scores against labels of at least 0.5, weighted (PRM).
    pub auc: Option<f64>,
}

/// ROC AUC, weighted; ties count one half. `None` if all labels are equal. Items are a score, whether the label is positive,
/// and a weight.
pub fn auc(scores: &[(f32, bool, f64)]) -> Option<f64> {
    let mut sorted = scores.to_vec();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut negative_below, mut positive, mut above) = (0.0, 0.0, 0.0);
    for ties in sorted.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq()) {
        let weight =
            |side| ties.iter().filter(|(_, label, _)| *label == side).map(|(_, _, weight)| weight).sum::<f64>();
        let (positives, negatives) = (weight(true), weight(false));
        above += positives * (negative_below + 0.5 * negatives);
        negative_below += negatives;
        positive += positives;
    }
    let pairs = positive * negative_below;
    (pairs > 0.0).then(|| above / pairs)
}

/// Validates a model on the samples of `data`.
///
/// # Errors
/// [`LearnerError`].
pub fn validate(learner: &mut dyn Learner, data: &Dataset, limits: &PackingLimits) -> Result<Validation, LearnerError> {
    let limits = PackingLimits { shuffle: false, ..*limits };
    let packing = Packing::new(&data.samples, data.special.context, &limits, 0);
    let (mut loss, mut targets, mut agree, mut scores) = (0.0, 0.0, 0.0, Vec::new());
    for batch in packing.epoch(0) {
        for sequence in packing.sequences(&data.samples, &batch) {
            let outcome = learner.loss(&sequence, 1.0)?;
            loss += outcome.loss;
            targets += sequence.weight();
            for (score, label, weight) in step_scores(&sequence, &outcome.outputs) {
                let positive = label >= THRESHOLD;
                agree += if (score >= THRESHOLD) == positive { weight } else { 0.0 };
                scores.push((score, positive, weight));
            }
        }
    }
    let is_prm = !scores.is_empty();
    Ok(Validation {
        loss: loss / divisor(targets),
        targets,
        accuracy: is_prm.then(|| agree / divisor(targets)),
        auc: auc(&scores),
    })
}

/// Scores, labels and weights of the steps of a sequence.
fn step_scores<'a>(sequence: &'a Sequence, scores: &'a [f32]) -> impl Iterator<Item = (f32, f32, f64)> + 'a {
    let labels: &[f32] = match &sequence.targets {
        SequenceTargets::Labels(labels) => labels,
        SequenceTargets::Tokens(_) => &[],
    };
    let rows = scores.iter().zip(labels).zip(&sequence.weights);
    rows.map(|((score, label), weight)| (*score, *label, *weight))
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
    fn the_area_counts_ordered_pairs() {
        let scores = [(0.1, false, 1.0), (0.4, true, 1.0), (0.35, false, 1.0), (0.8, true, 1.0)];
        assert_eq!(auc(&scores), Some(1.0));
        assert_eq!(auc(&[(0.5, false, 3.0), (0.5, true, 2.0)]), Some(0.5));
        assert_eq!(auc(&[(0.9, false, 1.0), (0.1, true, 1.0)]), Some(0.0));
        assert_eq!(auc(&[]), None);
    }

    #[test]
    fn problems_are_held_out_whole() {
        let sample = |problem| Sample { id: String::new(), problem, tokens: vec![], images: vec![], targets: vec![] };
        let samples: Vec<Sample> = (0..40).map(|index| sample(index / 4)).collect();
        let (kept, held) = hold_out(samples.clone(), 0.3, 1);
        assert_eq!((kept.len(), held.len()), (28, 12));
        assert!(held.iter().all(|held| kept.iter().all(|kept| kept.problem != held.problem)));
        assert_eq!(hold_out(samples.clone(), 0.3, 1).1, held);
        assert!(hold_out(samples.clone(), 0.0, 1).1.is_empty());
        assert_eq!(hold_out(samples, 0.001, 1).1.len(), 4);
    }
}
