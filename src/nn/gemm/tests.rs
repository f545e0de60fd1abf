//! Whole products against sums in `f64`: shapes, transposes, formats, kernels, precisions,
//! epilogues and threads.

use half::{bf16, f16};

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
use super::kernels::amx;
use super::*;
use crate::nn::testing::{Random, wide};

/// A stored matrix in one of the three formats.
enum Numbers {
    F32(Vec<f32>),
    F16(Vec<f16>),
    Bf16(Vec<bf16>),
}

impl Numbers {
    fn random(random: &mut Random, format: usize, count: usize) -> Self {
        let normals = random.normals(count);
        match format {
            0 => Self::F32(normals),
            1 => Self::F16(normals.into_iter().map(f16::from_f32).collect()),
            _ => Self::Bf16(normals.into_iter().map(bf16::from_f32).collect()),
        }
    }

    fn values(&self) -> Vec<f64> {
        match self {
            Self::F32(values) => wide(values),
            Self::F16(values) => values.iter().map(|value| value.to_f64()).collect(),
            Self::Bf16(values) => values.iter().map(|value| value.to_f64()).collect(),
        }
    }

    /// Returns an operand `[rows, cols]` that is stored either way.
    fn operand(&self, rows: usize, cols: usize, transposed: bool) -> Operand<'_> {
        let (stored_rows, stored_cols) = if transposed { (cols, rows) } else { (rows, cols) };
        let operand = match self {
            Self::F32(values) => Operand::from(Mat::new(values, stored_rows, stored_cols)),
            Self::F16(values) => Operand::from(Mat::new(values, stored_rows, stored_cols)),
            Self::Bf16(values) => Operand::from(Mat::new(values, stored_rows, stored_cols)),
        };
        if transposed { operand.t() } else { operand }
    }
}

/// Sums of products and of absolute products in `f64`, `[m, n]`.
fn exact(a: &[f64], b: &[f64], (m, n, k): (usize, usize, usize), (ta, tb): (bool, bool)) -> Vec<(f64, f64)> {
    let mut sums = vec![(0.0, 0.0); m * n];
    for i in 0..m {
        for l in 0..k {
            let x = if ta { a[l * m + i] } else { a[i * k + l] };
            for j in 0..n {
                let product = x * if tb { b[j * k + l] } else { b[l * n + j] };
                sums[i * n + j].0 += product;
                sums[i * n + j].1 += product.abs();
            }
        }
    }
    sums
}

/// Largest error of C, as a fraction of Σ|a·b|.
fn error(c: &[f32], sums: &[(f64, f64)]) -> f64 {
    assert!(c.iter().all(|value| value.is_finite()));
    c.iter().zip(sums).map(|(c, (sum, size))| (f64::from(*c) - sum).abs() / size.max(1e-30)).fold(0.0, f64::max)
}

fn available() -> impl Iterator<Item = Kernel> {
    Kernel::ALL.into_iter().filter(|kernel| kernel.is_available())
}

#[test]
fn odd_shapes_formats_and_transposes_are_correct_on_every_kernel() {
    let mut random = Random::new(11);
    for case in 0..120 {
        let shape @ (m, n, k) = (1 + random.below(70), 1 + random.below(70), 1 + random.below(70));
        let transposed = (case & 1 > 0, case & 2 > 0);
        let a = Numbers::random(&mut random, random_format(case), m * k);
        let b = Numbers::random(&mut random, random_format(case / 3), k * n);
        let sums = exact(&a.values(), &b.values(), shape, transposed);
        let both_bf16 = matches!((&a, &b), (Numbers::Bf16(_), Numbers::Bf16(_)));
        for kernel in available().filter(|kernel| both_bf16 || !kernel.is_bf16()) {
            let mut c = vec![f32::NAN; m * n];
            Gemm::new().kernel(kernel).run(
                a.operand(m, k, transposed.0),
                b.operand(k, n, transposed.1),
                MatMut::new(&mut c, m, n),
            );
            let error = error(&c, &sums);
            assert!(error <= k as f64 * 2f64.powi(-24), "{shape:?} {transposed:?} on {kernel:?}: {error:e}");
        }
    }
}

fn random_format(case: usize) -> usize {
    case / 4 % 3
}

#[test]
#[cfg_attr(not(feature = "engine"), ignore = "slow without optimisation: see CONTRIBUTING.md")]
fn shapes_that_cross_block_boundaries_are_correct() {
    let mut random = Random::new(12);
    for shape @ (m, n, k) in [(3100, 40, 30), (30, 3100, 40), (40, 50, 2100), (193, 800, 1100), (1, 1, 3000)] {
        for transposed in [(false, false), (false, true), (true, false), (true, true)] {
            let a = Numbers::random(&mut random, 2, m * k);
            let b = Numbers::random(&mut random, 2, k * n);
            let sums = exact(&a.values(), &b.values(), shape, transposed);
            for kernel in available().filter(|kernel| *kernel != Kernel::Scalar) {
                let mut c = vec![f32::NAN; m * n];
                let (a, b) = (a.operand(m, k, transposed.0), b.operand(k, n, transposed.1));
                Gemm::new().kernel(kernel).run(a, b, MatMut::new(&mut c, m, n));
                let error = error(&c, &sums);
                assert!(error <= 4e-6, "{shape:?} {transposed:?} on {kernel:?}: {error:e}");
            }
        }
    }
}

