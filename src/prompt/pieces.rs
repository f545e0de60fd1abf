//! A prompt as pieces of text and image positions.

/// Marks the position of an image in the text of a question.
pub const IMAGE_PLACEHOLDER: &str = "<image>";

/// A run of text, or an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Text with special tokens written out.
    Text(String),
    /// An image, by its index in the problem's list.
    Image(usize),
}

/// Which images a prompt shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Images {
    /// Every image: if a text has fewer placeholders than images, the missing ones are put in front
    /// of it, one a line.
    #[default]
    All,
    /// As MM-PRM: if a text has no placeholder, one is put in front of it; images beyond the
    /// placeholders are dropped.
    Reference,
}

/// Returns the prompt as one string, with `tokens_per_image[i]` context tokens for image `i` (none
/// for images beyond the list).
pub fn render(pieces: &[Piece], tokens_per_image: &[usize]) -> String {
    let mut text = String::new();
    for piece in pieces {
        match piece {
            Piece::Text(part) => text.push_str(part),
            Piece::Image(index) => {
                let tokens = tokens_per_image.get(*index).copied().unwrap_or(0);
                text.extend(["<img>", &"<IMG_CONTEXT>".repeat(tokens), "</img>"]);
            }
        }
    }
    text
}

/// Builds a prompt; consecutive texts become one piece.
#[derive(Default)]
pub(super) struct Builder {
    pieces: Vec<Piece>,
}

impl Builder {
    pub(super) fn text(&mut self, text: &str) {
        match self.pieces.last_mut() {
            Some(Piece::Text(last)) => last.push_str(text),
            _ if text.is_empty() => {}
            _ => self.pieces.push(Piece::Text(text.to_owned())),
        }
    }

    /// Appends text whose placeholders become images; placeholders beyond the images stay as text.
    pub(super) fn text_with_images(&mut self, text: &str, images: usize, mode: Images) {
        let placeholders = text.matches(IMAGE_PLACEHOLDER).count();
        let in_front = match mode {
            Images::All => images.saturating_sub(placeholders),
            Images::Reference => usize::from(images > 0 && placeholders == 0),
        };
        for image in 0..in_front {
            self.pieces.push(Piece::Image(image));
            self.text("\n");
        }
        let mut rest = text;
        for image in in_front..images {
            let Some((before, after)) = rest.split_once(IMAGE_PLACEHOLDER) else { break };
            self.text(before);
            self.pieces.push(Piece::Image(image));
            rest = after;
        }
        self.text(rest);
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
        builder.text_with_images(text, images, mode);
        let write = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
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
    fn mm_prm_drops_images_without_a_placeholder() {
        assert_eq!(laid_out("a", 0, Images::Reference), "a");
        assert_eq!(laid_out("a", 2, Images::Reference), "[0]\na");
        assert_eq!(laid_out("a <image> b", 2, Images::Reference), "a [0] b");
    }
}
