//! The tokenizer trait that the trainer uses, and the tokens that have a role.

use super::error::{DataError, TokenizerError};
use crate::prompt::{Run, STEP_TOKEN};

/// Splits text into token ids.
pub trait Tokenizer: Sync {
    /// Ids of a text. Special tokens are written out in it and recognised, but for its plain parts. `first` adds the
    /// vocabulary's beginning-of-text token, if it has one.
    ///
    /// # Errors
    /// Why the text cannot be split.
    fn encode(&self, text: &Run, first: bool) -> Result<Vec<u32>, TokenizerError>;

    /// The id of the token with exactly this text.
    fn token(&self, text: &str) -> Option<u32>;
}

/// Ids of the special tokens used in training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpecialTokens {
    /// `<IMG_CONTEXT>`, replaced by an image's embeddings.
    pub context: u32,
    /// `<prm>`, the end of a step.
    pub step: u32,
    /// `Yes`.
    pub yes: u32,
    /// `No`.
    pub no: u32,
}

impl SpecialTokens {
    /// Looks the tokens up in a vocabulary.
    ///
    /// # Errors
    /// [`DataError::NoToken`].
    pub fn find(tokenizer: &dyn Tokenizer) -> Result<Self, DataError> {
        let find = |token| tokenizer.token(token).ok_or(DataError::NoToken { token });
        Ok(Self { context: find("<IMG_CONTEXT>")?, step: find(STEP_TOKEN)?, yes: find("Yes")?, no: find("No")? })
    }
}
