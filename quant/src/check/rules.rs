//! What a rule of the [table](super::table) says about the value of one key.

use crate::gguf::{GgufArray, GgufFile, GgufValue, Texts};

/// The placeholder for the architecture at the start of a rule's key.
const ARCH: &str = "ARCH.";

/// The files that a rule applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// Every file.
    Any,
    /// Language models, also when only their vocabulary is loaded.
    Vocabulary,
    /// Language models whose tensors are loaded.
    Language,
    /// Language models of `Qwen-VL`.
    QwenLanguage,
    /// Vision towers.
    Vision,
    /// Vision towers of `InternVL`.
    InternVision,
    /// Vision towers of `Qwen-VL`.
    QwenVision,
    /// Adapters.
    Adapter,
}

/// Whether a key may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    Required,
    Optional,
}

/// The type and range of a value. The type is exact: llama.cpp throws, and `clip` aborts, if an
/// integer has another width.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// A `u32` in this range.
    Count(u32, u32),
    /// A `u16` in this range.
    Short(u16, u16),
    /// A `u32` below the number of tokens.
    TokenId,
    /// A finite `f32` above the first and up to the second number.
    Float(f32, f32),
    /// A boolean.
    Flag,
    /// An array of booleans.
    Flags,
    /// This boolean.
    Always(bool),
    /// A string.
    Text,
    /// One of these strings.
    OneOf(&'static [&'static str]),
    /// An array of strings with at least this many elements.
    Strings(usize),
    /// A finite `f32`.
    Finite,
    /// An array of finite `f32` with at least this many elements.
    Floats(usize),
    /// The same with elements above 0.
    Positives(usize),
    /// An array of `i32` with elements in this range.
    Ints(i32, i32),
    /// No value: the feature is not supported.
    Absent,
}

/// A row of the table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    /// The key; `ARCH.` stands for the architecture.
    pub key: &'static str,
    /// The files that have it.
    pub of: Of,
    /// Whether it may be missing.
    pub need: Need,
    /// Type and range.
    pub kind: Kind,
}

impl Rule {
    /// Returns the rule's key in a file of this architecture.
    pub(super) fn key(&self, arch: &str) -> String {
        self.key.strip_prefix(ARCH).map_or_else(|| self.key.to_owned(), |name| format!("{arch}.{name}"))
    }
}

/// How a value fits a rule.
pub(super) enum Fit {
    Yes,
    /// It has another type.
    Type,
    /// It is out of range: what was found and expected.
    Range(String, String),
}

impl Kind {
    /// Returns the name of the type, as in error messages.
    pub(super) fn type_name(self) -> &'static str {
        match self {
            Self::Count(..) | Self::TokenId => "u32",
            Self::Short(..) => "u16",
            Self::Float(..) | Self::Finite => "f32",
            Self::Flag | Self::Always(_) => "bool",
            Self::Flags => "bool[]",
            Self::Text | Self::OneOf(_) => "string",
            Self::Strings(_) => "string[]",
            Self::Floats(_) | Self::Positives(_) => "f32[]",
            Self::Ints(..) => "i32[]",
            Self::Absent => "no value",
        }
    }

    /// Compares a value of `file` with the rule.
    pub(super) fn fits(self, value: &GgufValue, file: &GgufFile) -> Fit {
        let range =
            |fits: bool, expected: String| if fits { Fit::Yes } else { Fit::Range(value.to_string(), expected) };
        match (self, value) {
            (Self::Count(min, max), GgufValue::U32(count)) => {
                let expected = if min == max { min.to_string() } else { format!("{min} to {max}") };
                range((min..=max).contains(count), expected)
            }
            (Self::Short(min, max), GgufValue::U16(count)) => {
                range((min..=max).contains(count), format!("{min} to {max}"))
            }
            (Self::TokenId, GgufValue::U32(id)) => {
                let tokens = file.get("tokenizer.ggml.tokens").and_then(GgufValue::as_strings).map_or(0, Texts::len);
                range((*id as usize) < tokens, format!("the id of one of {tokens} tokens"))
            }
            (Self::Float(above, max), GgufValue::F32(number)) => {
                let expected = format!("a number above {above}, up to {max}");
                range(number.is_finite() && *number > above && *number <= max, expected)
            }
            (Self::Finite, GgufValue::F32(number)) => range(number.is_finite(), "a finite number".to_owned()),
            (Self::Flag, GgufValue::Bool(_))
            | (Self::Text, GgufValue::String(_))
            | (Self::Flags, GgufValue::Array(GgufArray::Bool(_))) => Fit::Yes,
            (Self::Always(expected), GgufValue::Bool(found)) => range(*found == expected, expected.to_string()),
            (Self::OneOf(known), GgufValue::String(text)) => {
                let expected = match known {
                    [one] => format!("'{one}'"),
                    several => format!("one of {}", several.join(", ")),
                };
                range(known.contains(&text.as_str()), expected)
            }
            (Self::Strings(min), GgufValue::Array(GgufArray::String(texts))) => {
                range(texts.len() >= min, format!("at least {min}"))
            }
            (Self::Floats(min) | Self::Positives(min), GgufValue::Array(GgufArray::F32(numbers))) => {
                let positive = matches!(self, Self::Positives(_));
                match numbers.iter().position(|number| !number.is_finite() || (positive && *number <= 0.0)) {
                    Some(at) => {
                        let expected = if positive { "a finite number above 0" } else { "a finite number" };
                        Fit::Range(format!("element {at} is {}", numbers[at]), expected.to_owned())
                    }
                    None => range(numbers.len() >= min, format!("at least {min}")),
                }
            }
            (Self::Ints(min, max), GgufValue::Array(GgufArray::I32(numbers))) => {
                match numbers.iter().position(|number| !(min..=max).contains(number)) {
                    Some(at) => Fit::Range(format!("element {at} is {}", numbers[at]), format!("{min} to {max}")),
                    None => Fit::Yes,
                }
            }
            (Self::Absent, _) => Fit::Range(value.to_string(), "none: this is not supported".to_owned()),
            _ => Fit::Type,
        }
    }
}
