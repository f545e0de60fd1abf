//! Compares answers in words: yes and no, number words, refusals, and texts that differ only in
//! form.

use crate::answer::byte_pairs::BytePairs;
use crate::answer::comparison::Comparison;
use crate::answer::math::Expr;
use crate::answer::number_words;

/// Words that mean yes, and words that mean no. The first two may start a sentence.
const YES: [&str; 8] = ["yes", "true", "correct", "right", "是", "对", "正确", "是的"];
const NO: [&str; 9] = ["no", "false", "incorrect", "wrong", "否", "错", "错误", "不是", "不对"];

/// Phrases that refuse an answer, without spaces.
const REFUSALS: [&str; 19] = [
    "cannotbedetermined",
    "can'tbedetermined",
    "cannotdetermine",
    "enoughinformation",
    "insufficient",
    "unabletodetermine",
    "possibletodetermine",
    "notdeterminable",
    "cannotbeanswered",
    "cannotanswer",
    "can'tanswer",
    "cannotbeextracted",
    "notprovide",
    "noanswer",
    "idon'tknow",
    "unknown",
    "无法确定",
    "不能确定",
    "无法回答",
];

/// Length of the shortest of them, in bytes.
const MIN_REFUSAL_BYTES: usize = "unknown".len();

/// Commands that set words in a typeface, a longer one before those that it starts with.
const FACES: [&str; 15] = [
    "\\textbf",
    "\\textit",
    "\\textrm",
    "\\textsf",
    "\\texttt",
    "\\textup",
    "\\textnormal",
    "\\text",
    "\\mathrm",
    "\\mathbf",
    "\\mathit",
    "\\mathsf",
    "\\mbox",
    "\\emph",
    "\\operatorname",
];

/// Compares signs and yes/no answers, and detects refusals; `None` for anything else.
pub fn closed_class(gold: &str, prediction: &str) -> Option<Comparison> {
    if let (Some(gold), Some(prediction)) = (comparison_sign(gold), comparison_sign(prediction)) {
        return Some(if gold == prediction {
            Comparison::equal("the same sign")
        } else {
            Comparison::different("different signs")
        });
    }
    if !prediction.contains(char::is_alphabetic) {
        return None;
    }
    let refused = refuses(prediction);
    if gold.contains(char::is_alphabetic) && refused != Some(Refusal::Whole) {
        let gold = normalized(gold);
        if (YES.contains(&gold.as_str()) || NO.contains(&gold.as_str()))
            && let (Some(gold), Some(prediction)) = (polarity(&gold), polarity(&normalized(prediction)))
        {
            return Some(if gold == prediction {
                Comparison::equal("yes or no")
            } else {
                Comparison::different("yes or no")
            });
        }
    }
    match (refuses(gold), refused) {
        (None, Some(_)) => Some(Comparison::different("the prediction refuses to answer")),
        (Some(_), Some(_)) => Some(Comparison::equal("both refuse to answer")),
        _ => None,
    }
}

/// Returns whether a text means yes (`true`) or no (`false`).
fn polarity(text: &str) -> Option<bool> {
    // Words that start a reason after yes or no.
    const REASONS: [&str; 12] =
        ["it", "because", "since", "as", "they", "this", "that", "there", "he", "she", "we", "i"];
    let length = text.find([' ', ',', '.', ';', ':', '-']).unwrap_or(text.len());
    let (first, rest) = text.split_at(length);
    let reason = !rest.starts_with(' ') || rest.split_whitespace().next().is_some_and(|word| REASONS.contains(&word));
    let is = |set: &[&str]| set.contains(&text) || reason && !rest.is_empty() && set[..2].contains(&first);
    match (is(&YES), is(&NO)) {
        (true, false) => Some(true),
        (false, true) => Some(false),
        _ => None,
    }
}

/// How much of a text is a refusal.
#[derive(Clone, Copy, PartialEq)]
enum Refusal {
    /// All of it, from the first word.
    Whole,
    /// Some part after the first word.
    Part,
}

