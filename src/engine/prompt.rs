//! Prompts: runs of tokens and image embeddings, in order.
//!
//! Prompts are compared by *keys*, one number per position: the token itself, or a digest of the
//! image and the row in it. Equal keys mean equal input, so positions with equal prefixes share
//! cached computation. Making tokens and embeddings is left to `vision::prompts`.
//!
//! What llama.cpp rotates by, the *rotary position*, is the position itself, except in models whose
//! rotary positions have sections of time, height and width (M-RoPE: `Qwen-VL`). There all tokens of
//! an image are at one time, and the text after it continues at the longer side of its grid. The
//! cache of llama.cpp knows tokens by their time, so such an image is cached whole or not at all.

use std::ops::Range;
use std::sync::Arc;

use super::{PromptError, Token};
use crate::util::random::mix;

/// A part of a prompt.
#[derive(Debug, Clone)]
pub enum Chunk {
    /// Tokens of the vocabulary.
    Tokens(Vec<Token>),
    /// Image embeddings.
    Image(Arc<Embeddings>),
}

/// The embeddings of an image, `[tokens, width]`, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Embeddings {
    /// The values.
    pub values: Vec<f32>,
    /// Values per row: the language model's embedding width.
    pub width: usize,
    /// A digest of everything the values depend on. Images with equal digests share cached
    /// computation.
    pub digest: u64,
    /// The grid of the rows, for models whose rotary positions have sections; `None` for others, in
    /// which the rows follow each other as tokens do.
    pub grid: Option<Grid>,
}

/// The tokens of an image in rows and columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// Tokens in a row.
    pub columns: usize,
    /// Rows of tokens.
    pub rows: usize,
}

impl Grid {
    /// Returns the number of rotary positions that the image takes.
    pub fn positions(self) -> usize {
        self.columns.max(self.rows)
    }

    /// Returns the rotary positions of token `index` in an image that begins at `start`: time,
    /// height, width, and one that is not used.
    pub(super) fn sections(self, start: usize, index: usize) -> [usize; SECTIONS] {
        [start, start + index / self.columns, start + index % self.columns, 0]
    }
}

/// Sections of a rotary position in llama.cpp.
pub(super) const SECTIONS: usize = 4;

impl Embeddings {
    /// Returns the number of rows.
    pub fn tokens(&self) -> usize {
        self.values.len() / self.width.max(1)
    }
}

/// A prompt that is ready to run.
///
/// ```
/// use mmprm::engine::{Chunk, Prompt};
/// let prompt = Prompt::new([Chunk::Tokens(vec![1, 2]), Chunk::Tokens(vec![3])])?;
/// assert_eq!(prompt.len(), 3);
/// # Ok::<(), mmprm::engine::PromptError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Prompt {
    chunks: Vec<Chunk>,
    keys: Arc<[u64]>,
    /// Positions to read, in order.
    marks: Arc<[usize]>,
}

/// A range of positions that can be decoded as one batch: all tokens, or all rows of one image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Span<'a> {
    Tokens(&'a [Token]),
    Embeddings(Rows<'a>),
}

/// Rows of an image's embeddings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rows<'a> {
    pub values: &'a [f32],
    /// Values per row.
    pub width: usize,
    /// The rotary position of the image's first row.
    pub start: usize,
    /// The number of the first of these rows in the image.
    pub first: usize,
    pub grid: Option<Grid>,
}

impl Rows<'_> {
    /// Returns the number of rows.
    pub fn count(&self) -> usize {
        self.values.len() / self.width
    }

    /// Returns the rotary positions of the rows: one for each, or where there is a grid one section
    /// after the other.
    pub fn positions(&self) -> Vec<i32> {
        let rows = self.first..self.first + self.count();
        match self.grid {
            None => rows.map(|row| (self.start + row) as i32).collect(),
            Some(grid) => {
                let section = |section| rows.clone().map(move |row| grid.sections(self.start, row)[section] as i32);
                (0..SECTIONS).flat_map(section).collect()
            }
        }
    }
}

