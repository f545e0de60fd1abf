//! Sets of real numbers as sorted, disjoint intervals: union, intersection and difference.

use std::cmp::Ordering;

use crate::answer::math::{Constant, Equality, Expr, Point, Tolerance, equality, evaluate};

/// An interval of the number line; a point is a closed interval from itself to itself.
#[derive(Debug, Clone)]
pub struct Interval {
    pub low: Expr,
    pub low_closed: bool,
    pub high: Expr,
    pub high_closed: bool,
}

/// Maximum number of intervals that are intersected or merged.
const MAX_INTERVALS: usize = 100;

pub fn infinity() -> Expr {
    Expr::Constant(Constant::Infinity)
}

impl Interval {
    pub fn everything() -> Self {
        Self { low: infinity().negated(), low_closed: false, high: infinity(), high_closed: false }
    }

    pub fn point(value: Expr) -> Self {
        Self { low: value.clone(), low_closed: true, high: value, high_closed: true }
    }

    fn is_constant(&self) -> bool {
        self.low.is_constant() && self.high.is_constant()
    }

    fn is_empty(&self) -> bool {
        match order(&self.low, &self.high) {
            Ordering::Less => false,
            Ordering::Equal => !(self.low_closed && self.high_closed),
            Ordering::Greater => true,
        }
    }

    fn intersection(&self, other: &Self) -> Self {
        let (low, low_closed) = match order(&self.low, &other.low) {
            Ordering::Less => (&other.low, other.low_closed),
            Ordering::Equal => (&self.low, self.low_closed && other.low_closed),
            Ordering::Greater => (&self.low, self.low_closed),
        };
        let (high, high_closed) = match order(&self.high, &other.high) {
            Ordering::Less => (&self.high, self.high_closed),
            Ordering::Equal => (&self.high, self.high_closed && other.high_closed),
            Ordering::Greater => (&other.high, other.high_closed),
        };
        Self { low: low.clone(), low_closed, high: high.clone(), high_closed }
    }
}

/// Orders two constants; equal ones may be written differently.
fn order(a: &Expr, b: &Expr) -> Ordering {
    let value = |expr: &Expr| evaluate(expr, Point::new(0)).real().unwrap_or(f64::INFINITY);
    let (x, y) = (value(a), value(b));
    let close = x.is_finite() && y.is_finite() && (x - y).abs() <= 1e-9 * x.abs().max(y.abs()).max(1.0);
    if close && equality(a, b, Tolerance::Exact) == Equality::Equal { Ordering::Equal } else { x.total_cmp(&y) }
}

/// Sorts intervals, and merges those that overlap or touch. Ends with variables are only sorted.
pub fn union(mut all: Vec<Interval>) -> Vec<Interval> {
    if all.len() > MAX_INTERVALS || !all.iter().all(Interval::is_constant) {
        all.sort_by(|a, b| order(&a.low, &b.low));
        return all;
    }
    all.retain(|interval| !interval.is_empty());
    all.sort_by(|a, b| order(&a.low, &b.low).then(b.low_closed.cmp(&a.low_closed)));
    let mut merged: Vec<Interval> = Vec::new();
    for next in all {
        let Some(last) = merged.last_mut() else {
            merged.push(next);
            continue;
        };
        match order(&next.low, &last.high) {
            Ordering::Greater => merged.push(next),
            Ordering::Equal if !next.low_closed && !last.high_closed => merged.push(next),
            _ => match order(&next.high, &last.high) {
                Ordering::Greater => (last.high, last.high_closed) = (next.high, next.high_closed),
                Ordering::Equal => last.high_closed |= next.high_closed,
                Ordering::Less => {}
            },
        }
    }
    merged
}

/// Intersects two sets; `None` if an end has a variable, or there are too many intervals.
pub fn intersection(a: &[Interval], b: &[Interval]) -> Option<Vec<Interval>> {
    if a.len() * b.len() > MAX_INTERVALS || !a.iter().chain(b).all(Interval::is_constant) {
        return None;
    }
    Some(union(a.iter().flat_map(|a| b.iter().map(|b| a.intersection(b))).collect()))
}

/// Returns the numbers of `a` that are not in `b`.
pub fn difference(a: &[Interval], b: &[Interval]) -> Option<Vec<Interval>> {
    let mut left = a.to_vec();
    for removed in b {
        let below = Interval { high: removed.low.clone(), high_closed: !removed.low_closed, ..Interval::everything() };
        let above = Interval { low: removed.high.clone(), low_closed: !removed.high_closed, ..Interval::everything() };
        left = intersection(&left, &[below, above])?;
    }
    Some(left)
}
