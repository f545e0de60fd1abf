//! A light verifier: equal after light normalisation, or the same number.
//!
//! It finds the answer in the rollout's last element (after "The final answer is", in a `\boxed{}`, or all of it), peels off
//! what carries no meaning (dollar signs, `\text{}`, a final period, spaces), and compares texts, choice letters and plain
//! numbers. Algebra, units, sets and wordings are beyond it: what it accepts is right, but it misses right answers written
//! in another form.
//!
//! ```
//! use mmprm::answer::exact::agree;
//! assert!(agree("1/2", r"Answer: The final answer is $\boxed{\frac{1}{2}}$."));
//! assert!(agree("B", "The final answer is (B) 12 cm"));
//! assert!(agree("1234.5", "1,234.50"));
//! assert!(!agree("12", "The final answer is 12 cm"));
//! ```

use super::{Verdict, Verifier, VerifyError};
use crate::problem::Problem;

/// How far two numbers may lie apart, relative to the larger, and still be the same.
const TOLERANCE: f64 = 1e-6;

/// Words that come before the answer.
const ANNOUNCEMENT: &str = "final answer is";

/// See the [module](self).
#[derive(Debug, Clone, Copy, Default)]
pub struct ExactVerifier;

impl Verifier for ExactVerifier {
    fn verify(&self, problem: &Problem, answer: &str) -> Result<Verdict, VerifyError> {
        if normalize(&problem.answer).is_empty() {
            return Err(VerifyError(format!("problem {}: expected a correct answer, found an empty one", problem.id)));
        }
        Ok(if agree(&problem.answer, answer) { Verdict::Correct } else { Verdict::Incorrect })
    }
}

/// Whether the last element of a rollout, `said`, gives the answer `truth`.
pub fn agree(truth: &str, said: &str) -> bool {
    let truth = normalize(truth);
    let said = normalize(extract(said));
    truth == said
        || choice(&truth).is_some_and(|letter| chosen(&said) == Some(letter))
        || number(&truth).zip(number(&said)).is_some_and(|(truth, said)| close(truth, said))
}

/// The part of a text that is the answer.
pub fn extract(text: &str) -> &str {
    // Lowering ASCII letters keeps every byte in its place.
    let announced = text.to_ascii_lowercase().rfind(ANNOUNCEMENT).map(|at| &text[at + ANNOUNCEMENT.len()..]);
    let rest = announced.unwrap_or(text);
    boxed(rest).unwrap_or(rest).trim_start_matches(':').trim()
}

/// The contents of the last `\boxed{…}`, braces balanced.
fn boxed(text: &str) -> Option<&str> {
    const OPEN: &str = r"\boxed{";
    let inside = &text[text.rfind(OPEN)? + OPEN.len()..];
    Some(&inside[..closing_brace(inside)?])
}

