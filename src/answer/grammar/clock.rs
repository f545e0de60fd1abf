//! Reads times of day: `9:05`, `12:00:00`, `8:40 a.m.`, `3 PM`, `noon`, `8时40分`.

use super::lex::Token;

/// A time of day, to the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    pub hour: u32,
    pub minute: u32,
    pub second: u32,
    /// Whether the hour counts from midnight, since the half of the day is given or it is above 12.
    pub half_is_known: bool,
}

/// Which half of the day.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Half {
    Morning,
    Afternoon,
}

impl Clock {
    /// Makes a time; `None` if the numbers are out of range.
    pub fn new(hour: u32, minute: u32, second: u32) -> Option<Self> {
        let valid = hour <= 24 && minute < 60 && second < 60;
        valid.then_some(Self { hour, minute, second, half_is_known: hour > 12 || hour == 0 })
    }

    fn in_half(self, half: Option<Half>) -> Option<Self> {
        let Some(half) = half else { return Some(self) };
        let hour = match half {
            Half::Morning if self.hour == 12 => 0,
            Half::Afternoon if self.hour < 12 => self.hour + 12,
            Half::Morning if self.hour > 12 => return None,
            _ => self.hour,
        };
        Some(Self { hour, half_is_known: true, ..self })
    }
}

/// Reads tokens as a time of day, if its notation cannot be that of a ratio: the half of the day is
/// given, or a number starts with a zero.
pub fn read(tokens: &[Token]) -> Option<Clock> {
    if let [Token::Word(word) | Token::Text(word)] = tokens {
        return match word.trim().to_ascii_lowercase().as_str() {
            "noon" | "midday" | "正午" | "中午" => Clock::new(12, 0, 0)?.in_half(Some(Half::Afternoon)),
            "midnight" | "午夜" => Clock::new(12, 0, 0)?.in_half(Some(Half::Morning)),
            _ => None,
        };
    }
    let (before, tokens) = half_before(tokens);
    let (numbers, rest) = numbers(tokens)?;
    let (half, marked) = match (before, mark_after(rest)) {
        (Some(half), _) if rest.is_empty() => (Some(half), true),
        (None, Some(Mark::Half(half))) => (Some(half), true),
        (None, Some(Mark::OClock)) => (None, true),
        (None, None) if rest.is_empty() => (None, false),
        _ => return None,
    };
    let value = |digits: &String| digits.parse::<u32>().ok();
    let hour = value(numbers.first()?)?;
    let minute = numbers.get(1).map_or(Some(0), value)?;
    let second = numbers.get(2).map_or(Some(0), value)?;
    let two_digits = numbers[1..].iter().all(|digits| digits.len() == 2);
    let zero = numbers.iter().any(|digits| digits.starts_with('0'));
    let written = marked || matches!(tokens.get(1), Some(Token::Text(_)));
    if !(written || numbers.len() > 1 && two_digits && zero) {
        return None;
    }
    Clock::new(hour, minute, second)?.in_half(half)
}

/// Splits the half of the day in front of a time in Chinese.
fn half_before(tokens: &[Token]) -> (Option<Half>, &[Token]) {
    let Some(Token::Text(word)) = tokens.first() else { return (None, tokens) };
    let half = match word.trim() {
        "上午" | "早上" | "凌晨" => Half::Morning,
        "下午" | "晚上" | "中午" => Half::Afternoon,
        _ => return (None, tokens),
    };
    (Some(half), &tokens[1..])
}

/// Words after a time.
enum Mark {
    Half(Half),
    OClock,
}

/// Reads the half of the day, or "o'clock", after a time.
fn mark_after(rest: &[Token]) -> Option<Mark> {
    let mut letters = String::new();
    for token in rest {
        match token {
            Token::Word(word) | Token::Text(word) => letters.push_str(word),
            Token::Sign('.' | '\'' | ',') => {}
            _ => return None,
        }
    }
    letters.retain(|character| !character.is_whitespace() && character != '.' && character != '\'');
    Some(match letters.to_ascii_lowercase().as_str() {
        "am" | "inthemorning" | "midnight" => Mark::Half(Half::Morning),
        "pm" | "intheafternoon" | "intheevening" | "noon" => Mark::Half(Half::Afternoon),
        "oclock" => Mark::OClock,
        _ => return None,
    })
}

/// Reads the numbers of a time, and returns the tokens after it.
fn numbers(tokens: &[Token]) -> Option<(Vec<String>, &[Token])> {
    let mut found = Vec::new();
    let mut rest = tokens;
    while let [Token::Number(digits), after @ ..] = rest {
        if digits.len() > 2 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        found.push(digits.clone());
        rest = match (found.len(), after) {
            (1 | 2, [Token::Sign(':'), next @ ..]) => next,
            (1, [Token::Text(unit), next @ ..]) if ["时", "点"].contains(&unit.trim()) => next,
            (1, [Token::Text(unit), next @ ..]) if ["点整", "时整"].contains(&unit.trim()) => {
                return Some((found, next));
            }
            (2, [Token::Text(unit), next @ ..]) if unit.trim() == "分" => next,
            _ => return Some((found, after)),
        };
    }
    // A colon has a number on either side.
    (!found.is_empty() && rest.is_empty() && !matches!(tokens.last(), Some(Token::Sign(':')))).then_some((found, rest))
}
