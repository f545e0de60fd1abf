//! Ablations: how the choices of reward models compare that differ in one thing, on the same candidates.
//!
//! An arm is a way of making a reward model; with several random seeds it has been made several times, and its figures are means over
//! them. Arms are compared on the problems that count in all of them. Training and scoring are left to the caller.
//!
//! ```
//! use mmprm::data::candidates::parse;
//! use mmprm::eval::ablation::{Arm, compare};
//! let scored = |scores: &str| {
//!     let text = format!(r#"[{{"question": "1+1?", "solutions_splits": [["Answer: 3"], ["Answer: 2"]], "labels": [0, 1],
//!                              "prm_scores": {scores}}}]"#);
//!     parse("scored.json".as_ref(), text.as_bytes()).unwrap()
//! };
//! let arms = [
//!     Arm { name: "soft".into(), runs: vec![scored("[[0.1], [0.9]]")] },
//!     Arm { name: "hard".into(), runs: vec![scored("[[0.1], [0.9]]"), scored("[[0.8], [0.2]]")] },
//! ];
//! let ablation = compare(&arms, 0).unwrap();
//! let product = ablation.arms[1].methods.iter().find(|method| method.name == "product").unwrap();
//! assert_eq!((product.accuracy, product.difference.as_ref().unwrap().mean), (0.5, -0.5));
//! ```

use std::collections::HashSet;

use serde::Serialize;

use super::bon::interval;
use super::curve::{Curves, Point, counted, mean_curves};
use super::selection::{Contenders, Selection};
use super::steps::{StepsOptions, report};
use crate::data::candidates::CandidateSet;

/// A way of making a reward model, and what its models scored.
#[derive(Debug)]
pub struct Arm {
    /// Its name.
    pub name: String,
    /// The scored candidates, once for each seed; the same problems and candidates in all arms.
    pub runs: Vec<Vec<CandidateSet>>,
}

/// The comparison of some arms.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ablation {
    /// Problems that every figure is of.
    pub problems: usize,
    /// Problems left out: failed, without labels, or not scored in some arm.
    pub left_out: usize,
    /// What needs no reward model: the majority, log-probabilities, any right candidate.
    pub baselines: Vec<Baseline>,
    /// The arms; the others are compared with the first one.
    pub arms: Vec<ArmReport>,
}

/// The accuracy of a choice that is the same in all arms.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Baseline {
    /// The rule, `random` or `oracle`.
    pub name: String,
    /// Fraction of problems, and its 95 % interval.
    #[serde(flatten)]
    pub point: Point,
}

/// The figures of an arm.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ArmReport {
    /// Its name.
    pub name: String,
    /// The rules that read step scores.
    pub methods: Vec<ArmMethod>,
    /// The area under the ROC curve of its step scores against `step_labels`, up to the first error: the mean over the seeds.
    pub step_auc: Option<f64>,
    /// The same over pairs of steps of one problem.
    pub step_auc_within: Option<f64>,
    /// Accuracy against the number of candidates, for the same rules.
    pub curves: Curves,
}

/// A rule in an arm.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ArmMethod {
    /// The rule.
    pub name: String,
    /// Fraction of problems in which it selects a right candidate, the mean over the seeds.
    pub accuracy: f64,
    /// 95 % interval over bootstrap resamples of the problems; seeds are not resampled.
    pub ci: [f64; 2],
    /// The accuracy of each seed.
    pub seeds: Vec<f64>,
    /// Difference from the first arm; `None` in the first.
    pub difference: Option<Difference>,
}

/// A paired difference.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Difference {
    /// The mean over the problems.
    pub mean: f64,
    /// 95 % interval over bootstrap resamples of the problems.
    pub ci: [f64; 2],
}

/// Why arms cannot be compared.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum AblationError {
    /// An arm has no run.
    #[error("there is no scored run of {0:?}")]
    Empty(String),
    /// Runs have other problems or candidates.
    #[error("the candidates of {0:?} are others than those of the first arm, from problem {1} on")]
    Others(String, usize),
    /// No problem counts.
    #[error("no problem counts in all arms: all failed, have no labels or no scores")]
    Nothing,
}

/// The problems that count, of each run of an arm.
type Runs<'a> = Vec<Vec<&'a CandidateSet>>;

