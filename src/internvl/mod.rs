//! InternVL2.5, forward and backward: `InternViT`, pixel shuffle, projector, and `InternLM2` or
//! Qwen2; these and Llama also as text models.
//!
//! Training runs all of it; the native vision encoder runs the vision tower and projector of an
//! `mmproj` file. A [`Layout`] lists the tensors of a model by their Hugging Face names,
//! [`Parameters`] hold their values, and a [`Model`] computes the [`Loss`] of a [`Packed`] sequence
//! and accumulates [`Gradients`]. Kernels are in [`nn`](crate::nn). Optimisers, schedules, data and
//! writing checkpoints are left to `train`.
//!
//! ```
//! use mmprm::internvl::{Config, Gradients, Layout, Model, Packed, Parameters, ComputeOptions, StepLoss, Targets};
//! use mmprm::internvl::{Tiles, Trainable};
//! use mmprm::nn::attention::{Mask, Segments};
//! let config = serde_json::json!({
//!     "ps_version": "v2",
//!     "vision_config": {
//!         "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "image_size": 28,
//!         "patch_size": 7, "norm_type": "layer_norm", "qk_normalization": false, "qkv_bias": true
//!     },
//!     "llm_config": {
//!         "model_type": "qwen2", "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4,
//!         "num_key_value_heads": 2, "intermediate_size": 32, "vocab_size": 11
//!     }
//! });
//! let layout = Layout::new(&Config::from_json(&config).unwrap());
//! let mut parameters = Parameters::random(&layout, 1);
//! let model = Model::new(&layout);
//! // Two steps, each ended by token 10, with labels 1 and 0.25.
//! let packed = Packed {
//!     tokens: vec![3, 4, 10, 5, 10],
//!     segments: Segments::plain(&[5], Mask::Causal),
//!     images: Vec::new(),
//!     tiles: Tiles::none(),
//! };
//! let (rows, labels, weights) = (vec![2, 4], vec![1.0, 0.25], vec![0.5, 0.5]);
//! let targets = Targets::Steps { rows, labels, weights, yes: 1, no: 2, loss: StepLoss::CrossEntropy };
//! let mut gradients = Gradients::new(&layout, Trainable::without_vision(&layout));
//! let before = model.gradients(&parameters, &packed, &targets, ComputeOptions::default(), &mut gradients).unwrap();
//! for (index, gradient) in gradients.iter() {
//!     let values = parameters.get_mut(index).unwrap();
//!     values.iter_mut().zip(gradient).for_each(|(value, gradient)| *value -= 0.1 * gradient);
//! }
//! assert!(model.loss(&parameters, &packed, &targets, ComputeOptions::default()).unwrap().loss < before.loss);
//! ```

mod blocks;
mod checkpoint;
mod config;
mod counter;
mod gguf_rows;
mod input;
mod language;
mod layout;
mod lora;
mod losses;
mod mmproj;
mod model;
mod packed;
mod parameters;
mod pass;
mod qkv;
mod quantised;
mod ranking;
mod ratio;
mod read;
mod step_loss;
#[cfg(test)]
mod tests;
mod trainable;
mod vision;

pub use checkpoint::WeightsError;
pub use config::{Config, ConfigError, LanguageConfig, LanguageKind, NormKind, VisionConfig};
pub use layout::{Adapter, Layout, Role, TensorInfo, TokenRows};
pub use lora::{Dropout, LoraConfig, LoraError};
pub use losses::Loss;
pub use mmproj::{MmprojError, UnsupportedTower, read_mmproj};
pub use model::{ComputeOptions, HiddenStates, Model};
pub use packed::{
    ComparedStep, ImageSpan, InputError, Packed, RankedCandidate, RatioPath, RatioPrefix, StepLoss, Targets, Tiles,
};
pub use parameters::{HalfCopies, HalfFormat, Parameters, Store, Weights};
pub use quantised::read_quantised;
pub use read::{read_layout, read_parameters, unknown_keys};
pub use trainable::{Gradients, Trainable};
