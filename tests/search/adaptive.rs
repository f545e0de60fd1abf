//! Adaptive rollouts: how many they save, and how much label accuracy they cost.
//!
//! `cargo test --release --test search -- --nocapture adaptive` prints the table.

use mmprm::data::tree::{Node, Tree};
use mmprm::search::{SearchParams, search};

use crate::oracle::{Ends, Oracle, labels, problem};

/// Probabilities `(slip, mend)` of problems whose errors are final, from easy to hard.
const FINAL: [(f64, f64); 4] = [(0.02, 0.0), (0.05, 0.0), (0.1, 0.0), (0.2, 0.0)];
/// Problems whose errors may be corrected, so that their states have success rates of all kinds.
const MENDED: [(f64, f64); 4] = [(0.05, 0.02), (0.1, 0.05), (0.3, 0.1), (0.1, 0.3)];
/// Problems of each kind.
const PROBLEMS: usize = 40;

/// Sums over the searches of some problems.
#[derive(Default)]
struct Sums {
    states: usize,
    rollouts: usize,
    labels: usize,
    /// Sums of label − true rate and of its absolute value.
    bias: f64,
    error: f64,
}

impl Sums {
    /// Searches with `rollouts` per state, or adaptive ones.
    fn of(kinds: &[(f64, f64)], rollouts: usize, adaptive: bool) -> Self {
        let params =
            SearchParams { max_searches: 20, rollout_budget: 1 << 30, rollouts, adaptive, ..SearchParams::default() };
        let mut sums = Self::default();
        for (kind, &(slip, mend)) in kinds.iter().enumerate() {
            let oracle = Oracle::new(slip, mend);
            for index in 0..PROBLEMS {
                let problem = problem(kind * PROBLEMS + index);
                let outcome = search(&problem, &oracle, &Ends, &params).unwrap();
                sums.states += outcome.stats.estimates;
                sums.rollouts += outcome.stats.rollouts;
                for (label, truth) in labels(&outcome.tree, &oracle) {
                    sums.labels += 1;
                    sums.bias += label - truth;
                    sums.error += (label - truth).abs();
                }
            }
        }
        sums
    }

    fn rollouts_per_state(&self) -> f64 {
        self.rollouts as f64 / self.states as f64
    }

    fn error(&self) -> f64 {
        self.error / self.labels as f64
    }

    fn bias(&self) -> f64 {
        self.bias / self.labels as f64
    }
}

fn row(name: &str, sums: &Sums) {
    let Sums { states, .. } = sums;
    println!("| {name} | {states} | {:.2} | {:.4} | {:+.4} |", sums.rollouts_per_state(), sums.error(), sums.bias());
}

#[test]
fn adaptive_rollouts_are_at_most_two_in_five_and_labels_stay_accurate_and_unbiased() {
    println!("| slip, mend | states | rollouts per state | label error | bias |\n| --- | --- | --- | --- | --- |");
    for (kinds, max_error) in [(&FINAL, 0.05), (&MENDED, 0.1)] {
        for kind in kinds.chunks(1) {
            row(&format!("{:?} 16", kind[0]), &Sums::of(kind, 16, false));
            row(&format!("{:?} adaptive", kind[0]), &Sums::of(kind, 16, true));
        }
        let [full, adaptive] = [false, true].map(|adaptive| Sums::of(kinds, 16, adaptive));
        row("these four, 16", &full);
        row("these four, adaptive", &adaptive);
        row("these four, always 6", &Sums::of(kinds, 6, false));
        assert!(adaptive.rollouts_per_state() <= 0.4 * full.rollouts_per_state());
        assert!(adaptive.error() <= max_error && adaptive.error() <= full.error() + 0.05);
        assert!(adaptive.bias().abs() < 0.01 && full.bias().abs() < 0.01);
    }
}

#[test]
fn adaptive_rollouts_are_the_first_of_the_full_number() {
    let oracle = Oracle::new(0.1, 0.1);
    let tree = |adaptive| {
        let params = SearchParams { max_searches: 1, adaptive, ..SearchParams::default() };
        search(&problem(3), &oracle, &Ends, &params).unwrap().tree
    };
    let (full, adaptive) = (tree(false), tree(true));
    assert_eq!(full.root.incorrect_rollouts, adaptive.root.incorrect_rollouts);
    let drawn = |node: &Node| node.incorrect_rollouts.len() + node.correct_rollouts.len();
    let first = |tree: &Tree| tree.root.children.iter().find(|child| drawn(child) > 0).cloned().unwrap();
    let (full, adaptive) = (first(&full), first(&adaptive));
    assert_eq!(full.partial_solution, adaptive.partial_solution);
    assert!(full.incorrect_rollouts.starts_with(&adaptive.incorrect_rollouts));
    assert!(full.correct_rollouts.starts_with(&adaptive.correct_rollouts));
    assert!(drawn(&adaptive) < drawn(&full));
}
