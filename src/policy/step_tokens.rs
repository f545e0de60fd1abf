//! The policy's own tokens for each step of a rollout, for requests that continue it.
//!
//! A step's text does not determine its tokens: other tokens can spell the same text, and white
//! space around the tags is stripped. A search that continues a rollout (`Continue::Assistant`)
//! therefore carries these from the rollout to the request; only the policy that made them reads
//! them.

use std::sync::Arc;

use crate::data::solution;
use crate::engine::Token;

/// One step as its policy generated it, with its tags and everything since the previous step.
/// Opaque to callers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepTokens(pub(super) Form);

/// The representation: a local model's tokens or a server's text.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(not(feature = "engine"), allow(dead_code, reason = "only the local policy keeps tokens"))]
pub(super) enum Form {
    /// Tokens of a local model.
    Tokens(Arc<[Token]>),
    /// The raw text that a server returned.
    Text(Arc<str>),
}

/// Divides `tokens` into the steps of `rollout`, which was [parsed](solution::parse) from their
/// text. `piece` returns the text of one token; tokens equal to a `special` text are removed from
/// the text first. `None` where a step ends within a token that has more than white space after it:
/// such a token cannot be divided.
#[cfg_attr(not(feature = "engine"), allow(dead_code, reason = "only the local policy keeps tokens"))]
pub(super) fn from_tokens<S: AsRef<str>>(
    tokens: &[Token],
    piece: impl Fn(Token) -> String,
    special: &[S],
    rollout: &[String],
) -> Option<Vec<StepTokens>> {
    let mut text = String::new();
    let mut starts = Vec::with_capacity(tokens.len());
    for &token in tokens {
        starts.push(text.len());
        let piece = piece(token);
        if !special.iter().any(|special| special.as_ref() == piece) {
            text.push_str(&piece);
        }
    }
    let mut steps = Vec::with_capacity(rollout.len());
    let mut from = 0;
    for end in step_ends(&text) {
        let to = starts.partition_point(|&start| start < end);
        let next = starts.get(to).copied().unwrap_or(text.len());
        if from > to || !text[end..next].trim().is_empty() {
            return None;
        }
        steps.push(StepTokens(Form::Tokens(tokens[from..to].into())));
        from = to;
    }
    // Special tokens that were spelled out in ordinary tokens are missing from the rollout only.
    (steps.len() == rollout.len()).then_some(steps)
}

/// Divides `text` into the steps of `rollout`, which was parsed from it; `special` texts are
/// removed.
pub(super) fn from_text<S: AsRef<str>>(text: &str, special: &[S], rollout: &[String]) -> Option<Vec<StepTokens>> {
    let text = solution::without(text, special);
    let mut from = 0;
    let piece = |end: usize| StepTokens(Form::Text(text[std::mem::replace(&mut from, end)..end].into()));
    let steps: Vec<StepTokens> = step_ends(&text).into_iter().map(piece).collect();
    (steps.len() == rollout.len()).then_some(steps)
}

/// The byte offsets just after the steps' closing tags.
fn step_ends(text: &str) -> Vec<usize> {
    let end = |content: std::ops::Range<usize>| text[content.end..].find('>').map(|at| content.end + at + 1);
    solution::spans(text).into_iter().filter_map(end).collect()
}

/// Concatenates the tokens of `steps`; `None` unless there are `count` entries and all are tokens.
#[cfg_attr(not(feature = "engine"), allow(dead_code, reason = "only the local policy keeps tokens"))]
pub(super) fn tokens(steps: &[StepTokens], count: usize) -> Option<Vec<Token>> {
    let mut all = Vec::new();
    for StepTokens(form) in steps.iter().filter(|_| steps.len() == count) {
        let Form::Tokens(tokens) = form else { return None };
        all.extend_from_slice(tokens);
    }
    (steps.len() == count).then_some(all)
}

/// Concatenates the text of `steps`; `None` unless there are `count` entries and all are text.
pub(super) fn text(steps: &[StepTokens], count: usize) -> Option<String> {
    let piece = |StepTokens(form): &StepTokens| match form {
        Form::Text(text) => Some(text.to_string()),
        Form::Tokens(_) => None,
    };
    if steps.len() == count { steps.iter().map(piece).collect() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers the pieces as tokens and returns how many tokens each step has.
    fn divided(pieces: &[&str]) -> Option<Vec<usize>> {
        let tokens: Vec<Token> = (0..pieces.len() as Token).collect();
        let rollout = solution::parse(&pieces.concat(), &["<end>"]);
        let steps = from_tokens(&tokens, |token| pieces[token as usize].to_owned(), &["<end>"], &rollout)?;
        let length = |StepTokens(form): &StepTokens| match form {
            Form::Tokens(tokens) => tokens.len(),
            Form::Text(_) => panic!("tokens were given"),
        };
        Some(steps.iter().map(length).collect())
    }

    #[test]
    fn every_token_belongs_to_the_step_in_which_it_begins() {
        assert_eq!(divided(&["<step>", "a", " b", "</step>", "<answer>", "c", "</answer>", "<end>"]), Some(vec![4, 3]));
        assert_eq!(divided(&["<step>a</", "step", ">\n", "\n", "<answer>c</answer>"]), Some(vec![3, 2]));
        assert_eq!(divided(&["Well: ", "<step>", " </step>", "<end>", "<step>b</step>"]), Some(vec![3, 2]));
    }

    #[test]
    fn a_token_that_spans_two_steps_cannot_be_divided() {
        assert_eq!(divided(&["<step>a</step", "><", "step>b</step>"]), None);
    }

    #[test]
    fn characters_of_several_tokens_are_divided() {
        assert_eq!(divided(&["<step>", "\u{fffd}", "\u{fffd}", "</step>", "<step>b</step>"]), Some(vec![4, 1]));
    }

    #[test]
    fn text_keeps_what_is_between_the_tags() {
        let raw = "<step> a </step>\n<step>b</step>\n<answer>c</answer><end>";
        let rollout = solution::parse(raw, &["<end>"]);
        let steps = from_text(raw, &["<end>"], &rollout).unwrap();
        assert_eq!(text(&steps[..2], 2).as_deref(), Some("<step> a </step>\n<step>b</step>"));
        assert_eq!((text(&steps, 2), tokens(&steps, 3)), (None, None));
    }
}
