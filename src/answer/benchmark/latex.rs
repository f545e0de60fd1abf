//! Evaluates numeric LaTeX as MATH-Vision's checker does: `eval(str(latex2sympy(text)))`.
//!
//! It evaluates the longest valid prefix and ignores the rest; a colon divides, adjacent factors
//! multiply, dollars and spacing are skipped. Symbols, units, words and relations have no value,
//! nor have the non-numeric constructs of `latex2sympy` (sums, integrals, matrices).

/// Maximum nesting depth.
const MAX_DEPTH: usize = 48;

/// Maximum length of an expression, in bytes.
const MAX_BYTES: usize = 4096;

/// A number, and whether Python may hold it as an integer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Value {
    pub number: f64,
    /// Whether no decimal point and no function is involved, so that a whole result is an integer.
    pub exact: bool,
}

impl Value {
    fn new(number: f64, exact: bool) -> Option<Self> {
        number.is_finite().then_some(Self { number, exact })
    }

    fn map(self, exact: bool, function: impl Fn(f64) -> f64) -> Option<Self> {
        Self::new(function(self.number), self.exact && exact)
    }

    fn with(self, other: Self, function: impl Fn(f64, f64) -> f64) -> Option<Self> {
        Self::new(function(self.number, other.number), self.exact && other.exact)
    }

    /// Returns whether Python holds the value as an integer, which it prints without a decimal
    /// point.
    pub fn is_integer(self) -> bool {
        self.exact && (self.number - self.number.round()).abs() < 1e-9
    }
}

/// Evaluates the expression that `text` starts with.
pub(super) fn value(text: &str) -> Option<Value> {
    if text.len() > MAX_BYTES {
        return None;
    }
    let mut reader = Reader { rest: text, depth: 0 };
    let value = reader.sum()?;
    // A relation has a truth value; the other tokens are parse errors.
    let invalidating =
        ["=", "<", ">", "\\le", "\\ge", "\\lt", "\\gt", "\\neq", "\\approx", ",", "\\)", "\\]", "%", "√"];
    (!invalidating.iter().any(|sign| reader.peek().starts_with(sign))).then_some(value)
}

struct Reader<'a> {
    rest: &'a str,
    depth: usize,
}

