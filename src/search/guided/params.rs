//! Parameters of a guided search.

use std::fmt;
use std::str::FromStr;

/// How solutions are steered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Method {
    /// Not at all: whole solutions.
    #[default]
    BestOfN,
    /// Beam search: after each step the best of all unfinished solutions go on.
    Beam,
    /// Diverse verifier tree search: independent beams, of each of which the best one goes on.
    Dvts,
    /// Lookahead search: beam search in which a solution's value is that of a continuation some steps further, which is then thrown
    /// away.
    Lookahead,
}

impl Method {
    /// All methods.
    pub const ALL: [Self; 4] = [Self::BestOfN, Self::Beam, Self::Dvts, Self::Lookahead];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::BestOfN => "bon",
            Self::Beam => "beam",
            Self::Dvts => "dvts",
            Self::Lookahead => "lookahead",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is none of a [`Method`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected bon, beam, dvts or lookahead")]
pub struct UnknownMethod;

impl FromStr for Method {
    type Err = UnknownMethod;

    fn from_str(name: &str) -> Result<Self, UnknownMethod> {
        Self::ALL.into_iter().find(|method| method.name() == name).ok_or(UnknownMethod)
    }
}

/// Parameters of a guided search.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GuidedParams {
    /// How solutions are steered.
    pub method: Method,
    /// Solutions that grow at once, and finished ones at the end, N.
    pub candidates: usize,
    /// Continuations sampled of each solution that goes on, M: with beam search N/M of all go on, with DVTS one of each M. Rounded
    /// down to at most N.
    pub width: usize,
    /// Steps after which a solution counts as without an answer.
    pub max_steps: usize,
    /// Steps that [`Method::Lookahead`] looks ahead.
    pub lookahead: usize,
}

impl Default for GuidedParams {
    /// 16 candidates, width 4, 40 steps, one step of lookahead.
    fn default() -> Self {
        Self { method: Method::default(), candidates: 16, width: 4, max_steps: 40, lookahead: 1 }
    }
}
