//! Constants too large or too small for floating point, by their logarithms: `2006!`, `10^(10^10)`.

use super::evaluate::{Point, evaluate};
use super::expr::{Expr, Function};

/// A real number as `mantissa · 2^exponent`, with a bound for its relative error.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Huge {
    mantissa: f64,
    exponent: i64,
    error: f64,
}

/// Maximum binary logarithm.
const MAX_LOG: f64 = 1e15;

/// Relative rounding error of one operation, with a margin.
const ROUNDING: f64 = 1e-15;

impl Huge {
    fn new(value: f64, exponent: i64, error: f64) -> Option<Self> {
        if value == 0.0 {
            return Some(Self { mantissa: 0.0, exponent: 0, error });
        }
        let shift = value.abs().log2().floor();
        if !shift.is_finite() || !error.is_finite() || (exponent as f64).abs() > MAX_LOG {
            return None;
        }
        // Two steps, since the factor for a subnormal number overflows.
        let half = (shift / 2.0).floor();
        let mantissa = value * (-half).exp2() * (half - shift).exp2();
        Some(Self { mantissa, exponent: exponent + shift as i64, error })
    }

    /// Makes 2 to the power `log`.
    fn from_log(log: f64, error: f64) -> Option<Self> {
        if log.is_nan() || log.abs() > MAX_LOG {
            return None;
        }
        Self::new((log - log.floor()).exp2(), log.floor() as i64, error + log.abs() * ROUNDING)
    }

    fn log(self) -> f64 {
        self.mantissa.abs().log2() + self.exponent as f64
    }

    fn natural_log(self) -> Option<Self> {
        let log = self.log() * std::f64::consts::LN_2;
        (self.mantissa > 0.0).then(|| Self::new(log, 0, self.error / log.abs() + ROUNDING))?
    }

    fn times(self, other: Self) -> Option<Self> {
        Self::new(self.mantissa * other.mantissa, self.exponent + other.exponent, self.error + other.error + ROUNDING)
    }

    fn inverse(self) -> Option<Self> {
        (self.mantissa != 0.0).then(|| Self::new(1.0 / self.mantissa, -self.exponent, self.error + ROUNDING))?
    }

    fn plus(self, other: Self) -> Option<Self> {
        if self.mantissa == 0.0 || other.mantissa == 0.0 {
            return Some(if self.mantissa == 0.0 { other } else { self });
        }
        let (large, small) = if self.exponent >= other.exponent { (self, other) } else { (other, self) };
        let shifted = small.mantissa * (-((large.exponent - small.exponent).min(4000) as f64)).exp2();
        let sum = large.mantissa + shifted;
        let loss = (large.mantissa.abs() * large.error + shifted.abs() * small.error) / sum.abs();
        Self::new(sum, large.exponent, loss + ROUNDING * large.mantissa.abs() / sum.abs())
    }

    fn power(self, exponent: f64) -> Option<Self> {
        if self.mantissa < 0.0 && exponent.fract() != 0.0 || self.mantissa == 0.0 {
            return None;
        }
        let size = Self::from_log(self.log() * exponent, self.error * exponent.abs())?;
        let odd = self.mantissa < 0.0 && exponent % 2.0 != 0.0;
        Some(if odd { Self { mantissa: -size.mantissa, ..size } } else { size })
    }

    pub fn is_zero(self) -> bool {
        self.mantissa == 0.0
    }

    /// Returns the nearest floating-point number if the value is in its range and accurate.
    pub fn float(self) -> Option<f64> {
        let fits = (-1000..1000).contains(&self.exponent) && self.error < 1e-11;
        fits.then(|| self.mantissa * (self.exponent as f64).exp2())
    }

    /// Returns whether two values are equal up to rounding.
    pub fn agrees(self, other: Self) -> bool {
        let distance = (self.log() - other.log()).abs() * std::f64::consts::LN_2;
        let accurate = self.error + other.error + (self.log().abs() + other.log().abs()) * ROUNDING < 1e-10;
        self.mantissa * other.mantissa > 0.0 && distance <= 1e-10 && accurate
    }

    /// Returns whether two values differ by more than their errors.
    pub fn differs(self, other: Self) -> bool {
        if self.mantissa == 0.0 || other.mantissa == 0.0 {
            return self.is_zero() != other.is_zero();
        }
        if self.mantissa.signum() != other.mantissa.signum() {
            return self.error < 0.1 && other.error < 0.1;
        }
        let distance = (self.log() - other.log()).abs() * std::f64::consts::LN_2;
        let rounding = (self.log().abs() + other.log().abs()) * ROUNDING;
        distance > 1e-7 + 10.0 * (self.error + other.error + rounding)
    }
}

