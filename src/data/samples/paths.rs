//! MM-PRM's samples: the paths of a tree from the root to its first unsolved states and its leaves,
//! and the draw of positives.

use std::collections::HashSet;

use super::sample::{STEP_TOKEN, Sample};
use crate::compat::random::Random;
use crate::compat::text::strip;
use crate::data::tree::{Node, Tree};

/// A path of at most this many words is dropped; words are separated by single spaces.
const MAX_SHORT_WORDS: usize = 10;

/// The paths of one tree without short and repeated ones.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Paths {
    /// Paths that end at a state whose rollouts are all incorrect.
    pub negatives: Vec<Sample>,
    /// Paths that end at a leaf with a correct rollout.
    pub positives: Vec<Sample>,
    /// Number of paths dropped because they have too few words.
    pub short: usize,
    /// Number of paths dropped because their text occurred before in the same class.
    pub repeated: usize,
}

impl Paths {
    /// Collects the paths of a tree, depth first. The root has no steps and is on no path.
    pub fn of(tree: &Tree) -> Self {
        let mut ends = Ends::default();
        for child in &tree.root.children {
            ends.walk(child, &Sample { parts: Vec::new(), labels: Vec::new(), weights: None });
        }
        let mut paths = Self::default();
        paths.negatives = paths.clean(ends.negatives);
        paths.positives = paths.clean(ends.positives);
        paths
    }

    /// Returns all negatives, then as many positives, drawn as Python's
    /// `random.seed(seed); random.sample(…)` draws them; all positives in order if there are fewer.
    pub fn sampled(self, seed: u64) -> Vec<Sample> {
        self.drawn(seed, 1.0)
    }

    /// As [`sampled`](Self::sampled), with `ratio` positives for each negative, rounded.
    pub(super) fn drawn(self, seed: u64, ratio: f64) -> Vec<Sample> {
        let Self { negatives: mut samples, positives, .. } = self;
        let count = (samples.len() as f64 * ratio).round() as usize;
        if positives.len() < count {
            samples.extend(positives);
        } else {
            let drawn = Random::new(seed).sample(positives.len(), count);
            samples.extend(drawn.into_iter().map(|index| positives[index].clone()));
        }
        samples
    }

    fn clean(&mut self, ends: Vec<Sample>) -> Vec<Sample> {
        let mut seen = HashSet::new();
        let mut kept = Vec::new();
        for mut sample in ends {
            let process = sample.process();
            let process = strip(&process);
            if process.split(' ').count() <= MAX_SHORT_WORDS {
                self.short += 1;
            } else if !seen.insert(process.to_owned()) {
                self.repeated += 1;
            } else {
                // The text of the process without white space before it.
                if let Some(first) = sample.parts.first_mut() {
                    let marked = format!("{first}{STEP_TOKEN}");
                    strip(&marked).strip_suffix(STEP_TOKEN).unwrap_or_default().clone_into(first);
                }
                kept.push(sample);
            }
        }
        kept
    }
}

/// Whole paths in the order in which the walk ends them, duplicates included.
#[derive(Default)]
struct Ends {
    negatives: Vec<Sample>,
    positives: Vec<Sample>,
}

impl Ends {
    fn walk(&mut self, node: &Node, before: &Sample) {
        let mut here = before.clone();
        let steps: Vec<&str> = node.partial_solution.iter().map(|step| strip(step)).collect();
        here.parts.push(steps.join("\n\n"));
        here.labels.push(node.mc_value);
        if node.mc_value <= 0.0 {
            self.negatives.push(here);
        } else if node.children.is_empty() {
            self.positives.push(here);
        } else {
            for child in &node.children {
                self.walk(child, &here);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::data::solution::Continue;

    fn node(step: &str, mc_value: f64, children: Vec<Node>) -> Node {
        Node { partial_solution: vec![step.into()], mc_value, children, ..Node::default() }
    }

    fn tree(children: Vec<Node>) -> Tree {
        let root = Node { mc_value: 0.5, children, ..Node::default() };
        let (question, answer, continues) = ("Q".to_owned(), "1".into(), Continue::User);
        Tree { question, answer, image_path: Value::Null, id: 1.into(), root, continues }
    }

    const LONG: &str = "one two three four five six seven eight nine ten eleven";

    #[test]
    fn a_path_ends_at_the_first_unsolved_state() {
        let paths = Paths::of(&tree(vec![node(LONG, 0.0, vec![node("more", 1.0, vec![])])]));
        assert_eq!(paths.negatives, [Sample { parts: vec![LONG.into()], labels: vec![0.0], weights: None }]);
        assert_eq!(paths.positives, []);
    }

    #[test]
    fn short_and_repeated_paths_are_counted_and_dropped() {
        let padded = format!(" {LONG}\n");
        let children = vec![
            node(LONG, 1.0, vec![]),
            node(&padded, 1.0, vec![]),
            node("1 2 3 4 5 6 7 8 9 10", 1.0, vec![]),
            node(LONG, 0.0, vec![]),
        ];
        let paths = Paths::of(&tree(children));
        assert_eq!((paths.negatives.len(), paths.positives.len(), paths.short, paths.repeated), (1, 1, 1, 1));
    }

    #[test]
    fn positives_are_drawn_down_to_the_number_of_negatives() {
        let positive = |index: usize| node(&format!("{LONG} p{index}"), 1.0, vec![]);
        let negative = |index: usize| node(&format!("{LONG} n{index}"), 0.0, vec![]);
        let count = |positives, negatives| {
            let children = (0..positives).map(positive).chain((0..negatives).map(negative)).collect();
            Paths::of(&tree(children)).sampled(1).len()
        };
        assert_eq!([count(9, 4), count(2, 4), count(5, 0)], [8, 6, 0]);
    }
}
