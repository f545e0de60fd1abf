//! Errors of making prompts.

use std::sync::Arc;

use crate::engine::{EngineError, PromptError, TokenizeError};
use crate::image::ImageError;
use crate::prompt::FormError;
use crate::vision::VisionError;

/// Why a prompt could not be made.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// An image is missing, malformed, too large, or outside the data root.
    #[error(transparent)]
    Image(Arc<ImageError>),
    /// There is an image, but the model was loaded without a vision projector.
    #[error("the problem has an image but the model was loaded without its vision projector")]
    NoVision,
    /// The text refers to an image that the problem does not have.
    #[error("the text refers to image {number} but there are {count}")]
    NoImage {
        /// The number of the image, from 1.
        number: usize,
        /// The number of images.
        count: usize,
    },
    /// The problem cannot be written in the PRM's form.
    #[error(transparent)]
    Form(#[from] FormError),
    /// A token reaches across a place where a score is read.
    #[error(
        "the place where score {number} is read is inside a token; the PRM form needs a mark there, or `apart = true`"
    )]
    Spanned {
        /// The number of the score, from 1.
        number: usize,
    },
    /// The vocabulary has no beginning-of-sequence token, and the PRM's form begins with one.
    #[error("the PRM form begins with {{bos}}, but the model names no beginning-of-sequence token")]
    NoBos,
    /// The engine refused the text or the prompt.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The vision encoder failed.
    #[error(transparent)]
    Vision(#[from] VisionError),
}

impl From<ImageError> for EncodeError {
    fn from(error: ImageError) -> Self {
        Self::Image(Arc::new(error))
    }
}

impl From<TokenizeError> for EncodeError {
    fn from(error: TokenizeError) -> Self {
        Self::Engine(error.into())
    }
}

impl From<PromptError> for EncodeError {
    fn from(error: PromptError) -> Self {
        Self::Engine(error.into())
    }
}
