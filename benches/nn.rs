//! CPU kernels: matrix products, compared with the `gemm` crate and the processor's peak, and
//! attention.
//!
//! Run `cargo bench --bench nn`. Throughput is in floating-point operations per second on all
//! threads, or on one with `RAYON_NUM_THREADS=1`.
#![allow(missing_docs, reason = "criterion's macro makes a public function without docs")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use half::bf16;
use mmprm::nn::attention::{Attention, Heads, Mask, SavedAttention, Segments};
use mmprm::nn::gemm::{Gemm, Operand};
use mmprm::nn::tensor::{Mat, MatMut};

/// Returns varied numbers, none of them denormal.
fn numbers(count: usize) -> Vec<f32> {
    (0..count as u32).map(|i| (i.wrapping_mul(0x9e37_79b1) >> 8) as f32 / 8_388_608.0 - 1.0).collect()
}

/// Independent multiply-adds in registers: the upper bound of any product.
#[cfg(target_arch = "x86_64")]
mod peak {
    use std::arch::asm;
    use std::arch::x86_64::{
        __m256, __m512, __m512bh, _mm256_fmadd_ps, _mm256_set1_ps, _mm512_dpbf16_ps, _mm512_fmadd_ps,
        _mm512_set1_epi32, _mm512_set1_ps,
    };
    use std::hint::black_box;

    use mmprm::nn::gemm::Kernel;

    /// Multiply-adds per independent sum.
    const STEPS: u64 = 100_000;
    const SUMS: usize = 12;

    /// Name, floating-point operations per run, and the loop.
    pub type Peak = (&'static str, u64, fn());

    pub fn all() -> Vec<Peak> {
        let mut all: Vec<Peak> = Vec::new();
        let operations = |lanes: u64| 2 * STEPS * SUMS as u64 * lanes;
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: the processor has AVX2 and FMA.
            all.push(("avx2 f32", operations(8), || unsafe { avx2() }));
        }
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has AVX-512 F.
            all.push(("avx512 f32", operations(16), || unsafe { avx512() }));
        }
        if is_x86_feature_detected!("avx512bf16") {
            // SAFETY: the processor has AVX-512 BF16.
            all.push(("avx512 bf16", operations(32), || unsafe { avx512_bf16() }));
        }
        if Kernel::AmxBf16.is_available() {
            // SAFETY: the kernel is available. An instruction multiplies 16 × 32 by 32 × 16.
            all.push(("amx bf16", 2 * STEPS * 6 * 16 * 32 * 16, || unsafe { amx_bf16() }));
        }
        all
    }

    /// # Safety
    /// The AMX kernel is available.
    unsafe fn amx_bf16() {
        // Palette 1; eight registers with 64 bytes (at 16, two bytes each) in each of 16 rows (at
        // 48).
        let config: [u8; 64] = std::array::from_fn(|at| match at {
            0 => 1,
            16..32 if at % 2 == 0 => 64,
            48..56 => 16,
            _ => 0,
        });
        let pairs = black_box([0x3f80_3f80_u32; 256]);
        // SAFETY: the caller guarantees the instructions; the loads stay inside `pairs`, 16 rows of
        // 64 bytes.
        unsafe {
            asm!(
                "ldtilecfg [{config}]",
                "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3", "tilezero tmm4", "tilezero tmm5",
                "tileloadd tmm6, [{pairs} + {row}*1]",
                "tileloadd tmm7, [{pairs} + {row}*1]",
                "2:",
                "tdpbf16ps tmm0, tmm6, tmm7",
                "tdpbf16ps tmm1, tmm6, tmm7",
                "tdpbf16ps tmm2, tmm6, tmm7",
                "tdpbf16ps tmm3, tmm6, tmm7",
                "tdpbf16ps tmm4, tmm6, tmm7",
                "tdpbf16ps tmm5, tmm6, tmm7",
                "dec {steps}",
                "jnz 2b",
                "tilerelease",
                config = in(reg) config.as_ptr(),
                pairs = in(reg) pairs.as_ptr(),
                row = in(reg) 64_usize,
                steps = inout(reg) STEPS => _,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack, readonly),
            );
        }
    }

    #[target_feature(enable = "avx2,fma")]
    fn avx2() {
        let mut sums: [__m256; SUMS] = std::array::from_fn(|i| _mm256_set1_ps(i as f32));
        let (a, b) = (_mm256_set1_ps(black_box(0.999)), _mm256_set1_ps(black_box(0.001)));
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(*sum, a, b);
            }
        }
        black_box(sums);
    }

    #[target_feature(enable = "avx512f")]
    fn avx512() {
        let mut sums: [__m512; SUMS] = std::array::from_fn(|i| _mm512_set1_ps(i as f32));
        let (a, b) = (_mm512_set1_ps(black_box(0.999)), _mm512_set1_ps(black_box(0.001)));
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(*sum, a, b);
            }
        }
        black_box(sums);
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    fn avx512_bf16() {
        let mut sums: [__m512; SUMS] = std::array::from_fn(|i| _mm512_set1_ps(i as f32));
        // SAFETY: both types are 512 plain bits.
        let pairs: __m512bh = unsafe { std::mem::transmute(_mm512_set1_epi32(black_box(0x3f80_0000))) };
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = _mm512_dpbf16_ps(*sum, pairs, pairs);
            }
        }
        black_box(sums);
    }
}

