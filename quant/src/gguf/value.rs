//! Typed metadata values.

use std::fmt;

use super::texts::Texts;

/// Metadata in file order.
pub type Metadata = Vec<(String, GgufValue)>;

/// A metadata value.
#[derive(Debug, Clone, PartialEq)]
pub enum GgufValue {
    /// 8-bit unsigned.
    U8(u8),
    /// 8-bit signed.
    I8(i8),
    /// 16-bit unsigned.
    U16(u16),
    /// 16-bit signed.
    I16(i16),
    /// 32-bit unsigned.
    U32(u32),
    /// 32-bit signed.
    I32(i32),
    /// 32-bit float.
    F32(f32),
    /// Boolean.
    Bool(bool),
    /// UTF-8 string.
    String(String),
    /// Array of one type.
    Array(GgufArray),
    /// 64-bit unsigned.
    U64(u64),
    /// 64-bit signed.
    I64(i64),
    /// 64-bit float.
    F64(f64),
}

/// An array of metadata values. Arrays of arrays are not supported, as in llama.cpp.
#[derive(Debug, Clone, PartialEq)]
pub enum GgufArray {
    /// 8-bit unsigned.
    U8(Vec<u8>),
    /// 8-bit signed.
    I8(Vec<i8>),
    /// 16-bit unsigned.
    U16(Vec<u16>),
    /// 16-bit signed.
    I16(Vec<i16>),
    /// 32-bit unsigned.
    U32(Vec<u32>),
    /// 32-bit signed.
    I32(Vec<i32>),
    /// 32-bit float.
    F32(Vec<f32>),
    /// Booleans.
    Bool(Vec<bool>),
    /// UTF-8 strings.
    String(Texts),
    /// 64-bit unsigned.
    U64(Vec<u64>),
    /// 64-bit signed.
    I64(Vec<i64>),
    /// 64-bit float.
    F64(Vec<f64>),
}

/// Evaluates `$body` with `$items` bound to the vector inside a [`GgufArray`] of any type.
macro_rules! with_items {
    ($array:expr, $items:ident => $body:expr) => {
        match $array {
            GgufArray::U8($items) => $body,
            GgufArray::I8($items) => $body,
            GgufArray::U16($items) => $body,
            GgufArray::I16($items) => $body,
            GgufArray::U32($items) => $body,
            GgufArray::I32($items) => $body,
            GgufArray::F32($items) => $body,
            GgufArray::Bool($items) => $body,
            GgufArray::String($items) => $body,
            GgufArray::U64($items) => $body,
            GgufArray::I64($items) => $body,
            GgufArray::F64($items) => $body,
        }
    };
}

impl GgufArray {
    /// Returns the number of elements.
    pub fn len(&self) -> usize {
        with_items!(self, items => items.len())
    }

    /// Returns whether the array is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the name of the array's type as in error messages and listings: `f32[]`.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::U8(_) => "u8[]",
            Self::I8(_) => "i8[]",
            Self::U16(_) => "u16[]",
            Self::I16(_) => "i16[]",
            Self::U32(_) => "u32[]",
            Self::I32(_) => "i32[]",
            Self::F32(_) => "f32[]",
            Self::Bool(_) => "bool[]",
            Self::String(_) => "string[]",
            Self::U64(_) => "u64[]",
            Self::I64(_) => "i64[]",
            Self::F64(_) => "f64[]",
        }
    }

    /// Returns the format's number for the element type.
    pub(crate) fn element_type(&self) -> u32 {
        match self {
            Self::U8(_) => 0,
            Self::I8(_) => 1,
            Self::U16(_) => 2,
            Self::I16(_) => 3,
            Self::U32(_) => 4,
            Self::I32(_) => 5,
            Self::F32(_) => 6,
            Self::Bool(_) => 7,
            Self::String(_) => 8,
            Self::U64(_) => 10,
            Self::I64(_) => 11,
            Self::F64(_) => 12,
        }
    }
}