fn refuses(text: &str) -> Option<Refusal> {
    if text.len() < 3 {
        return None;
    }
    // In lower case it may be a quotient.
    if text.trim_matches(|c: char| !c.is_alphabetic()) == "N/A" {
        return Some(Refusal::Whole);
    }
    if text.len() < MIN_REFUSAL_BYTES {
        return None;
    }
    let plain: String = text.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_ascii_lowercase()).collect();
    let pairs = BytePairs::of(&plain);
    let places = REFUSALS.iter().filter(|phrase| pairs.may_hold(phrase)).filter_map(|phrase| plain.find(phrase));
    places.min().map(|place| if place == 0 { Refusal::Whole } else { Refusal::Part })
}

/// Reads a relation sign that fills the blank between two values.
fn comparison_sign(text: &str) -> Option<&'static str> {
    let text = text.trim().trim_end_matches(['{', '}', ' ']);
    if !text.ends_with(['<', '>', '=', 'x']) {
        return None;
    }
    let text = text.trim_start_matches("\\textbf").trim_matches(['{', '}', ' ']);
    ["<", ">", "=", "<=", ">=", "!=", "\\approx"].into_iter().find(|sign| *sign == text)
}

/// Compares two single words; `None` if both are short enough to be products of variables.
pub fn single(gold: &str, prediction: &str) -> Option<Comparison> {
    if !gold.contains(char::is_alphabetic) || !prediction.contains(char::is_alphabetic) {
        return None;
    }
    let (plain_gold, plain_said) = (normalized(gold), normalized(prediction));
    // "The function is odd."
    let stated = plain_said.rsplit_once(" is ").filter(|(subject, _)| subject.split(' ').count() < 8);
    let stated = stated.filter(|(subject, said)| alphabetic(subject) && *said == plain_gold && !said.contains(' '));
    if stated.is_some() && plain_gold.len() > 2 && alphabetic(&plain_gold) {
        return Some(Comparison::equal("the same word"));
    }
    let word = |text: &str| text.len() > 2 && alphabetic(text) && !text.contains(' ');
    // Letters in a typeface or in quotation marks are a word, and so is a short capitalised one.
    let marked = |text: &str| text.contains('\\') || text.contains('"');
    let title = |text: &str| {
        let text = text.trim_end_matches('.');
        text.len() == 3
            && text.starts_with(|c: char| c.is_ascii_uppercase())
            && text[1..].contains(['a', 'e', 'i', 'o', 'u', 'd'])
    };
    if word(&plain_gold)
        && plain_gold == plain_said
        && (marked(gold) || marked(prediction) || title(gold) || title(prediction))
    {
        return Some(Comparison::equal("the same word"));
    }
    let longest = plain_gold.len().max(plain_said.len());
    let both = word(&plain_gold) && word(&plain_said) && longest > 3;
    (both && number(gold).is_none() && number(prediction).is_none()).then(|| compare(gold, prediction))
}

/// Compares two texts as words.
pub fn compare(gold: &str, prediction: &str) -> Comparison {
    let (gold, prediction) = (normalized(gold), normalized(prediction));
    let squeezed = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).collect::<String>();
    if gold == prediction
        || !squeezed(&gold).is_empty() && squeezed(&gold) == squeezed(&prediction) && alphabetic(&gold)
    {
        return Comparison::equal("the same words");
    }
    let word = |text: &str| alphabetic(text) && !text.contains(' ');
    if word(&gold)
        && word(&prediction)
        && gold.strip_suffix('s').unwrap_or(&gold) == prediction.strip_suffix('s').unwrap_or(&prediction)
    {
        return Comparison::equal("the same word");
    }
    // Words in two languages may be translations.
    if word(&gold) && word(&prediction) && gold.is_ascii() == prediction.is_ascii() {
        return Comparison::different("different words");
    }
    if differs_in_numbers(&gold, &prediction) {
        return Comparison::different("the same words with different numbers");
    }
    Comparison::undecided("different words, which may be synonymous")
}

