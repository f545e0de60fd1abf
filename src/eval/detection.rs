//! Finding wrong steps by a threshold on their scores, as step benchmarks measure it.
//!
//! * `ProcessBench` (arXiv 2412.06559): the first step whose score is below the threshold is the first error. Accuracy on solutions with
//!   an error is the fraction whose first error is found exactly, on right ones the fraction in which none is found; F1 is their
//!   harmonic mean.
//! * `VisualProcessBench` (arXiv 2503.10291) and `PRMBench` (arXiv 2501.03124): every labelled step by itself. The F1 of finding right
//!   steps and the F1 of finding wrong ones; their mean is the macro F1, `PRMBench`'s `PRMScore`.
//!
//! ```
//! use mmprm::eval::detection::{Solution, detection};
//! let found = Solution { scores: vec![0.9, 0.2, 0.8], labels: vec![Some(true), Some(false)] };
//! let right = Solution { scores: vec![0.9, 0.4], labels: vec![Some(true), Some(true)] };
//! let result = detection(&[found, right], 0.5);
//! assert_eq!((result.accuracy_wrong, result.accuracy_right, result.f1), (Some(1.0), Some(0.0), Some(0.0)));
//! ```

use serde::Serialize;

/// A solution with the scores of its steps and what is known of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Solution {
    /// A score for each step.
    pub scores: Vec<f64>,
    /// Whether each step is right; `None` for one that does not count, such as a neutral one. May be shorter than the scores.
    pub labels: Vec<Option<bool>>,
}

/// Results at a threshold; `None` where there is nothing to measure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Detection {
    /// A step with a score below this is taken to be wrong.
    pub threshold: f64,
    /// Solutions with a wrong step.
    pub wrong: usize,
    /// Solutions without.
    pub right: usize,
    /// Fraction of solutions with a wrong step whose first one is found.
    pub accuracy_wrong: Option<f64>,
    /// Fraction of right solutions in which none is found.
    pub accuracy_right: Option<f64>,
    /// Harmonic mean of both: `ProcessBench`'s F1.
    pub f1: Option<f64>,
    /// F1 of finding right steps.
    pub f1_right_steps: Option<f64>,
    /// F1 of finding wrong steps.
    pub f1_wrong_steps: Option<f64>,
    /// Mean of both: `VisualProcessBench`'s macro F1, `PRMBench`'s `PRMScore`.
    pub macro_f1: Option<f64>,
}

/// Measures the detection of wrong steps at a threshold. Solutions without a labelled step are left out.
pub fn detection(solutions: &[Solution], threshold: f64) -> Detection {
    let is_wrong = |score: &f64| *score < threshold;
    let (mut found, mut kept) = ((0_usize, 0_usize), (0_usize, 0_usize));
    // Steps by label and prediction: [right or wrong][taken to be right or wrong].
    let mut steps = [[0_usize; 2]; 2];
    for Solution { scores, labels } in solutions {
        if labels.iter().all(Option::is_none) {
            continue;
        }
        // What is not labelled after the first error does not count; neither does what was found there.
        let first_found = scores.iter().position(is_wrong);
        if let Some(first) = labels.iter().position(|label| *label == Some(false)) {
            found.1 += 1;
            found.0 += usize::from(first_found == Some(first));
        } else {
            kept.1 += 1;
            kept.0 += usize::from(first_found.is_none());
        }
        for (score, label) in scores.iter().zip(labels) {
            if let Some(right) = label {
                steps[usize::from(!right)][usize::from(is_wrong(score))] += 1;
            }
        }
    }
    let fraction = |(part, all): (usize, usize)| (all > 0).then(|| part as f64 / all as f64);
    let (accuracy_wrong, accuracy_right) = (fraction(found), fraction(kept));
    let harmonic = |a: f64, b: f64| if a + b > 0.0 { 2.0 * a * b / (a + b) } else { 0.0 };
    let (f1_right_steps, f1_wrong_steps) = (f1(&steps, 0), f1(&steps, 1));
    Detection {
        threshold,
        wrong: found.1,
        right: kept.1,
        accuracy_wrong,
        accuracy_right,
        f1: accuracy_wrong.zip(accuracy_right).map(|(wrong, right)| harmonic(wrong, right)),
        f1_right_steps,
        f1_wrong_steps,
        macro_f1: f1_right_steps.zip(f1_wrong_steps).map(|(right, wrong)| f64::midpoint(right, wrong)),
    }
}

