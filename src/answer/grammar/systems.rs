//! Reads `\begin{cases}` and similar environments: systems of relations, and piecewise functions.

use super::error::Unreadable;
use super::lex::{Token, Tokens};
use super::reader::{Read, Reader, relation};
use super::shape::{Joint, Shape};
use super::token_slice::TokenSlice;

impl Reader {
    /// Reads a system or a piecewise function; `None` for anything else.
    pub(super) fn system(&self, tokens: TokenSlice<'_>) -> Option<Read> {
        let (braced, tokens) = match tokens.list.first() {
            Some(Token::Open('<')) => (true, tokens.slice(1, tokens.list.len())),
            _ => (false, tokens),
        };
        let (name, body) = environment(tokens)?;
        let relates = body.list.iter().any(|token| relation(token).is_some());
        let system = match name {
            "cases" | "dcases" => true,
            "array" | "aligned" | "align" | "split" | "gathered" => braced || relates,
            _ => false,
        };
        system.then(|| self.rows(body))
    }

    fn rows(&self, body: TokenSlice<'_>) -> Read {
        let rows = body.split(|_, token| *token == Token::Row).into_iter().filter(|row| !row.is_empty());
        let mut pieces = Vec::new();
        let mut parts = Vec::new();
        for row in rows {
            match conditional(row) {
                Some((value, condition)) => pieces.push([self.clause(value)?, self.statement(condition)?]),
                None => parts.push(self.statement(without_alignment(row).as_slice().trimmed())?),
            }
        }
        match (pieces.is_empty(), parts.is_empty()) {
            // The relations of a system hold at once.
            (true, false) => match parts[0].condition_variable() {
                variable @ Some(_) if parts.iter().all(|part| part.condition_variable() == variable) => {
                    Ok(Shape::Joined(Joint::And, parts))
                }
                _ => Ok(Shape::List(parts)),
            },
            (false, true) => Ok(Shape::Piecewise(pieces)),
            _ => Err(Unreadable::Grammar),
        }
    }
}

/// Returns the name of an environment and its body.
fn environment(tokens: TokenSlice<'_>) -> Option<(&str, TokenSlice<'_>)> {
    let command = |token: &Token, expected: &str| matches!(token, Token::Command(name) if name == expected);
    let [begin, Token::Open('{'), Token::Word(name), Token::Close('}'), ..] = tokens.list else { return None };
    let [.., end, Token::Open('{'), Token::Word(last), Token::Close('}')] = tokens.list else { return None };
    if !command(begin, "begin") || !command(end, "end") || name != last || tokens.list.len() < 8 {
        return None;
    }
    let mut body = tokens.slice(4, tokens.list.len() - 4);
    // The column specification: `{l}`.
    if name == "array"
        && let [Token::Open('{'), Token::Word(_), Token::Close('}'), ..] = body.list
    {
        body = body.slice(3, body.list.len());
    }
    Some((name.as_str(), body))
}

/// Splits a value from its condition: `x^2, & x > 0`, `x^2 & \text{if } x > 0`.
fn conditional(row: TokenSlice<'_>) -> Option<(TokenSlice<'_>, TokenSlice<'_>)> {
    let (value, condition) = row.list.iter().position(|token| *token == Token::Sign('&')).map_or_else(
        || {
            let [place, ..] = row.outside(|_, token| *token == Token::Sign(','))[..] else { return None };
            Some((row.slice(0, place), row.slice(place + 1, row.list.len())))
        },
        |place| Some((row.slice(0, place), row.slice(place + 1, row.list.len()))),
    )?;
    let (value, condition) = (value.trimmed(), without_conjunction(condition.trimmed()));
    let related = |tokens: TokenSlice<'_>| tokens.outside(|_, token| relation(token).is_some());
    let alone = matches!(condition.list, [Token::Text(_) | Token::Word(_)]);
    let holds = related(condition).first().is_some_and(|place| *place > 0) || alone;
    (!value.is_empty() && related(value).is_empty() && holds).then_some((value, condition))
}

/// Drops the "if" of a condition.
fn without_conjunction(condition: TokenSlice<'_>) -> TokenSlice<'_> {
    const CONJUNCTIONS: [&str; 7] = ["if", "when", "for", "where", "as", "当", "若"];
    let conjunction = |token: &Token| match token {
        Token::Word(word) | Token::Text(word) => {
            CONJUNCTIONS.contains(&word.trim().trim_matches(',').to_ascii_lowercase().as_str())
        }
        _ => false,
    };
    let skip = condition.list.iter().take_while(|token| conjunction(token)).count();
    condition.slice(skip, condition.list.len()).trimmed()
}

/// Drops the alignment marks of a row.
fn without_alignment(row: TokenSlice<'_>) -> Tokens {
    let kept = row.list.iter().zip(row.space_before).filter(|(token, _)| **token != Token::Sign('&'));
    let (list, space_before) = kept.map(|(token, space)| (token.clone(), *space)).unzip();
    Tokens { list, space_before }
}
