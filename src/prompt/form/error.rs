//! Why a record is not a PRM form, or a problem cannot be written in one.

/// Why a record is not a PRM form, or a problem cannot be written in one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormError {
    /// The record is not TOML, lacks a key, or has an unknown one.
    #[error("{0}")]
    Toml(String),
    /// The record is larger than any form.
    #[error("it has {found} bytes, expected at most {max}")]
    TooLarge {
        /// Bytes of the record.
        found: usize,
        /// Maximum number of bytes.
        max: usize,
    },
    /// A key has a value that it cannot have.
    #[error("`{key}`: {problem}")]
    Value {
        /// The key, with its table.
        key: &'static str,
        /// What was found and what was expected.
        problem: String,
    },
    /// A template has a placeholder that it cannot have.
    #[error("`{key}`: unknown placeholder {{{found}}}, expected {expected}; a brace before a word is written `{{{{`")]
    Placeholder {
        /// The key, with its table.
        key: &'static str,
        /// The placeholder's name.
        found: String,
        /// The placeholders that the template may have.
        expected: String,
    },
    /// A template has a placeholder too often, or not at all.
    #[error("`{key}`: {{{name}}} occurs {found} times, expected {expected}")]
    Count {
        /// The key, with its table.
        key: &'static str,
        /// The placeholder's name.
        name: &'static str,
        /// How often it was found.
        found: usize,
        /// How often it was expected.
        expected: &'static str,
    },
    /// There is no built-in form of this name.
    #[error("there is no built-in PRM form `{found}`; there are {known}")]
    Unknown {
        /// The name.
        found: String,
        /// The names that exist.
        known: String,
    },
    /// A problem has images, and its form no place for them.
    #[error("the problem has {images} images but the PRM form `{form}` has no place for images")]
    NoImages {
        /// The number of images without a placeholder in the question.
        images: usize,
        /// The form's name.
        form: String,
    },
}
