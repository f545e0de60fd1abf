//! Samples as token ids with targets, and the special tokens they use.

use super::encode::Tokenizer;
use super::error::DataError;
use crate::prompt::STEP_TOKEN;

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

/// The value to learn at a token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TargetValue {
    /// A soft label, 0 to 1: the probability of `Yes` against `No`.
    Label(f32),
    /// The id of the next token.
    Token(u32),
}

/// A value to learn, its row and its weight.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Target {
    /// Index of the token in the sample.
    pub row: usize,
    /// The value to learn there.
    pub value: TargetValue,
    /// Weight in the loss, 1 by default.
    pub weight: f32,
}

impl Target {
    /// A target of weight 1.
    pub fn new(row: usize, value: TargetValue) -> Self {
        Self { row, value, weight: 1.0 }
    }
}

/// The place of an image in a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Index of its first context token.
    pub start: usize,
    /// Index into the data set's images.
    pub image: usize,
}

/// One training text.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The record's id as JSON.
    pub id: String,
    /// Hash of question and images: equal for samples of one problem.
    pub problem: u64,
    /// Token ids.
    pub tokens: Vec<u32>,
    /// Images in order.
    pub images: Vec<Placed>,
    /// Targets in ascending order of rows.
    pub targets: Vec<Target>,
}
