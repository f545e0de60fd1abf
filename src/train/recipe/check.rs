//! Checks of a recipe's values, alone and together.

use super::error::RecipeError;
use super::keys::{Init, Recipe, Task, default_freeze};

impl Recipe {
    /// Checks values, alone and together.
    pub(crate) fn check(&self) -> Result<(), RecipeError> {
        for (key, path) in [("model", &self.model), ("samples", &self.samples), ("output", &self.output)] {
            if path.as_os_str().is_empty() {
                return Err(RecipeError::Missing { key });
            }
        }
        let counts = [
            ("max_tiles", Some(self.max_tiles)),
            ("max_tokens", self.max_tokens),
            ("epochs", Some(self.epochs as usize)),
            ("steps", self.steps.map(|steps| steps as usize)),
            ("sequence_tokens", Some(self.sequence_tokens)),
            ("sequence_samples", self.sequence_samples),
            ("batch_samples", Some(self.batch_samples)),
            ("batch_tokens", self.batch_tokens),
            ("patience", self.patience.map(|patience| patience as usize)),
        ];
        let conflict = |problem| Err(RecipeError::Conflict(problem));
        let wrong = |key, found, expected| Err(RecipeError::Range { key, found, expected });
        if let Some((key, _)) = counts.iter().find(|(_, count)| *count == Some(0)) {
            return wrong(*key, 0.0, "at least 1");
        }
        let rates =
            [("lr", self.lr), ("muon_lr", self.muon_lr), ("weight_decay", self.weight_decay), ("clip", self.clip)];
        if let Some((key, value)) = rates.iter().find(|(_, value)| !(value.is_finite() && *value >= 0.0)) {
            return wrong(*key, *value, "0 or more");
        }
        if !(self.epsilon.is_finite() && self.epsilon > 0.0) {
            return wrong("epsilon", self.epsilon, "more than 0");
        }
        let decays = [("momentum", self.momentum), ("beta1", self.beta1), ("beta2", self.beta2)];
        let shares = [("validation", self.validation), ("warmup", self.warmup)];
        if let Some((key, value)) = decays.iter().chain(&shares).find(|(_, value)| !(0.0..1.0).contains(value)) {
            return wrong(*key, *value, "0 to less than 1");
        }
        if let Some(threshold) = self.hard_labels.filter(|threshold| !(0.0..=1.0).contains(threshold)) {
            return wrong("hard_labels", f64::from(threshold), "0 to 1");
        }
        if self.task == Task::Policy && self.forms.is_empty() {
            return conflict("`forms` is empty, expected \"rollout\", \"prm\" or both");
        }
        if let Some(lora) = &self.lora {
            lora.check()?;
            if self.init == Init::Random {
                return conflict("`init` is \"random\", but `lora` needs the checkpoint's weights");
            }
            if self.freeze != default_freeze() {
                return conflict("`freeze` is for training without `lora`, which trains no weights");
            }
        }
        if self.patience.is_some() && self.validation == 0.0 && self.validation_samples.is_none() {
            return conflict("`patience` needs `validation` or `validation_samples`");
        }
        Ok(())
    }
}
