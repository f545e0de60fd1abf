//! Training process reward models and policies (MM-PRM, arXiv 2505.13427, section 3.3).
//!
//! `train` does the whole job of a [`recipe::Recipe`]: it reads samples and model, trains weights or adapters, validates,
//! saves checkpoints that Hugging Face's tools read, and resumes a run bit-exactly. `plan` predicts its memory. Both need the
//! feature `engine` for the tokenizer; [`train_with`] and [`plan_with`] take any [`Tokenizer`].
//!
//! ```
//! use mmprm::train::recipe::{Recipe, Task};
//! let recipe = Recipe::parse("task = 'prm'\nmodel = 'policy'\nsamples = 'prm.jsonl'\noutput = 'runs/prm'")?;
//! assert_eq!((recipe.task, recipe.epochs, recipe.lr), (Task::Prm, 1, 2e-6)); // MM-PRM's values by default
//! # Ok::<(), mmprm::train::recipe::RecipeError>(())
//! ```

// Inside: `prepare` reads what a recipe names. `data` turns records into tokens with targets, `distillation` replaces targets
// by a policy's, `reference` adds a reference model's log-probabilities, `pack` merges samples into sequences. A `learner` computes losses and gradients: a `network`, of which `full`
// trains the weights and `lora` adapters; `features` caches the frozen vision tower's output. `optim` updates values,
// `validation` measures, `log` records, `checkpoint` and `state` save, and `trainer` loops over
// all of it. `memory` predicts memory, `measure` times steps, `expand` appends layers. Layers, losses and kernels are in
// `internvl` and `nn`.

#![cfg_attr(test, allow(clippy::float_cmp, reason = "tests compare bits where bit-exactness is claimed"))]

#[doc(hidden)]
pub mod checkpoint;
#[doc(hidden)]
pub mod data;
#[doc(hidden)]
pub mod distillation;
#[doc(hidden)]
pub mod expand;
#[doc(hidden)]
pub mod features;
#[doc(hidden)]
pub mod full;
mod job;
#[doc(hidden)]
pub mod learner;
#[doc(hidden)]
pub mod log;
pub mod lora;
#[doc(hidden)]
pub mod measure;
#[doc(hidden)]
pub mod memory;
#[doc(hidden)]
pub mod network;
#[doc(hidden)]
pub mod optim;
#[doc(hidden)]
pub mod pack;
#[doc(hidden)]
pub mod prepare;
pub mod recipe;
mod reference;
#[doc(hidden)]
pub mod state;
#[doc(hidden)]
pub mod trainer;
#[doc(hidden)]
pub mod validation;
#[cfg(feature = "engine")]
#[doc(hidden)]
pub mod vocabulary;

pub use data::{Tokenizer, TokenizerError};
pub use job::{TrainError, plan_with, train_with};
#[cfg(feature = "engine")]
pub use job::{plan, train};
pub use memory::{Advice, MemoryReport, Part};
pub use reference::ReferenceError;
pub use trainer::{Event, Ready, RunError, Step, Summary};
pub use validation::Validation;