#[test]
fn precisions_stay_within_their_error_bounds() {
    let mut random = Random::new(13);
    let shape @ (m, n, k) = (33, 47, 700);
    for format in [0, 1] {
        let a = Numbers::random(&mut random, format, m * k);
        let b = Numbers::random(&mut random, format, k * n);
        for transposed in [(false, true), (true, false)] {
            let sums = exact(&a.values(), &b.values(), shape, transposed);
            for (precision, bound) in
                [(Precision::Exact, 1e-6), (Precision::SplitBf16, 2f64.powi(-16)), (Precision::Bf16, 2f64.powf(-7.9))]
            {
                let bf16_too = precision != Precision::Exact;
                for kernel in available().filter(|kernel| bf16_too || !kernel.is_bf16()) {
                    let mut c = vec![f32::NAN; m * n];
                    let (a, b) = (a.operand(m, k, transposed.0), b.operand(k, n, transposed.1));
                    Gemm::new().precision(precision).kernel(kernel).run(a, b, MatMut::new(&mut c, m, n));
                    let error = error(&c, &sums);
                    assert!(error <= bound, "{precision:?} on {kernel:?}: {error:e}");
                }
            }
        }
    }
}

#[test]
#[cfg_attr(not(feature = "engine"), ignore = "slow without optimisation: see CONTRIBUTING.md")]
fn matrix_vector_products_are_correct() {
    let mut random = Random::new(20);
    for shape @ (m, n, k) in [(1, 1, 1), (1, 70, 33), (70, 1, 33), (1, 1500, 900), (1500, 1, 900)] {
        for case in 0..12 {
            let transposed = (case & 1 > 0, case & 2 > 0);
            let a = Numbers::random(&mut random, case / 4, m * k);
            let b = Numbers::random(&mut random, case / 4, k * n);
            let sums = exact(&a.values(), &b.values(), shape, transposed);
            let mut c = vec![1.0; m * n];
            let (a, b) = (a.operand(m, k, transposed.0), b.operand(k, n, transposed.1));
            Gemm::new().beta(2.0).run(a, b, MatMut::new(&mut c, m, n));
            for value in &mut c {
                *value -= 2.0;
            }
            let bound = (k as f64 + 8.0) * 2f64.powi(-24);
            let fits = |(c, (sum, size)): (&f32, &(f64, f64))| (f64::from(*c) - sum).abs() <= bound * (size + 4.0);
            assert!(c.iter().zip(&sums).all(fits), "{shape:?} {transposed:?}");
        }
    }
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[test]
fn panels_packed_for_amx_are_correct_under_emulation() {
    let mut random = Random::new(14);
    for case in 0..24 {
        let shape @ (m, n, k) = (1 + random.below(70), 1 + random.below(70), 1 + random.below(170));
        let transposed = (case & 1 > 0, case & 2 > 0);
        let format = case / 4 % 3;
        let a = Numbers::random(&mut random, format, m * k);
        let b = Numbers::random(&mut random, format, k * n);
        let sums = exact(&a.values(), &b.values(), shape, transposed);
        let split = [Encoding::SplitLeft, Encoding::SplitRight];
        let (encodings, bound) =
            if format == 2 { ([Encoding::Exact; 2], 1e-5) } else { (split, 2f64.powi(-16) + 1e-5) };
        let job = blocks::Job {
            a: a.operand(m, k, transposed.0),
            b: b.operand(k, n, transposed.1),
            scale: Scale { alpha: 1.0, beta: 0.0 },
            epilogue: Epilogue::default(),
            encodings,
            parallel: case % 2 == 0,
        };
        let mut c = vec![f32::NAN; m * n];
        blocks::run(&job, &amx::EMULATED, MatMut::new(&mut c, m, n));
        let error = error(&c, &sums);
        assert!(error <= bound, "{shape:?} {transposed:?}: {error:e}");
    }
}

#[test]
#[cfg_attr(not(feature = "engine"), ignore = "slow without optimisation: see CONTRIBUTING.md")]
fn results_do_not_depend_on_the_thread_count() {
    let mut random = Random::new(15);
    for (m, n, k) in [(300, 500, 600), (5, 3000, 700), (2000, 17, 160), (1, 3000, 1500), (3000, 1, 1500)] {
        for precision in [Precision::Exact, Precision::Bf16] {
            let (a, b) = (random.normals(m * k), random.normals(n * k));
            let run = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let mut c = vec![0.0; m * n];
                pool.install(|| {
                    let gemm = Gemm::new().precision(precision);
                    gemm.run(Mat::new(&a, m, k), Operand::from(Mat::new(&b, n, k)).t(), MatMut::new(&mut c, m, n));
                });
                c
            };
            let alone = run(1);
            assert!([2, 3, 5].iter().all(|threads| run(*threads) == alone));
        }
    }
}

