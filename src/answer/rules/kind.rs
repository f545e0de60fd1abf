//! The kind of an expected answer, and whether the rules can verify answers against it.

use std::fmt;

use super::{choices, compare, condition, free, key_notes, letters, numbered_parts, readings, words};
use crate::answer::comparison::Outcome;
use crate::answer::extract::{Method, extract};
use crate::answer::grammar::{Shape, normalize};
use crate::answer::math::Expr;
use crate::answer::spec::AnswerSpec;

/// The kind of an expected answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AnswerKind {
    /// One of the problem's options.
    Choice,
    /// A letter without known options.
    Letter,
    /// A number, possibly with a unit.
    Number,
    /// An expression with variables, or a matrix.
    Expression,
    /// Several values: a list, or answers to several blanks.
    Several,
    /// A point, an interval, a set, or a union of them.
    Set,
    /// An equation or an inequality.
    Relation,
    /// A ratio.
    Ratio,
    /// A time of day.
    Time,
    /// A sign, yes or no, or one or two words.
    Word,
    /// Answers to numbered questions.
    Parts,
    /// One of many right answers, as the answer itself says.
    Open,
    /// A sentence or more, in which no answer is stated.
    Text,
}

impl fmt::Display for AnswerKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Choice => "choice",
            Self::Letter => "letter",
            Self::Number => "number",
            Self::Expression => "expression",
            Self::Several => "several",
            Self::Set => "set",
            Self::Relation => "relation",
            Self::Ratio => "ratio",
            Self::Time => "time",
            Self::Word => "word",
            Self::Parts => "parts",
            Self::Open => "open",
            Self::Text => "text",
        })
    }
}

/// Returns the kind of an expected answer; `None` for an empty one.
///
/// ```
/// use mmprm::answer::{AnswerKind, AnswerSpec, kind};
/// let spec = AnswerSpec::default();
/// assert_eq!(kind(r"$\frac{1}{2}$ cm", &spec), Some(AnswerKind::Number));
/// assert_eq!(kind("AB = CD (not unique)", &spec), Some(AnswerKind::Open));
/// assert_eq!(kind(" ", &spec), None);
/// ```
pub fn kind(answer: &str, spec: &AnswerSpec) -> Option<AnswerKind> {
    if answer.trim().trim_matches('$').trim().is_empty() {
        return None;
    }
    if choices::is_option(answer, spec) {
        return Some(AnswerKind::Choice);
    }
    let extraction = extract(answer);
    if extraction.method == Method::Nothing {
        return Some(AnswerKind::Text);
    }
    let condition = condition(answer, &extraction);
    if numbered_parts::has_parts(&normalize(answer)) {
        return Some(AnswerKind::Parts);
    }
    if extraction.method.is_fallback() && condition.is_none() {
        return Some(AnswerKind::Text);
    }
    let text = condition.map_or_else(|| free::joined(extraction), Into::into);
    let text = normalize(&text);
    let text = match key_notes::parse(&text) {
        Some(note) if note.open => return Some(AnswerKind::Open),
        Some(note) => note.forms[0].to_owned(),
        None => text,
    };
    if prose_words(&text) > MAX_PROSE_WORDS {
        return Some(AnswerKind::Text);
    }
    if letters::letter(&text).is_some() {
        return Some(AnswerKind::Letter);
    }
    // Letters side by side are a product in the grammar.
    let is_word = |word: &str| word.chars().count() > 3 && word.chars().all(char::is_alphabetic);
    let count = text.split_whitespace().count();
    if words::closed_class(&text, &text).is_some() || count <= 2 && text.split_whitespace().all(is_word) {
        return Some(AnswerKind::Word);
    }
    let shapes = readings::readings(&text).unwrap_or_default();
    let shape = shapes.iter().find(|shape| !matches!(shape, Shape::Words(_)));
    Some(match shape {
        Some(shape) => of_shape(shape),
        None if is_half_relation(&text) => AnswerKind::Relation,
        None if count <= 2 => AnswerKind::Word,
        None => AnswerKind::Text,
    })
}

/// Maximum words of prose in an answer that is no sentence, such as the name of a figure or a remark on a value.
const MAX_PROSE_WORDS: usize = 6;

/// Counts the words of prose in a text: letters that are neither a command nor few enough to be variables.
fn prose_words(text: &str) -> usize {
    let starts = text.char_indices().filter(|(at, letter)| {
        letter.is_alphabetic() && !text[..*at].ends_with(|before: char| before.is_alphabetic() || before == '\\')
    });
    let length = |at: usize| text[at..].chars().take_while(|letter| letter.is_alphabetic()).count();
    starts.filter(|(at, _)| length(*at) > 2).count()
}

/// Whether a text is the right side of a condition: `> -2`, for a blank after a variable.
fn is_half_relation(text: &str) -> bool {
    const SIGNS: [&str; 10] = ["<", ">", "=", "≤", "≥", "≠", "\\leq", "\\geq", "\\le", "\\ge"];
    SIGNS.iter().any(|sign| text.trim().strip_prefix(sign).is_some_and(|rest| rest.contains(char::is_alphanumeric)))
}

