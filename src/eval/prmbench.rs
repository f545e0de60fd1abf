//! `PRMBench`'s figures: the `PRMScore` of all modified solutions, of each way in which they were modified, and of the three dimensions that
//! group these (arXiv 2501.03124).
//!
//! As its own code computes them (`ssmisya/PRMBench`: `evaluate_function` in `mr_eval/tasks/prmtest_classified/task.py`,
//! `get_prmscore_from_current_res_dict` in `mr_visualize`): steps of a class are counted together, a `PRMScore` is the mean of the F1 of
//! right and of wrong steps, except for `multi_solutions`, which has no wrong steps and takes the F1 of right ones; a dimension is the
//! mean of its classes.
//!
//! ```
//! use std::collections::BTreeMap;
//! use mmprm::eval::detection::Solution;
//! use mmprm::eval::prmbench::scores;
//! let solution = Solution { scores: vec![0.9, 0.2], labels: vec![Some(true), Some(false)] };
//! let classes = BTreeMap::from([("circular".to_owned(), vec![solution.clone()]), ("redundency".to_owned(), vec![solution])]);
//! let scores = scores(&classes, 0.5).unwrap();
//! assert_eq!((scores.overall, scores.dimensions[0].score), (Some(1.0), Some(1.0)));
//! assert_eq!((scores.dimensions[1].name, scores.dimensions[1].score), ("soundness", None));
//! ```

use std::collections::BTreeMap;

use serde::Serialize;

use super::detection::{Solution, detection};

/// The dimensions and their classes, spelt as in the data.
const DIMENSIONS: [(&str, &[&str]); 3] = [
    ("simplicity", &["redundency", "circular"]),
    ("soundness", &["counterfactual", "step_contradiction", "domain_inconsistency", "confidence"]),
    ("sensitivity", &["missing_condition", "deception", MULTI_SOLUTIONS]),
];

/// The class whose solutions are all right.
const MULTI_SOLUTIONS: &str = "multi_solutions";

/// The figures at a threshold.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PrmScores {
    /// The `PRMScore` over the steps of all classes.
    pub overall: Option<f64>,
    /// The dimensions.
    pub dimensions: Vec<Dimension>,
}

/// A dimension.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Dimension {
    /// Its name.
    pub name: &'static str,
    /// The mean of its classes; `None` if one of them is missing or has nothing to measure.
    pub score: Option<f64>,
    /// The `PRMScore` of each class that there is.
    pub classes: BTreeMap<String, Option<f64>>,
}

/// Returns the figures of solutions by class; `None` if no class is one of `PRMBench`.
pub fn scores(classes: &BTreeMap<String, Vec<Solution>>, threshold: f64) -> Option<PrmScores> {
    let known = || DIMENSIONS.iter().flat_map(|(_, names)| names.iter()).filter_map(|name| classes.get(*name));
    let all: Vec<Solution> = known().flatten().cloned().collect();
    if all.is_empty() {
        return None;
    }
    let of_class = |name: &str| {
        let found = detection(classes.get(name)?, threshold);
        Some((name.to_owned(), if name == MULTI_SOLUTIONS { found.f1_right_steps } else { found.macro_f1 }))
    };
    let dimension = |(name, names): &(&'static str, &[&str])| {
        let classes: BTreeMap<String, Option<f64>> = names.iter().filter_map(|name| of_class(name)).collect();
        let values: Option<Vec<f64>> = classes.values().copied().collect();
        let complete = values.filter(|values| values.len() == names.len());
        let score = complete.map(|values| values.iter().sum::<f64>() / values.len() as f64);
        Dimension { name, score, classes }
    };
    Some(PrmScores {
        overall: detection(&all, threshold).macro_f1,
        dimensions: DIMENSIONS.iter().map(dimension).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn solution(scores: &[f64], labels: &[bool]) -> Solution {
        Solution { scores: scores.to_vec(), labels: labels.iter().copied().map(Some).collect() }
    }

    #[test]
    fn figures_are_as_by_hand() {
        let classes = BTreeMap::from([
            // Right: one kept, one refused. Wrong: one found. F1 of right 2/3, of wrong 2/3.
            ("missing_condition".to_owned(), vec![solution(&[0.9, 0.1, 0.1], &[true, true, false])]),
            // Right: one kept. Wrong: one missed. F1 of right 2/3, of wrong 0.
            ("deception".to_owned(), vec![solution(&[0.9, 0.9], &[true, false])]),
            // Right: two kept, one refused. F1 of right 4/5.
            (MULTI_SOLUTIONS.to_owned(), vec![solution(&[0.9, 0.9, 0.1], &[true; 3])]),
            ("correct".to_owned(), vec![solution(&[0.1; 9], &[true; 9])]),
        ]);
        let found = scores(&classes, 0.5).unwrap();
        let sensitivity = &found.dimensions[2];
        let values = [2.0 / 3.0, 1.0 / 3.0, 0.8];
        for (class, value) in ["missing_condition", "deception", MULTI_SOLUTIONS].into_iter().zip(values) {
            assert!((sensitivity.classes[class].unwrap() - value).abs() < 1e-12, "{class}");
        }
        assert!((sensitivity.score.unwrap() - values.iter().sum::<f64>() / 3.0).abs() < 1e-12);
        // All steps together, those of unmodified solutions left out: right 4 kept, 2 refused; wrong 1 found, 1 missed.
        let (right, wrong) = (8.0 / (8.0 + 2.0 + 1.0), 2.0 / (2.0 + 1.0 + 2.0));
        assert!((found.overall.unwrap() - f64::midpoint(right, wrong)).abs() < 1e-12);
        assert_eq!((found.dimensions[0].score, found.dimensions[0].classes.len()), (None, 0));
        assert_eq!(scores(&BTreeMap::from([("sums".to_owned(), vec![solution(&[0.5], &[true])])]), 0.5), None);
    }
}
