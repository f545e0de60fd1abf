//! Micro-kernels of the matrix product: one tile of C from one panel of A and one of B.
//!
//! A panel holds `mr` rows of A (or `nr` columns of B), interleaved so that the kernel reads it front to back. Kernels come in
//! two families: over `f32`, and over pairs of bf16 that lie next to each other along k in one 32-bit unit. Every kernel adds
//! the products of one element of C in the order of k, so a result's bits depend neither on where tiles begin nor on how
//! many threads there are; between kernels bits differ within the error that [`Precision`](super::Precision) states.
#![allow(unsafe_code)]

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(super) mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;

use crate::nn::tensor::MatMut;

/// What happens to a tile of C: `C = alpha · A·B + beta · C`; with `beta` 0, C is not read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    pub alpha: f32,
    pub beta: f32,
}

impl Scale {
    /// The new value of an element whose sum of products is `sum`.
    #[allow(clippy::inline_always, reason = "has to be compiled with the features of the kernel that uses it")]
    #[inline(always)]
    pub(super) fn apply(self, sum: f32, old: f32) -> f32 {
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
    /// Units along k that lie together for each row in a panel of A: the panel is `[units / depth, mr, depth]`. The number of
    /// units is a multiple of it. A panel of B is always `[units, nr]`.
    pub depth: usize,
    /// Compute a tile of at most `mr` × `nr`.
    pub tile: fn(units: usize, a: &[U], b: &[U], scale: Scale, c: MatMut<'_, f32>),
    /// The same from rows of A that are not packed, `stride` units apart: slower, but where B has only one panel, packing A
    /// costs more than it saves. `None` if there is no such kernel.
    pub loose: Option<Loose<U>>,
}

/// See [`MicroKernel::loose`].
pub(crate) type Loose<U> = fn(units: usize, a: &[U], stride: usize, b: &[U], scale: Scale, c: MatMut<'_, f32>);

/// The instruction sets that have a micro-kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kernel {
    /// Plain Rust.
    Scalar,
    /// `AArch64`'s vectors of four.
    Neon,
    /// AVX2 with FMA.
    Avx2,
    /// AVX-512 F.
    Avx512,
    /// AVX-512 BF16: pairs of bf16.
    Avx512Bf16,
    /// AMX tiles of bf16.
    AmxBf16,
}

/// The kernel of one of the two families.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Family {
    Single(&'static MicroKernel<f32>),
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "no kernel of pairs there"))]
    Pairs(&'static MicroKernel<u32>),
}

impl Kernel {
    /// The name that files keyed by arithmetic use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Neon => "neon",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Avx512Bf16 => "avx512-bf16",
            Self::AmxBf16 => "amx-bf16",
        }
    }

    /// All kernels, best first.
    pub const ALL: [Self; 6] = [Self::AmxBf16, Self::Avx512Bf16, Self::Avx512, Self::Avx2, Self::Neon, Self::Scalar];

    /// Whether this processor, and this operating system for [`AmxBf16`](Self::AmxBf16), can run it.
    pub fn is_available(self) -> bool {
        self.family().is_some()
    }

    /// Whether it multiplies pairs of bf16 instead of `f32`.
    pub fn is_bf16(self) -> bool {
        matches!(self, Self::Avx512Bf16 | Self::AmxBf16)
    }

    /// The kernel, if this processor can run it. Nothing else hands kernels out, which is what makes them safe to call.
    pub(crate) fn family(self) -> Option<Family> {
        match self {
            Self::Scalar => Some(Family::Single(&scalar::KERNEL)),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => Some(Family::Single(&neon::KERNEL)),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => {
                let runs = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
                runs.then_some(Family::Single(&avx2::KERNEL))
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => is_x86_feature_detected!("avx512f").then_some(Family::Single(&avx512::SINGLE)),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16 => {
                let runs = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16");
                runs.then_some(Family::Pairs(&avx512::PAIRS))
            }
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Self::AmxBf16 => amx::is_available().then_some(Family::Pairs(&amx::KERNEL)),
            #[allow(unreachable_patterns, reason = "each target has some of the kernels")]
            _ => None,
        }
    }
}

/// Add a tile's sums `[rows, width]` to C, for kernels whose stores cannot be partial.
#[allow(clippy::inline_always, reason = "has to be compiled with the features of the kernel that uses it")]
#[inline(always)]
fn write_sums(sums: &[f32], width: usize, scale: Scale, mut c: MatMut<'_, f32>) {
    for (row, sums) in sums.chunks_exact(width).enumerate().take(c.rows()) {
        for (value, sum) in c.row_mut(row).iter_mut().zip(sums) {
            *value = scale.apply(*sum, *value);
        }
    }
}

/// [`check`] for rows of A that are not packed.
#[cfg(target_arch = "x86_64")]
fn check_loose<U>(kernel: &MicroKernel<U>, units: usize, a: &[U], stride: usize, b: &[U], c: &MatMut<'_, f32>) {
    assert!((1..=kernel.mr).contains(&c.rows()) && (1..=kernel.nr).contains(&c.cols()), "not a tile");
    assert!(a.len() >= (c.rows() - 1) * stride + units && b.len() >= units * kernel.nr, "a panel is too short");
}

/// What every kernel relies on before it reads and writes through pointers.
fn check<U>(kernel: &MicroKernel<U>, units: usize, a: &[U], b: &[U], c: &MatMut<'_, f32>) {
    assert!(a.len() >= units * kernel.mr && b.len() >= units * kernel.nr, "a panel is too short");
    assert!((1..=kernel.mr).contains(&c.rows()) && (1..=kernel.nr).contains(&c.cols()), "not a tile");
    assert!(units.is_multiple_of(kernel.depth), "units are not whole blocks");
}

#[cfg(test)]
mod tests;
