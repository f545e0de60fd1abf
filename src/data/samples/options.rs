//! Which paths of a tree become samples, beyond MM-PRM's choice: their number and ratio, pooled prefixes, hard labels, and agreement
//! with a judge.

use std::collections::HashMap;

use super::paths::Paths;
use super::sample::Sample;
use crate::compat::random::Random;
use crate::compat::text::strip;
use crate::data::tree::{Node, Tree};

/// Which paths of a tree become samples.
///
/// ```
/// use mmprm::data::samples::PathOptions;
/// assert_eq!(PathOptions::default().positives, 1.0); // as many positives as negatives, as in MM-PRM
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PathOptions {
    /// Seed of draws, as of Python's `random`.
    pub seed: u64,
    /// Positive paths for each negative one.
    pub positives: f64,
    /// Maximum samples of a tree, drawn at random; no maximum without it.
    pub max_per_tree: Option<usize>,
    /// Adds up the rollouts of states with equal prefixes, which were searched apart.
    pub pools: bool,
    /// Makes every label 1 where a rollout was right, and 0 elsewhere.
    pub hard: bool,
    /// Keeps paths on which a judge agrees with the MC values at every state (Zhang et al., "The Lessons of Developing Process Reward
    /// Models", arXiv 2501.07301).
    pub consensus: bool,
}

impl Default for PathOptions {
    /// MM-PRM's samples.
    fn default() -> Self {
        Self { seed: 0, positives: 1.0, max_per_tree: None, pools: false, hard: false, consensus: false }
    }
}

impl PathOptions {
    /// At most the maximum of samples, in their order, and the number of the others.
    pub(super) fn capped(&self, samples: Vec<Sample>) -> (Vec<Sample>, usize) {
        let Some(max) = self.max_per_tree.filter(|max| *max < samples.len()) else { return (samples, 0) };
        let mut kept = Random::new(self.seed).sample(samples.len(), max);
        kept.sort_unstable();
        let beyond = samples.len() - max;
        (kept.into_iter().map(|index| samples[index].clone()).collect(), beyond)
    }
}

/// The text of a prefix by which states are compared.
fn extended(before: &str, node: &Node) -> String {
    node.partial_solution.iter().fold(before.to_owned(), |text, step| text + strip(step) + "\n\n")
}

/// Gives states with equal prefixes the success rate of their rollouts together. A state weighs as many rollouts as it records.
pub(super) fn pool(tree: &mut Tree) {
    fn count(node: &Node, before: &str, counts: &mut HashMap<String, (f64, f64)>) {
        let text = extended(before, node);
        let rollouts = (node.correct_rollouts.len() + node.incorrect_rollouts.len()).max(1) as f64;
        let (right, all) = counts.entry(text.clone()).or_default();
        *right += node.mc_value * rollouts;
        *all += rollouts;
        node.children.iter().for_each(|child| count(child, &text, counts));
    }
    fn set(node: &mut Node, before: &str, counts: &HashMap<String, (f64, f64)>) {
        let text = extended(before, node);
        if let Some((right, all)) = counts.get(&text) {
            node.mc_value = right / all;
        }
        node.children.iter_mut().for_each(|child| set(child, &text, counts));
    }
    let mut counts = HashMap::new();
    tree.root.children.iter().for_each(|child| count(child, "", &mut counts));
    tree.root.children.iter_mut().for_each(|child| set(child, "", &counts));
}

/// Whether a judge was asked about any state.
pub(super) fn is_judged(node: &Node) -> bool {
    node.judged.is_some() || node.children.iter().any(is_judged)
}

