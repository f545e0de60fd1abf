//! Decides whether two expressions are equal as functions.

use num_complex::Complex64;

use super::evaluate::{Point, Value, evaluate};
use super::expr::Expr;
use super::huge::{Huge, huge};
use super::positive;

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
const POINTS: u32 = Point::DISTANT;
/// Number of further points, for functions that are rarely real near zero.
const DISTANT_POINTS: u32 = 24;
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
    match functions(a, b) {
        Equality::Equal => Equality::Equal,
        // Quantities whose product is under a root are positive: √(2h/g) is √(2gh)/g.
        otherwise => match positive::assumed(a, b) {
            Some((a, b)) if functions(&a, &b) == Equality::Equal => Equality::Equal,
            _ => otherwise,
        },
    }
}

fn numbers((a, first): (&Expr, Value), (b, second): (&Expr, Value), tolerance: Tolerance) -> Equality {
    let exact = first.field_is_exact && second.field_is_exact && first.field.is_some() && second.field.is_some();
    let in_range = |float: Complex64, expr: &Expr| {
        let representable = float.is_finite() && float != Complex64::ZERO;
        if representable { Some(float) } else { huge(expr)?.float().map(Complex64::from) }
    };
    let (x, y) = (in_range(first.float, a).unwrap_or(first.float), in_range(second.float, b).unwrap_or(second.float));
    // Rounding leaves a remainder of the order of 1e-16 where the value is zero.
    let zero = |value: Complex64, expr: &Expr| value == Complex64::ZERO && huge(expr).is_some_and(Huge::is_zero);
    if !exact && (zero(x, a) || vanishes(x, a)) && (zero(y, b) || vanishes(y, b)) {
        return Equality::Equal;
    }
    let readable = |float: Complex64| float.is_finite() && float != Complex64::ZERO;
    if !readable(x) || !readable(y) {
        match (huge(a), huge(b)) {
            (Some(a), Some(b)) if tolerance == Tolerance::Exact && a.differs(b) => return Equality::Different,
            (Some(a), Some(b)) if !exact && a.agrees(b) => return Equality::Equal,
            _ if exact && tolerance == Tolerance::Exact && (x.is_nan() || y.is_nan()) => return Equality::Different,
            _ => {}
        }
    }
    if x.is_nan() || y.is_nan() {
        return Equality::Unknown;
    }
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

/// Returns whether a tiny value is what rounding leaves of zero: of a difference of larger terms, or
/// of a trigonometric function.
fn vanishes(value: Complex64, expr: &Expr) -> bool {
    const TINY: f64 = 1e-14;
    let periodic = |part: &Expr| {
        use super::expr::Function::{Cos, Cot, Sin, Tan};
        matches!(part, Expr::Call(Sin | Cos | Tan | Cot, arguments) if arguments[0].is_constant()
            && evaluate(&arguments[0], Point::new(0)).float.norm() > 0.1)
    };
    let cancels = |part: &Expr| {
        let Expr::Sum(terms) = part else { return false };
        terms.iter().any(|term| evaluate(term, Point::new(0)).float.norm() > 0.1)
    };
    value.norm() < TINY && expr.any(&|part| periodic(part) || cancels(part))
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

/// Compares functions at points at which both are real; elsewhere they say nothing about each
/// other.
fn functions(a: &Expr, b: &Expr) -> Equality {
    let mut points = Points::default();
    for index in 0..POINTS {
        if let Some(decided) = points.compare(a, b, index) {
            return decided;
        }
    }
    if points.equal < MIN_POINTS && points.one_sided + points.complex > 0 {
        for index in POINTS..POINTS + DISTANT_POINTS {
            if let Some(decided) = points.compare(a, b, index) {
                return decided;
            }
        }
    }
    match points {
        _ if points.equal >= MIN_POINTS => Equality::Equal,
        // Never both real.
        Points { equal: 0, one_sided: MIN_POINTS.., .. } => Equality::Different,
        Points { equal: 0, complex: MIN_POINTS.., complex_differ: false, .. } => Equality::Equal,
        _ => Equality::Unknown,
    }
}

/// What points have shown about two functions.
#[derive(Default)]
struct Points {
    /// Number of points at which both are real and equal.
    equal: usize,
    /// Number of points at which only one is real.
    one_sided: usize,
    /// Number of points at which both leave the reals.
    complex: usize,
    /// Whether the principal values differ at one of these.
    complex_differ: bool,
}

impl Points {
    /// Compares the functions at one point; returns the result if the point decides.
    fn compare(&mut self, a: &Expr, b: &Expr, index: u32) -> Option<Equality> {
        let (first, second) = (evaluate(a, Point::new(index)), evaluate(b, Point::new(index)));
        if !first.float.is_finite() || !second.float.is_finite() {
            return None;
        }
        let distance = (first.float - second.float).norm();
        let relative = distance / first.float.norm().max(second.float.norm()).max(1e-3);
        match (first.leaves_reals(), second.leaves_reals()) {
            (false, false) => {}
            (true, true) => {
                self.complex += 1;
                self.complex_differ |= relative > 1e-9;
                return None;
            }
            _ => {
                self.one_sided += 1;
                return None;
            }
        }
        if relative > MIN_DIFFERENCE {
            let known = first.float_is_known && second.float_is_known;
            return Some(if known { Equality::Different } else { Equality::Unknown });
        }
        if relative > 1e-9 {
            return Some(Equality::Unknown);
        }
        self.equal += 1;
        None
    }
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
            && !first.leaves_reals()
            && !second.leaves_reals()
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
