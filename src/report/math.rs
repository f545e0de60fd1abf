//! Formulas of a text as `MathML`.
//!
//! Formulas are in `$…$`, `$$…$$`, `\(…\)` or `\[…\]`. What cannot be converted stays text. The converter writes some characters
//! of its input as they are, so its output is rebuilt from the elements and attributes of `ELEMENTS` and `ATTRIBUTES`; all
//! other markup in it becomes text.
//!
//! ```
//! use mmprm::report::math::{Part, mathml, split};
//! let parts = split(r"Half of $x$ is \(\frac{x}{2}\), for $5.");
//! assert_eq!(parts[1], Part::Formula { source: "x", block: false });
//! assert_eq!(parts.last(), Some(&Part::Text(", for $5.")));
//! assert_eq!(mathml("x^2", false).unwrap(), r#"<math display="inline"><msup><mi>x</mi><mn>2</mn></msup></math>"#);
//! assert_eq!(mathml(r"\frac{1", false), None);
//! ```

use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pulldown_latex::config::DisplayMode;
use pulldown_latex::{Parser, RenderConfig, Storage, push_mathml};

/// Maximum length of a formula in bytes.
const MAX_SOURCE: usize = 2000;

/// Maximum number of open groups in a formula.
const MAX_DEPTH: usize = 64;

/// Maximum bytes of `MathML` on a page; formulas beyond are shown as text.
const MAX_TOTAL: usize = 12_000_000;

/// Commands that define others, which no solution needs.
const DEFINITIONS: [&str; 8] =
    ["\\def", "\\gdef", "\\edef", "\\xdef", "\\let", "\\futurelet", "\\newcommand", "\\renewcommand"];

/// The elements of `MathML` that a page may have.
const ELEMENTS: [&str; 27] = [
    "math",
    "mrow",
    "mi",
    "mn",
    "mo",
    "mtext",
    "mspace",
    "mfrac",
    "msqrt",
    "mroot",
    "msub",
    "msup",
    "msubsup",
    "munder",
    "mover",
    "munderover",
    "mmultiscripts",
    "mprescripts",
    "none",
    "mtable",
    "mtr",
    "mtd",
    "mpadded",
    "mphantom",
    "menclose",
    "mstyle",
    "ms",
];

/// Their attributes that a page may have; others are left out.
const ATTRIBUTES: [&str; 22] = [
    "display",
    "displaystyle",
    "scriptlevel",
    "stretchy",
    "symmetric",
    "mathvariant",
    "linethickness",
    "width",
    "height",
    "depth",
    "minsize",
    "maxsize",
    "columnalign",
    "accent",
    "accentunder",
    "fence",
    "separator",
    "form",
    "lspace",
    "rspace",
    "movablelimits",
    "class",
];

/// A part of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part<'a> {
    /// Plain text.
    Text(&'a str),
    /// A formula, without its delimiters.
    Formula {
        /// LaTeX.
        source: &'a str,
        /// Whether it stands on a line of its own.
        block: bool,
    },
}

/// Divides a text into plain text and formulas.
pub fn split(text: &str) -> Vec<Part<'_>> {
    let (mut parts, mut plain, mut at) = (Vec::new(), 0, 0);
    while let Some(found) = text[at..].find(['$', '\\']) {
        let open = at + found;
        match formula(text, open) {
            Some((source, block, end)) => {
                if plain < open {
                    parts.push(Part::Text(&text[plain..open]));
                }
                parts.push(Part::Formula { source, block });
                (plain, at) = (end, end);
            }
            // An escaped dollar is passed over whole.
            None => at = open + if text[open..].starts_with("\\$") { 2 } else { 1 },
        }
    }
    if plain < text.len() {
        parts.push(Part::Text(&text[plain..]));
    }
    parts
}

/// The formula that begins at `open`: its source, whether it is a block, and where it ends.
fn formula(text: &str, open: usize) -> Option<(&str, bool, usize)> {
    // Longer formulas are not converted; looking further for the end of each would take quadratic time.
    let mut end = text.len().min(open + MAX_SOURCE + 4);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let rest = &text[open..end];
    for (opening, closing, block) in [("\\(", "\\)", false), ("\\[", "\\]", true), ("$$", "$$", false)] {
        if let Some(inner) = rest.strip_prefix(opening) {
            let length = inner.find(closing)?;
            let source = inner[..length].trim();
            let is_one = !source.is_empty() && !source.contains("\n\n");
            return is_one.then_some((source, block, open + opening.len() + length + closing.len()));
        }
    }
    let inner = rest.strip_prefix('$')?;
    let length = inner.match_indices('$').map(|(at, _)| at).find(|&at| !inner[..at].ends_with('\\'))?;
    let source = &inner[..length];
    // Amounts such as "$5 or $6" are no formulas.
    let is_tight = !source.starts_with(char::is_whitespace)
        && !source.ends_with(char::is_whitespace)
        && !inner[length + 1..].starts_with(|next: char| next.is_ascii_digit());
    let is_formula = is_tight || source.contains(['\\', '^', '_', '{', '=']);
    let is_one = !source.trim().is_empty() && !source.contains("\n\n");
    (is_one && is_formula).then(|| (source.trim(), false, open + length + 2))
}

