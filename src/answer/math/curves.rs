//! Compares the solution sets of two equations in the same variables at sampled solutions.

use super::evaluate::{Point, evaluate};
use super::expr::Expr;

/// Maximum number of nodes of an equation that is sampled.
const MAX_NODES: usize = 120;
/// Maximum number of variables.
const MAX_VARIABLES: usize = 6;
/// Number of values of the other variables for which one variable is solved.
const SAMPLES: u32 = 5;
/// Number of intervals on each side of zero that are searched for a root.
const CELLS: i32 = 24;
/// Minimum number of sampled solutions of equal equations.
const MIN_SOLUTIONS: usize = 6;

/// Whether two equations have the same solutions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Solutions {
    /// Every sampled solution of either solves the other.
    Same,
    /// A solution of one does not solve the other.
    Different,
    Unknown,
}

/// Compares the real solutions of `a = 0` and `b = 0`, which have the same variables.
pub fn solutions(a: &Expr, b: &Expr) -> Solutions {
    let names = a.symbols();
    let unknown =
        |expr: &Expr| expr.any(&|part| matches!(part, Expr::Opaque(..) | Expr::Matrix(_) | Expr::PlusMinus(..)));
    if names.is_empty() || names.len() > MAX_VARIABLES || nodes(a).max(nodes(b)) > MAX_NODES || unknown(a) || unknown(b)
    {
        return Solutions::Unknown;
    }
    match (covers(a, b, &names), covers(b, a, &names)) {
        (Some(false), _) | (_, Some(false)) => Solutions::Different,
        (Some(true), Some(true)) => Solutions::Same,
        _ => Solutions::Unknown,
    }
}

fn nodes(expr: &Expr) -> usize {
    1 + expr.children().into_iter().map(nodes).sum::<usize>()
}

/// Returns whether the sampled solutions of `a = 0` solve `b = 0`; `None` if too few were found or
/// one is too inexact to decide.
fn covers(a: &Expr, b: &Expr, names: &[&str]) -> Option<bool> {
    let mut solved = 0;
    let mut unclear = false;
    for name in names {
        for index in 0..SAMPLES {
            // Positive and signed values of the other variables.
            let point = Point::new(if index % 2 == 0 { index } else { index + 6 });
            let at = |expr: &Expr, value: f64| {
                let value = evaluate(expr, point.with(name, value));
                value.real().filter(|real| real.is_finite() && !value.leaves_reals())
            };
            for root in roots(&|value| at(a, value)) {
                let near = |value: f64| at(b, value).map(f64::abs);
                let step = 1e-3 * root.abs().max(0.1);
                let Some(here) = near(root) else {
                    // The other is undefined there; a limit may solve it.
                    unclear = true;
                    continue;
                };
                let scale = [near(root - step), near(root + step)].into_iter().flatten().fold(f64::NAN, f64::max);
                // Compared with the values one step away, a root is tiny.
                match here / scale {
                    ratio if ratio < 1e-6 || here < 1e-12 => solved += 1,
                    ratio if ratio > 1e-3 && here > 1e-6 => return Some(false),
                    _ => unclear = true,
                }
            }
        }
    }
    (solved >= MIN_SOLUTIONS && !unclear).then_some(true)
}

/// Finds roots: where a function changes its sign, or touches zero.
fn roots(function: &impl Fn(f64) -> Option<f64>) -> Vec<f64> {
    // Dense near zero; odd fractions avoid hitting special values exactly.
    let place = |cell: i32| f64::from(cell.signum()) * (f64::from(cell.abs()) * 0.193).sinh() * 0.317 + 0.0137;
    let mut found = Vec::new();
    let mut before: Option<(f64, f64)> = None;
    let mut earlier: Option<(f64, f64)> = None;
    for cell in -CELLS..=CELLS {
        let x = place(cell);
        let here = function(x).map(|value| (x, value));
        if let (Some((low, below)), Some((high, above))) = (before, here)
            && below * above < 0.0
            && let Some(root) = bisected(function, (low, below), (high, above))
        {
            found.push(root);
        }
        if let (Some(left), Some(middle), Some(right)) = (earlier, before, here)
            && middle.1.abs() < left.1.abs().min(right.1.abs())
            && left.1 * right.1 > 0.0
            && let Some(root) = touched(function, left, right)
        {
            found.push(root);
        }
        (earlier, before) = (before, here);
    }
    found
}

/// Narrows an interval down to a root; `None` for a pole.
fn bisected(function: &impl Fn(f64) -> Option<f64>, low: (f64, f64), high: (f64, f64)) -> Option<f64> {
    let (mut a, mut b) = (low.0, high.0);
    let start = low.1.abs().min(high.1.abs());
    let mut value = start;
    for _ in 0..60 {
        let middle = f64::midpoint(a, b);
        let here = function(middle)?;
        value = here.abs();
        if here == 0.0 {
            return Some(middle);
        }
        if (here < 0.0) == (low.1 < 0.0) { a = middle } else { b = middle }
    }
    (value <= start * 1e-3 + 1e-9).then_some(f64::midpoint(a, b))
}

/// Finds the point between two at which a function touches zero without changing its sign.
fn touched(function: &impl Fn(f64) -> Option<f64>, left: (f64, f64), right: (f64, f64)) -> Option<f64> {
    let (mut a, mut b) = (left.0, right.0);
    for _ in 0..80 {
        let (first, second) = (a + (b - a) / 3.0, b - (b - a) / 3.0);
        if function(first)?.abs() < function(second)?.abs() { b = second } else { a = first }
    }
    let lowest = f64::midpoint(a, b);
    (function(lowest)?.abs() <= 1e-10 * left.1.abs().min(right.1.abs())).then_some(lowest)
}

/// Returns whether `a < 0` and `b < 0` (or `a > 0`, `b > 0`) hold at different points of a sample.
pub fn regions_differ(a: (&Expr, bool), b: (&Expr, bool)) -> bool {
    const POINTS: u32 = 36;
    const MARGIN: f64 = 1e-6;
    (0..POINTS).any(|index| {
        let at = |(expr, below): (&Expr, bool)| {
            let value = evaluate(expr, Point::new(index));
            let real =
                value.real().filter(|real| real.abs() > MARGIN && value.float_is_known && !value.leaves_reals())?;
            Some((real < 0.0) == below)
        };
        matches!((at(a), at(b)), (Some(first), Some(second)) if first != second)
    })
}
