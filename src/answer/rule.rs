//! The choice of a comparison rule: the general one, or that of a benchmark.

use super::benchmark;
use super::comparison::Comparison;
use super::extract::{self, Method};
use super::rules::compare;
use super::spec::AnswerSpec;

/// A comparison rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rule {
    /// [`compare`], this library's own rule.
    #[default]
    General,
    /// `MathVista`'s rule, [`benchmark::mathvista()`].
    MathVista,
    /// MATH-Vision's rule, [`benchmark::mathvision()`].
    MathVision,
}

impl Rule {
    /// Compares `prediction` with the expected answer `gold`.
    ///
    /// The rule of a benchmark always decides. It receives the answer that `prediction` announces,
    /// boxes or tags, otherwise the whole text.
    ///
    /// ```
    /// use mmprm::answer::{AnswerSpec, Outcome, Rule};
    /// let choices = vec!["red".into(), "blue".into()];
    /// let spec = AnswerSpec { choices, ..AnswerSpec::default() };
    /// let comparison = Rule::MathVista.compare("blue", "The answer is (B).", &spec);
    /// assert_eq!(comparison.outcome, Outcome::Equal);
    /// ```
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
