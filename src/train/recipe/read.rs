//! Reading recipes: TOML files, overrides, settings, and the check of keys.

use std::path::Path;

use serde::Serialize;
use toml::{Table, Value};

use super::check::MAX_EPOCHS;
use super::error::RecipeError;
use super::keys::{LossKind, Recipe};
use super::lora::LoraOptions;
use crate::util::io::read_to_string;

/// Maximum bytes of a recipe.
const MAX_FILE: u64 = 1 << 20;

/// Former names of keys, still accepted.
const FORMER_KEYS: [(&str, &str); 2] = [("out", "output"), ("likelihood_of", "logprob_of")];

impl Recipe {
    /// Reads a recipe from a file.
    ///
    /// # Errors
    /// [`RecipeError`].
    pub fn read(path: &Path) -> Result<Self, RecipeError> {
        Self::read_with(Some(path), &Table::new(), &[])
    }

    /// Reads a recipe from a file, or from nothing, with values that replace the file's: those of `overrides`, a struct or
    /// table of some of a recipe's keys, then those of `settings`, each `key=value`.
    ///
    /// # Errors
    /// [`RecipeError`].
    pub fn read_with(
        path: Option<&Path>,
        overrides: &impl Serialize,
        settings: &[String],
    ) -> Result<Self, RecipeError> {
        Self::from_table(table_with(path, overrides, settings)?)
    }

    /// As [`read_with`](Self::read_with), for a recipe that may still lack the paths of a run.
    ///
    /// # Errors
    /// [`RecipeError`].
    pub fn draft_with(
        path: Option<&Path>,
        overrides: &impl Serialize,
        settings: &[String],
    ) -> Result<Self, RecipeError> {
        let recipe = Self::unchecked(table_with(path, overrides, settings)?)?;
        recipe.check_values()?;
        Ok(recipe)
    }

    /// Reads a recipe from a text.
    ///
    /// # Errors
    /// [`RecipeError`].
    pub fn parse(text: &str) -> Result<Self, RecipeError> {
        Self::from_table(renamed(text.parse().map_err(RecipeError::Toml)?)?)
    }

    fn from_table(table: Table) -> Result<Self, RecipeError> {
        let recipe = Self::unchecked(table)?;
        recipe.check()?;
        Ok(recipe)
    }

    fn unchecked(table: Table) -> Result<Self, RecipeError> {
        check_keys(&table)?;
        let has_steps_alone = table.contains_key("steps") && !table.contains_key("epochs");
        let mut recipe: Self = table.try_into().map_err(RecipeError::Toml)?;
        if has_steps_alone {
            recipe.epochs = MAX_EPOCHS.0;
        }
        Ok(recipe)
    }

    /// The recipe as TOML, with every key that has a value.
    ///
    /// # Panics
    /// Never: every value is of a type that TOML has.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a recipe is a table of plain values and a table of such")
    }
}

fn table_with(path: Option<&Path>, overrides: &impl Serialize, settings: &[String]) -> Result<Table, RecipeError> {
    let mut table = path.map_or_else(|| Ok(Table::new()), read_table)?;
    overlay(&mut table, renamed(Table::try_from(overrides)?)?);
    for setting in settings {
        overlay(&mut table, renamed(parse_setting(setting)?)?);
    }
    Ok(table)
}

fn read_table(path: &Path) -> Result<Table, RecipeError> {
    let text = read_to_string(path, MAX_FILE)?;
    renamed(text.parse().map_err(|source| RecipeError::File { path: path.to_owned(), source })?)
}

/// The table with former names of keys replaced.
fn renamed(mut table: Table) -> Result<Table, RecipeError> {
    for (old, new) in FORMER_KEYS {
        if let Some(value) = table.remove(old)
            && table.insert(new.into(), value).is_some()
        {
            return Err(RecipeError::Twice { old, new });
        }
    }
    Ok(table)
}

/// Parses a line of TOML whose value may be an unquoted string.
fn parse_setting(text: &str) -> Result<Table, RecipeError> {
    let Some((key, value)) = text.split_once('=') else {
        return Err(RecipeError::Setting { text: text.to_owned() });
    };
    let unquoted = || {
        let entry = |key: &str, value: Value| Table::from_iter([(key.to_owned(), value)]);
        match key.trim().split_once('.') {
            Some((table, key)) => entry(table, entry(key, value.trim().into()).into()),
            None => entry(key.trim(), value.trim().into()),
        }
    };
    Ok(text.parse().unwrap_or_else(|_| unquoted()))
}

/// Replaces a table's values by those of `other`, also within inner tables.
fn overlay(table: &mut Table, other: Table) {
    for (key, value) in other {
        match (table.get_mut(&key), value) {
            (Some(Value::Table(inner)), Value::Table(value)) => overlay(inner, value),
            (_, value) => {
                table.insert(key, value);
            }
        }
    }
}

/// Refuses unknown keys, with the most similar known one.
fn check_keys(table: &Table) -> Result<(), RecipeError> {
    check_among(table, "", &known_keys())?;
    let inner = table.get("lora").and_then(Value::as_table);
    inner.map_or(Ok(()), |inner| check_among(inner, "lora.", &keys_of(LoraOptions::complete())))
}

