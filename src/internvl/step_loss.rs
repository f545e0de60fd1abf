//! Losses of steps: what a step's margin, the logit of `yes` minus that of `no`, should be, alone or against other steps.

use super::packed::{ComparedStep, StepLoss};

/// The losses of some steps.
#[derive(Debug, Default)]
pub(super) struct StepLosses {
    /// Weighted sum.
    pub loss: f64,
    /// Unweighted loss of each step, or of each group of compared steps.
    pub losses: Vec<f32>,
    /// The derivative of the loss by each margin.
    pub slopes: Vec<f64>,
}

/// The loss of a group of steps with these margins; adds its derivatives to the last argument.
type GroupLoss<'a> = dyn Fn(&[ComparedStep], &[f64], &mut [f64]) -> f64 + 'a;

/// Returns the losses of steps with these margins and labels. There is a weight for each step, or for each group of compared steps.
pub(super) fn losses(margins: &[f64], labels: &[f32], weights: &[f32], loss: &StepLoss) -> StepLosses {
    let of_group: &GroupLoss<'_> = match loss {
        StepLoss::CrossEntropy => return alone(margins, labels, weights, cross_entropy),
        StepLoss::SquaredError => return alone(margins, labels, weights, squared_error),
        StepLoss::QValues { margin, .. } => {
            &|steps, margins, slopes| q_values(steps, margins, f64::from(*margin), slopes)
        }
        StepLoss::Pairs { .. } => &pairs,
    };
    let mut all = StepLosses { slopes: vec![0.0; margins.len()], ..StepLosses::default() };
    for (steps, weight) in loss.groups().iter().zip(weights) {
        let weight = f64::from(*weight);
        let own: Vec<f64> = steps.iter().map(|step| margins[step.target]).collect();
        let mut slopes = vec![0.0; steps.len()];
        let loss = of_group(steps, &own, &mut slopes);
        all.loss += weight * loss;
        all.losses.push(loss as f32);
        steps.iter().zip(slopes).for_each(|(step, slope)| all.slopes[step.target] += weight * slope);
    }
    all
}

/// Losses of steps by themselves; `of` returns the loss of a margin and a label, and its derivative.
fn alone(margins: &[f64], labels: &[f32], weights: &[f32], of: impl Fn(f64, f64) -> (f64, f64)) -> StepLosses {
    let mut all = StepLosses::default();
    for ((margin, label), weight) in margins.iter().zip(labels).zip(weights) {
        let ((loss, slope), weight) = (of(*margin, f64::from(*label)), f64::from(*weight));
        all.loss += weight * loss;
        all.losses.push(loss as f32);
        all.slopes.push(weight * slope);
    }
    all
}

/// Cross entropy of (p, 1 − p), with p the score, against (label, 1 − label).
fn cross_entropy(margin: f64, label: f64) -> (f64, f64) {
    (label * softplus(-margin) + (1.0 - label) * softplus(margin), sigmoid(margin) - label)
}

/// Square of the difference of score and label.
fn squared_error(margin: f64, label: f64) -> (f64, f64) {
    let score = sigmoid(margin);
    ((score - label).powi(2), 2.0 * (score - label) * score * sigmoid(-margin))
}

