//! The table `[lora]` of a recipe.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::documented::documented;
use super::error::RecipeError;

documented! {
    /// Options of `LoRA` training: adapters are trained and the base's weights are frozen.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    pub struct LoraOptions {
        /// Rank of the adapters.
        pub rank: usize,
        /// Scaling numerator: an adapter's output is multiplied by `alpha / rank`. Default: twice the rank.
        pub alpha: Option<f64>,
        /// Matrices of the language model that get an adapter, by the last part of their names. Default: all.
        pub targets: Option<Vec<String>>,
        /// Dropout probability of an adapter's inputs.
        pub dropout: f64,
        /// Tokens whose rows of embedding and head are trained. Default for a PRM in MM-PRM's form: the step token.
        pub tokens: Option<Vec<String>>,
        /// Trains the projector too.
        pub projector: bool,
        /// GGUF file with the language model's weights, which are used as stored: the checkpoint, converted and quantised.
        pub base: Option<PathBuf>,
    }
}

impl Default for LoraOptions {
    /// MM-PRM's training script where it has a value.
    fn default() -> Self {
        Self { rank: 16, alpha: None, targets: None, dropout: 0.05, tokens: None, projector: false, base: None }
    }
}

impl LoraOptions {
    /// Options with a value for each key.
    pub(super) fn complete() -> Self {
        Self {
            alpha: Some(1.0),
            targets: Some(vec!["x".into()]),
            tokens: Some(vec!["x".into()]),
            base: Some("x".into()),
            ..Self::default()
        }
    }

    /// `alpha`, or its default.
    pub fn alpha(&self) -> f64 {
        self.alpha.unwrap_or(2.0 * self.rank as f64)
    }

    pub(super) fn check(&self) -> Result<(), RecipeError> {
        let wrong = |key, found, expected| Err(RecipeError::Range { key, found, expected });
        if self.rank == 0 {
            return wrong("lora.rank", 0.0, "at least 1");
        }
        if self.rank > 1 << 16 {
            return wrong("lora.rank", self.rank as f64, "1 to 65536");
        }
        if let Some(alpha) = self.alpha.filter(|alpha| !(alpha.is_finite() && *alpha > 0.0)) {
            return wrong("lora.alpha", alpha, "more than 0");
        }
        if let Some(alpha) = self.alpha.filter(|alpha| *alpha > 1e9) {
            return wrong("lora.alpha", alpha, "at most 1000000000");
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return wrong("lora.dropout", self.dropout, "0 to less than 1");
        }
        Ok(())
    }
}