impl GgufValue {
    /// Returns the name of the value's type as in error messages and listings: `f32`, `string[]`.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::U8(_) => "u8",
            Self::I8(_) => "i8",
            Self::U16(_) => "u16",
            Self::I16(_) => "i16",
            Self::U32(_) => "u32",
            Self::I32(_) => "i32",
            Self::F32(_) => "f32",
            Self::Bool(_) => "bool",
            Self::String(_) => "string",
            Self::Array(array) => array.type_name(),
            Self::U64(_) => "u64",
            Self::I64(_) => "i64",
            Self::F64(_) => "f64",
        }
    }

    /// Returns the value if it is a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the value if it is a boolean.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// Returns the value if it is a non-negative integer of any width.
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Self::U8(value) => Some(value.into()),
            Self::U16(value) => Some(value.into()),
            Self::U32(value) => Some(value.into()),
            Self::U64(value) => Some(value),
            Self::I8(value) => value.try_into().ok(),
            Self::I16(value) => value.try_into().ok(),
            Self::I32(value) => value.try_into().ok(),
            Self::I64(value) => value.try_into().ok(),
            _ => None,
        }
    }

    /// Returns the value if it is an integer of any width within the range of `u32`.
    pub fn as_u32(&self) -> Option<u32> {
        self.as_u64().and_then(|value| value.try_into().ok())
    }

    /// Returns the value, rounded to 32 bits, if it is a float.
    pub fn as_f32(&self) -> Option<f32> {
        match *self {
            Self::F32(value) => Some(value),
            Self::F64(value) => Some(value as f32),
            _ => None,
        }
    }

    /// Returns the value if it is an array of strings.
    pub fn as_strings(&self) -> Option<&Texts> {
        match self {
            Self::Array(GgufArray::String(texts)) => Some(texts),
            _ => None,
        }
    }
}

/// Scalars as their value, strings in single quotes, arrays as type and length: for error messages.
impl fmt::Display for GgufValue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::U8(value) => fmt::Display::fmt(value, formatter),
            Self::I8(value) => fmt::Display::fmt(value, formatter),
            Self::U16(value) => fmt::Display::fmt(value, formatter),
            Self::I16(value) => fmt::Display::fmt(value, formatter),
            Self::U32(value) => fmt::Display::fmt(value, formatter),
            Self::I32(value) => fmt::Display::fmt(value, formatter),
            Self::F32(value) => fmt::Display::fmt(value, formatter),
            Self::Bool(value) => fmt::Display::fmt(value, formatter),
            Self::String(text) => write!(formatter, "'{text}'"),
            Self::Array(array) => write!(formatter, "{} of {} elements", array.type_name(), array.len()),
            Self::U64(value) => fmt::Display::fmt(value, formatter),
            Self::I64(value) => fmt::Display::fmt(value, formatter),
            Self::F64(value) => fmt::Display::fmt(value, formatter),
        }
    }
}

macro_rules! from_impls {
    ($($variant:ident: $type:ty),*) => {$(
        impl From<$type> for GgufValue {
            fn from(value: $type) -> Self {
                Self::$variant(value)
            }
        }
        impl From<Vec<$type>> for GgufValue {
            fn from(values: Vec<$type>) -> Self {
                Self::Array(GgufArray::$variant(values))
            }
        }
    )*};
}

from_impls!(U8: u8, I8: i8, U16: u16, I16: i16, U32: u32, I32: i32, F32: f32, Bool: bool, U64: u64, I64: i64, F64: f64);

impl From<String> for GgufValue {
    fn from(text: String) -> Self {
        Self::String(text)
    }
}

impl From<Vec<String>> for GgufValue {
    fn from(texts: Vec<String>) -> Self {
        Self::Array(GgufArray::String(texts.into_iter().collect()))
    }
}

impl From<&str> for GgufValue {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

pub(crate) use with_items;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_of_any_width_convert_when_they_fit() {
        assert_eq!(GgufValue::U8(7).as_u32(), Some(7));
        assert_eq!(GgufValue::I64(7).as_u32(), Some(7));
        assert_eq!(GgufValue::I32(-1).as_u32(), None);
        assert_eq!(GgufValue::U64(1 << 40).as_u32(), None);
        assert_eq!(GgufValue::from("7").as_u32(), None);
    }
}
