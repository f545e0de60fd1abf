//! Evaluates expressions at random points, in the prime field and in floating point.

use std::f64::consts::{E, PI};
use std::sync::OnceLock;

use num_complex::Complex64;

use super::expr::{Constant, Expr, Function};
use super::field::Field;
use super::gamma::gamma;

/// A point of evaluation: gives each variable a value that depends on its name and the point.
#[derive(Debug, Clone, Copy)]
pub struct Point<'a> {
    index: u32,
    /// A variable with a value of its own.
    fixed: Option<(&'a str, f64)>,
}

impl<'a> Point<'a> {
    /// Prefix of the names of variables that are positive at every point.
    pub const POSITIVE: &'static str = "+";

    /// From this point on, variables have values of either sign; before it only positive ones, at
    /// which roots and logarithms are defined.
    const SIGNED: u32 = 6;

    /// From this point on, variables are far from zero, at which roots of sums are defined.
    pub const DISTANT: u32 = 12;

    pub fn new(index: u32) -> Self {
        Self { index, fixed: None }
    }

    /// Returns the point with a value for one variable.
    pub fn with(self, name: &'a str, value: f64) -> Self {
        Self { fixed: Some((name, value)), ..self }
    }

    fn variable(self, name: &str) -> Value {
        let field = Field::from_hash(&("variable", name, self.index));
        let unit = field.to_sample();
        if let Some((_, value)) = self.fixed.filter(|(fixed, _)| *fixed == name) {
            return Value { origin: Origin::Variable, field_is_exact: false, ..Value::known(field, value) };
        }
        let float = match self.index {
            _ if name.starts_with(Self::POSITIVE) => unit,
            0..Self::SIGNED => unit,
            Self::SIGNED..Self::DISTANT => (unit - 1.7) * 2.0,
            index => (unit - 1.7) * if index % 2 == 0 { 20.0 } else { 200.0 },
        };
        Value { origin: Origin::Variable, ..Value::known(field, float) }
    }
}

/// The value of an expression at a [`Point`].
#[derive(Debug, Clone, Copy)]
pub struct Value {
    /// The value in the prime field; `None` where undefined (division by zero).
    pub field: Option<Field>,
    /// Whether `field` is the true value. Otherwise it is a hash of how the value was computed:
    /// equal hashes mean equal values, different hashes mean nothing.
    pub field_is_exact: bool,
    /// The value in the complex numbers; NaN where undefined.
    pub float: Complex64,
    /// Whether `float` is the true value, rather than a random one for an unknown function.
    pub float_is_known: bool,
    /// What the value depends on.
    pub origin: Origin,
}

/// What a value depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// On no variable.
    Constant,
    /// On a variable.
    Variable,
    /// On the root of a negative number that depends on a variable: over the reals, the value is
    /// undefined.
    NegativeRoot,
}

impl Value {
    const UNDEFINED: Self = Self {
        field: None,
        field_is_exact: true,
        float: Complex64 { re: f64::NAN, im: 0.0 },
        float_is_known: true,
        origin: Origin::Constant,
    };

    fn known(field: Field, float: impl Into<Complex64>) -> Self {
        Self { field: Some(field), float: float.into(), ..Self::UNDEFINED }
    }

    /// Makes a value that is known in floating point only; its field element is a hash of how it
    /// was computed.
    fn inexact(how: &impl std::hash::Hash, arguments: &[Self], float: Complex64) -> Self {
        let fields: Option<Vec<u64>> = arguments.iter().map(|value| value.field.map(Field::bits)).collect();
        Self {
            field: fields.map(|fields| Field::from_hash(&(how, fields))),
            field_is_exact: false,
            float,
            float_is_known: arguments.iter().all(|value| value.float_is_known),
            origin: arguments.iter().map(|value| value.origin).max().unwrap_or(Origin::Constant),
        }
    }

