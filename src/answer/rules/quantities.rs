//! Compares an equation that gives the value of a quantity with a value: `m + n = 256 + 37 = 293`,
//! `∠A + ∠B = 120°`, `a² + b² = 25`.

use std::borrow::Cow;

use super::part_spec::PartSpec;
use super::shapes::compare_shapes;
use crate::answer::comparison::{Comparison, Outcome};
use crate::answer::grammar::{Relation, Shape};
use crate::answer::math::Expr;

/// Drops the steps of a calculation: `m + n = 256 + 37 = 293` becomes `m + n = 293`.
pub fn without_steps(shape: &Shape) -> Cow<'_, Shape> {
    let Shape::Chain(sides, relations) = shape else { return Cow::Borrowed(shape) };
    let equations = relations.iter().all(|relation| *relation == Relation::Equal);
    if sides.len() < 3 || !equations || is_constant(&sides[0]) || !is_constant(&sides[sides.len() - 1]) {
        return Cow::Borrowed(shape);
    }
    let ends = vec![sides[0].clone(), sides[sides.len() - 1].clone()];
    Cow::Owned(Shape::Chain(ends, vec![Relation::Equal]))
}

/// Compares an equation with a value; `None` if it does not give the value of a quantity.
/// `expected` says that the equation is the expected answer.
pub fn compare(equation: &Shape, value: &Shape, expected: bool, spec: &PartSpec<'_>) -> Option<Comparison> {
    let Shape::Chain(sides, relations) = equation else { return None };
    let [first, last] = sides.as_slice() else { return None };
    if relations[..] != [Relation::Equal] || !matches!(value, Shape::Value(..) | Shape::List(_)) {
        return None;
    }
    let (quantity, given) = if is_constant(first) { (last, first) } else { (first, last) };
    let quantity = quantity.expr().filter(|expr| !expr.is_constant() && is_constant(given))?;
    if let Shape::List(parts) = value {
        let solved = |part: &Shape| match part {
            Shape::Chain(sides, _) => sides.last().and_then(Shape::expr).cloned(),
            other => other.expr().cloned(),
        };
        let values: Option<Vec<Expr>> = parts.iter().map(solved).collect();
        let unsolved = values.is_some_and(|values| values.iter().all(|value| solves(quantity, value, given, spec)));
        return unsolved.then(|| Comparison::undecided("an unsolved equation and values that solve it"));
    }
    let comparison = if expected { compare_shapes(given, value, spec) } else { compare_shapes(value, given, spec) };
    if count_names(quantity) > 1 {
        // `x + y = 12` may be a line.
        let curve = expected && quantity.symbols().iter().all(|name| ["x", "y", "z"].contains(name));
        return Some(if curve { Comparison::different("the equation of a curve and a value") } else { comparison });
    }
    // `2x = 6` gives x = 3, or 2x itself.
    let may_be = comparison.outcome != Outcome::Different
        || value.expr().is_some_and(|value| solves(quantity, value, given, spec));
    may_be.then(|| Comparison::undecided("an unsolved equation and a value"))
}

/// Returns whether a value of its only variable gives a quantity its value.
fn solves(quantity: &Expr, value: &Expr, given: &Shape, spec: &PartSpec<'_>) -> bool {
    let [name] = quantity.symbols()[..] else { return false };
    let put = |part: &Expr| matches!(part, Expr::Symbol(other) if other == name).then(|| value.clone());
    compare_shapes(&Shape::value(quantity.replaced(&put)), given, spec).outcome == Outcome::Equal
}

fn is_constant(shape: &Shape) -> bool {
    shape.expr().is_some_and(Expr::is_constant)
}

/// Counts the names in an expression; the ends of a segment are one name.
fn count_names(expr: &Expr) -> usize {
    fn collect<'a>(expr: &'a Expr, found: &mut Vec<Vec<&'a str>>) {
        let capital =
            |part: &&Expr| matches!(part, Expr::Symbol(name) if name.starts_with(|c: char| c.is_ascii_uppercase()));
        let name: Vec<&str> = match expr {
            Expr::Symbol(name) => vec![name],
            Expr::Product(factors) if factors.iter().filter(capital).count() > 1 => {
                factors.iter().filter(capital).flat_map(Expr::symbols).collect()
            }
            _ => Vec::new(),
        };
        if name.is_empty() {
            expr.children().into_iter().for_each(|child| collect(child, found));
        } else if !found.contains(&name) {
            found.push(name);
        }
    }
    fn calls<'a>(expr: &'a Expr, found: &mut Vec<&'a Expr>) {
        match expr {
            Expr::Opaque(..) if !found.contains(&expr) => found.push(expr),
            _ => expr.children().into_iter().for_each(|child| calls(child, found)),
        }
    }
    let (mut found, mut called) = (Vec::new(), Vec::new());
    collect(expr, &mut found);
    calls(expr, &mut called);
    found.len() + called.len()
}
