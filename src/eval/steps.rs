//! Step-level evaluation: how well step scores separate right steps from wrong ones, where the truth of each step is known.
//!
//! A record says which of its steps are right in `step_labels`: for each candidate a list with 1 or 0 for each step, or null for a
//! step that does not count; it may end at the first 0. A solution counts up to and including its first wrong step, since what follows from an error is neither
//! right nor wrong by itself, and since everything after it would be easy to tell by its position. [`StepsReport::detection`] counts
//! as the benchmarks do.
//!
//! ```
//! use mmprm::data::candidates::parse;
//! use mmprm::eval::steps::{StepsOptions, report};
//! let text = r#"[{"question": "q", "solutions_splits": [["a", "b", "c"], ["d"]], "prm_scores": [[0.9, 0.2, 0.8], [0.7]],
//!                 "step_labels": [[1, 0], [1]]}]"#;
//! let sets = parse("scored.json".as_ref(), text.as_bytes()).unwrap();
//! let report = report(&sets, &StepsOptions::default()).unwrap();
//! assert_eq!((report.all.steps, report.all.wrong), (3, 1));
//! assert_eq!((report.all.auc, report.within_problem), (Some(1.0), Some(1.0)));
//! ```

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::detection::{Detection, Goal, Solution, best_threshold, detection};
use super::prmbench::{self, PrmScores};
use super::step_labels;
pub use super::step_labels::StepsError;
use crate::data::candidates::CandidateSet;
use crate::util::auc::auc;
use crate::util::random::mix;

/// Places in a solution that are told apart; the last one has all later steps too.
pub const PLACES: usize = 10;

/// Number of bins of the calibration table.
const BINS: usize = 10;

/// How well scores separate the steps of a group.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Separation {
    /// Steps up to and including the first wrong one of their solution.
    pub steps: usize,
    /// Wrong steps among them.
    pub wrong: usize,
    /// ROC AUC of the scores; `None` if all steps are right or all wrong.
    pub auc: Option<f64>,
}

/// A bin of the calibration table.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Bin {
    /// Steps with scores in it.
    pub steps: usize,
    /// Their mean score.
    pub score: f64,
    /// The fraction of them that is right.
    pub right: f64,
}

/// The evaluation of a file.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct StepsReport {
    /// Problems with scores and truth.
    pub problems: usize,
    /// Problems left out: without scores or without truth.
    pub left_out: usize,
    /// All steps.
    pub all: Separation,
    /// ROC AUC over pairs of steps of the same problem; `None` without such pairs of a right and a wrong step.
    pub within_problem: Option<f64>,
    /// Steps by the value of the field they are grouped by.
    pub groups: BTreeMap<String, Separation>,
    /// Finding wrong steps by a threshold, over all labelled steps.
    pub detection: Detection,
    /// The same by group.
    pub detection_groups: BTreeMap<String, Detection>,
    /// The same with a threshold that is best on other problems: those of another file, or one half of the problems, measured on the
    /// other half.
    pub tuned: Option<Detection>,
    /// `PRMBench`'s figures, where records have its classes in `classification`.
    pub prmbench: Option<PrmScores>,
    /// Steps by their place in the solution, without places that no step has.
    pub places: Vec<Place>,
    /// Ten bins of scores of equal width from 0 to 1.
    pub calibration: Vec<Bin>,
    /// Mean distance of score and fraction of right steps over the bins, weighted by their steps (ECE).
    pub calibration_error: f64,
}

/// The steps at a place in their solutions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Place {
    /// Number of the step in its solution, from 1; the last place has all later steps too.
    pub step: usize,
    /// How well scores separate its right and wrong steps.
    #[serde(flatten)]
    pub separation: Separation,
    /// The mean score of its right steps.
    pub score_right: Option<f64>,
    /// The mean score of its wrong steps.
    pub score_wrong: Option<f64>,
}

/// A step's score and whether it is right.
type Scored = (f64, bool);

/// A threshold that is chosen, and not given.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Tuned {
    /// None.
    #[default]
    No,
    /// The best one for this on one half of the problems, measured on the other half.
    OnHalf(Goal),
    /// One of other problems ([`tuned_threshold`]).
    Elsewhere(f64),
}

