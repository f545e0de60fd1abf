//! CPU kernels and layers: matrix products, attention, norms, activations and the rest, each
//! forward and backward.
//!
//! Training and the native vision encoder both run on them. There is no tape: a layer's backward is
//! a function that the caller calls with what the forward saved. Activations are `f32`; weights and
//! saved activations may be stored as f16 or bf16 ([`tensor::Element`]); sums are `f32`. Kernels
//! are chosen at run time for the processor and run on rayon's current pool; results are
//! bit-identical for any number of threads. Mismatched shapes are bugs of the caller and panic;
//! file contents are validated where they are read. File formats, configurations and models are
//! left to other modules.
//!
//! ```
//! use mmprm::nn::gemm::Gemm;
//! use mmprm::nn::norm::RmsNorm;
//! use mmprm::nn::tensor::{Mat, MatMut};
//! // y = RMSNorm(x) · Wᵀ for 2 tokens of width 2.
//! let (x, weight) = ([3.0f32, 3.0, -5.0, -5.0], [1.0f32, 1.0]);
//! let (mut normed, mut scales) = ([0.0; 4], [0.0; 2]);
//! let norm = RmsNorm { weight: &weight, epsilon: 0.0 };
//! norm.forward(Mat::new(&x, 2, 2), MatMut::new(&mut normed, 2, 2), &mut scales);
//! let mut y = [0.0; 2];
//! Gemm::new().run(Mat::new(&normed, 2, 2), Mat::new(&[1.0f32, 1.0], 2, 1), MatMut::new(&mut y, 2, 1));
//! assert_eq!(y, [2.0, -2.0]);
//! ```
#![cfg_attr(test, allow(clippy::float_cmp, reason = "tests compare bits where bit-identity is promised"))]

pub mod activation;
pub mod attention;
pub mod columns;
pub mod embedding;
pub mod gemm;
pub(crate) mod math;
pub mod norm;
pub mod pixel_shuffle;
pub mod rope;
mod rows;
pub(crate) mod simd;
pub mod softmax;
pub mod tensor;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod workspace;
