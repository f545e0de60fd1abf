//! Compares sets of numbers: intervals and their unions, single points, and the conditions that
//! describe them.

use super::conditions;
use super::intervals::{Interval, difference, intersection, union};
use super::part_spec::PartSpec;
use super::shapes::compare_shapes;
use crate::answer::comparison::{Comparison, Outcome};
use crate::answer::grammar::{Bracket, Joint, Relation, Shape};
use crate::answer::math::{Constant, Expr, Function, Point, evaluate};

/// Returns whether a shape is a set, whatever it is compared with.
pub fn is_set(shape: &Shape) -> bool {
    match shape {
        Shape::Union(_)
        | Shape::Without(..)
        | Shape::Joined(..)
        | Shape::SetOf(..)
        | Shape::Bracketed(Bracket::Curly, ..) => true,
        Shape::Bracketed(_, items, _) => items.len() == 2,
        Shape::Value(Expr::Symbol(name), _) => matches!(name.as_str(), "\\emptyset" | "\\mathbb R"),
        _ => false,
    }
}

/// Compares two shapes as sets of numbers; `None` if one of them is not such a set.
pub fn compare(gold: &Shape, prediction: &Shape, spec: &PartSpec<'_>) -> Option<Comparison> {
    let comparison = by_numbers(gold, prediction, spec)?;
    match comparison.outcome {
        Outcome::Equal if other_variables(gold, prediction) => {
            Some(Comparison::undecided("the same range of a different variable"))
        }
        // `1 < |z| < 2` may give the range of |z|.
        Outcome::Different if has_bars(gold) || has_bars(prediction) => {
            let same = by_numbers(&without_bars(gold), &without_bars(prediction), spec);
            let open = same.is_some_and(|same| same.outcome == Outcome::Equal);
            Some(if open { Comparison::undecided("a range of a number or of its absolute value") } else { comparison })
        }
        _ => Some(comparison),
    }
}

/// Returns whether both shapes are conditions, on different variables.
fn other_variables(gold: &Shape, prediction: &Shape) -> bool {
    fn variable(shape: &Shape) -> Option<&str> {
        match shape {
            Shape::Joined(_, parts) | Shape::List(parts) => parts.first().and_then(variable),
            Shape::Chain(sides, _) if sides.iter().any(|side| matches!(side.expr(), Some(Expr::Opaque(..)))) => None,
            _ => shape.condition_variable(),
        }
    }
    matches!((variable(gold), variable(prediction)), (Some(a), Some(b)) if !a.eq_ignore_ascii_case(b))
}

/// Returns whether a side of a condition is the absolute value of a variable.
fn has_bars(shape: &Shape) -> bool {
    let Shape::Chain(sides, _) = shape else { return false };
    sides.iter().any(|side| matches!(side.expr(), Some(Expr::Call(Function::Abs, _))))
}

fn without_bars(shape: &Shape) -> Shape {
    shape.map_exprs(&|expr| match expr {
        Expr::Call(Function::Abs, inside) if inside.len() == 1 => inside[0].clone(),
        other => other.clone(),
    })
}

fn by_numbers(gold: &Shape, prediction: &Shape, spec: &PartSpec<'_>) -> Option<Comparison> {
    let (first, second) = (union(intervals(gold)?), union(intervals(prediction)?));
    if spec.strict_sets() && is_order(gold) != is_order(prediction) {
        return Some(Comparison::different("a set and an inequality, which the spec distinguishes"));
    }
    if first.len() != second.len() {
        return Some(Comparison::different("different sets"));
    }
    let mut undecided = None;
    for (a, b) in first.iter().zip(&second) {
        if a.low_closed != b.low_closed || a.high_closed != b.high_closed {
            return Some(Comparison::different("an end point that belongs to one set only"));
        }
        for (end, other) in [(&a.low, &b.low), (&a.high, &b.high)] {
            let comparison = compare_shapes(&Shape::value(end.clone()), &Shape::value(other.clone()), spec);
            match comparison.outcome {
                Outcome::Equal => {}
                Outcome::Different => return Some(Comparison::different("different sets")),
                Outcome::Undecided => undecided = Some(comparison),
            }
        }
    }
    Some(undecided.unwrap_or_else(|| Comparison::equal("the same set")))
}

/// Returns whether a shape is an inequality.
fn is_order(shape: &Shape) -> bool {
    match shape {
        Shape::Chain(_, relations) => relations.iter().any(|relation| relation.is_order()),
        Shape::Joined(_, parts) => parts.iter().any(is_order),
        _ => false,
    }
}

