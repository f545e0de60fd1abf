use super::record::Text;
use super::{Goal, Placed, Sample, SpecialTokens, Target};
use crate::prompt::Piece;

/// Splits text into token ids.
pub trait Tokenizer: Sync {
    /// The ids of a text in which special tokens are written out; `first` says whether the text begins a sequence, and so
    /// gets the vocabulary's own first token.
    ///
    /// # Errors
    /// Why the text cannot be split.
    fn encode(&self, text: &str, first: bool) -> Result<Vec<u32>, String>;

    /// The token whose text is exactly this, if there is one.
    fn token(&self, text: &str) -> Option<u32>;
}

/// How much of a text there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Length {
    /// Most tokens of a sample.
    pub tokens: usize,
    /// Whether longer samples are cut there instead of refused.
    pub truncate: bool,
}

/// What texts become tokens with.
pub(super) struct Encoder<'a> {
    pub tokenizer: &'a dyn Tokenizer,
    pub words: SpecialTokens,
    pub tokens_per_tile: usize,
    pub length: Length,
    pub token_labels: bool,
}

/// What stands between question and steps in a text for a PRM.
const PROCESS: &str = "\nProcess: ";

/// Images of a text: their indices in the data set, and their tiles.
pub(super) type Shown<'a> = &'a [(usize, usize)];

impl Encoder<'_> {
    /// The sample of a text.
    pub fn sample(&self, text: &Text, shown: Shown<'_>, id: String, problem: u64) -> Result<Sample, String> {
        let (mut tokens, images) = self.tokens(text, shown)?;
        let mut targets = match &text.reply {
            None => self.steps(&tokens, text, shown)?,
            Some(_) => self.predictions(&tokens, text, shown)?,
        };
        if tokens.len() > self.length.tokens {
            if !self.length.truncate {
                let (found, most) = (tokens.len(), self.length.tokens);
                return Err(format!("{found} tokens, expected at most {most}; ask for longer samples, or to truncate"));
            }
            self.truncate(&mut tokens, &mut targets, &images, shown)?;
        }
        Ok(Sample { id, problem, tokens, images, targets })
    }

    /// Context and reply as tokens, with the places of the images.
    fn tokens(&self, text: &Text, shown: Shown<'_>) -> Result<(Vec<u32>, Vec<Placed>), String> {
        let (mut tokens, mut images, mut run) = (Vec::new(), Vec::new(), String::new());
        let flush = |run: &mut String, tokens: &mut Vec<u32>| -> Result<(), String> {
            if !run.is_empty() {
                let ids = self.tokenizer.encode(run, tokens.is_empty())?;
                if ids.contains(&self.words.context) {
                    return Err("its text has `<IMG_CONTEXT>` in it, which only images have".into());
                }
                tokens.extend(ids);
                run.clear();
            }
            Ok(())
        };
        for piece in &text.context {
            match piece {
                Piece::Text(more) => run.push_str(more),
                Piece::Image(index) => {
                    let &(image, tiles) =
                        shown.get(*index).ok_or("its text refers to an image that it does not have")?;
                    run.push_str("<img>");
                    flush(&mut run, &mut tokens)?;
                    images.push(Placed { start: tokens.len(), image });
                    tokens.extend(std::iter::repeat_n(self.words.context, tiles * self.tokens_per_tile));
                    run.push_str("</img>");
                }
            }
        }
        if let Some(reply) = &text.reply {
            run.push_str(reply);
            run.push_str("<|im_end|>");
        }
        flush(&mut run, &mut tokens)?;
        Ok((tokens, images))
    }

    /// A label at each step token, and where asked at each token of the step.
    fn steps(&self, tokens: &[u32], text: &Text, shown: Shown<'_>) -> Result<Vec<Target>, String> {
        let ends: Vec<usize> = (0..tokens.len()).filter(|row| tokens[*row] == self.words.step).collect();
        if ends.len() != text.labels.len() {
            // The texts were counted; this is a tokenizer that does not keep `<prm>` whole.
            let (found, expected) = (ends.len(), text.labels.len());
            return Err(format!("{found} tokens `<prm>`, expected {expected}, one for each label"));
        }
        let mut targets = Vec::new();
        let mut start = if self.token_labels { self.process(tokens, text, shown)? } else { 0 };
        for ((end, label), weight) in ends.into_iter().zip(&text.labels).zip(&text.weights) {
            let rows = if self.token_labels { start..end + 1 } else { end..end + 1 };
            targets.extend(rows.map(|row| Target { row, goal: Goal::Label(*label), weight: *weight }));
            start = end + 1;
        }
        Ok(targets)
    }

    /// The row of the first step's first token.
    fn process(&self, tokens: &[u32], text: &Text, shown: Shown<'_>) -> Result<usize, String> {
        let mut before = text.clone();
        let place = |piece: &Piece| match piece {
            Piece::Text(text) => text.find(PROCESS),
            Piece::Image(_) => None,
        };
        let Some((index, cut)) = before.context.iter().enumerate().find_map(|(i, piece)| Some((i, place(piece)?)))
        else {
            return Ok(0);
        };
        before.context.truncate(index + 1);
        if let Some(Piece::Text(last)) = before.context.last_mut() {
            last.truncate(cut + PROCESS.len());
        }
        let (given, _) = self.tokens(&before, shown)?;
        // The first step may join the last token before it.
        Ok(given.iter().zip(tokens).take_while(|(given, token)| given == token).count())
    }

    /// The next token at each row from the last one of the context.
    fn predictions(&self, tokens: &[u32], text: &Text, shown: Shown<'_>) -> Result<Vec<Target>, String> {
        let context = Text { reply: None, ..text.clone() };
        let (given, _) = self.tokens(&context, shown)?;
        // The reply may join the context's last token; it is then predicted whole.
        let shared = given.iter().zip(tokens).take_while(|(given, token)| given == token).count();
        let rows = shared.max(1) - 1..tokens.len() - 1;
        Ok(rows.map(|row| Target::new(row, Goal::Token(tokens[row + 1]))).collect())
    }

    fn truncate(
        &self,
        tokens: &mut Vec<u32>,
        targets: &mut Vec<Target>,
        images: &[Placed],
        shown: Shown<'_>,
    ) -> Result<(), String> {
        let most = self.length.tokens;
        let tiles = |image| shown.iter().find(|(index, _)| *index == image).map_or(0, |(_, tiles)| *tiles);
        let cut = |placed: &Placed| placed.start + tiles(placed.image) * self.tokens_per_tile > most;
        if images.iter().any(cut) {
            return Err(format!("{} tokens, and the limit of {most} would cut an image", tokens.len()));
        }
        // A row at the end may be asked for a token that is gone: it is known still.
        tokens.truncate(most);
        targets.retain(|target| target.row < most);
        if targets.is_empty() {
            return Err(format!("nothing to learn is left within the limit of {most} tokens"));
        }
        Ok(())
    }
}
