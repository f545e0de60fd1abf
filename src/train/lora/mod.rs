//! Training `LoRA` adapters (arXiv 2106.09685), rows for new tokens and, optionally, the projector over a frozen base.
//!
//! An adapter is saved as a directory in the form of Python's PEFT: `adapter_config.json`, and
//! `adapter_model.safetensors` with A and B of each matrix (`base_model.model.<module>.lora_A.weight`, …), the rows of new
//! tokens (`….token_adapter.trainable_tokens_delta`; their ids are `trainable_token_indices` in the configuration) and, if
//! trained, the whole projector (`base_model.model.mlp1.…`). [`merge()`] folds such a directory into its base;
//! [`mmprm_quant::convert::adapter`] converts it to a GGUF adapter.
//!
//! ```no_run
//! use mmprm::train::lora::merge;
//! let mut watch = |_: mmprm_quant::progress::Progress<'_>| std::ops::ControlFlow::Continue(());
//! merge("runs/prm/last".as_ref(), "InternVL2_5-8B".as_ref(), "merged".as_ref(), &mut watch)?;
//! # Ok::<(), mmprm::train::lora::MergeError>(())
//! ```

mod merge;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use mmprm_quant::adapter::{CONFIG, PREFIX, WEIGHTS};
use mmprm_quant::atomic;
use mmprm_quant::hf::origin::Origin;
use serde_json::{Map, Value, json};

pub use merge::{MergeError, merge};

use mmprm_quant::safetensors::{NewTensor, StoredType, WriteError, write};

use super::checkpoint::{self, CheckpointError};
use super::data::{Image, SpecialTokens, Tokenizer};
use super::network::{Network, TrainableModel};
use super::recipe::{LoraOptions, Recipe, Task};
use crate::internvl::{self, Layout, LoraConfig, LoraError, Parameters, Trainable};

/// The projector's module, the first part of its tensors' names.
const PROJECTOR: &str = "mlp1";

/// An error of opening a base with new adapters.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The model cannot be read.
    #[error(transparent)]
    Model(#[from] internvl::WeightsError),
    /// The adapters do not fit the model.
    #[error("`lora`: {0}")]
    Addition(#[from] LoraError),
    /// A text is not one token of the vocabulary.
    #[error("`lora.tokens` has `{token}`, which is not one token of the model's vocabulary")]
    NoToken {
        /// Its text.
        token: String,
    },
    /// Neither adapters nor tokens nor the projector are trained.
    #[error("`lora` has no targets, no tokens and no projector: nothing to train")]
    NothingToTrain,
}

/// A frozen model with trained adapters.
#[derive(Debug)]
pub struct LoraModel {
    network: Network,
    base: PathBuf,
    stored: StoredType,
    origin: Origin,
    options: LoraOptions,
    targets: Vec<String>,
}

impl LoraModel {
    /// Opens the model of a recipe with new adapters for samples with these images.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(
        recipe: &Recipe,
        special: SpecialTokens,
        images: Vec<Image>,
        tokenizer: &dyn Tokenizer,
    ) -> Result<Self, OpenError> {
        let options = recipe.lora.clone().unwrap_or_default();
        let own = internvl::read_layout(&recipe.model)?;
        let targets = options.targets.clone().unwrap_or_else(|| own.lora_targets());
        let additions = LoraConfig {
            rank: options.rank,
            scale: (options.alpha() / options.rank as f64) as f32,
            targets: targets.clone(),
            tokens: tokens(recipe.task, &options, special, tokenizer)?,
        };
        let layout = own.with_lora(&additions)?;
        let trainable = Trainable::only(&layout, |number| {
            number >= own.tensors().len() || (options.projector && is_projector(&layout, number))
        });
        if trainable.indices().next().is_none() {
            return Err(OpenError::NothingToTrain);
        }
        let masters = |number: usize| trainable.contains(number);
        let parameters = match &options.base {
            None => internvl::read_parameters(&recipe.model, &own, masters)?,
            Some(gguf) => internvl::read_quantised(&recipe.model, gguf, &own, masters)?,
        };
        let parameters = parameters.with_lora(&layout, recipe.seed);
        let network = Network::new(recipe, parameters, trainable, special, images);
        let (base, origin) = (recipe.model.clone(), checkpoint::origin(recipe));
        Ok(Self { network, base, stored: recipe.save_as, origin, options, targets })
    }

    /// Number of trained values.
    pub fn trained(&self) -> usize {
        self.network.trained()
    }

    /// The current weights: the base's and the adapters'.
    pub fn weights(&self) -> &Parameters {
        self.network.weights()
    }

    /// PEFT's configuration of the adapter.
    fn config(&self) -> Value {
        let layout = self.weights().layout();
        let mut tokens = Map::new();
        if let Some(rows) = layout.token_rows() {
            for table in [layout.embedding(), layout.head()] {
                let module = layout.tensors()[table].name.rsplit('.').nth(1).unwrap_or_default();
                tokens.insert(module.to_owned(), json!(rows.tokens));
            }
        }
        let alpha = self.options.alpha();
        json!({
            "auto_mapping": null,
            "base_model_name_or_path": self.base,
            "bias": "none",
            "fan_in_fan_out": false,
            "inference_mode": true,
            "init_lora_weights": true,
            "lora_alpha": if alpha.fract() == 0.0 { json!(alpha as u64) } else { json!(alpha) },
            "lora_dropout": self.options.dropout,
            "modules_to_save": self.options.projector.then_some([PROJECTOR]),
            "peft_type": "LORA",
            "r": self.options.rank,
            "target_modules": self.targets,
            "task_type": null,
            "trainable_token_indices": (!tokens.is_empty()).then_some(tokens),
        })
    }
}

fn is_projector(layout: &Layout, number: usize) -> bool {
    layout.tensors()[number].name.split('.').next() == Some(PROJECTOR)
}

/// Ids of the tokens whose rows are trained.
fn tokens(
    task: Task,
    options: &LoraOptions,
    special: SpecialTokens,
    tokenizer: &dyn Tokenizer,
) -> Result<Vec<u32>, OpenError> {
    match &options.tokens {
        None => Ok(if task == Task::Prm { vec![special.step] } else { Vec::new() }),
        Some(texts) => {
            let find =
                |token: &String| tokenizer.token(token).ok_or_else(|| OpenError::NoToken { token: token.clone() });
            texts.iter().map(find).collect()
        }
    }
}

impl TrainableModel for LoraModel {
    fn network(&self) -> &Network {
        &self.network
    }

    fn network_mut(&mut self) -> &mut Network {
        &mut self.network
    }

    fn write(&self, directory: &Path) -> Result<(), CheckpointError> {
        let mut config = serde_json::to_string_pretty(&self.config()).unwrap_or_default();
        config.push('\n');
        atomic::write(&directory.join(CONFIG), config.as_bytes()).map_err(WriteError::from)?;
        checkpoint::write_origin(directory, &self.origin)?;
        let tensors = self.weights().layout().tensors();
        let tensor =
            |number: usize| self.network.tensor(number, format!("{PREFIX}{}", tensors[number].name), self.stored);
        let trained: Vec<NewTensor<'_>> = self.network.numbers().map(tensor).collect();
        Ok(write(&directory.join(WEIGHTS), &trained, &[])?)
    }
}
