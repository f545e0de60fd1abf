//! A packed sequence: what passes through the model at once.

use crate::internvl::{RankedCandidate, RatioPath, StepLoss};
use crate::train::data::Placed;

/// The loss of labelled steps; [`StepLoss`] describes each.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LabelLoss {
    /// [`StepLoss::CrossEntropy`].
    CrossEntropy,
    /// [`StepLoss::SquaredError`].
    SquaredError,
    /// [`StepLoss::QValues`] of this margin; each sample is a solution.
    QValues {
        /// The margin.
        margin: f32,
    },
    /// [`StepLoss::Pairs`]. A step that several samples share counts once, with the mean of their labels and weights.
    Pairs,
}

impl LabelLoss {
    /// Returns the loss of no steps.
    pub(super) fn without_steps(self) -> StepLoss {
        match self {
            Self::CrossEntropy => StepLoss::CrossEntropy,
            Self::SquaredError => StepLoss::SquaredError,
            Self::QValues { margin } => StepLoss::QValues { margin, solutions: Vec::new() },
            Self::Pairs => StepLoss::Pairs { problems: Vec::new() },
        }
    }
}

/// The targets of a [`Sequence`], one for each of its rows.
#[derive(Debug, Clone, PartialEq)]
pub enum SequenceTargets {
    /// Labels of steps, 0 to 1, and their loss.
    Labels(Vec<f32>, StepLoss),
    /// Ids of next tokens.
    Tokens(Vec<u32>),
    /// Ids of next tokens, and the candidates of each problem that they are the tokens of.
    Ranking(Vec<u32>, Vec<Vec<RankedCandidate>>),
    /// Ids of next tokens, and the solutions that they are the tokens of, problem by problem.
    Ratio(Vec<u32>, Vec<Vec<WeightedPath>>),
}

/// A solution whose log-probability ratio is trained.
#[derive(Debug, Clone, PartialEq)]
pub struct WeightedPath {
    /// Its targets and prefixes.
    pub path: RatioPath,
    /// The weight of each prefix.
    pub weights: Vec<f32>,
}

/// A packed sequence.
#[derive(Debug, Clone, PartialEq)]
pub struct Sequence {
    /// Token ids.
    pub tokens: Vec<u32>,
    /// Length and parent of each segment, in order (see [`Segments`](crate::nn::attention::Segments)).
    pub segments: Vec<(usize, Option<usize>)>,
    /// Images in order of their places.
    pub images: Vec<Placed>,
    /// Rows with targets, ascending; a row with several next tokens occurs several times.
    pub rows: Vec<usize>,
    /// The target of each row.
    pub targets: SequenceTargets,
    /// The weight of each row, summed over the samples that share it.
    pub weights: Vec<f64>,
    /// Number of samples.
    pub samples: usize,
    /// Tokens of those samples before sharing.
    pub effective_tokens: usize,
}

impl Sequence {
    pub(super) fn new(targets: SequenceTargets) -> Self {
        Self {
            tokens: Vec::new(),
            segments: Vec::new(),
            images: Vec::new(),
            rows: Vec::new(),
            targets,
            weights: Vec::new(),
            samples: 0,
            effective_tokens: 0,
        }
    }

    /// Total weight of the targets; for steps that are compared the number of groups with something to compare, for a ranking the
    /// number of problems that have right candidates and others.
    pub fn weight(&self) -> f64 {
        match &self.targets {
            SequenceTargets::Labels(_, loss) if loss.compares() => loss.compared() as f64,
            SequenceTargets::Ratio(_, problems) => {
                problems.iter().flatten().flat_map(|solution| &solution.weights).map(|weight| f64::from(*weight)).sum()
            }
            SequenceTargets::Ranking(_, problems) => problems.iter().filter(|problem| is_mixed(problem)).count() as f64,
            _ => self.weights.iter().sum(),
        }
    }
}

/// Whether candidates can be ranked: some are right and some are not.
fn is_mixed(candidates: &[RankedCandidate]) -> bool {
    let right = candidates.iter().filter(|candidate| candidate.right).count();
    right > 0 && right < candidates.len()
}
