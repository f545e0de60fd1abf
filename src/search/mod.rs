//! `OmegaPRM` (arXiv 2406.06592) as the reference runs it: a tree of partial solutions, grown where a wrong rollout hides its
//! first wrong step.
//!
//! From a state (a solution up to some step) rollouts are drawn and judged; the share of right ones is the state's Monte
//! Carlo value. Wrong rollouts of states that can still be solved wait in a [candidate pool](pool); the most promising is
//! taken and searched by bisection: its first half leads to a new state, and depending on whether that one can still be
//! solved, the first wrong step lies behind it or before it.
//!
//! A rollout that nobody could judge counts as [`SearchParams::unjudged`] says: by default not at all.
//!
//! The search knows a [`RolloutModel`](crate::policy::RolloutModel) and a [`Verifier`](crate::judge::Verifier) and nothing else: no
//! engine, no file, no terminal. Given the same rollouts and verdicts it gives the reference's numbers bit for bit: the same
//! floating-point operations in the same order, and Python's `heapq` where priorities tie.
//!
//! ```
//! use mmprm::judge::{Verdict, Verifier, VerifyError};
//! use mmprm::policy::{RolloutModel, PolicyError, RolloutRequest};
//! use mmprm::data::problem::Problem;
//! use mmprm::search::{SearchParams, search};
//!
//! /// Solves the problem every second time, unless it has already gone wrong.
//! struct Script;
//! impl RolloutModel for Script {
//!     fn rollouts(&self, request: &RolloutRequest<'_>) -> Result<Vec<Vec<String>>, PolicyError> {
//!         let right = ["Add.".to_string(), "It is 2.".to_string()];
//!         let wrong = ["Multiply.".to_string(), "It is 1.".to_string()];
//!         let lost = request.prefix.first() == Some(&wrong[0]);
//!         let solution = |index| if index % 2 == 0 && !lost { &right } else { &wrong };
//!         Ok((0..request.count).map(|index| solution(index)[request.prefix.len()..].to_vec()).collect())
//!     }
//! }
//! struct Ends;
//! impl Verifier for Ends {
//!     fn verify(&self, problem: &Problem, answer: &str) -> Result<Verdict, VerifyError> {
//!         let right = answer.ends_with(&format!("is {}.", problem.answer));
//!         Ok(if right { Verdict::Correct } else { Verdict::Incorrect })
//!     }
//! }
//!
//! # let problem = Problem {
//! #     record: serde_json::Map::new(), id: "p".into(), question: "1 + 1?".into(), answer: "2".into(), images: vec![],
//! # };
//! let outcome = search(&problem, &Script, &Ends, &SearchParams::default(), &mut ()).unwrap();
//! assert_eq!(outcome.tree.root.mc_value, 0.5);
//! let first_wrong_step = &outcome.tree.root.children[1];
//! assert_eq!((&*first_wrong_step.partial_solution[0], first_wrong_step.mc_value), ("Multiply.", 0.0));
//! ```

mod ahead;
pub mod annotate;
mod heap;
mod omega;
mod params;
pub mod pool;
mod rate;
mod state;

pub use omega::search;
pub use params::{ParamsError, SearchParams};

use crate::data::tree::{MAX_DEPTH, Tree};
use crate::judge::VerifyError;
use crate::policy::PolicyError;

/// What a search gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The tree.
    pub tree: Tree,
    /// How much work it was.
    pub stats: SearchStats,
}

/// Counts over one search.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct SearchStats {
    /// Candidates taken from the pool and bisected.
    pub searches: usize,
    /// Rollouts drawn.
    pub rollouts: usize,
    /// Of those, rollouts that nobody could judge.
    pub unjudged: usize,
    /// States estimated.
    pub estimates: usize,
    /// Probes asked for ahead of their need.
    pub guesses: usize,
    /// Of those, probes that were not needed and dropped.
    pub guesses_dropped: usize,
    /// Priorities given to candidates, repeats included.
    pub pushes: usize,
    /// The sum of those priorities, in the order in which they were given.
    pub priority_sum: f64,
    /// Comparisons in the pool between equal priorities of different states.
    pub ties: usize,
}

/// Why a search gave no tree.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SearchError {
    /// The parameters make no sense.
    #[error(transparent)]
    Params(#[from] ParamsError),
    /// No rollouts could be drawn.
    #[error(transparent)]
    RolloutModel(#[from] PolicyError),
    /// The policy broke its word, and Monte Carlo values would be wrong.
    #[error("expected {asked} rollouts from the policy, got {got}")]
    RolloutCount {
        /// How many rollouts were asked for.
        asked: usize,
        /// How many came.
        got: usize,
    },
    /// A rollout could not be judged.
    #[error(transparent)]
    Verifier(#[from] VerifyError),
    /// Too few of a state's rollouts could be judged.
    #[error("{unjudged} of {drawn} rollouts could not be judged")]
    Unjudged {
        /// How many could not.
        unjudged: usize,
        /// How many there were.
        drawn: usize,
    },
    /// The tree would be deeper than a tree may be.
    #[error("the tree grew beyond {MAX_DEPTH} levels: the policy's solutions do not end")]
    TooDeep,
}

/// A candidate just taken from the pool, with the state of the search at that moment.
#[derive(Debug, Clone, Copy)]
pub struct Selection<'a> {
    /// The candidate's rollout, without the steps up to its state.
    pub rollout: &'a [String],
    /// The steps up to its state.
    pub prefix: &'a [String],
    /// The visit count of its state, before this visit.
    pub visit_count: u64,
    /// The Monte Carlo value of its state.
    pub mc_value: f64,
    /// Searches finished.
    pub searches: usize,
    /// Rollouts drawn.
    pub rollouts: usize,
    /// Entries in the pool's heap before the candidate was taken, stale ones included.
    pub heap_size: usize,
    /// Candidates in the pool before this one was taken.
    pub candidates: usize,
}

/// Looks on while a search runs. `()` looks away.
pub trait Observer {
    /// `count` more rollouts were drawn and judged.
    fn rollouts_drawn(&mut self, count: usize) {
        let _ = count;
    }

    /// Of the rollouts just drawn, `count` could not be judged.
    fn rollouts_unjudged(&mut self, count: usize) {
        let _ = count;
    }

    /// A candidate was taken and will now be searched.
    fn selected(&mut self, selection: &Selection<'_>) {
        let _ = selection;
    }
}

impl Observer for () {}
