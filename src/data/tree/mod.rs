//! The search tree of one problem: the states that `OmegaPRM` (arXiv 2406.06592) built over its
//! solutions, each with its Monte Carlo value.
//!
//! [`search`](crate::search) produces trees and [`samples`](super::samples) consumes them. The file
//! format, one JSON per problem, is in [`json`]; where files are kept is decided by
//! [`search::annotate`](crate::search::annotate).
//!
//! ```
//! use mmprm::data::tree::{Tree, json};
//! let text = r#"{"question": "1 + 1?", "answer": "2", "image_path": null, "mc_value": 0.5, "visit_count": 0,
//!     "correct_rollouts": [["so it is 2"]], "incorrect_rollouts": [["so it is 3"]], "children": [
//!         {"partial_solution": ["so it is 3"], "mc_value": 0.0, "visit_count": 0, "correct_rollouts": [],
//!          "incorrect_rollouts": [], "children": []}], "id": 7}"#;
//! let tree: Tree = json::parse(text.as_bytes(), "seven.json").unwrap();
//! assert_eq!(tree.root.children[0].partial_solution, ["so it is 3"]);
//! assert_eq!(tree.root.count(), 2);
//! ```

use md5::{Digest, Md5};
use serde_json::Value;

use super::problem::Problem;
use super::solution::{Continue, Rollout};
use crate::compat;

pub mod json;

/// Maximum number of states on one path below the root. Each level adds at least one step to a
/// solution, so real trees stay far below; the limit keeps recursion over a tree within a thread's
/// stack.
pub const MAX_DEPTH: usize = 256;

/// The search tree of one problem, with the fields of its file.
#[derive(Debug, Clone, PartialEq)]
pub struct Tree {
    /// The problem's question.
    pub question: String,
    /// The problem's answer, as in its record.
    pub answer: Value,
    /// The problem's image path, as in its record: a string, an array of several, or null for none.
    pub image_path: Value,
    /// The problem's id, as in its record.
    pub id: Value,
    /// The root state: the empty solution.
    pub root: Node,
    /// Which turn held the previous steps when rollouts continued from a state.
    pub continues: Continue,
}

/// One state of the search: a partial solution.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Node {
    /// The steps that this state adds to its parent's partial solution; none at the root.
    pub partial_solution: Rollout,
    /// Monte Carlo value: the fraction of rollouts from this state that end in the correct answer,
    /// 0 to 1.
    pub mc_value: f64,
    /// How often a rollout of this state was selected for a search.
    pub visit_count: u64,
    /// Distinct correct rollouts in order of arrival, each without the steps up to this state.
    pub correct_rollouts: Vec<Rollout>,
    /// Distinct incorrect rollouts in order of arrival, each without the steps up to this state.
    pub incorrect_rollouts: Vec<Rollout>,
    /// States that continue this one.
    pub children: Vec<Node>,
    /// `llm_as_a_judge`: the probability that a judge model gave the state's steps, 0 to 1; `None` in trees that were not judged, and
    /// where the judge did not answer. [`json`] reads it and does not write it.
    pub judged: Option<f64>,
}

impl Node {
    /// Returns the number of states in this subtree, itself included.
    pub fn count(&self) -> usize {
        1 + self.children.iter().map(Node::count).sum::<usize>()
    }
}

/// Returns the stem of a problem's tree file: the hexadecimal md5 of its record's `json.dumps`, as
/// MM-PRM names it.
///
/// ```
/// use mmprm::data::{Problem, tree};
/// let problem = Problem::new("1 + 1?"); // {"question": "1 + 1?"}
/// assert_eq!(tree::file_stem(&problem), "c531e8a6ba91a503dc7170f1185c791c");
/// ```
pub fn file_stem(problem: &Problem) -> String {
    let text = compat::json::dumps(&Value::Object(problem.record.clone()));
    format!("{:x}", Md5::digest(text.as_bytes()))
}
