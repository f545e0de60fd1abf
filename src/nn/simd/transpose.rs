//! Transposes blocks of 32-bit words; packing spends most of its time here.

#[cfg(target_arch = "x86_64")]
use super::{Level, level};

/// A 32-bit word that is moved without being interpreted. Crate-private, so that no other type can
/// implement it.
pub(crate) trait Word: Copy + Default + Send + Sync + 'static {}
impl Word for f32 {}
impl Word for u32 {}

/// Transposes: `out[c · out_stride + r] = source[r · stride + c]` for `r < rows`, `c < cols`.
pub(crate) fn transpose<W: Word>(
    source: &[W],
    stride: usize,
    (rows, cols): (usize, usize),
    out: &mut [W],
    out_stride: usize,
) {
    if rows == 0 || cols == 0 {
        return;
    }
    assert!((rows - 1) * stride + cols <= source.len(), "the source is shorter than its last row's end");
    assert!((cols - 1) * out_stride + rows <= out.len(), "the output is shorter than its last row's end");
    #[cfg(target_arch = "x86_64")]
    if level() >= Level::Avx2 {
        // SAFETY: the processor has AVX2; the asserts above bound every address; a word has 32
        // bits, as an f32 has.
        unsafe {
            x86::transpose(source.as_ptr().cast(), stride, (rows, cols), out.as_mut_ptr().cast(), out_stride);
        }
        return;
    }
    scalar(source, stride, (rows, cols), out, out_stride);
}

fn scalar<W: Word>(source: &[W], stride: usize, (rows, cols): (usize, usize), out: &mut [W], out_stride: usize) {
    for r in 0..rows {
        for c in 0..cols {
            out[c * out_stride + r] = source[r * stride + c];
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        _MM_TRANSPOSE4_PS, _mm_loadu_ps, _mm_storeu_ps, _mm256_loadu_ps, _mm256_permute2f128_ps, _mm256_shuffle_ps,
        _mm256_storeu_ps, _mm256_unpackhi_ps, _mm256_unpacklo_ps,
    };

    /// # Safety
    /// `source` is readable and `out` writable at all addresses that the definition of `transpose`
    /// names.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn transpose(
        source: *const f32,
        stride: usize,
        (rows, cols): (usize, usize),
        out: *mut f32,
        out_stride: usize,
    ) {
        // SAFETY: each block reads and writes only words with r < rows and c < cols.
        unsafe {
            let mut r = 0;
            while r < rows {
                let height = if r + 8 <= rows { 8 } else { (rows - r).min(4) };
                let mut c = 0;
                if height == 8 {
                    while c + 8 <= cols {
                        block8(source.add(r * stride + c), stride, out.add(c * out_stride + r), out_stride);
                        c += 8;
                    }
                } else if height == 4 {
                    while c + 4 <= cols {
                        block4(source.add(r * stride + c), stride, out.add(c * out_stride + r), out_stride);
                        c += 4;
                    }
                }
                for row in r..r + height {
                    for col in c..cols {
                        *out.add(col * out_stride + row) = *source.add(row * stride + col);
                    }
                }
                r += height;
            }
        }
    }

    /// # Safety
    /// `source` is readable and `out` writable over a 4 × 4 block with these strides.
    #[target_feature(enable = "avx2")]
    unsafe fn block4(source: *const f32, stride: usize, out: *mut f32, out_stride: usize) {
        // SAFETY: by the contract above, every address lies in the 4 × 4 block.
        unsafe {
            let mut a = _mm_loadu_ps(source);
            let mut b = _mm_loadu_ps(source.add(stride));
            let mut c = _mm_loadu_ps(source.add(2 * stride));
            let mut d = _mm_loadu_ps(source.add(3 * stride));
            _MM_TRANSPOSE4_PS(&mut a, &mut b, &mut c, &mut d);
            _mm_storeu_ps(out, a);
            _mm_storeu_ps(out.add(out_stride), b);
            _mm_storeu_ps(out.add(2 * out_stride), c);
            _mm_storeu_ps(out.add(3 * out_stride), d);
        }
    }

    /// Interleaves pairs of rows, then pairs of pairs, then swaps halves.
    ///
    /// # Safety
    /// `source` is readable and `out` writable over an 8 × 8 block with these strides.
    #[target_feature(enable = "avx2")]
    unsafe fn block8(source: *const f32, stride: usize, out: *mut f32, out_stride: usize) {
        // SAFETY: by the contract above, every address lies in the 8 × 8 block.
        unsafe {
            let row = |i: usize| _mm256_loadu_ps(source.add(i * stride));
            let rows = [row(0), row(1), row(2), row(3), row(4), row(5), row(6), row(7)];
            let low = [0, 2, 4, 6].map(|i| _mm256_unpacklo_ps(rows[i], rows[i + 1]));
            let high = [0, 2, 4, 6].map(|i| _mm256_unpackhi_ps(rows[i], rows[i + 1]));
            let quad = |pairs: [std::arch::x86_64::__m256; 4], i: usize| {
                (_mm256_shuffle_ps::<0x44>(pairs[i], pairs[i + 1]), _mm256_shuffle_ps::<0xee>(pairs[i], pairs[i + 1]))
            };
            let ((a0, a1), (b0, b1)) = (quad(low, 0), quad(low, 2));
            let ((a2, a3), (b2, b3)) = (quad(high, 0), quad(high, 2));
            for (i, (a, b)) in [(a0, b0), (a1, b1), (a2, b2), (a3, b3)].into_iter().enumerate() {
                _mm256_storeu_ps(out.add(i * out_stride), _mm256_permute2f128_ps::<0x20>(a, b));
                _mm256_storeu_ps(out.add((i + 4) * out_stride), _mm256_permute2f128_ps::<0x31>(a, b));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_up_to_21_equals_the_scalar_version() {
        for rows in 0..=21 {
            for cols in 0..=21 {
                let (stride, out_stride) = (cols + 3, rows + 2);
                let source: Vec<u32> = (0..=(rows * stride) as u32).map(|i| 0x7f80_0001 ^ i << 3).collect();
                let mut fast = vec![7u32; cols * out_stride + 1];
                let mut slow = fast.clone();
                transpose(&source, stride, (rows, cols), &mut fast, out_stride);
                scalar(&source, stride, (rows, cols), &mut slow, out_stride);
                assert_eq!(fast, slow, "{rows} × {cols}");
            }
        }
    }
}
