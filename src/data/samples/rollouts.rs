//! Every recorded rollout as a path, with a label after each single step.
//!
//! A searched state stands for several steps, and most right rollouts are one state; so samples made of states alone rarely
//! show a right step that is not an answer, or a wrong answer. But a tree holds all rollouts that were drawn, and each is
//! evidence about every prefix it passes through: the share of right ones among them estimates the prefix's success rate as
//! rollouts drawn for it would. Where a prefix was searched, its own Monte Carlo value is the label, since it was chosen for a
//! wrong rollout, and those that led to it are no fair draw.

use std::collections::HashMap;

use super::paths::Sample;
use crate::compat::text::strip;
use crate::data::tree::{Node, Tree};

/// The distinct rollouts of a tree from their first step to their answer, in the order of a depth-first walk.
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
///         mc_value: 0.75, // of four, three right ones that were equal
///         correct_rollouts: vec![rollout(["We add.", "Answer: 3"])],
///         incorrect_rollouts: vec![rollout(["We add.", "Answer: 4"])],
///         ..Node::default()
///     },
/// };
/// let samples = every_rollout(&tree);
/// assert_eq!(samples[0].process, "We add.<prm>\n\nAnswer: 3<prm>");
/// assert_eq!(samples[0].labels, [0.75, 1.0]);
/// assert_eq!(samples[1].labels, [0.75, 0.0]);
/// ```
pub fn every_rollout(tree: &Tree) -> Vec<Sample> {
    let mut prefixes = Prefixes { places: vec![Place::default()], ends: Vec::new() };
    prefixes.walk(&tree.root, ROOT);
    prefixes.ends.iter().map(|&end| prefixes.sample(end)).collect()
}

/// The place of the empty solution.
const ROOT: usize = 0;

/// All prefixes of a tree's rollouts, those that share steps together.
struct Prefixes<'a> {
    places: Vec<Place<'a>>,
    /// The places of whole rollouts, in order of arrival.
    ends: Vec<usize>,
}

#[derive(Default)]
struct Place<'a> {
    /// The place before, and the step from there to here.
    step: Option<(usize, &'a str)>,
    next: HashMap<&'a str, usize>,
    /// Rollouts that pass through from states before: right ones and all, as shares of their state's.
    passing: Tally,
    /// Monte Carlo values of the states that stand here.
    searched: Tally,
    is_end: bool,
}

/// A weighted mean in the making.
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

impl<'a> Prefixes<'a> {
    fn walk(&mut self, node: &'a Node, before: usize) {
        let mut here = before;
        for step in &node.partial_solution {
            here = self.after(here, step);
        }
        if here != ROOT {
            self.places[here].searched.add(node.mc_value, 1.0);
        }
        // Equal rollouts are kept once, but the value has counted them all: each stands for its share of its class.
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

    /// Takes in a rollout from a state.
    fn pass(&mut self, state: usize, rollout: &'a [String], value: f64, weight: f64) {
        let mut here = state;
        for step in rollout {
            here = self.after(here, step);
            self.places[here].passing.add(value, weight);
        }
        if here != ROOT && !std::mem::replace(&mut self.places[here].is_end, true) {
            self.ends.push(here);
        }
    }

    /// The place one step on.
    fn after(&mut self, here: usize, step: &'a str) -> usize {
        let step = strip(step);
        if let Some(&known) = self.places[here].next.get(step) {
            return known;
        }
        let new = self.places.len();
        self.places[here].next.insert(step, new);
        self.places.push(Place { step: Some((here, step)), ..Place::default() });
        new
    }

    fn label(&self, place: usize) -> f64 {
        let Place { passing, searched, .. } = &self.places[place];
        let tally = if searched.weight > 0.0 { searched } else { passing };
        // A class without weight is one that the state's value denies.
        if tally.weight > 0.0 { tally.sum / tally.weight } else { 0.0 }
    }

    /// The path from the start to the end of a rollout.
    fn sample(&self, end: usize) -> Sample {
        let mut places = Vec::new();
        let mut here = end;
        while let Some((before, step)) = self.places[here].step {
            places.push((here, step));
            here = before;
        }
        places.reverse();
        let steps: Vec<String> = places.iter().map(|(_, step)| format!("{step}<prm>")).collect();
        let labels = places.iter().map(|&(place, _)| self.label(place)).collect();
        Sample { process: steps.join("\n\n"), labels, weights: None }
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
    fn a_searched_prefix_has_its_own_value_and_others_that_of_the_rollouts_through_them() {
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
        let found: Vec<(&str, &[f64])> =
            samples.iter().map(|sample| (sample.process.as_str(), sample.labels.as_slice())).collect();
        let expected: [(&str, &[f64]); 4] = [
            ("c<prm>\n\nright<prm>", &[1.0, 1.0]),
            ("a<prm>\n\nwrong<prm>", &[0.25, 0.0]),
            ("a<prm>\n\nb<prm>\n\nright<prm>", &[0.25, 0.25, 1.0]),
            ("a<prm>\n\nb<prm>\n\nwrong<prm>", &[0.25, 0.25, 0.0]),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn equal_rollouts_of_several_states_are_one_sample() {
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
        assert_eq!(samples, [Sample { process: "a<prm>\n\nb<prm>".into(), labels: vec![1.0, 1.0], weights: None }]);
    }
}
