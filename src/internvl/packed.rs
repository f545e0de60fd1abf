//! Input of a pass: a packed sequence of tokens and image tiles, and the targets of the loss.

use std::ops::Range;

use super::config::Config;
use crate::nn::attention::Segments;

/// Why a packed sequence does not fit the model, or targets do not fit the sequence.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// Images for a model without a vision tower.
    #[error("images for a text model, which has no vision tower")]
    TextModel,
    /// Tokens and segments differ in length.
    #[error("{tokens} tokens, but segments of {segments} tokens in all")]
    Segments {
        /// Number of tokens.
        tokens: usize,
        /// Number of tokens in all segments.
        segments: usize,
    },
    /// A token is not in the vocabulary.
    #[error("row {row}: token {token}, expected less than the vocabulary size {vocabulary}")]
    Token {
        /// Row of the sequence.
        row: usize,
        /// Token id.
        token: u32,
        /// Vocabulary size.
        vocabulary: usize,
    },
    /// An image exceeds the sequence or overlaps another image.
    #[error("image {image}: rows {start}..{end}, expected rows from {after} on and within {tokens}")]
    Image {
        /// Index of the image.
        image: usize,
        /// Its first row.
        start: usize,
        /// The end of its rows.
        end: usize,
        /// The end of the previous image.
        after: usize,
        /// Length of the sequence.
        tokens: usize,
    },
    /// An image refers to tiles that do not exist.
    #[error("image {image}: tiles {start}..{end}, expected tiles within 0..{tiles}")]
    Tiles {
        /// Index of the image.
        image: usize,
        /// Its first tile.
        start: usize,
        /// The end of its tiles.
        end: usize,
        /// Number of tiles.
        tiles: usize,
    },
    /// Pixel values or features do not fill whole tiles.
    #[error("{found} tile values, expected a multiple of {tile}")]
    TileValues {
        /// Number of values.
        found: usize,
        /// Values per tile.
        tile: usize,
    },
    /// The vision tower is trained, but the sequence has features instead of pixel values.
    #[error("training the vision tower requires pixel values, found precomputed features")]
    FrozenFeatures,
    /// Target rows, targets and weights differ in number.
    #[error("{rows} target rows, {targets} targets and {weights} weights, expected equal numbers")]
    Lengths {
        /// Number of rows.
        rows: usize,
        /// Number of labels or token ids.
        targets: usize,
        /// Number of weights.
        weights: usize,
    },
    /// Target rows exceed the sequence or are not in ascending order.
    #[error("target {target}: row {row}, expected ascending rows within {tokens}")]
    Row {
        /// Index of the target.
        target: usize,
        /// Its row.
        row: usize,
        /// Length of the sequence.
        tokens: usize,
    },
    /// A label is not in 0 to 1, or a weight is not finite.
    #[error("target {target}: label {label} and weight {weight}, expected 0 to 1 and a finite number")]
    Label {
        /// Index of the target.
        target: usize,
        /// Its label.
        label: f32,
        /// Its weight.
        weight: f32,
    },
    /// A candidate of a ranking refers to targets that do not exist.
    #[error("problem {problem}, candidate {candidate}: a target beyond the last, expected targets within {targets}")]
    Candidate {
        /// Index of the problem.
        problem: usize,
        /// Index of the candidate in it.
        candidate: usize,
        /// Number of targets.
        targets: usize,
    },
    /// A compared step refers to a target that does not exist, or has a label or weight that is none.
    #[error(
        "group {group}, compared step {step}: expected a target within {targets}, a label of 0 to 1 and a finite weight of 0 or more"
    )]
    ComparedStep {
        /// Index of the group.
        group: usize,
        /// Index of the step in it.
        step: usize,
        /// Number of targets.
        targets: usize,
    },
    /// A solution of a ratio refers to targets that do not exist, or has a label or a sum that is none.
    #[error(
        "path {path}: expected targets within {targets}, and ascending prefixes of them with a label of 0 to 1 and a finite sum"
    )]
    RatioPath {
        /// Index of the path.
        path: usize,
        /// Number of targets.
        targets: usize,
    },
    /// A target token is not in the vocabulary.
    #[error("target {target}: token {token}, expected less than the vocabulary size {vocabulary}")]
    TargetToken {
        /// Index of the target.
        target: usize,
        /// The token.
        token: u32,
        /// Vocabulary size.
        vocabulary: usize,
    },
}

/// Image tiles of a packed sequence.
#[derive(Debug, Clone, PartialEq)]
pub enum Tiles {
    /// Pixel values `[tiles, 3, side, side]`, normalised.
    Pixels(Vec<f32>),
    /// Output of [`Model::vision_features`](super::Model::vision_features),
    /// `[tiles · tokens per tile, features]`.
    Features(Vec<f32>),
}

