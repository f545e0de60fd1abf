//! Normalises text: one spelling for each symbol, without LaTeX spacing and wrappers.

use super::lex::TEXT_COMMANDS;
use super::line_breaks::mark_part_breaks;
use super::unicode::to_latex;

/// Rewrites `text` in ASCII and LaTeX commands (words in other scripts stay) and drops what carries
/// no meaning. Only line breaks between parts of an answer remain.
pub fn normalize(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii() && !matches!(byte, b'\\' | b'$' | b'~' | b'`' | b'*' | b'{' | b'\t'..=b'\r');
    if text.bytes().all(plain) {
        return text.trim().to_owned();
    }
    let text = without_separators(&mark_part_breaks(&to_latex(&single_backslashes(text))));
    let mut result = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(character) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix('\\') {
            rest = command(after, &mut result);
        } else if let Some(after) = rest.strip_prefix("**") {
            // `**` is Python's power or Markdown's bold.
            let power = result.ends_with(|c: char| c.is_alphanumeric() || c == ')')
                && after.starts_with(|c: char| c.is_alphanumeric() || c == '(' || c == '-');
            result.push_str(if power { "^" } else { " " });
            rest = after;
        } else {
            match character {
                '`' => {
                    // Quotation marks of LaTeX and Markdown.
                    let closed = rest.trim_end_matches(['.', ' ', '`', '\'']).len() + 1 < rest.len();
                    result.push(if result.trim().is_empty() && closed { '"' } else { ' ' });
                }
                '~' | '\r' | '\t' => result.push(' '),
                // A colon without spaces around it.
                '{' if rest.starts_with("{:}") => {
                    result.push(':');
                    rest = &rest[2..];
                }
                // An empty group in front of an exponent.
                '{' if rest.starts_with("{}^") => rest = &rest[1..],
                other => result.push(other),
            }
            rest = &rest[rest.chars().next().map_or(0, char::len_utf8)..];
        }
    }
    dollars(result.trim())
}

/// Rewrites the command after a backslash; returns the remaining text.
fn command<'a>(after: &'a str, result: &mut String) -> &'a str {
    let name_length = after.bytes().take_while(u8::is_ascii_alphabetic).count();
    let (name, rest) = after.split_at(name_length);
    match name {
        "" => {
            let Some(symbol) = after.chars().next() else { return after };
            match symbol {
                '!' | ',' | ';' | ':' | ' ' | '\n' | '(' | ')' | '[' | ']' => result.push(' '),
                '%' => result.push('%'),
                '$' => result.push_str("\\$"),
                '&' | '#' => result.push(symbol),
                '|' => result.push_str("\\|"),
                '\\' => result.push_str("\\\\"),
                '{' | '}' => {
                    result.push('\\');
                    result.push(symbol);
                }
                '_' => result.push('_'),
                other => result.push(other),
            }
            return &after[symbol.len_utf8()..];
        }
        // Sizes, styles, boxes and commands that only typeset a number or formula carry no meaning.
        "left" | "right" => return rest.strip_prefix('.').unwrap_or(rest),
        "big" | "Big" | "bigg" | "Bigg" | "bigl" | "bigr" | "Bigl" | "Bigr" | "biggl" | "biggr" | "middle"
        | "displaystyle" | "textstyle" | "limits" | "nolimits" | "bf" | "rm" | "it" | "cal" | "boldsymbol"
        | "mathstrut" | "strut" | "phantom" | "hfill" | "centering" | "allowbreak" | "boxed" | "fbox" | "number"
        | "num" | "ce" => {}
        "quad" | "qquad" | "space" | "thinspace" | "enspace" | "newline" | "hspace" | "vspace" | "par" => {
            result.push(' ');
            // Drop the length of the space.
            if (name == "hspace" || name == "vspace")
                && let Some(end) = rest.strip_prefix('{').and_then(|inside| inside.find('}'))
            {
                return &rest[end + 2..];
            }
        }
        "dfrac" | "tfrac" | "cfrac" => result.push_str("\\frac"),
        "dbinom" | "tbinom" => result.push_str("\\binom"),
        "lt" => result.push('<'),
        "gt" => result.push('>'),
        "le" | "leq" | "leqslant" | "leqq" => result.push_str("<="),
        "ge" | "geq" | "geqslant" | "geqq" => result.push_str(">="),
        "ne" | "neq" => result.push_str("!="),
        "times" | "cdot" | "ast" | "star" => result.push('*'),
        "div" => result.push('/'),
        "lbrace" => result.push_str("\\{"),
        "rbrace" => result.push_str("\\}"),
        "lbrack" => result.push('['),
        "rbrack" => result.push(']'),
        "lvert" | "rvert" | "vert" | "mid" => result.push('|'),
        "prime" => result.push('\''),
        "colon" => result.push(':'),
        "degree" => result.push_str("^\\circ "),
        "percent" => result.push('%'),
        "unit" | "si" => result.push_str("\\text"),
        "quantity" | "qty" | "SI" => return quantity(rest, result),
        _ if TEXT_COMMANDS.contains(&name)
            && let Some((inside, after)) = without_face(rest) =>
        {
            result.push_str(inside);
            return after;
        }
        "overrightarrow" => result.push_str("\\vec"),
        "varnothing" => result.push_str("\\emptyset"),
        "vartriangle" => result.push_str("\\triangle"),
        "langle" => result.push('('),
        "rangle" => result.push(')'),
        "land" | "wedge" => result.push_str("\\text{ and }"),
        "lor" | "vee" => result.push_str("\\text{ or }"),
        _ => {
            result.push('\\');
            result.push_str(name);
            // Keep the name separate from the next character.
            if rest.starts_with(|c: char| c.is_ascii_alphanumeric()) {
                result.push(' ');
            }
        }
    }
    rest
}

