//! Whether two shapes mean the same.

use std::borrow::Cow;

use super::lists::{self, in_order, ordered, piecewise, unordered};
use super::{families, quantity, relation, sets, words};
use crate::answer::grammar::{Bracket, Shape};
use crate::answer::math::{Expr, Tolerance};
use crate::answer::{AnswerSpec, Comparison, Outcome, Precision};

/// How exact numbers must be, and the unit of a bare one.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    spec: &'a AnswerSpec,
    part: usize,
}

impl<'a> Terms<'a> {
    pub fn of(spec: &'a AnswerSpec) -> Self {
        Self { spec, part: 0 }
    }

    /// The terms of the part with this index.
    pub fn part(self, part: usize) -> Self {
        Self { part, ..self }
    }

    pub fn tolerance(self) -> Tolerance {
        match &self.spec.precision {
            None => Tolerance::Exact,
            Some(Precision::Decimals(places)) => Tolerance::Decimals(*places),
            Some(Precision::Within(distances)) => distances
                .get(self.part)
                .or(distances.last())
                .map_or(Tolerance::Exact, |limit| Tolerance::Within(*limit)),
        }
    }

    pub fn sets_apart(self) -> bool {
        self.spec.sets_apart
    }

    pub fn unit(self) -> Option<&'a str> {
        self.spec.unit.as_deref()
    }
}

/// Compares two shapes.
pub fn agree(gold: &Shape, said: &Shape, terms: &Terms<'_>) -> Comparison {
    if let Some(finding) = families::compare(gold, said, terms) {
        return finding;
    }
    let (gold, said) = (expanded(gold), expanded(said));
    match (&*gold, &*said) {
        (Shape::Words(a), Shape::Words(b)) => match words::compare(a, b) {
            // Different words for the same set.
            finding if finding.outcome != Outcome::Equal => sets::compare(&gold, &said, terms).unwrap_or(finding),
            finding => finding,
        },
        (Shape::Words(text), other) | (other, Shape::Words(text)) => worded(text, other, terms),
        (Shape::Value(a, unit), Shape::Value(b, other)) => quantity::compare((a, unit), (b, other), terms),
        (Shape::SetOf(_, a), Shape::SetOf(_, b)) => {
            sets::compare(&gold, &said, terms).unwrap_or_else(|| agree(a, b, terms))
        }
        (Shape::SetOf(_, condition), Shape::List(_) | Shape::Chain(..)) => {
            sets::compare(&gold, &said, terms).unwrap_or_else(|| agree(condition, &said, terms))
        }
        (Shape::List(_) | Shape::Chain(..), Shape::SetOf(_, condition)) => {
            sets::compare(&gold, &said, terms).unwrap_or_else(|| agree(&gold, condition, terms))
        }
        (Shape::List(parts), one @ Shape::Chain(..)) | (one @ Shape::Chain(..), Shape::List(parts))
            if let Some(main) = lists::under_condition(parts) =>
        {
            not_equal(agree(main, one, terms), "the same under a condition")
        }
        (Shape::Chain(..), _) | (_, Shape::Chain(..)) => relation::compare(&gold, &said, terms),
        (Shape::Ratio(_), _) | (_, Shape::Ratio(_)) => relation::ratios(&gold, &said, terms),
        (Shape::Parts(_), _) | (_, Shape::Parts(_)) => in_order(&gold, &said, terms),
        (Shape::Piecewise(a), Shape::Piecewise(b)) => piecewise(a, b, terms),
        (Shape::List(a), Shape::List(b)) => lists::lists(a, b, terms),
        (Shape::Bracketed(Bracket::Curly, items, _), other @ Shape::Bracketed(open, ..))
        | (other @ Shape::Bracketed(open, ..), Shape::Bracketed(Bracket::Curly, items, _))
            if *open != Bracket::Curly && matches!(items[..], [Shape::Bracketed(..)]) =>
        {
            agree(&items[0], other, terms)
        }
        (Shape::Bracketed(open, a, close), Shape::Bracketed(other_open, b, other_close)) => {
            match (*open == Bracket::Curly, *other_open == Bracket::Curly) {
                (true, true) => unordered(a, b, terms),
                (false, false) => {
                    let items = ordered(a, b, terms);
                    let alike = open == other_open && close == other_close;
                    if items.outcome == Outcome::Equal && !alike {
                        Comparison::different("other brackets")
                    } else {
                        items
                    }
                }
                _ => sets::compare(&gold, &said, terms)
                    .unwrap_or_else(|| not_equal(unordered(a, b, terms), "a set and an ordered tuple")),
            }
        }
        (Shape::List(a), Shape::Bracketed(open, b, close)) | (Shape::Bracketed(open, b, close), Shape::List(a)) => {
            match (open, close) {
                (Bracket::Round, Bracket::Round) if b.len() > 1 => ordered(a, b, terms),
                _ if open == close => unordered(a, b, terms),
                _ => Comparison::different("a list and an interval"),
            }
        }
        (Shape::Value(matrix, unit), Shape::Bracketed(open, items, close))
        | (Shape::Bracketed(open, items, close), Shape::Value(matrix, unit))
            if open == close && *open != Bracket::Curly && unit.is_empty() && vector(matrix).is_some() =>
        {
            let cells: Vec<Shape> =
                vector(matrix).into_iter().flatten().map(|cell| Shape::value(cell.clone())).collect();
            ordered(&cells, items, terms)
        }
        (Shape::Bracketed(Bracket::Curly, items, _), other) | (other, Shape::Bracketed(Bracket::Curly, items, _))
            if items.len() == 1 =>
        {
            agree(&items[0], other, terms)
        }
        (Shape::SetOf(..), set) | (set, Shape::SetOf(..)) if sets::is_set(set) => sets::compare(&gold, &said, terms)
            .unwrap_or(Comparison::undecided("a set and a condition that is not solved")),
        (Shape::List(parts), one) | (one, Shape::List(parts)) if let Some(main) = lists::under_condition(parts) => {
            not_equal(agree(main, one, terms), "the same under a condition")
        }
        (Shape::Piecewise(_), _) | (_, Shape::Piecewise(_)) => Comparison::undecided("a function given piece by piece"),
        _ => sets::compare(&gold, &said, terms).unwrap_or_else(|| Comparison::different("another kind of answer")),
    }
}

