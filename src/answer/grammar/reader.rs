//! Reads tokens as the shape of a whole answer: lists, relations, sets and single values.

use super::clock;
use super::error::Unreadable;
use super::expression::Parser;
use super::lex::{Token, lex, phrase};
use super::patterns::{
    currency, is_reals, is_to, split_condition, split_point_label, split_unseparated, without_hedges,
};
use super::shape::{Bracket, Joint, Relation, Shape};
use super::token_slice::TokenSlice;
use crate::answer::math::{Constant, Expr};
use crate::answer::units::Unit;

/// The meaning of a comma between digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commas {
    /// It groups thousands before three digits, and separates parts elsewhere.
    Thousands,
    /// It separates parts.
    Parts,
    /// It is the decimal point.
    Point,
}

/// Maximum number of parts of one answer.
const MAX_PARTS: usize = 64;

/// Reads normalised text.
///
/// With `units`, letters after a number are read as its unit if such a unit exists; without, they
/// are variables.
///
/// # Errors
/// [`Unreadable::TooLarge`]. Text that does not follow the grammar becomes [`Shape::Words`].
pub fn read(text: &str, commas: Commas, units: bool) -> Result<Shape, Unreadable> {
    let tokens = lex(text, commas == Commas::Thousands, commas == Commas::Point)?;
    match (Reader { units }).statement(tokens.as_slice().trimmed()) {
        Err(Unreadable::Grammar) => Ok(Shape::Words(text.trim().to_owned())),
        other => other,
    }
}

/// Returns whether a token joins the parts of an answer.
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

