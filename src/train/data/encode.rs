//! Texts with image placeholders → token ids with targets.

use super::error::SampleError;
use super::record::Text;
use super::sample::{Placed, Prefix, Sample, Target, TargetValue};
use super::tokenizer::{SpecialTokens, Tokenizer};
use super::writer::{Encoded, TextImages, Writer, Writing};
use crate::prompt::{PROCESS, Piece};

/// The length limit of samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Length {
    /// Maximum tokens of a sample.
    pub tokens: usize,
    /// Cuts longer samples there instead of refusing them; samples with nothing to learn before it are left out.
    pub truncate: bool,
}

/// Encodes the texts of one data set.
pub(super) struct Encoder<'a> {
    pub tokenizer: &'a dyn Tokenizer,
    pub special: SpecialTokens,
    pub tokens_per_tile: usize,
    pub length: Length,
    pub token_labels: bool,
    /// Weight of what the image tokens of a text learn together, each.
    pub image_token_weight: f32,
    /// Whether special tokens in questions and solutions are recognised, as in MM-PRM's code.
    pub reference_special_tokens: bool,
}

impl Encoder<'_> {
    /// Encodes a text.
    pub fn sample(
        &self,
        text: &Text,
        text_images: TextImages<'_>,
        id: String,
        problem: u64,
    ) -> Result<Sample, SampleError> {
        let Encoded { mut tokens, images, reads } = self.tokens(text, text_images)?;
        let mut targets = match &text.reply {
            None => self.steps(&tokens, reads, text, text_images)?,
            Some(_) => self.predictions(&tokens, text, text_images)?,
        };
        let mut prefixes = self.prefixes(&tokens, &targets, text, text_images)?;
        if let Some(pieces) = &text.image_tokens {
            targets.splice(0..0, self.image_targets(&tokens, pieces)?);
        }
        if tokens.len() > self.length.tokens {
            if !self.length.truncate {
                return Err(SampleError::TooLong { found: tokens.len(), limit: self.length.tokens });
            }
            self.truncate(&mut tokens, &mut targets, &images, text_images)?;
            let is_labelled = !prefixes.is_empty();
            prefixes.retain(|prefix| prefix.targets <= targets.len());
            if is_labelled && prefixes.is_empty() {
                return Err(SampleError::CutTargets { limit: self.length.tokens });
            }
        }
        Ok(Sample { id, problem, tokens, images, targets, right: text.right, prefixes })
    }

    /// Context and reply as tokens, with the places of the images and of what is read.
    fn tokens(&self, text: &Text, text_images: TextImages<'_>) -> Result<Encoded, SampleError> {
        let writing = Writing {
            tokenizer: self.tokenizer,
            context: self.special.context,
            tokens_per_tile: self.tokens_per_tile,
            reference_special_tokens: self.reference_special_tokens,
        };
        let mut writer = Writer::new(writing, text_images);
        let places = text.places.clone().unwrap_or_default();
        if places.bos {
            writer.bos()?;
        }
        let (mut reads, mut cuts) = (places.reads.iter().peekable(), places.cuts.iter().peekable());
        for index in 0..=text.context.len() {
            while reads.next_if_eq(&&index).is_some() {
                writer.read();
            }
            while cuts.next_if_eq(&&index).is_some() {
                writer.flush()?;
            }
            if let Some(piece) = text.context.get(index) {
                writer.piece(piece)?;
            }
        }
        if let Some(reply) = &text.reply {
            reply.iter().try_for_each(|piece| writer.piece(piece))?;
            if text.is_finished {
                writer.template("<|im_end|>");
            }
        }
        writer.finish()
    }

    /// A label at each place where the form reads a score; in MM-PRM's form at each step token, and with `token_labels` at every
    /// token of the step.
    fn steps(
        &self,
        tokens: &[u32],
        reads: Vec<usize>,
        text: &Text,
        text_images: TextImages<'_>,
    ) -> Result<Vec<Target>, SampleError> {
        let mark = self.special.steps.and_then(|steps| steps.mark);
        let ends: Vec<usize> = match (&text.places, mark) {
            (Some(_), mark) => reads.into_iter().filter(|row| mark.is_none_or(|mark| tokens[*row] == mark)).collect(),
            (None, Some(mark)) => (0..tokens.len()).filter(|row| tokens[*row] == mark).collect(),
            (None, None) => Vec::new(),
        };
        if ends.len() != text.labels.len() {
            // The text was checked before: the tokenizer does not keep the mark whole.
            return Err(SampleError::StepTokens { found: ends.len(), expected: text.labels.len() });
        }
        let mut targets = Vec::new();
        let mut start = if self.token_labels { self.process_row(tokens, text, text_images)? } else { 0 };
        for ((end, label), weight) in ends.into_iter().zip(&text.labels).zip(&text.weights) {
            let rows = if self.token_labels { start..end + 1 } else { end..end + 1 };
            targets.extend(rows.map(|row| Target {
                row,
                value: TargetValue::Label(*label),
                weight: *weight,
                reference: 0.0,
            }));
            start = end + 1;
        }
        Ok(targets)
    }

    /// The row of the first step's first token.
    fn process_row(&self, tokens: &[u32], text: &Text, text_images: TextImages<'_>) -> Result<usize, SampleError> {
        let mut before = text.clone();
        let place = |piece: &Piece| match piece {
            Piece::Text(text) => text.find(PROCESS),
            Piece::Plain(_) | Piece::Image(_) => None,
        };
        let Some((index, cut)) = before.context.iter().enumerate().find_map(|(i, piece)| Some((i, place(piece)?)))
        else {
            return Ok(0);
        };
        before.context.truncate(index + 1);
        if let Some(Piece::Text(last)) = before.context.last_mut() {
            last.truncate(cut + PROCESS.len());
        }
        let given = self.tokens(&before, text_images)?.tokens;
        // The first step may merge with the token before it.
        Ok(given.iter().zip(tokens).take_while(|(given, token)| given == token).count())
    }

    /// The next token at each row from the last one of the context on.
    fn predictions(
        &self,
        tokens: &[u32],
        text: &Text,
        text_images: TextImages<'_>,
    ) -> Result<Vec<Target>, SampleError> {
        let context = Text { reply: None, ..text.clone() };
        let given = self.tokens(&context, text_images)?.tokens;
        // Where the reply merges with the context's last token, the merged token is predicted whole.
        let shared = given.iter().zip(tokens).take_while(|(given, token)| given == token).count();
        let rows = shared.max(1) - 1..tokens.len() - 1;
        Ok(rows.map(|row| Target::new(row, TargetValue::Token(tokens[row + 1]))).collect())
    }

    /// The targets up to the end of each labelled step. A token that spans two steps belongs to the later one.
    fn prefixes(
        &self,
        tokens: &[u32],
        targets: &[Target],
        text: &Text,
        text_images: TextImages<'_>,
    ) -> Result<Vec<Prefix>, SampleError> {
        let Some(reply) = &text.reply else { return Ok(Vec::new()) };
        let of = |((end, label), weight): ((&usize, &f32), &f32)| {
            let targets = if *end == reply.len() {
                targets.len()
            } else {
                let reply = Some(reply[..*end].to_vec());
                let own = self.tokens(&Text { reply, is_finished: false, ..text.clone() }, text_images)?.tokens;
                let shared = own.iter().zip(tokens).take_while(|(own, token)| own == token).count();
                targets.iter().take_while(|target| target.row + 1 < shared).count()
            };
            Ok(Prefix { targets, label: *label, weight: *weight })
        };
        text.step_ends.iter().zip(&text.labels).zip(&text.weights).map(of).collect()
    }

    /// What is printed where each image token looks: several pieces share its weight.
    fn image_targets(&self, tokens: &[u32], printed: &[Vec<String>]) -> Result<Vec<Target>, SampleError> {
        let rows: Vec<usize> = (0..tokens.len()).filter(|row| Some(tokens[*row]) == self.special.context).collect();
        if rows.len() != printed.len() {
            return Err(SampleError::ImageTokens { found: printed.len(), expected: rows.len() });
        }
        let mut targets = Vec::new();
        for (row, pieces) in rows.into_iter().zip(printed) {
            for piece in pieces {
                let token = self.tokenizer.token(piece).ok_or_else(|| SampleError::NoPiece { piece: piece.clone() })?;
                let weight = self.image_token_weight / pieces.len() as f32;
                targets.push(Target { weight, ..Target::new(row, TargetValue::Token(token)) });
            }
        }
        Ok(targets)
    }

    fn truncate(
        &self,
        tokens: &mut Vec<u32>,
        targets: &mut Vec<Target>,
        images: &[Placed],
        text_images: TextImages<'_>,
    ) -> Result<(), SampleError> {
        let limit = self.length.tokens;
        let tiles = |image| text_images.iter().find(|(index, _)| *index == image).map_or(0, |(_, tiles)| *tiles);
        let cut = |placed: &Placed| placed.start + tiles(placed.image) * self.tokens_per_tile > limit;
        if images.iter().any(cut) {
            return Err(SampleError::CutImage { found: tokens.len(), limit });
        }
        // The last row keeps its target although the token to predict is cut: its id is known.
        tokens.truncate(limit);
        targets.retain(|target| target.row < limit);
        if targets.is_empty() {
            return Err(SampleError::CutTargets { limit });
        }
        Ok(())
    }
}