/// An agreement that is not enough; a difference stays one.
pub fn not_equal(finding: Comparison, why: &'static str) -> Comparison {
    if finding.outcome == Outcome::Different { finding } else { Comparison::undecided(why) }
}

/// ± written out: two values or two relations.
fn expanded(shape: &Shape) -> Cow<'_, Shape> {
    let signed = |shape: &Shape, upper: bool| match shape {
        Shape::Value(expr, unit) => Shape::Value(expr.with_sign(upper), unit.clone()),
        other => other.clone(),
    };
    Cow::Owned(match shape {
        Shape::Value(expr, _) if expr.has_plus_minus() => Shape::List(vec![signed(shape, true), signed(shape, false)]),
        Shape::Chain(sides, relations) if sides.iter().any(|side| side.expr().is_some_and(Expr::has_plus_minus)) => {
            let of = |upper| Shape::Chain(sides.iter().map(|side| signed(side, upper)).collect(), relations.clone());
            Shape::List(vec![of(true), of(false)])
        }
        Shape::List(items) => Shape::List(flattened(items)),
        Shape::Bracketed(Bracket::Curly, items, close) => Shape::Bracketed(Bracket::Curly, flattened(items), *close),
        other => return Cow::Borrowed(other),
    })
}

fn flattened(items: &[Shape]) -> Vec<Shape> {
    let mut result = Vec::new();
    for item in items {
        match (item, expanded(item).into_owned()) {
            // Only what a ± made: lists that were written as such are parts.
            (Shape::Value(..) | Shape::Chain(..), Shape::List(both)) => result.extend(both),
            (_, other) => result.push(other),
        }
    }
    result
}

/// The cells of a matrix with one row or one column.
fn vector(expr: &Expr) -> Option<Vec<&Expr>> {
    let Expr::Matrix(rows) = expr else { return None };
    (rows.len() == 1 || rows[0].len() == 1).then(|| rows.iter().flatten().collect())
}

/// Words against something else: a number word, a set in words, or nothing that rules can compare.
fn worded(text: &str, other: &Shape, terms: &Terms<'_>) -> Comparison {
    if let Some(number) = words::number(text) {
        return agree(&Shape::value(number), other, terms);
    }
    if let Some(finding) = sets::compare(&Shape::Words(text.to_owned()), other, terms) {
        return finding;
    }
    match other {
        Shape::Value(expr, unit) if let Some(number) = words::counted(text, unit) => {
            agree(&Shape::value(number), &Shape::value(expr.clone()), terms)
        }
        // A name is no number, and a number no name; words that count something may be either.
        Shape::Value(expr, _) if expr.is_constant() && words::names_no_number(text) => {
            Comparison::different("words and a number")
        }
        _ => Comparison::undecided("words that are not understood"),
    }
}
