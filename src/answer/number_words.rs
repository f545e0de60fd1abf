//! Reads numbers written as English or Chinese words.

use super::math::Expr;

/// The words from zero to twenty, in order.
const UP_TO_TWENTY: [&str; 21] = [
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
    "twenty",
];

const TENS: [&str; 8] = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];

/// Unit fractions, from 1/2 to 1/10.
const FRACTIONS: [&str; 9] = ["half", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"];

/// Reads one English word from zero to twenty, ignoring case.
pub fn up_to_twenty(word: &str) -> Option<u64> {
    let place = UP_TO_TWENTY.iter().position(|known| known.eq_ignore_ascii_case(word));
    place.map(|place| place as u64)
}

/// Reads a lower-case number without an article: `forty-two`, `three fourths`, `二十五`, `三分之二`.
pub fn parse(text: &str) -> Option<Expr> {
    if text.is_empty() || text.len() > 80 {
        return None;
    }
    if !text.is_ascii() {
        return chinese(text);
    }
    let words: Vec<&str> = text.split(['-', ' ']).filter(|word| !word.is_empty()).collect();
    match words.as_slice() {
        ["none"] => Some(Expr::integer(0)),
        ["hundred"] => Some(Expr::integer(100)),
        ["thousand"] => Some(Expr::integer(1000)),
        ["half"] => Some(fraction(1, 2)),
        ["quarter"] => Some(fraction(1, 4)),
        [whole @ .., "and", parts] if *parts == "half" || *parts == "quarter" => {
            let part = fraction(1, denominator(parts, 1)?);
            Some(Expr::Sum(vec![Expr::integer(cardinal(whole)?), part]))
        }
        [count @ .., parts] if denominator(parts, 1).is_some() || parts.ends_with('s') => {
            let count = cardinal(count).filter(|count| (1..20).contains(count))?;
            Some(fraction(count, denominator(parts, count)?))
        }
        words => cardinal(words).map(Expr::integer),
    }
}

/// Reads an ordinal number in lower-case English words: `third`, `twenty-first`.
pub fn ordinal(text: &str) -> Option<u64> {
    const IRREGULAR: [(&str, u64); 7] =
        [("first", 1), ("second", 2), ("third", 3), ("fifth", 5), ("eighth", 8), ("ninth", 9), ("twelfth", 12)];
    if !text.is_ascii() || text.len() > 80 {
        return None;
    }
    let (tens, last) = text
        .rsplit_once(['-', ' '])
        .map_or((0, text), |(tens, last)| (place(&TENS, tens).map_or(u64::MAX, |place| 10 * (place + 2)), last));
    let regular = || match last.strip_suffix("ieth") {
        Some(stem) => place(&TENS, &format!("{stem}y")).map(|place| 10 * (place + 2)),
        None => last.strip_suffix("th").and_then(up_to_twenty).filter(|number| *number > 3),
    };
    let number = IRREGULAR.iter().find(|(name, _)| *name == last).map(|(_, number)| *number).or_else(regular)?;
    (tens == 0 || tens < 100 && number < 10).then(|| tens + number)
}

fn fraction(top: u64, bottom: u64) -> Expr {
    Expr::integer(top).over(Expr::integer(bottom))
}

/// Returns the denominator that `name` means after `count`: 4 for `fourths` and `quarters`.
fn denominator(name: &str, count: u64) -> Option<u64> {
    let singular = match name {
        "halves" => "half",
        other if count > 1 => other.strip_suffix('s')?,
        other => other,
    };
    if singular == "quarter" {
        return Some(4);
    }
    place(&FRACTIONS, singular).map(|place| place + 2)
}

fn place(set: &[&str], word: &str) -> Option<u64> {
    set.iter().position(|other| *other == word).map(|place| place as u64)
}

/// Reads a whole number below one million in English words.
fn cardinal(words: &[&str]) -> Option<u64> {
    let (mut thousands, mut current) = (0, 0);
    // Maximum value that the next word may add.
    let mut room = 999;
    for word in words.iter().enumerate().filter(|(at, word)| *at == 0 || **word != "and").map(|(_, word)| *word) {
        match word {
            "hundred" if (1..10).contains(&current) => (current, room) = (100 * current, 99),
            "thousand" if current > 0 && thousands == 0 => (thousands, current, room) = (1000 * current, 0, 999),
            _ => {
                let ones = up_to_twenty(word).filter(|value| *value < 20);
                let value = ones.or_else(|| place(&TENS, word).map(|tens| 10 * (tens + 2)))?;
                if value > room || value == 0 && words.len() > 1 {
                    return None;
                }
                current += value;
                room = if ones.is_none() { 9 } else { 0 };
            }
        }
    }
    (!words.is_empty()).then_some(thousands + current)
}

/// Reads a number in Chinese characters.
fn chinese(text: &str) -> Option<Expr> {
    if text == "一半" {
        return Some(fraction(1, 2));
    }
    if let Some((bottom, top)) = text.split_once("分之") {
        let bottom = if bottom == "百" { 100 } else { chinese_cardinal(bottom)? };
        return (bottom > 0).then_some(fraction(chinese_cardinal(top)?, bottom));
    }
    chinese_cardinal(text).map(Expr::integer)
}

fn chinese_cardinal(text: &str) -> Option<u64> {
    const DIGITS: &str = "零一二三四五六七八九";
    let (mut total, mut digit) = (0, None);
    let mut unit_before = 10_000;
    for character in text.chars() {
        let unit = match character {
            '十' => 10,
            '百' => 100,
            '千' => 1000,
            _ => {
                let value = if character == '两' { 2 } else { DIGITS.chars().position(|other| other == character)? };
                if digit.is_some_and(|digit| digit != 0) {
                    return None;
                }
                digit = Some(value as u64);
                continue;
            }
        };
        // 十 without a digit in front is ten.
        let count = digit.take().or((unit == 10 && total == 0).then_some(1))?;
        if unit >= unit_before {
            return None;
        }
        unit_before = unit;
        total += count * unit;
    }
    (!text.is_empty()).then_some(total + digit.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::math::{Equality, Tolerance, equality};

    #[test]
    fn numbers_are_read_in_words() {
        for (text, top, bottom) in [
            ("seven", 7, 1),
            ("forty-two", 42, 1),
            ("sixty", 60, 1),
            ("one hundred", 100, 1),
            ("one hundred twenty", 120, 1),
            ("three hundred and five", 305, 1),
            ("two thousand sixteen", 2016, 1),
            ("one third", 1, 3),
            ("three fourths", 3, 4),
            ("three quarters", 3, 4),
            ("two and half", 5, 2),
            ("三", 3, 1),
            ("十二", 12, 1),
            ("二十五", 25, 1),
            ("一百零八", 108, 1),
            ("三分之二", 2, 3),
            ("百分之二十五", 1, 4),
        ] {
            let read = parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(equality(&read, &fraction(top, bottom), Tolerance::Exact), Equality::Equal, "{text}");
        }
        for text in ["seventeenth", "twenty twenty", "one two", "third", "two third", "many", "", "二二", "个"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn ordinals_are_read_and_other_words_before_them_refused() {
        for (text, expected) in [("third", 3), ("twentieth", 20), ("twenty-first", 21), ("fourteenth", 14)] {
            assert_eq!(ordinal(text), Some(expected), "{text}");
        }
        for text in ["the third", "hundred-first", "twenty-tenth", "th", "ieth", ""] {
            assert_eq!(ordinal(text), None, "{text}");
        }
    }
}