/// Converts a formula; `None` if it cannot be.
pub fn mathml(source: &str, block: bool) -> Option<String> {
    if source.len() > MAX_SOURCE {
        return None;
    }
    converted(source, block).or_else(|| converted(&respelled(source)?, block))
}

/// Commands that the converter does not know, and the same in others.
const SPELLINGS: [(&str, &str); 5] = [
    ("\\number", ""),
    ("\\quantity", ""),
    ("\\unit", "\\mathrm"),
    ("\\degreeCelsius", "{}^\\circ C"),
    ("\\parallelogram", "\u{25b1}"),
];

/// A formula in commands that the converter knows; `None` if nothing is to be changed.
fn respelled(source: &str) -> Option<String> {
    let mut text = source.to_owned();
    for (command, instead) in SPELLINGS {
        while let Some(at) = position(&text, command) {
            text.replace_range(at..at + command.len(), instead);
        }
    }
    while let Some(at) = position(&text, "\\over") {
        // The group around it, or the whole formula.
        let is_open = |depth: &mut i32, up: char, character: char| {
            *depth += i32::from(character == up) - i32::from("{}".contains(character) && character != up);
            *depth > 0
        };
        let (mut before, mut after) = (0, 0);
        let start = text[..at].char_indices().rev().find(|(_, it)| is_open(&mut before, '{', *it));
        let end = text[at..].char_indices().find(|(_, it)| is_open(&mut after, '}', *it));
        let (start, end) = (start.map_or(0, |(start, _)| start + 1), end.map_or(text.len(), |(end, _)| at + end));
        let (upper, lower) = (text[start..at].trim(), text[at + "\\over".len()..end].trim());
        text = format!("{}\\frac{{{upper}}}{{{lower}}}{}", &text[..start], &text[end..]);
    }
    (text != source).then_some(text)
}

/// Where a command is in a text.
fn position(text: &str, command: &str) -> Option<usize> {
    let is_whole = |at: &usize| !text[at + command.len()..].starts_with(|next: char| next.is_ascii_alphabetic());
    text.match_indices(command).map(|(at, _)| at).find(is_whole)
}

fn converted(source: &str, block: bool) -> Option<String> {
    let defines = DEFINITIONS.iter().any(|command| source.contains(command));
    if source.len() > MAX_SOURCE || defines || depth(source) > MAX_DEPTH {
        return None;
    }
    // The converter panics on some input that it does not expect.
    let converted = catch_unwind(AssertUnwindSafe(|| {
        let storage = Storage::new();
        let events: Vec<_> = Parser::new(source, &storage).collect::<Result<_, _>>().ok()?;
        let display_mode = if block { DisplayMode::Block } else { DisplayMode::Inline };
        let config = RenderConfig { display_mode, ..RenderConfig::default() };
        let mut markup = String::new();
        push_mathml(&mut markup, events.into_iter().map(Ok::<_, fmt::Error>), config).ok()?;
        Some(markup)
    }));
    rebuilt(&converted.ok()??)
}

