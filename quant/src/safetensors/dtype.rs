//! Element types: all that the format knows, and the three that weights are written in.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! dtypes {
    ($($(#[$doc:meta])* $name:ident: $bits:literal;)*) => {
        /// An element type; serialised under the name it has in headers.
        #[allow(non_camel_case_types, reason = "these are the format's names")]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum Dtype {
            $($(#[$doc])* $name,)*
        }

        impl Dtype {
            /// Returns the size of an element in bits.
            pub fn bits(self) -> usize {
                match self {
                    $(Self::$name => $bits,)*
                }
            }

            /// Returns the name in headers.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }
        }
    };
}

dtypes! {
    /// Boolean, one byte.
    BOOL: 8;
    /// 4-bit microscaling float.
    F4: 4;
    /// 6-bit microscaling float, 2 exponent bits.
    F6_E2M3: 6;
    /// 6-bit microscaling float, 3 exponent bits.
    F6_E3M2: 6;
    /// 8-bit unsigned integer.
    U8: 8;
    /// 8-bit signed integer.
    I8: 8;
    /// 8-bit float, 5 exponent bits.
    F8_E5M2: 8;
    /// 8-bit float, 4 exponent bits.
    F8_E4M3: 8;
    /// 8-bit power of two (microscaling scale).
    F8_E8M0: 8;
    /// 16-bit signed integer.
    I16: 16;
    /// 16-bit unsigned integer.
    U16: 16;
    /// 16-bit IEEE float.
    F16: 16;
    /// bfloat16.
    BF16: 16;
    /// 32-bit signed integer.
    I32: 32;
    /// 32-bit unsigned integer.
    U32: 32;
    /// 32-bit float.
    F32: 32;
    /// 64-bit float.
    F64: 64;
    /// 64-bit signed integer.
    I64: 64;
    /// 64-bit unsigned integer.
    U64: 64;
}

impl fmt::Display for Dtype {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// The float type that weights are stored in; serialised as `f32`, `f16` or `bf16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoredType {
    /// 32-bit floats.
    F32,
    /// 16-bit IEEE floats.
    F16,
    /// bfloat16, the type of most checkpoints.
    #[default]
    Bf16,
}

impl StoredType {
    /// Returns the element type in headers.
    pub fn dtype(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::F16 => Dtype::F16,
            Self::Bf16 => Dtype::BF16,
        }
    }
}
