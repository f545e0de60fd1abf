//! Every recorded rollout as a sample, with a label after each single step.
//!
//! A searched state usually spans several steps, and most correct rollouts are one state, so
//! samples made of states alone rarely contain a correct step that is not an answer, or an
//! incorrect answer. But a tree records all rollouts that were drawn, and each is evidence about
//! every prefix it passes through: the fraction of correct ones estimates the prefix's success
//! rate, as rollouts drawn from it would. Where a prefix was searched, its own MC value is the
//! label, because the search chose it for an incorrect rollout and the rollouts that led to it are
//! not an unbiased sample.

use std::collections::HashMap;

use super::sample::Sample;
use crate::compat::text::strip;
use crate::data::tree::{Node, Tree};

/// Returns the distinct rollouts of a tree from their first step to their answer, in the order of a
/// depth-first walk.
///
/// The label of a step is the MC value of its prefix where the search measured it, and otherwise
/// the fraction of correct rollouts among those that pass through it.
///
/// ```
/// use mmprm::data::samples::every_rollout;
/// use mmprm::data::solution::Continue;
/// use mmprm::data::tree::{Node, Tree};
/// let rollout = |steps: [&str; 2]| steps.map(String::from).to_vec();
/// let tree = Tree {
///     question: "2 + 1?".into(),
///     answer: "3".into(),
///     image_path: "sum.png".into(),
///     id: 1.into(),
///     continues: Continue::User,
///     root: Node {
///         mc_value: 0.75, // four rollouts, three of them correct and equal
///         correct_rollouts: vec![rollout(["We add.", "Answer: 3"])],
///         incorrect_rollouts: vec![rollout(["We add.", "Answer: 4"])],
///         ..Node::default()
///     },
/// };
/// let samples = every_rollout(&tree);
/// assert_eq!(samples[0].process(), "We add.<prm>\n\nAnswer: 3<prm>");
/// assert_eq!(samples[0].labels, [0.75, 1.0]);
/// assert_eq!(samples[1].labels, [0.75, 0.0]);
/// ```
pub fn every_rollout(tree: &Tree) -> Vec<Sample> {
    let mut trie = Trie { nodes: vec![Prefix::default()], ends: Vec::new() };
    trie.walk(&tree.root, ROOT);
    trie.ends.iter().map(|&end| trie.sample(end)).collect()
}

/// The index of the empty prefix.
const ROOT: usize = 0;

/// A trie of the prefixes of a tree's rollouts.
struct Trie<'a> {
    nodes: Vec<Prefix<'a>>,
    /// The prefixes that are whole rollouts, in order of arrival.
    ends: Vec<usize>,
}

#[derive(Default)]
struct Prefix<'a> {
    /// The prefix one step shorter, and the step that extends it.
    step: Option<(usize, &'a str)>,
    next: HashMap<&'a str, usize>,
    /// Correctness of the rollouts that pass through, each weighted by its share of its state's
    /// rollouts.
    passing: Tally,
    /// MC values of the states with this partial solution.
    searched: Tally,
    is_end: bool,
}

/// A running weighted mean.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    sum: f64,
    weight: f64,
}

impl Tally {
    fn add(&mut self, value: f64, weight: f64) {
        self.sum += value * weight;
        self.weight += weight;
    }
}

impl<'a> Trie<'a> {
    fn walk(&mut self, node: &'a Node, before: usize) {
        let mut here = before;
        for step in &node.partial_solution {
            here = self.after(here, step);
        }
        if here != ROOT {
            self.nodes[here].searched.add(node.mc_value, 1.0);
        }
        // Equal rollouts are recorded once but counted in the MC value each time: the distinct ones
        // share the weight of their class equally.
        let classes =
            [(&node.correct_rollouts, 1.0, node.mc_value), (&node.incorrect_rollouts, 0.0, 1.0 - node.mc_value)];
        for (rollouts, value, share) in classes {
            for rollout in rollouts {
                self.pass(here, rollout, value, share / rollouts.len() as f64);
            }
        }
        for child in &node.children {
            self.walk(child, here);
        }
    }

