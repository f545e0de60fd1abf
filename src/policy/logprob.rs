//! Log-probabilities of the steps of a rollout, from those of its tokens.

use super::StepLogprob;
use crate::data::solution;

/// Sums token log-probabilities per step of `rollout`, which was [parsed](solution::parse) from the
/// concatenated `pieces` (text and log-probability of each token). A token belongs to the step that
/// it begins in; tokens equal to a `special` text are removed from the text first. `None` where the
/// pieces do not reproduce the rollout (tokens that are parts of a character, special tokens
/// spelled out).
pub(super) fn of_steps<S: AsRef<str>>(
    pieces: impl IntoIterator<Item = (String, f64)>,
    special: &[S],
    rollout: &[String],
) -> Option<Vec<StepLogprob>> {
    let mut text = String::new();
    let mut tokens = Vec::new();
    for (piece, log_probability) in pieces {
        tokens.push((text.len(), log_probability));
        if !special.iter().any(|special| special.as_ref() == piece) {
            text.push_str(&piece);
        }
    }
    let spans = solution::spans(&text);
    let same =
        spans.len() == rollout.len() && spans.iter().zip(rollout).all(|(span, step)| text[span.clone()] == **step);
    let of = |span: &std::ops::Range<usize>| {
        let inside = tokens.iter().filter(|(start, _)| span.contains(start));
        inside.fold(StepLogprob { log_probability: 0.0, tokens: 0 }, |sum, (_, log_probability)| StepLogprob {
            log_probability: sum.log_probability + log_probability,
            tokens: sum.tokens + 1,
        })
    };
    same.then(|| spans.iter().map(of).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pieces: &[(&str, f64)], rollout: &[&str]) -> Option<Vec<StepLogprob>> {
        let rollout: Vec<String> = rollout.iter().map(|&step| step.to_owned()).collect();
        of_steps(pieces.iter().map(|&(piece, logprob)| (piece.to_owned(), logprob)), &["<|im_end|>"], &rollout)
    }

    #[test]
    fn tokens_belong_to_the_step_they_begin_in() {
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
        let logprob = |log_probability, tokens| StepLogprob { log_probability, tokens };
        assert_eq!(of(&pieces, &["It is 2.", "20"]), Some(vec![logprob(-1.75, 3), logprob(-0.125, 1)]));
    }

    #[test]
    fn pieces_that_do_not_reproduce_the_rollout_give_none() {
        assert_eq!(of(&[("<step>", -1.0), ("\u{fffd}", -1.0), ("</step>", -1.0)], &["é"]), None);
        assert_eq!(of(&[], &["a"]), None);
    }
}
