//! Compares sets of numbers: intervals and their unions, single points, and the conditions that
//! describe them.

use super::part_spec::PartSpec;
use super::shapes::compare_shapes;
use crate::answer::comparison::{Comparison, Outcome};
use crate::answer::grammar::{Bracket, Relation, Shape};
use crate::answer::math::{Constant, Expr, Point, evaluate};

/// An interval of the number line; a point is a closed interval from itself to itself.
#[derive(Debug, Clone)]
struct Interval {
    low: Expr,
    low_closed: bool,
    high: Expr,
    high_closed: bool,
}

/// Returns whether a shape is a set, whatever it is compared with.
pub fn is_set(shape: &Shape) -> bool {
    match shape {
        Shape::Union(_) | Shape::SetOf(..) | Shape::Bracketed(Bracket::Curly, ..) => true,
        Shape::Bracketed(_, items, _) => items.len() == 2,
        Shape::Value(Expr::Symbol(name), _) => matches!(name.as_str(), "\\emptyset" | "\\mathbb R"),
        _ => false,
    }
}

/// Compares two shapes as sets of numbers; `None` if one of them is not such a set.
pub fn compare(gold: &Shape, prediction: &Shape, spec: &PartSpec<'_>) -> Option<Comparison> {
    let (first, second) = (sorted(intervals(gold)?), sorted(intervals(prediction)?));
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
    matches!(shape, Shape::Chain(_, relations) if relations.iter().any(|relation| relation.is_order()))
}

fn sorted(mut intervals: Vec<Interval>) -> Vec<Interval> {
    let key = |interval: &Interval| evaluate(&interval.low, Point::new(0)).real().unwrap_or(f64::INFINITY);
    intervals.sort_by(|a, b| key(a).total_cmp(&key(b)));
    intervals
}

fn infinity() -> Expr {
    Expr::Constant(Constant::Infinity)
}

fn everything() -> Interval {
    Interval { low: infinity().negated(), low_closed: false, high: infinity(), high_closed: false }
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
        Shape::Chain(sides, relations) => condition(sides, relations),
        Shape::List(parts) => {
            // Listed conditions are alternatives; listed values are not a set.
            let all = parts.iter().all(|part| matches!(part, Shape::Chain(..) | Shape::SetOf(..)));
            if !all {
                return None;
            }
            let parts = parts.iter().map(intervals).collect::<Option<Vec<_>>>()?.concat();
            Some(overlap(&parts).map_or(parts, |both| vec![both]))
        }
        Shape::Value(Expr::Symbol(name), _) if name == "\\mathbb R" => Some(vec![everything()]),
        Shape::Value(Expr::Symbol(name), _) if name == "\\emptyset" => Some(Vec::new()),
        Shape::Words(text) => match text.to_lowercase().trim_end_matches('.') {
            "all real numbers" | "all reals" | "real numbers" | "any real number" | "全体实数" | "任意实数" => {
                Some(vec![everything()])
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
    let point = |item: &Shape| {
        end(item).map(|value| Interval { low: value.clone(), low_closed: true, high: value, high_closed: true })
    };
    items.iter().map(point).collect()
}

/// Returns an end of an interval, a value without a unit.
fn end(shape: &Shape) -> Option<Expr> {
    shape.expr().filter(|expr| !matches!(expr, Expr::Matrix(_))).cloned()
}

/// Returns the numbers for which `a < x ≤ b`, `x ≠ a` or `x ∈ S` holds.
fn condition(sides: &[Shape], relations: &[Relation]) -> Option<Vec<Interval>> {
    let is_variable = |shape: &Shape| matches!(shape.expr(), Some(Expr::Symbol(_)));
    let constant = |shape: &Shape| end(shape).filter(Expr::is_constant);
    match (sides, relations) {
        ([name, set], [Relation::In]) if is_variable(name) => intervals(set),
        ([name, value], [Relation::Unequal]) if is_variable(name) => {
            let value = constant(value)?;
            Some(vec![Interval { high: value.clone(), ..everything() }, Interval { low: value, ..everything() }])
        }
        ([name, value], [relation]) if is_variable(name) && relation.is_order() => {
            Some(vec![half(*relation, constant(value)?)])
        }
        ([value, name], [relation]) if is_variable(name) && relation.is_order() => {
            Some(vec![half(relation.flipped(), constant(value)?)])
        }
        ([low, name, high], [first, second])
            if is_variable(name)
                && first.is_order()
                && second.is_order()
                && direction(*first) == direction(*second) =>
        {
            let (a, b) = (half(first.flipped(), constant(low)?), half(*second, constant(high)?));
            let (below, above) = if direction(*second) { (a, b) } else { (b, a) };
            Some(vec![Interval {
                low: below.low,
                low_closed: below.low_closed,
                high: above.high,
                high_closed: above.high_closed,
            }])
        }
        _ => None,
    }
}

/// Returns whether the right side of a relation is the larger one.
fn direction(relation: Relation) -> bool {
    matches!(relation, Relation::Less | Relation::AtMost)
}

/// Returns the numbers x with `x relation end`.
fn half(relation: Relation, end: Expr) -> Interval {
    let closed = matches!(relation, Relation::AtMost | Relation::AtLeast);
    if direction(relation) {
        Interval { high: end, high_closed: closed, ..everything() }
    } else {
        Interval { low: end, low_closed: closed, ..everything() }
    }
}
