//! What goes through the model at once: tokens in segments, where images are in them, and what is to be learnt.

use std::ops::Range;

use super::config::Config;
use crate::nn::attention::Segments;

/// A packed sequence that does not fit the model, or targets that do not fit the sequence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// Tokens and segments are not of one length.
    #[error("{tokens} tokens, but the segments have {segments}")]
    Segments {
        /// How many tokens there are.
        tokens: usize,
        /// How many the segments have.
        segments: usize,
    },
    /// A token has no embedding.
    #[error("token {row} of the sequence is {token}, expected less than the vocabulary's {vocabulary}")]
    Token {
        /// Where.
        row: usize,
        /// Its id.
        token: u32,
        /// Rows of the embedding matrix.
        vocabulary: usize,
    },
    /// An image does not lie in the sequence, or overlaps another.
    #[error("image {image} takes tokens {start}..{end}, expected them after {after} and within {tokens}")]
    Image {
        /// Which, in the order of the sequence.
        image: usize,
        /// Its first token.
        start: usize,
        /// The end of its tokens.
        end: usize,
        /// The end of the image before.
        after: usize,
        /// Tokens of the sequence.
        tokens: usize,
    },
    /// An image's tiles are not among those given.
    #[error("image {image} has tiles {start}..{end}, expected them within {tiles}")]
    Tiles {
        /// Which, in the order of the sequence.
        image: usize,
        /// Its first tile.
        start: usize,
        /// The end of its tiles.
        end: usize,
        /// Tiles that there are.
        tiles: usize,
    },
    /// Pixel values or features are not those of whole tiles.
    #[error("{found} values of tiles, expected a multiple of {tile}")]
    TileValues {
        /// How many values there are.
        found: usize,
        /// Values of a tile.
        tile: usize,
    },
    /// The vision tower is to be trained, but its output was given, not pixel values.
    #[error("the vision tower can be trained only from pixel values, not from features that were computed before")]
    FrozenFeatures,
    /// The numbers of target rows, of what they are to become and of weights differ.
    #[error("{rows} target rows with {targets} targets and {weights} weights")]
    Lengths {
        /// Rows.
        rows: usize,
        /// Labels or token ids.
        targets: usize,
        /// Weights.
        weights: usize,
    },
    /// A target is at a row that the sequence does not have, or not after the row of the target before.
    #[error("target {target} is at row {row}, expected rows in ascending order within {tokens}")]
    Row {
        /// Which target.
        target: usize,
        /// Its row.
        row: usize,
        /// Tokens of the sequence.
        tokens: usize,
    },
    /// A label is not a probability, or a weight is not a finite number.
    #[error("target {target}: a label of {label} with a weight of {weight}, expected 0 to 1 and a finite number")]
    Label {
        /// Which target.
        target: usize,
        /// Its label.
        label: String,
        /// Its weight.
        weight: String,
    },
    /// A target token is not in the vocabulary.
    #[error("target {target} is token {token}, expected less than the vocabulary's {vocabulary}")]
    TargetToken {
        /// Which target.
        target: usize,
        /// The token.
        token: u32,
        /// Rows of the head.
        vocabulary: usize,
    },
}

/// Tiles of all images of a packed sequence.
#[derive(Debug, Clone, PartialEq)]
pub enum Tiles {
    /// Pixel values `[tiles, 3, side, side]`, normalised.
    Pixels(Vec<f32>),
    /// What [`Model::vision_features`](super::Model::vision_features) made of them:
    /// `[tiles · tokens per tile, features]`.
    Features(Vec<f32>),
}

impl Tiles {
    /// No tiles, for text.
    pub fn none() -> Self {
        Self::Features(Vec::new())
    }
}

/// Where an image stands in a packed sequence: `tiles.len() · tokens per tile` tokens from `first` on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSpan {
    /// Its first token.
    pub first: usize,
    /// Its tiles, of those of the sequence. Images may share tiles, which then are computed once.
    pub tiles: Range<usize>,
}

/// A packed sequence.
#[derive(Debug, Clone)]
pub struct Packed {
    /// Token ids; those at the places of images do not matter, but are within the vocabulary.
    pub tokens: Vec<u32>,
    /// Which token sees which; rotary positions follow its paths.
    pub segments: Segments,
    /// Images in the order of the sequence, each within one segment.
    pub images: Vec<ImageSpan>,
    /// Their tiles.
    pub tiles: Tiles,
}

impl Packed {
    /// Images at the runs of `image_token`, tile after tile as the reference fills them: a run of one tile's tokens takes
    /// the next tile, one of three tiles' tokens the next three. Nothing if a run is not of whole tiles.
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

