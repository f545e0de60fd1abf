//! Compares two shapes: picks the rule for each pair of kinds.

use std::borrow::Cow;

use super::combine::undecided_unless_different;
use super::lists::{self, in_blanks, ordered, piecewise, unordered};
use super::part_spec::PartSpec;
use super::{clocks, families, quantity, relations, sets, words};
use crate::answer::comparison::{Comparison, Outcome};
use crate::answer::grammar::{Bracket, Joint, Relation, Shape};
use crate::answer::math::{Expr, Function};

/// Compares two shapes.
pub fn compare_shapes(gold: &Shape, prediction: &Shape, spec: &PartSpec<'_>) -> Comparison {
    if let Some(comparison) = families::compare(gold, prediction, spec) {
        return comparison;
    }
    let (gold, prediction) = match (without_bars(gold), without_bars(prediction)) {
        (Some(both), None) if is_solved(prediction) => (Cow::Owned(both), expanded(prediction)),
        (None, Some(both)) if is_solved(gold) => (expanded(gold), Cow::Owned(both)),
        _ => (expanded(gold), expanded(prediction)),
    };
    if let Some(comparison) = joined(&gold, &prediction, spec) {
        return comparison;
    }
    match (&*gold, &*prediction) {
        (Shape::Words(a), Shape::Words(b)) => match words::compare(a, b) {
            // Different words may name the same set.
            comparison if comparison.outcome != Outcome::Equal => {
                sets::compare(&gold, &prediction, spec).unwrap_or(comparison)
            }
            comparison => comparison,
        },
        (Shape::Time(_), _) | (_, Shape::Time(_)) if !is_worded(&gold) && !is_worded(&prediction) => {
            clocks::compare(&gold, &prediction)
        }
        (Shape::Words(text), other) | (other, Shape::Words(text)) => worded(text, other, spec),
        (Shape::Value(a, unit), Shape::Value(b, other)) => quantity::compare((a, unit), (b, other), spec),
        (Shape::SetOf(_, a), Shape::SetOf(_, b)) => {
            sets::compare(&gold, &prediction, spec).unwrap_or_else(|| compare_shapes(a, b, spec))
        }
        (Shape::SetOf(_, condition), Shape::List(_) | Shape::Chain(..)) => {
            sets::compare(&gold, &prediction, spec).unwrap_or_else(|| compare_shapes(condition, &prediction, spec))
        }
        (Shape::List(_) | Shape::Chain(..), Shape::SetOf(_, condition)) => {
            sets::compare(&gold, &prediction, spec).unwrap_or_else(|| compare_shapes(&gold, condition, spec))
        }
        (Shape::List(parts), one @ Shape::Chain(..)) | (one @ Shape::Chain(..), Shape::List(parts))
            if let Some(main) = lists::under_condition(parts) =>
        {
            undecided_unless_different(compare_shapes(main, one, spec), "equal except for a condition")
        }
        (Shape::Chain(..), _) | (_, Shape::Chain(..)) => relations::compare(&gold, &prediction, spec),
        (Shape::Ratio(_), _) | (_, Shape::Ratio(_)) => relations::ratios(&gold, &prediction, spec),
        (Shape::Parts(_), _) | (_, Shape::Parts(_)) => in_blanks(&gold, &prediction, spec),
        (Shape::Piecewise(a), Shape::Piecewise(b)) => piecewise(a, b, spec),
        (Shape::List(a), Shape::List(b)) => lists::lists(a, b, spec),
        (Shape::Bracketed(Bracket::Curly, items, _), other @ Shape::Bracketed(open, ..))
        | (other @ Shape::Bracketed(open, ..), Shape::Bracketed(Bracket::Curly, items, _))
            if *open != Bracket::Curly && matches!(items[..], [Shape::Bracketed(..)]) =>
        {
            compare_shapes(&items[0], other, spec)
        }
        (Shape::Bracketed(open, a, close), Shape::Bracketed(other_open, b, other_close)) => {
            match (*open == Bracket::Curly, *other_open == Bracket::Curly) {
                (true, true) => unordered(a, b, spec),
                (false, false) => {
                    let items = ordered(a, b, spec);
                    let alike = open == other_open && close == other_close;
                    if items.outcome == Outcome::Equal && !alike {
                        Comparison::different("different brackets")
                    } else {
                        items
                    }
                }
                _ => sets::compare(&gold, &prediction, spec)
                    .unwrap_or_else(|| undecided_unless_different(unordered(a, b, spec), "a set and a tuple")),
            }
        }
        (Shape::List(a), Shape::Bracketed(open, b, close)) | (Shape::Bracketed(open, b, close), Shape::List(a)) => {
            match (open, close) {
                (Bracket::Round, Bracket::Round) if b.len() > 1 => ordered(a, b, spec),
                _ if open == close => unordered(a, b, spec),
                _ => Comparison::different("a list and an interval"),
            }
        }
        (Shape::Value(matrix, unit), Shape::Bracketed(open, items, close))
        | (Shape::Bracketed(open, items, close), Shape::Value(matrix, unit))
            if open == close && *open != Bracket::Curly && unit.is_empty() && vector(matrix).is_some() =>
        {
            let cells: Vec<Shape> =
                vector(matrix).into_iter().flatten().map(|cell| Shape::value(cell.clone())).collect();
            ordered(&cells, items, spec)
        }
        (Shape::Bracketed(Bracket::Curly, items, _), other) | (other, Shape::Bracketed(Bracket::Curly, items, _))
            if items.len() == 1 =>
        {
            compare_shapes(&items[0], other, spec)
        }
        (Shape::SetOf(..), set) | (set, Shape::SetOf(..)) if sets::is_set(set) => {
            sets::compare(&gold, &prediction, spec).unwrap_or(Comparison::undecided("a set and an unsolved condition"))
        }
        (Shape::List(parts), one) | (one, Shape::List(parts)) if let Some(main) = lists::under_condition(parts) => {
            undecided_unless_different(compare_shapes(main, one, spec), "equal except for a condition")
        }
        (Shape::Piecewise(_), _) | (_, Shape::Piecewise(_)) => {
            Comparison::undecided("a piecewise function and another kind of answer")
        }
        _ => sets::compare(&gold, &prediction, spec)
            .unwrap_or_else(|| Comparison::different("different kinds of answers")),
    }
}

