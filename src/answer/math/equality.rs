//! Decides whether two expressions are equal as functions.

use num_complex::Complex64;

use super::evaluate::{Point, Value, evaluate};
use super::expr::Expr;

/// Whether two expressions are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Equality {
    Equal,
    Different,
    /// At least one cannot be evaluated, or floating point is too inexact to decide.
    Unknown,
}

/// The tolerance between two numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Tolerance {
    /// None, except that a decimal fraction equals an irrational number or an endless fraction
    /// within a relative error of 1e-6.
    Exact,
    /// Round both to this many decimals.
    Decimals(u32),
    /// Maximum absolute difference.
    Within(f64),
}

/// Maximum relative error of equal values in floating point.
const MAX_FLOAT_ERROR: f64 = 1e-10;
/// Minimum relative error of different values in floating point.
const MIN_DIFFERENCE: f64 = 1e-7;
/// Maximum relative error of a decimal fraction that rounds a number without a finite one.
const MAX_DECIMAL_ERROR: f64 = 1e-6;
/// Maximum relative error of a printed double: 0.30000000000000004.
const MAX_PRINTED_ERROR: f64 = 1e-15;
/// Number of points at which functions are compared in floating point.
const POINTS: u32 = 12;
/// Minimum number of points at which both functions are defined.
const MIN_POINTS: usize = 4;

/// Compares `a` and `b`: as numbers if both are constant, else as functions wherever both are
/// defined.
pub fn equality(a: &Expr, b: &Expr, tolerance: Tolerance) -> Equality {
    let (first, second) = (evaluate(a, Point::new(0)), evaluate(b, Point::new(0)));
    let equal_in_field = |a: Value, b: Value| a.field.is_some() && a.field == b.field;
    if equal_in_field(first, second) && equal_in_field(evaluate(a, Point::new(1)), evaluate(b, Point::new(1))) {
        return Equality::Equal;
    }
    if a.is_constant() && b.is_constant() {
        return numbers((a, first), (b, second), tolerance);
    }
    let exact = first.field_is_exact && second.field_is_exact && first.field.is_some() && second.field.is_some();
    if exact && tolerance == Tolerance::Exact {
        return Equality::Different;
    }
    functions(a, b)
}

fn numbers((a, first): (&Expr, Value), (b, second): (&Expr, Value), tolerance: Tolerance) -> Equality {
    let (x, y) = (first.float, second.float);
    if x.is_nan() || y.is_nan() {
        return Equality::Unknown;
    }
    let exact = first.field_is_exact && second.field_is_exact && first.field.is_some() && second.field.is_some();
    if exact && !(x.is_finite() && y.is_finite()) {
        // Both numbers overflow floating point; the field says that they differ.
        return Equality::Different;
    }
    if !x.is_finite() || !y.is_finite() {
        // A written infinity differs from a number; an overflow says nothing.
        let meant = |expr: &Expr| expr.any(&|part| matches!(part, Expr::Constant(super::Constant::Infinity)));
        let known = |expr: &Expr, value: Complex64| value.is_finite() || meant(expr);
        let differ =
            known(a, x) && known(b, y) && !(x.is_infinite() && y.is_infinite() && x.re.signum() == y.re.signum());
        return if differ { Equality::Different } else { Equality::Unknown };
    }
    let distance = (x - y).norm();
    let within = match tolerance {
        Tolerance::Within(limit) => distance <= limit * (1.0 + 1e-9),
        Tolerance::Decimals(places) => {
            let unit = 10_f64.powi(-(places as i32));
            distance <= 0.5 * unit * (1.0 + 1e-9) || ((x / unit).re.round() - (y / unit).re.round()).abs() < 0.5
        }
        Tolerance::Exact => false,
    };
    if within {
        return Equality::Equal;
    }
    let relative = distance / x.norm().max(y.norm());
    if first.field_is_exact && second.field_is_exact {
        // Both are rational; the field says that they differ.
        let limit = match (a.has_decimal(), b.has_decimal()) {
            (true, true) => MAX_PRINTED_ERROR,
            (true, false) if !terminates(second) => MAX_DECIMAL_ERROR,
            (false, true) if !terminates(first) => MAX_DECIMAL_ERROR,
            _ => return Equality::Different,
        };
        return if relative <= limit { Equality::Equal } else { Equality::Different };
    }
    // A decimal fraction may round a value that has no short decimal expansion.
    let rounds = a.has_decimal() && !is_short(y) || b.has_decimal() && !is_short(x);
    let limit = if rounds { MAX_DECIMAL_ERROR } else { MAX_FLOAT_ERROR };
    match relative {
        relative if relative <= limit => Equality::Equal,
        relative if relative >= MIN_DIFFERENCE.max(limit) && first.float_is_known && second.float_is_known => {
            Equality::Different
        }
        _ => Equality::Unknown,
    }
}