/// Rewrites a number and its unit, each in braces.
fn quantity<'a>(rest: &'a str, result: &mut String) -> &'a str {
    if let Some((number, after)) = rest.strip_prefix('{').and_then(|inside| inside.split_once('}')) {
        result.push_str(number);
        result.push_str("\\text");
        return after;
    }
    rest
}

/// Returns the argument of a text command and the text after it, if the argument is a number or a
/// symbol in another typeface.
fn without_face(rest: &str) -> Option<(&str, &str)> {
    let Some(inside) = rest.trim_start().strip_prefix('{') else { return Some(("", rest)) };
    let (inside, after) = inside.split_once('}')?;
    let sign = inside.strip_prefix('\\').is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_alphabetic()));
    let number =
        inside.contains(char::is_numeric) && !inside.contains(|c: char| c.is_alphabetic() || "\\{".contains(c));
    (sign || number).then_some((inside, after))
}

/// Drops paired dollar signs, which delimit mathematics; a single or escaped one is a currency.
fn dollars(text: &str) -> String {
    let escaped = text.matches("\\$").count();
    let plain = text.matches('$').count() - escaped;
    let marked = text.replace("\\$", "\u{1}");
    // An odd count of `$` and `$$` means that one is not a delimiter.
    let marked = if plain % 2 == 1 { marked.replace('$', "\u{1}") } else { marked.replace('$', " ") };
    marked.replace('\u{1}', "\\$ ").trim().to_owned()
}

/// Undoes doubled escapes (`\\frac`), except the row breaks of a matrix.
fn single_backslashes(text: &str) -> String {
    if !text.contains("\\\\") || text.contains("\\begin") && !text.contains("\\\\begin") {
        return text.to_owned();
    }
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("\\\\") {
        let run = rest[at..].bytes().take_while(|byte| *byte == b'\\').count();
        let after = &rest[at + run..];
        result.push_str(&rest[..at]);
        // A letter starts a command, a bracket a delimiter, a comma or semicolon a space.
        let escape = after.starts_with(|c: char| c.is_ascii_alphabetic() || "{}()[],;!%$ ".contains(c));
        result.push_str(if escape { "\\" } else { "\\\\" });
        rest = after;
    }
    result.push_str(rest);
    // A backslash at the end starts nothing.
    while result.ends_with('\\') {
        result.pop();
    }
    result
}

/// Joins digit groups: `1{,}000`, `1,\!000`, `1\,000`, `14 {, }916`.
fn without_separators(text: &str) -> String {
    const SEPARATORS: [&str; 6] = ["{,}", "{, }", ",\\!", "\\,", "\\!", ",{\\!}"];
    if !SEPARATORS.iter().any(|separator| text.contains(separator)) {
        return text.trim_end_matches('\\').to_owned();
    }
    let mut result = String::with_capacity(text.len());
    let mut rest = text.trim_end_matches('\\');
    'next: while let Some(character) = rest.chars().next() {
        let space_before = rest.trim_start_matches(' ');
        for separator in SEPARATORS {
            if let Some(after) = space_before.strip_prefix(separator) {
                let after = after.trim_start_matches([' ', '!']).trim_start_matches("\\!").trim_start();
                let digits = after.bytes().take_while(u8::is_ascii_digit).count();
                if digits == 3 && result.ends_with(|c: char| c.is_ascii_digit()) {
                    rest = after;
                    continue 'next;
                }
            }
        }
        result.push(character);
        rest = &rest[character.len_utf8()..];
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_symbol_has_one_spelling() {
        for (text, expected) in [
            (r"$\dfrac{1}{2}$", r"\frac{1}{2}"),
            (r"\left( 3, \tfrac{\pi}{2} \right)", r"( 3, \frac{\pi}{2} )"),
            ("３＋４＝７", "3+4=7"),
            ("x² − 1", "x^{2} - 1"),
            ("a₁₂", "a_{12}"),
            ("2×3÷4", "2*3/4"),
            ("√2", r"\sqrt 2"),
            (r"1{,}000", "1000"),
            (r"32,\! 349", "32349"),
            (r"14 {, }916", "14916"),
            (r"32, 349", "32, 349"),
            (r"\\frac{1}{2}", r"\frac{1}{2}"),
            (r"185\", "185"),
            ("$$ \n 9 \n $$", "9"),
            ("**3**", "3"),
            ("2**3", "2^3"),
            (r"\$5", r"\$ 5"),
            (r"x \le 5", "x <= 5"),
            (r"90^\circ", r"90^\circ"),
            ("90°", r"90^\circ"),
            (r"30${}^\circ $", r"30 ^\circ"),
            (r"\frac{\text{24}}{5}", r"\frac{24}{5}"),
            (r"3\mathrm \pi", r"3 \pi"),
            (r"\text{ cm}", r"\text{ cm}"),
            (r"\number{24}", "{24}"),
            (r"\quantity{24}{cm^{2}}", r"24\text{cm^{2}}"),
        ] {
            assert_eq!(normalize(text).trim(), expected, "{text}");
        }
    }
}
