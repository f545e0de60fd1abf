//! Where is the answer in a text?
//!
//! A text may be an answer already ("42", "$[2,5)$", "(B) 12 cm"), or a whole solution with the answer somewhere near its end.
//! The rules, the surest first: the last `\boxed{}`; an `<answer>` tag; words that announce an answer ("the final answer is",
//! "Answer:", "答案是"); the whole text, where it is no sentence; and then what stands last: mathematics, a bold number, a number,
//! a letter. The last are guesses and say so ([`Found::is_fallback`]). The last statement of an answer wins over those before,
//! and chatter behind it ("I hope it is correct", another turn of the conversation) does not count.
//!
//! Only the last 64 KiB and the first 4 KiB of a text are looked at, every rule in time linear in them. What the answer *means*
//! (the last side of `3 + 4 = 7`, units, lists) is the comparison's business.
//!
//! ```
//! use mmprm::answer::extract::{Found, extract};
//! let found = extract(r"Adding both gives $\boxed{\frac{3}{4}}$. I hope it is correct.");
//! assert_eq!(found.parts, [r"\frac{3}{4}"]);
//! assert_eq!(found.found, Found::Boxed);
//! let found = extract("With 4 cats and 3 dogs, there are 7 animals in all.");
//! assert_eq!(found.parts, ["7"]);
//! assert!(found.found.is_fallback());
//! ```

use std::borrow::Cow;

use super::{AnswerSpec, AnswerType};

mod announced;
mod boxed;
mod choice;
mod fallback;
mod letters;
mod number;
mod scan;
mod sentence;

/// How much of a text's end is looked at, in bytes.
const TAIL: usize = 64 << 10;

/// How much of a text's beginning is looked at where its end tells nothing, in bytes.
const HEAD: usize = 4 << 10;

/// How an answer was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// In a `\boxed{}` or `\fbox{}`.
    Boxed,
    /// In an `<answer>` tag.
    Tagged,
    /// Words announce it.
    Announced,
    /// The text is nothing but an answer.
    Whole,
    /// The text begins with a choice's letter or with the text of an option.
    Leading,
    /// Guessed: the last bold number or letter.
    LastBold,
    /// Guessed: the last mathematics.
    LastMath,
    /// Guessed: the last number.
    LastNumber,
    /// Guessed: the last letter of a choice.
    LastLetter,
    /// Guessed: the option that was mentioned last.
    LastOption,
    /// There is none.
    Nothing,
}

impl Found {
    /// Whether the answer is a guess from what stands last, which nothing says is the answer.
    pub fn is_fallback(self) -> bool {
        matches!(self, Self::LastBold | Self::LastMath | Self::LastNumber | Self::LastLetter | Self::LastOption)
    }
}

/// An answer and how it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extraction<'a> {
    /// The answer; several where boxes joined by words give it piece by piece; none if nothing was found.
    pub parts: Vec<Cow<'a, str>>,
    /// How.
    pub found: Found,
}

impl<'a> Extraction<'a> {
    fn one(found: Found, answer: impl Into<Cow<'a, str>>) -> Self {
        Self { parts: vec![answer.into()], found }
    }

    fn nothing() -> Self {
        Self { parts: Vec::new(), found: Found::Nothing }
    }
}

/// The answer in `text`, for a free answer.
pub fn extract(text: &str) -> Extraction<'_> {
    let view = view(text);
    if let Some(stated) = stated(view) {
        return stated;
    }
    unstated(text, view)
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
    let view = view(text);
    let special = if spec.choices.is_empty() {
        match spec.answer_type {
            Some(AnswerType::Integer | AnswerType::Float) => number::numeric(view),
            Some(AnswerType::List) => number::list(view),
            Some(AnswerType::Text) | None => None,
        }
    } else {
        choice::chosen(text, view, &spec.choices)
    };
    special.unwrap_or_else(|| extract(text))
}

/// What is looked at: the end of the text, without another turn of the conversation, thoughts or end marks.
fn view(text: &str) -> &str {
    const ENDS: [&str; 5] = ["<|im_end|>", "<|im_start|>", "<|endoftext|>", "<|eot_id|>", "</s>"];
    let mut view = scan::tail(text, TAIL);
    if !view.contains('<') {
        return view.trim();
    }
    if let Some((_, answer)) = view.rsplit_once("</think>").filter(|(_, answer)| !answer.trim().is_empty()) {
        view = answer;
    }
    if view.contains("</s>") || view.contains("<|") {
        for end in ENDS {
            view = view.split(end).find(|piece| !piece.trim().is_empty()).unwrap_or("");
        }
    }
    view.trim()
}