/// Returns whether a value is, up to rounding, a decimal fraction of at most six places.
fn is_short(value: Complex64) -> bool {
    let scaled = value.re * 1e6;
    value.im == 0.0 && scaled.abs() < 1e15 && (scaled - scaled.round()).abs() <= 1e-12 * scaled.abs()
}

/// Returns whether an exact rational number is a decimal fraction of at most twelve places.
fn terminates(value: Value) -> bool {
    let Some(real) = value.real() else { return false };
    let scaled = (real * 1e12).round();
    scaled.abs() < 1e30
        && value.field.is_some_and(|field| {
            let ten = super::field::Field::from_integer(1_000_000_000_000);
            super::field::Field::from_integer(scaled as i128) == field * ten
        })
}

fn functions(a: &Expr, b: &Expr) -> Equality {
    let mut equal_points = 0;
    for index in 0..POINTS {
        let (first, second) = (evaluate(a, Point::new(index)), evaluate(b, Point::new(index)));
        // Over the reals, a point at which one function is undefined says nothing about the other.
        if !first.float.is_finite() || !second.float.is_finite() {
            continue;
        }
        let distance = (first.float - second.float).norm();
        let relative = distance / first.float.norm().max(second.float.norm()).max(1e-3);
        if relative > MIN_DIFFERENCE {
            return if first.float_is_known && second.float_is_known { Equality::Different } else { Equality::Unknown };
        }
        if relative > 1e-9 {
            return Equality::Unknown;
        }
        equal_points += 1;
    }
    if equal_points >= MIN_POINTS { Equality::Equal } else { Equality::Unknown }
}

/// How one expression is a multiple of another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Ratio {
    /// `a = c · b` for a real constant c ≠ 0.
    Constant {
        /// Whether c is positive.
        positive: bool,
    },
    /// The quotient is not constant.
    Varies,
    /// The expressions cannot be evaluated.
    Unknown,
}

/// Decides whether `a` is a constant multiple of `b`.
pub fn proportion(a: &Expr, b: &Expr) -> Ratio {
    let mut quotients = Vec::new();
    let mut exact = true;
    for index in 0..POINTS {
        let (first, second) = (evaluate(a, Point::new(index)), evaluate(b, Point::new(index)));
        exact &= first.field_is_exact && second.field_is_exact;
        if !first.float_is_known || !second.float_is_known {
            return Ratio::Unknown;
        }
        if let (Some(x), Some(y)) = (first.real(), second.real())
            && y.abs() > 1e-9
            && x.is_finite()
            && y.is_finite()
        {
            let field = first.field.zip(second.field).and_then(|(x, y)| Some(x * y.inverse()?));
            quotients.push((x / y, field));
        }
    }
    let Some(&(ratio, field)) = quotients.first().filter(|_| quotients.len() >= MIN_POINTS) else {
        return Ratio::Unknown;
    };
    let constant = quotients.iter().all(|(other, other_field)| {
        if exact { *other_field == field } else { (other - ratio).abs() <= 1e-9 * ratio.abs().max(other.abs()) }
    });
    if constant && ratio != 0.0 { Ratio::Constant { positive: ratio > 0.0 } } else { Ratio::Varies }
}
