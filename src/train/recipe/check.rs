use toml::Table;

use super::{Aim, Init, Lora, Recipe, RecipeError, default_freeze};

/// Refuses keys that a recipe does not have, with the one that is written most alike.
pub(super) fn keys(table: &Table) -> Result<(), RecipeError> {
    among(table, "", &known_keys())?;
    let inner = table.get("lora").and_then(toml::Value::as_table);
    inner.map_or(Ok(()), |inner| among(inner, "lora.", &keys_of(Lora::complete())))
}

fn among(table: &Table, before: &str, known: &[String]) -> Result<(), RecipeError> {
    let Some(unknown) = table.keys().find(|key| !known.contains(key)) else { return Ok(()) };
    let nearest = known.iter().min_by_key(|key| distance(key, unknown)).expect("a recipe has keys");
    Err(RecipeError::invalid(format!("unknown key `{before}{unknown}`, did you mean `{before}{nearest}`?")))
}

/// Every key, those too that have no value by default.
fn known_keys() -> Vec<String> {
    let full = Recipe {
        validation_samples: Some("x".into()),
        data_root: Some("x".into()),
        features: Some("x".into()),
        max_tokens: Some(1),
        logprob_of: Some("x".into()),
        expected_of: Some("x".into()),
        hard_labels: Some(0.5),
        steps: Some(1),
        sequence_samples: Some(1),
        batch_tokens: Some(1),
        patience: Some(1),
        lora: Some(Lora::complete()),
        ..Recipe::default()
    };
    keys_of(full)
}

fn keys_of(full: impl serde::Serialize) -> Vec<String> {
    Table::try_from(full).expect("a recipe is a table").keys().cloned().collect()
}

/// Letters to change, add or take away to get from one word to the other (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in b.iter().enumerate() {
            let change = diagonal + usize::from(letter != *other);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

