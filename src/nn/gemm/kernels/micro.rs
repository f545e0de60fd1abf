//! The interface of micro-kernels, and the checks and stores that they share.

use crate::nn::tensor::MatMut;

/// Factors of `C = alpha · A·B + beta · C`; with `beta` 0, C is not read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    pub alpha: f32,
    pub beta: f32,
}

impl Scale {
    /// Returns the new value of an element, from its sum of products and its old value.
    #[allow(clippy::inline_always, reason = "has to be compiled with the target features of the calling kernel")]
    #[inline(always)]
    pub(in crate::nn::gemm) fn apply(self, sum: f32, old: f32) -> f32 {
        if self.beta == 0.0 { self.alpha * sum } else { self.alpha * sum + self.beta * old }
    }
}

/// A micro-kernel over panels of `U`.
#[derive(Debug)]
pub(crate) struct MicroKernel<U: 'static> {
    /// Rows of a tile and of a panel of A.
    pub mr: usize,
    /// Columns of a tile and of a panel of B.
    pub nr: usize,
    /// Consecutive units along k per row in a panel of A: the panel is
    /// `[units / depth, mr, depth]`, and `units` is a multiple of `depth`. A panel of B is always
    /// `[units, nr]`.
    pub depth: usize,
    /// Computes a tile of at most `mr` × `nr`.
    pub tile: fn(units: usize, a: &[U], b: &[U], scale: Scale, c: MatMut<'_, f32>),
    /// Computes the same from unpacked rows of A, `stride` units apart, if the kernel can: slower,
    /// but where B has only one panel, packing A costs more than it saves.
    pub unpacked: Option<Unpacked<U>>,
}

/// See [`MicroKernel::unpacked`].
pub(crate) type Unpacked<U> = fn(units: usize, a: &[U], stride: usize, b: &[U], scale: Scale, c: MatMut<'_, f32>);

/// Applies a tile's sums `[rows, width]` to C, for kernels that cannot store partial vectors.
#[allow(clippy::inline_always, reason = "has to be compiled with the target features of the calling kernel")]
#[inline(always)]
pub(super) fn write_sums(sums: &[f32], width: usize, scale: Scale, mut c: MatMut<'_, f32>) {
    for (row, sums) in sums.chunks_exact(width).enumerate().take(c.rows()) {
        for (value, sum) in c.row_mut(row).iter_mut().zip(sums) {
            *value = scale.apply(*sum, *value);
        }
    }
}

/// Checks what kernels over unpacked rows of A rely on before they access memory through pointers.
#[cfg(target_arch = "x86_64")]
pub(super) fn check_unpacked<U>(
    kernel: &MicroKernel<U>,
    units: usize,
    a: &[U],
    stride: usize,
    b: &[U],
    c: &MatMut<'_, f32>,
) {
    assert!((1..=kernel.mr).contains(&c.rows()) && (1..=kernel.nr).contains(&c.cols()), "C is larger than a tile");
    assert!(a.len() >= (c.rows() - 1) * stride + units && b.len() >= units * kernel.nr, "a panel is too short");
}

/// Checks what every kernel relies on before it accesses memory through pointers.
pub(super) fn check<U>(kernel: &MicroKernel<U>, units: usize, a: &[U], b: &[U], c: &MatMut<'_, f32>) {
    assert!(a.len() >= units * kernel.mr && b.len() >= units * kernel.nr, "a panel is too short");
    assert!((1..=kernel.mr).contains(&c.rows()) && (1..=kernel.nr).contains(&c.cols()), "C is larger than a tile");
    assert!(units.is_multiple_of(kernel.depth), "units are not a multiple of the kernel's depth");
}
