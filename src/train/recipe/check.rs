//! Checks of a recipe's values, alone and together.

use super::error::RecipeError;
use super::keys::{Init, LossKind, Recipe, Task, default_freeze};

/// Largest counts, with the range as text. They are far beyond any run; larger numbers would overflow memory, or the loop
/// that counts the steps of all epochs would take hours.
pub(super) type Max = (u64, &'static str);
const MAX_TILES: Max = (64, "1 to 64");
const MAX_TOKENS: Max = (1 << 24, "1 to 16777216");
const MAX_BATCH_TOKENS: Max = (1 << 32, "1 to 4294967296");
pub(super) const MAX_EPOCHS: Max = (10_000, "1 to 10000");
const MAX_STEPS: Max = (1 << 40, "1 to 1099511627776");
/// TOML has no larger integers.
const MAX_SEED: Max = (i64::MAX as u64, "0 to 9223372036854775807");
/// Largest rate, whose products stay far from the largest f32.
const MAX_RATE: f64 = 1e9;

impl Recipe {
    /// Checks that the paths of a run are given, and the values.
    pub(crate) fn check(&self) -> Result<(), RecipeError> {
        for (key, path) in [("model", &self.model), ("samples", &self.samples), ("output", &self.output)] {
            if path.as_os_str().is_empty() {
                return Err(RecipeError::Missing { key });
            }
        }
        self.check_values()
    }

    /// Checks values, alone and together.
    pub(super) fn check_values(&self) -> Result<(), RecipeError> {
        let counts = [
            ("max_tiles", Some(self.max_tiles as u64), MAX_TILES),
            ("max_tokens", self.max_tokens.map(|count| count as u64), MAX_TOKENS),
            ("epochs", Some(self.epochs), MAX_EPOCHS),
            ("steps", self.steps, MAX_STEPS),
            ("sequence_tokens", Some(self.sequence_tokens as u64), MAX_TOKENS),
            ("sequence_samples", self.sequence_samples.map(|count| count as u64), MAX_TOKENS),
            ("batch_samples", Some(self.batch_samples as u64), MAX_TOKENS),
            ("batch_tokens", self.batch_tokens.map(|count| count as u64), MAX_BATCH_TOKENS),
            ("patience", self.patience, MAX_STEPS),
            // 0 is once each epoch.
            ("evaluate_every", Some(self.evaluate_every.max(1)), MAX_STEPS),
            ("save_every", Some(self.save_every.max(1)), MAX_STEPS),
            ("seed", Some(self.seed.max(1)), MAX_SEED),
        ];
        let conflict = |problem| Err(RecipeError::Conflict(problem));
        let wrong = |key, found, expected| Err(RecipeError::Range { key, found, expected });
        for (key, count, (max, expected)) in counts {
            match count {
                Some(0) => return wrong(key, 0.0, "at least 1"),
                Some(count) if count > max => return wrong(key, count as f64, expected),
                _ => {}
            }
        }
        let rates =
            [("lr", self.lr), ("muon_lr", self.muon_lr), ("weight_decay", self.weight_decay), ("clip", self.clip)];
        if let Some((key, value)) = rates.iter().find(|(_, value)| !(value.is_finite() && *value >= 0.0)) {
            return wrong(*key, *value, "0 or more");
        }
        if let Some((key, value)) = rates.iter().find(|(_, value)| *value > MAX_RATE) {
            return wrong(*key, *value, "at most 1000000000");
        }
        if !(self.epsilon.is_finite() && self.epsilon > 0.0) {
            return wrong("epsilon", self.epsilon, "more than 0");
        }
        if self.epsilon > MAX_RATE {
            return wrong("epsilon", self.epsilon, "at most 1000000000");
        }
        let decays = [("momentum", self.momentum), ("beta1", self.beta1), ("beta2", self.beta2)];
        let shares = [("validation", self.validation), ("warmup", self.warmup)];
        if let Some((key, value)) = decays.iter().chain(&shares).find(|(_, value)| !(0.0..1.0).contains(value)) {
            return wrong(*key, *value, "0 to less than 1");
        }
        if let Some(threshold) = self.hard_labels.filter(|threshold| !(0.0..=1.0).contains(threshold)) {
            return wrong("hard_labels", f64::from(threshold), "0 to 1");
        }
        if let Some(threshold) = self.right_above.filter(|threshold| !(0.0..1.0).contains(threshold)) {
            return wrong("right_above", f64::from(threshold), "0 to less than 1");
        }
        if let Some(margin) = self.margin.filter(|margin| !(0.0..=100.0).contains(margin)) {
            return wrong("margin", f64::from(margin), "0 to 100");
        }
        if let Some(beta) = self.beta.filter(|beta| !(*beta > 0.0 && *beta <= 100.0)) {
            return wrong("beta", beta, "more than 0, at most 100");
        }
        if !(0.0..=1000.0).contains(&self.image_token_weight) {
            return wrong("image_token_weight", f64::from(self.image_token_weight), "0 to 1000");
        }
        if self.task == Task::Policy && self.forms.is_empty() {
            return conflict("`forms` is empty, expected \"rollout\", \"prm\" or both");
        }
        if self.task != Task::Prm && self.prm_form.is_some() {
            return conflict("`prm_form` is for `task = \"prm\"`");
        }
        if self.prm_form.is_some() && self.distills() {
            return conflict("`logprob_of` and `expected_of` need MM-PRM's form, not another `prm_form`");
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
        self.check_loss().map_or(Ok(()), conflict)
    }

    /// What in the recipe does not go with its loss.
    fn check_loss(&self) -> Option<&'static str> {
        let is_hard = matches!(self.loss, Some(LossKind::Hard | LossKind::Pqm));
        let is_soft = matches!(self.loss, None | Some(LossKind::Soft));
        let problems = [
            (
                self.loss.is_some_and(|loss| loss.task() != self.task),
                match self.task {
                    Task::Prm => "`loss` of a PRM is \"soft\", \"hard\", \"mse\", \"pqm\" or \"pairwise\"",
                    Task::ImplicitPrm => "`loss` of an implicit PRM is \"ranking\", \"outcome\" or \"steps\"",
                    Task::Policy => "`loss` is for PRMs; a policy has one loss",
                },
            ),
            (self.reference.is_some() && !self.has_reference(), "`reference` is for `loss` \"outcome\" or \"steps\""),
            (self.beta.is_some() && !self.has_reference(), "`beta` is for `loss` \"outcome\" or \"steps\""),
            (self.distills() && self.task != Task::Prm, "`logprob_of` and `expected_of` are for a PRM"),
            (
                self.hard_labels.is_some() && self.task != Task::Prm && self.loss != Some(LossKind::Steps),
                "`hard_labels` is for samples with a label for each step",
            ),
            (self.right_above.is_some() && !is_hard, "`right_above` is for `loss` \"hard\" or \"pqm\""),
            (self.margin.is_some() && self.loss != Some(LossKind::Pqm), "`margin` is for `loss` \"pqm\""),
            (
                self.hard_labels.is_some() && is_hard,
                "`hard_labels` is for `loss` \"soft\", \"mse\" or \"pairwise\"; \"hard\" and \"pqm\" have `right_above`",
            ),
            (
                self.distills() && !is_soft,
                "`logprob_of` and `expected_of` bring targets of their own, which only `loss` \"soft\" learns",
            ),
            (
                self.compares_problems() && !self.trees,
                "`trees` is false, but `loss` \"pairwise\" or \"ranking\" compares the samples of a problem, which are then apart",
            ),
        ];
        problems.into_iter().find_map(|(is_wrong, problem)| is_wrong.then_some(problem))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(line: &str) -> String {
        let (rest, lora) = if line.starts_with("[lora]") { ("", line) } else { (line, "") };
        Recipe::parse(&format!("model = 'm'\nsamples = 's'\noutput = 'o'\n{rest}\n{lora}")).unwrap_err().to_string()
    }

    #[test]
    fn numbers_out_of_range_are_named_with_their_range() {
        for key in ["max_tiles", "epochs", "sequence_tokens", "batch_samples", "max_tokens", "steps", "patience"] {
            for value in ["0", "9223372036854775807"] {
                let error = refusal(&format!("{key} = {value}\nvalidation = 0.5"));
                let range = if value == "0" { "expected at least 1" } else { "expected 1 to " };
                assert!(error.starts_with(&format!("recipe: `{key}` is ")) && error.contains(range), "{error}");
            }
        }
        for key in ["sequence_samples", "batch_tokens", "evaluate_every", "save_every"] {
            let error = refusal(&format!("{key} = 9223372036854775807"));
            assert!(error.starts_with(&format!("recipe: `{key}` is ")) && error.contains("expected 1 to "), "{error}");
        }
        for line in ["lr = 1e300", "muon_lr = inf", "weight_decay = nan", "clip = 1e10", "epsilon = 1e10"] {
            let key = line.split(' ').next().unwrap();
            assert!(refusal(line).starts_with(&format!("recipe: `{key}` is ")), "{}", refusal(line));
        }
        assert!(
            refusal("[lora]\nrank = 9223372036854775807")
                .contains("`lora.rank` is 9223372036854776000, expected 1 to 65536")
        );
        assert!(refusal("[lora]\nalpha = 1e300").contains("`lora.alpha` is "));
        assert!(refusal("right_above = 1.0\nloss = 'hard'").contains("`right_above` is 1, expected 0 to less than 1"));
        assert!(refusal("margin = -1.0\nloss = 'pqm'").contains("`margin` is -1, expected 0 to 100"));
        let recipe = Recipe { seed: u64::MAX, ..Recipe::parse("model = 'm'\nsamples = 's'\noutput = 'o'").unwrap() };
        assert!(matches!(recipe.check(), Err(RecipeError::Range { key: "seed", .. })));
    }

    #[test]
    fn keys_that_a_loss_does_not_use_are_refused() {
        let cases = [
            ("task = 'policy'\nloss = 'soft'", "`loss` is for PRMs"),
            ("loss = 'outcome'", "`loss` of a PRM is"),
            ("task = 'implicit-prm'\nloss = 'soft'", "`loss` of an implicit PRM is"),
            ("reference = 'p'", "`reference` is for"),
            ("task = 'implicit-prm'\nbeta = 0.5", "`beta` is for"),
            ("task = 'implicit-prm'\nloss = 'outcome'\nbeta = 0.0", "`beta` is 0, expected more than 0"),
            ("task = 'implicit-prm'\ntrees = false", "`trees` is false"),
            ("task = 'implicit-prm'\nhard_labels = 0.5", "`hard_labels` is for"),
            ("task = 'policy'\nlogprob_of = 'p'", "`logprob_of` and `expected_of` are for a PRM"),
            ("right_above = 0.5", "`right_above` is for"),
            ("loss = 'mse'\nright_above = 0.5", "`right_above` is for"),
            ("loss = 'hard'\nmargin = 1.0", "`margin` is for"),
            ("loss = 'hard'\nhard_labels = 0.5", "`hard_labels` is for"),
            ("loss = 'pqm'\nhard_labels = 0.5", "`hard_labels` is for"),
            ("loss = 'mse'\nlogprob_of = 'p'", "`logprob_of` and `expected_of`"),
            ("loss = 'pairwise'\ntrees = false", "`trees` is false"),
            ("loss = 'focal'", "unknown variant `focal`"),
        ];
        for (lines, problem) in cases {
            assert!(refusal(lines).contains(problem), "{lines}: {}", refusal(lines));
        }
        let paths = "model = 'm'\nsamples = 's'\noutput = 'o'\n";
        let implicit = "task = 'implicit-prm'\nloss = 'steps'\nbeta = 0.1\nreference = 'r'\nhard_labels = 0.5";
        for lines in [
            implicit,
            "loss = 'pqm'\nmargin = 2.0\nright_above = 0.25",
            "loss = 'mse'\nhard_labels = 0.5",
            "loss = 'pairwise'",
        ] {
            assert!(Recipe::parse(&format!("{paths}{lines}")).is_ok(), "{lines}");
        }
    }
}