#[test]
fn scales_bias_activation_and_residual_apply_in_that_order() {
    let mut random = Random::new(16);
    let (m, n, k) = (37, 45, 1050);
    let (a, b, old) = (random.normals(m * k), random.normals(k * n), random.normals(m * n));
    let (bias, residual) = (random.normals(n), random.normals(m * n));
    let mut product = vec![0.0; m * n];
    Gemm::new().run(Mat::new(&a, m, k), Mat::new(&b, k, n), MatMut::new(&mut product, m, n));
    let mut c = old.clone();
    Gemm::new()
        .alpha(0.05)
        .beta(-2.0)
        .bias(&bias)
        .activation(Activation::Silu)
        .residual(Mat::new(&residual, m, n))
        .run(Mat::new(&a, m, k), Mat::new(&b, k, n), MatMut::new(&mut c, m, n));
    for (i, value) in c.iter().enumerate() {
        let before = 0.05 * product[i] - 2.0 * old[i] + bias[i % n];
        let expected = before / (1.0 + (-before).exp()) + residual[i];
        assert!((value - expected).abs() < 2e-5, "{value} {expected}");
    }
}

#[test]
fn a_product_over_an_empty_k_is_zero_and_still_has_its_epilogue() {
    let mut c = [f32::NAN; 4];
    Gemm::new().bias(&[1.0, 2.0]).run(
        Mat::new(&[0.0f32; 0], 2, 0),
        Mat::new(&[0.0f32; 0], 0, 2),
        MatMut::new(&mut c, 2, 2),
    );
    assert_eq!(c, [1.0, 2.0, 1.0, 2.0]);
}

#[test]
fn strided_views_are_read_and_written_in_place() {
    let mut random = Random::new(17);
    let whole = random.normals(20 * 50);
    let head = Mat::new(&whole, 20, 50).sub(0..20, 10..30);
    let mut c = vec![7.0; 20 * 33];
    let out = MatMut::with_stride(&mut c, 20, 20, 33);
    Gemm::new().run(head, Operand::from(head).t(), out);
    for i in 0..20 {
        for j in 0..33 {
            let dot: f32 = head.row(i).iter().zip(head.row(j % 20)).map(|(a, b)| a * b).sum();
            let expected = if j < 20 { dot } else { 7.0 };
            assert!((c[i * 33 + j] - expected).abs() < 1e-4);
        }
    }
}

/// A row source that checks the alignment of requests.
struct GeneratedRows {
    rows: usize,
    cols: usize,
}

impl GeneratedRows {
    fn value(row: usize, col: usize) -> f32 {
        ((row * 31 + col * 17) % 23) as f32 - 11.0
    }
}

impl RowSource for GeneratedRows {
    fn rows(&self) -> usize {
        self.rows
    }

    fn cols(&self) -> usize {
        self.cols
    }

    fn write_row(&self, row: usize, columns: std::ops::Range<usize>, out: &mut [f32]) {
        assert!(columns.start.is_multiple_of(COLUMN_ALIGNMENT), "{columns:?}");
        assert!(columns.end == self.cols || columns.end.is_multiple_of(COLUMN_ALIGNMENT), "{columns:?}");
        assert_eq!(out.len(), columns.len());
        for (value, col) in out.iter_mut().zip(columns) {
            *value = Self::value(row, col);
        }
    }
}

#[test]
fn row_sources_are_read_in_aligned_ranges() {
    let shape = GeneratedRows { rows: 300, cols: 1300 };
    let all: Vec<f32> = (0..300 * 1300).map(|i| GeneratedRows::value(i / 1300, i % 1300)).collect();
    let mut random = Random::new(18);
    for transposed in [false, true] {
        let (k, n) = if transposed { (1300, 300) } else { (300, 1300) };
        let x = random.normals(20 * k);
        let side = |operand: Operand<'static>| if transposed { operand.t() } else { operand };
        let source: &'static GeneratedRows = Box::leak(Box::new(GeneratedRows { ..shape }));
        let stored: &'static [f32] = Box::leak(all.clone().into_boxed_slice());
        for precision in [Precision::Exact, Precision::Bf16] {
            let (mut c, mut expected) = (vec![0.0; 20 * n], vec![0.0; 20 * n]);
            let gemm = Gemm::new().precision(precision);
            gemm.run(Mat::new(&x, 20, k), side(Operand::from_rows(source)), MatMut::new(&mut c, 20, n));
            gemm.run(Mat::new(&x, 20, k), side(Mat::new(stored, 300, 1300).into()), MatMut::new(&mut expected, 20, n));
            assert_eq!(c, expected);
        }
        // As the left operand, whose panels are narrower.
        let (mut c, mut expected) = (vec![0.0; n * 20], vec![0.0; n * 20]);
        let right = Operand::from(Mat::new(&x, 20, k)).t();
        Gemm::new().run(side(Operand::from_rows(source)).t(), right, MatMut::new(&mut c, n, 20));
        Gemm::new().run(side(Mat::new(stored, 300, 1300).into()).t(), right, MatMut::new(&mut expected, n, 20));
        assert_eq!(c, expected);
    }
}
