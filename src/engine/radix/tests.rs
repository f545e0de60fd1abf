//! The tree beside a model that keeps every sequence's keys in a list.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;

/// What a tree should hold, kept the slow way.
#[derive(Debug, Default)]
struct Naive {
    sequences: HashMap<i32, Vec<u64>>,
    running: HashSet<i32>,
}

impl Naive {
    fn longest(&self, keys: &[u64]) -> usize {
        self.sequences.values().map(|held| common_prefix(held, keys)).max().unwrap_or(0)
    }

    fn prefixes<'a>(sequences: impl Iterator<Item = &'a Vec<u64>>) -> HashSet<&'a [u64]> {
        sequences.flat_map(|keys| (1..=keys.len()).map(|length| &keys[..length])).collect()
    }

    fn cells(&self) -> usize {
        Self::prefixes(self.sequences.values()).len()
    }

    fn pinned(&self) -> usize {
        let running = self.sequences.iter().filter(|(sequence, _)| self.running.contains(sequence));
        Self::prefixes(running.map(|(_, keys)| keys)).len()
    }

    /// Positions of `sequence` that nothing else holds.
    fn alone(&self, sequence: i32) -> usize {
        let others = self.sequences.iter().filter(|&(&other, _)| other != sequence).map(|(_, keys)| keys);
        let others = Self::prefixes(others);
        let keys = &self.sequences[&sequence];
        (1..=keys.len()).filter(|&length| !others.contains(&keys[..length])).count()
    }
}

fn check(tree: &mut Radix, naive: &Naive) {
    assert_eq!(tree.cells(), naive.cells());
    assert_eq!(tree.idle_cells(), naive.cells() - naive.pinned());
    assert_eq!(tree.resting_sequences(), naive.sequences.len() - naive.running.len());
    assert_eq!(tree.live().map(|node| tree.nodes[node].keys.len()).sum::<usize>(), tree.cells());
    for node in tree.live() {
        let children = &tree.nodes[node].children;
        assert!(!tree.nodes[node].keys.is_empty());
        assert!(children.iter().all(|&child| tree.nodes[child].parent == node));
        let inside = |child: &usize| tree.nodes[*child].holders.without(tree.nodes[node].holders).is_empty();
        assert!(children.iter().all(inside), "who holds a position holds all before it");
    }
}

#[derive(Debug, Clone)]
enum Action {
    Hold(i32, Vec<u64>),
    Rest(i32),
    Remove(i32),
    Longest(Vec<u64>),
    Evict,
    EvictSequence,
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let id = 0..8_i32;
    let keys = || prop::collection::vec(0..3_u64, 1..9);
    let action = prop_oneof![
        4 => (id.clone(), keys()).prop_map(|(id, keys)| Action::Hold(id, keys)),
        3 => id.clone().prop_map(Action::Rest),
        1 => id.prop_map(Action::Remove),
        3 => keys().prop_map(Action::Longest),
        1 => Just(Action::Evict),
        1 => Just(Action::EvictSequence),
    ];
    prop::collection::vec(action, 1..80)
}