/// Drops paths with a state on which the judge (right from one half on) does not agree with the MC value (right above 0); returns
/// their number. A state without a judgement agrees with nothing.
pub(super) fn keep_agreed(paths: &mut Paths, tree: &Tree) -> usize {
    fn collect(node: &Node, before: &str, agreed: &mut HashMap<String, bool>) {
        let text = extended(before, node);
        let agrees = node.judged.is_some_and(|judged| (judged >= 0.5) == (node.mc_value > 0.0));
        *agreed.entry(text.clone()).or_insert(true) &= agrees;
        node.children.iter().for_each(|child| collect(child, &text, agreed));
    }
    let mut agreed = HashMap::new();
    tree.root.children.iter().for_each(|child| collect(child, "", &mut agreed));
    let is_agreed = |sample: &Sample| {
        let mut text = String::new();
        sample.parts.iter().all(|part| {
            text += strip(part);
            text += "\n\n";
            agreed.get(&text).copied().unwrap_or(false)
        })
    };
    let before = paths.negatives.len() + paths.positives.len();
    paths.negatives.retain(is_agreed);
    paths.positives.retain(is_agreed);
    before - paths.negatives.len() - paths.positives.len()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::{SampleKind, SampleStats, SamplesError, write};
    use super::*;
    use crate::data::solution::Continue;
    use crate::data::tree;

    const LONG: &str = "one two three four five six seven eight nine ten eleven";

    fn node(step: &str, mc_value: f64, rollouts: usize) -> Node {
        let correct_rollouts = (0..rollouts).map(|number| vec![number.to_string()]).collect();
        Node { partial_solution: vec![format!("{LONG} {step}")], mc_value, correct_rollouts, ..Node::default() }
    }

    /// The samples of a tree, with a judge's probability of each child if given.
    fn samples(
        children: Vec<Node>,
        judged: &[Option<f64>],
        options: PathOptions,
    ) -> Result<(SampleStats, Vec<Value>), SamplesError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0123456789abcdef0123456789abcdef.json");
        let root = Node { mc_value: 0.5, children, ..Node::default() };
        let (question, answer, continues) = ("Q".to_owned(), "1".into(), Continue::User);
        let tree = Tree { question, answer, image_path: Value::Null, id: 1.into(), root, continues };
        let mut value: Value = serde_json::from_str(&tree::json::to_string(&tree)).unwrap();
        for (index, judged) in judged.iter().enumerate() {
            value["children"][index]["llm_as_a_judge"] = (*judged).into();
        }
        std::fs::write(&path, value.to_string()).unwrap();
        let mut lines = Vec::new();
        let stats = write(&[path], SampleKind::States(options), &mut lines)?;
        let lines = String::from_utf8(lines).unwrap();
        Ok((stats, lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()))
    }

    fn labels(samples: &[Value]) -> Vec<f64> {
        samples
            .iter()
            .flat_map(|sample| sample["conversations"][1]["value"].as_array().unwrap().clone())
            .map(|label| label.as_f64().unwrap())
            .collect()
    }

    fn mixed() -> Vec<Node> {
        let negatives = (0..4).map(|number| node(&format!("n{number}"), 0.0, 0));
        negatives.chain((0..8).map(|number| node(&format!("p{number}"), 0.75, 0))).collect()
    }

    #[test]
    fn the_ratio_and_the_number_of_paths_are_as_asked_for() {
        let counts = |options: PathOptions| {
            let (stats, samples) = samples(mixed(), &[], options).unwrap();
            assert_eq!(samples.len(), stats.negatives + stats.positives);
            (stats.negatives, stats.positives, stats.not_drawn, stats.beyond)
        };
        assert_eq!(counts(PathOptions::default()), (4, 4, 4, 0));
        assert_eq!(counts(PathOptions { positives: 1.5, ..PathOptions::default() }), (4, 6, 2, 0));
        assert_eq!(counts(PathOptions { positives: 0.0, ..PathOptions::default() }), (4, 0, 8, 0));
        let (negatives, positives, not_drawn, beyond) =
            counts(PathOptions { max_per_tree: Some(3), ..PathOptions::default() });
        assert_eq!((negatives + positives, not_drawn, beyond), (3, 4, 5));
        let drawn = |seed| {
            samples(mixed(), &[], PathOptions { max_per_tree: Some(3), seed, ..PathOptions::default() }).unwrap().1
        };
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
    }

    #[test]
    fn hard_labels_are_right_above_zero() {
        let options = PathOptions { hard: true, ..PathOptions::default() };
        assert_eq!(labels(&samples(mixed(), &[], options).unwrap().1), [[0.0; 4], [1.0; 4]].concat());
    }

    #[test]
    fn rollouts_of_equal_prefixes_are_added_up() {
        // Two right of two, and none of six: two of eight, which is no incorrect step any more.
        let mut wrong = node("same ", 0.0, 0);
        wrong.incorrect_rollouts = (0..6).map(|number| vec![number.to_string()]).collect();
        let children = || vec![node("same", 1.0, 2), wrong.clone(), node("n", 0.0, 0)];
        assert_eq!(labels(&samples(children(), &[], PathOptions::default()).unwrap().1), [0.0, 0.0, 1.0]);
        let pooled = samples(children(), &[], PathOptions { pools: true, ..PathOptions::default() }).unwrap();
        assert_eq!((labels(&pooled.1), pooled.0.repeated), (vec![0.0, 0.25], 1));
    }

    #[test]
    fn only_paths_that_a_judge_agrees_with_are_kept() {
        let children =
            || vec![node("a", 0.0, 0), node("b", 0.0, 0), node("c", 0.5, 0), node("d", 0.5, 0), node("e", 0.5, 0)];
        let judged = [Some(0.1), Some(0.9), Some(0.5), Some(0.4), None];
        let consensus = PathOptions { consensus: true, ..PathOptions::default() };
        let (stats, kept) = samples(children(), &judged, consensus).unwrap();
        assert_eq!((labels(&kept), stats.disagreed), (vec![0.0, 0.5], 3));
        assert!(matches!(samples(children(), &[], consensus), Err(SamplesError::NotJudged)));
        assert_eq!(samples(children(), &judged, PathOptions::default()).unwrap().0.disagreed, 0);
    }
}
