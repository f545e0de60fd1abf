//! Speculation changes when rollouts are sampled but not the tree.

use std::sync::atomic::Ordering;

use mmprm::policy::{PolicyError, RolloutModel, RolloutRequest, SampledRollout};
use mmprm::search::{SearchError, SearchParams, SearchStats, search};

use crate::oracle::{Ends, Oracle, problem};

fn params(speculative: bool, adaptive: bool) -> SearchParams {
    SearchParams { max_searches: 12, speculative, adaptive, ..SearchParams::default() }
}

#[test]
fn a_speculative_search_gives_the_same_tree_and_counts_cancelled_probes() {
    for patient in [false, true] {
        for (index, adaptive) in [(1, false), (2, true), (3, false)] {
            let oracle = Oracle { patient, ..Oracle::new(0.15, 0.05) };
            let plain = search(&problem(index), &oracle, &Ends, &params(false, adaptive)).unwrap();
            let speculative = search(&problem(index), &oracle, &Ends, &params(true, adaptive)).unwrap();
            assert_eq!(speculative.tree, plain.tree);
            let SearchStats { speculative_probes, cancelled_probes, .. } = speculative.stats;
            assert!(0 < cancelled_probes && cancelled_probes < speculative_probes, "{:?}", speculative.stats);
            let others = SearchStats { speculative_probes: 0, cancelled_probes: 0, ..speculative.stats };
            assert_eq!(others, plain.stats);
            if patient {
                // Every probe that was not needed was cancelled: it would be waiting still.
                assert_eq!(oracle.cancelled.load(Ordering::Relaxed), cancelled_probes);
            }
        }
    }
}

/// Fails or panics on speculative requests.
struct Unreliable<'a> {
    oracle: &'a Oracle,
    panics: bool,
    /// Whether committed requests fail, rather than cancelled ones.
    when_committed: bool,
}

impl RolloutModel for Unreliable<'_> {
    fn rollouts(&self, request: &RolloutRequest<'_>) -> Result<Vec<SampledRollout>, PolicyError> {
        if let Some(speculation) = request.speculation {
            while !speculation.is_committed() && !speculation.is_cancelled() {
                std::thread::yield_now();
            }
            if speculation.is_committed() == self.when_committed {
                assert!(!self.panics, "a bug");
                return Err(PolicyError::Model("out of order".into()));
            }
        }
        self.oracle.rollouts(&RolloutRequest { speculation: None, ..*request })
    }
}

#[test]
fn failures_of_cancelled_probes_are_ignored() {
    let oracle = Oracle::new(0.15, 0.05);
    let plain = search(&problem(1), &oracle, &Ends, &params(false, false)).unwrap();
    for panics in [false, true] {
        let unreliable = Unreliable { oracle: &oracle, panics, when_committed: false };
        let speculative = search(&problem(1), &unreliable, &Ends, &params(true, false)).unwrap();
        assert_eq!(speculative.tree, plain.tree);
    }
    let unreliable = Unreliable { oracle: &oracle, panics: false, when_committed: true };
    let error = search(&problem(1), &unreliable, &Ends, &params(true, false)).unwrap_err();
    assert!(matches!(error, SearchError::Policy(PolicyError::Model(_))), "{error}");
}