/// How to evaluate steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepsOptions<'a> {
    /// Field of the records whose values divide them into groups.
    pub by: Option<&'a str>,
    /// A step with a score below this is taken to be wrong.
    pub threshold: f64,
    /// Another threshold to measure.
    pub tuned: Tuned,
    /// Divides the problems into halves.
    pub seed: u64,
}

impl Default for StepsOptions<'_> {
    fn default() -> Self {
        Self { by: None, threshold: 0.5, tuned: Tuned::No, seed: 0 }
    }
}

/// Evaluates the step scores of records.
///
/// # Errors
/// [`StepsError`].
pub fn report(sets: &[CandidateSet], options: &StepsOptions<'_>) -> Result<StepsReport, StepsError> {
    let mut report = StepsReport::default();
    let mut groups: BTreeMap<String, Vec<Scored>> = BTreeMap::new();
    let (mut all, mut ordered, mut pairs) = (Vec::new(), 0.0, 0.0);
    let mut solutions: BTreeMap<String, Vec<Solution>> = BTreeMap::new();
    let mut halves: [Vec<Solution>; 2] = [Vec::new(), Vec::new()];
    let mut places: [Vec<Scored>; PLACES] = Default::default();
    let mut classes: BTreeMap<String, Vec<Solution>> = BTreeMap::new();
    for (index, set) in sets.iter().enumerate() {
        let (Some(scores), Some(labels)) = (&set.scores, step_labels::of(set, index)?) else {
            report.left_out += 1;
            continue;
        };
        report.problems += 1;
        let mut steps: Vec<Scored> = Vec::new();
        for (place, step) in scores.iter().zip(&labels).flat_map(|(scores, labels)| up_to_error(scores, labels)) {
            places[place.min(PLACES - 1)].push(step);
            steps.push(step);
        }
        let wrong = steps.iter().filter(|(_, right)| !right).count();
        if let Some(own) = separation(&steps).auc {
            let own_pairs = (wrong * (steps.len() - wrong)) as f64;
            ordered += own * own_pairs;
            pairs += own_pairs;
        }
        let own = solutions_of(scores, &labels);
        halves[usize::from(mix(options.seed ^ mix(index as u64)) & 1 == 1)].extend_from_slice(&own);
        if let Some(class) = set.record.get("classification").and_then(Value::as_str) {
            classes.entry(class.to_owned()).or_default().extend_from_slice(&own);
        }
        if let Some(name) = options.by.map(|by| set.group(by)) {
            groups.entry(name.clone()).or_default().extend(&steps);
            solutions.entry(name).or_default().extend(own);
        }
        all.extend(steps);
    }
    if all.is_empty() {
        return Err(StepsError::NoSteps);
    }
    report.all = separation(&all);
    report.within_problem = (pairs > 0.0).then(|| ordered / pairs);
    report.groups = groups.into_iter().map(|(name, steps)| (name, separation(&steps))).collect();
    let everything: Vec<Solution> = halves.iter().flatten().cloned().collect();
    report.detection = detection(&everything, options.threshold);
    let of_group = |(name, own): (String, Vec<Solution>)| (name, detection(&own, options.threshold));
    report.detection_groups = solutions.into_iter().map(of_group).collect();
    report.prmbench = prmbench::scores(&classes, options.threshold);
    let [chosen_on, measured_on] = &halves;
    report.tuned = match options.tuned {
        Tuned::No => None,
        Tuned::OnHalf(goal) => best_threshold(chosen_on, goal).map(|threshold| detection(measured_on, threshold)),
        Tuned::Elsewhere(threshold) => Some(detection(&everything, threshold)),
    };
    report.places = places.iter().enumerate().filter(|(_, steps)| !steps.is_empty()).map(place).collect();
    report.calibration = bins(&all);
    let distance = |bin: &Bin| bin.steps as f64 * (bin.score - bin.right).abs();
    report.calibration_error = report.calibration.iter().map(distance).sum::<f64>() / all.len() as f64;
    Ok(report)
}

