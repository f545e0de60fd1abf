//! How a policy wrote the elements of a rollout, for requests that continue them.
//!
//! A step's text does not tell how it was written: the same text can be other tokens, and white space around the tags is
//! lost. A node that continues its parent's own tokens therefore needs them; whoever asks (a search) carries them from the
//! rollout to the request and does not look inside.

use std::sync::Arc;

use crate::data::solution;
use crate::engine::Token;

/// One element of a rollout as its policy wrote it, with its tags and what stands before them. Only the policy that made it
/// can read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepTokens(pub(super) Form);

/// What it is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(not(feature = "engine"), allow(dead_code, reason = "only the local policy keeps tokens"))]
pub(super) enum Form {
    /// Tokens of the model that runs here.
    Tokens(Arc<[Token]>),
    /// The text that a server sent.
    Text(Arc<str>),
}

/// The elements of `rollout`, [parsed](solution::parse) from the text of `tokens`, in tokens. `piece` gives the text of one
/// token, `special` texts are no part of what the tags hold. Empty where an element ends within a token that has more than
/// white space after it: such a token cannot be divided.
#[cfg_attr(not(feature = "engine"), allow(dead_code, reason = "only the local policy keeps tokens"))]
pub(super) fn in_tokens<S: AsRef<str>>(
    tokens: &[Token],
    piece: impl Fn(Token) -> String,
    special: &[S],
    rollout: &[String],
) -> Vec<StepTokens> {
    let mut text = String::new();
    let mut starts = Vec::with_capacity(tokens.len());
    for &token in tokens {
        starts.push(text.len());
        let piece = piece(token);
        if !special.iter().any(|special| special.as_ref() == piece) {
            text.push_str(&piece);
        }
    }
    let mut written = Vec::with_capacity(rollout.len());
    let mut from = 0;
    for end in ends(&text) {
        let to = starts.partition_point(|&start| start < end);
        let next = starts.get(to).copied().unwrap_or(text.len());
        if from > to || !text[end..next].trim().is_empty() {
            return Vec::new();
        }
        written.push(StepTokens(Form::Tokens(tokens[from..to].into())));
        from = to;
    }
    // Special tokens that were spelled out are taken away from the text only.
    if written.len() == rollout.len() { written } else { Vec::new() }
}

/// The elements of `rollout`, parsed from `text`, as text; `special` texts are taken away.
pub(super) fn in_text<S: AsRef<str>>(text: &str, special: &[S], rollout: &[String]) -> Vec<StepTokens> {
    let text = special.iter().fold(text.to_owned(), |text, special| text.replace(special.as_ref(), ""));
    let mut from = 0;
    let piece = |end: usize| StepTokens(Form::Text(text[std::mem::replace(&mut from, end)..end].into()));
    let written: Vec<StepTokens> = ends(&text).into_iter().map(piece).collect();
    if written.len() == rollout.len() { written } else { Vec::new() }
}

/// Where the closing tags of the elements end.
fn ends(text: &str) -> Vec<usize> {
    let end = |content: std::ops::Range<usize>| text[content.end..].find('>').map(|at| content.end + at + 1);
    solution::spans(text).into_iter().filter_map(end).collect()
}

/// All tokens of `written`, if all of it is tokens and there is one for each of `steps` steps.
#[cfg_attr(not(feature = "engine"), allow(dead_code, reason = "only the local policy keeps tokens"))]
pub(super) fn tokens(written: &[StepTokens], steps: usize) -> Option<Vec<Token>> {
    let mut all = Vec::new();
    for StepTokens(form) in written.iter().filter(|_| written.len() == steps) {
        let Form::Tokens(tokens) = form else { return None };
        all.extend_from_slice(tokens);
    }
    (written.len() == steps).then_some(all)
}

/// The text of `written`, if all of it is text and there is one for each of `steps` steps.
pub(super) fn text(written: &[StepTokens], steps: usize) -> Option<String> {
    let piece = |StepTokens(form): &StepTokens| match form {
        Form::Text(text) => Some(text.to_string()),
        Form::Tokens(_) => None,
    };
    if written.len() == steps { written.iter().map(piece).collect() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tokens of these pieces, by index.
    fn cut(pieces: &[&str]) -> Option<Vec<usize>> {
        let tokens: Vec<Token> = (0..pieces.len() as Token).collect();
        let rollout = solution::parse(&pieces.concat(), &["<end>"]);
        let written = in_tokens(&tokens, |token| pieces[token as usize].to_owned(), &["<end>"], &rollout);
        let lengths = |StepTokens(form): &StepTokens| match form {
            Form::Tokens(tokens) => tokens.len(),
            Form::Text(_) => panic!("tokens were given"),
        };
        (written.len() == rollout.len()).then(|| written.iter().map(lengths).collect())
    }

    #[test]
    fn every_token_belongs_to_the_element_in_which_it_begins() {
        assert_eq!(cut(&["<step>", "a", " b", "</step>", "<answer>", "c", "</answer>", "<end>"]), Some(vec![4, 3]));
        assert_eq!(cut(&["<step>a</", "step", ">\n", "\n", "<answer>c</answer>"]), Some(vec![3, 2]));
        assert_eq!(cut(&["Well: ", "<step>", " </step>", "<end>", "<step>b</step>"]), Some(vec![3, 2]));
    }

    #[test]
    fn a_token_that_holds_the_end_of_one_element_and_the_start_of_the_next_cannot_be_divided() {
        assert_eq!(cut(&["<step>a</step", "><", "step>b</step>"]), None);
    }

    #[test]
    fn characters_that_are_several_tokens_do_no_harm() {
        assert_eq!(cut(&["<step>", "\u{fffd}", "\u{fffd}", "</step>", "<step>b</step>"]), Some(vec![4, 1]));
    }

    #[test]
    fn text_keeps_what_stands_between_the_tags() {
        let raw = "<step> a </step>\n<step>b</step>\n<answer>c</answer><end>";
        let rollout = solution::parse(raw, &["<end>"]);
        let written = in_text(raw, &["<end>"], &rollout);
        assert_eq!(text(&written[..2], 2).as_deref(), Some("<step> a </step>\n<step>b</step>"));
        assert_eq!((text(&written, 2), tokens(&written, 3)), (None, None));
    }
}
