//! Tokens to the shape of a whole answer: lists, relations, sets, and single sides.

use super::Unreadable;
use super::commands::phrase;
use super::expression::Parser;
use super::lex::{Token, Tokens, lex};
use super::shape::{Bracket, Relation, Shape};
use crate::answer::math::Expr;
use crate::answer::units::Unit;

/// What a comma between digits is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commas {
    /// A separator of thousands where three digits follow, else of parts.
    Thousands,
    /// A separator of parts.
    Parts,
    /// A decimal point.
    Point,
}

/// Parts of one answer beyond these are no answer.
const MAX_PARTS: usize = 64;

/// Reads canonical text.
///
/// With `units`, letters after a number are its unit if there is such a unit; without, they are variables.
///
/// # Errors
/// [`Unreadable::TooLarge`]; what does not follow the grammar becomes [`Shape::Words`].
pub fn read(text: &str, commas: Commas, units: bool) -> Result<Shape, Unreadable> {
    let tokens = lex(text, commas == Commas::Thousands, commas == Commas::Point)?;
    match (Reader { units }).statement(tokens.view().trimmed()) {
        Err(Unreadable::Grammar) => Ok(Shape::Words(text.trim().to_owned())),
        other => other,
    }
}

/// A run of tokens.
#[derive(Clone, Copy)]
struct View<'a> {
    list: &'a [Token],
    spaced: &'a [bool],
}

impl Tokens {
    fn view(&self) -> View<'_> {
        View { list: &self.list, spaced: &self.spaced }
    }
}

impl View<'_> {
    fn slice(self, from: usize, to: usize) -> Self {
        Self { list: &self.list[from..to], spaced: &self.spaced[from..to] }
    }

    fn is_empty(self) -> bool {
        self.list.is_empty()
    }

    /// Without punctuation and empty texts at both ends.
    fn trimmed(self) -> Self {
        let nothing = |token: &Token| match token {
            Token::Sign(sign) => matches!(sign, '.' | ',' | ';' | ':' | '"' | '?' | '。'),
            Token::Text(text) => text.trim_matches(|c: char| c.is_whitespace() || ".,;:".contains(c)).is_empty(),
            Token::Row => true,
            _ => false,
        };
        let start = self.list.iter().take_while(|token| nothing(token)).count();
        let end = self.list.len() - self.list[start..].iter().rev().take_while(|token| nothing(token)).count();
        self.slice(start, end)
    }

    /// The places of the tokens outside of all brackets for which `test` holds.
    fn outside(self, test: impl Fn(usize, &Token) -> bool) -> Vec<usize> {
        let mut depth = 0_usize;
        let mut found = Vec::new();
        for (index, token) in self.list.iter().enumerate() {
            match token {
                Token::Open(_) => depth += 1,
                Token::Close(_) => depth = depth.saturating_sub(1),
                Token::Command(name) if name == "begin" => depth += 1,
                Token::Command(name) if name == "end" => depth = depth.saturating_sub(1),
                _ if depth == 0 && test(index, token) => found.push(index),
                _ => {}
            }
        }
        found
    }

    fn split(self, test: impl Fn(usize, &Token) -> bool) -> Vec<Self> {
        let mut parts = Vec::new();
        let mut start = 0;
        for place in self.outside(test) {
            parts.push(self.slice(start, place).trimmed());
            start = place + 1;
        }
        parts.push(self.slice(start, self.list.len()).trimmed());
        parts
    }

    /// What is between the brackets, if one pair stands around everything.
    fn unwrapped(self) -> Option<(char, Self, char)> {
        let (Some(Token::Open(open)), Some(Token::Close(close))) = (self.list.first(), self.list.last()) else {
            return None;
        };
        let mut depth = 0_usize;
        for (index, token) in self.list.iter().enumerate() {
            match token {
                Token::Open(_) => depth += 1,
                Token::Close(_) => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 && index + 1 < self.list.len() {
                return None;
            }
        }
        Some((*open, self.slice(1, self.list.len() - 1), *close))
    }
}

/// Words that join the parts of an answer.
fn joins(token: &Token) -> bool {
    let last = |text: &str| {
        let text = text.trim().trim_matches(|c: char| ",.;".contains(c)).to_ascii_lowercase();
        matches!(text.rsplit(' ').next(), Some("and" | "or")) || matches!(text.as_str(), "以及" | "及" | "或者")
    };
    match token {
        Token::Sign(';') => true,
        Token::Word(text) | Token::Text(text) => last(text),
        _ => false,
    }
}

fn relation(token: &Token) -> Option<Relation> {
    let Token::Compare(sign) = token else { return None };
    Some(match sign {
        '<' => Relation::Less,
        '>' => Relation::Greater,
        '≤' => Relation::AtMost,
        '≥' => Relation::AtLeast,
        '≠' => Relation::Unequal,
        '≈' => Relation::Approximately,
        '∈' => Relation::In,
        '≡' => Relation::Congruent,
        _ => Relation::Equal,
    })
}

struct Reader {
    units: bool,
}

