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
    /// Log-probability of the next token in the reference model, for a ratio to it.
    pub reference: f32,
}

impl Target {
    /// A target of weight 1.
    pub fn new(row: usize, value: TargetValue) -> Self {
        Self { row, value, weight: 1.0, reference: 0.0 }
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
    /// Whether its answer is right, for a candidate among those of its problem.
    pub right: Option<bool>,
    /// Beginnings of what is predicted that have a label, shortest first, for an implicit PRM with a reference model.
    pub prefixes: Vec<Prefix>,
}

/// The first targets of a [`Sample`], with a label.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prefix {
    /// Their number.
    pub targets: usize,
    /// The probability, 0 to 1, that what they end in is right.
    pub label: f32,
    /// Weight in the loss.
    pub weight: f32,
}