impl Prompt {
    /// Joins chunks; neighbouring token chunks become one.
    ///
    /// # Errors
    /// [`PromptError`] if the prompt is empty or ends in an image, or if an image's values are not
    /// whole rows.
    pub fn new(chunks: impl IntoIterator<Item = Chunk>) -> Result<Self, PromptError> {
        let mut joined: Vec<Chunk> = Vec::new();
        let mut keys = Vec::new();
        for chunk in chunks {
            match &chunk {
                Chunk::Tokens(tokens) if tokens.is_empty() => continue,
                Chunk::Tokens(tokens) => keys.extend(tokens.iter().map(|&token| token_key(token))),
                Chunk::Image(image) => {
                    if image.width == 0 || image.values.is_empty() || image.values.len() % image.width != 0 {
                        return Err(PromptError::PartialRows { values: image.values.len(), width: image.width });
                    }
                    if let Some(grid) =
                        image.grid.filter(|grid| grid.columns.checked_mul(grid.rows) != Some(image.tokens()))
                    {
                        let Grid { columns, rows } = grid;
                        return Err(PromptError::Grid { tokens: image.tokens(), columns, rows });
                    }
                    keys.extend((0..image.tokens()).map(|row| embedding_key(image, row)));
                }
            }
            match (joined.last_mut(), chunk) {
                (Some(Chunk::Tokens(before)), Chunk::Tokens(tokens)) => before.extend(tokens),
                (_, chunk) => joined.push(chunk),
            }
        }
        match joined.last() {
            Some(Chunk::Tokens(_)) => Ok(Self { chunks: joined, keys: keys.into(), marks: Arc::default() }),
            Some(Chunk::Image(_)) => Err(PromptError::EndsInImage),
            None => Err(PromptError::Empty),
        }
    }

    /// Returns the number of positions.
    #[expect(clippy::len_without_is_empty, reason = "a prompt is never empty")]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Returns the prompt with these positions to read ([`Engine::logits`](super::Engine::logits)), each once.
    ///
    /// # Errors
    /// [`PromptError::NoToken`] for a position that is beyond the end or in an image.
    pub fn marked(mut self, mut positions: Vec<usize>) -> Result<Self, PromptError> {
        positions.sort_unstable();
        positions.dedup();
        if let Some(&position) = positions.iter().find(|position| self.token(**position).is_none()) {
            return Err(PromptError::NoToken { position });
        }
        self.marks = positions.into();
        Ok(self)
    }

    /// Returns the prompt with every position to read that holds `token`.
    pub(super) fn marked_at(mut self, token: Token) -> Self {
        self.marks = (0..self.len()).filter(|position| self.keys[*position] == token_key(token)).collect();
        self
    }

    /// Returns the positions to read, in order, each once.
    pub fn marks(&self) -> &[usize] {
        &self.marks
    }

    /// Returns whether `position` is to be read.
    pub(super) fn is_mark(&self, position: usize) -> bool {
        self.marks.binary_search(&position).is_ok()
    }

    /// Returns one key per position; equal prefixes of keys mean equal input.
    pub(crate) fn keys(&self) -> &Arc<[u64]> {
        &self.keys
    }

    /// Iterates over the tokens, without the images.
    pub fn text_tokens(&self) -> impl Iterator<Item = Token> {
        self.chunks.iter().flat_map(|chunk| match chunk {
            Chunk::Tokens(tokens) => tokens.iter().copied(),
            Chunk::Image(_) => [].iter().copied(),
        })
    }

    /// Checks that a model with this vocabulary size and embedding width can run the prompt;
    /// `has_sections` says that its rotary positions have sections.
    pub(super) fn check(&self, vocabulary: usize, width: usize, has_sections: bool) -> Result<(), PromptError> {
        let unknown = self.text_tokens().find(|&token| token < 0 || token as usize >= vocabulary);
        if let Some(token) = unknown {
            return Err(PromptError::UnknownToken { token, vocabulary });
        }
        self.chunks.iter().try_for_each(|chunk| match chunk {
            Chunk::Image(image) if image.width != width => {
                Err(PromptError::ImageWidth { found: image.width, expected: width })
            }
            Chunk::Image(image) if image.grid.is_some() != has_sections => {
                Err(PromptError::Sections { expected: has_sections })
            }
            _ => Ok(()),
        })
    }

    /// Returns the rotary position of `position`; of the end of the prompt, that of a token after it.
    pub(super) fn rotary(&self, position: usize) -> usize {
        rotary(&self.keys[..position])
    }

