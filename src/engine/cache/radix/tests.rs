//! The tree against a naive model that lists every sequence's keys.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;

/// The naive model.
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

    /// Positions that only `sequence` holds.
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
    assert_eq!(tree.idle_sequences(), naive.sequences.len() - naive.running.len());
    assert_eq!(tree.live().map(|node| tree.nodes[node].keys.len()).sum::<usize>(), tree.cells());
    for node in tree.live() {
        let children = &tree.nodes[node].children;
        assert!(!tree.nodes[node].keys.is_empty());
        assert!(children.iter().all(|&child| tree.nodes[child].parent == node));
        let inside = |child: &usize| tree.nodes[*child].holders.without(tree.nodes[node].holders).is_empty();
        assert!(children.iter().all(inside), "a sequence that holds a position holds all before it");
    }
}

#[derive(Debug, Clone)]
enum Action {
    Hold(i32, Vec<u64>),
    SetIdle(i32),
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
        3 => id.clone().prop_map(Action::SetIdle),
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
            // A running sequence grows, a new one starts anywhere, an idle one stays as it is.
            let known = naive.sequences.contains_key(&id);
            if known && !naive.running.contains(&id) {
                return;
            }
            let keys = naive.sequences.entry(id).or_default();
            keys.extend(more);
            tree.hold(id, keys);
            naive.running.insert(id);
        }
        Action::SetIdle(id) => {
            if !naive.running.remove(&id) {
                return;
            }
            for gone in tree.set_idle(id) {
                let keys = naive.sequences.remove(&gone).unwrap();
                let mut idle = naive.sequences.iter().filter(|(other, _)| !naive.running.contains(other));
                assert!(idle.any(|(_, held)| held.starts_with(&keys)), "{gone} alone held {keys:?}");
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
    fn the_tree_agrees_with_the_naive_model(actions in actions()) {
        let (mut tree, mut naive) = (Radix::default(), Naive::default());
        for action in actions {
            apply(action, &mut tree, &mut naive);
            check(&mut tree, &naive);
        }
        // Once all sequences are idle, everything can be evicted.
        for id in naive.running.drain() {
            tree.set_idle(id);
        }
        while tree.evict().is_some() {}
        prop_assert_eq!((tree.cells(), tree.idle_sequences(), tree.live().count()), (0, 0, 0));
    }
}

#[test]
fn the_least_recently_used_branch_is_evicted_first_and_the_trunk_last() {
    let mut tree = Radix::default();
    for (sequence, last) in [(1, [7, 7]), (2, [8, 8]), (3, [9, 9])] {
        tree.hold(sequence, &[&[1, 2, 3], &last[..]].concat());
        assert!(tree.set_idle(sequence).is_empty());
    }
    assert_eq!(tree.longest(&[1, 2, 3, 7]).0, 4);
    assert_eq!(tree.evict(), Some(Cut { sequence: 2, keep: 0 }));
    assert_eq!(tree.evict(), Some(Cut { sequence: 3, keep: 0 }));
    assert_eq!(tree.longest(&[1, 2, 3, 9]), (3, Some(1)));
    // The trunk and the last branch have become one run.
    assert_eq!(tree.evict(), Some(Cut { sequence: 1, keep: 0 }));
    assert_eq!(tree.evict(), None);
}

#[test]
fn eviction_of_a_branch_keeps_the_trunk_that_a_running_sequence_holds() {
    let mut tree = Radix::default();
    tree.hold(1, &[1, 2, 3, 4]);
    tree.hold(2, &[1, 2, 9]);
    tree.set_idle(1);
    assert_eq!((tree.cells(), tree.idle_cells()), (5, 2));
    assert_eq!(tree.evict(), Some(Cut { sequence: 1, keep: 2 }));
    assert_eq!(tree.evict(), None, "the rest is in use");
    assert_eq!(tree.set_idle(2), [1], "the other holds all its positions");
    assert_eq!(tree.cells(), 3);
}

#[test]
fn a_sequence_without_positions_is_redundant_at_once() {
    let mut tree = Radix::default();
    assert_eq!((tree.set_idle(3), tree.idle_sequences()), (vec![3], 0));
}

#[test]
fn a_growing_sequence_extends_its_own_run() {
    let mut tree = Radix::default();
    tree.hold(5, &[1]);
    tree.hold(5, &[1, 2, 3]);
    assert_eq!((tree.live().count(), tree.cells()), (1, 3));
}