fn check_among(table: &Table, prefix: &str, known: &[String]) -> Result<(), RecipeError> {
    let Some(unknown) = table.keys().find(|key| !known.contains(key)) else { return Ok(()) };
    let nearest = known.iter().min_by_key(|key| distance(key, unknown)).expect("a recipe has keys");
    Err(RecipeError::UnknownKey { key: format!("{prefix}{unknown}"), nearest: format!("{prefix}{nearest}") })
}

/// All keys, including those without a default.
fn known_keys() -> Vec<String> {
    let full = Recipe {
        validation_samples: Some("x".into()),
        data_root: Some("x".into()),
        features: Some("x".into()),
        prm_form: Some("x".into()),
        max_tokens: Some(1),
        logprob_of: Some("x".into()),
        expected_of: Some("x".into()),
        loss: Some(LossKind::Soft),
        reference: Some("x".into()),
        beta: Some(1.0),
        right_above: Some(0.5),
        margin: Some(1.0),
        hard_labels: Some(0.5),
        steps: Some(1),
        sequence_samples: Some(1),
        batch_tokens: Some(1),
        patience: Some(1),
        lora: Some(LoraOptions::complete()),
        ..Recipe::default()
    };
    keys_of(full)
}

fn keys_of(full: impl Serialize) -> Vec<String> {
    Table::try_from(full).expect("a recipe is a table").keys().cloned().collect()
}

/// Levenshtein distance.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::data::SolutionForms;
    use crate::train::recipe::Compute;

    const PATHS: &str = "model = 'm'\nsamples = 's'\noutput = 'o'\n";

    fn refusal(lines: &str) -> String {
        Recipe::parse(&format!("{PATHS}{lines}")).unwrap_err().to_string()
    }

    #[test]
    fn every_key_is_known_and_misspelt_ones_get_a_suggestion() {
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
    fn values_out_of_range_are_refused_by_key() {
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
    fn overrides_replace_values_of_the_file() {
        #[derive(serde::Serialize)]
        struct Flags {
            lr: Option<f64>,
            steps: Option<u64>,
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.toml");
        std::fs::write(&path, format!("{PATHS}lr = 1e-4\nsteps = 7")).unwrap();
        let recipe = Recipe::read_with(Some(&path), &Flags { lr: Some(2e-4), steps: None }, &[]).unwrap();
        assert_eq!((recipe.lr, recipe.steps), (2e-4, Some(7)));
        let settings = ["steps=9", "precision = f32", "forms=['prm']"].map(str::to_owned);
        let recipe = Recipe::read_with(Some(&path), &Flags { lr: None, steps: Some(8) }, &settings).unwrap();
        assert_eq!(
            (recipe.steps, recipe.precision, recipe.solution_forms()),
            (Some(9), Compute::F32, SolutionForms { rollout: false, prm: true })
        );
        let settings = ["lora.rank=4", "lora.targets=['wo']"].map(str::to_owned);
        std::fs::write(&path, format!("{PATHS}[lora]\nrank = 8\nprojector = true")).unwrap();
        let recipe = Recipe::read_with(Some(&path), &Flags { lr: None, steps: None }, &settings).unwrap();
        let expected =
            LoraOptions { rank: 4, projector: true, targets: Some(vec!["wo".into()]), ..LoraOptions::default() };
        assert_eq!((Recipe::parse(&recipe.to_toml()).unwrap().lora, expected.alpha()), (Some(expected), 8.0));
        let error = Recipe::read_with(Some(&path), &Flags { lr: None, steps: None }, &["fast".into()]).unwrap_err();
        assert_eq!(error.to_string(), "recipe: `fast`: expected `key=value`");
        std::fs::write(&path, "lr = ").unwrap();
        let error = Recipe::read_with(Some(&path), &Flags { lr: None, steps: None }, &[]).unwrap_err().to_string();
        assert!(error.contains("r.toml: ") && !error.contains('\n'), "{error}");
    }

    #[test]
    fn steps_without_epochs_are_not_cut_to_one_epoch() {
        let of = |keys: &str| {
            let recipe = Recipe::parse(&format!("model = 'm'\nsamples = 's'\noutput = 'o'\n{keys}")).unwrap();
            (recipe.epochs, recipe.steps)
        };
        assert_eq!(of(""), (1, None));
        assert_eq!(of("epochs = 3\nsteps = 9"), (3, Some(9)));
        assert_eq!(of("steps = 9"), (10_000, Some(9)));
    }

    #[test]
    fn former_names_of_keys_are_accepted_once() {
        let recipe = Recipe::parse("model = 'm'\nsamples = 's'\nout = 'o'\nlikelihood_of = 'p'").unwrap();
        assert_eq!((recipe.output.to_str(), recipe.distills()), (Some("o"), true));
        assert_eq!(recipe.logprob_of.unwrap().to_str(), Some("p"));
        assert_eq!(refusal("out = 'o'"), "recipe: `out` is the former name of `output`, expected one of them");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.toml");
        std::fs::write(&path, "model = 'm'\nsamples = 's'\nout = 'o'").unwrap();
        let recipe = Recipe::read_with(Some(&path), &Table::new(), &["output=other".into()]).unwrap();
        assert_eq!(recipe.output.to_str(), Some("other"));
    }

    #[test]
    fn distances_count_changed_letters() {
        assert_eq!((distance("lr", "lr"), distance("kitten", "sitting"), distance("", "ab")), (0, 3, 2));
    }
}