fn is_worded(shape: &Shape) -> bool {
    matches!(shape, Shape::Words(_))
}

/// Compares joined conditions and differences of sets, as sets or else as lists; `None` if neither
/// shape is one.
fn joined(gold: &Shape, prediction: &Shape, spec: &PartSpec<'_>) -> Option<Comparison> {
    let conditions = |shape: &Shape| matches!(shape, Shape::List(parts) | Shape::Parts(parts) if parts.iter().all(|part| part.condition_variable().is_some()));
    match (gold, prediction) {
        (Shape::Joined(..) | Shape::Without(..), _) | (_, Shape::Joined(..) | Shape::Without(..)) => {}
        (one, Shape::Bracketed(..)) | (Shape::Bracketed(..), one) if conditions(one) => {
            return sets::compare(gold, prediction, spec);
        }
        _ => return None,
    }
    if let Some(comparison) = sets::compare(gold, prediction, spec) {
        return Some(comparison);
    }
    if matches!(gold, Shape::Without(..)) || matches!(prediction, Shape::Without(..)) {
        return Some(Comparison::undecided("a difference of sets that cannot be evaluated"));
    }
    let listed = |shape: &Shape| match shape {
        Shape::Joined(_, parts) => Shape::List(parts.clone()),
        other => other.clone(),
    };
    Some(compare_shapes(&listed(gold), &listed(prediction), spec))
}

/// Returns both solutions of `|x| = a`.
fn without_bars(shape: &Shape) -> Option<Shape> {
    let Shape::Chain(sides, relations) = shape else { return None };
    let ([left, right], [Relation::Equal]) = (sides.as_slice(), relations.as_slice()) else { return None };
    let (Some(Expr::Call(Function::Abs, inside)), Some(value)) = (left.expr(), right.expr()) else { return None };
    let [Expr::Symbol(name)] = inside.as_slice() else { return None };
    let solved = |value: Expr| {
        let sides = vec![Shape::value(Expr::Symbol(name.clone())), Shape::value(value)];
        Shape::Chain(sides, vec![Relation::Equal])
    };
    let both = vec![solved(value.clone()), solved(value.clone().negated())];
    (value.is_constant() && name.starts_with(|c: char| c.is_ascii_lowercase())).then_some(Shape::List(both))
}

/// Returns whether a shape gives the values of a variable.
fn is_solved(shape: &Shape) -> bool {
    match shape {
        Shape::List(parts) => parts.iter().all(|part| matches!(part, Shape::Value(..)) || is_solved(part)),
        Shape::Chain(sides, relations) => {
            relations[..] == [Relation::Equal] && matches!(sides[0].expr(), Some(Expr::Symbol(_)))
        }
        _ => false,
    }
}

/// Expands ± to two values or two relations.
fn expanded(shape: &Shape) -> Cow<'_, Shape> {
    let signed = |shape: &Shape, upper: bool| match shape {
        Shape::Value(expr, unit) => Shape::Value(expr.with_sign(upper), unit.clone()),
        other => other.clone(),
    };
    Cow::Owned(match shape {
        Shape::Value(expr, _) if expr.has_plus_minus() => Shape::List(vec![signed(shape, true), signed(shape, false)]),
        Shape::Chain(sides, relations) if sides.iter().any(|side| side.expr().is_some_and(Expr::has_plus_minus)) => {
            let of = |upper| Shape::Chain(sides.iter().map(|side| signed(side, upper)).collect(), relations.clone());
            let both = vec![of(true), of(false)];
            if relations[..] == [Relation::Unequal] { Shape::Joined(Joint::And, both) } else { Shape::List(both) }
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
            // Only lists made from ± are flattened; written lists are parts.
            (Shape::Value(..) | Shape::Chain(..), Shape::List(both) | Shape::Joined(_, both)) => result.extend(both),
            (_, other) => result.push(other),
        }
    }
    result
}

/// Returns the cells of a matrix with one row or one column.
fn vector(expr: &Expr) -> Option<Vec<&Expr>> {
    let Expr::Matrix(rows) = expr else { return None };
    (rows.len() == 1 || rows[0].len() == 1).then(|| rows.iter().flatten().collect())
}

/// Compares words with another shape: as a number word or a set in words, otherwise undecided.
fn worded(text: &str, other: &Shape, spec: &PartSpec<'_>) -> Comparison {
    if let Some(number) = words::number(text) {
        return compare_shapes(&Shape::value(number), other, spec);
    }
    if let Some(comparison) = sets::compare(&Shape::Words(text.to_owned()), other, spec) {
        return comparison;
    }
    match other {
        Shape::Value(expr, unit) if let Some(number) = words::counted(text, unit) => {
            compare_shapes(&Shape::value(number), &Shape::value(expr.clone()), spec)
        }
        // A name is not a number; words that count something may be one.
        Shape::Value(expr, _) if expr.is_constant() && words::names_no_number(text) => {
            Comparison::different("words and a number")
        }
        _ => Comparison::undecided("words and another kind of answer"),
    }
}
