//! Speculation changes when rollouts are drawn, and nothing in the tree.

use std::sync::atomic::Ordering;

use mmprm::data::solution::Rollout;
use mmprm::policy::{PolicyError, RolloutModel, RolloutRequest};
use mmprm::search::{SearchError, SearchParams, SearchStats, search};

use crate::oracle::{Ends, Oracle, problem};

fn params(speculative: bool, adaptive: bool) -> SearchParams {
    SearchParams { max_searches: 12, speculative, adaptive, ..SearchParams::default() }
}

#[test]
fn a_speculative_search_gives_the_same_tree_and_counts_what_it_dropped() {
    for patient in [false, true] {
        for (index, adaptive) in [(1, false), (2, true), (3, false)] {
            let oracle = Oracle { patient, ..Oracle::new(0.15, 0.05) };
            let plain = search(&problem(index), &oracle, &Ends, &params(false, adaptive), &mut ()).unwrap();
            let ahead = search(&problem(index), &oracle, &Ends, &params(true, adaptive), &mut ()).unwrap();
            assert_eq!(ahead.tree, plain.tree);
            let SearchStats { guesses, guesses_dropped, .. } = ahead.stats;
            assert!(0 < guesses_dropped && guesses_dropped < guesses, "{:?}", ahead.stats);
            assert_eq!(SearchStats { guesses: 0, guesses_dropped: 0, ..ahead.stats }, plain.stats);
            if patient {
                // Every guess that was dropped was told so: it would be waiting still.
                assert_eq!(oracle.cancelled.load(Ordering::Relaxed), guesses_dropped);
            }
        }
    }
}

/// Fails, or panics, where it is asked ahead.
struct Rash<'a> {
    oracle: &'a Oracle,
    panics: bool,
    /// Whether a request made ahead that is needed fails too, or only one that is dropped.
    when_needed: bool,
}

impl RolloutModel for Rash<'_> {
    fn rollouts(&self, request: &RolloutRequest<'_>) -> Result<Vec<Rollout>, PolicyError> {
        if let Some(guess) = request.guess {
            while !guess.is_needed() && !guess.is_dropped() {
                std::thread::yield_now();
            }
            if guess.is_needed() == self.when_needed {
                assert!(!self.panics, "a bug");
                return Err(PolicyError::Engine("out of order".into()));
            }
        }
        self.oracle.rollouts(&RolloutRequest { guess: None, ..*request })
    }
}

#[test]
fn what_becomes_of_a_probe_that_is_not_needed_is_of_no_account() {
    let oracle = Oracle::new(0.15, 0.05);
    let plain = search(&problem(1), &oracle, &Ends, &params(false, false), &mut ()).unwrap();
    for panics in [false, true] {
        let rash = Rash { oracle: &oracle, panics, when_needed: false };
        let ahead = search(&problem(1), &rash, &Ends, &params(true, false), &mut ()).unwrap();
        assert_eq!(ahead.tree, plain.tree);
    }
    let rash = Rash { oracle: &oracle, panics: false, when_needed: true };
    let error = search(&problem(1), &rash, &Ends, &params(true, false), &mut ()).unwrap_err();
    assert!(matches!(error, SearchError::RolloutModel(PolicyError::Engine(_))), "{error}");
}