    fn joined(
        self,
        other: Self,
        field: impl Fn(Field, Field) -> Option<Field>,
        float: impl Fn(Complex64, Complex64) -> Complex64,
    ) -> Self {
        Self {
            field: self.field.zip(other.field).and_then(|(a, b)| field(a, b)),
            field_is_exact: self.field_is_exact && other.field_is_exact,
            float: float(self.float, other.float),
            float_is_known: self.float_is_known && other.float_is_known,
            origin: self.origin.max(other.origin),
        }
    }

    fn scaled(self, factor: Field, float: f64) -> Self {
        Self { field: self.field.map(|field| field * factor), float: self.float * float, ..self }
    }

    /// Returns whether the value is undefined over the reals.
    pub fn leaves_reals(self) -> bool {
        self.origin == Origin::NegativeRoot
    }

    /// Returns whether it is a negative number that depends on a variable.
    fn varies_below_zero(self) -> bool {
        self.origin > Origin::Constant && self.real().is_none_or(|real| real < 0.0)
    }

    /// Returns the float, on the upper side of the branch cut if it is real: −4 − 0i becomes −4.
    fn principal(self) -> Complex64 {
        self.real().map_or(self.float, Complex64::from)
    }

    /// Returns the float if it is real.
    pub fn real(self) -> Option<f64> {
        let small = self.float.im.abs() <= 1e-12 * self.float.re.abs().max(1.0);
        (small && !self.float.re.is_nan()).then_some(self.float.re)
    }
}

/// Evaluates `expr` at `point`. A matrix or a ± is undefined.
pub fn evaluate(expr: &Expr, point: Point<'_>) -> Value {
    match expr {
        Expr::Number(number) => Value::known(number.field(), number.float()),
        Expr::Constant(constant) => named(*constant),
        Expr::Symbol(name) => point.variable(name),
        Expr::Negative(a) => evaluate(a, point).scaled(-Field::ONE, -1.0),
        Expr::Sum(terms) => terms
            .iter()
            .map(|term| evaluate(term, point))
            .fold(Value::known(Field::ZERO, 0.0), |sum, term| sum.joined(term, |a, b| Some(a + b), |a, b| a + b)),
        Expr::Product(factors) => factors
            .iter()
            .map(|factor| evaluate(factor, point))
            .fold(Value::known(Field::ONE, 1.0), |product, factor| {
                product.joined(factor, |a, b| Some(a * b), |a, b| a * b)
            }),
        Expr::Quotient(a, b) => evaluate(a, point).joined(
            evaluate(b, point),
            |a, b| Some(a * b.inverse()?),
            |a, b| if b.norm() == 0.0 { Complex64::new(f64::NAN, 0.0) } else { a / b },
        ),
        Expr::Power(base, exponent) => power(evaluate(base, point), exponent, point),
        Expr::Root(radicand, degree) => root(evaluate(radicand, point), *degree),
        Expr::Call(function, arguments) => {
            let arguments: Vec<Value> = arguments.iter().map(|argument| evaluate(argument, point)).collect();
            call(*function, &arguments)
        }
        Expr::Opaque(name, arguments) => {
            let arguments: Vec<Value> = arguments.iter().map(|argument| evaluate(argument, point)).collect();
            let value = Value::inexact(&("opaque", name, point.index), &arguments, f64::NAN.into());
            let float = value.field.map_or(f64::NAN, Field::to_sample);
            // Equal arguments that are not exact in the field may have different hashes, and so
            // different random values.
            let float_is_known = value.float_is_known && arguments.iter().all(|argument| argument.field_is_exact);
            Value { field_is_exact: float_is_known, float: float.into(), float_is_known, ..value }
        }
        Expr::Percent(a) => {
            let hundredth = Field::from_integer(100).inverse().unwrap_or(Field::ONE);
            evaluate(a, point).scaled(hundredth, 0.01)
        }
        Expr::Degrees(a) => {
            let value = evaluate(a, point);
            Value::inexact(&"degrees", &[value], value.float * (PI / 180.0))
        }
        Expr::PlusMinus(..) | Expr::Matrix(_) => Value::UNDEFINED,
    }
}

