//! Errors of the engine.
//!
//! They name options by the fields of [`EngineOptions`](super::EngineOptions), never by
//! command-line flags.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use mmprm_quant::gguf::GgufError;

/// An error of the engine.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// llama.cpp cannot start its backends.
    #[error("llama.cpp cannot start: {0}")]
    Backend(String),
    /// The operating system refuses the engine's thread.
    #[error("cannot start the engine's thread: {0}")]
    Thread(#[source] Arc<io::Error>),
    /// A GGUF file is missing or invalid.
    #[error(transparent)]
    Gguf(Arc<GgufError>),
    /// A valid file that cannot be used.
    #[error("cannot load {}: {cause}", path.display())]
    Load {
        /// The file.
        path: PathBuf,
        /// The cause, from llama.cpp's log where it gives one.
        cause: String,
    },
    /// A vision projector whose embeddings have another width than the language model's.
    #[error(
        "cannot load {}: it projects to {found} values but {} expects {expected}; the two files are not a pair",
        projector.display(),
        model.display()
    )]
    NotAPair {
        /// The projector's file.
        projector: PathBuf,
        /// The language model's file.
        model: PathBuf,
        /// Values in an embedding of the projector.
        found: usize,
        /// Values in an embedding of the language model.
        expected: usize,
    },
    /// A vision projector that was converted from a checkpoint with other vision weights than the language model's.
    #[error(
        "cannot load {}: its vision weights are those of another checkpoint than that of {}; the two files are not a pair",
        projector.display(),
        model.display()
    )]
    OtherPair {
        /// The projector's file.
        projector: PathBuf,
        /// The language model's file.
        model: PathBuf,
    },
    /// llama.cpp cannot allocate a context.
    #[error("cannot allocate a context of {cells} cache cells for {}: {cause}", path.display())]
    Context {
        /// The model's file.
        path: PathBuf,
        /// Cells of the KV cache.
        cells: u32,
        /// The cause, from llama.cpp's log where it gives one.
        cause: String,
    },
    /// Text that cannot be tokenised.
    #[error("cannot tokenise: {0}")]
    Tokenize(#[source] TokenizeError),
    /// A prompt that is malformed or made for another model.
    #[error("cannot run the prompt: {0}")]
    Prompt(#[source] PromptError),
    /// A limit of the context, of the engine or of llama.cpp.
    #[error(transparent)]
    Limit(LimitError),
    /// llama.cpp failed to encode an image.
    #[error("{} cannot encode an image: {cause}", path.display())]
    Vision {
        /// The mmproj file.
        path: PathBuf,
        /// The cause, from llama.cpp's log where it gives one.
        cause: String,
    },
    /// llama.cpp failed to decode a batch.
    #[error("{} cannot decode a batch: {cause}", path.display())]
    Decode {
        /// The model's file.
        path: PathBuf,
        /// The cause, from llama.cpp's log where it gives one.
        cause: String,
    },
    /// The request was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// The engine's thread has ended.
    #[error("the engine has stopped")]
    Stopped,
}

/// Why a text has no tokens.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizeError {
    /// More than 2³¹ − 1 bytes.
    #[error("the text has {bytes} bytes, expected less than 2³¹")]
    TooLong {
        /// Bytes of the text.
        bytes: usize,
    },
    /// More tokens than bytes, which llama.cpp reports instead of tokens.
    #[error("{bytes} bytes of text need {tokens} tokens")]
    TooManyTokens {
        /// Bytes of the text.
        bytes: usize,
        /// Tokens it needs.
        tokens: usize,
    },
    /// llama.cpp's tokenizer threw an exception.
    #[error("the vocabulary of {} cannot split the text: {cause}", path.display())]
    Refused {
        /// The model's file.
        path: PathBuf,
        /// The exception's text.
        cause: String,
    },
}

