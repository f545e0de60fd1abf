//! Kernels and layers of the trainer: matrix products, attention, norms and the rest, each forward and backward.
//!
//! There is no tape: a layer's backward is a function that its caller calls, with what the forward left. Activations are
//! `f32`; weights and what is kept for the backward may be stored as f16 or bf16 ([`tensor::Element`]); sums are `f32`.
//! Kernels are chosen at run time for the processor, run on rayon's current pool, and give bits that do not depend on the
//! number of threads. Shapes that do not fit are the caller's mistakes and panic; what comes from files is checked where it
//! is read. This room knows no file format, no configuration and no model.
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
#![cfg_attr(test, allow(clippy::float_cmp, reason = "tests compare bits where bits are what is claimed"))]

pub mod activation;
pub mod attention;
pub mod columns;
mod element;
pub mod embedding;
pub mod gemm;
pub(crate) mod math;
pub mod norm;
pub mod rope;
mod rows;
pub mod shuffle;
pub(crate) mod simd;
pub mod softmax;
pub mod tensor;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod workspace;
