//! The spec of the expected answer, seen from one of its parts.

use crate::answer::math::Tolerance;
use crate::answer::spec::{AnswerSpec, Precision};

/// The tolerance and the unit of one part of an answer.
#[derive(Debug, Clone, Copy)]
pub struct PartSpec<'a> {
    spec: &'a AnswerSpec,
    part: usize,
}

impl<'a> PartSpec<'a> {
    pub fn of(spec: &'a AnswerSpec) -> Self {
        Self { spec, part: 0 }
    }

    /// Returns the spec of the part with this index.
    pub fn part(self, part: usize) -> Self {
        Self { part, ..self }
    }

    pub fn tolerance(self) -> Tolerance {
        match &self.spec.precision {
            None => Tolerance::Exact,
            Some(Precision::Decimals(places)) => Tolerance::Decimals(*places),
            Some(Precision::Within(distances)) => distances
                .get(self.part)
                .or(distances.last())
                .map_or(Tolerance::Exact, |limit| Tolerance::Within(*limit)),
        }
    }

    pub fn strict_sets(self) -> bool {
        self.spec.strict_sets
    }

    pub fn unit(self) -> Option<&'a str> {
        self.spec.unit.as_deref()
    }
}
