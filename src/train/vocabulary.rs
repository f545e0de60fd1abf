//! The tokenizer of a checkpoint directory, run by llama.cpp, so that training and scoring use the same token ids.
//!
//! ```no_run
//! use std::path::Path;
//! use mmprm::train::data::Tokenizer;
//! use mmprm::train::vocabulary::Vocabulary;
//! let vocabulary = Vocabulary::open(Path::new("InternVL2_5-8B")).unwrap();
//! println!("<prm> is {:?}", vocabulary.token("<prm>"));
//! ```

use std::path::Path;
use std::sync::Arc;

use mmprm_quant::convert::{ConvertError, ConvertOptions, WeightType, plan};
use mmprm_quant::gguf::{GgufError, GgufWriter};

use super::data::{Tokenizer, TokenizerError};
use crate::engine::{EngineError, Model, ModelOptions};
use crate::prompt::Run;

/// An error of opening a vocabulary.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VocabularyError {
    /// The checkpoint's configuration or tokenizer cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] ConvertError),
    /// The vocabulary cannot be written as GGUF.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// A temporary directory cannot be made.
    #[error("cannot make a temporary directory: {0}")]
    Temporary(#[from] std::io::Error),
    /// llama.cpp cannot load it.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// A checkpoint's vocabulary.
#[derive(Debug)]
pub struct Vocabulary(Arc<Model>);

impl Vocabulary {
    /// Opens the vocabulary of a Hugging Face directory.
    ///
    /// # Errors
    /// [`VocabularyError`].
    pub fn open(directory: &Path) -> Result<Self, VocabularyError> {
        let folder = tempfile::tempdir()?;
        let plan = plan(directory, folder.path(), &ConvertOptions::new(WeightType::F16))?;
        // The metadata hold the whole vocabulary; no tensors are written.
        let path = folder.path().join("vocabulary.gguf");
        GgufWriter::create(&path, &plan.files[0].metadata, &[])?.finish()?;
        let options = ModelOptions { vocab_only: true, ..ModelOptions::default() };
        Ok(Self(Model::load(&path, options)?))
    }
}

impl Tokenizer for Vocabulary {
    fn encode(&self, text: &Run, first: bool) -> Result<Vec<u32>, TokenizerError> {
        let tokens = self.0.tokenize_run(text, first)?;
        Ok(tokens.into_iter().map(|token| token as u32).collect())
    }

    fn token(&self, text: &str) -> Option<u32> {
        self.0.token(text).map(|token| token as u32)
    }
}
