//! Prompts: runs of tokens and image embeddings, in order.
//!
//! Prompts are compared by *keys*, one number per position: the token itself, or a digest of the
//! image and the row in it. Equal keys mean equal input, so positions with equal prefixes share
//! cached computation. Making tokens and embeddings is left to `vision::prompts`.

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
}

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
    Embeddings { values: &'a [f32], width: usize },
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
                    keys.extend((0..image.tokens() as u64).map(|row| embedding_key(image.digest, row)));
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

    /// Checks that a model with this vocabulary size and embedding width can run the prompt.
    pub(super) fn check(&self, vocabulary: usize, width: usize) -> Result<(), PromptError> {
        let unknown = self.text_tokens().find(|&token| token < 0 || token as usize >= vocabulary);
        if let Some(token) = unknown {
            return Err(PromptError::UnknownToken { token, vocabulary });
        }
        let misfit = self.chunks.iter().find_map(|chunk| match chunk {
            Chunk::Image(image) if image.width != width => Some(image.width),
            _ => None,
        });
        match misfit {
            Some(found) => Err(PromptError::ImageWidth { found, expected: width }),
            None => Ok(()),
        }
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
                    Chunk::Image(image) => Span::Embeddings {
                        values: &image.values[from * image.width..to * image.width],
                        width: image.width,
                    },
                };
            }
            offset += length;
        }
        Span::Tokens(&[])
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

/// Returns the key of an image's row; the highest bit keeps it apart from tokens, whose keys are
/// below 2³².
fn embedding_key(digest: u64, row: u64) -> u64 {
    mix(digest ^ mix(row)) | 1 << 63
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(digest: u64, tokens: usize) -> Chunk {
        Chunk::Image(Arc::new(Embeddings { values: vec![0.5; tokens * 2], width: 2, digest }))
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
        assert_eq!(prompt.span(2, 2), Span::Embeddings { values: &[0.5; 4], width: 2 });
        assert_eq!(prompt.span(4, 10), Span::Embeddings { values: &[0.5; 2], width: 2 });
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
    fn empty_prompts_and_broken_images_are_refused() {
        assert!(Prompt::new([]).is_err());
        assert!(Prompt::new([Chunk::Tokens(vec![1]), image(1, 2)]).is_err());
        let broken = Chunk::Image(Arc::new(Embeddings { values: vec![0.0; 3], width: 2, digest: 0 }));
        assert!(Prompt::new([broken, Chunk::Tokens(vec![1])]).is_err());
    }
}
