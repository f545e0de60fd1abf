//! The comparison rule by name: the general one, or that of a benchmark.

use super::benchmark;
use super::comparison::Comparison;
use super::extract::{self, Method};
use super::rules::compare;
use super::spec::AnswerSpec;

/// Whose rule decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rule {
    /// [`compare`]: our own.
    #[default]
    General,
    /// [`benchmark::mathvista`].
    MathVista,
    /// [`benchmark::mathvision`].
    MathVision,
}

impl Rule {
    /// Compares `prediction` with the expected answer `gold` by this rule. A benchmark's rule is never undecided; it is given what
    /// a text announces, boxes or tags as its answer, and else the text as it is.
    pub fn compare(self, gold: &str, prediction: &str, spec: &AnswerSpec) -> Comparison {
        if self == Self::General {
            return compare(gold, prediction, spec);
        }
        let extraction = extract::extract_for(prediction, spec);
        let stated = matches!(extraction.method, Method::Announced | Method::Boxed | Method::Tagged);
        let prediction = extraction.parts.first().filter(|_| stated).map_or(prediction, |part| part);
        let right = if self == Self::MathVista {
            benchmark::mathvista(gold, prediction, spec)
        } else {
            benchmark::mathvision(gold, prediction, &spec.choices)
        };
        if right {
            Comparison::equal("by the benchmark's rule")
        } else {
            Comparison::different("by the benchmark's rule")
        }
    }
}
