//! Labels relative to the problem's success rate: how a step compares with others of its problem,
//! not how hard the problem is.
//!
//! MC values differ mostly between problems: a correct step of a hard problem has a lower value
//! than an incorrect step of an easy one that rollouts often recover from. A PRM learns this
//! difference first, but it does not help to choose among candidates of *one* problem. Cross
//! entropy with label v learns the odds v : 1 − v. Here the correct part of a label weighs 1 − r
//! and the incorrect part r, where r is the problem's success rate, so odds are learnt relative to
//! the problem's own: a label of one half means that the step leaves the odds as they were. Problems near r = 0 or 1,
//! whose labels carry the least information, weigh the least.

use super::sample::Sample;

/// Makes the labels of one problem's samples relative to its success rate `solved` (0 to 1) and
/// sets their weights. Last labels are compared with each other's mean instead, because each text
/// occurs once however often it was drawn. Removes all samples if `solved` is 0 or 1.
///
/// ```
/// use mmprm::data::samples::{Sample, make_relative};
/// let sample = |labels: [f64; 2]| Sample { parts: vec!["…".into(); 2], labels: labels.to_vec(), weights: None };
/// let mut samples = vec![sample([0.25, 1.0]), sample([0.4, 0.0])];
/// make_relative(&mut samples, 0.25);
/// assert_eq!(samples[0].labels, [0.5, 1.0]); // as good as the problem's start
/// assert!((samples[1].labels[0] - 2.0 / 3.0).abs() < 1e-12); // twice its odds
/// assert_eq!(samples[0].weights.as_deref(), Some([0.75, 1.0].as_slice()));
/// ```
pub fn make_relative(samples: &mut Vec<Sample>, solved: f64) {
    if solved <= 0.0 || solved >= 1.0 {
        samples.clear();
    }
    let ends: Vec<f64> = samples.iter().filter_map(|sample| sample.labels.last().copied()).collect();
    let mean = ends.iter().sum::<f64>() / ends.len().max(1) as f64;
    for Sample { labels, weights, .. } in samples {
        let last = labels.len().saturating_sub(1);
        let shift = |(index, label): (usize, &mut f64)| {
            let (shifted, weight) = shifted(*label, if index == last { mean } else { solved });
            *label = shifted;
            weight
        };
        *weights = Some(labels.iter_mut().enumerate().map(shift).collect());
    }
}

/// Returns a label with its odds divided by those of `rate`, and its weight.
fn shifted(label: f64, rate: f64) -> (f64, f64) {
    let (correct, incorrect) = (2.0 * label * (1.0 - rate), 2.0 * (1.0 - label) * rate);
    let weight = correct + incorrect;
    // A label of 1 at rate 1, or of 0 at rate 0, carries no information.
    if weight > 0.0 { (correct / weight, weight) } else { (label, 0.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(correct: usize, incorrect: usize) -> Vec<Sample> {
        let sample = |label| Sample { parts: Vec::new(), labels: vec![label], weights: None };
        [vec![sample(1.0); correct], vec![sample(0.0); incorrect]].concat()
    }

    #[test]
    fn correct_and_incorrect_ends_of_a_problem_have_equal_total_weight() {
        let mut samples = ends(3, 12);
        make_relative(&mut samples, 0.5);
        let weight = |label: f64| -> f64 {
            let of = samples.iter().filter(|sample| (sample.labels[0] - label).abs() < 1e-12);
            of.map(|sample| sample.weights.as_ref().unwrap()[0]).sum()
        };
        assert!((weight(1.0) - weight(0.0)).abs() < 1e-12);
    }

    #[test]
    fn problems_that_are_always_or_never_solved_give_no_samples() {
        for (mut samples, solved) in [(ends(2, 0), 1.0), (ends(0, 2), 0.0)] {
            make_relative(&mut samples, solved);
            assert!(samples.is_empty());
        }
    }

    #[test]
    fn a_problem_without_a_recorded_incorrect_end_has_weight_zero() {
        let mut samples = ends(2, 0);
        make_relative(&mut samples, 0.5);
        assert_eq!(
            (samples[0].labels.as_slice(), samples[0].weights.as_deref()),
            ([1.0].as_slice(), Some([0.0].as_slice()))
        );
    }
}