/// Why a prompt cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PromptError {
    /// A prompt without tokens.
    #[error("a prompt cannot be empty")]
    Empty,
    /// A prompt without text behind its last image: there is no token whose logits could be read.
    #[error("a prompt cannot end in an image")]
    EndsInImage,
    /// Image embeddings whose values do not fill whole rows.
    #[error("{values} values of image embeddings are not whole rows of {width}")]
    PartialRows {
        /// Values of the image.
        values: usize,
        /// Values in a row.
        width: usize,
    },
    /// A token that the model's vocabulary does not have.
    #[error("token {token} is outside a vocabulary of {vocabulary}")]
    UnknownToken {
        /// The token.
        token: i32,
        /// Tokens of the vocabulary.
        vocabulary: usize,
    },
    /// Image embeddings of another width than the model's.
    #[error("image embeddings of width {found}, expected {expected}")]
    ImageWidth {
        /// Values in a row of the image.
        found: usize,
        /// Values in an embedding of the model.
        expected: usize,
    },
    /// An image whose grid has another number of tokens.
    #[error("an image of {tokens} tokens has a grid of {columns}×{rows}")]
    Grid {
        /// Tokens of the image.
        tokens: usize,
        /// Tokens in a row of the grid.
        columns: usize,
        /// Rows of the grid.
        rows: usize,
    },
    /// An image without a grid for a model whose positions have sections, or with one for another
    /// model.
    #[error("an image {} a grid of tokens, which this model's positions {}", if *expected { "without" } else { "with" }, if *expected { "need" } else { "do not have" })]
    Sections {
        /// Whether the model's positions have sections.
        expected: bool,
    },
    /// A position to read that holds no token.
    #[error("position {position} of the prompt is to be read but holds no token")]
    NoToken {
        /// The position.
        position: usize,
    },
    /// A prompt with another number of marked positions than its caller expects.
    #[error("{found} marked positions in the prompt, expected {expected}")]
    Marks {
        /// Positions that were read.
        found: usize,
        /// Positions that the caller expected.
        expected: usize,
    },
}

/// A limit that a request or an option exceeds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LimitError {
    /// A prompt that does not fit the context, even alone.
    #[error("the prompt takes {positions} positions but the context has {context}")]
    PromptTooLong {
        /// Positions of the prompt.
        positions: usize,
        /// Cells of the context.
        context: usize,
    },
    /// A prompt beyond the trained context of a model whose positions are then scaled dynamically,
    /// which llama.cpp does not compute.
    #[error(
        "the prompt takes {positions} positions, more than the trained context of {trained}, beyond which this model's \
         dynamic scaling of positions is not supported"
    )]
    BeyondTrained {
        /// Positions of the prompt.
        positions: usize,
        /// The trained context in positions.
        trained: usize,
    },
    /// A prompt beyond the window within which a model attends, which llama.cpp does not compute.
    #[error(
        "the prompt takes {positions} positions, but this model attends to the last {window} only, which is not supported"
    )]
    BeyondWindow {
        /// Positions of the prompt.
        positions: usize,
        /// The window in positions.
        window: usize,
    },
    /// The context is full and nothing in it can be dropped.
    #[error("the context of {context} cells is full")]
    ContextFull {
        /// Cells of the context.
        context: usize,
    },
    /// A number outside its range.
    #[error("{what} is {value}, expected {min} to {max}")]
    OutOfRange {
        /// What is counted; an option by its name in [`EngineOptions`](super::EngineOptions).
        what: &'static str,
        /// The number.
        value: i64,
        /// The smallest valid number.
        min: i64,
        /// The largest valid number.
        max: i64,
    },
}

impl EngineError {
    /// The error for `what`, counted by `value`, outside `min..=max`.
    #[cfg(feature = "engine")]
    pub(crate) fn out_of_range(what: &'static str, value: i64, min: i64, max: i64) -> Self {
        LimitError::OutOfRange { what, value, min, max }.into()
    }
}

impl From<GgufError> for EngineError {
    fn from(error: GgufError) -> Self {
        Self::Gguf(Arc::new(error))
    }
}

impl From<TokenizeError> for EngineError {
    fn from(error: TokenizeError) -> Self {
        Self::Tokenize(error)
    }
}

impl From<PromptError> for EngineError {
    fn from(error: PromptError) -> Self {
        Self::Prompt(error)
    }
}

impl From<LimitError> for EngineError {
    fn from(error: LimitError) -> Self {
        Self::Limit(error)
    }
}
