//! Exit codes, and which error means which.

use std::io;
use std::process::ExitCode;

use mmprm::data::candidates::CandidatesError;
use mmprm::data::problem::ProblemError;
use mmprm::data::samples::SamplesError;
use mmprm::data::tree::json::TreeError;
use mmprm::engine::EngineError;
use mmprm::eval::triples::TriplesError;
use mmprm::image::ImageError;
use mmprm::vision::VisionError;
use mmprm_quant::convert::ConvertError;
use mmprm_quant::gguf::GgufError;
use mmprm_quant::hf::HfError;
use mmprm_quant::quantize::QuantizeError;
use mmprm_quant::synth::SynthError;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// All done.
    Done,
    /// Something failed.
    Failed,
    /// The flags do not make sense (clap ends the process itself for those it can see).
    Usage,
    /// An input file is missing or not what was expected.
    BadInput,
    /// Stopped by the user; the same command continues.
    Interrupted,
    /// The reader of our output has gone away: an end, not an error.
    BrokenPipe,
}

/// A mistake in how the command was called.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// Input data that cannot be used, found by a command itself.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadInput(pub String);

impl Exit {
    /// The code the process ends with.
    pub fn code(self) -> u8 {
        match self {
            Self::Done | Self::BrokenPipe => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::BadInput => 3,
            Self::Interrupted => 4,
        }
    }

    /// The exit that an error stands for.
    pub fn of(error: &anyhow::Error) -> Self {
        error.chain().find_map(Self::of_cause).unwrap_or(Self::Failed)
    }

    fn of_cause(cause: &(dyn std::error::Error + 'static)) -> Option<Self> {
        if let Some(error) = cause.downcast_ref::<io::Error>() {
            return (error.kind() == io::ErrorKind::BrokenPipe).then_some(Self::BrokenPipe);
        }
        if let Some(error) = cause.downcast_ref::<EngineError>() {
            return Self::of_engine(error);
        }
        match cause.downcast_ref::<VisionError>() {
            Some(VisionError::Engine(error)) => return Self::of_engine(error),
            Some(VisionError::Native(_)) => return Some(Self::BadInput),
            _ => {}
        }
        if cause.is::<Usage>() {
            return Some(Self::Usage);
        }
        if let Some(error) = cause.downcast_ref::<GgufError>() {
            return Some(Self::of_gguf(error));
        }
        match (cause.downcast_ref::<ConvertError>(), cause.downcast_ref::<QuantizeError>()) {
            (Some(ConvertError::Gguf(error)), _) | (_, Some(QuantizeError::Gguf(error))) => {
                return Some(Self::of_gguf(error));
            }
            (Some(_), _) | (_, Some(_)) => return Some(Self::BadInput),
            (None, None) => {}
        }
        if let Some(SynthError::Gguf(error)) = cause.downcast_ref::<SynthError>() {
            return Some(Self::of_gguf(error));
        }
        let bad = cause.is::<BadInput>()
            || cause.is::<HfError>()
            || cause.is::<SynthError>()
            || cause.is::<ImageError>()
            || cause.is::<ProblemError>()
            || cause.is::<CandidatesError>()
            || cause.is::<TriplesError>()
            || cause.is::<TreeError>()
            || matches!(cause.downcast_ref(), Some(SamplesError::Tree(_) | SamplesError::List { .. }));
        bad.then_some(Self::BadInput)
    }

    fn of_engine(error: &EngineError) -> Option<Self> {
        match error {
            EngineError::Gguf(_) | EngineError::Load { .. } => Some(Self::BadInput),
            EngineError::Cancelled => Some(Self::Interrupted),
            _ => None,
        }
    }

    /// A file that cannot be read is bad input; one that cannot be written is a failure.
    fn of_gguf(error: &GgufError) -> Self {
        match error {
            GgufError::Write { .. } | GgufError::Unwritable { .. } => Self::Failed,
            _ => Self::BadInput,
        }
    }
}

/// An error and its causes as one sentence on one line. A cause that the sentence tells already is left out: most errors of
/// the library name theirs.
pub fn sentence(error: &anyhow::Error) -> String {
    let mut sentence = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if sentence.is_empty() {
            sentence = cause;
        } else if !sentence.contains(&cause) {
            sentence = format!("{sentence}: {cause}");
        }
    }
    sentence.split(['\r', '\n']).map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
