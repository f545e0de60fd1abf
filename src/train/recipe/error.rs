//! Errors of reading a recipe.

use std::path::PathBuf;

use crate::util::io::FileError;

/// An error of reading a recipe.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// The file cannot be read.
    #[error(transparent)]
    Read(#[from] FileError),
    /// The file is not TOML.
    #[error("{}: {}", path.display(), one_line(source))]
    File {
        /// The file.
        path: PathBuf,
        /// The parser's error.
        source: toml::de::Error,
    },
    /// The text is not TOML, or a value is of another type.
    #[error("recipe: {}", one_line(.0))]
    Toml(#[source] toml::de::Error),
    /// Values cannot be written as TOML.
    #[error("recipe: {0}")]
    Overrides(#[from] toml::ser::Error),
    /// A setting is not `key=value`.
    #[error("recipe: `{text}`: expected `key=value`")]
    Setting {
        /// The setting.
        text: String,
    },
    /// A key is unknown.
    #[error("recipe: unknown key `{key}`, did you mean `{nearest}`?")]
    UnknownKey {
        /// The key.
        key: String,
        /// The known key that is most similar.
        nearest: String,
    },
    /// Two spellings of one key.
    #[error("recipe: `{old}` is the former name of `{new}`, expected one of them")]
    Twice {
        /// The former name.
        old: &'static str,
        /// The name.
        new: &'static str,
    },
    /// A required path is missing.
    #[error("recipe: `{key}` is missing, expected a path")]
    Missing {
        /// The key.
        key: &'static str,
    },
    /// A value is out of range.
    #[error("recipe: `{key}` is {found}, expected {expected}")]
    Range {
        /// The key.
        key: &'static str,
        /// The value.
        found: f64,
        /// The range.
        expected: &'static str,
    },
    /// The PRM form cannot be read.
    #[error("recipe: `prm_form`: {problem}")]
    Form {
        /// What is wrong.
        problem: String,
    },
    /// Values that do not go together.
    #[error("recipe: {0}")]
    Conflict(&'static str),
}

/// The message of a TOML error, which spans several lines, on one line.
fn one_line(error: &toml::de::Error) -> String {
    error.to_string().lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}
