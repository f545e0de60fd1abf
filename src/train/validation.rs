//! How well a model does on samples that it does not learn from: loss, and for judges of steps accuracy and area under the
//! curve.
//!
//! ```
//! use mmprm::train::validation::auc;
//! // Scores, whether the label says right, and how much each counts.
//! assert_eq!(auc(&[(0.9, true, 1.0), (0.2, false, 1.0), (0.9, false, 2.0)]), Some(2.0 / 3.0));
//! assert_eq!(auc(&[(0.9, true, 1.0)]), None);
//! ```

use serde::Serialize;

use super::data::{Dataset, Sample};
use super::learner::{LearnError, Learner};
use super::pack::{Aims, Limits, Packing, Sequence, divisor};
use crate::compat::random::Random;

/// From this label on a step counts as right.
const RIGHT: f32 = 0.5;

/// Results of a validation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Validation {
    /// Mean loss of the targets.
    pub loss: f64,
    /// Weight of the targets, those that samples share counted for each.
    pub targets: f64,
    /// Share of the steps on whose side of one half score and label agree.
    pub accuracy: Option<f64>,
    /// Chance that a step with a label of one half or more scores above one with a lower label.
    pub auc: Option<f64>,
}

/// Area under the receiver's curve of scores, each right or wrong and with a weight; equal scores count half.
/// Nothing where all are right or all wrong.
pub fn auc(scores: &[(f32, bool, f64)]) -> Option<f64> {
    let mut sorted = scores.to_vec();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut wrong_below, mut right, mut above) = (0.0, 0.0, 0.0);
    for equal in sorted.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq()) {
        let count = |side| equal.iter().filter(|(_, right, _)| *right == side).map(|(_, _, count)| count).sum::<f64>();
        let (rights, wrongs) = (count(true), count(false));
        above += rights * (wrong_below + 0.5 * wrongs);
        wrong_below += wrongs;
        right += rights;
    }
    let pairs = right * wrong_below;
    (pairs > 0.0).then(|| above / pairs)
}

/// Runs a model on samples.
///
/// # Errors
/// [`LearnError`].
pub fn validate(learner: &mut dyn Learner, data: &Dataset, limits: &Limits) -> Result<Validation, LearnError> {
    let limits = Limits { shuffle: false, ..*limits };
    let packing = Packing::new(&data.samples, data.words.context, &limits, 0);
    let (mut loss, mut targets, mut agree, mut scores) = (0.0, 0.0, 0.0, Vec::new());
    for batch in packing.epoch(0) {
        for sequence in packing.sequences(&data.samples, &batch) {
            let outcome = learner.loss(&sequence, 1.0)?;
            loss += outcome.loss;
            targets += sequence.weight();
            for (score, label, weight) in judged(&sequence, &outcome.outputs) {
                let right = label >= RIGHT;
                agree += if (score >= RIGHT) == right { weight } else { 0.0 };
                scores.push((score, right, weight));
            }
        }
    }
    let judges = !scores.is_empty();
    Ok(Validation {
        loss: loss / divisor(targets),
        targets,
        accuracy: judges.then(|| agree / divisor(targets)),
        auc: auc(&scores),
    })
}

/// Scores, labels and weights of the steps of a sequence.
fn judged<'a>(sequence: &'a Sequence, scores: &'a [f32]) -> impl Iterator<Item = (f32, f32, f64)> + 'a {
    let labels: &[f32] = match &sequence.aims {
        Aims::Labels(labels) => labels,
        Aims::Tokens(_) => &[],
    };
    let rows = scores.iter().zip(labels).zip(&sequence.weights);
    rows.map(|((score, label), weight)| (*score, *label, *weight))
}

/// Takes the samples of a share of the problems away from `samples`, at least those of one problem where the share is not 0.
/// All samples of a problem go together, so that no problem is both learnt from and validated on.
pub fn hold_out(samples: Vec<Sample>, share: f64, seed: u64) -> (Vec<Sample>, Vec<Sample>) {
    if share <= 0.0 {
        return (samples, Vec::new());
    }
    let mut problems: Vec<u64> = samples.iter().map(|sample| sample.problem).collect();
    problems.sort_unstable();
    problems.dedup();
    let count = ((problems.len() as f64 * share).round() as usize).max(1);
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