/// Compares arms.
///
/// # Errors
/// [`AblationError`] if the arms are not of the same candidates, or no problem counts.
pub fn compare(arms: &[Arm], seed: u64) -> Result<Ablation, AblationError> {
    check(arms)?;
    let total = arms[0].runs[0].len();
    let used = used(arms, total);
    let mut scored = arms.iter().flat_map(|arm| &arm.runs).flatten();
    if used.is_empty() || scored.all(|set| set.scores.is_none()) {
        return Err(AblationError::Nothing);
    }
    let mut runs: Vec<Runs<'_>> = Vec::with_capacity(arms.len());
    for arm in arms {
        runs.push(arm.runs.iter().map(|run| used.iter().map(|&index| &run[index]).collect()).collect());
    }
    let curves: Vec<Curves> = runs.iter().map(|runs| mean_curves(runs, seed)).collect();
    let baselines = baselines(&curves[0]);
    let reports = arms.iter().zip(&runs).zip(curves).enumerate().map(|(number, ((arm, own), mut curves))| {
        curves.lines.retain(|line| reads_scores(&line.name));
        let rules = curves.lines.iter().filter_map(|line| line.name.parse().ok());
        let methods = rules.map(|rule| method(rule, own, (number > 0).then_some(&runs[0]), seed)).collect();
        let [step_auc, step_auc_within] = step_auc(arm);
        ArmReport { name: arm.name.clone(), methods, step_auc, step_auc_within, curves }
    });
    Ok(Ablation { problems: used.len(), left_out: total - used.len(), baselines, arms: reports.collect() })
}

/// Checks that all runs are of the same candidates.
fn check(arms: &[Arm]) -> Result<(), AblationError> {
    if let Some(arm) = arms.iter().find(|arm| arm.runs.is_empty()) {
        return Err(AblationError::Empty(arm.name.clone()));
    }
    let Some(first) = arms.first().map(|arm| &arm.runs[0]) else { return Err(AblationError::Nothing) };
    for arm in arms {
        for run in &arm.runs {
            let is_same = |(own, other): &(&CandidateSet, &CandidateSet)| {
                own.solutions == other.solutions && own.labels == other.labels
            };
            let equal = run.iter().zip(first).take_while(is_same).count();
            if equal < run.len().max(first.len()) {
                return Err(AblationError::Others(arm.name.clone(), equal));
            }
        }
    }
    Ok(())
}

/// The problems that count in every run.
fn used(arms: &[Arm], total: usize) -> Vec<usize> {
    let mut counts = vec![0; total];
    let runs = || arms.iter().flat_map(|arm| &arm.runs);
    for run in runs() {
        let own: HashSet<*const CandidateSet> = counted(run).into_iter().map(std::ptr::from_ref).collect();
        for (count, set) in counts.iter_mut().zip(run) {
            *count += usize::from(own.contains(&std::ptr::from_ref(set)));
        }
    }
    let all = runs().count();
    (0..total).filter(|&index| counts[index] == all).collect()
}

fn reads_scores(rule: &str) -> bool {
    matches!(rule.parse(), Ok(Selection::Score(_) | Selection::WeightedVote(_)))
}

/// What the curves of any arm say of choices without step scores.
fn baselines(curves: &Curves) -> Vec<Baseline> {
    let others = curves.lines.iter().filter(|line| !reads_scores(&line.name));
    let last = others.filter_map(|line| Some(Baseline { name: line.name.clone(), point: *line.points.last()? }));
    // The oracle with one candidate is a random one.
    let random = curves.lines.iter().find(|line| line.name == "oracle").and_then(|line| line.points.first());
    random.map(|point| Baseline { name: "random".to_owned(), point: *point }).into_iter().chain(last).collect()
}

/// The figures of a rule in an arm, compared with the first arm.
fn method(rule: Selection, own: &Runs<'_>, first: Option<&Runs<'_>>, seed: u64) -> ArmMethod {
    let seeds = successes(own, rule);
    let all = mean(&seeds);
    let difference = first.map(|first| {
        let differences: Vec<f64> =
            all.iter().zip(mean(&successes(first, rule))).map(|(own, other)| own - other).collect();
        Difference { mean: average(&differences), ci: interval(&differences, seed) }
    });
    ArmMethod {
        name: rule.name(),
        accuracy: average(&all),
        ci: interval(&all, seed),
        seeds: seeds.iter().map(|run| average(run)).collect(),
        difference,
    }
}

/// For each run and problem 1 if the rule selects a right candidate, or else 0.
fn successes(runs: &Runs<'_>, rule: Selection) -> Vec<Vec<f64>> {
    let success = |set: &&CandidateSet| {
        let selected = Contenders::new(set).select(rule);
        let is_right =
            selected.is_some_and(|it| set.labels.as_ref().is_some_and(|labels| labels.get(it.index) == Some(&true)));
        f64::from(u8::from(is_right))
    };
    runs.iter().map(|run| run.iter().map(success).collect()).collect()
}

/// The mean of each problem over the runs.
fn mean(runs: &[Vec<f64>]) -> Vec<f64> {
    let problems = runs.first().map_or(0, Vec::len);
    (0..problems).map(|index| runs.iter().map(|run| run[index]).sum::<f64>() / runs.len() as f64).collect()
}

