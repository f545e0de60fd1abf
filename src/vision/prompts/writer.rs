//! Writing a prompt: text is tokenised up to each image and cut, and the places where scores are read become positions.

use std::path::PathBuf;

use super::{EncodeError, PromptEncoder};
use crate::engine::{Chunk, Prompt, Token};
use crate::prompt::{Piece, PlaceError, Run, tokens_before};

/// A prompt as far as it was written.
pub(super) struct Writer<'a> {
    encoder: &'a PromptEncoder,
    images: &'a [PathBuf],
    chunks: Vec<Chunk>,
    /// Positions in `chunks`.
    length: usize,
    /// Whether nothing was tokenised yet.
    first: bool,
    /// Text that was not tokenised yet, and the bytes before each place in it where a score is read.
    run: Run,
    places: Vec<usize>,
    positions: Vec<usize>,
}

impl<'a> Writer<'a> {
    pub fn new(encoder: &'a PromptEncoder, images: &'a [PathBuf]) -> Self {
        let (chunks, places, positions) = (Vec::new(), Vec::new(), Vec::new());
        Self { encoder, images, chunks, length: 0, first: true, run: encoder.run(), places, positions }
    }

    /// Begins with the beginning-of-sequence token, unless the tokenizer writes it itself.
    pub fn bos(&mut self) -> Result<(), EncodeError> {
        let bos = self.encoder.model().bos().ok_or(EncodeError::NoBos)?;
        if self.encoder.model().tokenize("", true)?.first() != Some(&bos) {
            self.chunk(Chunk::Tokens(vec![bos]), 1);
        }
        Ok(())
    }

    pub fn piece(&mut self, piece: &Piece) -> Result<(), EncodeError> {
        match piece {
            Piece::Text(more) => self.run.template(more),
            Piece::Plain(more) => self.run.plain(more),
            Piece::Image(index) => {
                let missing = EncodeError::NoImage { number: index + 1, count: self.images.len() };
                let image = self.images.get(*index).ok_or(missing)?;
                let [before, after] = self.encoder.image_marks()?;
                self.run.template(before);
                self.flush()?;
                let image = self.encoder.image(image)?;
                let tokens = image.tokens();
                self.chunk(Chunk::Image(image), tokens);
                self.run.template(after);
            }
        }
        Ok(())
    }

    /// A score is read at the last token before this place.
    pub fn read(&mut self) {
        self.places.push(self.run.text().len());
    }

    /// Tokenises the text so far.
    pub fn flush(&mut self) -> Result<(), EncodeError> {
        let run = std::mem::replace(&mut self.run, self.encoder.run());
        let places = std::mem::take(&mut self.places);
        let (tokens, ends) = if run.is_empty() {
            (Vec::new(), vec![0; places.len()])
        } else {
            let first = std::mem::take(&mut self.first);
            let tokens = self.encoder.tokenize(&run, first)?;
            let tokenize = |run: &Run, first| self.encoder.tokenize(run, first);
            let ends = tokens_before(&run, first, &places, &tokens, tokenize).map_err(|error| match error {
                PlaceError::Tokenizer(error) => error.into(),
                PlaceError::Spanned(index) => EncodeError::Spanned { number: self.positions.len() + index + 1 },
            })?;
            (tokens, ends)
        };
        self.positions.extend(ends.into_iter().map(|end| (self.length + end).saturating_sub(1)));
        if !tokens.is_empty() {
            let length = tokens.len();
            self.chunk(Chunk::Tokens(tokens), length);
        }
        Ok(())
    }

    fn chunk(&mut self, chunk: Chunk, length: usize) {
        self.chunks.push(chunk);
        self.length += length;
    }

    /// Returns the prompt, followed by the tokens `then`, and the positions at which scores are read.
    pub fn finish(mut self, then: &[Token]) -> Result<(Prompt, Vec<usize>), EncodeError> {
        self.flush()?;
        self.chunks.push(Chunk::Tokens(then.to_vec()));
        Ok((Prompt::new(self.chunks)?, self.positions))
    }
}
