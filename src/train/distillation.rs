//! Distillation: targets from a policy in place of the samples' labels (research aid).
//!
//! A policy gives a target at every token, where Monte Carlo values give one noisy number for each step.
//! [`Distillation::Expected`] trains a PRM to predict the token that the policy would write in place of each;
//! [`Distillation::Logprob`] trains it to output the policy's probability of each token, and at the `<prm>` after a step
//! that of the whole step. A high log-probability does not make a step correct, since a policy can be sure of an error;
//! labels follow in a later run. Results are in `benches/records/2026-11-25-prm.md`.
//!
//! ```no_run
//! use mmprm::train::data::Dataset;
//! use mmprm::train::distillation::{Distillation, relabel};
//! use mmprm::train::recipe::Recipe;
//! # fn of(mut data: Dataset) -> Result<(), Box<dyn std::error::Error>> {
//! let recipe = Recipe::parse("model = 'expanded'\nsamples = 'prm.jsonl'\noutput = 'prm'\nlogprob_of = 'policy'")?;
//! let Dataset { samples, images, special, .. } = &mut data;
//! relabel(samples, Distillation::Logprob, "policy".as_ref(), &recipe, *special, images)?;
//! # Ok(())
//! # }
//! ```

use std::path::Path;

use super::data::{Image, Sample, SpecialTokens, Target, TargetValue};
use super::full::{FullModel, OpenError};
use super::learner::{Learner, LearnerError};
use super::pack::{Packing, PackingLimits};
use super::recipe::Recipe;
use crate::internvl::Loss;

/// An error of distillation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DistillationError {
    /// The policy cannot be read.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The policy cannot compute the samples.
    #[error(transparent)]
    Compute(#[from] LearnerError),
}

/// What is distilled from a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distillation {
    /// The probability of each token, and of each step.
    Logprob,
    /// The most probable token in place of each.
    Expected,
}

/// Replaces the targets of samples, which have one at every token of their steps, by those of the policy in a Hugging Face
/// directory.
///
/// # Errors
/// [`DistillationError`]; the samples are then unchanged.
pub fn relabel(
    samples: &mut [Sample],
    kind: Distillation,
    policy: &Path,
    recipe: &Recipe,
    special: SpecialTokens,
    images: &[Image],
) -> Result<(), DistillationError> {
    let recipe = Recipe { model: policy.to_owned(), ..recipe.clone() };
    let mut policy = FullModel::open(&recipe, special, images.to_vec())?;
    let losses = losses(samples, &mut policy, special)?;
    for (sample, loss) in samples.iter_mut().zip(losses) {
        sample.targets.retain(|target| target.row > 0);
        match kind {
            Distillation::Logprob => label_by_logprobs(sample, &loss.outputs, special),
            Distillation::Expected => {
                for (target, token) in sample.targets.iter_mut().zip(loss.likeliest) {
                    target.value = TargetValue::Token(token);
                }
            }
        }
    }
    Ok(())
}

/// The policy's losses at the targets of each sample.
fn losses(samples: &[Sample], policy: &mut dyn Learner, special: SpecialTokens) -> Result<Vec<Loss>, LearnerError> {
    let queries: Vec<Sample> = samples.iter().map(query).collect();
    // One sample for each sequence, so that rows are in the order of the sample's targets.
    let limits = PackingLimits {
        sequence_samples: 1,
        batch_samples: 1,
        trees: false,
        shuffle: false,
        ..PackingLimits::default()
    };
    let packing = Packing::new(&queries, special.context, &limits, 0);
    let sequences = packing.epoch(0).into_iter().flat_map(|batch| packing.sequences(&queries, &batch));
    sequences.map(|sequence| policy.loss(&sequence, 1.0)).collect()
}

/// The sample with the token at each target to predict.
fn query(sample: &Sample) -> Sample {
    let targets = sample.targets.iter().filter(|target| target.row > 0);
    let targets = targets.map(|target| Target::new(target.row - 1, TargetValue::Token(sample.tokens[target.row])));
    Sample { targets: targets.collect(), ..sample.clone() }
}

/// Sets labels by log-probabilities, one for each target.
fn label_by_logprobs(sample: &mut Sample, logprobs: &[f32], special: SpecialTokens) {
    let mut step_logprob = 0.0_f32;
    for (target, logprob) in sample.targets.iter_mut().zip(logprobs) {
        let label = if special.steps.and_then(|steps| steps.mark) == Some(sample.tokens[target.row]) {
            std::mem::replace(&mut step_logprob, 0.0)
        } else {
            step_logprob += logprob;
            *logprob
        };
        target.value = TargetValue::Label(label.exp().clamp(0.0, 1.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::data::StepTokens;

    const SPECIAL: SpecialTokens =
        SpecialTokens { context: Some(7), steps: Some(StepTokens { mark: Some(9), yes: 1, no: 2 }) };

    fn sample() -> Sample {
        let targets = (2..6).map(|row| Target::new(row, TargetValue::Label(0.5))).collect();
        let (tokens, images, prefixes) = (vec![3, 4, 5, 9, 6, 9], Vec::new(), Vec::new());
        Sample { id: "0".into(), problem: 0, tokens, images, targets, right: None, prefixes }
    }

    #[test]
    fn each_target_is_predicted_from_the_row_before() {
        let query = query(&sample());
        let values: Vec<_> = query.targets.iter().map(|target| (target.row, target.value)).collect();
        assert_eq!(values, [(1, 5), (2, 9), (3, 6), (4, 9)].map(|(row, token)| (row, TargetValue::Token(token))));
    }

    #[test]
    fn a_token_gets_its_probability_and_a_step_that_of_its_tokens() {
        let mut labelled = sample();
        labelled.targets.insert(0, Target::new(1, TargetValue::Label(0.5)));
        label_by_logprobs(&mut labelled, &[0.5_f32.ln(), 0.25_f32.ln(), -9.0, 0.125_f32.ln(), -9.0], SPECIAL);
        let labels: Vec<f32> = labelled
            .targets
            .iter()
            .map(|target| match target.value {
                TargetValue::Label(label) => label,
                TargetValue::Token(_) => unreachable!("logprobs become labels"),
            })
            .collect();
        for (label, expected) in labels.into_iter().zip([0.5, 0.25, 0.125, 0.125, 0.125]) {
            assert!((label - expected).abs() < 1e-6, "{label} instead of {expected}");
        }
    }
}
