//! `LoRA` (arXiv 2106.09685): low-rank adapters beside frozen matrices, trained rows of frozen
//! token tables, and dropout.
//!
//! `LoRA` tensors are appended to the [`Layout`] of the base model, so that parameters,
//! half-precision copies, gradients and optimisers handle them like all others. [`super::pass`]
//! applies them.

use std::borrow::Cow;
use std::sync::Arc;

use rayon::prelude::*;

use super::counter::Counter;
use super::layout::{Adapter, LanguageBlock, Layout, Role, TensorInfo, TokenRows};

/// What `LoRA` adds to a model.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LoraConfig {
    /// Rank of the adapters.
    pub rank: usize,
    /// Factor of B · A.
    pub scale: f32,
    /// Matrices of the language model with an adapter, by the last part of the module name, such as
    /// `wqkv` or `q_proj`.
    pub targets: Vec<String>,
    /// Tokens whose embedding and head rows are trained.
    pub tokens: Vec<u32>,
}

/// Why a [`LoraConfig`] does not apply to a model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoraError {
    /// No matrix has the name of a target.
    #[error("no matrix of the language model is called `{target}`, expected some of {}", known.join(", "))]
    Target {
        /// The target.
        target: String,
        /// Valid targets.
        known: Vec<String>,
    },
    /// The rank is 0.
    #[error("rank 0, expected at least 1")]
    Rank,
    /// A token is not in the vocabulary.
    #[error("token {token}, expected less than the vocabulary size {vocabulary}")]
    Token {
        /// The token.
        token: u32,
        /// Vocabulary size.
        vocabulary: usize,
    },
}

impl Layout {
    /// Appends `LoRA` tensors, named as in PEFT: `<module>.lora_A.weight` and
    /// `<module>.lora_B.weight` for adapters, `<table>.token_adapter.trainable_tokens_delta` for
    /// token rows.
    ///
    /// # Errors
    /// [`LoraError`] for an unknown target or token, or rank 0.
    pub fn with_lora(&self, lora: &LoraConfig) -> Result<Arc<Self>, LoraError> {
        let LoraConfig { rank, scale, targets, tokens } = lora;
        if *rank == 0 && !targets.is_empty() {
            return Err(LoraError::Rank);
        }
        let vocabulary = self.config.language.vocabulary;
        if let Some(token) = tokens.iter().find(|token| **token as usize >= vocabulary) {
            return Err(LoraError::Token { token: *token, vocabulary });
        }
        let mut layout = self.clone();
        let known = layout.lora_targets();
        if let Some(target) = targets.iter().find(|target| !known.contains(target)) {
            return Err(LoraError::Target { target: target.clone(), known });
        }
        let mut blocks = std::mem::take(&mut layout.language.blocks);
        for linear in blocks.iter_mut().flat_map(LanguageBlock::linears_mut) {
            let name = module(&self.tensors[linear.weight].name).to_owned();
            if !targets.iter().any(|target| last(&name) == target) {
                continue;
            }
            let inputs = self.tensors[linear.weight].matrix().1;
            let down = layout.add(linear.weight, format!("{name}.lora_A.weight"), [*rank, inputs], Role::LoraA);
            let up = layout.add(linear.weight, format!("{name}.lora_B.weight"), [linear.outputs, *rank], Role::LoraB);
            linear.adapter = Some(Adapter { down, up, rank: *rank, scale: *scale });
        }
        layout.language.blocks = blocks;
        if !tokens.is_empty() {
            let mut tokens = tokens.clone();
            tokens.sort_unstable();
            tokens.dedup();
            let shape = [tokens.len(), self.config.language.hidden];
            let mut rows = |table: usize| {
                let name = format!("{}.token_adapter.trainable_tokens_delta", module(&self.tensors[table].name));
                layout.add(table, name, shape, Role::TokenRows)
            };
            let (table, head) = (self.embedding(), self.head());
            let embedding = rows(table);
            let head = if head == table { embedding } else { rows(head) };
            layout.language.rows = Some(TokenRows { tokens, embedding, head });
        }
        Ok(Arc::new(layout))
    }

    fn add(&mut self, owner: usize, name: String, shape: [usize; 2], role: Role) -> usize {
        let index = self.tensors.len();
        self.by_name.insert(name.clone(), index);
        self.tensors.push(TensorInfo { name, shape: shape.to_vec(), role });
        self.bases.push(owner);
        index
    }

    /// Returns the valid [`LoraConfig::targets`]: the names of all matrices in the language model's
    /// blocks.
    pub fn lora_targets(&self) -> Vec<String> {
        let first = self.language.blocks.first().into_iter().flat_map(LanguageBlock::linears);
        first.map(|linear| last(module(&self.tensors[linear.weight].name)).to_owned()).collect()
    }
}

/// Returns the module of a weight's name.
fn module(name: &str) -> &str {
    name.strip_suffix(".weight").unwrap_or(name)
}

/// Returns the last part of a module name.
fn last(module: &str) -> &str {
    module.rsplit('.').next().unwrap_or(module)
}

/// Dropout of adapter inputs. Whether a value is dropped depends only on the seed, the pass, the
/// matrix and the position of the value; the remaining values are scaled by 1 / (1 − rate).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    rate: f32,
    key: u64,
}

impl Dropout {
    /// Creates dropout at `rate` (0 to 1) for one pass, identified by its optimiser step and
    /// sequence.
    ///
    /// # Panics
    /// If the rate is not in [0, 1).
    pub fn new(rate: f32, seed: u64, step: u64, sequence: u64) -> Self {
        assert!((0.0..1.0).contains(&rate), "dropout rate {rate}, expected 0 to less than 1");
        let key = Counter::new(Counter::new(seed, step).bits(0), sequence).bits(0);
        Self { rate, key }
    }

    /// Returns the input `[rows, cols]` of the adapter of a matrix after dropout.
    pub(super) fn applied<'a>(&self, matrix: usize, values: &'a [f32], cols: usize) -> Cow<'a, [f32]> {
        if self.rate == 0.0 {
            return values.into();
        }
        let mut dropped = values.to_vec();
        self.apply(matrix, &mut dropped, cols);
        dropped.into()
    }

    /// Applies dropout to the input `[rows, cols]` of the adapter of a matrix, or to its gradient,
    /// in place.
    pub(super) fn apply(&self, matrix: usize, values: &mut [f32], cols: usize) {
        if self.rate == 0.0 {
            return;
        }
        let counter = Counter::new(self.key, matrix as u64);
        let limit = (f64::from(self.rate) * 2f64.powi(64)) as u64;
        let scale = 1.0 / (1.0 - self.rate);
        values.par_chunks_mut(cols).enumerate().for_each(|(row, values)| {
            for (col, value) in values.iter_mut().enumerate() {
                let drawn = counter.bits((row * cols + col) as u64);
                *value = if drawn < limit { 0.0 } else { *value * scale };
            }
        });
    }
}
