//! Micro-kernels of the matrix product: one tile of C from one panel of A and one of B.
//!
//! A panel holds `mr` rows of A (or `nr` columns of B), interleaved so that the kernel reads it
//! sequentially. There are two families: over `f32`, and over pairs of bf16 that are adjacent along
//! k, packed in one 32-bit unit. Every kernel sums the products of an element of C in the order of
//! k, so that results depend neither on tile boundaries nor on the number of threads; different
//! kernels differ within the error that [`Precision`](super::Precision) states.
#![allow(unsafe_code)]

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(super) mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod micro;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;

pub(super) use micro::{MicroKernel, Scale, Unpacked};

/// Instruction sets that have a micro-kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kernel {
    /// Plain Rust.
    Scalar,
    /// NEON on `AArch64`.
    Neon,
    /// AVX2 with FMA.
    Avx2,
    /// AVX-512 F.
    Avx512,
    /// AVX-512 BF16, over pairs of bf16.
    Avx512Bf16,
    /// AMX, over pairs of bf16.
    AmxBf16,
}

/// A micro-kernel of one of the two families.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Family {
    F32(&'static MicroKernel<f32>),
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "no bf16 kernel on this target"))]
    Bf16Pairs(&'static MicroKernel<u32>),
}

impl Kernel {
    /// Returns the name in keys of files that depend on the arithmetic.
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

    /// All kernels, fastest first.
    pub const ALL: [Self; 6] = [Self::AmxBf16, Self::Avx512Bf16, Self::Avx512, Self::Avx2, Self::Neon, Self::Scalar];

    /// Whether this processor (and, for [`AmxBf16`](Self::AmxBf16), the operating system) can run
    /// it.
    pub fn is_available(self) -> bool {
        self.family().is_some()
    }

    /// Whether it multiplies pairs of bf16 instead of `f32`.
    pub fn is_bf16(self) -> bool {
        matches!(self, Self::Avx512Bf16 | Self::AmxBf16)
    }

    /// Returns the micro-kernel if this processor can run it. No other function returns kernels,
    /// which makes calling them sound.
    pub(crate) fn family(self) -> Option<Family> {
        match self {
            Self::Scalar => Some(Family::F32(&scalar::KERNEL)),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => Some(Family::F32(&neon::KERNEL)),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => {
                let runs = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
                runs.then_some(Family::F32(&avx2::KERNEL))
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => is_x86_feature_detected!("avx512f").then_some(Family::F32(&avx512::F32)),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16 => {
                let runs = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16");
                runs.then_some(Family::Bf16Pairs(&avx512::BF16_PAIRS))
            }
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Self::AmxBf16 => amx::is_available().then_some(Family::Bf16Pairs(&amx::KERNEL)),
            #[allow(unreachable_patterns, reason = "each target has only some kernels")]
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
