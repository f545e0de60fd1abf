//! Compares equations, inequalities, assignments and ratios.

use super::clocks;
use super::combine::undecided_unless_different;
use super::lists::ordered;
use super::part_spec::PartSpec;
use super::quantities;
use super::sets;
use super::shapes::compare_shapes;
use super::variable_names::{Naming, names_points, naming};
use crate::answer::comparison::{Comparison, Outcome};
use crate::answer::grammar::{Bracket, Relation, Shape};
use crate::answer::math::{Expr, Ratio, Solutions, proportion, regions_differ, solutions};

/// The meaning of a chain of relations.
enum Meaning<'a> {
    /// A name equals a value.
    Assignment(&'a Shape, &'a Shape),
    /// Equal values without a name; the last one is the value.
    Value(&'a Shape),
    /// One side is less than, greater than or unequal to the other.
    Inequality(&'a Expr, Relation, &'a Expr),
    /// Anything else: an equation in several terms, or a chain of inequalities.
    Chain,
}

/// Compares two shapes of which at least one is a chain.
pub fn compare(gold: &Shape, prediction: &Shape, spec: &PartSpec<'_>) -> Comparison {
    let (gold, prediction) = (&*quantities::without_steps(gold), &*quantities::without_steps(prediction));
    if let (Shape::List(all), one @ Shape::Chain(sides, _)) | (one @ Shape::Chain(sides, _), Shape::List(all)) =
        (gold, prediction)
        && sides.iter().all(names)
        && all.iter().any(|part| compare_shapes(part, one, spec).outcome == Outcome::Equal)
    {
        return Comparison::undecided("one of several relations between names");
    }
    if let Some(comparison) = branches(gold, prediction).or_else(|| branches(prediction, gold)) {
        return comparison;
    }
    if is_point(gold) && ranges(prediction) || is_point(prediction) && ranges(gold) {
        return Comparison::different("a point and a range");
    }
    match (meaning(gold), meaning(prediction)) {
        (Some(first), Some(second)) => chains((gold, &first), (prediction, &second), spec),
        (Some(Meaning::Assignment(_, value) | Meaning::Value(value)), None) => compare_shapes(value, prediction, spec),
        (None, Some(Meaning::Assignment(_, value) | Meaning::Value(value))) => compare_shapes(gold, value, spec),
        (Some(_), None) => quantities::compare(gold, prediction, true, spec)
            .unwrap_or_else(|| other_than_chain(gold, prediction, spec)),
        _ => quantities::compare(prediction, gold, false, spec)
            .unwrap_or_else(|| other_than_chain(prediction, gold, spec)),
    }
}

/// Compares the branches of a curve with its equation: `y = ±2√x` with `y² = 4x`. Returns `None`
/// unless they are equal.
fn branches(parts: &Shape, equation: &Shape) -> Option<Comparison> {
    let Shape::List(parts) = parts else { return None };
    let difference = |shape: &Shape| sides(shape).map(|(a, b)| a.clone().minus(b.clone()));
    let whole = difference(equation)?;
    let each: Vec<Expr> = parts.iter().map(difference).collect::<Option<_>>()?;
    if whole.symbols().len() < 2 || !each.iter().all(|part| same_variables(part, &whole)) {
        return None;
    }
    (solutions(&Expr::Product(each), &whole) == Solutions::Same)
        .then(|| Comparison::equal("the same curve in branches"))
}

/// Returns whether a chain gives the coordinates of a point: `A = (1, 2)`, `(x, y) = (1, 2)`.
fn is_point(shape: &Shape) -> bool {
    let Shape::Chain(sides, relations) = shape else { return false };
    let named = |name: &Shape| match name {
        Shape::Value(Expr::Symbol(name), _) => name.starts_with(|c: char| c.is_ascii_uppercase()),
        other => matches!(other, Shape::Bracketed(..)),
    };
    relations[..] == [Relation::Equal] && named(&sides[0]) && matches!(sides[1], Shape::Bracketed(Bracket::Round, ..))
}

/// Returns whether a shape describes a range of numbers.
fn ranges(shape: &Shape) -> bool {
    match shape {
        Shape::SetOf(..) | Shape::Union(_) => true,
        Shape::Chain(_, relations) => relations.iter().any(|relation| relation.is_order() || *relation == Relation::In),
        _ => false,
    }
}

