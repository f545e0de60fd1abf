//! How likely each element of a rollout was, from the logprobs of its tokens.

use super::StepLogprob;
use crate::data::solution;

/// The logprobs of the elements of `rollout`, [parsed](solution::parse) from the text that `pieces` make: each piece is a
/// token's text and the logarithm of its probability. The tokens of an element are those that begin inside it. `special`
/// texts are no part of what the tags hold. Empty where the pieces are not the text (parts of characters, special tokens
/// spelled out): then nothing is told.
pub(super) fn of_elements<S: AsRef<str>>(
    pieces: impl IntoIterator<Item = (String, f64)>,
    special: &[S],
    rollout: &[String],
) -> Vec<StepLogprob> {
    let mut text = String::new();
    let mut tokens = Vec::new();
    for (piece, log_probability) in pieces {
        tokens.push((text.len(), log_probability));
        if !special.iter().any(|special| special.as_ref() == piece) {
            text.push_str(&piece);
        }
    }
    let spans = solution::spans(&text);
    let same = spans.len() == rollout.len()
        && spans.iter().zip(rollout).all(|(span, element)| text[span.clone()] == **element);
    if !same {
        return Vec::new();
    }
    let of = |span: &std::ops::Range<usize>| {
        let inside = tokens.iter().filter(|(start, _)| span.contains(start));
        inside.fold(StepLogprob { log_probability: 0.0, tokens: 0 }, |sum, (_, log_probability)| StepLogprob {
            log_probability: sum.log_probability + log_probability,
            tokens: sum.tokens + 1,
        })
    };
    spans.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pieces: &[(&str, f64)], rollout: &[&str]) -> Vec<StepLogprob> {
        let rollout: Vec<String> = rollout.iter().map(|&element| element.to_owned()).collect();
        of_elements(pieces.iter().map(|&(piece, logarithm)| (piece.to_owned(), logarithm)), &["<|im_end|>"], &rollout)
    }

    #[test]
    fn tokens_belong_to_the_element_they_begin_in() {
        let pieces = [
            ("<step>", -9.0),
            ("It", -1.0),
            (" is 2", -0.5),
            (".</step>", -0.25),
            ("<answer>2", -7.0),
            ("0", -0.125),
            ("</answer>", -8.0),
            ("<|im_end|>", -3.0),
        ];
        let logprob = of(&pieces, &["It is 2.", "20"]);
        assert_eq!(
            logprob,
            [StepLogprob { log_probability: -1.75, tokens: 3 }, StepLogprob { log_probability: -0.125, tokens: 1 }]
        );
    }

    #[test]
    fn nothing_is_told_where_the_pieces_are_not_the_text() {
        assert_eq!(of(&[("<step>", -1.0), ("\u{fffd}", -1.0), ("</step>", -1.0)], &["é"]), []);
        assert_eq!(of(&[], &["a"]), []);
    }
}
