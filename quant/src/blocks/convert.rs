//! Converts rows of `f32` to and from every type: floats here, block formats through
//! [`super::ffi`].

use half::{bf16, f16};
use rayon::prelude::*;

use super::error::BlockError;
#[cfg(feature = "ggml")]
use super::ffi;
use super::types::GgmlType;

/// Values per parallel task: large enough to hide the scheduling cost.
const TASK: usize = 1 << 14;

/// Dequantises whole blocks of any type that has a conversion to `f32`.
///
/// # Errors
/// [`BlockError::Length`] if `packed` does not hold exactly `values.len()` elements,
/// [`BlockError::Unsupported`] for a type without a dequantiser, [`BlockError::NeedsGgml`] for a
/// block format without the feature `ggml`.
pub fn dequantize_row(ggml_type: GgmlType, packed: &[u8], values: &mut [f32]) -> Result<(), BlockError> {
    if ggml_type.row_bytes(values.len()) != Some(packed.len()) {
        let (values, bytes) = (values.len(), packed.len());
        return Err(BlockError::Length { ggml_type, values, row_len: values, bytes });
    }
    match ggml_type {
        GgmlType::F32 => read(packed, values, f32::from_le_bytes),
        GgmlType::F16 => read(packed, values, |bytes| f16::from_le_bytes(bytes).to_f32()),
        GgmlType::BF16 => read(packed, values, |bytes| bf16::from_le_bytes(bytes).to_f32()),
        #[cfg(feature = "ggml")]
        _ if ggml_type.is_quantized() && ffi::dequantize(ggml_type, packed, values) => {}
        #[cfg(not(feature = "ggml"))]
        _ if ggml_type.is_quantized() => return Err(BlockError::NeedsGgml { ggml_type }),
        _ => return Err(BlockError::Unsupported { ggml_type, direction: "to" }),
    }
    Ok(())
}

/// Quantises whole rows of `row_len` values, in parallel over rows on rayon's current pool; the
/// result does not depend on the number of threads.
///
/// # Errors
/// [`BlockError::Length`] if the lengths do not match, [`BlockError::Unsupported`] for a type that
/// cannot be written, [`BlockError::NeedsGgml`] for a block format without the feature `ggml`,
/// [`BlockError::Range`] for a value that is not finite or exceeds the type (or, in block formats,
/// its 16-bit scale).
pub fn quantize_rows(ggml_type: GgmlType, values: &[f32], row_len: usize, packed: &mut [u8]) -> Result<(), BlockError> {
    let row_bytes = ggml_type.row_bytes(row_len).filter(|bytes| {
        values.len().is_multiple_of(row_len) && (values.len() / row_len).checked_mul(*bytes) == Some(packed.len())
    });
    let Some(row_bytes) = row_bytes else {
        return Err(BlockError::Length { ggml_type, values: values.len(), row_len, bytes: packed.len() });
    };
    check_writable(ggml_type)?;
    check_range(ggml_type, values)?;
    let rows = (TASK / row_len).max(1);
    values.par_chunks(rows * row_len).zip(packed.par_chunks_mut(rows * row_bytes)).for_each(|(values, packed)| {
        match ggml_type {
            GgmlType::F32 => write(values, packed, f32::to_le_bytes),
            GgmlType::F16 => write(values, packed, |value| f16::from_f32(value).to_le_bytes()),
            GgmlType::BF16 => write(values, packed, |value| bf16::from_f32(value).to_le_bytes()),
            #[cfg(feature = "ggml")]
            _ => ffi::quantize(ggml_type, values, row_len, packed),
            #[cfg(not(feature = "ggml"))]
            _ => unreachable!("check_writable accepts only floats without ggml"),
        }
    });
    Ok(())
}

fn check_writable(ggml_type: GgmlType) -> Result<(), BlockError> {
    use GgmlType::{BF16, F16, F32, Q2_K, Q3_K, Q4_0, Q4_1, Q4_K, Q5_0, Q5_1, Q5_K, Q6_K, Q8_0};
    match ggml_type {
        F32 | F16 | BF16 => Ok(()),
        Q8_0 | Q6_K | Q5_K | Q5_0 | Q5_1 | Q4_K | Q4_0 | Q4_1 | Q3_K | Q2_K if cfg!(feature = "ggml") => Ok(()),
        Q8_0 | Q6_K | Q5_K | Q5_0 | Q5_1 | Q4_K | Q4_0 | Q4_1 | Q3_K | Q2_K => Err(BlockError::NeedsGgml { ggml_type }),
        _ => Err(BlockError::Unsupported { ggml_type, direction: "from" }),
    }
}

fn check_range(ggml_type: GgmlType, values: &[f32]) -> Result<(), BlockError> {
    // The scales of all block formats are 16-bit floats and do not exceed the largest value of the
    // block. Values from 65520 round to infinity; values that round to the largest finite one are
    // accepted.
    let (limit, below) = match ggml_type {
        GgmlType::F32 => (f32::MAX, f32::INFINITY),
        GgmlType::BF16 => (bf16::MAX.to_f32(), f32::from_bits(0x7f7f_8000)),
        _ => (f16::MAX.to_f32(), 65_520.0),
    };
    match values.par_iter().position_first(|value| value.is_nan() || value.abs() >= below) {
        Some(element) => Err(BlockError::Range { ggml_type, element, value: values[element], limit }),
        None => Ok(()),
    }
}

fn read<const N: usize>(packed: &[u8], values: &mut [f32], from_bytes: impl Fn([u8; N]) -> f32) {
    for (bytes, value) in packed.chunks_exact(N).zip(values) {
        *value = from_bytes(bytes.try_into().expect("chunks_exact gives N bytes"));
    }
}

fn write<const N: usize>(values: &[f32], packed: &mut [u8], to_bytes: impl Fn(f32) -> [u8; N]) {
    for (value, bytes) in values.iter().zip(packed.chunks_exact_mut(N)) {
        bytes.copy_from_slice(&to_bytes(*value));
    }
}

#[cfg(all(test, not(feature = "ggml")))]
mod tests {
    use super::*;

    #[test]
    fn block_formats_without_ggml_are_refused_by_name() {
        let error = quantize_rows(GgmlType::Q4_0, &[0.0; 32], 32, &mut [0; 18]).unwrap_err();
        assert_eq!(error, BlockError::NeedsGgml { ggml_type: GgmlType::Q4_0 });
        assert!(error.to_string().contains("Q4_0") && error.to_string().contains("feature `ggml`"), "{error}");
        let error = dequantize_row(GgmlType::Q6_K, &[0; 210], &mut [0.0; 256]).unwrap_err();
        assert_eq!(error, BlockError::NeedsGgml { ggml_type: GgmlType::Q6_K });
        let error = dequantize_row(GgmlType::I32, &[0; 4], &mut [0.0; 1]).unwrap_err();
        assert!(matches!(error, BlockError::Unsupported { .. }));
    }
}
