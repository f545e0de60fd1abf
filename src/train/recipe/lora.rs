use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::RecipeError;

/// The table `[lora]` of a recipe: adapters are trained beside weights that stay as they are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lora {
    /// Inner width of the adapters.
    pub rank: usize,
    /// What adapters add is multiplied by this over the rank; twice the rank if not given.
    pub alpha: Option<f64>,
    /// The language model's matrices that get an adapter, by the last part of their names; all if not given.
    pub targets: Option<Vec<String>>,
    /// Share of an adapter's inputs that is dropped.
    pub dropout: f64,
    /// Tokens whose rows of embedding and head are trained; the step token if not given, for a PRM.
    pub tokens: Option<Vec<String>>,
    /// Whether the projector is trained too.
    pub projector: bool,
    /// GGUF file that the language model's weights are taken from, and stay in: the checkpoint, converted and quantised.
    pub base: Option<PathBuf>,
}

impl Default for Lora {
    /// The reference's script where it has a value.
    fn default() -> Self {
        Self { rank: 16, alpha: None, targets: None, dropout: 0.05, tokens: None, projector: false, base: None }
    }
}

impl Lora {
    /// With a value for each key.
    pub(super) fn complete() -> Self {
        Self {
            alpha: Some(1.0),
            targets: Some(vec!["x".into()]),
            tokens: Some(vec!["x".into()]),
            base: Some("x".into()),
            ..Self::default()
        }
    }

    /// `alpha`, or what stands for it.
    pub fn alpha(&self) -> f64 {
        self.alpha.unwrap_or(2.0 * self.rank as f64)
    }

    pub(super) fn check(&self) -> Result<(), RecipeError> {
        if self.rank == 0 {
            return Err(RecipeError::invalid("`lora.rank` is 0, expected at least 1"));
        }
        if let Some(alpha) = self.alpha.filter(|alpha| !(alpha.is_finite() && *alpha > 0.0)) {
            return Err(RecipeError::invalid(format!("`lora.alpha` is {alpha}, expected more than 0")));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(RecipeError::invalid(format!("`lora.dropout` is {}, expected 0 to less than 1", self.dropout)));
        }
        Ok(())
    }
}
