//! Why a problem is dropped.

/// Why a problem is dropped, in the order in which the reasons are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// It has no answer.
    NoAnswer,
    /// It has no image.
    NoImage,
    /// An image is missing, damaged, outside the data root, or too small to show anything.
    UnreadableImage,
    /// The text shows more images than the record has.
    MissingImage,
    /// It asks for a proof.
    Proof,
    /// It asks for a drawing.
    Drawing,
    /// It has many right answers.
    Open,
    /// It asks several numbered questions.
    SeveralQuestions,
    /// Rules cannot tell its answer from others.
    NotVerifiable,
    /// It is in a test set.
    Leak,
    /// It occurred before.
    Duplicate,
    /// The policy has no candidates with verdicts for it.
    NoPassRate,
    /// The policy's pass rate is too low.
    TooHard,
    /// The policy's pass rate is too high.
    TooEasy,
    /// It was not drawn when types were balanced.
    Balance,
}

impl Reason {
    /// Returns its name in files and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoAnswer => "no answer",
            Self::NoImage => "no image",
            Self::UnreadableImage => "unreadable image",
            Self::MissingImage => "missing image",
            Self::Proof => "proof",
            Self::Drawing => "drawing",
            Self::Open => "open end",
            Self::SeveralQuestions => "several questions",
            Self::NotVerifiable => "answer not verifiable",
            Self::Leak => "in a test set",
            Self::Duplicate => "duplicate",
            Self::NoPassRate => "no pass rate",
            Self::TooHard => "too hard",
            Self::TooEasy => "too easy",
            Self::Balance => "balance",
        }
    }
}
