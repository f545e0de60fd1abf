//! The data that flows through the pipeline: problems, solutions, candidates, search trees,
//! training samples, and the file formats of each.
//!
//! | thing | type | file |
//! |---|---|---|
//! | problem | [`Problem`], [`Problems`] | MM-PRM's seed JSON: an array or JSON Lines of `{id, question, correct_answer, image_path}`, plus optional `image_paths` (or another of the names in [`images`]), `choices` or `options` ([shown](question) to the model), `answer_type`, `unit`, `precision`; unknown fields are carried along |
//! | solution | [`Rollout`] | none of its own: the steps and the answer parsed out of model text |
//! | search tree | [`Tree`] of [`Node`]s | one JSON per problem, byte for byte MM-PRM's, named by the md5 of the problem's record |
//! | training samples | [`samples::Sample`] | MM-PRM's JSON Lines: `{id, image, conversations: [{from: human, value: "Question: …\nProcess: …<prm>…"}, {from: gpt, value: [labels]}]}` |
//! | candidates | [`CandidateSet`] | MM-PRM's Best-of-N JSON: `question, image_path, solutions_splits, labels`, to which scoring adds `prm_scores` |
//!
//! `annotate` turns problems into trees, [`samples`] turns trees into training samples; `generate`
//! turns problems into candidates and `score` adds their step scores. Each file format is
//! implemented in one submodule only and validated on reading: an error names the file, the place
//! in it and what was expected. Opening images is left to [`image`](crate::image), comparing
//! answers to [`answer`](crate::answer).
//!
//! ```
//! use mmprm::data::{Continue, Node, Problem, Tree, samples, tree};
//! let problem = Problem::new("What is 1 + 1?").id("sum").answer("2").image("sum.png");
//! let step = |text: &str, mc_value| Node { partial_solution: vec![text.into()], mc_value, ..Node::default() };
//! let children = vec![
//!     step("Adding one to one moves one to the right on the number line.", 1.0),
//!     step("Multiplying one by one leaves it where it is on the number line.", 0.0),
//! ];
//! let tree = Tree {
//!     question: problem.question.clone(),
//!     answer: problem.answer.clone().into(),
//!     image_path: problem.images[0].clone().into(),
//!     id: problem.id.clone().into(),
//!     root: Node { mc_value: 0.5, children, ..Node::default() },
//!     continues: Continue::User,
//! };
//! # let folder = tempfile::tempdir()?;
//! let file = folder.path().join(tree::file_stem(&problem)).with_extension("json");
//! std::fs::write(&file, tree::json::to_string(&tree))?;
//! let mut lines = Vec::new();
//! let stats = samples::write(&[file], samples::SampleKind::States(samples::PathOptions::default()), &mut lines)?;
//! assert_eq!((stats.negatives, stats.positives), (1, 1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod candidates;
pub mod convert;
pub mod fields;
pub mod images;
pub mod import;
pub mod problem;
pub mod question;
pub mod records;
pub mod samples;
pub mod solution;
pub mod tree;

pub use candidates::{CandidateSet, CandidatesError};
pub use problem::{Problem, ProblemError, Problems};
pub use samples::SamplesError;
pub use solution::{Continue, Rollout};
pub use tree::json::TreeError;
pub use tree::{Node, Tree};
