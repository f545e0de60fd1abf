//! Labels from a policy's own likelihood: what a judge of steps can learn before there are better labels, from any solutions.
//!
//! To judge, a model must notice where a text is not what it would have written. Monte Carlo values teach that slowly: one
//! noisy number a step. The policy's likelihood of each token teaches it at every token and without noise; it is no
//! judgement, since a policy may be sure of an error, but a model that has learnt to see its own surprise needs only be
//! told which surprises matter. So: first this, then training on Monte Carlo values from the result.
//!
//! Each token of a step gets the probability that the policy gives it, the `<prm>` after the step that of the whole step.

use std::path::Path;

use super::data::{Goal, Picture, Sample, Target, Words};
use super::full::{Full, OpenError};
use super::learner::{LearnError, Learner};
use super::pack::{Limits, Packing};
use super::recipe::Recipe;
use crate::internvl::Loss;

/// Why labels could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LikelihoodError {
    /// The policy cannot be read.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It cannot read the samples.
    #[error(transparent)]
    Learn(#[from] LearnError),
}

/// What is learnt from a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lesson {
    /// How likely each token is.
    Likelihood,
    /// Which token is the likeliest in the place of each.
    Expected,
}

/// Replaces the targets of samples, which have one at every token of their steps, by what the policy in a Hugging Face
/// directory teaches of these tokens.
///
/// # Errors
/// [`LikelihoodError`]; the samples are as they were then.
pub fn teach(
    samples: &mut [Sample],
    lesson: Lesson,
    policy: &Path,
    recipe: &Recipe,
    words: Words,
    pictures: &[Picture],
) -> Result<(), LikelihoodError> {
    let recipe = Recipe { model: policy.to_owned(), ..recipe.clone() };
    let mut policy = Full::open(&recipe, words, pictures.to_vec())?;
    let losses = losses(samples, &mut policy, words)?;
    for (sample, loss) in samples.iter_mut().zip(losses) {
        sample.targets.retain(|target| target.row > 0);
        match lesson {
            Lesson::Likelihood => relabel(sample, &loss.rows, words),
            Lesson::Expected => {
                for (target, token) in sample.targets.iter_mut().zip(loss.likeliest) {
                    target.goal = Goal::Token(token);
                }
            }
        }
    }
    Ok(())
}

/// For each sample what the policy says of the token at each of its targets.
fn losses(samples: &[Sample], policy: &mut dyn Learner, words: Words) -> Result<Vec<Loss>, LearnError> {
    let asked: Vec<Sample> = samples.iter().map(asking).collect();
    // One sample a sequence, so that rows come back in the order of the sample's targets.
    let limits = Limits { sequence_samples: 1, batch_samples: 1, trees: false, shuffle: false, ..Limits::default() };
    let packing = Packing::new(&asked, words.context, &limits, 0);
    let sequences = packing.epoch(0).into_iter().flat_map(|batch| packing.sequences(&asked, &batch));
    sequences.map(|sequence| policy.loss(&sequence, 1.0)).collect()
}

/// The sample with each target's own token to be predicted.
fn asking(sample: &Sample) -> Sample {
    let targets = sample.targets.iter().filter(|target| target.row > 0);
    let targets = targets.map(|target| Target { row: target.row - 1, goal: Goal::Token(sample.tokens[target.row]) });
    Sample { targets: targets.collect(), ..sample.clone() }
}

fn relabel(sample: &mut Sample, likelihoods: &[f32], words: Words) {
    let tokens = &sample.tokens;
    let mut whole = 1.0_f32;
    for (target, likelihood) in sample.targets.iter_mut().zip(likelihoods) {
        let probability = likelihood.exp();
        let label = if tokens[target.row] == words.step {
            std::mem::replace(&mut whole, 1.0)
        } else {
            whole *= probability;
            probability
        };
        target.goal = Goal::Label(label.clamp(0.0, 1.0));
    }
}
