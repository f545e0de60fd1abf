//! Matrix product `C = alpha · op(A) · op(B) + beta · C`, with `f32` sums over `f32`, f16 and bf16
//! operands.
//!
//! Operands are packed into panels for a micro-kernel that is chosen at run time. Packing converts
//! them, so that formats may be mixed and rows generated on demand ([`RowSource`]), such as
//! dequantised weights. Blocks are sized for the caches, tiles of C are distributed over rayon's
//! threads; results are bit-identical for any number of threads.
//!
//! ```
//! use mmprm::nn::gemm::Gemm;
//! use mmprm::nn::tensor::{Mat, MatMut};
//! let x = [1.0f32, 2.0, 3.0, 4.0]; // [2 tokens, 2 inputs]
//! let w = [1.0f32, 0.0, 0.0, 1.0, 1.0, 1.0]; // [3 outputs, 2 inputs]
//! let mut y = [0.0; 6];
//! Gemm::new().bias(&[0.5, 0.0, 0.0]).run(Mat::new(&x, 2, 2), w_transposed(&w), MatMut::new(&mut y, 2, 3));
//! assert_eq!(y, [1.5, 2.0, 3.0, 3.5, 4.0, 7.0]);
//!
//! fn w_transposed(w: &[f32]) -> mmprm::nn::gemm::Operand<'_> {
//!     mmprm::nn::gemm::Operand::from(Mat::new(w, 3, 2)).t()
//! }
//! ```

mod bf16_split;
mod blocks;
mod epilogue;
mod gemv;
pub(crate) mod kernels;
mod operand;
mod pack;

pub use kernels::Kernel;
pub use operand::{COLUMN_ALIGNMENT, Operand, RowSource};

use super::activation::Activation;
use super::tensor::{Mat, MatMut};
use super::workspace;
use bf16_split::Encoding;
use epilogue::Epilogue;
use kernels::{Family, Scale};

/// Precision of the operands. Sums are always `f32`.
///
/// Each variant states the maximum error of an element of C, as a fraction of `Σ|a·b|`; the
/// rounding of sums adds at most `k · 2⁻²⁴`, in practice about `√k · 2⁻²⁴`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// Exact operands: error 0. If both are bf16, bf16 kernels may be used, whose products are
    /// exact too but which treat denormal numbers as zero.
    #[default]
    Exact,
    /// Each operand as the sum of two bf16, without the product of the low parts: error 2⁻¹⁶ (f16
    /// operands are split exactly). The same as `Exact` without AMX, since only AMX computes three
    /// bf16 products faster than one of `f32`.
    SplitBf16,
    /// Operands rounded to bf16: error 2⁻⁷·⁹.
    Bf16,
}

impl Precision {
    /// Returns the name in keys of files that depend on the arithmetic.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::SplitBf16 => "split-bf16",
            Self::Bf16 => "bf16",
        }
    }
}

/// A configured matrix product,
/// `C = activation(alpha · op(A) · op(B) + beta · C + bias) + residual`.
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct Gemm<'a> {
    scale: Scale,
    precision: Precision,
    epilogue: Epilogue<'a>,
    kernel: Option<Kernel>,
    threads: bool,
}

impl Default for Gemm<'_> {
    fn default() -> Self {
        Self::new()
    }
}

/// Minimum number of multiplications for which distributing work over threads pays off.
const MIN_PARALLEL: usize = 1 << 22;

impl<'a> Gemm<'a> {
    /// Configures `C = op(A) · op(B)` with [`Precision::Exact`] on all threads of the current rayon
    /// pool.
    pub fn new() -> Self {
        let scale = Scale { alpha: 1.0, beta: 0.0 };
        Self { scale, precision: Precision::Exact, epilogue: Epilogue::default(), kernel: None, threads: true }
    }

    /// Sets the factor of the product (default 1).
    pub fn alpha(mut self, alpha: f32) -> Self {
        self.scale.alpha = alpha;
        self
    }

    /// Sets the factor of C's old values (default 0: C is not read and may hold NaN).
    pub fn beta(mut self, beta: f32) -> Self {
        self.scale.beta = beta;
        self
    }

    /// Adds the product to C: short for `beta(1.0)`.
    pub fn accumulate(self) -> Self {
        self.beta(1.0)
    }

    /// Adds `bias[j]` to column j.
    pub fn bias(mut self, bias: &'a [f32]) -> Self {
        self.epilogue.bias = Some(bias);
        self
    }

    /// Applies an activation after the bias.
    pub fn activation(mut self, activation: Activation) -> Self {
        self.epilogue.activation = Some(activation);
        self
    }

    /// Adds a matrix of C's shape after the activation.
    pub fn residual(mut self, residual: Mat<'a, f32>) -> Self {
        self.epilogue.residual = Some(residual);
        self
    }