impl Recipe {
    /// Whether values make sense, alone and together.
    pub(super) fn check(&self) -> Result<(), RecipeError> {
        for (key, path) in [("model", &self.model), ("samples", &self.samples), ("out", &self.out)] {
            if path.as_os_str().is_empty() {
                return Err(RecipeError::invalid(format!("`{key}` is missing, expected a path")));
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
        if let Some((key, _)) = counts.iter().find(|(_, count)| *count == Some(0)) {
            return Err(RecipeError::invalid(format!("`{key}` is 0, expected at least 1")));
        }
        let wrong = |key: &str, value: f64, expected: &str| {
            Err(RecipeError::invalid(format!("`{key}` is {value}, expected {expected}")))
        };
        let rates =
            [("lr", self.lr), ("muon_lr", self.muon_lr), ("weight_decay", self.weight_decay), ("clip", self.clip)];
        if let Some((key, value)) = rates.iter().find(|(_, value)| !(value.is_finite() && *value >= 0.0)) {
            return wrong(key, *value, "0 or more");
        }
        if !(self.epsilon.is_finite() && self.epsilon > 0.0) {
            return wrong("epsilon", self.epsilon, "more than 0");
        }
        let decays = [("momentum", self.momentum), ("beta1", self.beta1), ("beta2", self.beta2)];
        let shares = [("validation", self.validation), ("warmup", self.warmup)];
        if let Some((key, value)) = decays.iter().chain(&shares).find(|(_, value)| !(0.0..1.0).contains(value)) {
            return wrong(key, *value, "0 to less than 1");
        }
        if let Some(threshold) = self.hard_labels.filter(|threshold| !(0.0..=1.0).contains(threshold)) {
            return wrong("hard_labels", f64::from(threshold), "0 to 1");
        }
        if self.task == Aim::Policy && self.forms.is_empty() {
            return Err(RecipeError::invalid("`forms` is empty, expected \"rollout\", \"prm\" or both"));
        }
        if let Some(lora) = &self.lora {
            lora.check()?;
            if self.init == Init::Random {
                return Err(RecipeError::invalid("`lora` needs the checkpoint's weights, and `init` is \"random\""));
            }
            if self.freeze != default_freeze() {
                return Err(RecipeError::invalid("`freeze` is for training without `lora`, which trains no weights"));
            }
        }
        if self.patience.is_some() && self.validation == 0.0 && self.validation_samples.is_none() {
            return Err(RecipeError::invalid("`patience` needs `validation` or `validation_samples`"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::data::Forms;
    use crate::train::recipe::Compute;

    const PATHS: &str = "model = 'm'\nsamples = 's'\nout = 'o'\n";

    fn refusal(lines: &str) -> String {
        Recipe::parse(&format!("{PATHS}{lines}")).unwrap_err().to_string()
    }

    #[test]
    fn every_key_is_known_and_misspelt_ones_are_led_to_it() {
        for (misspelt, meant) in
            [("learnt_rate", "batch_samples"), ("bach_tokens", "batch_tokens"), ("pacience", "patience")]
        {
            let message = refusal(&format!("{misspelt} = 1"));
            assert!(message.starts_with(&format!("recipe: unknown key `{misspelt}`")), "{message}");
            assert!(misspelt == "learnt_rate" || message.ends_with(&format!("did you mean `{meant}`?")), "{message}");
        }
        let error = toml::from_str::<Recipe>("nothing = 1").unwrap_err().to_string();
        for key in known_keys() {
            assert!(error.contains(&format!("`{key}`")), "{key}: {error}");
        }
        let expected = error.matches('`').count() / 2 - 1;
        assert_eq!(known_keys().len() + 1, expected + 1, "{error}");
    }

    #[test]
    fn values_that_make_no_sense_are_refused_by_name() {
        assert_eq!(refusal("batch_samples = 0"), "recipe: `batch_samples` is 0, expected at least 1");
        assert_eq!(refusal("lr = -1.0"), "recipe: `lr` is -1, expected 0 or more");
        assert_eq!(refusal("lr = nan"), "recipe: `lr` is NaN, expected 0 or more");
        assert_eq!(refusal("warmup = 1.0"), "recipe: `warmup` is 1, expected 0 to less than 1");
        assert_eq!(refusal("patience = 2"), "recipe: `patience` needs `validation` or `validation_samples`");
        assert_eq!(
            refusal("task = 'policy'\nforms = []"),
            "recipe: `forms` is empty, expected \"rollout\", \"prm\" or both"
        );
        assert!(refusal("precision = 'f8'").contains("f8"));
        assert_eq!(refusal("[lora]\nrnak = 8"), "recipe: unknown key `lora.rnak`, did you mean `lora.rank`?");
        assert_eq!(refusal("[lora]\nrank = 0"), "recipe: `lora.rank` is 0, expected at least 1");
        assert_eq!(refusal("[lora]\ndropout = 1.0"), "recipe: `lora.dropout` is 1, expected 0 to less than 1");
        assert!(refusal("freeze = []\n[lora]").contains("`freeze` is for training without `lora`"));
        assert!(refusal("init = 'random'\n[lora]").contains("`lora` needs the checkpoint's weights"));
        assert_eq!(
            Recipe::parse("model = 'm'").unwrap_err().to_string(),
            "recipe: `samples` is missing, expected a path"
        );
    }

    #[test]
    fn flags_go_over_the_file() {
        #[derive(serde::Serialize)]
        struct Flags {
            lr: Option<f64>,
            steps: Option<u64>,
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.toml");
        std::fs::write(&path, format!("{PATHS}lr = 1e-4\nsteps = 7")).unwrap();
        let recipe = Recipe::read(Some(&path), &Flags { lr: Some(2e-4), steps: None }, &[]).unwrap();
        assert_eq!((recipe.lr, recipe.steps), (2e-4, Some(7)));
        let settings = ["steps=9", "precision = f32", "forms=['prm']"].map(str::to_owned);
        let recipe = Recipe::read(Some(&path), &Flags { lr: None, steps: Some(8) }, &settings).unwrap();
        assert_eq!(
            (recipe.steps, recipe.precision, recipe.forms()),
            (Some(9), Compute::F32, Forms { rollout: false, prm: true })
        );
        let settings = ["lora.rank=4", "lora.targets=['wo']"].map(str::to_owned);
        std::fs::write(&path, format!("{PATHS}[lora]\nrank = 8\nprojector = true")).unwrap();
        let recipe = Recipe::read(Some(&path), &Flags { lr: None, steps: None }, &settings).unwrap();
        let expected = Lora { rank: 4, projector: true, targets: Some(vec!["wo".into()]), ..Lora::default() };
        assert_eq!((Recipe::parse(&recipe.to_toml()).unwrap().lora, expected.alpha()), (Some(expected), 8.0));
        let error = Recipe::read(Some(&path), &Flags { lr: None, steps: None }, &["fast".into()]).unwrap_err();
        assert_eq!(error.to_string(), "recipe: `fast`: expected `key=value`");
        std::fs::write(&path, "lr = ").unwrap();
        let error = Recipe::read(Some(&path), &Flags { lr: None, steps: None }, &[]).unwrap_err().to_string();
        assert!(error.contains("r.toml: ") && !error.contains('\n'), "{error}");
    }

    #[test]
    fn words_are_as_far_apart_as_their_letters() {
        assert_eq!((distance("lr", "lr"), distance("kitten", "sitting"), distance("", "ab")), (0, 3, 2));
    }
}