/// The F1 of one class; `None` without any step of it.
fn f1(steps: &[[usize; 2]; 2], class: usize) -> Option<f64> {
    let hits = steps[class][class];
    let (missed, false_hits) = (steps[class][1 - class], steps[1 - class][class]);
    (hits + missed > 0).then(|| 2.0 * hits as f64 / (2 * hits + missed + false_hits) as f64)
}

/// What a threshold is chosen for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// `ProcessBench`'s F1.
    F1,
    /// The macro F1 over steps.
    MacroF1,
}

impl Goal {
    /// The value of a result.
    pub fn of(self, detection: &Detection) -> Option<f64> {
        match self {
            Self::F1 => detection.f1,
            Self::MacroF1 => detection.macro_f1,
        }
    }
}

/// Thresholds that are tried, at most.
const TRIED: usize = 200;

/// The threshold with the best value on these solutions, the smallest of equals: among quantiles of their scores.
pub fn best_threshold(solutions: &[Solution], goal: Goal) -> Option<f64> {
    let mut scores: Vec<f64> = solutions.iter().flat_map(|solution| solution.scores.iter().copied()).collect();
    scores.sort_by(f64::total_cmp);
    scores.dedup();
    let step = scores.len().div_ceil(TRIED).max(1);
    let tried = scores.into_iter().step_by(step);
    let values = tried.filter_map(|threshold| Some((threshold, goal.of(&detection(solutions, threshold))?)));
    let better = |best: (f64, f64), other: (f64, f64)| if other.1 > best.1 { other } else { best };
    values.reduce(better).map(|(threshold, _)| threshold)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn solution(scores: &[f64], labels: &[i32]) -> Solution {
        let label = |label: &i32| (*label != 0).then_some(*label > 0);
        Solution { scores: scores.to_vec(), labels: labels.iter().map(label).collect() }
    }

    #[test]
    fn the_first_error_has_to_be_found_exactly() {
        let solutions = [
            solution(&[0.9, 0.1, 0.1], &[1, -1]), // found
            solution(&[0.4, 0.1], &[1, -1]),      // found too early
            solution(&[0.9, 0.9], &[1, -1]),      // missed
            solution(&[0.9, 0.6], &[1, 1]),       // kept
            solution(&[0.9, 0.4], &[1, 0]),       // refused, though only by a neutral step
            solution(&[0.1], &[0]),               // not labelled
        ];
        let result = detection(&solutions, 0.5);
        assert_eq!((result.wrong, result.right), (3, 2));
        let (wrong, right) = (1.0 / 3.0, 0.5);
        assert_eq!((result.accuracy_wrong, result.accuracy_right), (Some(wrong), Some(right)));
        approx::assert_abs_diff_eq!(result.f1.unwrap(), 2.0 * wrong * right / (wrong + right), epsilon = 1e-12);
    }

    #[test]
    fn steps_count_by_themselves_for_the_macro_f1() {
        // Right steps: three kept, one refused. Wrong steps: two found, one missed.
        let solutions =
            [solution(&[0.9, 0.1, 0.8, 0.2], &[1, -1, -1, -1]), solution(&[0.9, 0.7, 0.3, 0.1], &[1, 1, 1, 0])];
        let result = detection(&solutions, 0.5);
        let (right, wrong) = (2.0 * 3.0 / (2.0 * 3.0 + 1.0 + 1.0), 2.0 * 2.0 / (2.0 * 2.0 + 1.0 + 1.0));
        approx::assert_abs_diff_eq!(result.f1_right_steps.unwrap(), right, epsilon = 1e-12);
        approx::assert_abs_diff_eq!(result.f1_wrong_steps.unwrap(), wrong, epsilon = 1e-12);
        approx::assert_abs_diff_eq!(result.macro_f1.unwrap(), f64::midpoint(right, wrong), epsilon = 1e-12);
    }

    #[test]
    fn a_threshold_is_chosen_among_the_scores() {
        let solutions = [solution(&[0.9, 0.3], &[1, -1]), solution(&[0.8, 0.4], &[1, 1])];
        let best = best_threshold(&solutions, Goal::F1).unwrap();
        assert!((best - 0.4).abs() < 1e-12 && detection(&solutions, best).f1 == Some(1.0));
        assert_eq!(best_threshold(&[], Goal::MacroF1), None);
        assert_eq!(best_threshold(&[solution(&[0.5], &[1])], Goal::F1), None, "without errors there is no F1");
    }
}