impl<'a> Reader<'a> {
    /// Returns the remaining text after any spacing.
    fn peek(&mut self) -> &'a str {
        const SKIPPED: [&str; 11] =
            ["\\left", "\\right", "\\displaystyle", "\\quad", "\\qquad", "\\,", "\\;", "\\:", "\\ ", "\\$", "$"];
        loop {
            let trimmed = self.rest.trim_start();
            let skipped = SKIPPED.iter().find_map(|word| {
                let rest = trimmed.strip_prefix(word)?;
                let longer = word.ends_with(char::is_alphabetic) && rest.starts_with(|c: char| c.is_ascii_alphabetic());
                (!longer).then_some(rest)
            });
            self.rest = skipped.unwrap_or(trimmed);
            if skipped.is_none() {
                return trimmed;
            }
        }
    }

    /// Consumes a sign or a command.
    fn take(&mut self, token: &str) -> bool {
        let Some(rest) = self.peek().strip_prefix(token) else { return false };
        if token.starts_with('\\') && token.len() > 2 && rest.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return false;
        }
        self.rest = rest;
        true
    }

    fn take_any(&mut self, tokens: &[&str]) -> bool {
        tokens.iter().any(|token| self.take(token))
    }

    fn sum(&mut self) -> Option<Value> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return None;
        }
        let mut total = self.product()?;
        loop {
            if self.take("+") {
                total = total.with(self.product()?, |a, b| a + b)?;
            } else if self.take_any(&["-", "−"]) {
                total = total.with(self.product()?, |a, b| a - b)?;
            } else {
                self.depth -= 1;
                return Some(total);
            }
        }
    }

    fn product(&mut self) -> Option<Value> {
        let mut total = self.signed()?;
        loop {
            if self.take_any(&["*", "\\cdot", "\\times", "×", "·"]) {
                total = total.with(self.signed()?, |a, b| a * b)?;
            } else if self.take_any(&["/", ":", "\\div", "÷"]) {
                total = total.with(self.signed()?, |a, b| a / b)?;
            } else if self.starts_factor() {
                total = total.with(self.power()?, |a, b| a * b)?;
            } else {
                return Some(total);
            }
        }
    }

    /// Returns whether a factor follows without a sign. A letter or an unknown command is also a
    /// factor, without a value.
    fn starts_factor(&mut self) -> bool {
        const NO_FACTORS: [&str; 9] = ["\\]", "\\)", "\\}", "\\le", "\\ge", "\\lt", "\\gt", "\\neq", "\\approx"];
        let next = self.peek();
        let decimal = next.strip_prefix('.').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        decimal
            || next.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '(' | '[' | '{' | '\\' | 'π'))
                && !NO_FACTORS.iter().any(|word| next.starts_with(word))
    }

    fn signed(&mut self) -> Option<Value> {
        let mut negative = false;
        loop {
            if self.take_any(&["-", "−"]) {
                negative = !negative;
            } else if !self.take("+") {
                break;
            }
        }
        let value = self.power()?;
        if negative { value.map(true, |number| -number) } else { Some(value) }
    }

    /// Reads a factor with its exponents, factorials and percent signs.
    fn power(&mut self) -> Option<Value> {
        let mut value = self.atom()?;
        loop {
            if self.take_any(&["^", "**"]) {
                let exponent = self.argument()?;
                value = value.with(exponent, f64::powf)?;
            } else if self.take("!") {
                value = factorial(value)?;
            } else if self.take("\\%") {
                value = value.map(true, |number| number / 100.0)?;
            } else {
                return Some(value);
            }
        }
    }

    /// Reads the operand of a command or an exponent: a group in braces, or the next digit or atom.
    fn argument(&mut self) -> Option<Value> {
        let next = self.peek();
        match next.bytes().next()? {
            digit @ b'0'..=b'9' => {
                self.rest = &next[1..];
                Value::new(f64::from(digit - b'0'), true)
            }
            b'-' => self.signed(),
            _ => self.atom(),
        }
    }

    fn atom(&mut self) -> Option<Value> {
        for (open, close) in [("(", ")"), ("[", "]"), ("{", "}"), ("\\{", "\\}")] {
            if self.take(open) {
                let value = self.sum()?;
                return self.take(close).then_some(value);
            }
        }
        if self.take("|") {
            let value = self.sum()?.map(true, f64::abs);
            return if self.take("|") { value } else { None };
        }
        if self.take_any(&["\\pi", "π"]) {
            return Value::new(std::f64::consts::PI, false);
        }
        if self.take("\\tau") {
            return Value::new(std::f64::consts::TAU, false);
        }
        if self.take_any(&["\\frac", "\\dfrac", "\\tfrac", "\\cfrac"]) {
            let top = self.nested(Self::argument)?;
            let bottom = self.nested(Self::argument)?;
            return top.with(bottom, |a, b| a / b);
        }
        if self.take("\\sqrt") {
            return self.root();
        }
        if self.peek().starts_with('\\') {
            return self.function();
        }
        self.number()
    }

    /// Reads an operand that may contain another without a bracket, `\frac\frac…`, within the depth
    /// limit.
    fn nested(&mut self, read: impl Fn(&mut Self) -> Option<Value>) -> Option<Value> {
        self.depth += 1;
        let value = if self.depth > MAX_DEPTH { None } else { read(self) };
        self.depth -= 1;
        value
    }

    fn root(&mut self) -> Option<Value> {
        let degree = if self.take("[") {
            let degree = self.sum()?;
            if !self.take("]") {
                return None;
            }
            degree.number
        } else {
            2.0
        };
        let value = self.nested(Self::argument)?;
        if value.number < 0.0 {
            return None;
        }
        #[expect(clippy::float_cmp, reason = "a degree is written out and exact")]
        let root = if degree == 2.0 { value.number.sqrt() } else { value.number.powf(degree.recip()) };
        Value::new(root, value.exact && root.fract() == 0.0)
    }

    fn function(&mut self) -> Option<Value> {
        type Function = fn(f64) -> f64;
        // Name, function, and the inverse that `^{-1}` after the name denotes.
        const FUNCTIONS: [(&str, Function, Option<Function>); 10] = [
            ("\\arcsin", f64::asin, None),
            ("\\arccos", f64::acos, None),
            ("\\arctan", f64::atan, None),
            ("\\sin", f64::sin, Some(f64::asin)),
            ("\\cos", f64::cos, Some(f64::acos)),
            ("\\tan", f64::tan, Some(f64::atan)),
            ("\\cot", |x| x.tan().recip(), None),
            ("\\ln", f64::ln, None),
            ("\\log", f64::log10, None),
            ("\\exp", f64::exp, None),
        ];
        let (_, function, inverse) = FUNCTIONS.iter().find(|(name, ..)| self.take(name))?;
        let exponent = if self.take("^") { Some(self.argument()?.number) } else { None };
        let argument = self.nested(Self::applied)?;
        match (exponent, inverse) {
            (Some(-1.0), Some(inverse)) => argument.map(false, inverse),
            (Some(exponent), _) => argument.map(false, |x| function(x).powf(exponent)),
            (None, _) => argument.map(false, function),
        }
    }

    /// Reads the argument of a function without brackets: the factors up to the next sign.
    fn applied(&mut self) -> Option<Value> {
        let mut total = self.power()?;
        while self.starts_factor() {
            total = total.with(self.power()?, |a, b| a * b)?;
        }
        Some(total)
    }

    /// Reads a decimal number, possibly with commas between thousands.
    fn number(&mut self) -> Option<Value> {
        let text = self.peek();
        let bytes = text.as_bytes();
        let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let mut end = digits(0);
        while bytes.get(end) == Some(&b',') && digits(end + 1) >= 3 && end > 0 {
            end += 4;
        }
        let mut exact = true;
        if bytes.get(end) == Some(&b'.') && digits(end + 1) > 0 {
            end += 1 + digits(end + 1);
            exact = false;
        }
        if end == 0 {
            return None;
        }
        self.rest = &text[end..];
        Value::new(text[..end].replace(',', "").parse().ok()?, exact)
    }
}

