//! The ranking loss: how the scores of a problem's candidates become a loss, and the weight of each token in its gradient.

use super::packed::RankedCandidate;

/// The loss of some problems.
#[derive(Debug, Default)]
pub(super) struct RankingLoss {
    /// Weighted sum over the problems.
    pub loss: f64,
    /// Unweighted loss of each problem.
    pub losses: Vec<f32>,
    /// The score of each candidate, problem by problem.
    pub scores: Vec<f32>,
    /// For each token the weight w with which w · (−log-probability) has the gradient of the loss.
    pub token_weights: Vec<f32>,
}

/// Returns the loss of problems from the log-probabilities of their candidates' tokens.
///
/// With p the softmax over all scores of a problem and q that over the right ones, the derivative of the loss by the score of a
/// candidate is p − q.
pub(super) fn loss(logprobs: &[f32], problems: &[Vec<RankedCandidate>], weights: &[f32]) -> RankingLoss {
    let mut all = RankingLoss { token_weights: vec![0.0; logprobs.len()], ..RankingLoss::default() };
    for (candidates, weight) in problems.iter().zip(weights) {
        let scores: Vec<f64> = candidates
            .iter()
            .map(|candidate| candidate.targets.iter().map(|target| f64::from(logprobs[*target])).sum())
            .collect();
        all.scores.extend(scores.iter().map(|score| *score as f32));
        let right = |index: usize| candidates[index].right;
        let (total, right_total) = (log_sum_exp(&scores, |_| true), log_sum_exp(&scores, right));
        // Without a right candidate there is nothing to rank.
        let own = if right_total.is_finite() { total - right_total } else { 0.0 };
        all.losses.push(own as f32);
        all.loss += f64::from(*weight) * own;
        if !right_total.is_finite() {
            continue;
        }
        for (index, (candidate, score)) in candidates.iter().zip(&scores).enumerate() {
            let q = if right(index) { (score - right_total).exp() } else { 0.0 };
            let share = (f64::from(*weight) * (q - (score - total).exp())) as f32;
            candidate.targets.iter().for_each(|target| all.token_weights[*target] += share);
        }
    }
    all
}

/// ln Σ eˢ over the scores that `counts` names; −∞ if there are none.
fn log_sum_exp(scores: &[f64], counts: impl Fn(usize) -> bool) -> f64 {
    let counted = || scores.iter().enumerate().filter(|(index, _)| counts(*index)).map(|(_, score)| *score);
    let highest = counted().fold(f64::NEG_INFINITY, f64::max);
    if highest == f64::NEG_INFINITY {
        return highest;
    }
    highest + counted().map(|score| (score - highest).exp()).sum::<f64>().ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(targets: &[usize], right: bool) -> RankedCandidate {
        RankedCandidate { targets: targets.to_vec(), right }
    }

    #[test]
    fn weights_are_the_derivatives_of_the_loss() {
        let problems = [
            vec![candidate(&[0, 1], true), candidate(&[0, 2, 3], false), candidate(&[4], true)],
            vec![candidate(&[5], false), candidate(&[6], true)],
        ];
        let logprobs = [-0.5, -1.5, -0.25, -0.75, -2.0, -0.125, -3.0];
        let weights = [0.5, 2.0];
        let RankingLoss { losses, scores, token_weights, .. } = super::loss(&logprobs, &problems, &weights);
        assert_eq!((losses.len(), scores.len()), (2, 5));
        for token in 0..logprobs.len() {
            let at = |change: f32| {
                let mut moved = logprobs;
                moved[token] += change;
                super::loss(&moved, &problems, &weights).loss
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
    fn problems_without_a_choice_teach_nothing() {
        for right in [true, false] {
            let problems = [vec![candidate(&[0], right), candidate(&[1], right)]];
            let ranked = super::loss(&[-1.0, -900.0], &problems, &[1.0]);
            assert_eq!((ranked.loss, ranked.token_weights), (0.0, vec![0.0, 0.0]));
        }
    }
}