impl Tiles {
    /// Returns no tiles, for sequences without images.
    pub fn none() -> Self {
        Self::Features(Vec::new())
    }
}

/// An image in a packed sequence: `tiles.len() · tokens per tile` rows, starting at `first`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSpan {
    /// First row.
    pub first: usize,
    /// Indices of its tiles. Images may share tiles, which are computed once.
    pub tiles: Range<usize>,
}

/// A packed sequence.
#[derive(Debug, Clone)]
pub struct Packed {
    /// Token ids. Those at rows of images are ignored, but have to be within the vocabulary.
    pub tokens: Vec<u32>,
    /// Visibility between tokens; rotary positions follow its paths.
    pub segments: Segments,
    /// Images in ascending order of rows, each within one segment.
    pub images: Vec<ImageSpan>,
    /// Tiles of the images.
    pub tiles: Tiles,
}

impl Packed {
    /// Finds images: runs of `image_token`, which take consecutive tiles as in MM-PRM, one tile per
    /// `tokens_per_tile` tokens. Returns `None` if a run does not consist of whole tiles.
    pub fn images_at(tokens: &[u32], image_token: u32, tokens_per_tile: usize) -> Option<Vec<ImageSpan>> {
        let mut images = Vec::new();
        let (mut row, mut tile) = (0, 0);
        for run in tokens.chunk_by(|a, b| (*a == image_token) == (*b == image_token)) {
            if run[0] == image_token {
                let tiles = run.len() / tokens_per_tile;
                if !run.len().is_multiple_of(tokens_per_tile) {
                    return None;
                }
                images.push(ImageSpan { first: row, tiles: tile..tile + tiles });
                tile += tiles;
            }
            row += run.len();
        }
        Some(images)
    }

    /// Checks that the sequence fits a model.
    ///
    /// # Errors
    /// [`InputError`] for the first mismatch.
    pub fn check(&self, config: &Config) -> Result<(), InputError> {
        let (tokens, segments) = (self.tokens.len(), self.segments.tokens());
        if tokens != segments {
            return Err(InputError::Segments { tokens, segments });
        }
        let vocabulary = config.language.vocabulary;
        if let Some(row) = self.tokens.iter().position(|token| *token as usize >= vocabulary) {
            return Err(InputError::Token { row, token: self.tokens[row], vocabulary });
        }
        let (Tiles::Pixels(values) | Tiles::Features(values)) = &self.tiles;
        let found = values.len();
        let Some(vision) = &config.vision else {
            return if found == 0 && self.images.is_empty() { Ok(()) } else { Err(InputError::TextModel) };
        };
        let tile = match &self.tiles {
            Tiles::Pixels(_) => vision.pixels(),
            Tiles::Features(_) => vision.tokens_per_tile() * vision.features(),
        };
        if !found.is_multiple_of(tile) {
            return Err(InputError::TileValues { found, tile });
        }
        let (mut after, tiles) = (0, found / tile);
        for (image, ImageSpan { first, tiles: range }) in self.images.iter().enumerate() {
            if range.start > range.end || range.end > tiles {
                return Err(InputError::Tiles { image, start: range.start, end: range.end, tiles });
            }
            let (start, end) = (*first, first.saturating_add(range.len() * config.tokens_per_tile()));
            if start < after || end > tokens {
                return Err(InputError::Image { image, start, end, after, tokens });
            }
            after = end;
        }
        Ok(())
    }
}

