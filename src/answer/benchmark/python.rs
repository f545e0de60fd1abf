//! Python's conversions between numbers and text: `float()`, `int()`, `round()` and `str()`.

use crate::compat::text::strip;

/// Maximum length of a number, in bytes.
const MAX_BYTES: usize = 4096;

/// The zero digits of Unicode scripts outside ASCII that models write.
const ZEROS: [char; 8] = ['\u{660}', '\u{6f0}', '\u{966}', '\u{9e6}', '\u{a66}', '\u{ae6}', '\u{e50}', '\u{ff10}'];

/// `float(text)`: strips white space, allows underscores between digits, reads infinities and
/// `nan`.
pub(super) fn float(text: &str) -> Option<f64> {
    let text = strip(text);
    if text.is_empty() || text.len() > MAX_BYTES {
        return None;
    }
    let ascii: String = text.chars().map(ascii_digit).collect();
    let lone = ascii.split('_').skip(1).any(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()))
        || ascii.rsplit('_').skip(1).any(|before| !before.ends_with(|c: char| c.is_ascii_digit()));
    if lone {
        return None;
    }
    ascii.replace('_', "").parse().ok()
}

fn ascii_digit(character: char) -> char {
    let digit = ZEROS.iter().find_map(|&zero| (character as u32).checked_sub(zero as u32).filter(|&digit| digit < 10));
    digit.and_then(|digit| char::from_digit(digit, 10)).unwrap_or(character)
}

/// `str(int(value))`; `None` for infinities and `nan`, for which Python raises an error.
pub(super) fn int_text(value: f64) -> Option<String> {
    // Up to sixteen digits are exact in either notation; `{:.0}` writes larger numbers in full, as
    // Python does.
    value.is_finite().then(|| format!("{:.0}", value.trunc() + 0.0))
}

/// `str(round(value))`: rounds to an integer, ties to even.
pub(super) fn rounded_int_text(value: f64) -> Option<String> {
    int_text(value.round_ties_even())
}

/// `round(value, decimals)`: rounds the exact binary value, ties to even.
pub(super) fn round(value: f64, decimals: u32) -> f64 {
    if !value.is_finite() {
        return value;
    }
    // Formatting rounds the exact value correctly, and parsing returns the nearest double.
    format!("{value:.*}", decimals as usize).parse().unwrap_or(value)
}

/// `str(value)`: the shortest digits that parse to the same number, with an exponent below 1e-4 and
/// from 1e16.
pub(super) fn float_text(value: f64) -> String {
    if value.is_nan() {
        return "nan".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf".into() } else { "-inf".into() };
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').expect("`{:e}` always writes an exponent");
    let exponent: i32 = exponent.parse().expect("`{:e}` writes a whole exponent");
    if (-4..16).contains(&exponent) {
        return format!("{value:?}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn float_reads_what_python_reads() {
        for (text, value) in [
            ("7", 7.0),
            (" -7.5e1\n", -75.0),
            ("1_000.2_5", 1000.25),
            (".5", 0.5),
            ("5.", 5.0),
            ("+Infinity", f64::INFINITY),
            ("\u{ff11}\u{ff12}", 12.0),
            ("1e400", f64::INFINITY),
        ] {
            assert_eq!(float(text), Some(value), "{text}");
        }
        assert!(float("NaN").is_some_and(f64::is_nan));
        for text in ["", ".", "1,000", "1__0", "_1", "1_", "1_.0", "7%", "1/2", "0x10", "e5", "7 8", &"1".repeat(5000)]
        {
            assert_eq!(float(text), None, "{text}");
        }
    }

    #[test]
    fn rounding_sees_the_exact_binary_value() {
        for (value, decimals, rounded) in
            [(2.675, 2, 2.67), (0.125, 2, 0.12), (0.375, 2, 0.38), (2.5, 0, 2.0), (1e300, 3, 1e300), (-0.04, 1, -0.0)]
        {
            assert_eq!(round(value, decimals).to_bits(), f64::to_bits(rounded), "{value}");
        }
        assert_eq!(rounded_int_text(0.5).as_deref(), Some("0"));
        assert_eq!(rounded_int_text(1.5).as_deref(), Some("2"));
    }

    #[test]
    fn numbers_print_as_python_prints_them() {
        for (value, text) in [
            (3.0, "3.0"),
            (-0.0, "-0.0"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e-5, "1.5e-05"),
            (1e-4, "0.0001"),
            (1.25e300, "1.25e+300"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(float_text(value), text);
        }
        assert_eq!(int_text(-0.9).as_deref(), Some("0"));
        assert_eq!(int_text(1e23).as_deref(), Some("99999999999999991611392"));
        assert_eq!(int_text(f64::NAN), None);
    }
}
