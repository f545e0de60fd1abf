//! The trainer: from training samples and a model to a better one.
//!
//! [`recipe`] says what is to be done, [`prepare`] reads what it names: [`data`] turns samples into tokens, [`vocabulary`] is
//! the tokenizer, [`lessons`] are a policy's to a reward model. [`pack`] lays samples into sequences, the trees of a problem's
//! samples as trees. A [`learner`] gives losses and gradients: a [`network`] does, of which [`full`] trains the weights and
//! [`lora`] adapters beside them, and [`grow`] adds layers; the frozen vision tower's output is kept by [`features`]. [`optim`] takes the steps,
//! [`validation`] judges, [`log`] writes down, [`checkpoint`] and [`state`] keep ([`tensors`] is their file format), and
//! [`run`] is the loop over it all. [`plan`] tells how much memory that takes, [`measure`] how long. Layers, losses and kernels
//! are those of [`crate::internvl`] and [`crate::nn`].
//!
//! ```
//! use mmprm::train::optim::{Schedule, warmup_steps};
//! use mmprm::train::recipe::Recipe;
//! let recipe = Recipe::parse("model = 'policy'\nsamples = 'samples.jsonl'\nout = 'prm'\nschedule = 'linear'").unwrap();
//! let (total, step) = (200, 103);
//! let warmup = warmup_steps(recipe.warmup, total);
//! assert_eq!((warmup, recipe.schedule), (6, Schedule::Linear));
//! assert_eq!(recipe.schedule.factor(step, warmup, total), 0.5);
//! ```

#![cfg_attr(test, allow(clippy::float_cmp, reason = "tests compare bits where bits are what is claimed"))]

pub mod checkpoint;
pub mod data;
pub mod distillation;
pub mod expand;
pub mod features;
pub mod full;
pub mod learner;
pub mod log;
pub mod lora;
pub mod measure;
pub mod network;
pub mod optim;
pub mod pack;
pub mod plan;
pub mod prepare;
pub mod recipe;
pub mod run;
pub mod state;
pub mod tensors;
pub mod validation;
#[cfg(feature = "engine")]
pub mod vocabulary;
