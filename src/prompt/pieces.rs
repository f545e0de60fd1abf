//! A prompt as pieces of text and image positions.

/// Marks the position of an image in the text of a question.
pub const IMAGE_PLACEHOLDER: &str = "<image>";

/// A run of text, or an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Text of the template, in which special tokens are recognised.
    Text(String),
    /// Text of a question, a step or an answer, in which special tokens are text.
    Plain(String),
    /// An image, by its index in the problem's list.
    Image(usize),
}

/// Which images a prompt shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Images {
    /// Every image: if a question has fewer placeholders than images, the missing ones are put in
    /// front of the text, one a line. A placeholder in a step is text.
    #[default]
    All,
    /// As MM-PRM: if a text has no placeholder, in the question or in a step, one is put in front of
    /// it; images beyond the placeholders are dropped.
    Reference,
}

/// Returns the prompt as one string, with `tokens_per_image[i]` context tokens for image `i` (none
/// for images beyond the list).
pub fn render(pieces: &[Piece], tokens_per_image: &[usize]) -> String {
    let mut text = String::new();
    for piece in pieces {
        match piece {
            Piece::Text(part) | Piece::Plain(part) => text.push_str(part),
            Piece::Image(index) => {
                let tokens = tokens_per_image.get(*index).copied().unwrap_or(0);
                text.extend(["<img>", &"<IMG_CONTEXT>".repeat(tokens), "</img>"]);
            }
        }
    }
    text
}

/// A part of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// The template's own words.
    Template(&'a str),
    /// A question, which may have image placeholders.
    Question(&'a str),
    /// A step of a solution.
    Step(&'a str),
}

impl Part<'_> {
    fn text(&self) -> &str {
        match self {
            Self::Template(text) | Self::Question(text) | Self::Step(text) => text,
        }
    }

    /// Whether its placeholders become images.
    fn has_images(&self, mode: Images) -> bool {
        matches!((self, mode), (Self::Question(_), _) | (_, Images::Reference))
    }
}

/// Builds a prompt; consecutive texts of a kind become one piece.
#[derive(Default)]
pub(super) struct Builder {
    pieces: Vec<Piece>,
    /// Pieces before this one are complete.
    sealed: usize,
}

impl Builder {
    pub(super) fn text(&mut self, text: &str) {
        match self.last_open() {
            Some(Piece::Text(last)) => last.push_str(text),
            _ if text.is_empty() => {}
            _ => self.pieces.push(Piece::Text(text.to_owned())),
        }
    }

    pub(super) fn plain(&mut self, text: &str) {
        match self.last_open() {
            Some(Piece::Plain(last)) => last.push_str(text),
            _ if text.is_empty() => {}
            _ => self.pieces.push(Piece::Plain(text.to_owned())),
        }
    }

    pub(super) fn image(&mut self, image: usize) {
        self.pieces.push(Piece::Image(image));
    }

    fn last_open(&mut self) -> Option<&mut Piece> {
        self.pieces[self.sealed..].last_mut()
    }

    /// Ends the current piece; returns the number of pieces so far.
    pub(super) fn seal(&mut self) -> usize {
        self.sealed = self.pieces.len();
        self.sealed
    }

    /// Appends a question whose placeholders become the images from `next` on, of `images`; placeholders beyond them stay as text.
    pub(super) fn question(&mut self, question: &str, next: usize, images: usize) {
        self.with_images(Part::Question(question), next, images);
    }

    /// Appends a part whose placeholders become images; returns the index of the next image.
    fn with_images(&mut self, part: Part<'_>, mut next: usize, images: usize) -> usize {
        let mut rest = part.text();
        while next < images
            && let Some((before, after)) = rest.split_once(IMAGE_PLACEHOLDER)
        {
            self.part(part, before);
            self.image(next);
            next += 1;
            rest = after;
        }
        self.part(part, rest);
        next
    }

    fn part(&mut self, part: Part<'_>, text: &str) {
        match part {
            Part::Template(_) => self.text(text),
            Part::Question(_) | Part::Step(_) => self.plain(text),
        }
    }

    /// Appends a message whose placeholders become images; placeholders beyond the images stay as text.
    pub(super) fn message(&mut self, parts: &[Part<'_>], images: usize, mode: Images) {
        let with_images = parts.iter().filter(|part| part.has_images(mode));
        let placeholders: usize = with_images.map(|part| part.text().matches(IMAGE_PLACEHOLDER).count()).sum();
        let in_front = match mode {
            Images::All => images.saturating_sub(placeholders),
            Images::Reference => usize::from(images > 0 && placeholders == 0),
        };
        for image in 0..in_front {
            self.image(image);
            self.text("\n");
        }
        let mut next = in_front;
        for part in parts {
            if part.has_images(mode) {
                next = self.with_images(*part, next, images);
            } else {
                self.part(*part, part.text());
            }
        }
    }

    pub(super) fn finish(self) -> Vec<Piece> {
        self.pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text with `[i]` for image `i`.
    fn laid_out(text: &str, images: usize, mode: Images) -> String {
        let mut builder = Builder::default();
        builder.message(&[Part::Question(text)], images, mode);
        let write = |piece: &Piece| match piece {
            Piece::Text(text) | Piece::Plain(text) => text.clone(),
            Piece::Image(index) => format!("[{index}]"),
        };
        builder.finish().iter().map(write).collect()
    }

    #[test]
    fn every_image_is_shown_and_missing_placeholders_are_put_in_front() {
        assert_eq!(laid_out("a", 0, Images::All), "a");
        assert_eq!(laid_out("a", 1, Images::All), "[0]\na");
        assert_eq!(laid_out("a", 3, Images::All), "[0]\n[1]\n[2]\na");
        assert_eq!(laid_out("a <image> b", 2, Images::All), "[0]\na [1] b");
        assert_eq!(laid_out("<image><image>", 2, Images::All), "[0][1]");
    }

    #[test]
    fn placeholders_beyond_the_images_stay_text() {
        for mode in [Images::All, Images::Reference] {
            assert_eq!(laid_out("<image> and <image>", 1, mode), "[0] and <image>");
            assert_eq!(laid_out("<image>", 0, mode), "<image>");
        }
    }

    #[test]
    fn a_step_does_not_take_the_image_of_the_question() {
        let pieces = |mode| {
            let mut builder = Builder::default();
            builder.message(&[Part::Question("q"), Part::Template("\n"), Part::Step("<image>")], 1, mode);
            builder.finish()
        };
        let text = |text: &str| Piece::Text(text.into());
        let plain = |text: &str| Piece::Plain(text.into());
        assert_eq!(pieces(Images::All), [Piece::Image(0), text("\n"), plain("q"), text("\n"), plain("<image>")]);
        assert_eq!(pieces(Images::Reference), [plain("q"), text("\n"), Piece::Image(0)]);
    }

    #[test]
    fn mm_prm_drops_images_without_a_placeholder() {
        assert_eq!(laid_out("a", 0, Images::Reference), "a");
        assert_eq!(laid_out("a", 2, Images::Reference), "[0]\na");
        assert_eq!(laid_out("a <image> b", 2, Images::Reference), "a [0] b");
    }
}