fn peaks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("peak");
    #[cfg(target_arch = "x86_64")]
    for (name, operations, run) in peak::all() {
        group.throughput(Throughput::Elements(operations * rayon::current_num_threads() as u64));
        group.bench_function(name, |bencher| bencher.iter(|| rayon::broadcast(|_| run())));
    }
    group.finish();
}

fn products(criterion: &mut Criterion) {
    let shapes = [
        (512, 512, 512),
        (1024, 1024, 1024),
        (2048, 2048, 2048),
        (1, 2048, 2048),
        (16, 2048, 2048),
        (4096, 16, 2048),
        (4096, 2048, 16),
        (128, 256, 64),
    ];
    for (m, n, k) in shapes {
        let mut group = criterion.benchmark_group(format!("product {m}x{n}x{k}"));
        group.throughput(Throughput::Elements(2 * (m * n * k) as u64)).sample_size(20);
        let (a, b) = (numbers(m * k), numbers(n * k));
        let narrow = |values: &[f32]| values.iter().map(|value| bf16::from_f32(*value)).collect::<Vec<_>>();
        let (narrow_a, narrow_b) = (narrow(&a), narrow(&b));
        let mut c = vec![0.0; m * n];
        group.bench_function("f32 NN", |bencher| {
            bencher.iter(|| Gemm::new().run(Mat::new(&a, m, k), Mat::new(&b, k, n), MatMut::new(&mut c, m, n)));
        });
        group.bench_function("f32 NT", |bencher| {
            let b = Operand::from(Mat::new(&b, n, k)).t();
            bencher.iter(|| Gemm::new().run(Mat::new(&a, m, k), b, MatMut::new(&mut c, m, n)));
        });
        group.bench_function("f32 TN", |bencher| {
            let a = Operand::from(Mat::new(&a, k, m)).t();
            bencher.iter(|| Gemm::new().run(a, Mat::new(&b, k, n), MatMut::new(&mut c, m, n)));
        });
        group.bench_function("bf16 NT", |bencher| {
            let b = Operand::from(Mat::new(&narrow_b, n, k)).t();
            bencher.iter(|| Gemm::new().run(Mat::new(&narrow_a, m, k), b, MatMut::new(&mut c, m, n)));
        });
        for (name, b_column, b_row) in [("gemm crate NN", 1, n as isize), ("gemm crate NT", k as isize, 1)] {
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    let threads = gemm::Parallelism::Rayon(0);
                    let (rows, inner) = (n as isize, k as isize);
                    let (a, b, c) = (a.as_ptr(), b.as_ptr(), c.as_mut_ptr());
                    // SAFETY: the strides are those of dense matrices of these shapes.
                    unsafe {
                        gemm::gemm(
                            m, n, k, c, 1, rows, false, a, 1, inner, b, b_column, b_row, 0.0, 1.0, false, false, false,
                            threads,
                        );
                    }
                });
            });
        }
        group.finish();
    }
}

fn attention(criterion: &mut Criterion) {
    let (heads, width) = (Heads { query: 16, key: 8, dim: 64 }, 1024);
    let mut group = criterion.benchmark_group("attention 16x64");
    group.sample_size(20);
    // A plain sample, and a tree with a long root and short branches.
    let branches = std::iter::once((512, None)).chain((0..32).map(|i| (48, Some(if i % 4 == 0 { 0 } else { i }))));
    let tree: Vec<(usize, Option<usize>)> = branches.collect();
    let shapes = [("plain", Segments::plain(&[2048], Mask::Causal)), ("tree", Segments::new(&tree, Mask::Causal))];
    for (name, segments) in shapes {
        let tokens = segments.tokens();
        let (q, k, v) = (numbers(tokens * width), numbers(tokens * width / 2), numbers(tokens * width / 2));
        let attention = Attention::new(heads, &segments);
        let of_query = |values| Mat::new(values, tokens, width);
        let of_key = |values| Mat::new(values, tokens, width / 2);
        let (mut out, mut lse) = (vec![0.0; tokens * width], vec![0.0; tokens * heads.query]);
        let products = 2 * segments.pairs() * width as u64;
        group.throughput(Throughput::Elements(2 * products));
        group.bench_function(BenchmarkId::new("forward", name), |bencher| {
            bencher.iter(|| {
                let out = MatMut::new(&mut out, tokens, width);
                let lse = MatMut::new(&mut lse, tokens, heads.query);
                attention.forward(of_query(&q), of_key(&k), of_key(&v), out, lse);
            });
        });
        let (mut d_q, mut d_k, mut d_v) = (q.clone(), k.clone(), v.clone());
        group.throughput(Throughput::Elements(5 * products));
        group.bench_function(BenchmarkId::new("backward", name), |bencher| {
            let lse = Mat::new(&lse, tokens, heads.query);
            let saved = SavedAttention { q: of_query(&q), k: of_key(&k), v: of_key(&v), out: of_query(&out), lse };
            bencher.iter(|| {
                let d_q = MatMut::new(&mut d_q, tokens, width);
                let d_k = MatMut::new(&mut d_k, tokens, width / 2);
                let d_v = MatMut::new(&mut d_v, tokens, width / 2);
                attention.backward(saved, of_query(&out), d_q, d_k, d_v);
            });
        });
        black_box((&d_q, &d_k, &d_v));
    }
    group.finish();
}

criterion_group!(benches, peaks, products, attention);
criterion_main!(benches);