    /// Returns the longest range from `start`, at most `limit` positions, that one batch can
    /// decode.
    pub(super) fn span(&self, start: usize, limit: usize) -> Span<'_> {
        let mut offset = 0;
        for chunk in &self.chunks {
            let length = chunk.positions();
            if start < offset + length {
                let from = start - offset;
                let to = length.min(from + limit);
                return match chunk {
                    Chunk::Tokens(tokens) => Span::Tokens(&tokens[from..to]),
                    Chunk::Image(image) => Span::Embeddings(Rows {
                        values: &image.values[from * image.width..to * image.width],
                        width: image.width,
                        start: self.rotary(offset),
                        first: from,
                        grid: image.grid,
                    }),
                };
            }
            offset += length;
        }
        Span::Tokens(&[])
    }

    /// Returns whether `position` is inside an image, not at its start.
    pub(super) fn is_inside_image(&self, position: usize) -> bool {
        matches!(self.span(position, 1), Span::Embeddings(rows) if rows.first > 0)
    }

    /// Returns the token at `position`; `None` in images and beyond the end.
    pub(crate) fn token(&self, position: usize) -> Option<Token> {
        self.keys.get(position).and_then(|&key| u32::try_from(key).ok()).map(|key| key as Token)
    }

    /// Returns the ranges of its token runs and images, up to position `end`.
    pub(super) fn spans(&self, end: usize) -> Vec<Range<usize>> {
        let mut start = 0;
        let spans = self.chunks.iter().map(|chunk| {
            let span = start..start + chunk.positions();
            start = span.end;
            span.start.min(end)..span.end.min(end)
        });
        spans.filter(|span| !span.is_empty()).collect()
    }
}

impl Chunk {
    fn positions(&self) -> usize {
        match self {
            Chunk::Tokens(tokens) => tokens.len(),
            Chunk::Image(image) => image.tokens(),
        }
    }
}

