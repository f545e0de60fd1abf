//! Steps and answers parsed out of model text.
//!
//! As in MM-PRM, special tokens are removed, then the contents of the tags are taken in order, and
//! the last of them is the answer. Whether an answer is correct is left to
//! [`answer`](crate::answer).
//!
//! ```
//! use mmprm::data::solution::{answer_text, parse};
//! let rollout = parse("<step> 2 + 2 = 4 </step><answer>Answer: The final answer is 4</answer><|im_end|>", &["<|im_end|>"]);
//! assert_eq!(rollout, ["2 + 2 = 4", "Answer: The final answer is 4"]);
//! assert_eq!(answer_text(&rollout), Some("Answer: The final answer is 4"));
//! ```

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use crate::compat::text::strip;

/// One solution: the contents of its `<step>…</step>` and `<answer>…</answer>` tags in order,
/// stripped. The last element is taken as the answer. Text without tags gives an empty rollout.
pub type Rollout = Vec<String>;

/// Which turn of the conversation holds the steps of an unfinished solution when a model continues
/// it.
///
/// ```
/// use mmprm::data::solution::Continue;
/// assert_eq!("assistant".parse(), Ok(Continue::Assistant));
/// assert_eq!(Continue::default().to_string(), "user");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Continue {
    /// The user's turn, as `Previous Steps`: MM-PRM's form, which its policy was trained on.
    #[default]
    User,
    /// The assistant's turn (prefill): the prompt begins as that of a whole solution, and the model
    /// continues after its own steps.
    Assistant,
}

impl fmt::Display for Continue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::User => "user",
            Self::Assistant => "assistant",
        })
    }
}

/// A text that is not the name of a [`Continue`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected `user` or `assistant`, found `{0}`")]
pub struct UnknownContinue(String);

impl FromStr for Continue {
    type Err = UnknownContinue;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::User, Self::Assistant]
            .into_iter()
            .find(|known| known.to_string() == text)
            .ok_or_else(|| UnknownContinue(text.to_owned()))
    }
}

/// The tags that end an element of a solution.
pub(crate) const ENDS: [&str; 2] = ["</step>", "</answer>"];

/// Whether text that was sampled up to the end of a step has such a step and no answer.
pub(crate) fn is_unfinished(text: &str) -> bool {
    text.contains(ENDS[0]) && !text.contains(ENDS[1])
}

/// Parses model text into a rollout.
///
/// `special_tokens` (those of the model's vocabulary without the four tags) are removed first,
/// until none is left. Then every closed tag pair is taken, up to the nearest closing tag, and its content
/// [stripped](strip). Runs in time linear in the text.
pub fn parse<S: AsRef<str>>(text: &str, special_tokens: &[S]) -> Rollout {
    let text = without(text, special_tokens);
    spans(&text).into_iter().map(|span| text[span].to_owned()).collect()
}

/// Parses the text of a model that was not trained to write tags: as [`parse`] if it has some, and else by paragraphs, or by lines
/// if it is one paragraph. The last is the answer.
///
/// ```
/// use mmprm::data::solution::parse_untagged;
/// assert_eq!(parse_untagged("2 + 2\nis 4.\n\nAnswer: 4<|im_end|>", &["<|im_end|>"]), ["2 + 2\nis 4.", "Answer: 4"]);
/// assert_eq!(parse_untagged("It is 4.\nAnswer: 4", &["<|im_end|>"]), ["It is 4.", "Answer: 4"]);
/// ```
pub fn parse_untagged<S: AsRef<str>>(text: &str, special_tokens: &[S]) -> Rollout {
    let tagged = parse(text, special_tokens);
    if !tagged.is_empty() {
        return tagged;
    }
    let text = without(text, special_tokens).replace("\r\n", "\n");
    let parts = |separator: &str| -> Rollout {
        text.split(separator).map(strip).filter(|part| !part.is_empty()).map(str::to_owned).collect()
    };
    let paragraphs = parts("\n\n");
    if paragraphs.len() > 1 { paragraphs } else { parts("\n") }
}

