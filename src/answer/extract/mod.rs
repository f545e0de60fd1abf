//! Extracts the final answer from a text.
//!
//! The text may be a bare answer ("42", "$[2,5)$", "(B) 12 cm") or a whole solution with the answer
//! near its end. The rules, most reliable first: the last `\boxed{}`; an `<answer>` tag; words that
//! announce an answer ("the final answer is", "Answer:", "答案是"); the whole text, if it is not a
//! sentence; and finally the last mathematics, bold number, number or letter, which is only a guess
//! ([`Method::is_fallback`]). The last stated answer wins. Text after it ("I hope it is correct",
//! another turn of the conversation) is ignored.
//!
//! Only the last 64 KiB and the first 4 KiB of a text are searched, in linear time. Interpreting
//! the answer (the last side of `3 + 4 = 7`, units, lists) is left to the comparison.
//!
//! ```
//! use mmprm::answer::extract::{Method, extract};
//! let stated = extract(r"Adding both gives $\boxed{\frac{3}{4}}$. I hope it is correct.");
//! assert_eq!(stated.parts, [r"\frac{3}{4}"]);
//! assert_eq!(stated.method, Method::Boxed);
//! let guessed = extract("With 4 cats and 3 dogs, there are 7 animals in all.");
//! assert_eq!(guessed.parts, ["7"]);
//! assert!(guessed.method.is_fallback());
//! ```

mod announced;
mod boxed;
mod choice;
mod extraction;
mod fallback;
mod letters;
mod number;
mod scan;
mod sentence;
mod stated;

use super::spec::{AnswerSpec, AnswerType};
use scan::{MAX_ANSWER_BYTES, MAX_HEAD_BYTES, MAX_TAIL_BYTES};

pub use extraction::{Extraction, Method};

/// Extracts a free answer from `text`.
///
/// ```
/// use mmprm::answer::extract::extract;
/// assert_eq!(extract("So the final answer is 3.5 cm.").parts, ["3.5 cm"]);
/// ```
pub fn extract(text: &str) -> Extraction<'_> {
    let tail = relevant_tail(text);
    if let Some(stated) = stated::last(tail) {
        return stated;
    }
    unstated(text, tail)
}

/// Extracts the answer to a problem with known options or a known answer type: the letter of the
/// chosen option (the first is A), a number for an integer or a float, a list in brackets. Falls
/// back to [`extract`].
///
/// ```
/// use mmprm::answer::{AnswerSpec, extract::extract_for};
/// let spec = AnswerSpec { choices: vec!["45°".into(), "55°".into()], ..AnswerSpec::default() };
/// assert_eq!(extract_for("Both add to 90°, so the angle is 55 degrees.", &spec).parts, ["B"]);
/// ```
pub fn extract_for<'a>(text: &'a str, spec: &AnswerSpec) -> Extraction<'a> {
    let tail = relevant_tail(text);
    let special = if spec.choices.is_empty() {
        match spec.answer_type {
            Some(AnswerType::Integer | AnswerType::Float) => number::numeric(tail),
            Some(AnswerType::List) => number::list(tail),
            Some(AnswerType::Text) | None => None,
        }
    } else {
        choice::chosen(text, tail, &spec.choices)
    };
    special.unwrap_or_else(|| extract(text))
}

/// Returns the end of the text, without further turns of the conversation, thoughts and end marks.
fn relevant_tail(text: &str) -> &str {
    const ENDS: [&str; 5] = ["<|im_end|>", "<|im_start|>", "<|endoftext|>", "<|eot_id|>", "</s>"];
    let mut tail = scan::tail(text, MAX_TAIL_BYTES);
    if !tail.contains('<') {
        return tail.trim();
    }
    if let Some((_, answer)) = tail.rsplit_once("</think>").filter(|(_, answer)| !answer.trim().is_empty()) {
        tail = answer;
    }
    if tail.contains("</s>") || tail.contains("<|") {
        for end in ENDS {
            tail = tail.split(end).find(|piece| !piece.trim().is_empty()).unwrap_or("");
        }
    }
    tail.trim()
}

/// Extracts the answer of a text that states none.
fn unstated<'a>(text: &'a str, tail: &'a str) -> Extraction<'a> {
    if tail.is_empty() {
        return Extraction::nothing();
    }
    // Most bare answers are numbers.
    if tail.len() <= MAX_ANSWER_BYTES && tail.bytes().all(|byte| byte.is_ascii_digit() || b".,-".contains(&byte)) {
        return Extraction::one(Method::WholeText, tail);
    }
    if let Some(math) = labelled_math(tail) {
        return Extraction::one(Method::LastMath, math);
    }
    if sentence::is_bare(tail) {
        return Extraction::one(Method::WholeText, tail);
    }
    if let Some(letters) = letters::leading(scan::head(text, MAX_HEAD_BYTES)) {
        return Extraction::one(Method::Leading, letters.text);
    }
    if let Some((method, guess)) = fallback::last(tail) {
        return Extraction::one(method, guess);
    }
    if tail.len() <= 200 { Extraction::one(Method::WholeText, tail) } else { Extraction::nothing() }
}

/// Returns the mathematics after a label: "The two points: $(0, 1)$".
fn labelled_math(tail: &str) -> Option<&str> {
    let (label, math) = tail.split_once(": ")?;
    let math = math.trim();
    let words = sentence::words(label) > 1 && !label.contains(|c: char| c.is_ascii_digit() || matches!(c, '$' | '\\'));
    let enclosed = [("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")];
    let mathematics = enclosed.iter().any(|(open, close)| math.starts_with(open) && math.ends_with(close));
    (words && mathematics).then_some(math)
}

#[cfg(test)]
mod tests;