fn named(constant: Constant) -> Value {
    let float = match constant {
        Constant::Pi => PI.into(),
        Constant::E => E.into(),
        Constant::Infinity => f64::INFINITY.into(),
        Constant::ImaginaryUnit => return Value::known(Field::imaginary_unit(), Complex64::i()),
    };
    Value::inexact(&("constant", constant), &[], float)
}

/// Maximum absolute value of an integer exponent.
const MAX_EXPONENT: f64 = 1e6;

fn power(base: Value, exponent: &Expr, point: Point<'_>) -> Value {
    if let Expr::Quotient(top, bottom) = exponent
        && let (Some(top), Some(degree)) = (whole(top, point), whole(bottom, point))
        && (2..=64).contains(&degree)
    {
        // (−8)^(2/3) is real: take the root first, then the power.
        return whole_power(root(base, degree as u32), top);
    }
    if let Some(whole) = whole(exponent, point) {
        return whole_power(base, whole);
    }
    let exponent = evaluate(exponent, point);
    let float = match (base.real(), exponent.real()) {
        (Some(a), Some(b)) if a > 0.0 => a.powf(b).into(),
        _ if base.float == Complex64::ZERO => f64::NAN.into(),
        _ => base.principal().powc(exponent.float),
    };
    let value = Value::inexact(&"power", &[base, exponent], float);
    if base.varies_below_zero() { Value { origin: Origin::NegativeRoot, ..value } } else { value }
}

/// Returns the value of an integer constant.
fn whole(expr: &Expr, point: Point<'_>) -> Option<i64> {
    let value = match expr {
        Expr::Number(number) => number.float(),
        Expr::Negative(inner) => return whole(inner, point).map(|value| -value),
        _ if expr.is_constant() => evaluate(expr, point).real()?,
        _ => return None,
    };
    (value.fract() == 0.0 && value.abs() <= MAX_EXPONENT).then_some(value as i64)
}

fn whole_power(base: Value, exponent: i64) -> Value {
    let size = exponent.unsigned_abs();
    let field = base.field.map(|field| field.power(size));
    let float = match base.real() {
        Some(real) => real.powi(size.min(i32::MAX as u64) as i32).into(),
        None => base.float.powu(size.min(u64::from(u32::MAX)) as u32),
    };
    if exponent >= 0 {
        return Value { field, float, ..base };
    }
    let float = if float.norm() == 0.0 { f64::NAN.into() } else { float.inv() };
    Value { field: field.and_then(Field::inverse), float, ..base }
}

fn root(radicand: Value, degree: u32) -> Value {
    let float = match radicand.real() {
        Some(real) if real >= 0.0 => match degree {
            2 => real.sqrt(),
            3 => real.cbrt(),
            _ => real.powf(1.0 / f64::from(degree)),
        }
        .into(),
        Some(real) if degree % 2 == 1 => (-(-real).powf(1.0 / f64::from(degree))).into(),
        _ if degree == 2 => radicand.principal().sqrt(),
        _ => radicand.principal().powf(1.0 / f64::from(degree)),
    };
    let value = Value::inexact(&("root", degree), &[radicand], float);
    let leaves = degree.is_multiple_of(2) && radicand.varies_below_zero();
    if leaves { Value { origin: Origin::NegativeRoot, ..value } } else { value }
}

