//! Whether two expressions are equal as functions.

use num_complex::Complex64;

use super::evaluate::{Point, Value, evaluate};
use super::expr::Expr;

/// Whether two expressions are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Equality {
    Equal,
    Different,
    /// They could not be evaluated, or floating point is not exact enough.
    Unknown,
}

/// How far two numbers may lie apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Tolerance {
    /// Not at all, except that a decimal fraction stands for an irrational number or an endless fraction within 1e-6 of it,
    /// relative.
    Exact,
    /// Rounded to so many decimals.
    Decimals(u32),
    /// By so much.
    Within(f64),
}

/// Relative error up to which floating-point values of exact expressions are taken for equal.
const ROUNDING: f64 = 1e-10;
/// Relative error from which they are taken for different.
const APART: f64 = 1e-7;
/// Relative error up to which a decimal fraction stands for a number that has no finite one.
const STANDS_FOR: f64 = 1e-6;
/// Relative error of a decimal fraction that a machine printed: 0.30000000000000004.
const MACHINE: f64 = 1e-15;
/// Points at which functions are compared in floating point.
const POINTS: u32 = 12;
/// Points at which both must have a value.
const ENOUGH: usize = 4;

/// Whether `a` and `b` are equal: as numbers if they are constant, else as functions wherever both have a value.
pub fn equality(a: &Expr, b: &Expr, tolerance: Tolerance) -> Equality {
    let (first, second) = (evaluate(a, Point::new(0)), evaluate(b, Point::new(0)));
    let agree = |a: Value, b: Value| a.field.is_some() && a.field == b.field;
    if agree(first, second) && agree(evaluate(a, Point::new(1)), evaluate(b, Point::new(1))) {
        return Equality::Equal;
    }
    if a.is_constant() && b.is_constant() {
        return numbers((a, first), (b, second), tolerance);
    }
    let exact = first.field_is_value && second.field_is_value && first.field.is_some() && second.field.is_some();
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
    let exact = first.field_is_value && second.field_is_value && first.field.is_some() && second.field.is_some();
    if exact && !(x.is_finite() && y.is_finite()) {
        // Two numbers that are too large for floating point; the field says that they differ.
        return Equality::Different;
    }
    if !x.is_finite() || !y.is_finite() {
        // An infinity that is meant differs from a number; one from an overflow tells nothing.
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
    if first.field_is_value && second.field_is_value {
        // Two rational numbers; the field says that they differ.
        let limit = match (a.has_decimal(), b.has_decimal()) {
            (true, true) => MACHINE,
            (true, false) if !terminates(second) => STANDS_FOR,
            (false, true) if !terminates(first) => STANDS_FOR,
            _ => return Equality::Different,
        };
        return if relative <= limit { Equality::Equal } else { Equality::Different };
    }
    // A decimal fraction stands for what has none that is as short.
    let stands = a.has_decimal() && !is_short(y) || b.has_decimal() && !is_short(x);
    let limit = if stands { STANDS_FOR } else { ROUNDING };
    match relative {
        relative if relative <= limit => Equality::Equal,
        relative if relative >= APART.max(limit) && first.float_is_value && second.float_is_value => {
            Equality::Different
        }
        _ => Equality::Unknown,
    }
}

/// Whether a value is, but for rounding, a decimal fraction of at most six places.
fn is_short(value: Complex64) -> bool {
    let scaled = value.re * 1e6;
    value.im == 0.0 && scaled.abs() < 1e15 && (scaled - scaled.round()).abs() <= 1e-12 * scaled.abs()
}

/// Whether an exact rational number has a finite decimal fraction of at most twelve places.
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
    let mut agreeing = 0;
    for index in 0..POINTS {
        let (first, second) = (evaluate(a, Point::new(index)), evaluate(b, Point::new(index)));
        // In the reals, a function that has no value at a point says nothing about the other's.
        if !first.float.is_finite() || !second.float.is_finite() {
            continue;
        }
        let distance = (first.float - second.float).norm();
        let relative = distance / first.float.norm().max(second.float.norm()).max(1e-3);
        if relative > APART {
            return if first.float_is_value && second.float_is_value { Equality::Different } else { Equality::Unknown };
        }
        if relative > 1e-9 {
            return Equality::Unknown;
        }
        agreeing += 1;
    }
    if agreeing >= ENOUGH { Equality::Equal } else { Equality::Unknown }
}

/// How one expression is a multiple of another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Ratio {
    /// `a = c · b` for a real constant c, which is not zero; given is its sign.
    Constant {
        /// Whether c is positive.
        positive: bool,
    },
    /// The quotient is no constant.
    Varies,
    /// It could not be told.
    Unknown,
}

/// Whether `a` is a constant multiple of `b`.
pub fn proportion(a: &Expr, b: &Expr) -> Ratio {
    let mut quotients = Vec::new();
    let mut exact = true;
    for index in 0..POINTS {
        let (first, second) = (evaluate(a, Point::new(index)), evaluate(b, Point::new(index)));
        exact &= first.field_is_value && second.field_is_value;
        if !first.float_is_value || !second.float_is_value {
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
    let Some(&(ratio, field)) = quotients.first().filter(|_| quotients.len() >= ENOUGH) else { return Ratio::Unknown };
    let constant = quotients.iter().all(|(other, other_field)| {
        if exact { *other_field == field } else { (other - ratio).abs() <= 1e-9 * ratio.abs().max(other.abs()) }
    });
    if constant && ratio != 0.0 { Ratio::Constant { positive: ratio > 0.0 } } else { Ratio::Varies }
}
