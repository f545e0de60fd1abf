//! Run-time choice of the instruction set, and the unsafe code outside the matrix product:
//! conversions, transposes, views.
//!
//! Unsafe code of `nn` is here and in `gemm/kernels` only.
#![allow(unsafe_code)]

pub(crate) mod convert;
pub mod mat_mut;
pub(crate) mod transpose;

#[cfg(target_arch = "x86_64")]
use std::sync::OnceLock;

/// The x86-64 instruction sets that [`vectorised`] loops are compiled for.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// SSE2, which every x86-64 processor has.
    Baseline,
    /// AVX2, FMA and F16C.
    Avx2,
    /// AVX-512 F, BW, DQ and VL.
    Avx512,
}

/// Returns the best level of this processor.
#[cfg(target_arch = "x86_64")]
pub(crate) fn level() -> Level {
    static LEVEL: OnceLock<Level> = OnceLock::new();
    *LEVEL.get_or_init(detect)
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Level {
    let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c");
    let avx512 = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl");
    match (avx2, avx512) {
        (true, true) => Level::Avx512,
        (true, false) => Level::Avx2,
        _ => Level::Baseline,
    }
}

/// Compiles a function once for each [`Level`] and chooses at run time; other targets compile it
/// once.
///
/// All levels share one body, and Rust neither fuses nor reorders float operations, so results are
/// bit-identical. Reductions have to be written over independent lanes, else they do not vectorise.
macro_rules! vectorised {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        #[allow(unsafe_code, clippy::too_many_arguments, clippy::inline_always)]
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn body($($arg: $ty),*) $(-> $ret)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
                fn avx512($($arg: $ty),*) $(-> $ret)? { body($($arg),*) }
                #[target_feature(enable = "avx2,fma,f16c")]
                fn avx2($($arg: $ty),*) $(-> $ret)? { body($($arg),*) }
                match $crate::nn::simd::level() {
                    // SAFETY: `level` returns AVX-512 only where the processor has all features
                    // named above.
                    $crate::nn::simd::Level::Avx512 => return unsafe { avx512($($arg),*) },
                    // SAFETY: `level` returns AVX2 only where the processor has all features named
                    // above.
                    $crate::nn::simd::Level::Avx2 => return unsafe { avx2($($arg),*) },
                    $crate::nn::simd::Level::Baseline => {}
                }
            }
            body($($arg),*)
        }
    };
}
pub(crate) use vectorised;
