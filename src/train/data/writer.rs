//! Pieces of a text → token ids, with the places of images and of what is learnt: as `vision::prompts` writes prompts.

use super::error::SampleError;
use super::sample::Placed;
use super::tokenizer::Tokenizer;
use crate::prompt::{Piece, PlaceError, Run, tokens_before};

/// Images of a text: their indices in the data set, and their numbers of tiles.
pub(super) type TextImages<'a> = &'a [(usize, usize)];

/// How texts are written.
#[derive(Clone, Copy)]
pub(super) struct Writing<'a> {
    pub tokenizer: &'a dyn Tokenizer,
    /// The placeholder of images; `None` for a text model.
    pub context: Option<u32>,
    pub tokens_per_tile: usize,
    /// Whether special tokens in questions and solutions are recognised, as in MM-PRM's code.
    pub reference_special_tokens: bool,
}

/// A text as tokens.
#[derive(Debug, Default)]
pub(super) struct Encoded {
    /// Token ids.
    pub tokens: Vec<u32>,
    /// The images.
    pub images: Vec<Placed>,
    /// Rows of the tokens at which scores are read.
    pub reads: Vec<usize>,
}

/// Writes a text.
pub(super) struct Writer<'a> {
    writing: Writing<'a>,
    images: TextImages<'a>,
    encoded: Encoded,
    /// Whether nothing was tokenised yet.
    first: bool,
    run: Run,
    /// Bytes of the run before each place where a score is read.
    places: Vec<usize>,
}

impl<'a> Writer<'a> {
    pub fn new(writing: Writing<'a>, images: TextImages<'a>) -> Self {
        let run = Run::new(writing.reference_special_tokens);
        Self { writing, images, encoded: Encoded::default(), first: true, run, places: Vec::new() }
    }

    /// Begins with the beginning-of-sequence token, unless the tokenizer writes it itself.
    pub fn bos(&mut self) -> Result<(), SampleError> {
        let tokenizer = self.writing.tokenizer;
        let bos = tokenizer.bos().ok_or(SampleError::NoBos)?;
        let own = tokenizer.encode(&Run::default(), true).map_err(SampleError::Tokenizer)?;
        if own.first() != Some(&bos) {
            self.encoded.tokens.push(bos);
        }
        Ok(())
    }

    pub fn piece(&mut self, piece: &Piece) -> Result<(), SampleError> {
        match piece {
            Piece::Text(more) => self.run.template(more),
            Piece::Plain(more) => self.run.plain(more),
            Piece::Image(index) => {
                let &(image, tiles) = self.images.get(*index).ok_or(SampleError::NoSuchImage)?;
                let context = self.writing.context.ok_or(SampleError::TextModel)?;
                self.run.template("<img>");
                self.flush()?;
                self.encoded.images.push(Placed { start: self.encoded.tokens.len(), image });
                let count = tiles * self.writing.tokens_per_tile;
                self.encoded.tokens.extend(std::iter::repeat_n(context, count));
                self.run.template("</img>");
            }
        }
        Ok(())
    }

    pub fn template(&mut self, text: &str) {
        self.run.template(text);
    }

    /// A score is read at the last token before this place.
    pub fn read(&mut self) {
        self.places.push(self.run.text().len());
    }

    /// Tokenises the text so far.
    pub fn flush(&mut self) -> Result<(), SampleError> {
        let run = std::mem::replace(&mut self.run, Run::new(self.writing.reference_special_tokens));
        let places = std::mem::take(&mut self.places);
        let before = self.encoded.tokens.len();
        let (ids, ends) = if run.is_empty() {
            (Vec::new(), vec![0; places.len()])
        } else {
            let first = std::mem::take(&mut self.first);
            let tokenize = |run: &Run, first| self.writing.tokenizer.encode(run, first);
            let ids = tokenize(&run, first).map_err(SampleError::Tokenizer)?;
            let ends = tokens_before(&run, first, &places, &ids, tokenize).map_err(|error| match error {
                PlaceError::Tokenizer(error) => SampleError::Tokenizer(error),
                PlaceError::Spanned(index) => SampleError::Spanned { number: self.encoded.reads.len() + index + 1 },
            })?;
            (ids, ends)
        };
        if self.writing.context.is_some_and(|context| ids.contains(&context)) {
            return Err(SampleError::ContextInText);
        }
        self.encoded.tokens.extend(ids);
        self.encoded.reads.extend(ends.into_iter().map(|end| (before + end).saturating_sub(1)));
        Ok(())
    }

    pub fn finish(mut self) -> Result<Encoded, SampleError> {
        self.flush()?;
        Ok(self.encoded)
    }
}
