//! Number literals of any length, exact in the prime field.

use super::field::Field;

/// A literal without a sign: an integer or decimal fraction, with an optional power of ten.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Number {
    field: Field,
    float: f64,
    decimal: bool,
}

impl Number {
    /// Maximum number of digits.
    const MAX_DIGITS: usize = 4000;

    /// Makes an integer.
    pub fn integer(value: u64) -> Self {
        Self { field: Field::from_integer(i128::from(value)), float: value as f64, decimal: false }
    }

    /// Reads `digits[.digits][e±digits]`; `None` for anything else, for more than 4,000 digits, and
    /// for an exponent beyond ±400.
    pub fn parse(text: &str) -> Option<Self> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = whole.len() + fraction.len();
        if digits == 0 || digits > Self::MAX_DIGITS || exponent.abs() > 400 {
            return None;
        }
        let mut field = Field::ZERO;
        for byte in whole.bytes().chain(fraction.bytes()) {
            if !byte.is_ascii_digit() {
                return None;
            }
            field = field * Field::from_integer(10) + Field::from_integer(i128::from(byte - b'0'));
        }
        let shift = exponent - fraction.len() as i32;
        let ten = Field::from_integer(10).power(u64::from(shift.unsigned_abs()));
        let field = if shift < 0 { field * ten.inverse()? } else { field * ten };
        Some(Self { field, float: text.parse().ok()?, decimal: mantissa.contains('.') })
    }

    /// Makes `whole.fraction` followed by endless repetitions of `period`.
    pub fn repeating(whole: &str, fraction: &str, period: &str) -> Option<Self> {
        let nines = "9".repeat(period.len());
        let without = Self::parse(&format!("{whole}{fraction}"))?;
        let with = Self::parse(&format!("{whole}{fraction}{period}"))?;
        let divisor = Self::parse(&format!("{nines}{}", "0".repeat(fraction.len())))?;
        let field = (with.field - without.field) * divisor.field.inverse()?;
        Some(Self { field, float: (with.float - without.float) / divisor.float, decimal: false })
    }

    /// Returns the image in the prime field.
    pub fn field(self) -> Field {
        self.field
    }

    /// Returns the nearest floating-point number; infinite on overflow.
    pub fn float(self) -> f64 {
        self.float
    }

    /// Returns whether the literal has a decimal point, so that it may be a rounded value.
    pub fn is_decimal(self) -> bool {
        self.decimal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_notations_of_a_literal_have_one_value() {
        let number = |text| Number::parse(text).unwrap();
        assert_eq!(number("0.50").field(), number("5e-1").field());
        assert_eq!(number("1200").field(), number("1.2e3").field());
        assert!((number("1.25").float() - 1.25).abs() < 1e-15);
        assert!(number(".5").is_decimal() && !number("5").is_decimal());
        for text in ["", ".", "1.2.3", "x", "1e999", "-1", &"9".repeat(5000)] {
            assert_eq!(Number::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_repeating_decimal_is_its_fraction() {
        let third = Number::repeating("0", "", "3").unwrap();
        assert_eq!(third.field() * Field::from_integer(3), Field::ONE);
        let sixth = Number::repeating("0", "1", "6").unwrap();
        assert_eq!(sixth.field() * Field::from_integer(6), Field::ONE);
    }
}
