//! Applies the [table](super::table) to a file.

use super::keys::bad_key;
use super::rules::{Fit, Need, Of, Rule};
use super::table::TABLE;
use crate::gguf::{GgufError, GgufFile};

/// Checks each key that the table has for files of the given kinds.
pub(super) fn apply(file: &GgufFile, arch: &str, kinds: &[Of]) -> Result<(), GgufError> {
    // The alignment itself is a power of two: GgufFile checks it. ggml asserts that mapped tensors
    // are aligned to 32 bytes, which smaller alignments do not ensure.
    if !(32..=1 << 20).contains(&file.alignment()) {
        return Err(bad_key(file, "general.alignment", file.alignment().to_string(), "a power of two, 32 to 1048576"));
    }
    TABLE.iter().filter(|rule| kinds.contains(&rule.of)).try_for_each(|rule| one(file, &rule.key(arch), rule))
}

/// Returns whether the table has this key for files of the given kinds.
pub(super) fn is_known(key: &str, arch: &str, kinds: &[Of]) -> bool {
    TABLE.iter().any(|rule| kinds.contains(&rule.of) && rule.key(arch) == key)
}

/// Returns the keys of the table in files of this architecture, in vision towers (`clip`) or in
/// adapters (`adapter`), for tests that mutate them.
#[doc(hidden)]
pub fn table_keys(arch: &str) -> Vec<String> {
    let kinds: &[Of] = match arch {
        "clip" => &[Of::Any, Of::Vision, Of::InternVision],
        "adapter" => &[Of::Any, Of::Adapter],
        "qwen2vl" | "qwen3vl" => &[Of::Any, Of::Vocabulary, Of::Language, Of::QwenLanguage],
        _ => &[Of::Any, Of::Vocabulary, Of::Language],
    };
    TABLE.iter().filter(|rule| kinds.contains(&rule.of)).map(|rule| rule.key(arch)).collect()
}

fn one(file: &GgufFile, key: &str, rule: &Rule) -> Result<(), GgufError> {
    let expected = rule.kind.type_name();
    let Some(value) = file.get(key) else {
        return match rule.need {
            Need::Optional => Ok(()),
            Need::Required => {
                Err(GgufError::MissingKey { path: file.path().to_owned(), key: key.to_owned(), expected })
            }
        };
    };
    match rule.kind.fits(value, file) {
        Fit::Yes => Ok(()),
        Fit::Type => Err(GgufError::WrongType {
            path: file.path().to_owned(),
            key: key.to_owned(),
            found: value.type_name(),
            expected,
        }),
        Fit::Range(found, expected) => Err(bad_key(file, key, found, expected)),
    }
}