fn factorial(value: Value) -> Option<Value> {
    let whole = value.is_integer() && (0.0..=170.0).contains(&value.number);
    whole.then(|| (1..=value.number as u32).map(f64::from).product()).and_then(|product| Value::new(product, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn is(text: &str, expected: f64) {
        let found = value(text).unwrap_or_else(|| panic!("{text} has no value")).number;
        assert!((found - expected).abs() < 1e-9, "{text}: {found}");
    }

    #[test]
    fn numeric_latex_has_a_value() {
        is(r"$\frac{3}{4}$", 0.75);
        is(r"\frac34", 0.75);
        is(r"-2\sqrt{9}+1", -5.0);
        is(r"\sqrt[3]{27}", 3.0);
        is(r"7 \cdot 2^{3}", 56.0);
        is(r"3:4", 0.75);
        is(r"12(\pi-3)", 12.0 * (std::f64::consts::PI - 3.0));
        is(r"\left(1+\frac{1}{2}\right)^2", 2.25);
        is(r"\sin^2 1 + \cos^2 1", 1.0);
        is(r"\tan^{-1}(1)", std::f64::consts::FRAC_PI_4);
        is("5!", 120.0);
        is("40\\%", 0.4);
        is("12,345.5", 12345.5);
        is("-3^2", -9.0);
    }

    #[test]
    fn text_after_a_valid_prefix_is_ignored() {
        is(r"\frac{7}{2}}.sotheansweris", 3.5);
        is("6.it is", 6.0);
    }

    #[test]
    fn symbols_relations_and_fragments_have_no_value() {
        for text in [
            "",
            "x",
            "3cm",
            "2e",
            "3=3",
            "5+",
            "(2",
            r"\frac{1}{0}",
            r"\sqrt{-4}",
            r"\mathrm{cm}",
            "3^",
            "9^{9^{9}}",
            "4,5",
            "30%",
            "2\\)",
        ] {
            assert_eq!(value(text), None, "{text}");
        }
    }

    #[test]
    fn hostile_expressions_end_early() {
        for piece in ["(", "{", "\\frac", "\\sqrt", "-", "\\sin", "2^", "!"] {
            assert_eq!(value(&piece.repeat(1000)), None, "{piece}");
            assert_eq!(value(&piece.repeat(100_000)), None, "{piece}");
        }
    }
}