    /// Check that the sequence fits a model.
    ///
    /// # Errors
    /// [`InputError`] with the first thing that does not.
    pub fn check(&self, config: &Config) -> Result<(), InputError> {
        let (tokens, segments) = (self.tokens.len(), self.segments.tokens());
        if tokens != segments {
            return Err(InputError::Segments { tokens, segments });
        }
        let vocabulary = config.language.vocabulary;
        if let Some(row) = self.tokens.iter().position(|token| *token as usize >= vocabulary) {
            return Err(InputError::Token { row, token: self.tokens[row], vocabulary });
        }
        let (found, tile) = match &self.tiles {
            Tiles::Pixels(values) => (values.len(), config.vision.pixels()),
            Tiles::Features(values) => (values.len(), config.tokens_per_tile() * config.features()),
        };
        if !found.is_multiple_of(tile) {
            return Err(InputError::TileValues { found, tile });
        }
        let (mut after, tiles) = (0, found / tile);
        for (image, ImageSpan { first, tiles: own }) in self.images.iter().enumerate() {
            if own.start > own.end || own.end > tiles {
                return Err(InputError::Tiles { image, start: own.start, end: own.end, tiles });
            }
            let (start, end) = (*first, first.saturating_add(own.len() * config.tokens_per_tile()));
            if start < after || end > tokens {
                return Err(InputError::Image { image, start, end, after, tokens });
            }
            after = end;
        }
        Ok(())
    }
}

/// What the model is to predict at some rows of the sequence, each with a weight; the loss is the weighted sum.
///
/// The weights decide over what the mean is: 1 / n for the n targets of a micro-batch, as the reference has it, or
/// 1 / N for the N of the whole batch; several times that for a row that several paths of a tree share.
#[derive(Debug, Clone, PartialEq)]
pub enum Targets {
    /// Process rewards: at each row the probability of `yes` against `no` alone, which is to be the label. Only those two
    /// rows of the head are computed.
    Steps {
        /// Rows of the `<prm>` tokens, ascending.
        rows: Vec<usize>,
        /// 0 to 1.
        labels: Vec<f32>,
        /// Factors of the rows' losses.
        weights: Vec<f32>,
        /// The token for a good step.
        yes: u32,
        /// The token for a bad one.
        no: u32,
    },
    /// Language modelling: at each row, the token that comes next.
    Tokens {
        /// Rows that predict, ascending (not those of the predicted tokens). A row may come several times: at the end of a
        /// segment it predicts the first token of each child.
        rows: Vec<usize>,
        /// The next tokens.
        ids: Vec<u32>,
        /// Factors of the rows' losses.
        weights: Vec<f32>,
    },
}

impl Targets {
    /// The rows.
    pub fn rows(&self) -> &[usize] {
        match self {
            Self::Steps { rows, .. } | Self::Tokens { rows, .. } => rows,
        }
    }

    /// The rows' weights.
    pub fn weights(&self) -> &[f32] {
        match self {
            Self::Steps { weights, .. } | Self::Tokens { weights, .. } => weights,
        }
    }

    /// Check that the targets fit a sequence of `tokens` tokens.
    ///
    /// # Errors
    /// [`InputError`] with the first thing that does not fit.
    pub fn check(&self, tokens: usize, config: &Config) -> Result<(), InputError> {
        let (rows, weights, vocabulary) = (self.rows(), self.weights(), config.language.vocabulary);
        let targets = match self {
            Self::Steps { labels, .. } => labels.len(),
            Self::Tokens { ids, .. } => ids.len(),
        };
        if rows.len() != targets || rows.len() != weights.len() {
            return Err(InputError::Lengths { rows: rows.len(), targets, weights: weights.len() });
        }
        let falls = rows.windows(2).position(|pair| pair[1] < pair[0]).map(|place| place + 1);
        if let Some(target) = falls.or_else(|| rows.iter().position(|row| *row >= tokens)) {
            return Err(InputError::Row { target, row: rows[target], tokens });
        }
        let label = |target: usize| if let Self::Steps { labels, .. } = self { labels[target] } else { 0.0 };
        let fits = |target: &usize| weights[*target].is_finite() && (0.0..=1.0).contains(&label(*target));
        if let Some(target) = (0..rows.len()).find(|target| !fits(target)) {
            let (label, weight) = (label(target).to_string(), weights[target].to_string());
            return Err(InputError::Label { target, label, weight });
        }
        let ids = match self {
            Self::Steps { yes, no, .. } => &[*yes, *no],
            Self::Tokens { ids, .. } => ids.as_slice(),
        };
        match ids.iter().position(|id| *id as usize >= vocabulary) {
            Some(target) => Err(InputError::TargetToken { target, token: ids[target], vocabulary }),
            None => Ok(()),
        }
    }
}
