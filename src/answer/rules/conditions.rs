//! The real numbers for which a condition in one variable holds: `a < x ≤ b`, `x ≠ a`, `|x − 1| < 2`,
//! `2x + 1 > 5`, `0 < f(x) < 1`.

use super::intervals::{Interval, infinity, intersection, union};
use crate::answer::grammar::{Relation, Shape};
use crate::answer::math::{Equality, Expr, Function, Point, Tolerance, equality, evaluate};

/// Returns the numbers for which all relations of a chain hold; `None` if the chain is not a
/// condition on one variable with constants.
pub fn solve(sides: &[Shape], relations: &[Relation]) -> Option<Vec<Interval>> {
    let limits = |relation: &Relation| relation.is_order() || *relation == Relation::Unequal;
    if !relations.iter().all(limits) {
        return None;
    }
    // `3 < third side < 7`: words name the variable.
    let sides: Vec<Shape> = sides
        .iter()
        .map(|side| match side {
            Shape::Words(text) => Shape::value(Expr::Symbol(text.clone())),
            other => other.clone(),
        })
        .collect();
    let exprs: Vec<&Expr> = sides.iter().map(Shape::expr).collect::<Option<_>>()?;
    let mut varying = exprs.iter().filter(|side| !side.is_constant());
    let subject = varying.next()?;
    if varying.any(|other| other != subject) && exprs.len() > 2 {
        return None;
    }
    let mut all = vec![Interval::everything()];
    for (pair, relation) in exprs.windows(2).zip(relations) {
        if pair[0].is_constant() && pair[1].is_constant() {
            return None;
        }
        all = intersection(&all, &holds(pair[0], *relation, pair[1])?)?;
    }
    Some(all)
}

/// Returns the numbers for which `left relation right` holds.
fn holds(left: &Expr, relation: Relation, right: &Expr) -> Option<Vec<Interval>> {
    if left.is_constant() {
        return holds(right, relation.flipped(), left);
    }
    if let Expr::Call(Function::Abs, inside) = left
        && right.is_constant()
        && let [inside] = inside.as_slice()
        && !names_length(inside)
    {
        let negative = right.clone().negated();
        let opposite = relation.flipped();
        let (above, below) = (holds(inside, relation, right)?, holds(inside, opposite, &negative)?);
        return match relation {
            Relation::Less | Relation::AtMost | Relation::Unequal => intersection(&above, &below),
            _ => Some(union([above, below].concat())),
        };
    }
    if left.is_name() && right.is_constant() {
        return Some(compared(relation, right.clone()));
    }
    let (slope, end) = root(&left.clone().minus(right.clone()))?;
    Some(compared(if slope > 0.0 { relation } else { relation.flipped() }, end))
}

/// Returns whether bars around an expression are part of a name, as for the length of a segment.
fn names_length(inside: &Expr) -> bool {
    let symbols = inside.symbols();
    inside.is_name()
        && symbols.iter().any(|name| name.starts_with(|c: char| c.is_ascii_uppercase()) || name.contains(' '))
}

/// Returns the numbers x with `x relation end`.
fn compared(relation: Relation, end: Expr) -> Vec<Interval> {
    let closed = matches!(relation, Relation::AtMost | Relation::AtLeast);
    match relation {
        Relation::Unequal => vec![
            Interval { high: end.clone(), ..Interval::everything() },
            Interval { low: end, ..Interval::everything() },
        ],
        Relation::Less | Relation::AtMost => {
            vec![Interval { high: end, high_closed: closed, ..Interval::everything() }]
        }
        _ => vec![Interval { low: end, low_closed: closed, high: infinity(), high_closed: false }],
    }
}

/// Returns the slope and the root of an expression that is linear in its only variable.
fn root(expr: &Expr) -> Option<(f64, Expr)> {
    let [name] = expr.symbols()[..] else { return None };
    if expr.any(&|part| matches!(part, Expr::Opaque(..))) {
        return None;
    }
    let at = |value: u64| {
        expr.replaced(&|part| matches!(part, Expr::Symbol(other) if other == name).then(|| Expr::integer(value)))
    };
    let (zero, one, two) = (at(0), at(1), at(2));
    let slope = one.clone().minus(zero.clone());
    let same = |a: &Expr, b: &Expr| equality(a, b, Tolerance::Exact) == Equality::Equal;
    let at_five = Expr::Sum(vec![zero.clone(), Expr::Product(vec![Expr::integer(5), slope.clone()])]);
    if !same(&two.minus(one), &slope) || !same(&at(5), &at_five) {
        return None;
    }
    let size = evaluate(&slope, Point::new(0)).real().filter(|size| size.is_finite() && *size != 0.0)?;
    Some((size, zero.negated().over(slope)))
}
