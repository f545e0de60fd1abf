//! Every micro-kernel on random panels, against sums in `f64`.

use super::*;
use crate::nn::tensor::MatMut;
use crate::nn::testing::Random;

/// Sums of products and of absolute products, in `f64`.
fn exact(
    units: usize,
    kernel: (usize, usize),
    a: &dyn Fn(usize, usize) -> f64,
    b: &dyn Fn(usize, usize) -> f64,
) -> Vec<(f64, f64)> {
    let mut sums = vec![(0.0, 0.0); kernel.0 * kernel.1];
    for k in 0..units {
        for row in 0..kernel.0 {
            for col in 0..kernel.1 {
                let product = a(k, row) * b(k, col);
                sums[row * kernel.1 + col].0 += product;
                sums[row * kernel.1 + col].1 += product.abs();
            }
        }
    }
    sums
}

#[test]
fn every_f32_kernel_writes_tiles_of_every_size_and_nothing_else() {
    let mut random = Random::new(7);
    for kernel in Kernel::ALL {
        let Some(Family::F32(kernel)) = kernel.family() else { continue };
        for rows in 1..=kernel.mr {
            for cols in 1..=kernel.nr {
                let units = random.below(70);
                let a = random.normals(units * kernel.mr);
                let b = random.normals(units * kernel.nr);
                let old = random.normals((rows + 1) * (cols + 3));
                let beta = [0.0, 1.0, -0.5][random.below(3)];
                let mut c = old.clone();
                let scale = Scale { alpha: 0.7, beta };
                (kernel.tile)(units, &a, &b, scale, MatMut::with_stride(&mut c, rows, cols, cols + 3));
                let sums =
                    exact(units, (kernel.mr, kernel.nr), &|k, row| f64::from(a[k * kernel.mr + row]), &|k, col| {
                        f64::from(b[k * kernel.nr + col])
                    });
                for (i, (value, old)) in c.iter().zip(&old).enumerate() {
                    let (row, col) = (i / (cols + 3), i % (cols + 3));
                    if row >= rows || col >= cols {
                        assert_eq!(value, old, "outside the tile");
                        continue;
                    }
                    let (sum, size) = sums[row * kernel.nr + col];
                    let expected = 0.7 * sum + f64::from(beta) * f64::from(*old);
                    let bound = (units as f64 + 3.0) * 2f64.powi(-24) * (size + f64::from(*old).abs());
                    assert!((f64::from(*value) - expected).abs() <= bound, "{value} {expected}");
                }
            }
        }
    }
}

#[test]
fn every_bf16_kernel_writes_tiles_of_every_size_and_nothing_else() {
    let mut random = Random::new(8);
    for kernel in Kernel::ALL {
        let Some(Family::Bf16Pairs(kernel)) = kernel.family() else { continue };
        let half = |pair: u32, which: usize| f64::from(f32::from_bits(pair >> (16 * which) << 16));
        for rows in 1..=kernel.mr {
            for cols in [1, 2, 15, 16, 17, 31, kernel.nr] {
                let units = random.below(5) * 16;
                let a = random.pairs(units * kernel.mr);
                let b = random.pairs(units * kernel.nr);
                let mut c = vec![0.5; rows * (cols + 3)];
                let scale = Scale { alpha: 1.0, beta: 1.0 };
                (kernel.tile)(units, &a, &b, scale, MatMut::with_stride(&mut c, rows, cols, cols + 3));
                let place =
                    |k: usize, row: usize| ((k / kernel.depth) * kernel.mr + row) * kernel.depth + k % kernel.depth;
                let sums =
                    exact(2 * units, (kernel.mr, kernel.nr), &|k, row| half(a[place(k / 2, row)], k % 2), &|k, col| {
                        half(b[(k / 2) * kernel.nr + col], k % 2)
                    });
                for (i, value) in c.iter().enumerate() {
                    let (row, col) = (i / (cols + 3), i % (cols + 3));
                    if row >= rows || col >= cols {
                        assert_eq!(*value, 0.5, "outside the tile");
                        continue;
                    }
                    let (sum, size) = sums[row * kernel.nr + col];
                    let bound = (2.0 * units as f64 + 3.0) * 2f64.powi(-24) * (size + 0.5);
                    assert!((f64::from(*value) - sum - 0.5).abs() <= bound, "{value} {sum}");
                }
            }
        }
    }
}