/// Where the brace closes that was opened just before `text`.
fn closing_brace(text: &str) -> Option<usize> {
    let mut depth = 1_usize;
    for (at, character) in text.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// Peels an answer: outer white space, a final period, dollar signs and wrappers go, inner white space becomes one space,
/// separators between thousands go.
fn normalize(answer: &str) -> String {
    let mut answer = answer;
    loop {
        let peeled = peel(answer.trim());
        if peeled == answer {
            break;
        }
        answer = peeled;
    }
    let words: Vec<&str> = answer.split_whitespace().collect();
    let answer = words.join(" ").replace('−', "-");
    without_thousands(&answer).unwrap_or(answer)
}

fn peel(answer: &str) -> &str {
    const WRAPPERS: [&str; 5] = [r"\boxed{", r"\text{", r"\mathrm{", r"\mathbf{", r"\textbf{"];
    const PAIRS: [(&str, &str); 4] = [("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("**", "**")];
    if let Some(rest) = answer.strip_suffix(['.', '。']) {
        return rest;
    }
    for (open, close) in PAIRS {
        if let Some(inside) = answer.strip_prefix(open).and_then(|rest| rest.strip_suffix(close)) {
            return inside;
        }
    }
    for open in WRAPPERS {
        if let Some(inside) = answer.strip_prefix(open)
            && let Some(body) = inside.strip_suffix('}')
            && closing_brace(inside) == Some(body.len())
        {
            return body;
        }
    }
    answer
}

/// `1,234,567.8` without its commas; nothing if it is no such number.
fn without_thousands(answer: &str) -> Option<String> {
    let plain = answer.replace("{,}", ",");
    let (whole, rest) = plain.split_once('.').map_or((plain.as_str(), None), |(whole, rest)| (whole, Some(rest)));
    let mut groups = whole.strip_prefix('-').unwrap_or(whole).split(',');
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let first = groups.next().is_some_and(|group| (1..=3).contains(&group.len()) && digits(group));
    let grouped = whole.contains(',') && groups.all(|group| group.len() == 3 && digits(group));
    (first && grouped && rest.is_none_or(digits)).then(|| plain.replace(',', ""))
}

/// The letter of an answer that is one: `B`, `(b)`, `B)`.
fn choice(answer: &str) -> Option<char> {
    let bare = answer.strip_prefix('(').unwrap_or(answer);
    let bare = bare.strip_suffix(['.', ')', ':']).unwrap_or(bare);
    let mut letters = bare.chars();
    let letter = letters.next().filter(char::is_ascii_alphabetic)?;
    letters.next().is_none().then(|| letter.to_ascii_uppercase())
}

/// The letter that an answer chooses: it is one, or begins with one that is set off, as `(B) 12 cm` or `B. 12 cm`.
fn chosen(answer: &str) -> Option<char> {
    let marked = answer.split(' ').next().filter(|word| word.ends_with(['.', ')', ':']));
    choice(answer).or_else(|| marked.and_then(choice))
}

/// The value of a decimal number, of a fraction `a/b` or `\frac{a}{b}` of two, or of a percentage.
fn number(answer: &str) -> Option<f64> {
    if let Some(share) = answer.strip_suffix(r"\%").or_else(|| answer.strip_suffix('%')) {
        return decimal(share.trim_end()).map(|percent| percent / 100.0);
    }
    let (sign, unsigned) = answer.strip_prefix('-').map_or((1.0, answer), |rest| (-1.0, rest));
    if let Some((top, bottom)) = fraction(unsigned) {
        let (top, bottom) = (decimal(top)?, decimal(bottom)?);
        return (bottom != 0.0).then(|| sign * top / bottom);
    }
    decimal(answer)
}

/// The two parts of `a/b` or `\frac{a}{b}`.
fn fraction(answer: &str) -> Option<(&str, &str)> {
    let latex = [r"\frac{", r"\dfrac{", r"\tfrac{"].iter().find_map(|open| answer.strip_prefix(open));
    match latex {
        Some(parts) => parts.strip_suffix('}')?.split_once("}{"),
        None => answer.split_once('/').map(|(top, bottom)| (top.trim_end(), bottom.trim_start())),
    }
}

/// A decimal number. (Rust also reads `inf` and `nan`, which are no answers.)
fn decimal(text: &str) -> Option<f64> {
    let plausible = text.bytes().any(|byte| byte.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    plausible.then(|| text.parse().ok()).flatten().filter(|value: &f64| value.is_finite())
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= TOLERANCE * a.abs().max(b.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_what_follows_its_last_announcement() {
        for (text, answer) in [
            ("Answer: The final answer is 42", "42"),
            ("The final answer is 3? No: the final answer is: 4.", "4."),
            (r"The final answer is \boxed{\frac{1}{2}}, done", r"\frac{1}{2}"),
            (r"so \boxed{7} or \boxed{8}", "8"),
            (" forty-two ", "forty-two"),
            (r"\boxed{never closed", r"\boxed{never closed"),
        ] {
            assert_eq!(extract(text), answer, "{text}");
        }
    }

    #[test]
    fn answers_that_mean_the_same_agree() {
        for (truth, said) in [
            ("42", "The final answer is 42."),
            ("$$6$$", "6"),
            ("18.", "18"),
            ("12", r"\text{12}"),
            ("x = 3", "$x  =\n3$"),
            ("no solution", r"\text{no solution}."),
            ("A", "(a)"),
            ("$$A$$", "A. the circle"),
            ("(C)", "C"),
            ("1234567", "1,234,567"),
            ("1,234.5", "1234.50"),
            (r"12{,}000", "12000"),
            ("0.5", r"\dfrac{1}{2}"),
            ("-0.25", "-1/4"),
            ("0.25", "-1/-4"),
            (r"-\frac{3}{4}", "-0.75"),
            ("50%", "0.5"),
            (r"12.5\%", "1/8"),
            ("−3", "-3"),
            ("3.3333333", "10/3"),
            ("1e3", "1000"),
        ] {
            assert!(agree(truth, said), "{truth} and {said}");
        }
    }

    #[test]
    fn answers_that_differ_or_cannot_be_told_do_not_agree() {
        for (truth, said) in [
            ("42", "The final answer is 142"),
            ("42", ""),
            ("2", "12"),
            ("12", "1 2"),
            ("12 cm", "12 m"),
            ("0", "0.0000001"),
            ("A", "B. the circle"),
            ("A", "a triangle"),
            ("1/0", "2/0"),
            ("nan", "inf"),
            ("3.333", "10/3"),
            ("1234", "1,2,3,4"),
            ("1,2", "12"),
            (r"\frac{1}{2}", r"\frac{1}{3}"),
        ] {
            assert!(!agree(truth, said), "{truth} and {said}");
        }
    }

    #[test]
    fn a_problem_without_an_answer_cannot_be_judged() {
        let record = serde_json::Map::new();
        let mut problem =
            Problem { record, id: "p9".into(), question: "?".into(), answer: " $$ ".into(), images: Vec::new() };
        let error = ExactVerifier.verify(&problem, "3").unwrap_err();
        assert!(error.to_string().contains("problem p9"), "{error}");
        problem.answer = "3".into();
        assert_eq!(ExactVerifier.verify(&problem, "3").unwrap(), Verdict::Correct);
        assert_eq!(ExactVerifier.verify(&problem, "4").unwrap(), Verdict::Incorrect);
    }
}