/// Targets at some rows of the sequence, each with a weight; the loss is the weighted sum.
///
/// The weights define the mean: 1 / n for the n targets of a micro-batch, as in MM-PRM, or 1 / N
/// for the N targets of the whole batch; a multiple of it for a row that several paths of a tree
/// share.
#[derive(Debug, Clone, PartialEq)]
pub enum Targets {
    /// Process rewards: a row's score is the probability of `yes` in a softmax over `yes` and `no`.
    /// Only these two rows of the head are computed.
    Steps {
        /// Rows of the `<prm>` tokens, ascending. A row may occur several times.
        rows: Vec<usize>,
        /// Labels, 0 to 1.
        labels: Vec<f32>,
        /// Weights of the losses, one for each row, or for each group of compared steps.
        weights: Vec<f32>,
        /// Token of a correct step.
        yes: u32,
        /// Token of an incorrect step.
        no: u32,
        /// What becomes of scores and labels.
        loss: StepLoss,
    },
    /// Language modelling: at each row, the next token.
    Tokens {
        /// Predicting rows, ascending (not the rows of the predicted tokens). A row may occur
        /// several times: at the end of a segment it predicts the first token of each child.
        rows: Vec<usize>,
        /// The next tokens.
        ids: Vec<u32>,
        /// Weights of the losses.
        weights: Vec<f32>,
    },
    /// Ranking: the candidates of a problem are scored by their log-probability, and the softmax over these scores should be
    /// on the right ones: −ln Σ right eˢ / Σ all eˢ. A problem whose candidates are all right has a loss of 0; one
    /// without a right candidate has nothing to rank and does not count.
    Ranking {
        /// Predicting rows, ascending, as for `Tokens`.
        rows: Vec<usize>,
        /// The next tokens.
        ids: Vec<u32>,
        /// The candidates of each problem.
        problems: Vec<Vec<RankedCandidate>>,
        /// The weight of each problem.
        weights: Vec<f32>,
    },
    /// Log-probability ratios: the score of a prefix is σ(β · Σ (log-probability − that of a reference model)) over its tokens,
    /// and its loss the cross entropy with its label (implicit PRM, arXiv 2412.01981).
    Ratio {
        /// Predicting rows, ascending, as for `Tokens`.
        rows: Vec<usize>,
        /// The next tokens.
        ids: Vec<u32>,
        /// The solutions.
        paths: Vec<RatioPath>,
        /// β.
        beta: f64,
        /// The weight of each prefix, path by path.
        weights: Vec<f32>,
    },
}

/// A solution of a [`Targets::Ratio`].
#[derive(Debug, Clone, PartialEq)]
pub struct RatioPath {
    /// Indices of its targets, in order; solutions may share some.
    pub targets: Vec<usize>,
    /// The prefixes with a label, shortest first.
    pub prefixes: Vec<RatioPrefix>,
}

/// The first tokens of a [`RatioPath`], with a label.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RatioPrefix {
    /// Number of its targets.
    pub targets: usize,
    /// Their summed log-probability in the reference model.
    pub reference: f64,
    /// Its label, 0 to 1.
    pub label: f32,
}

/// The loss of [`Targets::Steps`].
#[derive(Debug, Clone, PartialEq)]
pub enum StepLoss {
    /// Cross entropy of a step's score with its label.
    CrossEntropy,
    /// Square of the difference of a step's score and its label.
    SquaredError,
    /// The comparative loss of the Process Q-value Model (arXiv 2410.11287, equation 10) on the steps of each solution: a right
    /// step's logit should exceed those of the right steps before it, and by a margin those of all wrong ones.
    QValues {
        /// The margin ζ.
        margin: f32,
        /// The steps of each solution, in order; those with a label of at least 0.5 are right.
        solutions: Vec<Vec<ComparedStep>>,
    },
    /// −ln σ of the difference of logits, over the pairs of steps of a problem with different labels.
    Pairs {
        /// The steps of each problem.
        problems: Vec<Vec<ComparedStep>>,
    },
}

/// A step that is compared with others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ComparedStep {
    /// Index of its target.
    pub target: usize,
    /// Its label, 0 to 1.
    pub label: f32,
    /// Its weight against those that it is compared with; 0 leaves it out.
    pub weight: f32,
}

impl StepLoss {
    /// Returns the groups of steps that are compared with each other; none if each step has a loss of its own.
    pub fn groups(&self) -> &[Vec<ComparedStep>] {
        match self {
            Self::CrossEntropy | Self::SquaredError => &[],
            Self::QValues { solutions: groups, .. } | Self::Pairs { problems: groups } => groups,
        }
    }

    /// Returns whether steps are compared with each other.
    pub fn compares(&self) -> bool {
        matches!(self, Self::QValues { .. } | Self::Pairs { .. })
    }

    /// Returns the number of groups in which there is something to compare.
    pub fn compared(&self) -> usize {
        let weighted =
            |steps: &[ComparedStep]| steps.iter().filter(|step| step.weight > 0.0).copied().collect::<Vec<_>>();
        let counts = |steps: &&Vec<ComparedStep>| match self {
            Self::CrossEntropy | Self::SquaredError => false,
            Self::QValues { .. } => !weighted(steps).is_empty(),
            Self::Pairs { .. } => {
                weighted(steps).windows(2).any(|pair| pair[0].label.total_cmp(&pair[1].label).is_ne())
            }
        };
        self.groups().iter().filter(counts).count()
    }
}

/// A candidate of a [`Targets::Ranking`].
#[derive(Debug, Clone, PartialEq)]
pub struct RankedCandidate {
    /// Indices of its targets; candidates may share some.
    pub targets: Vec<usize>,
    /// Whether its answer is right.
    pub right: bool,
}

