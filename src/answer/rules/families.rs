//! Compares families of solutions, with a parameter over the integers: `x = π/6 + 2kπ, k ∈ ℤ`.

use super::part_spec::PartSpec;
use super::shapes::compare_shapes;
use crate::answer::comparison::{Comparison, Outcome};
use crate::answer::grammar::{Relation, Shape};
use crate::answer::math::{Constant, Expr, Point, evaluate};

/// The common name of the parameter in both families.
const PARAMETER: &str = "\\k";

/// Compares two shapes of which at least one has an integer parameter; `None` otherwise.
pub fn compare(gold: &Shape, prediction: &Shape, spec: &PartSpec<'_>) -> Option<Comparison> {
    let (first, second) = (family(gold), family(prediction));
    let (name, other) = match (&first, &second) {
        (Some((_, name)), Some((_, other))) => (*name, *other),
        (Some((_, name)), None) | (None, Some((_, name))) => (*name, *name),
        (None, None) => return None,
    };
    let bare = |shape: Option<(Shape, &str)>, name: &str, whole: &Shape| {
        let shape = shape.map_or_else(|| whole.clone(), |(shape, _)| shape);
        shape.map_exprs(&|expr| expr.renamed(name, PARAMETER))
    };
    let (gold, prediction) = (bare(first, name, gold), bare(second, other, prediction));
    let comparison = compare_shapes(&gold, &prediction, spec);
    if comparison.outcome == Outcome::Equal {
        return Some(comparison);
    }
    Some(match (value(&gold).and_then(progression), value(&prediction).and_then(progression)) {
        (Some(first), Some(second)) if first.covers(&second) && second.covers(&first) => {
            Comparison::equal("the same family of solutions")
        }
        (Some(_), Some(_)) => Comparison::different("different families of solutions"),
        // Families in several parts may be split differently.
        _ => Comparison::undecided("families that may be equal"),
    })
}

/// Returns the shape without the domain of its parameter, and the parameter's name.
fn family(shape: &Shape) -> Option<(Shape, &str)> {
    let Shape::List(parts) = shape else { return None };
    let (last, rest) = parts.split_last().filter(|(_, rest)| !rest.is_empty())?;
    let Shape::Chain(sides, relations) = last else { return None };
    let [Shape::Value(Expr::Symbol(name), _), Shape::Value(domain, _)] = sides.as_slice() else { return None };
    let integers = matches!(domain, Expr::Symbol(set) if ["\\mathbb Z", "Z"].contains(&set.as_str()));
    let rest = if let [only] = rest { only.clone() } else { Shape::List(rest.to_vec()) };
    (integers && relations[..] == [Relation::In]).then_some((rest, name.as_str()))
}

/// Returns the single expression of a shape, named or not.
fn value(shape: &Shape) -> Option<&Expr> {
    match shape {
        Shape::Value(Expr::Degrees(inner), _) => Some(inner),
        Shape::Value(expr, _) => Some(expr),
        Shape::Chain(sides, relations) if relations[..] == [Relation::Equal] => value(&sides[1]),
        _ => None,
    }
}

/// `first + step · k` for all integers k.
struct Progression {
    first: f64,
    step: f64,
}

impl Progression {
    fn covers(&self, other: &Self) -> bool {
        let steps = [(other.first - self.first) / self.step, other.step / self.step];
        steps.into_iter().all(|steps| (steps - steps.round()).abs() <= 1e-9 * steps.abs().max(1.0))
    }
}

/// Evaluates an expression that is linear in the parameter and contains no other variable.
fn progression(expr: &Expr) -> Option<Progression> {
    if expr.symbols() != [PARAMETER] || expr.any(&|part| matches!(part, Expr::Constant(Constant::Infinity))) {
        return None;
    }
    let at = |k: u64| {
        let change = |part: &Expr| matches!(part, Expr::Symbol(name) if name == PARAMETER).then(|| Expr::integer(k));
        evaluate(&expr.replaced(&change), Point::new(0)).real()
    };
    let (first, second, third) = (at(0)?, at(1)?, at(2)?);
    let step = second - first;
    let linear = (third - second - step).abs() <= 1e-9 * step.abs();
    (linear && step != 0.0 && step.is_finite()).then_some(Progression { first, step })
}
