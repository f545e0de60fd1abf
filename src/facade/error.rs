//! One error for the whole library.

use crate::data;
use crate::image::ImageError;

/// Any error of the library, with the room's own error inside.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A problem file.
    #[error(transparent)]
    Problem(#[from] data::problem::ProblemError),
    /// A candidates file.
    #[error(transparent)]
    Candidates(#[from] data::candidates::CandidatesError),
    /// A tree file.
    #[error(transparent)]
    Tree(#[from] data::tree::json::TreeError),
    /// Training samples made from trees.
    #[error(transparent)]
    Samples(#[from] data::samples::SamplesError),
    /// An image file.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A GGUF file.
    #[error(transparent)]
    Gguf(#[from] mmprm_quant::gguf::GgufError),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] crate::engine::EngineError),
    /// A vision encoder.
    #[error(transparent)]
    Vision(#[from] crate::vision::VisionError),
    /// Rollouts.
    #[error(transparent)]
    Policy(#[from] crate::policy::PolicyError),
    /// Step scores.
    #[error(transparent)]
    Prm(#[from] crate::prm::PrmError),
    /// A judge model.
    #[error(transparent)]
    Judge(#[from] crate::judge::JudgeError),
    /// A verdict on an answer.
    #[error(transparent)]
    Verify(#[from] crate::judge::VerifyError),
    /// A search.
    #[error(transparent)]
    Search(#[from] crate::search::SearchError),
    /// There is nothing to choose from.
    #[error("there are no candidates to choose from")]
    NoCandidates,
}