type Read = Result<Shape, Unreadable>;

impl Reader {
    /// Groups of parts: `and`, `or` and `;` between groups, commas inside them.
    fn statement(&self, view: View<'_>) -> Read {
        let groups: Vec<Vec<View<'_>>> = view
            .split(|_, token| joins(token))
            .into_iter()
            .map(|group| group.split(|_, token| *token == Token::Sign(',')))
            .map(|parts| parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>())
            .filter(|parts| !parts.is_empty())
            .collect();
        let count: usize = groups.iter().map(Vec::len).sum();
        if count > MAX_PARTS {
            return Err(Unreadable::TooLarge);
        }
        let read = |parts: &[View<'_>]| parts.iter().map(|part| self.clause(*part)).collect::<Result<Vec<_>, _>>();
        match groups.as_slice() {
            [] => Err(Unreadable::Grammar),
            [parts] if parts.len() == 1 => self.clause(parts[0]),
            [parts] => Ok(Shape::List(grouped(read(parts)?))),
            several => {
                // Groups of one size, larger than one, are parts of their own: `p=5, q=2; p=7, q=2`.
                let size = several[0].len();
                if size > 1 && several.iter().all(|parts| parts.len() == size) {
                    return several
                        .iter()
                        .map(|parts| read(parts).map(Shape::List))
                        .collect::<Result<_, _>>()
                        .map(Shape::List);
                }
                let flat: Vec<View<'_>> = several.iter().flatten().copied().collect();
                Ok(Shape::List(read(&flat)?))
            }
        }
    }

    /// One part: sides with relations between them.
    fn clause(&self, view: View<'_>) -> Read {
        if let Some(('{', inside, '}')) = view.unwrapped() {
            return self.statement(inside.trimmed());
        }
        let relates = |_, token: &Token| relation(token).is_some();
        let places = view.outside(relates);
        if places.is_empty() {
            // A relation may stand in brackets.
            return match view.unwrapped() {
                Some(('(', inside, ')')) if !inside.outside(relates).is_empty() => self.statement(inside.trimmed()),
                _ => self.side(view),
            };
        }
        if places.len() > 8 {
            return Err(Unreadable::TooLarge);
        }
        let mut relations: Vec<Relation> = places.iter().filter_map(|place| relation(&view.list[*place])).collect();
        let mut sides = view.split(|_, token| relation(token).is_some());
        // `= 5` and `≈ 5` are 5.
        if sides[0].is_empty() && !relations[0].is_order() {
            sides.remove(0);
            relations.remove(0);
        }
        let sides: Vec<Shape> = sides.into_iter().map(|side| self.side(side)).collect::<Result<_, _>>()?;
        Ok(if sides.len() == 1 {
            sides.into_iter().next().ok_or(Unreadable::Grammar)?
        } else {
            Shape::Chain(sides, relations)
        })
    }

    /// One side of a relation: a set, a ratio, or a value.
    fn side(&self, view: View<'_>) -> Read {
        let view = view.trimmed();
        if view.is_empty() {
            return Err(Unreadable::Grammar);
        }
        if let Some(('{', inside, '}')) = view.unwrapped() {
            return self.statement(inside.trimmed());
        }
        let is_bracket = |index: Option<usize>| {
            matches!(index.and_then(|index| view.list.get(index)), Some(Token::Open(_) | Token::Close(_)))
        };
        let cup = |index: usize, token: &Token| match token {
            Token::Command(name) => name == "cup",
            Token::Word(word) => word == "U" && is_bracket(index.checked_sub(1)) && is_bracket(Some(index + 1)),
            _ => false,
        };
        let sets = view.split(cup);
        if sets.len() > 1 {
            return sets.into_iter().map(|set| self.side(set)).collect::<Result<_, _>>().map(Shape::Union);
        }
        if let Some((open, inside, close)) = view.unwrapped()
            && let Some(shape) = self.bracketed(open, inside, close)?
        {
            return Ok(shape);
        }
        let parts = view.split(|_, token| *token == Token::Sign(':'));
        if parts.len() > 1 && parts.iter().all(|part| !part.is_empty()) {
            let sides: Vec<Shape> = parts.iter().map(|part| self.value(*part)).collect::<Result<_, _>>()?;
            let plain: Option<Vec<Expr>> = sides
                .iter()
                .map(
                    |side| {
                        if let Shape::Value(expr, unit) = side { unit.is_empty().then(|| expr.clone()) } else { None }
                    },
                )
                .collect();
            return match (plain, sides.as_slice()) {
                (Some(ratio), _) => Ok(Shape::Ratio(ratio)),
                // `volume: 12` is 12.
                (None, [Shape::Words(_), value]) => Ok(value.clone()),
                _ => Err(Unreadable::Grammar),
            };
        }
        self.value(view)
    }

    /// Several things in brackets, or a set; nothing if the brackets only group.
    fn bracketed(&self, open: char, inside: View<'_>, close: char) -> Result<Option<Shape>, Unreadable> {
        let bracket = |sign| match sign {
            '(' | ')' => Some(Bracket::Round),
            '[' | ']' => Some(Bracket::Square),
            '<' | '>' => Some(Bracket::Curly),
            _ => None,
        };
        let (Some(open), Some(close)) = (bracket(open), bracket(close)) else { return Ok(None) };
        let inside = inside.trimmed();
        if open == Bracket::Curly
            && let [place, ..] = inside.outside(|_, token| matches!(token, Token::Sign('|' | ':')))[..]
        {
            let (variable, condition) = (inside.slice(0, place), inside.slice(place + 1, inside.list.len()));
            if let [Token::Word(name)] = variable.list
                && !condition.is_empty()
            {
                return Ok(Some(Shape::SetOf(name.clone(), Box::new(self.statement(condition.trimmed())?))));
            }
        }
        let parts = inside.split(|_, token| matches!(token, Token::Sign(',' | ';')));
        if parts.len() < 2 && open != Bracket::Curly {
            return Ok(None);
        }
        if parts.len() > MAX_PARTS {
            return Err(Unreadable::TooLarge);
        }
        let parts: Vec<Shape> = parts
            .into_iter()
            .filter(|part| !part.is_empty())
            .map(|part| self.clause(part))
            .collect::<Result<_, _>>()?;
        Ok(Some(Shape::Bracketed(open, parts, close)))
    }

    /// A number or expression with what follows it, or words.
    fn value(&self, view: View<'_>) -> Read {
        let words = || Shape::Words(phrase(view.list, view.spaced));
        let (money, amount) = currency(without_hedges(view));
        let is_unit = |rest: &[Token]| self.units && Unit::parse(&phrase(rest, &vec![false; rest.len()])).is_some();
        let mut parser = Parser::new(amount.list, amount.spaced, &is_unit);
        let expr = match parser.sum() {
            Ok(expr) => expr,
            Err(Unreadable::Grammar) => return Ok(words()),
            Err(other) => return Err(other),
        };
        let left = parser.rest().len();
        let spaced = &parser.spaced[parser.spaced.len() - left..];
        let tail = phrase(parser.rest(), spaced);
        let tail = tail.trim().trim_matches(['.', ',', '"']).trim();
        let percent =
            ["%", "percent", "percentage", "pct", "per cent", "percents"].contains(&tail.to_ascii_lowercase().as_str());
        if percent {
            return Ok(Shape::value(Expr::Percent(Box::new(expr))));
        }
        let unit = if tail.is_empty() { money } else { tail };
        // An index after a number is the base it is written in.
        let base = unit.strip_prefix('_').is_some_and(|base| base.parse::<u8>().is_ok());
        let known = base || Unit::parse(unit).is_some();
        let digits = unit.bytes().any(|byte| byte.is_ascii_digit());
        if !unit.is_empty() && !known && (digits || !expr.is_constant()) {
            return Ok(words());
        }
        Ok(Shape::Value(expr, unit.to_owned()))
    }
}

/// Parts that repeat the same names in turn are groups: `p=5, q=2, p=7, q=2`.
fn grouped(parts: Vec<Shape>) -> Vec<Shape> {
    let name = |shape: &Shape| match shape {
        Shape::Chain(sides, _) => sides.first().and_then(Shape::expr).filter(|expr| expr.is_name()).cloned(),
        _ => None,
    };
    let Some(first) = parts.first().and_then(name) else { return parts };
    let Some(size) = parts.iter().skip(1).position(|part| name(part).as_ref() == Some(&first)).map(|place| place + 1)
    else {
        return parts;
    };
    let regular = size > 1
        && parts.len().is_multiple_of(size)
        && parts.chunks(size).all(|chunk| chunk.iter().zip(&parts).all(|(part, model)| name(part) == name(model)));
    if regular { parts.chunks(size).map(|chunk| Shape::List(chunk.to_vec())).collect() } else { parts }
}

/// Without words such as "about" in front, or Chinese ones that end in "is", "about" or "altogether".
fn without_hedges(view: View<'_>) -> View<'_> {
    const HEDGES: [&str; 9] =
        ["about", "approximately", "around", "roughly", "exactly", "is", "are", "equals", "nearly"];
    let hedge = |token: &Token| match token {
        Token::Text(text) if text.ends_with(['为', '是', '得', '约', '共', '有', '于']) => true,
        Token::Word(word) | Token::Text(word) => HEDGES.contains(&word.trim().to_ascii_lowercase().as_str()),
        _ => false,
    };
    let skip = view.list.iter().take_while(|token| hedge(token)).count();
    view.slice(skip, view.list.len())
}

/// A currency sign in front of an amount, and the amount.
fn currency(view: View<'_>) -> (&'static str, View<'_>) {
    let sign = match view.list.first() {
        Some(Token::Sign('$')) => "$",
        Some(Token::Command(name)) if name == "euro" => "\\euro",
        Some(Token::Command(name)) if name == "pound" => "\\pound",
        Some(Token::Command(name)) if name == "yen" => "\\yen",
        _ => return ("", view),
    };
    (sign, view.slice(1, view.list.len()))
}
