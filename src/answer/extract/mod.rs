//! Where is the answer in a text?
//!
//! A text may be an answer already ("42", "$[2,5)$", "(B) 12 cm"), or a whole solution with the answer somewhere near its end.
//! The rules, the surest first: the last `\boxed{}`; an `<answer>` tag; words that announce an answer ("the final answer is",
//! "Answer:", "答案是"); the whole text, where it is no sentence; and then what stands last: mathematics, a bold number, a number,
//! a letter. The last are guesses and say so ([`Method::is_fallback`]). The last statement of an answer wins over those before,
//! and chatter behind it ("I hope it is correct", another turn of the conversation) does not count.
//!
//! Only the last 64 KiB and the first 4 KiB of a text are looked at, every rule in time linear in them. What the answer *means*
//! (the last side of `3 + 4 = 7`, units, lists) is the comparison's business.
//!
//! ```
//! use mmprm::answer::extract::{Method, extract};
//! let found = extract(r"Adding both gives $\boxed{\frac{3}{4}}$. I hope it is correct.");
//! assert_eq!(found.parts, [r"\frac{3}{4}"]);
//! assert_eq!(found.found, Method::Boxed);
//! let found = extract("With 4 cats and 3 dogs, there are 7 animals in all.");
//! assert_eq!(found.parts, ["7"]);
//! assert!(found.found.is_fallback());
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
use scan::{MAX_HEAD_BYTES, MAX_TAIL_BYTES};

pub use extraction::{Extraction, Method};

/// The answer in `text`, for a free answer.
pub fn extract(text: &str) -> Extraction<'_> {
    let tail = relevant_tail(text);
    if let Some(stated) = stated::last(tail) {
        return stated;
    }
    unstated(text, tail)
}

/// The answer in a model's response to a problem of which the choices or the type of answer are known: the letter of the option
/// that it chooses (the first is A), a number for an integer or a float, a list in brackets. Where there is no such answer it is
/// what [`extract`] finds.
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

/// What is looked at: the end of the text, without another turn of the conversation, thoughts or end marks.
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

/// The answer of a text that does not say where it is.
fn unstated<'a>(text: &'a str, tail: &'a str) -> Extraction<'a> {
    if tail.is_empty() {
        return Extraction::nothing();
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

/// The mathematics behind words that only name it: "The two points: $(0, 1)$".
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