fn of_shape(shape: &Shape) -> AnswerKind {
    match shape {
        Shape::Value(expr, _) if expr.symbols().is_empty() && !matches!(expr, Expr::Matrix(..)) => AnswerKind::Number,
        Shape::Value(..) => AnswerKind::Expression,
        Shape::List(_) | Shape::Parts(_) => AnswerKind::Several,
        Shape::Bracketed(..) | Shape::Union(_) | Shape::Without(..) | Shape::SetOf(..) => AnswerKind::Set,
        Shape::Joined(..) | Shape::Chain(..) | Shape::Piecewise(_) => AnswerKind::Relation,
        Shape::Ratio(_) => AnswerKind::Ratio,
        Shape::Time(_) => AnswerKind::Time,
        Shape::Words(_) => AnswerKind::Text,
    }
}

/// Returns whether the rules can verify answers against this one without a judge: it is no sentence and not one of many, it equals
/// itself, and another answer differs from it.
///
/// ```
/// use mmprm::answer::{AnswerSpec, is_verifiable};
/// assert!(is_verifiable("3.5 cm", &AnswerSpec::default()));
/// assert!(!is_verifiable("Because both triangles share the side AB, they are congruent.", &AnswerSpec::default()));
/// ```
pub fn is_verifiable(answer: &str, spec: &AnswerSpec) -> bool {
    // No answer to a problem; one of each kind, of which one that differs is enough.
    const OTHERS: [&str; 10] =
        ["918273645", "x^{77} = 918273645", "sideways", "G", "H", "<", ">", "no", "yes", "(2)(7)"];
    let outcome = |other: &str| compare(answer, other, spec).outcome;
    !matches!(kind(answer, spec), None | Some(AnswerKind::Text | AnswerKind::Open))
        && outcome(answer) == Outcome::Equal
        && OTHERS.iter().any(|other| outcome(other) == Outcome::Different)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of(answer: &str) -> String {
        kind(answer, &AnswerSpec::default()).map_or("none".to_owned(), |kind| kind.to_string())
    }

    #[test]
    fn every_form_of_answer_has_its_kind() {
        for (expected, answers) in [
            ("none", &["", " ", "$$ $$"][..]),
            (
                "number",
                &["6", "$$\\dfrac{3}{2}$$", "30${}^\\circ $", "40m.", "12 meters.", "$2\\sqrt{3}$ cm", "108\\pi"],
            ),
            ("expression", &["$\\frac{a}{2}$", "$2\\sin (2x-\\frac{\\pi }{6})$", "2a+b"]),
            ("several", &["254.4\n267.12", "3, 4 and 5"]),
            ("set", &["(1, 2)", "$[0, 3)$", "\\{1, 2\\}"]),
            ("relation", &["$x \\geqslant 2$", "$$\\dfrac{x^{2}}{8}+\\dfrac{y^{2}}{4}=1$$", ">-2", "$EB=BD$"]),
            ("ratio", &["1:2"]),
            ("word", &["$ < $", "yes", "increasing", "isosceles triangle"]),
            ("letter", &["A", "$$B$$", "(C)"]),
            ("parts", &["(1) 3; (2) 4", "①2 ②5"]),
            ("open", &["AB = CD (not unique)"]),
            (
                "text",
                &["Because the two triangles have equal sides, the angles at B and C are equal as well, so AB = AC."],
            ),
        ] {
            for answer in answers {
                assert_eq!(kind_of(answer), expected, "{answer}");
            }
        }
        let options = AnswerSpec { choices: vec!["3 cm".into(), "4 cm".into()], ..AnswerSpec::default() };
        assert_eq!(kind("B", &options), Some(AnswerKind::Choice));
        assert_eq!(kind("3 cm", &options), Some(AnswerKind::Choice));
        assert_eq!(kind("5 cm", &options), Some(AnswerKind::Number));
    }

    #[test]
    fn an_answer_is_verifiable_if_rules_tell_it_from_others() {
        let spec = AnswerSpec::default();
        for answer in [
            "6",
            "$x \\geqslant 2$",
            "yes",
            "$2a+b$",
            "(1, 2)",
            "1:2",
            "A",
            "increasing",
            "3, 4",
            "$ < $",
            ">",
            "=",
            "1.3.4.",
            "(1)(3)",
            "no",
            "north",
        ] {
            assert!(is_verifiable(answer, &spec), "{answer}");
        }
        for answer in [
            "",
            "AB = CD (answers may vary)",
            "Proof: by the side-angle-side rule the two triangles are congruent, and so their sides are equal.",
            "The number of visitors rises in spring and falls in autumn.",
        ] {
            assert!(!is_verifiable(answer, &spec), "{answer}");
        }
    }
}
