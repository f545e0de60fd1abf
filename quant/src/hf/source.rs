//! Where a checkpoint comes from: its class of model and its name, as `config.json` gives them.
//!
//! Conversion writes both into GGUF metadata; by them the form is chosen in which a reward model reads
//! solutions.
//!
//! ```
//! use mmprm_quant::hf::source::Source;
//! let folder = tempfile::tempdir().unwrap();
//! std::fs::write(folder.path().join("config.json"), r#"{"architectures": ["Qwen2ForProcessRewardModel"]}"#).unwrap();
//! let source = Source::read(folder.path()).unwrap();
//! assert_eq!(source.architecture.as_deref(), Some("Qwen2ForProcessRewardModel"));
//! assert_eq!(source.metadata().len(), 1);
//! ```

use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::HfError;
use super::files::{read_json, read_optional_json};
use crate::gguf::{GgufValue, Metadata};

/// The GGUF key of the class of model, the first of `architectures`.
pub const ARCHITECTURE_KEY: &str = "mmprm.source.architecture";

/// The GGUF key of the checkpoint's name, `_name_or_path`.
pub const NAME_KEY: &str = "mmprm.source.name";

/// The source of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Source {
    /// The class of model.
    pub architecture: Option<String>,
    /// The name under which the checkpoint was loaded when it was saved.
    pub name: Option<String>,
    /// The text of the system turn, where the configuration has one (`system_message`, as of `InternVL`).
    pub system_message: Option<String>,
    /// Whether the tokenizer's files name a beginning-of-sequence token, also one that it does not write itself.
    pub names_bos: bool,
}

/// What files of a tokenizer say of its beginning-of-sequence token: a text, or an object with one.
#[derive(Deserialize)]
struct Tokens {
    #[serde(default)]
    bos_token: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    architectures: Option<Vec<String>>,
    #[serde(default, rename = "_name_or_path")]
    name: Option<String>,
    #[serde(default)]
    system_message: Option<String>,
}

impl Source {
    /// Reads it from `config.json` of a checkpoint directory, and from the files of its tokenizer, which may be missing.
    ///
    /// # Errors
    /// [`HfError`] if `config.json` is missing, or a file is not of this form.
    pub fn read(directory: &Path) -> Result<Self, HfError> {
        let Raw { architectures, name, system_message } = read_json(&directory.join("config.json"))?;
        let architecture = architectures.into_iter().flatten().next();
        let name = name.filter(|name| !name.is_empty());
        let mut names_bos = false;
        for file in ["tokenizer_config.json", "special_tokens_map.json"].map(|file| directory.join(file)) {
            names_bos |= read_optional_json::<Tokens>(&file)?.is_some_and(|tokens| tokens.bos_token.is_some());
        }
        Ok(Self { architecture, name, system_message, names_bos })
    }

    /// Returns it as GGUF metadata.
    pub fn metadata(&self) -> Metadata {
        let entries = [(ARCHITECTURE_KEY, &self.architecture), (NAME_KEY, &self.name)];
        let entry = |(key, text): (&str, &Option<String>)| Some((key.to_owned(), GgufValue::String(text.clone()?)));
        entries.into_iter().filter_map(entry).collect()
    }
}
