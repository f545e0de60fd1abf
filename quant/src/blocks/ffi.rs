//! The binding to ggml's quantisers and dequantisers: with [`crate::map`], the only unsafe code of
//! this crate.
//!
//! Callers validate the lengths; they are asserted again here because ggml does not check them.

use llama_cpp_sys_2 as sys;

use super::types::GgmlType;

/// Quantises whole rows to `ggml_type`, a block format that needs no importance matrix.
///
/// # Panics
/// If the lengths do not match.
pub(super) fn quantize(ggml_type: GgmlType, values: &[f32], row_len: usize, packed: &mut [u8]) {
    let row_bytes = ggml_type.row_bytes(row_len).expect("rows are whole blocks");
    let rows = values.len() / row_len;
    assert!(
        values.len() == rows * row_len && packed.len() == rows * row_bytes,
        "buffers hold the same number of whole rows"
    );
    if !is_aligned(ggml_type, packed) {
        let mut copy = vec![0_u64; packed.len().div_ceil(8)];
        quantize_to(ggml_type, values, row_len, copy.as_mut_ptr().cast(), packed.len());
        for (bytes, word) in packed.chunks_mut(8).zip(copy) {
            bytes.copy_from_slice(&word.to_ne_bytes()[..bytes.len()]);
        }
        return;
    }
    quantize_to(ggml_type, values, row_len, packed.as_mut_ptr(), packed.len());
}

/// Calls ggml; `packed` points to `bytes` writable bytes, aligned for the type's blocks.
fn quantize_to(ggml_type: GgmlType, values: &[f32], row_len: usize, packed: *mut u8, bytes: usize) {
    let rows = (values.len() / row_len) as i64;
    // SAFETY: the source holds `rows` rows of `row_len` floats and the destination as many bytes as
    // ggml computes for them (a test compares the layouts); the type is one that
    // ggml_quantize_chunk knows and that needs no importance matrix, so that a null matrix is
    // allowed. ggml keeps no state for these types besides what its own lock guards.
    let written = unsafe {
        sys::ggml_quantize_chunk(
            ggml_type.id(),
            values.as_ptr(),
            packed.cast(),
            0,
            rows,
            row_len as i64,
            std::ptr::null(),
        )
    };
    assert_eq!(written, bytes, "ggml writes as many bytes as the type table says");
}

/// Dequantises one or more whole blocks; returns `false` if ggml has no dequantiser for the type.
///
/// # Panics
/// If the lengths do not match.
pub(super) fn dequantize(ggml_type: GgmlType, packed: &[u8], values: &mut [f32]) -> bool {
    assert_eq!(ggml_type.row_bytes(values.len()), Some(packed.len()), "buffers hold the same number of blocks");
    // SAFETY: the number is one of ggml's types, for which it returns a pointer into a static
    // table.
    let traits = unsafe { *sys::ggml_get_type_traits(ggml_type.id()) };
    let Some(to_float) = traits.to_float else { return false };
    let copy: Vec<u64>;
    let source = if is_aligned(ggml_type, packed) {
        packed.as_ptr()
    } else {
        copy = packed.chunks(8).map(word).collect();
        copy.as_ptr().cast()
    };
    // SAFETY: the source holds, aligned, the blocks of as many values as the destination has room
    // for.
    unsafe { to_float(source.cast(), values.as_mut_ptr(), values.len() as i64) };
    true
}

/// Returns whether blocks may be accessed here: a block's size is a multiple of its alignment,
/// which is at most 4.
fn is_aligned(ggml_type: GgmlType, packed: &[u8]) -> bool {
    let alignment = 1 << ggml_type.block_bytes().trailing_zeros().min(2);
    (packed.as_ptr() as usize).is_multiple_of(alignment)
}

fn word(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_ne_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::super::types::{TYPES, TypeRow};
    use super::*;

    #[test]
    fn the_table_of_types_is_the_one_of_the_linked_ggml() {
        for &TypeRow { ggml_type, block_len, block_bytes, .. } in TYPES {
            // SAFETY: plain look-ups of known types.
            let linked = unsafe { (sys::ggml_blck_size(ggml_type.id()), sys::ggml_type_size(ggml_type.id())) };
            assert_eq!(linked, (block_len as i64, block_bytes as usize), "{ggml_type}");
            // SAFETY: the name is a static string.
            let name = unsafe { std::ffi::CStr::from_ptr(sys::ggml_type_name(ggml_type.id())) };
            assert_eq!(name.to_str().unwrap().to_uppercase(), ggml_type.to_string().to_uppercase());
        }
        // SAFETY: plain look-ups; removed types have no block size.
        let known = (0..sys::GGML_TYPE_COUNT).filter(|id| unsafe { sys::ggml_blck_size(*id) } > 0).count();
        assert_eq!(known, TYPES.len());
    }

    #[test]
    fn unaligned_buffers_give_the_same_blocks() {
        let values: Vec<f32> = (0..512).map(|i| (i as f32 * 0.37).sin()).collect();
        for ggml_type in [GgmlType::Q8_0, GgmlType::Q4_1, GgmlType::Q4_K, GgmlType::Q6_K] {
            let bytes = ggml_type.row_bytes(512).unwrap();
            let mut buffer = vec![0; bytes + 8];
            quantize(ggml_type, &values, 256, &mut buffer[..bytes]);
            let aligned = buffer[..bytes].to_vec();
            let (mut expected, mut found) = (vec![0.0; 512], vec![0.0; 512]);
            assert!(dequantize(ggml_type, &aligned, &mut expected));
            for shift in 1..4 {
                quantize(ggml_type, &values, 256, &mut buffer[shift..shift + bytes]);
                assert_eq!(buffer[shift..shift + bytes], aligned);
                assert!(dequantize(ggml_type, &buffer[shift..shift + bytes], &mut found));
                assert_eq!(found, expected);
            }
        }
    }
}