/// Returns the intervals of a set; `None` if the shape is not a set of numbers.
fn intervals(shape: &Shape) -> Option<Vec<Interval>> {
    match shape {
        Shape::Union(parts) => parts.iter().map(intervals).collect::<Option<Vec<_>>>().map(|parts| parts.concat()),
        Shape::Bracketed(Bracket::Curly, items, Bracket::Curly) => points(items),
        Shape::Bracketed(open, items, close) => match items.as_slice() {
            [low, high] => {
                let (low, high) = (end(low)?, end(high)?);
                let closed = |bracket: Bracket| bracket == Bracket::Square;
                Some(vec![Interval { low, low_closed: closed(*open), high, high_closed: closed(*close) }])
            }
            _ => None,
        },
        Shape::SetOf(_, condition) => intervals(condition),
        Shape::Chain(sides, relations) => match (sides.as_slice(), relations.as_slice()) {
            ([_, Shape::Value(Expr::Symbol(name), _)], [Relation::In]) if name == "R" => {
                Some(vec![Interval::everything()])
            }
            ([Shape::Value(name, _), set], [Relation::In]) if name.is_name() => intervals(set),
            // `x ≠ ±1`.
            (_, [Relation::Unequal]) if sides.iter().any(|side| side.expr().is_some_and(Expr::has_plus_minus)) => {
                let of = |upper| intervals(&shape.map_exprs(&|expr: &Expr| expr.with_sign(upper)));
                intersection(&of(true)?, &of(false)?)
            }
            _ => conditions::solve(sides, relations),
        },
        Shape::Joined(Joint::Or, parts) => {
            parts.iter().map(intervals).collect::<Option<Vec<_>>>().map(|parts| parts.concat())
        }
        Shape::Joined(Joint::And, parts) => {
            parts.iter().try_fold(vec![Interval::everything()], |all, part| intersection(&all, &intervals(part)?))
        }
        Shape::Without(set, removed) => {
            let removed = match &**removed {
                Shape::List(items) => points(items),
                value @ Shape::Value(expr, _) if expr.is_constant() => points(std::slice::from_ref(value)),
                set => intervals(set),
            };
            difference(&intervals(set)?, &removed?)
        }
        Shape::List(parts) | Shape::Parts(parts) => {
            let variable = parts.first().and_then(Shape::condition_variable);
            if parts.iter().any(|part| part.condition_variable() != variable) {
                return None;
            }
            // Listed conditions are alternatives; listed values are not a set.
            let all = parts.iter().all(|part| matches!(part, Shape::Chain(..) | Shape::SetOf(..)));
            if !all {
                return None;
            }
            let parts = parts.iter().map(intervals).collect::<Option<Vec<_>>>()?.concat();
            Some(overlap(&parts).map_or(parts, |both| vec![both]))
        }
        Shape::Value(Expr::Symbol(name), _) if name == "\\mathbb R" || name == "R" => {
            Some(vec![Interval::everything()])
        }
        Shape::Value(Expr::Symbol(name), _) if name == "\\emptyset" => Some(Vec::new()),
        Shape::Words(text) => match text.to_lowercase().trim_end_matches('.') {
            "all real numbers" | "all reals" | "real numbers" | "any real number" | "全体实数" | "任意实数" => {
                Some(vec![Interval::everything()])
            }
            "positive real numbers" | "all positive real numbers" | "positive reals" | "全体正实数" => {
                Some(vec![Interval { low: Expr::integer(0), ..Interval::everything() }])
            }
            "nonnegative real numbers"
            | "non-negative real numbers"
            | "all nonnegative real numbers"
            | "all non-negative real numbers"
            | "非负实数" => {
                Some(vec![Interval { low: Expr::integer(0), low_closed: true, ..Interval::everything() }])
            }
            "negative real numbers" | "all negative real numbers" | "negative reals" => {
                Some(vec![Interval { high: Expr::integer(0), ..Interval::everything() }])
            }
            "none" | "no solution" | "no solutions" | "no real solution" | "no real solutions" | "empty set"
            | "the empty set" | "无解" | "空集" => Some(Vec::new()),
            _ => None,
        },
        _ => None,
    }
}

/// Intersects two half-lines whose union would be everything, since they are meant to hold at once:
/// `x > 1 and x < 6`.
fn overlap(parts: &[Interval]) -> Option<Interval> {
    let [a, b] = parts else { return None };
    let is_end = |end: &Expr| !end.any(&|part| matches!(part, Expr::Constant(Constant::Infinity)));
    let (below, above) = if is_end(&a.low) { (a, b) } else { (b, a) };
    let half_lines = is_end(&below.low) && !is_end(&below.high) && is_end(&above.high) && !is_end(&above.low);
    let value = |end: &Expr| evaluate(end, Point::new(0)).real();
    let both = Interval { high: above.high.clone(), high_closed: above.high_closed, ..below.clone() };
    (half_lines && value(&both.low)? < value(&both.high)?).then_some(both)
}

fn points(items: &[Shape]) -> Option<Vec<Interval>> {
    items.iter().map(|item| end(item).map(Interval::point)).collect()
}

/// Returns an end of an interval, a value without a unit.
fn end(shape: &Shape) -> Option<Expr> {
    shape.expr().filter(|expr| !matches!(expr, Expr::Matrix(_))).cloned()
}
