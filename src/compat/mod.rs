//! Output that must equal `CPython`'s byte for byte, because MM-PRM (whose released code is Python)
//! names files, draws samples and parses text with it.
//!
//! | module | reproduces | needed for |
//! |---|---|---|
//! | [`json`] | `json.dumps` | the md5 that names a tree file, the text of tree files and training samples |
//! | [`random`] | `random.Random` | the draw of training samples, the selector `random` of Best-of-N evaluation |
//! | [`text`] | `str.strip`, `str.split` | parsing steps, word counts in the search's priorities, training samples |
//!
//! Used by `data` (trees, samples, solutions), `prompt` (previous steps), `search` (rollout
//! lengths) and `eval` (Best-of-N), and by `train` to shuffle and choose samples with a seed. Code
//! that does not reproduce MM-PRM's output uses Rust's own strings and JSON, and counter-based
//! random streams.

pub mod json;
pub mod random;
pub mod text;