/// Returns `text` without any of `special_tokens`. What is left contains none either: removing one
/// may make another out of what was around it, which is removed too. (MM-PRM removes each of them
/// once.) Runs in time linear in the text.
pub(crate) fn without<S: AsRef<str>>(text: &str, special_tokens: &[S]) -> String {
    let tokens = || special_tokens.iter().map(AsRef::as_ref).filter(|token| !token.is_empty());
    if !tokens().any(|token| text.contains(token)) {
        return text.to_owned();
    }
    let mut ends = [false; 256];
    for token in tokens() {
        ends[usize::from(token.as_bytes()[token.len() - 1])] = true;
    }
    // No token is ever complete in what is kept: the one that a byte completes is taken off the end.
    let mut kept = Vec::with_capacity(text.len());
    for &byte in text.as_bytes() {
        kept.push(byte);
        if ends[usize::from(byte)]
            && let Some(token) =
                tokens().filter(|token| kept.ends_with(token.as_bytes())).max_by_key(|token| token.len())
        {
            kept.truncate(kept.len() - token.len());
        }
    }
    String::from_utf8(kept).expect("text without whole texts stays text")
}

struct Tag {
    open: &'static str,
    close: &'static str,
    /// False once a search for the closing tag has failed: later searches would fail too, and would
    /// make the time quadratic.
    may_close: bool,
}

/// Returns the byte ranges of the tags' contents, in order and stripped, in a text without special
/// tokens.
pub(crate) fn spans(text: &str) -> Vec<Range<usize>> {
    let mut tags = [
        Tag { open: "<step>", close: "</step>", may_close: true },
        Tag { open: "<answer>", close: "</answer>", may_close: true },
    ];
    let mut spans = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        rest = &rest[at..];
        let tag = tags.iter_mut().find(|tag| tag.may_close && rest.starts_with(tag.open));
        let Some(tag) = tag else {
            rest = &rest[1..];
            continue;
        };
        let content = &rest[tag.open.len()..];
        if let Some((content, after)) = content.split_once(tag.close) {
            let stripped = strip(content);
            let start = stripped.as_ptr().addr() - text.as_ptr().addr();
            spans.push(start..start + stripped.len());
            rest = after;
        } else {
            tag.may_close = false;
            rest = content;
        }
    }
    spans
}

/// Returns the last element of a rollout, whether or not it came from an `<answer>` tag, as MM-PRM
/// passes it to its answer check.
pub fn answer_text(rollout: &[String]) -> Option<&str> {
    rollout.last().map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_TOKENS: [&str; 0] = [];

    #[test]
    fn unclosed_tags_are_skipped_and_later_ones_still_parsed() {
        assert_eq!(parse("<step>a<answer>b</answer><step>c", &NO_TOKENS), ["b"]);
        assert_eq!(parse("<answer>a<step>b</step><step>c</step>", &NO_TOKENS), ["b", "c"]);
        assert_eq!(parse("< <step >a</step> <step>é</step>", &NO_TOKENS), ["é"]);
    }

    #[test]
    fn special_tokens_are_removed_until_none_is_left() {
        assert_eq!(parse("<st</s>ep>a</step>", &["</s>"]), ["a"]);
        assert_eq!(parse("<step>x<b<a>>y</step>", &["<a>", "<b>", ""]), ["xy"]);
        assert_eq!(parse("<step>x<b<a>>y</step>", &["<b>", "<a>"]), ["xy"]);
        let end = "<|im_end|>";
        assert_eq!(parse("<answer>2<|im_<|im_end|>end|></answer>", &[end]), ["2"]);
        for depth in [2, 3, 1000, 50_000] {
            let nested = "<|im_".repeat(depth) + &"end|>".repeat(depth);
            assert_eq!(without(&nested, &[end, "<s>"]), "");
            assert_eq!(without(&format!("{nested}é{nested}end|>"), &[end]), "éend|>");
        }
        assert_eq!(without("a<b", &NO_TOKENS), "a<b");
    }

    #[test]
    fn contents_are_stripped_of_pythons_white_space() {
        assert_eq!(parse("<step>\u{1c}\u{85}\u{3000} a\u{200b} \u{1f}</step>", &NO_TOKENS), ["a\u{200b}"]);
    }

    #[test]
    fn hostile_text_takes_linear_time() {
        let opened = "<step><answer>".repeat(200_000);
        assert!(parse(&opened, &NO_TOKENS).is_empty());
        assert_eq!(parse(&(opened + "</answer>"), &NO_TOKENS).len(), 1);
    }
}