/// Returns whether two texts differ only in whole numbers.
fn differs_in_numbers(gold: &str, prediction: &str) -> bool {
    let frame =
        |text: &str| text.split(|c: char| c.is_ascii_digit()).filter(|part| !part.is_empty()).collect::<String>();
    let numbers = |text: &str| -> Option<Vec<u64>> {
        text.split(|c: char| !c.is_ascii_digit()).filter(|run| !run.is_empty()).map(|run| run.parse().ok()).collect()
    };
    match (numbers(gold), numbers(prediction)) {
        (Some(ours), Some(theirs)) => {
            ours.len() == theirs.len()
                && ours != theirs
                && frame(gold) == frame(prediction)
                && frame(gold).contains(char::is_alphabetic)
        }
        _ => false,
    }
}

fn alphabetic(text: &str) -> bool {
    text.chars().all(|c| c.is_alphabetic() || c == ' ' || c == '-')
}

/// Returns the text in lower case, without typeface commands, articles, quotes and outer
/// punctuation.
fn normalized(text: &str) -> String {
    let mut plain = text.to_lowercase();
    if plain.contains('\\') {
        let pairs = BytePairs::of(&plain);
        for face in FACES.iter().filter(|face| pairs.may_hold(face)) {
            plain = plain.replace(face, " ");
        }
    }
    if plain.contains(':') {
        plain = plain.replace("p.m", "pm").replace("a.m", "am");
    }
    let mut result = String::with_capacity(plain.len());
    for word in plain.split(|c: char| c.is_whitespace() || matches!(c, '{' | '}' | '"' | '$' | '~')) {
        if matches!(word, "" | "a" | "an" | "the") {
            continue;
        }
        if !result.is_empty() {
            result.push(' ');
        }
        result.push_str(word);
    }
    let trimmed = result.trim_matches(|c: char| ".,;:!?'*".contains(c)).trim();
    if trimmed.len() == result.len() { result } else { trimmed.to_owned() }
}

/// Returns whether a text has neither digits or mathematical signs nor counting words.
pub fn names_no_number(text: &str) -> bool {
    const COUNTING: [&str; 14] = [
        "half", "third", "quarter", "fourth", "dozen", "pair", "couple", "twice", "double", "triple", "hundred",
        "thousand", "million", "infinit",
    ];
    let plain = normalized(text);
    let letters = plain.chars().all(|c| c.is_ascii_alphabetic() || c.is_whitespace() || ".,;:'()-!?".contains(c));
    let counts = |word: &str| number(word).is_some() || COUNTING.iter().any(|count| word.contains(count));
    letters && plain.chars().any(char::is_alphabetic) && !plain.split([' ', '-']).any(counts)
}

/// Reads a number in words.
pub fn number(text: &str) -> Option<Expr> {
    if !text.contains(char::is_alphabetic) {
        return None;
    }
    let plain = normalized(text);
    let article = text.trim_start().get(..2).is_some_and(|start| start.eq_ignore_ascii_case("a "));
    // "A third" is a part, "the third" has a place.
    number_words::parse(&plain).or_else(|| number_words::ordinal(&plain).filter(|_| !article).map(Expr::integer))
}

/// Reads a number word in front of the counted noun `name`: "five people" for "people".
pub fn counted(text: &str, name: &str) -> Option<Expr> {
    let name = name.to_lowercase();
    let plain = normalized(text);
    number_words::parse(plain.strip_suffix(&name).filter(|_| !name.is_empty())?.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::comparison::Outcome;

    #[test]
    fn articles_case_and_typefaces_are_ignored() {
        assert_eq!(compare("the rhombus", r"\text{Rhombus}").outcome, Outcome::Equal);
        assert_eq!(compare("increase", "decrease").outcome, Outcome::Different);
        assert_eq!(compare("isosceles triangle", "right triangle").outcome, Outcome::Undecided);
        assert_eq!(closed_class("Yes", "yes, it is").unwrap().outcome, Outcome::Equal);
        assert_eq!(closed_class("true", "False").unwrap().outcome, Outcome::Different);
        assert_eq!(closed_class("12", "It cannot be determined.").unwrap().outcome, Outcome::Different);
        assert_eq!(closed_class("12", "13"), None);
    }
}
