//! Splits normalised text into tokens.

use super::error::Unreadable;

/// A token of normalised text.
#[derive(Debug, Clone, PartialEq)]
pub enum Token {
    /// Digits, with an adjacent decimal point and exponent.
    Number(String),
    /// A run of ASCII letters outside commands.
    Word(String),
    /// A LaTeX command, without its backslash.
    Command(String),
    /// The argument of `\text{}`, or words in a script other than Latin.
    Text(String),
    /// An opening bracket: `(`, `[`, `{`, or `\{` as `<`.
    Open(char),
    /// A closing bracket: `)`, `]`, `}`, or `\}` as `>`.
    Close(char),
    /// Any other character, including the line break between parts.
    Sign(char),
    /// A relation: `=`, `<`, `>`, `≤`, `≥`, `≠`, `≈`, `∈`, `≡`.
    Compare(char),
    /// `\\`: the end of a matrix row.
    Row,
}

/// The tokens of an answer, and for each whether a space precedes it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tokens {
    pub list: Vec<Token>,
    pub space_before: Vec<bool>,
}

/// Maximum number of tokens in an answer.
const MAX_TOKENS: usize = 1500;

/// Commands whose argument is text, or a letter in another typeface.
pub const TEXT_COMMANDS: [&str; 17] = [
    "text",
    "textbf",
    "textit",
    "textrm",
    "textnormal",
    "mbox",
    "mathrm",
    "mathbf",
    "mathit",
    "mathsf",
    "operatorname",
    "textsf",
    "texttt",
    "textup",
    "textsc",
    "textmd",
    "emph",
];

/// Splits normalised text into tokens. With `grouped`, commas and single spaces between groups of
/// three digits belong to the number; with `comma_point`, a comma between digits is a decimal
/// point.
pub fn lex(text: &str, grouped: bool, comma_point: bool) -> Result<Tokens, Unreadable> {
    let mut tokens = Tokens::default();
    let mut rest = text;
    let mut space_before = false;
    while let Some(character) = rest.chars().next() {
        if tokens.list.len() >= MAX_TOKENS {
            return Err(Unreadable::TooLarge);
        }
        if character.is_whitespace() && character != '\n' {
            space_before = true;
            rest = &rest[character.len_utf8()..];
            continue;
        }
        let (token, after) = next(rest, character, grouped, comma_point)?;
        tokens.list.push(token);
        tokens.space_before.push(std::mem::take(&mut space_before));
        rest = after;
    }
    Ok(tokens)
}

fn next(rest: &str, character: char, grouped: bool, comma_point: bool) -> Result<(Token, &str), Unreadable> {
    let second = rest[character.len_utf8()..].chars().next();
    let starts_number = character.is_ascii_digit() || character == '.' && second.is_some_and(|c| c.is_ascii_digit());
    if starts_number {
        let (number, length) = number(rest, grouped, comma_point);
        return Ok((Token::Number(number), &rest[length..]));
    }
    if character.is_ascii_alphabetic() {
        let length = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        // A conjunction may be attached to the name after it: `x=1orY=2`.
        let conjunction = ["or", "and"].into_iter().find(|word| {
            rest[..length]
                .strip_prefix(word)
                .is_some_and(|name| name.len() == 1 && name.starts_with(|c: char| c.is_ascii_uppercase()))
        });
        let length = conjunction.map_or(length, str::len);
        return Ok((Token::Word(rest[..length].to_owned()), &rest[length..]));
    }
    if let Some(after) = rest.strip_prefix('\\') {
        return command(after);
    }
    if character.is_alphabetic() {
        let length: usize = rest.chars().take_while(|c| c.is_alphabetic() && !c.is_ascii()).map(char::len_utf8).sum();
        return Ok((Token::Text(rest[..length].to_owned()), &rest[length..]));
    }
    for (written, sign) in [("<=", '≤'), (">=", '≥'), ("!=", '≠'), ("==", '=')] {
        // `n!=5` is read as a comparison; a factorial in an equation is far rarer.
        if let Some(after) = rest.strip_prefix(written) {
            return Ok((Token::Compare(sign), after));
        }
    }
    let token = match character {
        '(' | '[' | '{' => Token::Open(character),
        ')' | ']' | '}' => Token::Close(character),
        '=' | '<' | '>' => Token::Compare(character),
        other => Token::Sign(other),
    };
    Ok((token, &rest[character.len_utf8()..]))
}

fn command(after: &str) -> Result<(Token, &str), Unreadable> {
    let length = after.bytes().take_while(u8::is_ascii_alphabetic).count();
    let (name, rest) = after.split_at(length);
    if name.is_empty() {
        let character = after.chars().next().ok_or(Unreadable::Grammar)?;
        let token = match character {
            '{' => Token::Open('<'),
            '}' => Token::Close('>'),
            '\\' => Token::Row,
            '|' => Token::Sign('|'),
            other => Token::Sign(other),
        };
        return Ok((token, &after[character.len_utf8()..]));
    }
    let comparison = match name {
        "approx" | "simeq" | "cong" | "sim" | "doteq" => Some('≈'),
        "in" => Some('∈'),
        "equiv" => Some('≡'),
        _ => None,
    };
    if let Some(sign) = comparison {
        return Ok((Token::Compare(sign), rest));
    }
    if TEXT_COMMANDS.contains(&name)
        && let Some(inside) = rest.trim_start().strip_prefix('{')
    {
        let end = closing(inside).unwrap_or(inside.len());
        let text = inside[..end].replace(['$', '{', '}'], "");
        return Ok((Token::Text(text), inside.get(end + 1..).unwrap_or_default()));
    }
    Ok((Token::Command(name.to_owned()), rest))
}

