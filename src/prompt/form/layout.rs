//! A problem and a candidate in a form: pieces of text, and the places where scores are read.

use super::record::{PrmForm, TextForm};
use super::template::{Part, Slot, Template};
use super::{FormError, ReadOut};
use crate::compat::text::{is_space, strip};
use crate::prompt::pieces::{Builder, IMAGE_PLACEHOLDER, Piece, render};

/// A text to read scores from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layout {
    pub(crate) pieces: Vec<Piece>,
    /// For each score the number of pieces before the place where it is read.
    pub(crate) reads: Vec<usize>,
    /// For each score of a form with critiques the number of pieces before the place where its critique is written.
    pub(crate) critiques: Vec<usize>,
    /// The numbers of pieces before the places where the text is cut to be tokenised.
    pub(crate) cuts: Vec<usize>,
    /// Whether the vocabulary's beginning-of-sequence token comes first.
    pub(crate) bos: bool,
}

impl Layout {
    /// Returns for each score the number of pieces before the place where it is read: at the last token there.
    pub fn reads(&self) -> &[usize] {
        &self.reads
    }

    /// Returns for each score of a form with critiques the number of pieces before the place where its critique is written.
    pub fn critiques(&self) -> &[usize] {
        &self.critiques
    }

    /// Returns the pieces.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// Returns the text, as [`render`](crate::prompt::render) does.
    pub fn render(&self, tokens_per_image: &[usize]) -> String {
        render(&self.pieces, tokens_per_image)
    }
}

/// Writes a layout.
#[derive(Default)]
struct Writer {
    builder: Builder,
    reads: Vec<usize>,
    critiques: Vec<usize>,
    cuts: Vec<usize>,
    /// The number of the step, from 1.
    number: usize,
}

impl Writer {
    fn read(&mut self) {
        self.reads.push(self.builder.seal());
    }

    fn cut(&mut self) {
        self.cuts.push(self.builder.seal());
    }

    fn step(&mut self, template: &Template, step: &str, text: &TextForm) {
        self.number += 1;
        for part in template.parts() {
            if *part != Part::Slot(Slot::Step) {
                self.part(part);
                continue;
            }
            if text.apart {
                self.cut();
            }
            self.builder.plain(if text.strip { strip(step) } else { step });
            if text.apart {
                self.cut();
            }
        }
    }

    fn template(&mut self, template: &Template) {
        template.parts().iter().for_each(|part| self.part(part));
    }

    fn part(&mut self, part: &Part) {
        match part {
            Part::Text(own) => self.builder.text(own),
            Part::Slot(Slot::Number) => self.builder.text(&self.number.to_string()),
            Part::Slot(Slot::Critique) => self.critiques.push(self.builder.seal()),
            Part::Slot(Slot::Read) => self.read(),
            Part::Slot(_) => {}
        }
    }
}

impl PrmForm {
    /// Returns the text in which a model of this form reads `steps`, candidate steps of a question with `images` images. The last
    /// step is an answer if the candidate is `finished`. Special tokens that the question or a step spells out are text. Critiques,
    /// which the model writes, are left out.
    ///
    /// # Errors
    /// [`FormError::NoImages`].
    pub fn layout<S: AsRef<str>>(
        &self,
        question: &str,
        steps: &[S],
        images: usize,
        finished: bool,
    ) -> Result<Layout, FormError> {
        let text = &self.text;
        let mut writer = Writer::default();
        self.begin(&mut writer.builder, question, images)?;
        for (index, step) in steps.iter().enumerate() {
            if index > 0 {
                writer.template(&text.between);
            }
            let is_answer = finished && index + 1 == steps.len();
            writer.step(if is_answer { &text.answer } else { &text.step }, step.as_ref(), text);
        }
        writer.template(&text.end);
        let Writer { builder, reads, critiques, cuts, .. } = writer;
        Ok(Layout { pieces: builder.finish(), reads, critiques, cuts, bos: self.begins_with_bos() })
    }

