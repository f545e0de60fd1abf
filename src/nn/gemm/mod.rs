//! The matrix product `C = alpha · op(A) · op(B) + beta · C`, with `f32` sums over `f32`, f16 and bf16 operands.
//!
//! Operands are packed into panels for a micro-kernel that is chosen at run time; the packing converts them, so that formats
//! may be mixed and rows may be made on demand ([`RowSource`]). Blocks are sized for the caches and tiles of C shared among
//! rayon's threads; the bits of the result do not depend on the number of threads.
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

mod blocks;
mod epilogue;
pub(crate) mod kernels;
mod operand;
mod pack;
mod vector;
mod words;

pub use kernels::Kernel;
pub use operand::{COLUMN_ALIGNMENT, Operand, RowSource};

use super::activation::Activation;
use super::tensor::{Mat, MatMut};
use super::workspace;
use epilogue::Epilogue;
use kernels::{Family, Scale};
use words::Parts;

/// How exactly operands enter the products. Sums are `f32` always.
///
/// The error of an element of C, apart from the rounding of sums (at most `k · 2⁻²⁴ · Σ|a·b|`, in practice about
/// `√k · 2⁻²⁴`), is at most the stated part of `Σ|a·b|`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// Operands enter exactly: 0. Operands that are both bf16 may use the bf16 kernels, whose products are exact too but
    /// which take denormal numbers as zero.
    #[default]
    Exact,
    /// Each operand as the sum of two bf16 and the product of the low parts left out: 2⁻¹⁶ (f16 operands themselves
    /// are exact). Where no AMX makes three products cheaper than one of `f32`, the same as `Exact`.
    SplitBf16,
    /// Operands rounded to bf16: 2⁻⁷·⁹.
    Bf16,
}

impl Precision {
    /// The name that files keyed by arithmetic use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::SplitBf16 => "split-bf16",
            Self::Bf16 => "bf16",
        }
    }
}

/// A matrix product to be run, `C = activation(alpha · op(A) · op(B) + beta · C + bias) + residual`.
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

/// Multiplications below which handing work to other threads costs more than it gives.
const WORTH_SHARING: usize = 1 << 22;

impl<'a> Gemm<'a> {
    /// `C = op(A) · op(B)`, exactly, on all threads of the current rayon pool.
    pub fn new() -> Self {
        let scale = Scale { alpha: 1.0, beta: 0.0 };
        Self { scale, precision: Precision::Exact, epilogue: Epilogue::default(), kernel: None, threads: true }
    }

    /// Factor of the product (1).
    pub fn alpha(mut self, alpha: f32) -> Self {
        self.scale.alpha = alpha;
        self
    }

    /// Factor of what is in C already (0: C is not read, and may hold NaN).
    pub fn beta(mut self, beta: f32) -> Self {
        self.scale.beta = beta;
        self
    }

    /// Shorthand for `beta(1.0)`: add the product to C.
    pub fn accumulate(self) -> Self {
        self.beta(1.0)
    }

    /// Add `bias[j]` to column j.
    pub fn bias(mut self, bias: &'a [f32]) -> Self {
        self.epilogue.bias = Some(bias);
        self
    }

    /// Apply an activation, after the bias.
    pub fn activation(mut self, activation: Activation) -> Self {
        self.epilogue.activation = Some(activation);
        self
    }

    /// Add a matrix of C's shape, after the activation.
    pub fn residual(mut self, residual: Mat<'a, f32>) -> Self {
        self.epilogue.residual = Some(residual);
        self
    }

    /// How exactly operands enter.
    pub fn precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    /// Use this kernel instead of the best, to compare them.
    pub fn kernel(mut self, kernel: Kernel) -> Self {
        self.kernel = Some(kernel);
        self
    }

    /// Stay on the calling thread, for small products inside of tasks.
    pub fn on_this_thread(mut self) -> Self {
        self.threads = false;
        self
    }

    /// Compute into C: `op(A)` is `[m, k]`, `op(B)` `[k, n]`, C `[m, n]`.
    ///
    /// # Panics
    /// If the shapes do not fit each other, a bias or residual does not fit C, or a kernel was asked for that this processor
    /// does not have or that cannot give the precision (bf16 kernels are exact only if both operands are bf16).
    pub fn run<'b>(&self, a: impl Into<Operand<'b>>, b: impl Into<Operand<'b>>, mut c: MatMut<'_, f32>)
    where
        'a: 'b,
    {
        let (a, b) = (a.into(), b.into());
        let (m, n, k) = (c.rows(), c.cols(), a.cols());
        assert!(a.rows() == m && b.rows() == k && b.cols() == n, "{a:?} · {b:?} into {m} × {n}");
        assert!(self.epilogue.bias.is_none_or(|bias| bias.len() == n), "a bias for {n} columns");
        let fits = |residual: Mat<'_, f32>| residual.rows() == m && residual.cols() == n;
        assert!(self.epilogue.residual.is_none_or(fits), "a residual for {m} × {n}");
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
        let worth = m.saturating_mul(n).saturating_mul(k) >= WORTH_SHARING && rayon::current_num_threads() > 1;
        let parallel = self.threads && worth;
        if (m == 1 || n == 1) && self.kernel.is_none() {
            self.run_vector(&a, &b, c, parallel);
            return;
        }
        let (family, parts) = self.choose(a.is_bf16() && b.is_bf16());
        let job = blocks::Job { a, b, scale: self.scale, epilogue: self.epilogue, parts, parallel };
        match family {
            Family::Single(kernel) => blocks::run(&job, kernel, c),
            Family::Pairs(kernel) => blocks::run(&job, kernel, c),
        }
    }

    /// A product with one row or one column, exact in any precision.
    fn run_vector(&self, a: &Operand<'_>, b: &Operand<'_>, mut c: MatMut<'_, f32>, parallel: bool) {
        let (m, n, k) = (c.rows(), c.cols(), a.cols());
        workspace::with(k + m * n, |buffer: &mut [f32]| {
            let (vector, sums) = buffer.split_at_mut(k);
            if m == 1 {
                vector::values(a, vector);
                vector::multiply(&b.t(), vector, sums, parallel);
            } else {
                vector::values(b, vector);
                vector::multiply(a, vector, sums, parallel);
            }
            for (row, sums) in sums.chunks_exact(n).enumerate() {
                for (value, sum) in c.row_mut(row).iter_mut().zip(sums) {
                    *value = self.scale.apply(*sum, *value);
                }
            }
        });
        self.epilogue.apply(c);
    }

    /// The kernel, and what operands are turned into for it.
    fn choose(&self, both_bf16: bool) -> (Family, [Parts; 2]) {
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
        let family = family.unwrap_or_else(|| panic!("no kernel {asked:?} for {:?} on this processor", self.precision));
        let parts = match (family, self.precision) {
            _ if both_bf16 => [Parts::Exact; 2],
            (_, Precision::Bf16) => [Parts::High; 2],
            (Family::Pairs(_), _) => [Parts::SplitLeft, Parts::SplitRight],
            (Family::Single(_), _) => [Parts::Exact; 2],
        };
        (family, parts)
    }
}

#[cfg(test)]
mod tests;