/// The comparative loss of the Process Q-value Model on the steps of one solution (arXiv 2410.11287, equation 10, as its authors'
/// code `train_main.py` of `WindyLee0822/Process_Q_Model` computes it): adds its derivatives to `slopes`.
///
/// With Q the margins, C the right steps, W the wrong ones and Q = 0 before the first step, it is the mean of
/// −ln e^Q(t) / (Σ q ≤ t in C e^Q(q) + Σ W e^(Q + `gap`)) over the right steps t, and over the place before the first step if any
/// step is wrong. A step of weight w counts w times.
fn q_values(steps: &[ComparedStep], margins: &[f64], gap: f64, slopes: &mut [f64]) -> f64 {
    let is_right = |step: &ComparedStep| step.label >= 0.5;
    let weighted = || steps.iter().zip(margins).enumerate().filter(|(_, (step, _))| step.weight > 0.0);
    // Exponentials are taken relative to the largest one.
    let raised = |step: &ComparedStep, margin: f64| if is_right(step) { margin } else { margin + gap };
    let peak = weighted().map(|(_, (step, margin))| raised(step, *margin)).fold(0.0, f64::max);
    let power = |step: &ComparedStep, margin: f64| (raised(step, margin) - peak).exp();
    let share = |step: &ComparedStep, margin: f64| f64::from(step.weight) * power(step, margin);
    let wrong: f64 = weighted().filter(|(_, (step, _))| !is_right(step)).map(|(_, (step, q))| share(step, *q)).sum();
    let (mut loss, mut count) = (0.0, 0.0);
    let mut before = (-peak).exp();
    if wrong > 0.0 {
        let total = before + wrong;
        loss += total.ln() + peak;
        count += 1.0;
        for (index, (step, margin)) in weighted().filter(|(_, (step, _))| !is_right(step)) {
            slopes[index] += share(step, *margin) / total;
        }
    }
    for (index, (step, margin)) in weighted().filter(|(_, (step, _))| is_right(step)) {
        let (own, times) = (power(step, *margin), f64::from(step.weight));
        let total = own + before + wrong;
        loss += times * (total.ln() + peak - margin);
        count += times;
        slopes[index] += times * (own / total - 1.0);
        for (other, (compared, margin)) in weighted() {
            if !is_right(compared) || other < index {
                slopes[other] += times * share(compared, *margin) / total;
            }
        }
        before += times * own;
    }
    let mean = if count > 0.0 { 1.0 / count } else { 0.0 };
    for slope in slopes {
        *slope *= mean;
    }
    loss * mean
}

/// Mean of −ln σ(difference of margins) over the pairs of steps of which the first has the higher label (Bradley-Terry); adds its
/// derivatives to `slopes`. A pair has the product of its steps' weights.
fn pairs(steps: &[ComparedStep], margins: &[f64], slopes: &mut [f64]) -> f64 {
    let (mut loss, mut count) = (0.0, 0.0);
    for (better, high) in steps.iter().enumerate() {
        for (worse, low) in steps.iter().enumerate().filter(|(_, low)| low.label < high.label) {
            let weight = f64::from(high.weight) * f64::from(low.weight);
            let difference = margins[better] - margins[worse];
            loss += weight * softplus(-difference);
            count += weight;
            let slope = weight * sigmoid(-difference);
            slopes[better] -= slope;
            slopes[worse] += slope;
        }
    }
    let mean = if count > 0.0 { 1.0 / count } else { 0.0 };
    for slope in slopes {
        *slope *= mean;
    }
    loss * mean
}

/// ln(1 + eˣ), with the larger exponential factored out.
pub(super) fn softplus(x: f64) -> f64 {
    (-x.abs()).exp().ln_1p() + x.max(0.0)
}