/// The steps of all records that count, in their order: the score of each, and whether it is right.
///
/// # Errors
/// As [`report`].
pub fn scored_steps(sets: &[CandidateSet]) -> Result<Vec<(f64, bool)>, StepsError> {
    let mut all = Vec::new();
    for (index, set) in sets.iter().enumerate() {
        if let (Some(scores), Some(labels)) = (&set.scores, step_labels::of(set, index)?) {
            let steps = scores.iter().zip(&labels).flat_map(|(scores, labels)| up_to_error(scores, labels));
            all.extend(steps.map(|(_, step)| step));
        }
    }
    Ok(all)
}

/// The solutions of a record.
fn solutions_of(scores: &[Vec<f64>], labels: &[Vec<Option<bool>>]) -> Vec<Solution> {
    let solution =
        |(scores, labels): (&Vec<f64>, &Vec<Option<bool>>)| Solution { scores: scores.clone(), labels: labels.clone() };
    scores.iter().zip(labels).map(solution).collect()
}

/// The threshold that is best for `goal` on all records that have both scores and truth; `None` if they have nothing to choose by.
///
/// # Errors
/// As [`report`].
pub fn tuned_threshold(sets: &[CandidateSet], goal: Goal) -> Result<Option<f64>, StepsError> {
    let mut all = Vec::new();
    for (index, set) in sets.iter().enumerate() {
        if let (Some(scores), Some(labels)) = (&set.scores, step_labels::of(set, index)?) {
            all.extend(solutions_of(scores, &labels));
        }
    }
    let is_labelled = |solution: &Solution| solution.labels.iter().any(Option::is_some);
    if all.iter().any(is_labelled) { Ok(best_threshold(&all, goal)) } else { Err(StepsError::NoSteps) }
}

fn place((index, steps): (usize, &Vec<Scored>)) -> Place {
    let mean = |wanted: bool| {
        let scores: Vec<f64> = steps.iter().filter(|(_, right)| *right == wanted).map(|(score, _)| *score).collect();
        (!scores.is_empty()).then(|| scores.iter().sum::<f64>() / scores.len() as f64)
    };
    Place { step: index + 1, separation: separation(steps), score_right: mean(true), score_wrong: mean(false) }
}

/// The steps of a solution up to and including its first wrong one, with their indices.
fn up_to_error<'a>(scores: &'a [f64], labels: &'a [Option<bool>]) -> impl Iterator<Item = (usize, Scored)> + 'a {
    let count = labels.iter().position(|label| *label == Some(false)).map_or(labels.len(), |first| first + 1);
    let steps = scores.iter().zip(labels).take(count).enumerate();
    steps.filter_map(|(index, (score, label))| Some((index, (*score, (*label)?))))
}

fn separation(steps: &[Scored]) -> Separation {
    let scored: Vec<(f64, bool, f64)> = steps.iter().map(|(score, right)| (*score, *right, 1.0)).collect();
    let wrong = steps.iter().filter(|(_, right)| !right).count();
    Separation { steps: steps.len(), wrong, auc: auc(&scored) }
}

