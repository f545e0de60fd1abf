//! Determines which of the known options a response chooses.

use super::extraction::{Extraction, Method};
use super::scan::{MAX_HEAD_BYTES, head, is_wordlike, strip_word};
use super::stated::{overrides_box, tagged};
use super::{announced, boxed, fallback, letters, number, sentence};
use crate::answer::byte_pairs::BytePairs;

/// Words that start a conclusion.
const CONCLUSIONS: [&str; 6] = ["therefore", "thus", "hence", "so", "in conclusion", "overall"];

/// The letters of options.
const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// Maximum number of sentences searched for an option, from the last one backwards.
const MAX_SENTENCES: usize = 64;

/// Words that negate a sentence.
const NEGATIONS: [&str; 12] =
    ["not", "no", "nor", "false", "incorrect", "isn't", "aren't", "doesn't", "don't", "cannot", "never", "neither"];

/// Returns the letter of the chosen option, or the final number if it is not one of the options.
pub(super) fn chosen<'a>(text: &'a str, tail: &'a str, choices: &[String]) -> Option<Extraction<'a>> {
    let options = Options::new(choices);
    if let Some(option) = options.equal(tail).or_else(|| options.letter(tail).filter(|_| sentence::is_bare(tail))) {
        return letter(Method::WholeText, option);
    }
    // "Cannot be determined" may itself be an option.
    if sentence::refuses(tail) && !choices.iter().any(|choice| sentence::refuses(choice)) {
        return Some(Extraction::nothing());
    }
    let tag = tagged(tail).and_then(|(_, inside)| options.resolve(inside));
    if let Some(option) = tag {
        return letter(Method::Tagged, option);
    }
    let alone =
        tail.lines().last().and_then(|line| letters::at_start(line).filter(|letters| letters.rest.trim().is_empty()));
    if let Some(option) = alone.map(|letters| letters.first).filter(|&option| option < choices.len()) {
        return letter(Method::Announced, option);
    }
    let boxed = boxed::last(tail).and_then(|boxes| options.resolve(boxes.contents.last()?));
    if let Some(option) = boxed {
        return letter(Method::Boxed, option);
    }
    for announcement in announced::all(tail) {
        if let Some(option) = options.resolve(announcement.text) {
            return letter(Method::Announced, option);
        }
        if overrides_box(announcement.text) {
            let letters = letters::at_start(announcement.text).map(|letters| letters.text);
            return Some(Extraction::one(Method::Announced, letters.unwrap_or(announcement.text)));
        }
    }
    if let Some(option) = options.leading(head(text.trim_start(), MAX_HEAD_BYTES)) {
        return letter(Method::Leading, option);
    }
    let bold = fallback::bold(tail).and_then(|bold| options.resolve(bold));
    if let Some(option) = bold {
        return letter(Method::LastBold, option);
    }
    options.last_mentioned(tail).or_else(|| letter(Method::LastOption, options.yes_or_no(tail)?))
}

fn letter(method: Method, option: usize) -> Option<Extraction<'static>> {
    LETTERS.get(option..=option).map(|letter| Extraction::one(method, letter))
}

/// The options in comparable form.
struct Options {
    texts: Vec<String>,
    numbers: Vec<Option<f64>>,
}

impl Options {
    fn new(choices: &[String]) -> Self {
        let texts: Vec<String> =
            choices.iter().take(LETTERS.len()).map(|choice| folded(head(choice, MAX_HEAD_BYTES))).collect();
        let numbers = texts.iter().map(|text| value(text)).collect();
        Self { texts, numbers }
    }

    /// Returns the option that a statement of an answer means.
    fn resolve(&self, statement: &str) -> Option<usize> {
        let statement = head(statement, MAX_HEAD_BYTES);
        let prose = sentence::words(statement) > 1;
        self.letter(statement)
            .or_else(|| self.equal(statement))
            .or_else(|| self.mentioned_first(statement).filter(|&option| prose || self.is_phrase(option)))
            .or_else(|| self.with_value(statement, prose))
    }