/// An answer that a box, a tag or words present as such; the last of them wins.
fn stated(view: &str) -> Option<Extraction<'_>> {
    // Figures and signs alone present nothing.
    if !view.bytes().any(|byte| byte.is_ascii_alphabetic() || !byte.is_ascii()) {
        return None;
    }
    let boxes = boxed::last(view);
    if let Some((start, inside)) = tagged(view)
        && boxes.as_ref().is_none_or(|boxes| boxes.start < start)
    {
        let inner = announced::all(inside).first().map_or(inside, |announcement| announcement.said);
        return Some(Extraction::one(Found::Tagged, inner));
    }
    let announcements = announced::all(view);
    if let Some(boxes) = boxes {
        let later = announcements.iter().find(|announcement| announcement.start > boxes.start);
        return Some(match later.filter(|later| is_firm(later.said)) {
            Some(later) => said(later.said),
            None => Extraction { parts: boxes.contents, found: Found::Boxed },
        });
    }
    announcements.first().map(|last| said(last.said))
}

/// The answer in what words announce.
fn said(said: &str) -> Extraction<'_> {
    let bare = sentence::is_bare(said);
    if let Some(letters) = letters::at_start(said)
        && (letters.dressed || !bare)
        && !sentence::is_bare(letters.rest)
    {
        return Extraction::one(Found::Announced, letters.text);
    }
    // "Final answer: Tom has to wait 3 days more" is no answer yet, though no word of it gives the sentence away.
    let sentence =
        !bare || sentence::words(said) > 3 && said.starts_with(char::is_alphabetic) && fallback::has_one_number(said);
    let number = || fallback::last_number(said).map(|number| (Found::LastNumber, number));
    let guess = if sentence { fallback::last(said).or_else(number) } else { None };
    guess.map_or_else(|| Extraction::one(Found::Announced, said), |(found, guess)| Extraction::one(found, guess))
}

/// The inside of the last `<answer>` tag that is not empty, which may not be closed, and where it begins.
fn tagged(view: &str) -> Option<(usize, &str)> {
    const OPEN: &str = "<answer>";
    view.rmatch_indices(OPEN).find_map(|(start, _)| {
        let inside = &view[start + OPEN.len()..];
        let inside = inside.split("</answer>").next().unwrap_or(inside).trim();
        (!inside.is_empty()).then_some((start, inside))
    })
}

/// Whether words announce something so plain that it counts more than a box before it.
fn is_firm(said: &str) -> bool {
    let tells =
        said.contains(|c: char| c.is_ascii_digit() || c == '\\' || c == '$') || letters::at_start(said).is_some();
    tells && !said.contains("oxed") && sentence::is_bare(said)
}

/// The answer of a text that does not say where it is.
fn unstated<'a>(text: &'a str, view: &'a str) -> Extraction<'a> {
    if view.is_empty() {
        return Extraction::nothing();
    }
    if let Some(math) = labelled(view) {
        return Extraction::one(Found::LastMath, math);
    }
    if sentence::is_bare(view) {
        return Extraction::one(Found::Whole, view);
    }
    if let Some(letters) = leading_letter(scan::head(text, HEAD)) {
        return Extraction::one(Found::Leading, letters.text);
    }
    if let Some((found, guess)) = fallback::last(view) {
        return Extraction::one(found, guess);
    }
    if view.len() <= 200 { Extraction::one(Found::Whole, view) } else { Extraction::nothing() }
}

/// The mathematics behind words that only name it: "The two points: $(0, 1)$".
fn labelled(view: &str) -> Option<&str> {
    let (label, math) = view.split_once(": ")?;
    let math = math.trim();
    let words = sentence::words(label) > 1 && !label.contains(|c: char| c.is_ascii_digit() || matches!(c, '$' | '\\'));
    let enclosed = [("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")];
    let mathematics = enclosed.iter().any(|(open, close)| math.starts_with(open) && math.ends_with(close));
    (words && mathematics).then_some(math)
}

/// The marked letter that a text begins with, if no others follow as a list's would.
fn leading_letter(text: &str) -> Option<letters::Letters<'_>> {
    let text = text.trim_start();
    let letters =
        letters::at_start(text).filter(|letters| letters.dressed || letters.rest.starts_with(scan::is_unspaced))?;
    let lists = letters.rest.lines().skip(1).any(|line| letters::at_start(line).is_some_and(|letters| letters.dressed));
    (!lists).then_some(letters)
}

#[cfg(test)]
mod tests;