    /// Sets the precision of the operands.
    pub fn precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    /// Uses this kernel instead of the fastest, for comparisons.
    pub fn kernel(mut self, kernel: Kernel) -> Self {
        self.kernel = Some(kernel);
        self
    }

    /// Runs on the calling thread only, for small products inside parallel tasks.
    pub fn single_threaded(mut self) -> Self {
        self.threads = false;
        self
    }

    /// Computes the product into C: `op(A)` is `[m, k]`, `op(B)` `[k, n]`, C `[m, n]`.
    ///
    /// # Panics
    /// If the shapes of operands, bias or residual do not match, or the selected kernel is not
    /// available on this processor or does not reach the precision (bf16 kernels are exact only if
    /// both operands are bf16).
    pub fn run<'b>(&self, a: impl Into<Operand<'b>>, b: impl Into<Operand<'b>>, mut c: MatMut<'_, f32>)
    where
        'a: 'b,
    {
        let (a, b) = (a.into(), b.into());
        let (m, n, k) = (c.rows(), c.cols(), a.cols());
        assert!(a.rows() == m && b.rows() == k && b.cols() == n, "{a:?} · {b:?} into {m} × {n}");
        assert!(self.epilogue.bias.is_none_or(|bias| bias.len() == n), "expected a bias of {n} columns");
        let fits = |residual: Mat<'_, f32>| residual.rows() == m && residual.cols() == n;
        assert!(self.epilogue.residual.is_none_or(fits), "expected a residual of {m} × {n}");
        if m == 0 || n == 0 {
            return;
        }
        if k == 0 {
            for row in 0..m {
                let beta = self.scale.beta;
                c.row_mut(row).iter_mut().for_each(|value| *value = if beta == 0.0 { 0.0 } else { beta * *value });
            }
            self.epilogue.apply(c);
            return;
        }
        let worth = m.saturating_mul(n).saturating_mul(k) >= MIN_PARALLEL && rayon::current_num_threads() > 1;
        let parallel = self.threads && worth;
        if (m == 1 || n == 1) && self.kernel.is_none() {
            self.run_gemv(&a, &b, c, parallel);
            return;
        }
        let (family, encodings) = self.choose(a.is_bf16() && b.is_bf16());
        let job = blocks::Job { a, b, scale: self.scale, epilogue: self.epilogue, encodings, parallel };
        match family {
            Family::F32(kernel) => blocks::run(&job, kernel, c),
            Family::Bf16Pairs(kernel) => blocks::run(&job, kernel, c),
        }
    }

    /// Computes a product with one row or one column, exactly for every [`Precision`].
    fn run_gemv(&self, a: &Operand<'_>, b: &Operand<'_>, mut c: MatMut<'_, f32>, parallel: bool) {
        let (m, n, k) = (c.rows(), c.cols(), a.cols());
        workspace::with(k + m * n, |buffer: &mut [f32]| {
            let (vector, sums) = buffer.split_at_mut(k);
            if m == 1 {
                gemv::values(a, vector);
                gemv::multiply(&b.t(), vector, sums, parallel);
            } else {
                gemv::values(b, vector);
                gemv::multiply(a, vector, sums, parallel);
            }
            for (row, sums) in sums.chunks_exact(n).enumerate() {
                for (value, sum) in c.row_mut(row).iter_mut().zip(sums) {
                    *value = self.scale.apply(*sum, *value);
                }
            }
        });
        self.epilogue.apply(c);
    }

    /// Chooses the kernel and the encoding of the operands.
    fn choose(&self, both_bf16: bool) -> (Family, [Encoding; 2]) {
        let exact_pairs = both_bf16 || self.precision == Precision::Bf16;
        let suits = |kernel: &Kernel| match (kernel.is_bf16(), self.precision) {
            (false, _) => true,
            (true, Precision::SplitBf16) => exact_pairs || *kernel == Kernel::AmxBf16 || self.kernel.is_some(),
            (true, _) => exact_pairs,
        };
        let asked = self.kernel;
        let kernel = match &asked {
            Some(kernel) => suits(kernel).then_some(kernel),
            None => Kernel::ALL.iter().find(|kernel| kernel.is_available() && suits(kernel)),
        };
        let family = kernel.and_then(|kernel| kernel.family());
        let family = family
            .unwrap_or_else(|| panic!("no kernel {asked:?} for precision {} on this processor", self.precision.name()));
        let encodings = match (family, self.precision) {
            _ if both_bf16 => [Encoding::Exact; 2],
            (_, Precision::Bf16) => [Encoding::Bf16; 2],
            (Family::Bf16Pairs(_), _) => [Encoding::SplitLeft, Encoding::SplitRight],
            (Family::F32(_), _) => [Encoding::Exact; 2],
        };
        (family, encodings)
    }
}

#[cfg(test)]
mod tests;