/// Returns the length of the common prefix of two key lists.
pub(super) fn common_prefix(a: &[u64], b: &[u64]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// Returns the key of a position that holds `token`.
pub(super) fn token_key(token: Token) -> u64 {
    u64::from(token as u32)
}

/// A key of an image's row. It keeps such keys apart from those of tokens, which are below 2³².
const IMAGE: u64 = 1 << 63;
/// A key of a row of an image with a grid.
const IN_GRID: u64 = 1 << 62;
/// A key of such a row that takes no rotary position. An image takes as many as its grid says: the
/// first rows stand for them.
const STILL: u64 = 1 << 61;

/// Returns the key of an image's row.
fn embedding_key(image: &Embeddings, row: usize) -> u64 {
    let own = mix(image.digest ^ mix(row as u64)) & !(IN_GRID | STILL) | IMAGE;
    match image.grid {
        None => own,
        Some(grid) if row < grid.positions() => own | IN_GRID,
        Some(_) => own | IN_GRID | STILL,
    }
}

/// Returns whether a key is that of an image with a grid, which is cached whole or not at all.
pub(super) fn is_in_grid(key: u64) -> bool {
    key & (IMAGE | IN_GRID) == IMAGE | IN_GRID
}

/// Returns the rotary positions that keys take; they end at the end of an image with a grid, or
/// outside of one.
pub(super) fn rotary(keys: &[u64]) -> usize {
    keys.iter().filter(|key| *key & (IMAGE | STILL) != IMAGE | STILL).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(digest: u64, tokens: usize) -> Chunk {
        Chunk::Image(Arc::new(Embeddings { values: vec![0.5; tokens * 2], width: 2, digest, grid: None }))
    }

    #[test]
    fn spans_are_runs_of_tokens_and_images() {
        let prompt =
            Prompt::new([Chunk::Tokens(vec![1; 5]), image(7, 3), Chunk::Tokens(vec![2; 4]), Chunk::Tokens(vec![3; 2])])
                .unwrap();
        assert_eq!(prompt.len(), 14);
        assert_eq!(prompt.spans(14), [0..5, 5..8, 8..14]);
        assert_eq!(prompt.spans(6), [0..5, 5..6]);
        assert_eq!(prompt.spans(0), []);
        assert_eq!(prompt.clone().marked_at(2).marks(), [8, 9, 10, 11]);
        assert_eq!(prompt.clone().marked(vec![13, 0, 13]).unwrap().marks(), [0, 13]);
        let error = |position| prompt.clone().marked(vec![position]).unwrap_err();
        assert_eq!(
            (error(5), error(14)),
            (PromptError::NoToken { position: 5 }, PromptError::NoToken { position: 14 })
        );
    }

    #[test]
    fn a_span_never_mixes_tokens_and_embeddings() {
        let prompt = Prompt::new([Chunk::Tokens(vec![1, 2]), image(7, 3), Chunk::Tokens(vec![3])]).unwrap();
        assert_eq!(prompt.span(1, 10), Span::Tokens(&[2]));
        let rows = |first, values| Span::Embeddings(Rows { values, width: 2, start: 2, first, grid: None });
        assert_eq!(prompt.span(2, 2), rows(0, &[0.5; 4]));
        assert_eq!(prompt.span(4, 10), rows(2, &[0.5; 2]));
        assert_eq!(prompt.span(5, 10), Span::Tokens(&[3]));
    }

    #[test]
    fn prompts_share_keys_up_to_where_they_differ() {
        let one = Prompt::new([Chunk::Tokens(vec![1, 2]), image(7, 3), Chunk::Tokens(vec![3, 4])]).unwrap();
        let other = Prompt::new([Chunk::Tokens(vec![1, 2]), image(7, 3), Chunk::Tokens(vec![3, 5])]).unwrap();
        let stranger = Prompt::new([Chunk::Tokens(vec![1, 2]), image(8, 3), Chunk::Tokens(vec![3, 4])]).unwrap();
        assert_eq!(common_prefix(one.keys(), other.keys()), 6);
        assert_eq!(common_prefix(one.keys(), stranger.keys()), 2);
    }

    #[test]
    fn images_with_a_grid_take_as_many_rotary_positions_as_their_longer_side() {
        let grid = |columns, rows| {
            let values = vec![0.5; columns * rows * 2];
            Chunk::Image(Arc::new(Embeddings { values, width: 2, digest: 7, grid: Some(Grid { columns, rows }) }))
        };
        let text = |length| Chunk::Tokens(vec![1; length]);
        for (columns, rows, takes) in [(3, 2, 3), (2, 4, 4), (1, 1, 1), (5, 1, 5)] {
            let prompt = Prompt::new([text(4), grid(columns, rows), text(3)]).unwrap();
            let end = 4 + columns * rows;
            assert_eq!((prompt.rotary(4), prompt.rotary(end), prompt.rotary(end + 3)), (4, 4 + takes, 7 + takes));
            assert!(!is_in_grid(prompt.keys()[3]) && prompt.keys()[4..end].iter().all(|key| is_in_grid(*key)));
        }
        let prompt = Prompt::new([text(4), grid(3, 2), text(2), grid(3, 2), text(1)]).unwrap();
        let Span::Embeddings(rows) = prompt.span(13, 4) else { panic!("an image") };
        // Its second to fifth token, in an image at 4 + 3 + 2.
        assert_eq!((rows.start, rows.first, rows.count()), (9, 1, 4));
        assert_eq!(rows.positions(), [[9, 9, 9, 9], [9, 9, 10, 10], [10, 11, 9, 10], [0, 0, 0, 0]].concat());
        let plain = Prompt::new([text(4), image(7, 6), text(1)]).unwrap();
        assert_ne!(plain.keys()[4], prompt.keys()[4]);
        assert_eq!(plain.rotary(10), 10);
        assert!(plain.keys()[4..10].iter().all(|key| !is_in_grid(*key)));
        assert_eq!(prompt.check(10, 2, true), Ok(()));
        assert_eq!(prompt.check(10, 2, false), Err(PromptError::Sections { expected: false }));
        assert_eq!(plain.check(10, 2, true), Err(PromptError::Sections { expected: true }));
    }

    #[test]
    fn a_grid_of_another_size_than_the_image_is_refused() {
        let grid = Some(Grid { columns: 2, rows: 2 });
        let image = Embeddings { values: vec![0.5; 6], width: 2, digest: 7, grid };
        let error = Prompt::new([Chunk::Image(image.into()), Chunk::Tokens(vec![1])]).unwrap_err();
        assert_eq!(error, PromptError::Grid { tokens: 3, columns: 2, rows: 2 });
    }

    #[test]
    fn empty_prompts_and_broken_images_are_refused() {
        assert!(Prompt::new([]).is_err());
        assert!(Prompt::new([Chunk::Tokens(vec![1]), image(1, 2)]).is_err());
        let broken = Chunk::Image(Arc::new(Embeddings { values: vec![0.0; 3], width: 2, digest: 0, grid: None }));
        assert!(Prompt::new([broken, Chunk::Tokens(vec![1])]).is_err());
    }
}