    /// Returns the option whose letter starts the statement; `None` for several letters.
    fn letter(&self, statement: &str) -> Option<usize> {
        let letters = letters::at_start(statement).filter(|letters| letters.text.len() == 1)?;
        (letters.first < self.texts.len()).then_some(letters.first)
    }

    /// Returns whether the option contains a word, so that it does not occur in a formula by
    /// chance.
    fn is_phrase(&self, option: usize) -> bool {
        sentence::words(&self.texts[option]) > 0
    }

    fn equal(&self, statement: &str) -> Option<usize> {
        let statement = folded(head(statement, MAX_HEAD_BYTES));
        if statement.trim().is_empty() {
            return None;
        }
        self.texts.iter().position(|text| solid(text).eq(solid(&statement)))
    }

    /// Returns the option mentioned first; of two that start together, the longer one.
    fn mentioned_first(&self, statement: &str) -> Option<usize> {
        let statement = folded(statement);
        let places = self
            .texts
            .iter()
            .enumerate()
            .filter_map(|(option, text)| Some((mentions(&statement, text).next()?, option)));
        places.min_by_key(|&(at, option)| (at, std::cmp::Reverse(self.texts[option].len()))).map(|(_, option)| option)
    }

    /// Returns the option mentioned last; of two that end together, the longer one.
    fn mentioned_last(&self, statement: &str) -> Option<usize> {
        let statement = folded(statement);
        let places = self.texts.iter().enumerate().filter_map(|(option, text)| {
            let last = mentions(&statement, text).last()?;
            Some((last + text.len(), option))
        });
        places.max_by_key(|&(end, option)| (end, self.texts[option].len())).map(|(_, option)| option)
    }

    /// Returns the option with the value of the statement, or of the last number in prose.
    fn with_value(&self, statement: &str, prose: bool) -> Option<usize> {
        let number =
            value(&folded(statement)).or_else(|| value(fallback::last_number(statement).filter(|_| prose)?))?;
        self.numbers.iter().position(|option| option.is_some_and(|option| (option - number).abs() < 1e-9))
    }

    /// Returns the option that a response starts with.
    fn leading(&self, opening: &str) -> Option<usize> {
        let letters = letters::leading(opening).map(|letters| letters.first);
        letters.filter(|&option| option < self.texts.len()).or_else(|| {
            let first = folded(opening.lines().next()?);
            let begin = self.texts.iter().enumerate().filter(|(_, text)| {
                first
                    .strip_prefix(text.as_str())
                    .is_some_and(|rest| !rest.starts_with(is_wordlike) && rest.starts_with([',', '.', ':', ';']))
            });
            begin.max_by_key(|(_, text)| text.len()).map(|(option, _)| option)
        })
    }

    /// Returns the option of the last sentence that mentions one, or its number if the options are
    /// numbers.
    fn last_mentioned<'a>(&self, tail: &'a str) -> Option<Extraction<'a>> {
        let numeric = self.numbers.iter().flatten().count() > self.texts.len() / 2;
        sentence::last_first(tail).take(MAX_SENTENCES).find_map(|sentence| {
            let bracketed = sentence.rmatch_indices('(').find_map(|(at, _)| {
                letters::at_start(&sentence[at..]).filter(|letters| letters.marked).map(|letters| letters.first)
            });
            let option = bracketed
                .filter(|&option| option < self.texts.len())
                .or_else(|| self.mentioned_last(sentence))
                .or_else(|| self.with_value(sentence, true))
                .or_else(|| LETTERS.find(fallback::last_letter(sentence)?).filter(|&option| option < self.texts.len()));
            let number = || {
                number::in_prose(sentence).filter(|_| numeric).map(|number| Extraction::one(Method::LastNumber, number))
            };
            option.and_then(|option| letter(Method::LastOption, option)).or_else(number)
        })
    }

    /// Of the options yes and no, returns the one that the conclusion of a response implies
    /// (without a conclusion, its first sentence).
    fn yes_or_no(&self, tail: &str) -> Option<usize> {
        let yes = self.texts.iter().position(|text| text == "yes")?;
        let no = self.texts.iter().position(|text| text == "no")?;
        let concludes =
            |sentence: &&str| CONCLUSIONS.iter().any(|word| strip_word(sentence.trim_start(), word).is_some());
        let conclusion = sentence::last_first(tail)
            .take(MAX_SENTENCES)
            .find(concludes)
            .or_else(|| sentence::last_first(tail).last())?;
        let mut negated = false;
        sentence::each_word(conclusion, |word| {
            negated |= NEGATIONS.iter().any(|negation| negation.eq_ignore_ascii_case(word));
        });
        Some(if negated { no } else { yes })
    }
}