fn average(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The separation of right steps from wrong ones, over all and within a problem; `None` without labels of steps.
fn step_auc(arm: &Arm) -> [Option<f64>; 2] {
    let reports: Option<Vec<_>> = arm.runs.iter().map(|run| report(run, &StepsOptions::default()).ok()).collect();
    let Some(reports) = reports else { return [None; 2] };
    let mean = |values: Option<Vec<f64>>| values.map(|values| average(&values));
    [
        mean(reports.iter().map(|report| report.all.auc).collect()),
        mean(reports.iter().map(|report| report.within_problem).collect()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::candidates::parse;

    fn record(labels: [u8; 2], scores: &str) -> String {
        format!(
            r#"{{"question": "q", "solutions_splits": [["Answer: 1"], ["Answer: 2"]], "labels": {labels:?},
                 "step_labels": [[{}], [{}]], "prm_scores": {scores}}}"#,
            labels[0], labels[1]
        )
    }

    fn run(scores: [&str; 3]) -> Vec<CandidateSet> {
        let labels = [[1, 0], [0, 1], [0, 1]];
        let records: Vec<String> = labels.iter().zip(scores).map(|(labels, scores)| record(*labels, scores)).collect();
        parse("c.json".as_ref(), format!("[{}]", records.join(",")).as_bytes()).unwrap()
    }

    fn arm(name: &str, runs: Vec<Vec<CandidateSet>>) -> Arm {
        Arm { name: name.to_owned(), runs }
    }

    const RIGHT: [&str; 3] = ["[[0.9], [0.1]]", "[[0.1], [0.9]]", "[[0.1], [0.9]]"];

    #[test]
    fn differences_are_paired_and_means_are_over_the_seeds() {
        let second = ["[[0.9], [0.1]]", "[[0.9], [0.1]]", "[[0.1], [0.9]]"];
        let arms = [arm("a", vec![run(RIGHT)]), arm("b", vec![run(second), run(RIGHT)])];
        let ablation = compare(&arms, 0).unwrap();
        let product =
            |index: usize| ablation.arms[index].methods.iter().find(|method| method.name == "product").unwrap().clone();
        assert_eq!((product(0).accuracy, product(0).difference), (1.0, None));
        assert!((product(1).accuracy - 5.0 / 6.0).abs() < 1e-12);
        assert!((product(1).seeds[0] - 2.0 / 3.0).abs() < 1e-12 && product(1).seeds.len() == 2);
        assert!((product(1).difference.unwrap().mean + 1.0 / 6.0).abs() < 1e-12);
        // As drawn in the curves of all candidates.
        let line = ablation.arms[1].curves.lines.iter().find(|line| line.name == "product").unwrap();
        assert!((line.points.last().unwrap().accuracy - 5.0 / 6.0).abs() < 1e-12);
        let mut ends = line.points.last().unwrap().ci.into_iter().zip(product(1).ci);
        assert!(ends.all(|(own, other)| (own - other).abs() < 1e-12));
        assert_eq!(ablation.arms[0].step_auc, Some(1.0));
        let baseline = |name: &str| ablation.baselines.iter().find(|one| one.name == name).unwrap().point.accuracy;
        for (name, accuracy) in [("random", 0.5), ("oracle", 1.0), ("majority", 1.0 / 3.0)] {
            assert!((baseline(name) - accuracy).abs() < 1e-12, "{name}");
        }
    }

    #[test]
    fn a_problem_counts_if_every_arm_scored_it() {
        let missing = ["null", "[[0.1], [0.9]]", "[[0.1], [0.9]]"];
        let ablation = compare(&[arm("a", vec![run(RIGHT)]), arm("b", vec![run(missing)])], 0).unwrap();
        assert_eq!((ablation.problems, ablation.left_out), (2, 1));
        let unscored = compare(&[arm("a", vec![run(["null"; 3])])], 0).unwrap_err();
        assert_eq!(unscored, AblationError::Nothing);
    }

    #[test]
    fn other_candidates_are_refused() {
        let other = {
            let mut other = run(RIGHT);
            other[1].solutions.reverse();
            other
        };
        let error = compare(&[arm("a", vec![run(RIGHT)]), arm("b", vec![other])], 0).unwrap_err();
        assert_eq!(error, AblationError::Others("b".into(), 1));
        let error = compare(&[arm("a", vec![run(RIGHT)]), arm("b", vec![run(RIGHT)[..2].to_vec()])], 0).unwrap_err();
        assert_eq!(error, AblationError::Others("b".into(), 2));
        assert_eq!(compare(&[arm("a", Vec::new())], 0).unwrap_err(), AblationError::Empty("a".into()));
        assert!(compare(&[], 0).is_err());
    }
}