    /// Returns how many of a candidate's `steps` each of its texts shows: one text shows all, or if scores are read at the end, one
    /// after each step.
    pub(crate) fn shown(&self, steps: usize) -> impl Iterator<Item = usize> + Clone + use<> {
        let first = if self.reads_at_end() { 1 } else { steps.max(1) };
        first..=steps
    }

    /// Returns the text before the first step.
    #[cfg(feature = "engine")]
    pub(crate) fn beginning(&self, question: &str, images: usize) -> Result<Layout, FormError> {
        let mut builder = Builder::default();
        self.begin(&mut builder, question, images)?;
        Ok(Layout { pieces: builder.finish(), bos: self.begins_with_bos(), ..Layout::default() })
    }

    /// Returns the text of one step, and what is written before it: for forms that read log-probabilities.
    #[cfg(feature = "engine")]
    pub(crate) fn step_pieces(&self, step: &str, index: usize, is_answer: bool) -> Vec<Piece> {
        let text = &self.text;
        let mut writer = Writer { number: index, ..Writer::default() };
        if index > 0 {
            writer.template(&text.between);
        }
        writer.step(if is_answer { &text.answer } else { &text.step }, step, text);
        writer.builder.finish()
    }

    fn begin(&self, builder: &mut Builder, question: &str, images: usize) -> Result<(), FormError> {
        let in_front = images.saturating_sub(question.matches(IMAGE_PLACEHOLDER).count());
        if in_front > 0 && !self.has_images() {
            return Err(FormError::NoImages { images: in_front, form: self.name().to_owned() });
        }
        for part in self.text.begin.parts() {
            match part {
                Part::Text(text) => builder.text(text),
                Part::Slot(Slot::System) => builder.text(&self.text.system),
                Part::Slot(Slot::Images) => (0..in_front).for_each(|image| self.image(builder, image)),
                Part::Slot(Slot::Question) => {
                    let is_first = self.text.strip && self.begins_with_question();
                    let question = if is_first { question.trim_start_matches(is_space) } else { question };
                    builder.question(question, in_front, images);
                }
                Part::Slot(_) => {}
            }
        }
        Ok(())
    }

    /// Whether a message begins with the question: only white space is between a mark and it. Templates that trim messages trim it.
    fn begins_with_question(&self) -> bool {
        let parts =
            self.text.begin.parts().iter().rev().skip_while(|part| **part != Part::Slot(Slot::Question)).skip(1);
        match parts.into_iter().find(|part| **part != Part::Slot(Slot::Images)) {
            Some(Part::Text(text)) => {
                let text = text.trim_end_matches(is_space);
                self.text.marks.iter().any(|mark| text.ends_with(mark.as_str()))
            }
            _ => false,
        }
    }

    fn image(&self, builder: &mut Builder, image: usize) {
        for part in self.text.image.parts() {
            match part {
                Part::Text(text) => builder.text(text),
                Part::Slot(_) => builder.image(image),
            }
        }
    }

    /// Returns whether scores are made of the log-probabilities of the steps' own tokens.
    pub fn is_implicit(&self) -> bool {
        self.read_out().is_of_tokens()
    }

    /// Returns whether scores take a reference model too.
    pub fn has_reference(&self) -> bool {
        matches!(self.read_out(), ReadOut::LogRatio { .. })
    }

    /// Returns whether the model writes a critique of each step before the step's score is read.
    pub fn writes_critiques(&self) -> bool {
        self.read_out().is_after_critique()
    }

    /// Returns the text before images or the question, between steps, and after them: of forms without placeholders there.
    pub(crate) fn frame(&self) -> (String, String, String) {
        let text = &self.text;
        let until = text.begin.parts().iter().position(|part| *part == Part::Slot(Slot::Images)).unwrap_or_default();
        let before = |part: &Part| match part {
            Part::Text(own) => own.clone(),
            Part::Slot(Slot::System) => text.system.clone(),
            Part::Slot(_) => String::new(),
        };
        let before = text.begin.parts()[..until].iter().map(before).collect();
        (before, text.between.text(|_| None), text.end.text(|_| None))
    }
}
