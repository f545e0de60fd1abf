//! A searched problem: the tree of states that `OmegaPRM` built over its solutions, each with its Monte Carlo value.
//!
//! The tree is what search hands over and what samples are made of. Its file form (one JSON a problem, that of the
//! reference) is in [`json`]; how a tree comes to be is the search's business, and where its file lies the annotation's.
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

use crate::compat;
use crate::data::problem::Problem;
use crate::data::solution::{Continue, Rollout};

pub mod json;

/// How many states may lie on one path below the root. Every level adds a step to a solution, so that real trees stay far
/// below; the bound keeps recursion over a tree within a thread's stack.
pub const MAX_DEPTH: usize = 256;

/// The tree of one problem, with what the reference writes beside it.
#[derive(Debug, Clone, PartialEq)]
pub struct Tree {
    /// The problem's question.
    pub question: String,
    /// The problem's answer, as its record has it.
    pub answer: Value,
    /// Where the problem's image lies, as its record has it: a string; an array of several; null for none.
    pub image_path: Value,
    /// The problem's id, as its record has it.
    pub id: Value,
    /// The empty solution.
    pub root: Node,
    /// Where rollouts had the steps before them.
    pub continues: Continue,
}

/// One state of the search: a solution up to some step.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Node {
    /// The steps that this state adds to its parent's; none at the root.
    pub partial_solution: Rollout,
    /// The share of rollouts from here that end in the right answer, 0 to 1.
    pub mc_value: f64,
    /// How often one of this state's rollouts was chosen for a search.
    pub visit_count: u64,
    /// Distinct right rollouts in order of arrival, each without the steps up to here.
    pub correct_rollouts: Vec<Rollout>,
    /// Distinct wrong rollouts in order of arrival, each without the steps up to here.
    pub incorrect_rollouts: Vec<Rollout>,
    /// States that continue this one.
    pub children: Vec<Node>,
}

impl Node {
    /// The number of states in this subtree, this one included.
    pub fn count(&self) -> usize {
        1 + self.children.iter().map(Node::count).sum::<usize>()
    }
}

/// The stem of a problem's tree file: the md5, in hexadecimal, of its record's `json.dumps`, as the reference names it.
///
/// ```
/// # use mmprm::data::problem::Problem;
/// # let record = serde_json::json!({"id": 1}).as_object().unwrap().clone();
/// # let problem = Problem { record, id: "1".into(), question: "".into(), answer: "".into(), images: vec![] };
/// assert_eq!(mmprm::data::tree::file_stem(&problem), "f3e56c602771e9541aef61d502562b89"); // of {"id": 1}
/// ```
pub fn file_stem(problem: &Problem) -> String {
    let text = compat::json::dumps(&Value::Object(problem.record.clone()));
    format!("{:x}", Md5::digest(text.as_bytes()))
}
