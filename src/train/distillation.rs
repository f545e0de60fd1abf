//! Lessons that a reward model takes from the policy it begins with, before it learns labels of steps.
//!
//! To judge, a model must notice where a text is not what it would have written. Monte Carlo values teach that slowly: one
//! noisy number a step. The policy itself teaches it at every token and without noise: first which token it would have written
//! in the place of each ([`Lesson::Expected`]), so that this can be compared with the token that is there; then how likely
//! each is ([`Lesson::Logprob`]), and at the `<prm>` after a step how likely that is as a whole. A logprob is no judgement, since a policy may be sure of
//! an error; but a model that sees its own surprise needs only be told which surprises matter.
//!
//! ```no_run
//! use mmprm::train::data::Dataset;
//! use mmprm::train::distillation::{Lesson, teach};
//! use mmprm::train::recipe::Recipe;
//! # fn of(mut data: Dataset) -> Result<(), Box<dyn std::error::Error>> {
//! let recipe = Recipe::parse("model = 'grown'\nsamples = 'prm.jsonl'\nout = 'prm'\nlogprob_of = 'policy'")?;
//! let Dataset { samples, images, words } = &mut data;
//! teach(samples, Lesson::Logprob, "policy".as_ref(), &recipe, *words, images)?;
//! # Ok(())
//! # }
//! ```

use std::path::Path;

use super::data::{Goal, Image, Sample, SpecialTokens, Target};
use super::full::{Full, OpenError};
use super::learner::{LearnError, Learner};
use super::pack::{Limits, Packing};
use super::recipe::Recipe;
use crate::internvl::Loss;

/// Why a lesson could not be given.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LessonError {
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
    Logprob,
    /// Which token is the likeliest in the place of each.
    Expected,
}

/// Replaces the targets of samples, which have one at every token of their steps, by what the policy in a Hugging Face
/// directory teaches of these tokens.
///
/// # Errors
/// [`LessonError`]; the samples are as they were then.
pub fn teach(
    samples: &mut [Sample],
    lesson: Lesson,
    policy: &Path,
    recipe: &Recipe,
    words: SpecialTokens,
    images: &[Image],
) -> Result<(), LessonError> {
    let recipe = Recipe { model: policy.to_owned(), ..recipe.clone() };
    let mut policy = Full::open(&recipe, words, images.to_vec())?;
    let losses = losses(samples, &mut policy, words)?;
    for (sample, loss) in samples.iter_mut().zip(losses) {
        sample.targets.retain(|target| target.row > 0);
        match lesson {
            Lesson::Logprob => relabel(sample, &loss.outputs, words),
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
fn losses(samples: &[Sample], policy: &mut dyn Learner, words: SpecialTokens) -> Result<Vec<Loss>, LearnError> {
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
    let targets = targets.map(|target| Target::new(target.row - 1, Goal::Token(sample.tokens[target.row])));
    Sample { targets: targets.collect(), ..sample.clone() }
}

/// Labels by log-probabilities, one for each target.
fn relabel(sample: &mut Sample, logprobs: &[f32], words: SpecialTokens) {
    let mut whole = 0.0_f32;
    for (target, logprob) in sample.targets.iter_mut().zip(logprobs) {
        let label = if sample.tokens[target.row] == words.step {
            std::mem::replace(&mut whole, 0.0)
        } else {
            whole += logprob;
            *logprob
        };
        target.goal = Goal::Label(label.exp().clamp(0.0, 1.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: SpecialTokens = SpecialTokens { step: 9, yes: 1, no: 2, context: 7 };

    fn sample() -> Sample {
        let targets = (2..6).map(|row| Target::new(row, Goal::Label(0.5))).collect();
        Sample { id: "0".into(), problem: 0, tokens: vec![3, 4, 5, 9, 6, 9], images: Vec::new(), targets }
    }

    #[test]
    fn each_target_is_asked_for_at_the_row_before() {
        let asked = asking(&sample());
        let goals: Vec<_> = asked.targets.iter().map(|target| (target.row, target.goal)).collect();
        assert_eq!(goals, [(1, 5), (2, 9), (3, 6), (4, 9)].map(|(row, token)| (row, Goal::Token(token))));
    }

    #[test]
    fn a_token_gets_its_probability_and_a_step_that_of_its_tokens() {
        let mut taught = sample();
        taught.targets.insert(0, Target::new(1, Goal::Label(0.5)));
        relabel(&mut taught, &[0.5_f32.ln(), 0.25_f32.ln(), -9.0, 0.125_f32.ln(), -9.0], WORDS);
        let labels: Vec<f32> = taught
            .targets
            .iter()
            .map(|target| match target.goal {
                Goal::Label(label) => label,
                Goal::Token(_) => unreachable!("labels were asked for"),
            })
            .collect();
        for (label, expected) in labels.into_iter().zip([0.5, 0.25, 0.125, 0.125, 0.125]) {
            assert!((label - expected).abs() < 1e-6, "{label} instead of {expected}");
        }
    }
}
