//! Recipes: all settings of a training run, as a TOML file.
//!
//! TOML has comments and plain numbers such as `2e-6`; a recipe can be kept beside the model it made. Unknown keys are
//! refused with the most similar known one. The default values are those of MM-PRM's training script.
//!
//! ```
//! use mmprm::train::recipe::Recipe;
//! let recipe = Recipe::parse("model = 'policy'\nsamples = 'train.jsonl'\noutput = 'prm'\nlr = 1e-4 # high")?;
//! assert_eq!((recipe.lr, recipe.weight_decay), (1e-4, 0.05));
//! assert_eq!(Recipe::parse(&recipe.to_toml())?, recipe);
//! let error = Recipe::parse("model = 'policy'\nsamples = 'train.jsonl'\noutput = 'prm'\nwarm_up = 1").unwrap_err();
//! assert_eq!(error.to_string(), "recipe: unknown key `warm_up`, did you mean `warmup`?");
//! # Ok::<(), mmprm::train::recipe::RecipeError>(())
//! ```

mod check;
mod documented;
mod error;
mod keys;
mod lora;
mod read;
mod write;

pub use super::optim::{Decay, OptimizerKind, Schedule};
pub use error::RecipeError;
pub use keys::{Compute, Init, LossKind, Recipe, SolutionForm, Task};
pub use lora::LoraOptions;
pub use mmprm_quant::safetensors::StoredType;
