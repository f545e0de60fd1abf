//! Samples as token ids with targets.

/// The value to learn at a token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TargetValue {
    /// A soft label, 0 to 1: the probability of `Yes` against `No`.
    Label(f32),
    /// The id of the next token.
    Token(u32),
}

/// A value to learn, its row and its weight.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Target {
    /// Index of the token in the sample.
    pub row: usize,
    /// The value to learn there.
    pub value: TargetValue,
    /// Weight in the loss, 1 by default.
    pub weight: f32,
}

impl Target {
    /// A target of weight 1.
    pub fn new(row: usize, value: TargetValue) -> Self {
        Self { row, value, weight: 1.0 }
    }
}

/// The place of an image in a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Index of its first context token.
    pub start: usize,
    /// Index into the data set's images.
    pub image: usize,
}

/// One training text.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The record's id as JSON.
    pub id: String,
    /// Hash of question and images: equal for samples of one problem.
    pub problem: u64,
    /// Token ids.
    pub tokens: Vec<u32>,
    /// Images in order.
    pub images: Vec<Placed>,
    /// Targets in ascending order of rows.
    pub targets: Vec<Target>,
    /// Whether its answer is right, for a candidate that is ranked among those of its problem.
    pub right: Option<bool>,
}
