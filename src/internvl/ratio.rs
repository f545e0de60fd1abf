//! The loss of log-probability ratios against a reference model, and the weight of each token in its gradient.

use super::packed::RatioPath;
use super::step_loss::{sigmoid, softplus};

/// The loss of some paths.
#[derive(Debug, Default)]
pub(super) struct RatioLoss {
    /// Weighted sum over the prefixes.
    pub loss: f64,
    /// Unweighted loss of each prefix, path by path.
    pub losses: Vec<f32>,
    /// The score of each prefix.
    pub scores: Vec<f32>,
    /// For each token the weight w with which w · (−log-probability) has the gradient of the loss.
    pub token_weights: Vec<f32>,
}

/// Returns the loss of paths from the log-probabilities of their tokens. `weights` has one for each prefix, path by path.
///
/// The derivative of a prefix's cross entropy by the log-probability of each of its tokens is β · (score − label).
pub(super) fn loss(logprobs: &[f32], paths: &[RatioPath], beta: f64, weights: &[f32]) -> RatioLoss {
    let mut all = RatioLoss::default();
    let mut token_weights = vec![0.0; logprobs.len()];
    let mut weights = weights.iter();
    for path in paths {
        // Where the sum over the first tokens ends, what it adds to the weight of each of them.
        let mut shares = vec![0.0; path.targets.len()];
        let (mut sum, mut counted) = (0.0, 0);
        for (prefix, weight) in path.prefixes.iter().zip(&mut weights) {
            let more = &path.targets[counted..prefix.targets];
            sum += more.iter().map(|target| f64::from(logprobs[*target])).sum::<f64>();
            counted = prefix.targets;
            let (margin, label, weight) =
                (beta * (sum - prefix.reference), f64::from(prefix.label), f64::from(*weight));
            let (own, score) = (label * softplus(-margin) + (1.0 - label) * softplus(margin), sigmoid(margin));
            all.loss += weight * own;
            all.losses.push(own as f32);
            all.scores.push(score as f32);
            if counted > 0 {
                shares[counted - 1] += weight * beta * (label - score);
            }
        }
        let mut share = 0.0;
        for (target, own) in path.targets.iter().zip(shares).rev() {
            share += own;
            token_weights[*target] += share;
        }
    }
    all.token_weights = token_weights.into_iter().map(|weight| weight as f32).collect();
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::internvl::RatioPrefix;

    fn prefix(targets: usize, reference: f64, label: f32) -> RatioPrefix {
        RatioPrefix { targets, reference, label }
    }

    #[test]
    fn weights_are_the_derivatives_of_the_loss() {
        let paths = [
            RatioPath { targets: vec![0, 1, 3], prefixes: vec![prefix(1, -0.25, 0.5), prefix(3, -4.0, 1.0)] },
            RatioPath { targets: vec![0, 2], prefixes: vec![prefix(2, -1.0, 0.0)] },
        ];
        let (logprobs, weights) = ([-0.5, -1.5, -0.25, -0.75], [0.5, 2.0, 1.0]);
        let RatioLoss { losses, scores, token_weights, .. } = super::loss(&logprobs, &paths, 0.5, &weights);
        assert_eq!(losses.len(), 3);
        let expected = 1.0 / (1.0 + (0.5 * (-0.5 + 0.25_f32)).exp().recip());
        assert!((scores[0] - expected).abs() < 1e-6, "{} {expected}", scores[0]);
        for token in 0..logprobs.len() {
            let at = |change: f32| {
                let mut moved = logprobs;
                moved[token] += change;
                super::loss(&moved, &paths, 0.5, &weights).loss
            };
            let slope = (at(0.01) - at(-0.01)) / 0.02;
            assert!(
                (slope + f64::from(token_weights[token])).abs() < 1e-4,
                "{token}: {slope} {}",
                token_weights[token]
            );
        }
    }

    #[test]
    fn a_model_that_equals_its_reference_scores_one_half() {
        let paths = [RatioPath { targets: vec![0, 1], prefixes: vec![prefix(2, -900.5, 1.0)] }];
        let found = super::loss(&[-0.5, -900.0], &paths, 0.05, &[1.0]);
        assert_eq!((found.scores, found.token_weights), (vec![0.5], vec![0.025, 0.025]));
    }
}
