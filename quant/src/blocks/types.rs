//! ggml's element types: numbers in files, block lengths and sizes.

use std::fmt;

/// An element type of ggml (`enum ggml_type`); the discriminant is its number in files.
#[allow(non_camel_case_types, reason = "these are ggml's names")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u32)]
pub enum GgmlType {
    /// 32-bit float.
    F32 = 0,
    /// 16-bit IEEE float.
    F16 = 1,
    /// 4 bits, scale per 32.
    Q4_0 = 2,
    /// 4 bits, scale and minimum per 32.
    Q4_1 = 3,
    /// 5 bits, scale per 32.
    Q5_0 = 6,
    /// 5 bits, scale and minimum per 32.
    Q5_1 = 7,
    /// 8 bits, scale per 32.
    Q8_0 = 8,
    /// 8 bits, scale and sum per 32 (activations).
    Q8_1 = 9,
    /// 2 bits, super-blocks of 256.
    Q2_K = 10,
    /// 3 bits, super-blocks of 256.
    Q3_K = 11,
    /// 4 bits, super-blocks of 256.
    Q4_K = 12,
    /// 5 bits, super-blocks of 256.
    Q5_K = 13,
    /// 6 bits, super-blocks of 256.
    Q6_K = 14,
    /// 8 bits, super-blocks of 256 (activations).
    Q8_K = 15,
    /// 2.06 bits, codebook.
    IQ2_XXS = 16,
    /// 2.31 bits, codebook.
    IQ2_XS = 17,
    /// 3.06 bits, codebook.
    IQ3_XXS = 18,
    /// 1.56 bits, codebook.
    IQ1_S = 19,
    /// 4 bits, non-linear.
    IQ4_NL = 20,
    /// 3.44 bits, codebook.
    IQ3_S = 21,
    /// 2.5 bits, codebook.
    IQ2_S = 22,
    /// 4.25 bits, non-linear, super-blocks.
    IQ4_XS = 23,
    /// 8-bit integer.
    I8 = 24,
    /// 16-bit integer.
    I16 = 25,
    /// 32-bit integer.
    I32 = 26,
    /// 64-bit integer.
    I64 = 27,
    /// 64-bit float.
    F64 = 28,
    /// 1.75 bits, codebook.
    IQ1_M = 29,
    /// bfloat16.
    BF16 = 30,
    /// Ternary, 1.69 bits.
    TQ1_0 = 34,
    /// Ternary, 2.06 bits.
    TQ2_0 = 35,
    /// 4-bit microscaling float.
    MXFP4 = 39,
    /// NVIDIA's 4-bit float.
    NVFP4 = 40,
    /// 1 bit.
    Q1_0 = 41,
    /// 2 bits.
    Q2_0 = 42,
}

/// A row of [`TYPES`].
pub(super) struct TypeRow {
    pub ggml_type: GgmlType,
    pub name: &'static str,
    /// Elements per block.
    pub block_len: u64,
    /// Bytes per block.
    pub block_bytes: u64,
}

macro_rules! type_table {
    ($($name:ident: $block_len:literal, $block_bytes:literal;)*) => {
        /// Every type, with elements and bytes per block.
        pub(super) const TYPES: &[TypeRow] = &[$(TypeRow {
            ggml_type: GgmlType::$name,
            name: stringify!($name),
            block_len: $block_len,
            block_bytes: $block_bytes,
        }),*];
    };
}

type_table! {
    F32: 1, 4;
    F16: 1, 2;
    Q4_0: 32, 18;
    Q4_1: 32, 20;
    Q5_0: 32, 22;
    Q5_1: 32, 24;
    Q8_0: 32, 34;
    Q8_1: 32, 36;
    Q2_K: 256, 84;
    Q3_K: 256, 110;
    Q4_K: 256, 144;
    Q5_K: 256, 176;
    Q6_K: 256, 210;
    Q8_K: 256, 292;
    IQ2_XXS: 256, 66;
    IQ2_XS: 256, 74;
    IQ3_XXS: 256, 98;
    IQ1_S: 256, 50;
    IQ4_NL: 32, 18;
    IQ3_S: 256, 110;
    IQ2_S: 256, 82;
    IQ4_XS: 256, 136;
    I8: 1, 1;
    I16: 1, 2;
    I32: 1, 4;
    I64: 1, 8;
    F64: 1, 8;
    IQ1_M: 256, 56;
    BF16: 1, 2;
    TQ1_0: 256, 54;
    TQ2_0: 256, 66;
    MXFP4: 32, 17;
    NVFP4: 64, 36;
    Q1_0: 128, 18;
    Q2_0: 64, 18;
}

impl GgmlType {
    /// Looks up the type with this number in files.
    pub fn from_id(id: u32) -> Option<Self> {
        TYPES.iter().map(|row| row.ggml_type).find(|ggml_type| ggml_type.id() == id)
    }

    /// Returns the type's number in files.
    pub fn id(self) -> u32 {
        self as u32
    }

    /// Returns the number of elements per block (1 for plain numbers).
    pub fn block_len(self) -> u64 {
        self.row().block_len
    }

    /// Returns the size of a block in bytes.
    pub fn block_bytes(self) -> u64 {
        self.row().block_bytes
    }

    /// Returns whether the type is a block format rather than a plain number.
    pub fn is_quantized(self) -> bool {
        self.block_len() > 1
    }

    /// Returns the size in bytes of a row of `len` elements; `None` if it is not whole blocks or
    /// exceeds `usize`.
    pub fn row_bytes(self, len: usize) -> Option<usize> {
        usize::try_from(self.tensor_bytes(&[len as u64])?).ok()
    }

    /// Returns the size in bytes of a tensor of these dimensions (the contiguous one first); `None`
    /// if its rows are not whole blocks, a dimension is 0 or missing, or elements or bytes reach
    /// 2^63.
    pub fn tensor_bytes(self, dims: &[u64]) -> Option<u64> {
        let TypeRow { block_len: block, block_bytes: bytes, .. } = *self.row();
        let row = *dims.first()?;
        if row % block != 0 {
            return None;
        }
        let elements = dims.iter().try_fold(1_u64, |product, dim| product.checked_mul(*dim))?;
        let size = (elements / block).checked_mul(bytes)?;
        (elements > 0 && elements < 1 << 63 && size < 1 << 63).then_some(size)
    }

    fn row(self) -> &'static TypeRow {
        TYPES.iter().find(|row| row.ggml_type == self).expect("the table has a row for every type")
    }
}

/// ggml's name, in capitals: `Q4_K`.
impl fmt::Display for GgmlType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.row().name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_row_for_every_type() {
        for row in TYPES {
            assert_eq!(GgmlType::from_id(row.ggml_type.id()), Some(row.ggml_type));
            assert_eq!(row.ggml_type.to_string(), row.name);
        }
        assert_eq!(GgmlType::Q4_K.tensor_bytes(&[256, 3]), Some(3 * 144));
        assert_eq!(GgmlType::Q4_K.tensor_bytes(&[128, 2]), None);
    }
}