impl Targets {
    /// Returns the rows.
    pub fn rows(&self) -> &[usize] {
        match self {
            Self::Steps { rows, .. }
            | Self::Tokens { rows, .. }
            | Self::Ranking { rows, .. }
            | Self::Ratio { rows, .. } => rows,
        }
    }

    /// Returns the weights: one for each target, for each group of compared steps, for each problem of a ranking, or for
    /// each prefix of a ratio.
    pub fn weights(&self) -> &[f32] {
        match self {
            Self::Steps { weights, .. }
            | Self::Tokens { weights, .. }
            | Self::Ranking { weights, .. }
            | Self::Ratio { weights, .. } => weights,
        }
    }

    /// Checks that the targets fit a sequence of `tokens` tokens.
    ///
    /// # Errors
    /// [`InputError`] for the first mismatch.
    pub fn check(&self, tokens: usize, config: &Config) -> Result<(), InputError> {
        let (rows, weights, vocabulary) = (self.rows(), self.weights(), config.language.vocabulary);
        let (targets, weighted) = match self {
            Self::Steps { labels, loss, .. } if loss.compares() => (labels.len(), loss.groups().len()),
            Self::Steps { labels, .. } => (labels.len(), rows.len()),
            Self::Tokens { ids, .. } => (ids.len(), rows.len()),
            Self::Ranking { ids, problems, .. } => (ids.len(), problems.len()),
            Self::Ratio { ids, paths, .. } => (ids.len(), paths.iter().map(|path| path.prefixes.len()).sum()),
        };
        if rows.len() != targets || weighted != weights.len() {
            return Err(InputError::Lengths { rows: rows.len(), targets, weights: weights.len() });
        }
        let unordered = rows.windows(2).position(|pair| pair[1] < pair[0]).map(|place| place + 1);
        if let Some(target) = unordered.or_else(|| rows.iter().position(|row| *row >= tokens)) {
            return Err(InputError::Row { target, row: rows[target], tokens });
        }
        let labels = if let Self::Steps { labels, .. } = self { labels.as_slice() } else { &[] };
        let (label, weight) = (
            |index: usize| labels.get(index).copied().unwrap_or_default(),
            |index: usize| weights.get(index).copied().unwrap_or_default(),
        );
        let fits = |index: &usize| weight(*index).is_finite() && (0.0..=1.0).contains(&label(*index));
        if let Some(target) = (0..weights.len().max(labels.len())).find(|index| !fits(index)) {
            return Err(InputError::Label { target, label: label(target), weight: weight(target) });
        }
        if let Self::Steps { loss, .. } = self {
            for (group, steps) in loss.groups().iter().enumerate() {
                let fits = |step: &ComparedStep| {
                    let weight = step.weight.is_finite() && step.weight >= 0.0;
                    step.target < targets && weight && (0.0..=1.0).contains(&step.label)
                };
                if let Some(step) = steps.iter().position(|step| !fits(step)) {
                    return Err(InputError::ComparedStep { group, step, targets });
                }
            }
        }
        if let Self::Ranking { problems, .. } = self {
            let fits = |it: &RankedCandidate| it.targets.iter().all(|target| *target < targets);
            for (problem, candidates) in problems.iter().enumerate() {
                if let Some(candidate) = candidates.iter().position(|candidate| !fits(candidate)) {
                    return Err(InputError::Candidate { problem, candidate, targets });
                }
            }
        }
        if let Self::Ratio { paths, beta, .. } = self {
            for (path, RatioPath { targets: own, prefixes }) in paths.iter().enumerate() {
                let ascends = prefixes.windows(2).all(|pair| pair[0].targets <= pair[1].targets);
                let fits = |prefix: &RatioPrefix| {
                    let sum = prefix.reference.is_finite() && beta.is_finite();
                    sum && prefix.targets <= own.len() && (0.0..=1.0).contains(&prefix.label)
                };
                if !(ascends && prefixes.iter().all(fits) && own.iter().all(|target| *target < targets)) {
                    return Err(InputError::RatioPath { path, targets });
                }
            }
        }
        let ids = match self {
            Self::Steps { yes, no, .. } => &[*yes, *no],
            Self::Tokens { ids, .. } | Self::Ranking { ids, .. } | Self::Ratio { ids, .. } => ids.as_slice(),
        };
        match ids.iter().position(|id| *id as usize >= vocabulary) {
            Some(target) => Err(InputError::TargetToken { target, token: ids[target], vocabulary }),
            None => Ok(()),
        }
    }
}