/// An upper bound of the nesting of a formula's groups.
fn depth(source: &str) -> usize {
    let (mut open, mut deepest) = (0_usize, 0);
    for character in source.chars() {
        match character {
            '{' => open += 1,
            '}' => open = open.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(open);
    }
    let count = |command: &str| source.matches(command).count();
    deepest + count("\\left") + count("\\begin") + count("\\sqrt").saturating_sub(count("\\sqrt{"))
}

/// The same markup with no elements and attributes but those of `MathML` that a page may have; `None` if its elements are not
/// nested within one `<math>`.
fn rebuilt(markup: &str) -> Option<String> {
    let mut safe = String::with_capacity(markup.len());
    let mut open: Vec<&str> = Vec::new();
    let (mut at, mut is_done) = (0, false);
    while let Some(next) = markup[at..].chars().next() {
        let tag = (next == '<').then(|| Tag::read(&markup[at..])).flatten();
        match tag {
            Some(tag) if !is_done && tag.fits(&open) => {
                if tag.closes {
                    open.pop();
                } else if !tag.is_empty {
                    open.push(tag.name);
                }
                tag.write(&mut safe);
                is_done = open.is_empty();
                at += tag.length;
            }
            _ => {
                if open.is_empty() {
                    return None;
                }
                at += next.len_utf8();
                match next {
                    '<' => safe.push_str("&lt;"),
                    '>' => safe.push_str("&gt;"),
                    '"' => safe.push_str("&quot;"),
                    '&' => match ["lt;", "gt;", "amp;"].iter().find(|name| markup[at..].starts_with(**name)) {
                        Some(name) => {
                            safe.push('&');
                            safe.push_str(name);
                            at += name.len();
                        }
                        None => safe.push_str("&amp;"),
                    },
                    control if control.is_control() => safe.push('\u{fffd}'),
                    other => safe.push(other),
                }
            }
        }
    }
    is_done.then_some(safe)
}

/// A tag with a known element and well-formed attributes.
struct Tag<'a> {
    name: &'a str,
    attributes: Vec<(&'a str, &'a str)>,
    closes: bool,
    is_empty: bool,
    length: usize,
}

impl<'a> Tag<'a> {
    /// Reads the tag at the start of `markup`.
    fn read(markup: &'a str) -> Option<Self> {
        let rest = markup.strip_prefix('<')?;
        let (closes, rest) = rest.strip_prefix('/').map_or((false, rest), |rest| (true, rest));
        let (name, mut rest) = word(rest)?;
        if !ELEMENTS.contains(&name) {
            return None;
        }
        let mut attributes = Vec::new();
        while let Some((key, after)) = rest.strip_prefix(' ').and_then(|rest| word(rest.trim_start())) {
            let (value, after) = after.strip_prefix("=\"")?.split_once('"')?;
            attributes.push((key, value));
            rest = after;
        }
        let rest = rest.trim_start();
        let (is_empty, rest) = rest.strip_prefix('/').map_or((false, rest), |rest| (true, rest));
        let rest = rest.strip_prefix('>')?;
        let is_plain = !closes || attributes.is_empty() && !is_empty;
        is_plain.then_some(Self { name, attributes, closes, is_empty, length: markup.len() - rest.len() })
    }

    /// Whether the tag may stand where the elements `open` are open.
    fn fits(&self, open: &[&str]) -> bool {
        if self.closes { open.last() == Some(&self.name) } else { (self.name == "math") == open.is_empty() }
    }

    fn write(&self, safe: &mut String) {
        safe.push_str(if self.closes { "</" } else { "<" });
        safe.push_str(self.name);
        let is_harmless = |value: &str| value.chars().all(|it| it.is_ascii_alphanumeric() || " .%+-".contains(it));
        for (key, value) in &self.attributes {
            if ATTRIBUTES.contains(key) && is_harmless(value) {
                safe.extend([" ", *key, "=\"", *value, "\""]);
            }
        }
        safe.push_str(if self.is_empty { "/>" } else { ">" });
    }
}

/// The lower-case word at the start of `text`, and the rest.
fn word(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|character: char| !character.is_ascii_lowercase()).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// The formulas of a page, each converted once.
#[derive(Debug, Default)]
pub struct Formulas {
    known: HashMap<(String, bool), Option<usize>>,
    markup: Vec<String>,
    bytes: usize,
    /// Formulas that could not be converted, or came after `MAX_TOTAL` bytes.
    pub as_text: usize,
}

impl Formulas {
    /// The index of a formula's `MathML` in [`markup`](Self::markup); `None` if it is to be shown as text.
    pub fn index(&mut self, source: &str, block: bool) -> Option<usize> {
        if let Some(known) = self.known.get(&(source.to_owned(), block)) {
            return *known;
        }
        let converted = if self.bytes < MAX_TOTAL { mathml(source, block) } else { None };
        let index = converted.map(|markup| {
            self.bytes += markup.len();
            self.markup.push(markup);
            self.markup.len() - 1
        });
        self.as_text += usize::from(index.is_none());
        self.known.insert((source.to_owned(), block), index);
        index
    }

