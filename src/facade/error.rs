//! One error for the whole library, and what a caller can do about it.

use std::error::Error as StdError;

use mmprm_quant::convert::ConvertError;
use mmprm_quant::gguf::GgufError;
use mmprm_quant::hf::HfError;
use mmprm_quant::quantize::QuantizeError;
use mmprm_quant::synth::SynthError;

use crate::data::candidates::CandidatesError;
use crate::data::problem::ProblemError;
use crate::data::records::RecordsError;
use crate::data::samples::SamplesError;
use crate::data::tree::json::TreeError;
use crate::engine::EngineError;
use crate::eval::triples::TriplesError;
use crate::image::ImageError;
use crate::judge::{JudgeError, VerifyError};
use crate::policy::PolicyError;
use crate::prm::PrmError;
use crate::report::input::InputError;
use crate::search::SearchError;
use crate::util::io::FileError;
use crate::vision::VisionError;

/// Any error of the library, with the room's own error inside.
///
/// ```
/// use mmprm::{Error, ErrorKind};
/// let error = Error::from(mmprm::data::problem::Problems::load("no-such-file.json".as_ref(), None).unwrap_err());
/// assert_eq!(error.kind(), ErrorKind::Input);
/// assert!(error.to_string().contains("no-such-file.json"));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A problem file.
    #[error(transparent)]
    Problem(#[from] ProblemError),
    /// A candidates file.
    #[error(transparent)]
    Candidates(#[from] CandidatesError),
    /// A tree file.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// Training samples made from trees.
    #[error(transparent)]
    Samples(#[from] SamplesError),
    /// An image file.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A GGUF file.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A vision encoder.
    #[error(transparent)]
    Vision(#[from] VisionError),
    /// Rollouts.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// Step scores.
    #[error(transparent)]
    Prm(#[from] PrmError),
    /// A judge model.
    #[error(transparent)]
    Judge(#[from] JudgeError),
    /// A verdict on an answer.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// A search.
    #[error(transparent)]
    Search(#[from] SearchError),
    /// There is nothing to choose from.
    #[error("there are no candidates to choose from")]
    NoCandidates,
}

/// What a caller can do about an error. The exit codes of the `mmprm` command follow from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Something failed: a full disk, an engine, a server. The same call may succeed later.
    Failed,
    /// A file, a problem or an argument is missing or invalid; it has to be changed first.
    Input,
    /// The caller cancelled the work.
    Cancelled,
}

impl Error {
    /// Returns what a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        let error: &(dyn StdError + 'static) = match self {
            Self::Problem(error) => error,
            Self::Candidates(error) => error,
            Self::Tree(error) => error,
            Self::Samples(error) => error,
            Self::Image(error) => error,
            Self::Gguf(error) => error,
            Self::Engine(error) => error,
            Self::Vision(error) => error,
            Self::Policy(error) => error,
            Self::Prm(error) => error,
            Self::Judge(error) => error,
            Self::Verify(error) => error,
            Self::Search(error) => error,
            Self::NoCandidates => return ErrorKind::Input,
        };
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(kind) = ErrorKind::of(error) {
                return kind;
            }
            cause = error.source();
        }
        ErrorKind::Failed
    }
}

impl ErrorKind {
    /// Returns the kind of one of the library's error types, without looking at its sources; `None` for other types and for
    /// errors that only pass on another one.
    pub fn of(error: &(dyn StdError + 'static)) -> Option<Self> {
        if let Some(error) = error.downcast_ref::<Error>() {
            return Some(error.kind());
        }
        if let Some(error) = error.downcast_ref::<EngineError>() {
            return of_engine(error);
        }
        match error.downcast_ref::<VisionError>() {
            Some(VisionError::Engine(error)) => return of_engine(error),
            Some(VisionError::Native(_)) => return Some(Self::Input),
            _ => {}
        }
        if let Some(error) = error.downcast_ref::<GgufError>() {
            return Some(of_gguf(error));
        }
        match (error.downcast_ref::<ConvertError>(), error.downcast_ref::<QuantizeError>()) {
            (Some(ConvertError::Gguf(error)), _) | (_, Some(QuantizeError::Gguf(error))) => {
                return Some(of_gguf(error));
            }
            (Some(_), _) | (_, Some(_)) => return Some(Self::Input),
            (None, None) => {}
        }
        if let Some(SynthError::Gguf(error)) = error.downcast_ref::<SynthError>() {
            return Some(of_gguf(error));
        }
        let is_cancelled = matches!(error.downcast_ref(), Some(PolicyError::Cancelled))
            || matches!(error.downcast_ref(), Some(PrmError::Cancelled))
            || matches!(error.downcast_ref(), Some(JudgeError::Cancelled));
        if is_cancelled {
            return Some(Self::Cancelled);
        }
        let is_input = matches!(error.downcast_ref(), Some(FileError::Read { .. } | FileError::TooLarge { .. }))
            || error.is::<HfError>()
            || error.is::<SynthError>()
            || error.is::<ImageError>()
            || error.is::<ProblemError>()
            || error.is::<CandidatesError>()
            || error.is::<RecordsError>()
            || error.is::<TriplesError>()
            || error.is::<TreeError>()
            || matches!(error.downcast_ref(), Some(SamplesError::Tree(_) | SamplesError::List { .. }))
            || error.is::<InputError>()
            || matches!(error.downcast_ref(), Some(PolicyError::Problem(_)))
            || matches!(error.downcast_ref(), Some(PrmError::Problem(_)))
            || matches!(error.downcast_ref(), Some(VerifyError::NoAnswer { .. }));
        is_input.then_some(Self::Input)
    }
}

fn of_engine(error: &EngineError) -> Option<ErrorKind> {
    match error {
        EngineError::Gguf(_)
        | EngineError::Load { .. }
        | EngineError::NotAPair { .. }
        | EngineError::OtherPair { .. }
        | EngineError::Context { .. } => Some(ErrorKind::Input),
        EngineError::Cancelled => Some(ErrorKind::Cancelled),
        _ => None,
    }
}

/// Errors on reading are bad input, errors on writing are failures.
fn of_gguf(error: &GgufError) -> ErrorKind {
    match error {
        GgufError::Write { .. } | GgufError::Unwritable { .. } => ErrorKind::Failed,
        _ => ErrorKind::Input,
    }
}
