//! The forms of step-labelled solutions, and how each is recognised.

use std::fmt;
use std::str::FromStr;

use serde_json::{Map, Value};

/// A form of step-labelled solutions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepForm {
    /// MM-PRM's training samples, as `mmprm samples` writes them.
    Samples,
    /// This project's solutions: `solutions_splits` and `step_labels`.
    Solutions,
    /// PRM800K: ratings 1, 0 and -1 of completions (openai/prm800k, README.md).
    Prm800k,
    /// Math-Shepherd: steps end in ки in `input`, in + or - in `label` (peiyi9979/Math-Shepherd; huggingface/trl,
    /// `examples/datasets/math_shepherd.py`, reads it).
    MathShepherd,
    /// TRL's stepwise supervision: `prompt`, `completions`, `labels` (huggingface/trl, `docs/source/dataset_formats.md`).
    Trl,
    /// `ProcessBench`: `label` is the index of the first wrong step, -1 for none (Qwen/ProcessBench).
    ProcessBench,
    /// `VisualPRM400K`'s raw annotations: `steps_with_score` (OpenGVLab/InternVL,
    /// `internvl_chat/tools/reasoning_data_pipeline/visualprm_data_pieline.py`, spelled so).
    VisualPrm,
    /// `OpenR`'s `OmegaPRM` annotations: prefixes of solutions with MC values (openreasoner/openr, `data/`).
    OmegaPrm,
}

impl StepForm {
    /// All forms, those with more specific fields first.
    pub const ALL: [Self; 8] = [
        Self::Samples,
        Self::Solutions,
        Self::VisualPrm,
        Self::OmegaPrm,
        Self::MathShepherd,
        Self::Trl,
        Self::ProcessBench,
        Self::Prm800k,
    ];

    /// Returns the form that a record has, by its fields.
    pub(super) fn of(record: &Map<String, Value>) -> Option<Self> {
        Self::ALL.into_iter().find(|form| form.fields().iter().all(|field| record.contains_key(*field)))
    }

    /// The fields by which the form is recognised.
    pub(super) fn fields(self) -> &'static [&'static str] {
        match self {
            Self::Samples => &["conversations"],
            Self::Solutions => &["question", "solutions_splits", "step_labels"],
            Self::VisualPrm => &["question", "steps_with_score"],
            Self::OmegaPrm => &["question", "reasoning_steps"],
            Self::MathShepherd => &["input", "label"],
            Self::Trl => &["prompt", "completions", "labels"],
            Self::ProcessBench => &["problem", "steps", "label"],
            Self::Prm800k => &["question", "label"],
        }
    }

    /// Whether a label may be any number from 0 to 1.
    pub(super) fn is_soft(self) -> bool {
        matches!(self, Self::Samples | Self::VisualPrm | Self::OmegaPrm)
    }

    /// Whether solutions have images.
    pub(super) fn has_images(self) -> bool {
        matches!(self, Self::Samples | Self::Solutions | Self::VisualPrm)
    }
}

impl fmt::Display for StepForm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Samples => "mmprm",
            Self::Solutions => "solutions",
            Self::Prm800k => "prm800k",
            Self::MathShepherd => "math-shepherd",
            Self::Trl => "trl",
            Self::ProcessBench => "processbench",
            Self::VisualPrm => "visualprm",
            Self::OmegaPrm => "omegaprm",
        })
    }
}

/// A text that is not the name of a form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected one of {}", StepForm::ALL.map(|form| form.to_string()).join(", "))]
pub struct UnknownForm;

impl FromStr for StepForm {
    type Err = UnknownForm;

    fn from_str(text: &str) -> Result<Self, UnknownForm> {
        Self::ALL.into_iter().find(|form| form.to_string() == text).ok_or(UnknownForm)
    }
}