/// Returns the index of the brace that closes the one just before `text`.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 1_usize;
    text.bytes().position(|byte| {
        depth += usize::from(byte == b'{');
        depth -= usize::from(byte == b'}');
        depth == 0
    })
}

/// Reads the number at the start of `text`: without its separators, and its length in the text.
fn number(text: &str, grouped: bool, comma_point: bool) -> (String, usize) {
    let bytes = text.as_bytes();
    let digits =
        |from: usize| bytes.get(from..).map_or(0, |rest| rest.iter().take_while(|b| b.is_ascii_digit()).count());
    let mut end = digits(0);
    let mut value = text[..end].to_owned();
    if grouped && (1..=3).contains(&end) && value != "0" {
        let separator = bytes.get(end).copied().filter(|byte| matches!(byte, b',' | b' '));
        while let Some(separator) = separator
            && bytes.get(end) == Some(&separator)
            && digits(end + 1) == 3
        {
            value.push_str(&text[end + 1..end + 4]);
            end += 4;
        }
    }
    let point = |byte: u8| byte == b'.' || comma_point && byte == b',';
    if bytes.get(end).copied().is_some_and(point) {
        let places = digits(end + 1);
        let repeats = ["\\overline", "\\dot", "\\bar"].iter().any(|mark| text[end + 1..].starts_with(mark));
        // A period at the end of a sentence is not a decimal point.
        if places > 0 || repeats {
            value.push('.');
            value.push_str(&text[end + 1..end + 1 + places]);
            end += 1 + places;
        }
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let places = digits(end + 1 + sign);
        if places > 0 {
            value.push_str(&text[end..end + 1 + sign + places]);
            end += 1 + sign + places;
        }
    }
    (value, end)
}

/// Writes tokens as text without spaces.
pub fn spell(tokens: &[Token]) -> String {
    tokens.iter().fold(String::new(), |mut text, token| {
        match token {
            Token::Number(part) | Token::Word(part) => text.push_str(part),
            Token::Command(part) => {
                text.push('\\');
                text.push_str(part);
            }
            Token::Text(part) => text.push_str(part.trim()),
            Token::Open('{') | Token::Close('}') => {}
            Token::Open(sign) | Token::Close(sign) | Token::Sign(sign) | Token::Compare(sign) => text.push(*sign),
            Token::Row => text.push_str("\\\\"),
        }
        text
    })
}

/// Writes tokens as text with the spaces between words, for units and words.
pub fn phrase(tokens: &[Token], space_before: &[bool]) -> String {
    let mut text = String::new();
    for (token, space) in tokens.iter().zip(space_before) {
        let part = spell(std::slice::from_ref(token));
        let space = *space || matches!(token, Token::Text(text) if text.starts_with(' '));
        if space && !text.is_empty() {
            text.push(' ');
        }
        text.push_str(&part);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(text: &str, grouped: bool, comma_point: bool) -> Vec<String> {
        let tokens = lex(text, grouped, comma_point).unwrap();
        let number = |token: &Token| if let Token::Number(number) = token { Some(number.clone()) } else { None };
        tokens.list.iter().filter_map(number).collect()
    }

    #[test]
    fn commas_join_digits_only_if_enabled() {
        assert_eq!(numbers("1,234,567.8", true, false), ["1234567.8"]);
        assert_eq!(numbers("1,234,567.8", false, false), ["1", "234", "567.8"]);
        assert_eq!(numbers("1 000 000", true, false), ["1000000"]);
        assert_eq!(numbers("1,22", true, false), ["1", "22"]);
        assert_eq!(numbers("1,22", false, true), ["1.22"]);
        assert_eq!(numbers("1.5e-3 and 2.", true, false), ["1.5e-3", "2"]);
    }

    #[test]
    fn words_commands_and_texts_are_distinguished() {
        let tokens = lex(r"12\text{ cm} x <= \pi \{3\}", true, false).unwrap();
        assert_eq!(
            tokens.list,
            [
                Token::Number("12".into()),
                Token::Text(" cm".into()),
                Token::Word("x".into()),
                Token::Compare('≤'),
                Token::Command("pi".into()),
                Token::Open('<'),
                Token::Number("3".into()),
                Token::Close('>'),
            ]
        );
    }

    #[test]
    fn too_many_tokens_are_rejected() {
        assert_eq!(lex(&"(".repeat(10_000), true, false), Err(Unreadable::TooLarge));
    }
}