    /// Adds a rollout from a state.
    fn pass(&mut self, state: usize, rollout: &'a [String], value: f64, weight: f64) {
        let mut here = state;
        for step in rollout {
            here = self.after(here, step);
            self.nodes[here].passing.add(value, weight);
        }
        if here != ROOT && !std::mem::replace(&mut self.nodes[here].is_end, true) {
            self.ends.push(here);
        }
    }

    /// Returns the prefix one step longer, added if it is new.
    fn after(&mut self, here: usize, step: &'a str) -> usize {
        let step = strip(step);
        if let Some(&known) = self.nodes[here].next.get(step) {
            return known;
        }
        let new = self.nodes.len();
        self.nodes[here].next.insert(step, new);
        self.nodes.push(Prefix { step: Some((here, step)), ..Prefix::default() });
        new
    }

    fn label(&self, prefix: usize) -> f64 {
        let Prefix { passing, searched, .. } = &self.nodes[prefix];
        let tally = if searched.weight > 0.0 { searched } else { passing };
        // The weight is 0 where the state's MC value contradicts the recorded class.
        if tally.weight > 0.0 { tally.sum / tally.weight } else { 0.0 }
    }

    /// Returns the path from the empty prefix to the end of a rollout.
    fn sample(&self, end: usize) -> Sample {
        let mut path = Vec::new();
        let mut here = end;
        while let Some((before, step)) = self.nodes[here].step {
            path.push((here, step));
            here = before;
        }
        path.reverse();
        let parts = path.iter().map(|&(_, step)| step.to_owned()).collect();
        let labels = path.iter().map(|&(prefix, _)| self.label(prefix)).collect();
        Sample { parts, labels, weights: None }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::data::solution::Continue;

    fn steps(list: &[&str]) -> Vec<String> {
        list.iter().map(|step| (*step).to_owned()).collect()
    }

    fn tree(root: Node) -> Tree {
        Tree {
            question: "Q".into(),
            answer: "1".into(),
            image_path: Value::Null,
            id: 1.into(),
            continues: Continue::User,
            root,
        }
    }

    #[test]
    fn a_searched_prefix_is_labelled_by_its_value_and_others_by_the_rollouts_through_them() {
        let searched = Node {
            partial_solution: steps(&["a"]),
            mc_value: 0.25,
            correct_rollouts: vec![steps(&["b", "right"])],
            incorrect_rollouts: vec![steps(&["b", "wrong"])],
            ..Node::default()
        };
        let root = Node {
            mc_value: 0.5,
            correct_rollouts: vec![steps(&["c", "right"])],
            incorrect_rollouts: vec![steps(&["a", "wrong"])],
            children: vec![searched],
            ..Node::default()
        };
        let samples = every_rollout(&tree(root));
        let found: Vec<(&[String], &[f64])> =
            samples.iter().map(|sample| (sample.parts.as_slice(), sample.labels.as_slice())).collect();
        let expected: [(&[&str], &[f64]); 4] = [
            (&["c", "right"], &[1.0, 1.0]),
            (&["a", "wrong"], &[0.25, 0.0]),
            (&["a", "b", "right"], &[0.25, 0.25, 1.0]),
            (&["a", "b", "wrong"], &[0.25, 0.25, 0.0]),
        ];
        let expected = expected.map(|(parts, labels)| (steps(parts), labels));
        let expected: Vec<(&[String], &[f64])> = expected.iter().map(|(parts, labels)| (&parts[..], *labels)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn equal_rollouts_of_several_states_give_one_sample() {
        let child = Node {
            partial_solution: steps(&["a "]),
            mc_value: 1.0,
            correct_rollouts: vec![steps(&["b"])],
            ..Node::default()
        };
        let root = Node {
            mc_value: 1.0,
            correct_rollouts: vec![steps(&["a", "b"])],
            children: vec![child],
            ..Node::default()
        };
        let samples = every_rollout(&tree(root));
        assert_eq!(samples, [Sample { parts: steps(&["a", "b"]), labels: vec![1.0, 1.0], weights: None }]);
    }
}