/// Compares a chain that is not a single value with a shape of another kind.
fn other_than_chain(chain: &Shape, other: &Shape, spec: &PartSpec<'_>) -> Comparison {
    if let Some(comparison) = sets::compare(chain, other, spec) {
        return comparison;
    }
    if let Some((a, b)) = sides(chain) {
        let (of, value) = if b.is_constant() { (a, b) } else { (b, a) };
        let called =
            matches!(of, Expr::Call(_, arguments) if arguments.iter().all(|part| part.is_constant() || part.is_name()));
        // `sin α = 1/2` gives the value of the sine.
        if value.is_constant() && called {
            return compare_shapes(&Shape::value(value.clone()), other, spec);
        }
    }
    let limits = matches!(chain, Shape::Chain(_, relations) if relations.iter().any(|relation| relation.is_order()));
    if limits && (sets::is_set(other) || matches!(other, Shape::List(_))) {
        return Comparison::undecided("a set and an unsolved condition");
    }
    Comparison::different("a relation and another kind of answer")
}

fn meaning(shape: &Shape) -> Option<Meaning<'_>> {
    let Shape::Chain(sides, relations) = shape else { return None };
    let about = |relation: &Relation| *relation == Relation::Approximately;
    let equal = |relation: &Relation| *relation == Relation::Equal || about(relation);
    if relations.iter().all(equal) {
        // A side after an approximation is less exact than the sides before it.
        let exact = relations.iter().position(about).filter(|place| *place > 0).map_or(sides.len(), |place| place + 1);
        let sides = &sides[..exact];
        let (first, last) = (&sides[0], &sides[sides.len() - 1]);
        if names(first) {
            return Some(Meaning::Assignment(first, last));
        }
        if sides.len() > 2 {
            return Some(match &sides[sides.len() - 2] {
                name if names(name) => Meaning::Assignment(name, last),
                _ if sides.iter().all(|side| side.expr().is_some_and(Expr::is_constant)) => Meaning::Value(last),
                _ => Meaning::Chain,
            });
        }
        let constant = |shape: &Shape| shape.expr().is_some_and(Expr::is_constant);
        return Some(if names(last) && constant(first) {
            Meaning::Assignment(last, first)
        } else if constant(first) && constant(last) {
            // An exact value and its approximation, or a calculation and its result.
            Meaning::Value(if about(&relations[0]) { first } else { last })
        } else {
            Meaning::Chain
        });
    }
    if let ([left, right], [relation]) = (sides.as_slice(), relations.as_slice()) {
        if *relation == Relation::In && names(left) {
            return Some(Meaning::Assignment(left, right));
        }
        if let (Some(left), Some(right)) = (left.expr(), right.expr())
            && (relation.is_order() || *relation == Relation::Unequal)
        {
            return Some(Meaning::Inequality(left, *relation, right));
        }
    }
    Some(Meaning::Chain)
}

/// Returns whether a side only names what the other side gives.
fn names(shape: &Shape) -> bool {
    match shape {
        Shape::Value(expr, unit) => unit.is_empty() && expr.is_name(),
        Shape::Words(_) => true,
        Shape::Ratio(all) => all.iter().all(Expr::is_name),
        Shape::Bracketed(_, items, _) => items.iter().all(names),
        _ => false,
    }
}

