//! Training adapters beside a model's weights (`LoRA`, arXiv 2106.09685), rows for new tokens, and the projector if asked.
//!
//! What is saved is a directory as Python's PEFT has it: `adapter_config.json`, and `adapter_model.safetensors` with A and B of
//! each matrix (`base_model.model.<module>.lora_A.weight`, …), the whole rows of new tokens
//! (`….token_adapter.trainable_tokens_delta`; which tokens is `trainable_token_indices` in the configuration) and, if it was
//! trained, the whole projector (`base_model.model.mlp1.…`). [`merge()`] folds such a directory into its base;
//! [`mmprm_quant::convert::adapter`] makes a GGUF adapter of it.
//!
//! ```no_run
//! use mmprm::train::{data::Dataset, lora::Lora, recipe::Recipe, vocabulary::Vocabulary};
//! # fn of(data: &Dataset, vocabulary: &Vocabulary) -> Result<(), Box<dyn std::error::Error>> {
//! let recipe = Recipe::parse("model = 'policy'\nsamples = 'train.jsonl'\nout = 'prm'\n[lora]\nrank = 8")?;
//! let lora = Lora::open(&recipe, data.words, data.images.clone(), vocabulary)?;
//! println!("{} trained values", lora.trained());
//! # Ok(())
//! # }
//! ```

mod merge;

use std::path::{Path, PathBuf};

use mmprm_quant::adapter::{CONFIG, PREFIX, WEIGHTS};
use mmprm_quant::atomic;
use serde_json::{Map, Value, json};

pub use merge::{MergeError, merge};

use super::checkpoint::CheckpointError;
use super::data::{Image, SpecialTokens, Tokenizer};
use super::network::{Network, Trains};
use super::recipe::{self, Aim, Recipe};
use super::tensors::{Stored, Tensor, WriteError, write};
use crate::internvl::{self, Layout, LoraConfig, LoraError, Parameters, Trainable};

/// Beginning of the names of the projector's tensors, which is the name of its module.
const PROJECTOR: &str = "mlp1";

/// Why training cannot begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The model cannot be read.
    #[error(transparent)]
    Model(#[from] internvl::WeightsError),
    /// The adapters do not fit the model.
    #[error("`lora`: {0}")]
    Addition(#[from] LoraError),
    /// A token has no rows.
    #[error("`lora.tokens` has `{token}`, which is not one token of the model's vocabulary")]
    NoToken {
        /// Its text.
        token: String,
    },
    /// Nothing is left to train.
    #[error("`lora` has no targets, no tokens and no projector: nothing to train")]
    Nothing,
}

/// A model beside whose weights adapters are trained.
#[derive(Debug)]
pub struct Lora {
    network: Network,
    base: PathBuf,
    stored: Stored,
    settings: recipe::Lora,
    targets: Vec<String>,
}

impl Lora {
    /// The model of a recipe with new adapters, for samples with these images.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(
        recipe: &Recipe,
        words: SpecialTokens,
        images: Vec<Image>,
        tokenizer: &dyn Tokenizer,
    ) -> Result<Self, OpenError> {
        let settings = recipe.lora.clone().unwrap_or_default();
        let own = internvl::read_layout(&recipe.model)?;
        let targets = settings.targets.clone().unwrap_or_else(|| own.lora_targets());
        let additions = LoraConfig {
            rank: settings.rank,
            scale: (settings.alpha() / settings.rank as f64) as f32,
            targets: targets.clone(),
            tokens: tokens(recipe.task, &settings, words, tokenizer)?,
        };
        let layout = own.with_lora(&additions)?;
        let trainable = Trainable::only(&layout, |number| {
            number >= own.tensors().len() || (settings.projector && is_projector(&layout, number))
        });
        if trainable.indices().next().is_none() {
            return Err(OpenError::Nothing);
        }
        let masters = |number: usize| trainable.contains(number);
        let parameters = match &settings.base {
            None => internvl::read_parameters(&recipe.model, &own, masters)?,
            Some(gguf) => internvl::read_quantised(&recipe.model, gguf, &own, masters)?,
        };
        let parameters = parameters.with_lora(&layout, recipe.seed);
        let network = Network::new(recipe, parameters, trainable, words, images);
        Ok(Self { network, base: recipe.model.clone(), stored: recipe.save_as, settings, targets })
    }

    /// Number of trained values.
    pub fn trained(&self) -> usize {
        self.network.trained()
    }

    /// The weights now: the model's own, and what is added to them.
    pub fn weights(&self) -> &Parameters {
        self.network.weights()
    }

    /// What PEFT wants to know to load the adapter.
    fn config(&self) -> Value {
        let layout = self.weights().layout();
        let mut tokens = Map::new();
        if let Some(rows) = layout.token_rows() {
            for table in [layout.embedding(), layout.head()] {
                let module = layout.tensors()[table].name.rsplit('.').nth(1).unwrap_or_default();
                tokens.insert(module.to_owned(), json!(rows.tokens));
            }
        }
        let alpha = self.settings.alpha();
        json!({
            "auto_mapping": null,
            "base_model_name_or_path": self.base,
            "bias": "none",
            "fan_in_fan_out": false,
            "inference_mode": true,
            "init_lora_weights": true,
            "lora_alpha": if alpha.fract() == 0.0 { json!(alpha as u64) } else { json!(alpha) },
            "lora_dropout": self.settings.dropout,
            "modules_to_save": self.settings.projector.then_some([PROJECTOR]),
            "peft_type": "LORA",
            "r": self.settings.rank,
            "target_modules": self.targets,
            "task_type": null,
            "trainable_token_indices": (!tokens.is_empty()).then_some(tokens),
        })
    }
}

fn is_projector(layout: &Layout, number: usize) -> bool {
    layout.tensors()[number].name.split('.').next() == Some(PROJECTOR)
}

/// The tokens whose rows are trained.
fn tokens(
    task: Aim,
    settings: &recipe::Lora,
    words: SpecialTokens,
    tokenizer: &dyn Tokenizer,
) -> Result<Vec<u32>, OpenError> {
    match &settings.tokens {
        None => Ok(if task == Aim::Prm { vec![words.step] } else { Vec::new() }),
        Some(texts) => {
            let find =
                |token: &String| tokenizer.token(token).ok_or_else(|| OpenError::NoToken { token: token.clone() });
            texts.iter().map(find).collect()
        }
    }
}

impl Trains for Lora {
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
        let tensors = self.weights().layout().tensors();
        let tensor =
            |number: usize| self.network.tensor(number, format!("{PREFIX}{}", tensors[number].name), self.stored);
        let trained: Vec<Tensor<'_>> = self.network.numbers().map(tensor).collect();
        Ok(write(&directory.join(WEIGHTS), &trained, &[])?)
    }
}
