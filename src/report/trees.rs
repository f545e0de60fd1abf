//! Search trees for the page, with the binary searches that built them.
//!
//! A tree does not list its searches, but they are determined by it: a search probes prefixes of an incorrect rollout of a
//! state, always the same ones for the same answers, and each probed prefix is a state of the tree.
//!
//! ```
//! use mmprm::data::tree::Node;
//! use mmprm::report::trees::searches;
//! let node = |steps: &[&str], mc_value, children| Node {
//!     partial_solution: steps.iter().map(|step| step.to_string()).collect(), mc_value, children, ..Node::default()
//! };
//! let root = Node {
//!     incorrect_rollouts: vec![vec!["a".into(), "b".into(), "c".into()]],
//!     ..node(&[], 0.5, vec![node(&["a", "b"], 0.0, vec![]), node(&["a"], 0.25, vec![])])
//! };
//! let found = searches(&root);
//! // The middle of three steps is the second; it cannot be solved, but the first can: the second is the first wrong one.
//! assert_eq!(found[0].probes, [(1, 0, 2), (2, 0, 1)]);
//! assert_eq!(found[0].first_wrong, Some(1));
//! ```

use serde_json::{Value, json};

use super::texts::Texts;
use crate::data::solution::Rollout;
use crate::data::tree::{Node, Tree};

/// A binary search for the first wrong step of a rollout.
#[derive(Debug, Clone, PartialEq)]
pub struct Search<'a> {
    /// The state whose rollout it is, as its number in a depth-first walk from the root, 0.
    pub from: usize,
    /// The rollout, without the steps of that state.
    pub rollout: &'a Rollout,
    /// The states probed, in order: number, and the first and the end of the steps of the rollout that the state adds.
    pub probes: Vec<(usize, usize, usize)>,
    /// The index of the first wrong step in the rollout.
    pub first_wrong: Option<usize>,
}

/// A state of the walk.
struct State<'a> {
    node: &'a Node,
    children: Vec<usize>,
}

fn walk<'a>(node: &'a Node, states: &mut Vec<State<'a>>) -> usize {
    let number = states.len();
    states.push(State { node, children: Vec::new() });
    for child in &node.children {
        let child = walk(child, states);
        states[number].children.push(child);
    }
    number
}

/// The complete searches that a tree has the states of.
pub fn searches(root: &Node) -> Vec<Search<'_>> {
    let mut states = Vec::new();
    walk(root, &mut states);
    let mut is_used = vec![false; states.len()];
    let mut found = Vec::new();
    for from in 0..states.len() {
        for rollout in &states[from].node.incorrect_rollouts {
            if let Some(search) = replay(&states, from, rollout, &is_used) {
                for probe in &search.probes {
                    is_used[probe.0] = true;
                }
                found.push(search);
            }
        }
    }
    found
}

/// Repeats the search of a rollout; `None` if a state that it would have probed is not in the tree.
fn replay<'a>(states: &[State<'a>], from: usize, rollout: &'a Rollout, is_used: &[bool]) -> Option<Search<'a>> {
    let (mut state, mut left, mut end) = (from, 0, rollout.len());
    let mut probes: Vec<(usize, usize, usize)> = Vec::new();
    let mut first_wrong = None;
    while left < end {
        let middle = (left + end - 1) / 2;
        let is_this = |child: &&usize| states[**child].node.partial_solution == rollout[left..=middle];
        let matching = || states[state].children.iter().filter(is_this);
        // Several searches may have probed the same steps.
        let child = *matching().find(|child| !is_used[**child]).or_else(|| matching().next())?;
        probes.push((child, left, middle + 1));
        let cannot_be_solved = states[child].node.mc_value == 0.0;
        if left + 1 == end && end == rollout.len() {
            first_wrong = cannot_be_solved.then_some(middle);
            left = end;
        } else if cannot_be_solved {
            end = middle;
            first_wrong = Some(middle);
        } else {
            state = child;
            left = middle + 1;
        }
    }
    (!probes.is_empty()).then_some(Search { from, rollout, probes, first_wrong })
}

/// A tree for the page's script.
pub fn value(tree: &Tree, texts: &mut Texts) -> Value {
    let searches: Vec<Value> = searches(&tree.root)
        .into_iter()
        .map(|search| {
            let steps: Vec<usize> = search.rollout.iter().map(|step| texts.index(step)).collect();
            json!({"from": search.from, "steps": steps, "probes": search.probes, "wrong": search.first_wrong})
        })
        .collect();
    json!({"root": state(&tree.root, texts), "searches": searches})
}

/// A state: its steps, MC value, visits, numbers of correct and incorrect rollouts, children.
fn state(node: &Node, texts: &mut Texts) -> Value {
    let steps: Vec<usize> = node.partial_solution.iter().map(|step| texts.index(step)).collect();
    let children: Vec<Value> = node.children.iter().map(|child| state(child, texts)).collect();
    let value = (node.mc_value * 1e4).round() / 1e4;
    json!([steps, value, node.visit_count, node.correct_rollouts.len(), node.incorrect_rollouts.len(), children])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rollout(steps: &str) -> Rollout {
        steps.split(' ').map(str::to_owned).collect()
    }

    fn node(steps: &str, mc_value: f64, incorrect: &[&str], children: Vec<Node>) -> Node {
        let incorrect_rollouts = incorrect.iter().map(|steps| rollout(steps)).collect();
        Node { partial_solution: rollout(steps), mc_value, incorrect_rollouts, children, ..Node::default() }
    }

    #[test]
    fn a_search_continues_from_states_that_can_be_solved() {
        // Of four steps the first two can be solved; then the third, from there; then the whole cannot.
        let third = node("c", 0.5, &[], vec![node("d", 0.0, &[], vec![])]);
        let root = node("", 0.5, &["a b c d", "x y"], vec![node("a b", 0.5, &[], vec![third])]);
        let found = searches(&root);
        assert_eq!(found.len(), 1, "the other rollout was not searched");
        assert_eq!(found[0].probes, [(1, 0, 2), (2, 2, 3), (3, 3, 4)]);
        assert_eq!((found[0].from, found[0].first_wrong), (0, Some(3)));
    }

    #[test]
    fn searches_that_probed_equal_steps_have_states_of_their_own() {
        let probes = |value| [node("a b", 0.0, &[], vec![]), node("a", value, &[], vec![])];
        let children = probes(0.0).into_iter().chain(probes(0.5)).collect();
        let root = node("", 0.5, &["a b c", "a b d"], children);
        let found = searches(&root);
        assert_eq!(found[0].probes, [(1, 0, 2), (2, 0, 1)]);
        assert_eq!(found[1].probes, [(3, 0, 2), (4, 0, 1)]);
        assert_eq!([found[0].first_wrong, found[1].first_wrong], [Some(0), Some(1)]);
    }

    #[test]
    fn the_searches_of_a_state_below_the_root_are_found() {
        let inner = node("a", 0.5, &["b c"], vec![node("b", 0.0, &[], vec![])]);
        let found_root = node("", 0.5, &[], vec![inner]);
        let found = searches(&found_root);
        assert_eq!((found[0].from, &found[0].probes[..], found[0].first_wrong), (1, &[(2, 0, 1)][..], Some(0)));
        let mut texts = Texts::default();
        let steps = state(&found_root, &mut texts);
        assert_eq!(steps[5][0][4], 1);
    }
}
