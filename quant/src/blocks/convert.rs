//! Rows of `f32` to and from every type.

use half::{bf16, f16};
use rayon::prelude::*;

#[cfg(feature = "ggml")]
use super::ffi;
use super::{BlockError, GgmlType};

/// Values that one thread converts at a time: large enough to hide the cost of handing them out.
const TASK: usize = 1 << 14;

/// Unpacks blocks of any type that has a conversion to `f32`; `values` says how many.
///
/// # Errors
/// [`BlockError::Length`] if `packed` does not hold exactly that many, [`BlockError::Unsupported`] for a type that ggml
/// has no dequantiser for.
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
        _ => return Err(BlockError::Unsupported { ggml_type, direction: "to" }),
    }
    Ok(())
}

/// Packs whole rows of `row_len` values, in parallel over rows on rayon's current pool; the result does not depend on the
/// number of threads.
///
/// # Errors
/// [`BlockError::Length`] if the buffers do not belong together, [`BlockError::Unsupported`] for a type that cannot be
/// written, [`BlockError::Range`] for a value that is not finite or that 16-bit floats, where the type or the scales of
/// its blocks are such, cannot hold.
pub fn quantize_rows(ggml_type: GgmlType, values: &[f32], row_len: usize, packed: &mut [u8]) -> Result<(), BlockError> {
    let row_bytes = ggml_type.row_bytes(row_len).filter(|bytes| {
        values.len().is_multiple_of(row_len) && (values.len() / row_len).checked_mul(*bytes) == Some(packed.len())
    });
    let Some(row_bytes) = row_bytes else {
        return Err(BlockError::Length { ggml_type, values: values.len(), row_len, bytes: packed.len() });
    };
    if !can_write(ggml_type) {
        return Err(BlockError::Unsupported { ggml_type, direction: "from" });
    }
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
            _ => unreachable!("can_write lets only floats through without ggml"),
        }
    });
    Ok(())
}

fn can_write(ggml_type: GgmlType) -> bool {
    use GgmlType::{BF16, F16, F32, Q2_K, Q3_K, Q4_0, Q4_1, Q4_K, Q5_0, Q5_1, Q5_K, Q6_K, Q8_0};
    let is_float = matches!(ggml_type, F32 | F16 | BF16);
    let is_block = matches!(ggml_type, Q8_0 | Q6_K | Q5_K | Q5_0 | Q5_1 | Q4_K | Q4_0 | Q4_1 | Q3_K | Q2_K);
    is_float || cfg!(feature = "ggml") && is_block
}

fn check_range(ggml_type: GgmlType, values: &[f32]) -> Result<(), BlockError> {
    // The scales of all block formats are 16-bit floats and no larger than the largest value of the block. 65520 and more
    // round to infinity; what rounds to the largest finite one may pass.
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
