//! `OmegaPRM` (arXiv 2406.06592) as MM-PRM runs it: a tree of partial solutions, in which binary
//! search locates the first wrong step of each wrong rollout.
//!
//! From a state (a solution up to some step) rollouts are sampled and judged; the fraction of right
//! ones is the state's Monte Carlo value. Wrong rollouts of states that can still be solved wait in
//! a candidate pool; the one with the highest priority is bisected: its first half becomes a new
//! state, and depending on whether that can still be solved, the first wrong step lies after it or
//! before it.
//!
//! Rollouts that could not be judged count as [`SearchParams::unjudged`] says, by default not at
//! all.
//!
//! The search uses a [`RolloutModel`](crate::policy::RolloutModel) and a
//! [`Verifier`](crate::judge::Verifier) and does no input or output. Given the same rollouts and
//! verdicts it reproduces MM-PRM's numbers bit for bit: the same floating-point operations in the
//! same order, and Python's `heapq` where priorities tie. [`annotate`] searches whole data sets.
//!
//! ```
//! use mmprm::data::problem::Problem;
//! use mmprm::judge::RuleVerifier;
//! use mmprm::policy::{PolicyError, RolloutModel, RolloutRequest, SampledRollout};
//! use mmprm::search::{SearchParams, search};
//!
//! /// Solves the problem every second time, unless the prefix is already wrong.
//! struct Script;
//! impl RolloutModel for Script {
//!     fn rollouts(&self, request: &RolloutRequest<'_>) -> Result<Vec<SampledRollout>, PolicyError> {
//!         let right = ["Add.", "The final answer is 2"].map(str::to_owned);
//!         let wrong = ["Multiply.", "The final answer is 1"].map(str::to_owned);
//!         let is_lost = request.prefix.first() == Some(&wrong[0]);
//!         let solution = |index| if index % 2 == 0 && !is_lost { &right } else { &wrong };
//!         let rest = |index| solution(index)[request.prefix.len()..].to_vec();
//!         Ok((0..request.count).map(|index| SampledRollout::from(rest(index))).collect())
//!     }
//! }
//!
//! let problem = Problem::new("1 + 1?").answer("2");
//! let tree = search(&problem, &Script, &RuleVerifier, &SearchParams::default()).unwrap().tree;
//! assert_eq!(tree.root.mc_value, 0.5);
//! let first_wrong_step = &tree.root.children[1];
//! assert_eq!((&*first_wrong_step.partial_solution[0], first_wrong_step.mc_value), ("Multiply.", 0.0));
//! ```

pub mod annotate;
mod error;
pub mod guided;
mod heap;
mod observer;
mod omega;
mod outcome;
mod params;
#[doc(hidden)]
pub mod pool;
mod rate;
mod speculative;
mod state;

pub use error::SearchError;
pub use observer::{Observer, Selection};
pub use omega::{search, search_observed};
pub use outcome::{Outcome, SearchStats};
pub use params::{ParamsError, SearchParams};