/// Returns the bytes of a text without its spaces.
fn solid(text: &str) -> impl Iterator<Item = u8> {
    text.bytes().filter(|byte| *byte != b' ')
}

/// Returns the offsets at which `text` mentions an option as a separate word, number or phrase.
fn mentions<'a>(text: &'a str, option: &'a str) -> impl Iterator<Item = usize> {
    let found = (!option.is_empty()).then(|| text.match_indices(option)).into_iter().flatten();
    found.map(|(at, _)| at).filter(move |&at| {
        let (before, following) = (&text[..at], &text[at + option.len()..]);
        let worded = option.starts_with(is_wordlike) && before.ends_with(is_wordlike)
            || option.ends_with(is_wordlike) && following.starts_with(is_wordlike);
        let digits = option.starts_with(|c: char| c.is_ascii_digit()) && before.ends_with(['.', '-'])
            || option.ends_with(|c: char| c.is_ascii_digit())
                && following
                    .strip_prefix(['.', ','])
                    .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        !worded && !digits
    })
}

/// Returns the text in lower case without wrappers: dollars, font and spacing commands, repeated
/// spaces, a final period. Symbols replace their commands.
fn folded(text: &str) -> String {
    const FOLDS: [(&str, &str); 20] = [
        ("\\mathrm", ""),
        ("\\text", ""),
        ("\\left", ""),
        ("\\right", ""),
        ("\\displaystyle", ""),
        ("\\,", " "),
        ("\\!", ""),
        ("~", " "),
        ("\\circ", "°"),
        ("^°", "°"),
        ("^{°}", "°"),
        ("²", "^2"),
        ("³", "^3"),
        ("\\times", "x"),
        ("×", "x"),
        ("\\pi", "π"),
        ("\\sqrt", "√"),
        ("\\dfrac", "\\frac"),
        ("−", "-"),
        ("degrees", "°"),
    ];
    let mut plain = text.to_lowercase();
    let mut pairs = BytePairs::of(&plain);
    for (from, to) in FOLDS {
        if pairs.may_hold(from) && plain.contains(from) {
            plain = plain.replace(from, to);
            pairs = BytePairs::of(&plain);
        }
    }
    plain.retain(|c| !matches!(c, '$' | '*' | '{' | '}' | '\\' | '"'));
    let mut folded = String::with_capacity(plain.len());
    for word in plain.split_whitespace() {
        if !folded.is_empty() {
            folded.push(' ');
        }
        folded.push_str(word);
    }
    folded.truncate(folded.trim_end_matches('.').len());
    folded
}

/// Returns the value of a number, with or without a unit of one word.
fn value(text: &str) -> Option<f64> {
    let text = text.trim_start_matches(['=', ' ']);
    let end = text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | ',' | '-'))).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let plain = unit.chars().all(|c| c.is_alphabetic() || matches!(c, '°' | ' ' | '%' | '²' | '³' | '^' | '2' | '3'));
    plain.then(|| number.replace(',', "").parse().ok()).flatten().filter(|value: &f64| value.is_finite())
}