fn chains(
    (gold, first): (&Shape, &Meaning<'_>),
    (prediction, second): (&Shape, &Meaning<'_>),
    spec: &PartSpec<'_>,
) -> Comparison {
    match (first, second) {
        (Meaning::Assignment(name, value), Meaning::Assignment(other, given)) => {
            assignments((gold, name, value), (prediction, other, given), spec)
        }
        (Meaning::Assignment(_, value) | Meaning::Value(value), Meaning::Value(given))
        | (Meaning::Value(value), Meaning::Assignment(_, given)) => compare_shapes(value, given, spec),
        (Meaning::Inequality(a, relation, b), Meaning::Inequality(c, other, d)) => {
            let (first, second) = ((*a).clone().minus((*b).clone()), (*c).clone().minus((*d).clone()));
            match proportion(&first, &second) {
                Ratio::Constant { positive } => {
                    let other = if positive { *other } else { other.flipped() };
                    if other == *relation {
                        Comparison::equal("the same inequality")
                    } else {
                        Comparison::different("inequalities in different directions")
                    }
                }
                _ => match by_set(gold, prediction, spec, "different inequalities") {
                    comparison if comparison.outcome == Outcome::Equal && !same_variables(&first, &second) => {
                        Comparison::undecided("the same range of a different variable")
                    }
                    comparison
                        if comparison.outcome == Outcome::Undecided
                            && same_variables(&first, &second)
                            && relation.is_order()
                            && other.is_order()
                            && regions_differ((&first, is_below(*relation)), (&second, is_below(*other))) =>
                    {
                        Comparison::different("inequalities that hold at different points")
                    }
                    comparison => comparison,
                },
            }
        }
        (Meaning::Assignment(_, set), _) if sets::is_set(set) => by_set(set, prediction, spec, "different sets"),
        (_, Meaning::Assignment(_, set)) if sets::is_set(set) => by_set(gold, set, spec, "different sets"),
        _ => match (sides(gold), sides(prediction)) {
            (Some((a, b)), Some((c, d))) => equations((a, b), (c, d)),
            _ => match by_set(gold, prediction, spec, "") {
                comparison if comparison.outcome == Outcome::Undecided => {
                    chains_by_side(gold, prediction, spec).unwrap_or(comparison)
                }
                comparison => comparison,
            },
        },
    }
}

fn is_below(relation: Relation) -> bool {
    matches!(relation, Relation::Less | Relation::AtMost)
}

/// Returns whether two expressions have the same variables, ignoring case.
fn same_variables(a: &Expr, b: &Expr) -> bool {
    let names = |expr: &Expr| {
        let mut names: Vec<String> = expr.symbols().into_iter().map(str::to_lowercase).collect();
        names.sort_unstable();
        names
    };
    names(a) == names(b)
}

fn by_set(gold: &Shape, prediction: &Shape, spec: &PartSpec<'_>, otherwise: &'static str) -> Comparison {
    sets::compare(gold, prediction, spec).unwrap_or(Comparison::undecided(otherwise))
}

/// Compares two chains side by side, read from either end.
fn chains_by_side(gold: &Shape, prediction: &Shape, spec: &PartSpec<'_>) -> Option<Comparison> {
    let (Shape::Chain(sides, relations), Shape::Chain(others, other_relations)) = (gold, prediction) else {
        return None;
    };
    if relations == other_relations {
        let comparison = ordered(sides, others, spec);
        if comparison.outcome != Outcome::Different {
            return Some(comparison);
        }
    }
    let flipped: Vec<Relation> = other_relations.iter().rev().map(|relation| relation.flipped()).collect();
    if *relations == flipped {
        let reversed: Vec<Shape> = others.iter().rev().cloned().collect();
        return Some(ordered(sides, &reversed, spec));
    }
    Some(Comparison::different("different relations"))
}

/// Returns the two sides of an equation.
fn sides(shape: &Shape) -> Option<(&Expr, &Expr)> {
    match shape {
        Shape::Chain(sides, relations) if relations[..] == [Relation::Equal] => {
            Some((sides[0].expr()?, sides[1].expr()?))
        }
        _ => None,
    }
}

/// Compares equations, which are equal if one is a multiple of the other.
fn equations((a, b): (&Expr, &Expr), (c, d): (&Expr, &Expr)) -> Comparison {
    if (a, b) == (c, d) || (a, b) == (d, c) {
        return Comparison::equal("the same equation");
    }
    let (first, second) = (a.clone().minus(b.clone()), c.clone().minus(d.clone()));
    if !same_variables(&first, &second) {
        return Comparison::different("equations in different variables");
    }
    let polar = first.symbols().iter().any(|name| ["\\theta", "θ"].contains(name));
    match proportion(&first, &second) {
        Ratio::Constant { .. } => Comparison::equal("the same equation, rearranged"),
        // A factor ρ adds the pole, which the curve may contain anyway.
        Ratio::Varies if polar && differ_by_a_variable(&first, &second) => {
            Comparison::undecided("equations that differ by a factor")
        }
        Ratio::Varies if linear(&first) && linear(&second) => Comparison::different("different equations"),
        _ => match solutions(&first, &second) {
            Solutions::Same => Comparison::equal("equations with the same solutions"),
            Solutions::Different => Comparison::different("equations with different solutions"),
            Solutions::Unknown => Comparison::undecided("equations that are not multiples of each other"),
        },
    }
}

/// Returns whether one expression is a multiple of the other times a variable.
fn differ_by_a_variable(a: &Expr, b: &Expr) -> bool {
    a.symbols().into_iter().any(|name| {
        let times = |expr: &Expr| Expr::Product(vec![expr.clone(), Expr::Symbol(name.to_owned())]);
        let multiple = |a: &Expr, b: &Expr| matches!(proportion(a, b), Ratio::Constant { .. });
        multiple(&times(a), b) || multiple(a, &times(b))
    })
}

/// Returns whether an expression is linear in all its variables together.
fn linear(expr: &Expr) -> bool {
    match expr {
        Expr::Sum(terms) => terms.iter().all(linear),
        Expr::Negative(inner) => linear(inner),
        Expr::Product(factors) => {
            factors.iter().filter(|factor| !factor.is_constant()).count() <= 1
                && factors.iter().all(|factor| factor.is_constant() || linear(factor))
        }
        Expr::Quotient(top, bottom) => bottom.is_constant() && linear(top),
        Expr::Symbol(_) => true,
        other => other.is_constant(),
    }
}

type Assigned<'a> = (&'a Shape, &'a Shape, &'a Shape);

fn assignments(
    (gold, name, value): Assigned<'_>,
    (prediction, other, given): Assigned<'_>,
    spec: &PartSpec<'_>,
) -> Comparison {
    let comparison = match (name.expr(), other.expr()) {
        // f(x) = x² equals f(t) = t²: the variable is bound.
        (Some(Expr::Opaque(f, arguments)), Some(Expr::Opaque(g, others))) if f == g => {
            match (arguments.as_slice(), others.as_slice()) {
                ([Expr::Symbol(x)], [Expr::Symbol(t)]) if x != t => {
                    let renamed = given.expr().map(|expr| Shape::value(expr.renamed(t, x)));
                    compare_shapes(value, renamed.as_ref().unwrap_or(given), spec)
                }
                _ => compare_shapes(value, given, spec),
            }
        }
        _ => compare_shapes(value, given, spec),
    };
    let constant = [value, given].into_iter().all(is_constant);
    let solved = |name: &Expr| [value, given].iter().all(|side| lacks(side, name));
    let (Some(a), Some(b)) = (name.expr(), other.expr()) else { return comparison };
    match (naming(a, b), comparison.outcome) {
        // `AC = BD` and `BE = DB` are unrelated.
        (Naming::Other | Naming::Unclear, _)
            if [value, given].iter().any(|side| side.expr().is_some_and(names_points)) =>
        {
            by_sides(gold, prediction).unwrap_or(comparison)
        }
        (Naming::Other, Outcome::Equal) if constant => Comparison::different("a value for a different variable"),
        (Naming::Other | Naming::Unclear, Outcome::Equal) => {
            Comparison::undecided("the same value for a different name")
        }
        (_, Outcome::Equal) => comparison,
        // Both are constant or solved for the same variable.
        _ if constant || a == b && solved(a) => comparison,
        _ => by_sides(gold, prediction).unwrap_or(comparison),
    }
}

/// Compares two equations side by side.
fn by_sides(gold: &Shape, prediction: &Shape) -> Option<Comparison> {
    let ((a, b), (c, d)) = (sides(gold)?, sides(prediction)?);
    Some(equations((a, b), (c, d)))
}

/// Returns whether a value or a point is constant.
fn is_constant(shape: &Shape) -> bool {
    match shape {
        Shape::Value(expr, _) => expr.is_constant(),
        Shape::Bracketed(_, parts, _) => parts.iter().all(is_constant),
        _ => false,
    }
}

fn lacks(shape: &Shape, name: &Expr) -> bool {
    shape.expr().is_some_and(|expr| !expr.any(&|part| part == name))
}

/// Compares two shapes of which at least one is a ratio.
pub fn ratios(gold: &Shape, prediction: &Shape, spec: &PartSpec<'_>) -> Comparison {
    let quotient = |ratio: &[Expr]| match ratio {
        [a, b] => Some(Shape::value(a.clone().over(b.clone()))),
        _ => None,
    };
    let scaled = |ratio: &[Expr]| {
        ratio[1..].iter().map(|part| Shape::value(part.clone().over(ratio[0].clone()))).collect::<Vec<_>>()
    };
    match (gold, prediction) {
        (Shape::Ratio(a), Shape::Ratio(b)) if a.len() == b.len() => {
            let items = |ratio: &[Expr]| ratio.iter().cloned().map(Shape::value).collect::<Vec<_>>();
            let comparison = ordered(&items(a), &items(b), spec);
            if comparison.outcome == Outcome::Equal {
                return comparison;
            }
            if clocks::may_be_time(a) && clocks::may_be_time(b) {
                let as_ratios = ordered(&scaled(a), &scaled(b), spec);
                let as_times = clocks::compare(gold, prediction);
                let open = as_times.outcome == Outcome::Undecided && as_ratios.outcome == Outcome::Different;
                let comparison = undecided_unless_different(as_ratios, "ratios or times of day");
                return if open { as_times } else { comparison };
            }
            ordered(&scaled(a), &scaled(b), spec)
        }
        (Shape::Ratio(ratio), other) | (other, Shape::Ratio(ratio)) => match quotient(ratio) {
            Some(value) => compare_shapes(&value, other, spec),
            None => Comparison::different("a ratio and another kind of answer"),
        },
        _ => Comparison::different("different kinds of answers"),
    }
}