fn call(function: Function, arguments: &[Value]) -> Value {
    let undefined: Complex64 = f64::NAN.into();
    let reals: Option<Vec<f64>> = arguments.iter().map(|value| value.real()).collect();
    let x = arguments.first().map_or(undefined, |value| value.float);
    let real = |f: &dyn Fn(&[f64]) -> f64| reals.as_deref().map_or(undefined, |reals| f(reals).into());
    let float = match function {
        Function::Sin => x.sin(),
        Function::Cos => x.cos(),
        Function::Tan => x.tan(),
        Function::Cot => x.tan().inv(),
        Function::Sec => x.cos().inv(),
        Function::Csc => x.sin().inv(),
        Function::Arcsin => real(&|x| x[0].asin()),
        Function::Arccos => real(&|x| x[0].acos()),
        Function::Arctan => real(&|x| x[0].atan()),
        Function::Sinh => x.sinh(),
        Function::Cosh => x.cosh(),
        Function::Tanh => x.tanh(),
        Function::Ln => real(&|x| if x[0] > 0.0 { x[0].ln() } else { f64::NAN }),
        Function::Log => real(&|x| if x[0] > 0.0 && x[1] > 0.0 { x[1].ln() / x[0].ln() } else { f64::NAN }),
        Function::Exp => x.exp(),
        Function::Abs => x.norm().into(),
        Function::Floor => real(&|x| x[0].floor()),
        Function::Ceil => real(&|x| x[0].ceil()),
        Function::Factorial => return factorial(arguments[0]),
        Function::Binomial if let Some(value) = binomial(arguments) => return value,
        Function::Binomial => {
            real(&|x| (gamma(x[0] + 1.0) / (gamma(x[1] + 1.0) * gamma(x[0] - x[1] + 1.0))).round_near())
        }
        Function::Max => real(&|x| x.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
        Function::Min => real(&|x| x.iter().copied().fold(f64::INFINITY, f64::min)),
    };
    Value::inexact(&function, arguments, float)
}

/// Computes n! exactly for an integer n up to [`MAX_FACTORIAL`], otherwise Γ(n + 1).
fn factorial(argument: Value) -> Value {
    let float = argument.real().map_or(f64::NAN, |x| gamma(x + 1.0));
    match argument.real().and_then(|x| exact_factorial(x, argument)) {
        Some(field) => {
            let x = argument.real().unwrap_or(f64::NAN).min(171.0);
            let float = (2..=x as u32).fold(1.0, |product, factor| product * f64::from(factor));
            Value { field: Some(field), float: float.into(), ..argument }
        }
        None => Value::inexact(&"factorial", &[argument], float.into()),
    }
}

/// Maximum number whose factorial is exact in the field.
const MAX_FACTORIAL: usize = 10_000;

/// Returns x! in the field for a whole number x that is exact.
fn exact_factorial(x: f64, argument: Value) -> Option<Field> {
    static FACTORIALS: OnceLock<Vec<Field>> = OnceLock::new();
    if x.fract() != 0.0 || !(0.0..=MAX_FACTORIAL as f64).contains(&x) || !argument.field_is_exact {
        return None;
    }
    let all = FACTORIALS.get_or_init(|| {
        let mut all = vec![Field::ONE];
        for factor in 1..=MAX_FACTORIAL as i128 {
            all.push(all[all.len() - 1] * Field::from_integer(factor));
        }
        all
    });
    all.get(x as usize).copied()
}

/// Computes a binomial coefficient exactly in the field, for whole numbers up to [`MAX_FACTORIAL`].
fn binomial(arguments: &[Value]) -> Option<Value> {
    let [n, k] = arguments else { return None };
    let (x, y) = (n.real()?, k.real()?);
    let (top, bottom) = (exact_factorial(x, *n)?, exact_factorial(y, *k)?);
    let rest = exact_factorial(x - y, *n)?;
    let field = top * (bottom * rest).inverse()?;
    let small = y.min(x - y);
    let float = (0..small as u64).fold(1.0, |product, step| product * (x - step as f64) / (step as f64 + 1.0));
    let float: Complex64 = float.round_near().into();
    Some(Value { field: Some(field), float, ..n.joined(*k, |a, _| Some(a), |a, _| a) })
}

trait RoundNear {
    /// Rounds to the nearest integer if that is within rounding error.
    fn round_near(self) -> Self;
}

impl RoundNear for f64 {
    fn round_near(self) -> Self {
        let whole = self.round();
        if (self - whole).abs() <= 1e-9 * whole.abs() { whole } else { self }
    }
}
