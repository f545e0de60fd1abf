//! Writing recipes: every key with its description.

use std::fmt::Write as _;

use serde::Serialize;
use toml::{Table, Value};

use super::keys::Recipe;
use super::lora::LoraOptions;

impl Recipe {
    /// Returns the recipe as TOML with a comment before each key. Keys without a value are commented out, as is a table
    /// `[lora]` that the recipe does not have.
    ///
    /// ```
    /// use mmprm::train::recipe::Recipe;
    /// let text = Recipe::default().to_commented_toml();
    /// assert!(text.contains("\n# Peak learning rate of `AdamW`.\nlr = "));
    /// let paths = "model = 'policy'\nsamples = 'train.jsonl'\noutput = 'prm'\n";
    /// assert_eq!(Recipe::parse(&format!("{paths}{text}"))?, Recipe::parse(paths)?);
    /// # Ok::<(), mmprm::train::recipe::RecipeError>(())
    /// ```
    pub fn to_commented_toml(&self) -> String {
        let mut text = String::new();
        entries(&mut text, self, Self::KEYS, "");
        let prefix = if self.lora.is_some() { "" } else { "# " };
        let _ = write!(text, "\n{prefix}[lora]\n");
        entries(&mut text, self.lora.clone().unwrap_or_default(), LoraOptions::KEYS, prefix);
        text
    }
}

/// Appends the keys of a table: with `prefix` those that have values, commented out the others.
fn entries(text: &mut String, table: impl Serialize, keys: &[(&str, &[&str])], prefix: &str) {
    let table = Table::try_from(table).expect("a recipe is a table");
    for (key, lines) in keys {
        let value = table.get(*key).filter(|value| value.as_str() != Some(""));
        let comment: String = lines.iter().fold(String::new(), |all, line| all + "#" + line + "\n");
        // Writing to a string cannot fail.
        let _ = match value {
            Some(Value::Table(_)) => write!(text, "\n{comment}"),
            Some(value) => write!(text, "\n{comment}{prefix}{key} = {value}\n"),
            None if *key == "lora" => write!(text, "\n{comment}"),
            None => write!(text, "\n{comment}# {key} =\n"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commented_recipe_is_read_back_unchanged() {
        let lora = LoraOptions { rank: 4, targets: Some(vec!["wo".into()]), ..LoraOptions::default() };
        let paths = Recipe { model: "m".into(), samples: "s".into(), output: "o".into(), ..Recipe::default() };
        for recipe in [
            paths.clone(),
            Recipe { lora: Some(lora), ..paths.clone() },
            Recipe { steps: Some(7), lr: 2e-6, hard_labels: Some(0.5), batch_tokens: Some(9), ..paths },
        ] {
            let text = recipe.to_commented_toml();
            assert_eq!(Recipe::parse(&text).unwrap(), recipe, "{text}");
        }
    }

    #[test]
    fn every_key_has_its_line() {
        let text = Recipe::default().to_commented_toml();
        for (key, _) in Recipe::KEYS.iter().filter(|(key, _)| *key != "lora") {
            let found =
                text.lines().filter(|line| line.trim_start_matches("# ").starts_with(&format!("{key} ="))).count();
            assert_eq!(found, 1, "{key}: {text}");
        }
    }
}