/// Returns the relation that a token denotes.
pub fn relation(token: &Token) -> Option<Relation> {
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

/// Reads shapes from token slices.
pub struct Reader {
    /// Whether letters after a number are read as its unit if such a unit exists.
    pub units: bool,
}

pub type Read = Result<Shape, Unreadable>;

impl Reader {
    /// Reads lines, each with its own parts.
    pub fn statement(&self, tokens: TokenSlice<'_>) -> Read {
        let lines: Vec<TokenSlice<'_>> = tokens.split(|_, token| *token == Token::Sign('\n'));
        if lines.len() > MAX_PARTS {
            return Err(Unreadable::TooLarge);
        }
        match lines.as_slice() {
            [_] => self.line(tokens),
            several => {
                let parts = several.iter().filter(|line| !line.is_empty()).map(|line| self.line(*line));
                parts.collect::<Result<_, _>>().map(Shape::Parts)
            }
        }
    }

    /// Reads groups of parts: `and`, `or` and `;` separate groups, commas separate parts inside
    /// them.
    fn line(&self, tokens: TokenSlice<'_>) -> Read {
        let groups: Vec<Vec<TokenSlice<'_>>> = tokens
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
        let read =
            |parts: &[TokenSlice<'_>]| parts.iter().map(|part| self.clause(*part)).collect::<Result<Vec<_>, _>>();
        match groups.as_slice() {
            [] => Err(Unreadable::Grammar),
            [parts] if parts.len() == 1 => self.clause(parts[0]),
            [parts] => Ok(joined(read(parts)?, &[]).unwrap_or_else(|parts| Shape::List(grouped(parts)))),
            several => {
                // Groups of equal size above one are parts themselves: `p=5, q=2; p=7, q=2`.
                let size = several[0].len();
                if size > 1 && several.iter().all(|parts| parts.len() == size) {
                    return several
                        .iter()
                        .map(|parts| read(parts).map(Shape::List))
                        .collect::<Result<_, _>>()
                        .map(Shape::List);
                }
                let flat: Vec<TokenSlice<'_>> = several.iter().flatten().copied().collect();
                let joints: Vec<&Token> =
                    tokens.outside(|_, token| joins(token)).into_iter().map(|place| &tokens.list[place]).collect();
                Ok(joined(read(&flat)?, &joints).unwrap_or_else(Shape::List))
            }
        }
    }

    /// Reads one part: sides with relations between them.
    pub fn clause(&self, tokens: TokenSlice<'_>) -> Read {
        if let Some(time) = clock::read(tokens.list) {
            return Ok(Shape::Time(time));
        }
        // "The clock shows 2:15": words before a time or a ratio.
        let words = tokens.list.iter().take_while(|token| matches!(token, Token::Word(word) if word.len() > 1)).count();
        if words > 1 && matches!(tokens.list[words..], [Token::Number(_), Token::Sign(':'), Token::Number(_), ..]) {
            return self.clause(tokens.slice(words, tokens.list.len()));
        }
        let tokens = without_hedges(tokens);
        if let Some(('{', inside, '}')) = tokens.unwrapped() {
            return self.braced(inside);
        }
        if let Some(time) = clock::read(tokens.list) {
            return Ok(Shape::Time(time));
        }
        if let Some(pieces) = split_unseparated(tokens) {
            if pieces.len() > MAX_PARTS {
                return Err(Unreadable::TooLarge);
            }
            return pieces.into_iter().map(|piece| self.clause(piece)).collect::<Result<_, _>>().map(Shape::Parts);
        }
        for (sign, joint) in [("cap", Joint::And), ("cup", Joint::Or)] {
            let parts = tokens.split(|_, token| matches!(token, Token::Command(name) if name == sign));
            let related =
                |part: &TokenSlice<'_>| part.list.iter().any(|token| relation(token).is_some_and(Relation::is_order));
            if parts.len() > 1 && parts.iter().all(related) {
                let parts = parts.into_iter().map(|part| self.clause(part)).collect::<Result<_, _>>()?;
                return Ok(Shape::Joined(joint, parts));
            }
        }
        if let Some((main, domain)) = split_condition(tokens) {
            return Ok(joined(vec![self.clause(main)?, self.clause(domain)?], &[]).unwrap_or_else(Shape::List));
        }
        let relates = |_, token: &Token| relation(token).is_some();
        let places = tokens.outside(relates);
        if places.is_empty() {
            // A relation may be in brackets.
            return match tokens.unwrapped() {
                Some(('(', inside, ')')) if !inside.outside(relates).is_empty() => self.statement(inside.trimmed()),
                _ => self.side(tokens),
            };
        }
        if places.len() > 8 {
            return Err(Unreadable::TooLarge);
        }
        let mut relations: Vec<Relation> = places.iter().filter_map(|place| relation(&tokens.list[*place])).collect();
        let mut sides = tokens.split(relates);
        // `= 5` and `≈ 5` mean 5.
        if sides[0].is_empty() && !relations[0].is_order() {
            sides.remove(0);
            relations.remove(0);
        }
        let sides: Vec<Shape> = sides.into_iter().map(|side| self.side(side)).collect::<Result<_, _>>()?;
        if sides.len() == 1 {
            return sides.into_iter().next().ok_or(Unreadable::Grammar);
        }
        let ordered = relations.iter().any(|relation| relation.is_order());
        let chain = Shape::Chain(sides, relations);
        Ok(if ordered { chain.map_exprs(&|expr| without_imaginary_unit(expr)) } else { chain })
    }

    /// Reads one side of a relation: a set, a ratio, or a value.
    fn side(&self, tokens: TokenSlice<'_>) -> Read {
        let tokens = tokens.trimmed();
        if tokens.is_empty() {
            return Err(Unreadable::Grammar);
        }
        if let Some(('{', inside, '}')) = tokens.unwrapped() {
            return self.braced(inside);
        }
        if let Some(system) = self.system(tokens) {
            return system;
        }
        if let Some((name, point)) = split_point_label(tokens)
            && let Some(('(', inside, ')')) = point.unwrapped()
            && let Some(shape) = self.bracketed('(', inside, ')')?
        {
            return Ok(Shape::Chain(vec![Shape::value(Expr::Symbol(name)), shape], vec![Relation::Equal]));
        }
        let is_bracket = |index: Option<usize>| {
            matches!(index.and_then(|index| tokens.list.get(index)), Some(Token::Open(_) | Token::Close(_)))
        };
        let cup = |index: usize, token: &Token| match token {
            Token::Command(name) => name == "cup",
            Token::Word(word) => word == "U" && is_bracket(index.checked_sub(1)) && is_bracket(Some(index + 1)),
            _ => false,
        };
        let sets = tokens.split(cup);
        if sets.len() > 1 {
            return sets.into_iter().map(|set| self.side(set)).collect::<Result<_, _>>().map(Shape::Union);
        }
        let command =
            |token: &Token, names: &[&str]| matches!(token, Token::Command(name) if names.contains(&name.as_str()));
        let sets = tokens.split(|_, token| command(token, &["cap"]));
        if sets.len() > 1 {
            let sets = sets.into_iter().map(|set| self.side(set)).collect::<Result<_, _>>()?;
            return Ok(Shape::Joined(Joint::And, sets));
        }
        let removes = |index: usize, token: &Token| {
            command(token, &["setminus", "smallsetminus", "backslash"])
                || *token == Token::Sign('-') && index > 0 && tokens.list.get(index + 1) == Some(&Token::Open('<'))
        };
        if let [set, removed] = tokens.split(removes)[..]
            && !set.is_empty()
        {
            return Ok(Shape::Without(Box::new(self.side(set)?), Box::new(self.side(removed)?)));
        }
        if let Some((open, inside, close)) = tokens.unwrapped()
            && let Some(shape) = self.bracketed(open, inside, close)?
        {
            return Ok(shape);
        }
        let parts = tokens.split(|index, token| *token == Token::Sign(':') || is_to(tokens, index));
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
                // `volume: 12` means 12.
                (None, [Shape::Words(_), value]) => Ok(value.clone()),
                _ => Err(Unreadable::Grammar),
            };
        }
        self.value(tokens)
    }

    /// Reads the inside of braces, which may only group.
    fn braced(&self, inside: TokenSlice<'_>) -> Read {
        self.set_of(inside.trimmed()).unwrap_or_else(|| self.statement(inside.trimmed()))
    }

    /// Reads `x | condition` or `x ∈ domain : condition` from inside the braces of a set; `None`
    /// for anything else.
    fn set_of(&self, inside: TokenSlice<'_>) -> Option<Read> {
        let [place, ..] = inside.outside(|_, token| matches!(token, Token::Sign('|' | ':')))[..] else { return None };
        let (head, condition) = (inside.slice(0, place), inside.slice(place + 1, inside.list.len()).trimmed());
        let Token::Word(name) = head.list.first()? else { return None };
        let domain = match head.list.get(1) {
            None => None,
            Some(Token::Compare('∈')) => Some(head.slice(2, head.list.len())).filter(|domain| !is_reals(*domain)),
            Some(_) => return None,
        };
        let related = |tokens: TokenSlice<'_>| tokens.list.iter().any(|token| relation(token).is_some());
        let bare = inside.list[place] == Token::Sign(':') && !related(condition);
        if name.len() > 1 || condition.is_empty() || bare {
            return None;
        }
        Some(self.statement(condition).and_then(|condition| {
            let condition = match domain {
                Some(_) => joined(vec![condition, self.clause(head)?], &[]).unwrap_or_else(Shape::List),
                None => condition,
            };
            Ok(Shape::SetOf(name.clone(), Box::new(condition)))
        }))
    }

    /// Reads several items in brackets, or a set; `None` if the brackets only group.
    fn bracketed(&self, open: char, inside: TokenSlice<'_>, close: char) -> Result<Option<Shape>, Unreadable> {
        let bracket = |sign| match sign {
            '(' | ')' => Some(Bracket::Round),
            '[' | ']' => Some(Bracket::Square),
            '<' | '>' => Some(Bracket::Curly),
            _ => None,
        };
        let (Some(open), Some(close)) = (bracket(open), bracket(close)) else { return Ok(None) };
        let inside = inside.trimmed();
        if open == Bracket::Curly
            && let Some(set) = self.set_of(inside)
        {
            return set.map(Some);
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

    /// Reads a number or expression with its unit, or words.
    fn value(&self, tokens: TokenSlice<'_>) -> Read {
        let words = || Shape::Words(phrase(tokens.list, tokens.space_before));
        let (money, amount) = currency(without_hedges(tokens));
        let is_unit =
            |rest: &[Token], space_before: &[bool]| self.units && Unit::parse(&phrase(rest, space_before)).is_some();
        let mut parser = Parser::new(amount.list, amount.space_before, &is_unit);
        let expr = match parser.sum() {
            Ok(expr) => expr,
            Err(Unreadable::Grammar) => return Ok(words()),
            Err(other) => return Err(other),
        };
        let left = parser.rest().len();
        let space_before = &parser.space_before[parser.space_before.len() - left..];
        let tail = phrase(parser.rest(), space_before);
        let tail = tail.trim().trim_matches(['.', ',', '"']).trim();
        let percent =
            ["%", "percent", "percentage", "pct", "per cent", "percents"].contains(&tail.to_ascii_lowercase().as_str());
        if percent {
            return Ok(Shape::value(Expr::Percent(Box::new(expr))));
        }
        let unit = if tail.is_empty() { money } else { tail };
        // An index after a number is its base.
        let base = unit.strip_prefix('_').is_some_and(|base| base.parse::<u8>().is_ok());
        let known = base || Unit::parse(unit).is_some();
        let digits = unit.bytes().any(|byte| byte.is_ascii_digit()) && !unit.starts_with("unit");
        if !unit.is_empty() && !known && (digits || !expr.is_constant()) {
            let rest = amount.slice(amount.list.len() - left, amount.list.len());
            return Ok(self.compound(&expr, rest).unwrap_or_else(words));
        }
        Ok(Shape::Value(expr, unit.to_owned()))
    }
}

/// Makes `i` a variable: only real numbers have an order.
fn without_imaginary_unit(expr: &Expr) -> Expr {
    expr.replaced(&|part| matches!(part, Expr::Constant(Constant::ImaginaryUnit)).then(|| Expr::Symbol("i".to_owned())))
}

impl Reader {
    /// Reads a quantity in several units, `1 h 30 min`, after its first number.
    fn compound(&self, first: &Expr, rest: TokenSlice<'_>) -> Option<Shape> {
        let place = rest.list.iter().position(|token| matches!(token, Token::Number(_)))?;
        let unit = Unit::parse(&phrase(&rest.list[..place], &rest.space_before[..place]))?;
        let Ok(Shape::Value(second, smaller)) = self.value(rest.slice(place, rest.list.len())) else { return None };
        let factor = unit.factor_to(&Unit::parse(&smaller)?)?;
        let total = Expr::Sum(vec![Expr::Product(vec![first.clone(), factor]), second]);
        Some(Shape::Value(total, smaller))
    }
}

/// Joins conditions on one variable: those joined by "and" have to hold at once, as do listed ones
/// with `≠` or `∈`; by "or", one of them. Returns the parts if they are not such conditions.
fn joined(mut parts: Vec<Shape>, joints: &[&Token]) -> Result<Shape, Vec<Shape>> {
    // `x ≠ 1, 2` excludes both.
    if let Some(Shape::Chain(sides, relations)) = parts.first().cloned()
        && relations[..] == [Relation::Unequal]
        && parts[1..].iter().all(|part| part.expr().is_some_and(Expr::is_constant))
    {
        for part in &mut parts[1..] {
            *part = Shape::Chain(vec![sides[0].clone(), part.clone()], relations.clone());
        }
        return Ok(Shape::Joined(Joint::And, parts));
    }
    let Some(variable) = parts[0].condition_variable() else { return Err(parts) };
    if !parts.iter().all(|part| part.condition_variable() == Some(variable)) {
        return Err(parts);
    }
    let says = |token: &&Token, word: &str| match token {
        Token::Word(text) | Token::Text(text) => {
            text.trim().trim_matches(|c: char| ",.;".contains(c)).to_ascii_lowercase().ends_with(word)
        }
        _ => false,
    };
    let excludes = |part: &Shape| {
        let Shape::Chain(_, relations) = part else { return false };
        relations.iter().any(|relation| matches!(relation, Relation::Unequal | Relation::In))
    };
    match joints {
        [] if parts.iter().any(excludes) => Ok(Shape::Joined(Joint::And, parts)),
        [_, ..] if joints.iter().all(|joint| says(joint, "and")) => Ok(Shape::Joined(Joint::And, parts)),
        [_, ..] if joints.iter().all(|joint| says(joint, "or") || says(joint, "或者")) => {
            Ok(Shape::Joined(Joint::Or, parts))
        }
        _ => Err(parts),
    }
}

/// Groups parts that repeat the same names in turn: `p=5, q=2, p=7, q=2`.
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
