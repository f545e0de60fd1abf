//! What a model reads: runs of tokens and image embeddings in order.
//!
//! Both executors compare prompts by *keys*, one number a position: the token itself, or a digest of the image and the
//! position in it. Equal keys mean equal input, so cached computation can be shared.

use std::ops::Range;
use std::sync::Arc;

use super::{EngineError, Token};

/// A piece of a prompt.
#[derive(Debug, Clone)]
pub enum Chunk {
    /// Tokens of the vocabulary.
    Tokens(Vec<Token>),
    /// Image embeddings.
    Image(Arc<Embeddings>),
}

/// Embeddings of an image, `[tokens, width]`, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Embeddings {
    /// The values.
    pub values: Vec<f32>,
    /// Values in a row: the language model's embedding width.
    pub width: usize,
    /// A digest of what the values depend on; two images with the same digest share cached computation.
    pub digest: u64,
}

impl Embeddings {
    /// Rows.
    pub fn tokens(&self) -> usize {
        self.values.len() / self.width.max(1)
    }
}

/// A prompt ready to run: chunks plus their keys.
#[derive(Debug, Clone)]
pub struct Prompt {
    chunks: Vec<Chunk>,
    keys: Arc<[u64]>,
}

/// A stretch of positions that is decoded as one batch: all tokens, or all embeddings of one image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Span<'a> {
    Tokens(&'a [Token]),
    Embeddings { values: &'a [f32], width: usize },
}

impl Prompt {
    /// Joins chunks; neighbouring token chunks become one.
    ///
    /// # Errors
    /// [`EngineError::Prompt`] if it is empty, ends in an image, or an image's values are not whole rows.
    pub fn new(chunks: impl IntoIterator<Item = Chunk>) -> Result<Self, EngineError> {
        let mut joined: Vec<Chunk> = Vec::new();
        let mut keys = Vec::new();
        for chunk in chunks {
            match &chunk {
                Chunk::Tokens(tokens) if tokens.is_empty() => continue,
                Chunk::Tokens(tokens) => keys.extend(tokens.iter().map(|&token| token_key(token))),
                Chunk::Image(image) => {
                    if image.width == 0 || image.values.is_empty() || image.values.len() % image.width != 0 {
                        return Err(EngineError::Prompt("image embeddings are not whole rows".into()));
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
            Some(Chunk::Tokens(_)) => Ok(Self { chunks: joined, keys: keys.into() }),
            Some(Chunk::Image(_)) => Err(EngineError::Prompt("a prompt cannot end in an image".into())),
            None => Err(EngineError::Prompt("a prompt cannot be empty".into())),
        }
    }

    /// Positions it takes.
    #[expect(clippy::len_without_is_empty, reason = "a prompt is never empty")]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// One key a position; see the module's description.
    pub fn keys(&self) -> &Arc<[u64]> {
        &self.keys
    }

    /// The tokens of the text chunks, images left out.
    pub fn text_tokens(&self) -> impl Iterator<Item = Token> {
        self.chunks.iter().flat_map(|chunk| match chunk {
            Chunk::Tokens(tokens) => tokens.iter().copied(),
            Chunk::Image(_) => [].iter().copied(),
        })
    }

    /// Whether a model of this vocabulary and embedding width can read it.
    pub(super) fn check(&self, vocabulary: usize, width: usize) -> Result<(), EngineError> {
        let unknown = self.text_tokens().find(|&token| token < 0 || token as usize >= vocabulary);
        if let Some(token) = unknown {
            return Err(EngineError::Prompt(format!("token {token} of a vocabulary of {vocabulary}")));
        }
        let misfit = self.chunks.iter().find_map(|chunk| match chunk {
            Chunk::Image(image) if image.width != width => Some(image.width),
            _ => None,
        });
        match misfit {
            Some(other) => Err(EngineError::Prompt(format!("image embeddings of width {other}, expected {width}"))),
            None => Ok(()),
        }
    }

    /// The longest stretch of at most `limit` positions from `start` that can be decoded as one batch.
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

    /// Whether `position` holds `token`.
    pub(super) fn is_token(&self, position: usize, token: Token) -> bool {
        self.keys[position] == token_key(token)
    }

    /// The last position whose token is `token`.
    pub(super) fn last_position_of(&self, token: Token) -> Option<usize> {
        self.keys.iter().rposition(|&key| key == token_key(token))
    }

    /// Its runs of tokens and its images, up to position `end`.
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

/// Length of the common start of two key lists.
pub(super) fn common_prefix(a: &[u64], b: &[u64]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// The key of a position that holds `token`.
pub(super) fn token_key(token: Token) -> u64 {
    u64::from(token as u32)
}

/// Never equal to a token's key, which is below 2³².
fn embedding_key(digest: u64, row: u64) -> u64 {
    super::sampling::mix(digest ^ super::sampling::mix(row)) | 1 << 63
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
        assert_eq!(prompt.last_position_of(2), Some(11));
        assert!(prompt.is_token(11, 2) && !prompt.is_token(6, 7));
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