fn bins(steps: &[Scored]) -> Vec<Bin> {
    let mut bins = vec![Bin::default(); BINS];
    for (score, right) in steps {
        let bin = &mut bins[((score * BINS as f64) as usize).min(BINS - 1)];
        bin.steps += 1;
        bin.score += score;
        bin.right += f64::from(u8::from(*right));
    }
    for bin in bins.iter_mut().filter(|bin| bin.steps > 0) {
        bin.score /= bin.steps as f64;
        bin.right /= bin.steps as f64;
    }
    bins
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::candidates::parse;

    fn of(records: &str) -> Result<StepsReport, StepsError> {
        report(
            &parse("s.json".as_ref(), format!("[{records}]").as_bytes()).unwrap(),
            &StepsOptions { by: Some("family"), ..Default::default() },
        )
    }

    #[test]
    fn a_solution_counts_up_to_its_first_wrong_step() {
        let record = |family: &str, scores: &str, labels: &str| {
            format!(
                r#"{{"question": "q", "family": "{family}", "solutions_splits": [["a", "b", "c"], ["d"]],
                "prm_scores": {scores}, "step_labels": {labels}}}"#
            )
        };
        // In each problem wrong steps score below right ones, but the problems' levels differ.
        let records = [
            record("easy", "[[0.9, 0.8, 0.95], [0.85]]", "[[1, 0, 1], [true]]"),
            record("hard", "[[0.3, 0.1, 0.95], [0.2]]", "[[1, 0], [1]]"),
            r#"{"question": "q", "solutions_splits": [["a"]], "prm_scores": [[0.5]]}"#.to_owned(),
        ];
        let report = of(&records.join(",")).unwrap();
        assert_eq!((report.problems, report.left_out, report.all.steps, report.all.wrong), (2, 1, 6, 2));
        assert_eq!(report.within_problem, Some(1.0));
        assert_eq!(report.all.auc, Some(0.75));
        assert_eq!(report.groups["hard"], Separation { steps: 3, wrong: 1, auc: Some(1.0) });
        assert_eq!(report.calibration.iter().map(|bin| bin.steps).sum::<usize>(), 6);
        assert!((report.calibration[9].score - 0.9).abs() < 1e-9 && report.calibration[9].right > 0.99);
    }

    #[test]
    fn steps_are_divided_by_their_place_and_late_ones_are_one_place() {
        let steps: Vec<&str> = ["\"s\""; 13].to_vec();
        let (steps, scores, labels) = (steps.join(","), ["0.5"; 13].join(","), ["1"; 13].join(","));
        let records = format!(
            r#"{{"question": "q", "solutions_splits": [[{steps}], ["a", "b", "c"]],
            "prm_scores": [[{scores}], [0.9, 0.1, 0.7]], "step_labels": [[{labels}], [1, 0, 1]]}}"#
        );
        let places = of(&records).unwrap().places;
        let counts: Vec<_> = places.iter().map(|place| (place.step, place.separation.steps)).collect();
        assert_eq!(counts, [(1, 2), (2, 2), (3, 1), (4, 1), (5, 1), (6, 1), (7, 1), (8, 1), (9, 1), (10, 4)]);
        assert_eq!((places[1].score_right, places[1].score_wrong), (Some(0.5), Some(0.1)));
        assert_eq!((places[0].separation.auc, places[1].separation.auc), (None, Some(1.0)));
    }

    #[test]
    fn a_threshold_of_another_file_is_measured_on_all_of_this_one() {
        let sets = |scores: &str| {
            let text = format!(
                r#"[{{"question": "q", "solutions_splits": [["a", "b"], ["c"]], "prm_scores": {scores}, "step_labels": [[1, 0], [1]]}}]"#
            );
            parse("s.json".as_ref(), text.as_bytes()).unwrap()
        };
        let (others, own) = (sets("[[0.4, 0.2], [0.3]]"), sets("[[0.9, 0.25], [0.35]]"));
        let threshold = tuned_threshold(&others, Goal::F1).unwrap().unwrap();
        let options = StepsOptions { tuned: Tuned::Elsewhere(threshold), ..Default::default() };
        let tuned = report(&own, &options).unwrap().tuned.unwrap();
        assert_eq!((tuned.threshold, tuned.wrong, tuned.right, tuned.f1), (0.3, 1, 1, Some(1.0)));
        let unscored = parse("s.json".as_ref(), br#"[{"question": "q", "solutions_splits": []}]"#).unwrap();
        assert_eq!(tuned_threshold(&unscored, Goal::F1), Err(StepsError::NoSteps));
    }

    #[test]
    fn truth_of_another_form_is_refused_with_its_record() {
        let with = |labels: &str| {
            of(&format!(
                r#"{{"id": 7, "question": "q", "solutions_splits": [["a"]], "prm_scores": [[1]], "step_labels": {labels}}}"#
            ))
        };
        for labels in ["[[2]]", "[1]", "[]", "[[1, 1]]", "\"x\""] {
            let error = with(labels).unwrap_err().to_string();
            assert!(error.starts_with("record 0 (id 7): `step_labels` is not a list"), "{error}");
        }
        assert_eq!(with("null"), Err(StepsError::NoSteps));
    }
}