/// Evaluates a real constant; `None` for anything else.
pub fn huge(expr: &Expr) -> Option<Huge> {
    let plain = || Huge::new(evaluate(expr, Point::new(0)).real().filter(|value| value.is_finite())?, 0, 1e-13);
    match expr {
        Expr::Number(number) if number.float().is_finite() => Huge::new(number.float(), 0, ROUNDING),
        Expr::Negative(a) => huge(a).map(|a| Huge { mantissa: -a.mantissa, ..a }),
        Expr::Sum(terms) => terms.iter().try_fold(Huge::new(0.0, 0, 0.0)?, |sum, term| sum.plus(huge(term)?)),
        Expr::Product(factors) => {
            factors.iter().try_fold(Huge::new(1.0, 0, 0.0)?, |product, factor| product.times(huge(factor)?))
        }
        Expr::Quotient(a, b) => huge(a)?.times(huge(b)?.inverse()?),
        Expr::Power(base, exponent) => {
            let exponent = evaluate(exponent, Point::new(0)).real().filter(|exponent| exponent.is_finite())?;
            huge(base)?.power(exponent)
        }
        Expr::Root(radicand, degree) => huge(radicand)?.power(1.0 / f64::from(*degree)),
        Expr::Call(Function::Ln, arguments) => huge(arguments.first()?)?.natural_log(),
        Expr::Call(Function::Log, arguments) => {
            let [base, inside] = arguments.as_slice() else { return None };
            huge(inside)?.natural_log()?.times(huge(base)?.natural_log()?.inverse()?)
        }
        Expr::Percent(a) => huge(a)?.times(Huge::new(0.01, 0, ROUNDING)?),
        Expr::Call(Function::Factorial, arguments) => {
            let x = evaluate(arguments.first()?, Point::new(0)).real().filter(|x| *x >= 0.0 && x.fract() == 0.0)?;
            Huge::from_log(log_factorial(x), 1e-13)
        }
        Expr::Call(Function::Binomial, arguments) => {
            let [n, k] = arguments.as_slice() else { return None };
            let value = |expr| evaluate(expr, Point::new(0)).real().filter(|x: &f64| *x >= 0.0 && x.fract() == 0.0);
            let (n, k) = (value(n)?, value(k)?);
            let parts = [log_factorial(n), log_factorial(k), log_factorial(n - k)];
            let error = parts.iter().map(|part| part.abs() * ROUNDING).sum::<f64>();
            (n >= k).then(|| Huge::from_log(parts[0] - parts[1] - parts[2], error + 1e-13))?
        }
        _ => plain(),
    }
}

/// Returns the binary logarithm of x!, by Stirling's series for large x.
fn log_factorial(x: f64) -> f64 {
    if x < 20.0 {
        return (2..=x as u64).map(|factor| factor as f64).product::<f64>().log2();
    }
    let series = 1.0 / (12.0 * x) - 1.0 / (360.0 * x.powi(3)) + 1.0 / (1260.0 * x.powi(5));
    let natural = x * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI * x).ln() + series;
    natural * std::f64::consts::LOG2_E
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factorial(n: u64) -> Expr {
        Expr::Call(Function::Factorial, vec![Expr::integer(n)])
    }

    #[test]
    fn factorials_and_powers_are_compared_by_their_logarithms() {
        assert!((log_factorial(20.0).exp2() / 2_432_902_008_176_640_000.0 - 1.0).abs() < 1e-12);
        assert!(huge(&factorial(2006)).unwrap().differs(huge(&factorial(2004)).unwrap()));
        assert!(huge(&factorial(100_000_000)).unwrap().differs(huge(&factorial(100_000_001)).unwrap()));
        let quotient = factorial(2006).over(factorial(2004));
        assert!((huge(&quotient).unwrap().float().unwrap_or(4_022_030.0) / 4_022_030.0 - 1.0).abs() < 1e-9);
        let tower = Expr::Power(
            Box::new(Expr::integer(10)),
            Box::new(Expr::Number(super::super::Number::parse("1e10").unwrap())),
        );
        assert!(!huge(&tower).unwrap().differs(huge(&tower).unwrap()));
    }
}
