//! Pads the vocabulary of one model to the size of another.

use super::error::SynthError;
use crate::gguf::{GgufArray, GgufFile, GgufValue, Metadata};
use crate::hf::vocabulary::{FILLER_SCORE, TokenType, filler_text};

/// Returns the metadata of `donor`'s vocabulary and of its step and label tokens, padded with
/// unused tokens to `rows`.
pub(super) fn padded(donor: &GgufFile, rows: u64) -> Result<Metadata, SynthError> {
    let tokens = donor.get_strings("tokenizer.ggml.tokens")?.len();
    if tokens as u64 > rows {
        return Err(SynthError::Vocabulary { path: donor.path().to_owned(), tokens, rows });
    }
    let is_copied = |key: &str| key.starts_with("tokenizer.") || key.starts_with("mmprm.prm.");
    let copied = donor.metadata().iter().filter(|(key, _)| is_copied(key));
    Ok(copied.map(|(key, value)| (key.clone(), pad(key, value.clone(), tokens as u64..rows))).collect())
}

/// Appends an entry for each of `ids` to a value that has one entry per token.
fn pad(key: &str, mut value: GgufValue, ids: std::ops::Range<u64>) -> GgufValue {
    let count = (ids.end - ids.start) as usize;
    match (key, &mut value) {
        ("tokenizer.ggml.tokens", GgufValue::Array(GgufArray::String(texts))) => texts.extend(ids.map(filler_text)),
        ("tokenizer.ggml.scores", GgufValue::Array(GgufArray::F32(scores))) => {
            scores.extend(std::iter::repeat_n(FILLER_SCORE, count));
        }
        ("tokenizer.ggml.token_type", GgufValue::Array(GgufArray::I32(types))) => {
            types.extend(std::iter::repeat_n(TokenType::Unused.id(), count));
        }
        _ => {}
    }
    value
}
