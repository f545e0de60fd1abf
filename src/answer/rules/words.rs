//! Answers in words: yes and no, numbers, refusals, and texts that are the same but for what carries no meaning.

use crate::answer::Finding;
use crate::answer::math::Expr;

/// Words that mean yes, and words that mean no.
const YES: [&str; 8] = ["yes", "true", "correct", "right", "是", "对", "正确", "是的"];
const NO: [&str; 9] = ["no", "false", "incorrect", "wrong", "否", "错", "错误", "不是", "不对"];

/// Phrases that give no answer at all.
const REFUSALS: [&str; 20] = [
    "cannot be determined",
    "can't be determined",
    "can not be determined",
    "cannot determine",
    "enough information",
    "insufficient",
    "unable to determine",
    "possible to determine",
    "not determinable",
    "cannot be answered",
    "cannot answer",
    "can't answer",
    "not provide",
    "no answer",
    "i don't know",
    "unknown",
    "n/a",
    "无法确定",
    "不能确定",
    "无法回答",
];

/// Compares answers from a closed class, yes or no, or tells that nothing was answered; nothing for all others.
pub fn closed(gold: &str, said: &str) -> Option<Finding> {
    let (gold, said) = (normalized(gold), normalized(said));
    let polarity = |text: &str| {
        let first = text.split([' ', ',', '.', ';']).next().unwrap_or_default();
        let is = |set: &[&str]| set.contains(&text) || text.split(' ').count() > 1 && set[..2].contains(&first);
        match (is(&YES), is(&NO)) {
            (true, false) => Some(true),
            (false, true) => Some(false),
            _ => None,
        }
    };
    let exact = |text: &str| YES.contains(&text) || NO.contains(&text);
    if exact(&gold)
        && let (Some(gold), Some(said)) = (polarity(&gold), polarity(&said))
    {
        return Some(if gold == said { Finding::equal("yes or no") } else { Finding::different("yes or no") });
    }
    let squeezed = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
    let refuses = |text: &str| {
        let text = squeezed(text);
        REFUSALS.iter().any(|phrase| text.contains(&squeezed(phrase)))
    };
    match (refuses(&gold), refuses(&said)) {
        (false, true) => Some(Finding::different("no answer was given")),
        (true, true) => Some(Finding::equal("neither gives an answer")),
        _ => None,
    }
}

/// Compares two texts that are one word each; nothing where both are so short that they may be products of variables.
pub fn single(gold: &str, said: &str) -> Option<Finding> {
    let (plain_gold, plain_said) = (normalized(gold), normalized(said));
    let word = |text: &str| text.len() > 2 && alphabetic(text) && !text.contains(' ');
    let longest = plain_gold.len().max(plain_said.len());
    let both = word(&plain_gold) && word(&plain_said) && longest > 3;
    (both && number(gold).is_none() && number(said).is_none()).then(|| compare(gold, said))
}

/// Compares two texts.
pub fn compare(gold: &str, said: &str) -> Finding {
    let (gold, said) = (normalized(gold), normalized(said));
    let squeezed = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).collect::<String>();
    if gold == said || !squeezed(&gold).is_empty() && squeezed(&gold) == squeezed(&said) && alphabetic(&gold) {
        return Finding::equal("the same words");
    }
    let word = |text: &str| alphabetic(text) && !text.contains(' ');
    if word(&gold) && word(&said) {
        return Finding::different("another word");
    }
    Finding::undecided("words that only a reader can compare")
}

fn alphabetic(text: &str) -> bool {
    text.chars().all(|c| c.is_alphabetic() || c == ' ' || c == '-')
}

/// Lower case, without LaTeX faces, articles, quotes and punctuation at the ends.
fn normalized(text: &str) -> String {
    let mut plain = text.to_lowercase();
    for face in ["\\text", "\\mathrm", "\\mathbf", "\\textbf", "\\mbox", "\\textit"] {
        plain = plain.replace(face, " ");
    }
    let plain = plain.replace(['{', '}', '"', '$', '~'], " ");
    let words: Vec<&str> = plain.split_whitespace().filter(|word| !["a", "an", "the"].contains(word)).collect();
    words.join(" ").trim_matches(|c: char| ".,;:!?'*".contains(c)).trim().to_owned()
}

/// Whether a text has neither digits and mathematical signs nor words that count.
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

/// A small number in words.
pub fn number(text: &str) -> Option<Expr> {
    const ONES: [&str; 20] = [
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
    ];
    const TENS: [&str; 8] = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
    const CHINESE: &str = "零一二三四五六七八九十";
    let text = normalized(text);
    let place = |set: &[&str], word: &str| set.iter().position(|other| *other == word).map(|place| place as u64);
    let value = match text.as_str() {
        "half" | "one half" | "一半" => return Some(Expr::integer(1).over(Expr::integer(2))),
        "one third" => return Some(Expr::integer(1).over(Expr::integer(3))),
        "one quarter" | "quarter" | "one fourth" => return Some(Expr::integer(1).over(Expr::integer(4))),
        "hundred" | "one hundred" => 100,
        "thousand" | "one thousand" => 1000,
        "none" | "zero" => 0,
        "两" => 2,
        _ => {
            let parts: Vec<&str> = text.split(['-', ' ']).collect();
            match parts.as_slice() {
                [one] if one.chars().count() == 1 && CHINESE.contains(*one) => {
                    CHINESE.chars().position(|c| one.starts_with(c))? as u64
                }
                [word] => place(&ONES, word).or_else(|| place(&TENS, word).map(|tens| 10 * (tens + 2)))?,
                [tens, ones] => {
                    10 * (place(&TENS, tens)? + 2) + place(&ONES, ones).filter(|ones| (1..10).contains(ones))?
                }
                _ => return None,
            }
        }
    };
    Some(Expr::integer(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::Outcome;

    #[test]
    fn small_numbers_are_read_in_words() {
        for (text, value) in [("Seven", 7), ("forty-two", 42), ("sixty", 60), ("三", 3), ("one hundred", 100)] {
            assert_eq!(number(text), Some(Expr::integer(value)), "{text}");
        }
        for text in ["seventeenth", "twenty twenty", "many", ""] {
            assert_eq!(number(text), None, "{text}");
        }
    }

    #[test]
    fn texts_agree_but_for_articles_case_and_faces() {
        assert_eq!(compare("the rhombus", r"\text{Rhombus}").outcome, Outcome::Equal);
        assert_eq!(compare("increase", "decrease").outcome, Outcome::Different);
        assert_eq!(compare("isosceles triangle", "right triangle").outcome, Outcome::Undecided);
        assert_eq!(closed("Yes", "yes, it is").unwrap().outcome, Outcome::Equal);
        assert_eq!(closed("true", "False").unwrap().outcome, Outcome::Different);
        assert_eq!(closed("12", "It cannot be determined.").unwrap().outcome, Outcome::Different);
        assert_eq!(closed("12", "13"), None);
    }
}