fn apply(action: Action, tree: &mut Radix, naive: &mut Naive) {
    match action {
        Action::Hold(id, more) => {
            // A running sequence grows; a new one starts anywhere; a resting one is not touched.
            let known = naive.sequences.contains_key(&id);
            if known && !naive.running.contains(&id) {
                return;
            }
            let keys = naive.sequences.entry(id).or_default();
            keys.extend(more);
            tree.hold(id, keys);
            naive.running.insert(id);
        }
        Action::Rest(id) => {
            if !naive.running.remove(&id) {
                return;
            }
            for gone in tree.rest(id) {
                let keys = naive.sequences.remove(&gone).unwrap();
                let mut resting = naive.sequences.iter().filter(|(other, _)| !naive.running.contains(other));
                assert!(resting.any(|(_, held)| held.starts_with(&keys)), "{gone} alone held {keys:?}");
            }
        }
        Action::Remove(id) => {
            if naive.sequences.remove(&id).is_some() {
                naive.running.remove(&id);
                tree.remove(id);
            }
        }
        Action::Longest(keys) => {
            let (length, holder) = tree.longest(&keys);
            assert_eq!(length, naive.longest(&keys));
            let held = holder.map_or(0, |holder| common_prefix(&naive.sequences[&holder], &keys));
            assert_eq!(held, length);
        }
        Action::Evict => match tree.evict() {
            None => assert_eq!(naive.cells(), naive.pinned()),
            Some(Cut { sequence, keep }) => {
                assert!(!naive.running.contains(&sequence));
                let alone = naive.alone(sequence);
                let keys = naive.sequences.get_mut(&sequence).unwrap();
                assert!(alone > 0 && keep < keys.len(), "a cut frees something");
                keys.truncate(keep);
                if keep == 0 {
                    naive.sequences.remove(&sequence);
                }
            }
        },
        Action::EvictSequence => match tree.evict_sequence() {
            None => assert_eq!(naive.sequences.len(), naive.running.len()),
            Some(sequence) => {
                assert!(!naive.running.contains(&sequence));
                naive.sequences.remove(&sequence).unwrap();
            }
        },
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn a_tree_holds_what_its_sequences_hold(actions in actions()) {
        let (mut tree, mut naive) = (Radix::default(), Naive::default());
        for action in actions {
            apply(action, &mut tree, &mut naive);
            check(&mut tree, &naive);
        }
        // Everything can be given up in the end, and nothing stays behind.
        for id in naive.running.drain() {
            tree.rest(id);
        }
        while tree.evict().is_some() {}
        prop_assert_eq!((tree.cells(), tree.resting_sequences(), tree.live().count()), (0, 0, 0));
    }
}

#[test]
fn the_least_recently_used_branch_goes_first_and_the_trunk_last() {
    let mut tree = Radix::default();
    for (sequence, last) in [(1, [7, 7]), (2, [8, 8]), (3, [9, 9])] {
        tree.hold(sequence, &[&[1, 2, 3], &last[..]].concat());
        assert!(tree.rest(sequence).is_empty());
    }
    assert_eq!(tree.longest(&[1, 2, 3, 7]).0, 4);
    assert_eq!(tree.evict(), Some(Cut { sequence: 2, keep: 0 }));
    assert_eq!(tree.evict(), Some(Cut { sequence: 3, keep: 0 }));
    assert_eq!(tree.longest(&[1, 2, 3, 9]), (3, Some(1)));
    // The trunk and the last branch are one run now.
    assert_eq!(tree.evict(), Some(Cut { sequence: 1, keep: 0 }));
    assert_eq!(tree.evict(), None);
}

#[test]
fn a_trunk_outlives_the_branch_of_the_only_sequence_that_rests_on_it() {
    let mut tree = Radix::default();
    tree.hold(1, &[1, 2, 3, 4]);
    tree.hold(2, &[1, 2, 9]);
    tree.rest(1);
    assert_eq!((tree.cells(), tree.idle_cells()), (5, 2));
    assert_eq!(tree.evict(), Some(Cut { sequence: 1, keep: 2 }));
    assert_eq!(tree.evict(), None, "what is left is in use");
    assert_eq!(tree.rest(2), [1], "the longer one is enough");
    assert_eq!(tree.cells(), 3);
}

#[test]
fn a_sequence_that_holds_nothing_does_not_rest() {
    let mut tree = Radix::default();
    assert_eq!((tree.rest(3), tree.resting_sequences()), (vec![3], 0));
}

#[test]
fn a_sequence_that_runs_on_extends_its_own_run() {
    let mut tree = Radix::default();
    tree.hold(5, &[1]);
    tree.hold(5, &[1, 2, 3]);
    assert_eq!((tree.live().count(), tree.cells()), (1, 3));
}