    /// The `MathML` of all formulas.
    pub fn markup(&self) -> &[String] {
        &self.markup
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(text: &str) -> Vec<&str> {
        let source = |part| match part {
            Part::Formula { source, .. } => Some(source),
            Part::Text(_) => None,
        };
        split(text).into_iter().filter_map(source).collect()
    }

    #[test]
    fn formulas_are_found_and_amounts_are_not() {
        assert_eq!(sources(r"$x$ and $$y^2$$, \(z\) or \[w\]"), ["x", "y^2", "z", "w"]);
        assert_eq!(sources(r"It costs $5 or $6, even \$7"), [""; 0]);
        assert_eq!(sources(r"$a$ costs $5, not $6"), ["a"]);
        assert_eq!(sources("$ x = 1 $ $$$$ $ $ \\(\\)"), ["x = 1"]);
        assert_eq!(sources("$unclosed"), [""; 0]);
        let whole = |text: &str| split(text).iter().all(|part| matches!(part, Part::Text(_)));
        assert!(whole("5$") && whole("\\") && whole("") && whole("$a\n\nb$") && whole("é$\\é"));
    }

    #[test]
    fn markup_in_formulas_is_text() {
        for source in [
            r"\operatorname{</math><script>alert(1)</script>}",
            r"\operatorname{</mi></math><img src=x onerror=alert(1)>}",
            r"\operatorname{<mi onclick=alert(1)>}",
            "\\operatorname{<mi style=\"x\" onclick=\"y\">}",
            r"\text{<img onerror=x>&lt;}",
            r"a < b > c",
            r"\mathrm{<script>}",
            r"\left\langle x \right\rangle <svg>",
            "\\operatorname{<mtext href=\"javascript:alert(1)\">}",
        ] {
            let Some(markup) = mathml(source, false) else { continue };
            for banned in ["<script", "<img", "<svg", "onclick=\"", "onerror=\"", "href=\"", "style=\""] {
                assert!(!markup.contains(banned), "{source}: {markup}");
            }
            assert!(markup.starts_with("<math display=\"inline\">") && markup.ends_with("</math>"), "{markup}");
            assert_eq!(markup.matches("<math").count(), 1, "{markup}");
        }
        assert_eq!(mathml("a<b", false).unwrap(), r#"<math display="inline"><mi>a</mi><mo>&lt;</mo><mi>b</mi></math>"#);
        assert!(mathml(r"\text{a & b}", true).unwrap().contains("a &amp; b"));
    }

    #[test]
    fn what_cannot_be_converted_or_is_too_deep_is_none() {
        let deep = |open: &str, close: &str| format!("{}x{}", open.repeat(300), close.repeat(300));
        for source in [
            deep("{", "}"),
            deep("\\sqrt{", "}"),
            deep("\\left(", "\\right)"),
            "\\sqrt ".repeat(300),
            "\\def\\a{\\a\\a}\\a".to_owned(),
            "\\unknown".to_owned(),
            "x".repeat(MAX_SOURCE + 1),
        ] {
            assert_eq!(mathml(&source, false), None, "{source}");
        }
        assert!(mathml(&deep("", "'"), false).is_some());
    }

    #[test]
    fn old_and_rare_commands_are_respelled() {
        assert_eq!(respelled(r"{x^2\over a^2}+1").unwrap(), r"{\frac{x^2}{a^2}}+1");
        assert_eq!(respelled(r"a \over {b\over c}").unwrap(), r"\frac{a}{{\frac{b}{c}}}");
        assert_eq!(respelled(r"3\unit{km}+\number{4}").unwrap(), r"3\mathrm{km}+{4}");
        assert_eq!((respelled(r"\overline{x}"), respelled("}x{")), (None, None));
        assert!(mathml(r"{x^2\over a^2}", false).is_some() && mathml(r"}\over{", false).is_none());
    }

    #[test]
    fn only_nested_elements_of_one_formula_are_kept() {
        assert_eq!(rebuilt("<math><mi>x</mi></math>").as_deref(), Some("<math><mi>x</mi></math>"));
        assert_eq!(rebuilt("<math><mi>x</mo></mi></math>").as_deref(), Some("<math><mi>x&lt;/mo&gt;</mi></math>"));
        assert_eq!(
            rebuilt("<math><mi x=\"1\" width=\"2\">x&y&amp;</mi></math>").as_deref(),
            Some("<math><mi width=\"2\">x&amp;y&amp;</mi></math>")
        );
        for broken in ["", "x", "<math>", "<mi>x</mi>", "<math></math><math></math>", "<math></math>x"] {
            assert_eq!(rebuilt(broken), None, "{broken}");
        }
    }

    #[test]
    fn each_formula_is_converted_once() {
        let mut formulas = Formulas::default();
        let (a, bad) = (formulas.index("a", false), formulas.index("\\bad", false));
        assert_eq!(
            (a, bad, formulas.index("a", false), formulas.index("\\bad", false)),
            (Some(0), None, Some(0), None)
        );
        assert_eq!((formulas.markup().len(), formulas.as_text), (1, 1));
        assert_eq!(formulas.index("a", true), Some(1));
    }
}
