//! JSON text equal to that of Python's `json.dumps`.
//!
//! MM-PRM names a tree file by the md5 of `json.dumps(record)` and writes the tree with `indent=4,
//! ensure_ascii=False`. `serde_json`'s writers differ: Python puts a space after `,` and `:`,
//! escapes everything outside printable ASCII (as UTF-16), and writes floats with `repr`. Hashing
//! and writing files is left to the callers.
//!
//! Two of Python's values cannot be represented: `serde_json` reads integers beyond 64 bits, and
//! `-0`, as floats.
//!
//! ```
//! use mmprm::compat::json::{dumps, dumps_indent};
//! let value = serde_json::json!({"q": "π = 3?", "a": [1e16, 1.0, 5]});
//! assert_eq!(dumps(&value), r#"{"q": "\u03c0 = 3?", "a": [1e+16, 1.0, 5]}"#);
//! assert_eq!(dumps_indent(&serde_json::json!({"π": []}), 4, false), "{\n    \"π\": []\n}");
//! ```

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{Formatter, Serializer};

/// Returns `json.dumps(value)`: one line, separators `", "` and `": "`, everything outside
/// printable ASCII escaped.
pub fn dumps(value: &Value) -> String {
    write(value, PythonFormatter { indent: None, ensure_ascii: true, depth: 0, filled: false })
}

/// Returns `json.dumps(value, indent=indent, ensure_ascii=ensure_ascii)`: one item a line, empty
/// containers as `[]` and `{}`, no final newline.
pub fn dumps_indent(value: &Value, indent: usize, ensure_ascii: bool) -> String {
    write(value, PythonFormatter { indent: Some(indent), ensure_ascii, depth: 0, filled: false })
}

fn write(value: &Value, formatter: PythonFormatter) -> String {
    let mut bytes = Vec::new();
    value
        .serialize(&mut Serializer::with_formatter(&mut bytes, formatter))
        .expect("a JSON value has string keys only and memory takes every write");
    String::from_utf8(bytes).expect("the formatter writes whole characters")
}

struct PythonFormatter {
    /// Spaces per level; `None` writes everything on one line.
    indent: Option<usize>,
    ensure_ascii: bool,
    depth: usize,
    /// Whether the container being written, or just closed, has items: empty ones get no line
    /// breaks.
    filled: bool,
}

impl PythonFormatter {
    fn open<W: ?Sized + Write>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth += 1;
        self.filled = false;
        writer.write_all(bracket)
    }

    fn close<W: ?Sized + Write>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth -= 1;
        if self.filled {
            self.new_line(writer)?;
        }
        self.filled = true;
        writer.write_all(bracket)
    }

    fn separate<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.filled = true;
        match (first, self.indent) {
            (true, _) => self.new_line(writer),
            (false, None) => writer.write_all(b", "),
            (false, Some(_)) => {
                writer.write_all(b",")?;
                self.new_line(writer)
            }
        }
    }

    fn new_line<W: ?Sized + Write>(&self, writer: &mut W) -> io::Result<()> {
        match self.indent {
            Some(spaces) => write!(writer, "\n{:1$}", "", spaces * self.depth),
            None => Ok(()),
        }
    }
}

impl Formatter for PythonFormatter {
    fn write_f64<W: ?Sized + Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        writer.write_all(float_repr(value).as_bytes())
    }

    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        if !self.ensure_ascii {
            return writer.write_all(fragment.as_bytes());
        }
        let mut rest = fragment;
        // serde_json itself escapes characters below the space, so only DEL and beyond are left.
        while let Some(at) = rest.find(|c: char| c >= '\x7f') {
            writer.write_all(&rest.as_bytes()[..at])?;
            let special = rest[at..].chars().next().expect("find returned the position of a character");
            for unit in special.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = &rest[at + special.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }

    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"[")
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"]")
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.separate(writer, first)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"{")
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"}")
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.separate(writer, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

/// Returns Python's `repr` of a float: the shortest digits that read back as the same number, with
/// an exponent (signed, at least two digits) below 1e-4 and from 1e16 on.
fn float_repr(value: f64) -> String {
    let digits = shortest_digits(value);
    let (mantissa, exponent) = digits.split_once('e').expect("Rust writes an exponent for {:e} of finite numbers");
    let exponent: i32 = exponent.parse().expect("Rust writes a decimal exponent");
    if !(-4..16).contains(&exponent) {
        return format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs());
    }
    let decimals = (mantissa.bytes().filter(u8::is_ascii_digit).count() as i32 - 1 - exponent).max(1) as usize;
    format!("{value:.decimals$}")
}

/// Returns `value` as `d.ddde±x` with the fewest digits that read back. Of two equally near
/// candidates Rust takes the upper and Python the even one, as rounding to that many digits does
/// (but at a power of two the nearest may not read back).
fn shortest_digits(value: f64) -> String {
    let shortest = format!("{value:e}");
    let mantissa = shortest.split('e').next().unwrap_or(&shortest);
    let decimals = mantissa.bytes().filter(u8::is_ascii_digit).count() - 1;
    let nearest = format!("{value:.decimals$e}");
    if nearest.parse() == Ok(value) { nearest } else { shortest }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn floats_are_written_as_python_repr_writes_them() {
        for (value, expected) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (0.1, "0.1"),
            (-2.5, "-2.5"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (0.000123, "0.000123"),
            (1.5e-7, "1.5e-07"),
            (123456789012345680.0, "1.2345678901234568e+17"),
            (9999999999999998.0, "9999999999999998.0"),
            (1e16, "1e+16"),
            (1e22, "1e+22"),
            (1.7976931348623157e308, "1.7976931348623157e+308"),
            (5e-324, "5e-324"),
            (1.0 / 3.0, "0.3333333333333333"),
            (4452712482368009.0 / 4.0, "1113178120592002.2"),
            (2f64.powi(-44), "5.684341886080802e-14"),
        ] {
            assert_eq!(dumps(&json!(value)), expected);
        }
    }

    #[test]
    fn everything_outside_printable_ascii_is_escaped_as_utf16() {
        assert_eq!(dumps(&json!("é\u{7f}/\"\\\n\u{1}𝔸")), r#""\u00e9\u007f/\"\\\n\u0001\ud835\udd38""#);
        assert_eq!(dumps_indent(&json!("é\u{7f}\t𝔸"), 4, false), "\"é\u{7f}\\t𝔸\"");
        assert_eq!(dumps(&json!({"ключ": 1})), r#"{"\u043a\u043b\u044e\u0447": 1}"#);
    }

    #[test]
    fn one_line_output_has_pythons_separators_and_keeps_the_key_order() {
        let value = json!({"b": [1, [], {}, null, true], "a": {"x": {}, "y": u64::MAX}});
        assert_eq!(dumps(&value), r#"{"b": [1, [], {}, null, true], "a": {"x": {}, "y": 18446744073709551615}}"#);
    }

    #[test]
    fn indented_output_breaks_lines_in_filled_containers_only() {
        let value = json!({"a": [[], [[]], {"b": {}}], "c": 1});
        let expected =
            "{\n  \"a\": [\n    [],\n    [\n      []\n    ],\n    {\n      \"b\": {}\n    }\n  ],\n  \"c\": 1\n}";
        assert_eq!(dumps_indent(&value, 2, true), expected);
    }
}