/// 1 / (1 + e⁻ˣ).
pub(super) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(labels: &[f32], weights: &[f32]) -> Vec<ComparedStep> {
        let of =
            |(target, (label, weight)): (usize, (&f32, &f32))| ComparedStep { target, label: *label, weight: *weight };
        labels.iter().zip(weights).enumerate().map(of).collect()
    }

    fn cases() -> Vec<(StepLoss, Vec<f32>)> {
        let right = steps(&[1.0, 1.0, 0.0, 1.0, 0.0], &[1.0, 2.0, 1.0, 0.0, 0.5]);
        let wrong = steps(&[0.0, 0.0], &[1.0, 1.0]);
        let soft = steps(&[0.5, 1.0, 0.25, 0.5, 0.0], &[1.0, 0.5, 1.0, 2.0, 0.0]);
        vec![
            (StepLoss::CrossEntropy, vec![0.5, 1.0, 0.25, 2.0, 0.0]),
            (StepLoss::SquaredError, vec![0.5, 1.0, 0.25, 2.0, 0.0]),
            (StepLoss::QValues { margin: 4.0, solutions: vec![right, wrong] }, vec![0.5, 2.0]),
            (StepLoss::Pairs { problems: vec![soft] }, vec![1.5]),
        ]
    }

    #[test]
    fn slopes_are_the_derivatives_of_the_loss() {
        let (margins, labels) = ([0.5, -1.5, 3.0, -0.25, 0.75], [0.5, 1.0, 0.0, 0.25, 1.0]);
        for (kind, weights) in cases() {
            let found = losses(&margins, &labels, &weights, &kind);
            let sum: f64 = found.losses.iter().zip(&weights).map(|(loss, weight)| f64::from(loss * weight)).sum();
            assert!((sum - found.loss).abs() < 1e-6 && found.loss > 0.0, "{kind:?}: {sum} for {}", found.loss);
            for step in 0..margins.len() {
                let at = |change: f64| {
                    let mut moved = margins;
                    moved[step] += change;
                    losses(&moved, &labels, &weights, &kind).loss
                };
                let slope = (at(1e-5) - at(-1e-5)) / 2e-5;
                assert!((slope - found.slopes[step]).abs() < 1e-8, "{kind:?}, {step}: {slope} {}", found.slopes[step]);
            }
        }
    }

    /// Values of the authors' function for the same rewards and labels, without the 10⁻⁵ in its denominators.
    #[test]
    fn the_comparative_loss_is_that_of_its_paper() {
        let of = |labels: &[f32], margins: &[f64], margin: f32| {
            let solutions = vec![steps(labels, &vec![1.0; labels.len()])];
            losses(margins, labels, &[1.0], &StepLoss::QValues { margin, solutions }).loss
        };
        // Two right steps, then a wrong one.
        let (first, second, wrong) = (0.5_f64.exp(), 1.5_f64.exp(), (-2.0_f64 + 4.0).exp());
        let terms = [1.0 / (1.0 + wrong), first / (1.0 + first + wrong), second / (1.0 + first + second + wrong)];
        let expected = -terms.iter().map(|term| term.ln()).sum::<f64>() / 3.0;
        assert!((of(&[1.0, 1.0, 0.0], &[0.5, 1.5, -2.0], 4.0) - expected).abs() < 1e-12);
        // All right: the place before the first step has nothing to be better than.
        assert!((of(&[1.0], &[0.5], 4.0) + (first / (1.0 + first)).ln()).abs() < 1e-12);
        // All wrong: it is the only one to be better.
        assert!((of(&[0.0], &[-2.0], 4.0) - (1.0 + wrong).ln()).abs() < 1e-12);
        // Far beyond what an exponential holds.
        assert!((of(&[1.0, 0.0], &[-900.0, 900.0], 4.0) - f64::midpoint(904.0, 1804.0)).abs() < 1e-9);
    }

    #[test]
    fn pairs_are_of_steps_with_different_labels() {
        let of = |labels: &[f32], weights: &[f32]| {
            let problems = vec![steps(labels, weights)];
            losses(&[1.0, 3.0, 3.0], &[0.5; 3], &[1.0], &StepLoss::Pairs { problems })
        };
        let twice = 2.0_f64;
        assert!((of(&[1.0, 0.5, 0.5], &[1.0; 3]).loss - (1.0 + twice.exp()).ln()).abs() < 1e-12);
        for (labels, weights) in [([0.5; 3], [1.0; 3]), ([1.0, 0.0, 0.0], [0.0, 1.0, 1.0])] {
            let nothing = of(&labels, &weights);
            assert_eq!((nothing.loss, nothing.slopes), (0.0, vec![0.0; 3]));
        }
    }

    #[test]
    fn groups_without_a_comparison_do_not_count() {
        let count = |kind: StepLoss| kind.compared();
        let solutions = vec![steps(&[1.0], &[1.0]), steps(&[1.0], &[0.0]), steps(&[0.0, 1.0], &[1.0, 1.0])];
        assert_eq!(count(StepLoss::Pairs { problems: solutions.clone() }), 1);
        assert_eq!(count(StepLoss::QValues { margin: 4.0, solutions }), 2);
    }
}
