//! `AdamW`: moments of the gradient and the update rule.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Elements updated by one task. Each depends on itself alone, so the number of threads does not change results.
const TASK: usize = 1 << 16;
/// Elements tested together for being zero: a page of memory.
const PAGE: usize = 1 << 10;

/// Hyper-parameters of `AdamW` (Loshchilov and Hutter, arXiv 1711.05101).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AdamW {
    /// Decay rate of the first moment.
    pub beta1: f64,
    /// Decay rate of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment (ε).
    pub epsilon: f64,
}

impl Default for AdamW {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 }
    }
}

/// The moments of one tensor.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Moments {
    pub first: Vec<f32>,
    pub second: Vec<f32>,
}

impl Moments {
    pub fn new(length: usize) -> Self {
        Self { first: vec![0.0; length], second: vec![0.0; length] }
    }
}

impl AdamW {
    /// Applies update number `step` (from 1) to the gradient times `scale`, with the order of operations of
    /// `torch.optim.AdamW`.
    pub(super) fn update(
        &self,
        values: &mut [f32],
        gradient: &[f32],
        moments: &mut Moments,
        scale: f32,
        rate: Rate,
        step: u64,
    ) {
        let power = step.min(i32::MAX as u64) as i32;
        let keep = rate.keep();
        let (blend, beta2, rest) = ((1.0 - self.beta1) as f32, self.beta2 as f32, (1.0 - self.beta2) as f32);
        let size = (rate.rate / (1.0 - self.beta1.powi(power))) as f32;
        let correction = (1.0 - self.beta2.powi(power)).sqrt() as f32;
        let epsilon = self.epsilon as f32;
        let tasks = values.par_chunks_mut(TASK).zip(gradient.par_chunks(TASK));
        let tasks = tasks.zip(moments.first.par_chunks_mut(TASK)).zip(moments.second.par_chunks_mut(TASK));
        tasks.for_each(|(((values, gradient), first), second)| {
            let pages = values.chunks_mut(PAGE).zip(gradient.chunks(PAGE));
            for (((values, gradient), first), second) in pages.zip(first.chunks_mut(PAGE)).zip(second.chunks_mut(PAGE))
            {
                // Embedding rows of unused tokens: moments are not written, so that their pages take no memory.
                if is_zero(gradient) && is_zero(first) && is_zero(second) {
                    for value in values {
                        *value *= keep;
                    }
                    continue;
                }
                for (((value, gradient), first), second) in values.iter_mut().zip(gradient).zip(first).zip(second) {
                    let gradient = gradient * scale;
                    *first += blend * (gradient - *first);
                    *second = *second * beta2 + rest * gradient * gradient;
                    let root = second.sqrt() / correction + epsilon;
                    *value = *value * keep - size * *first / root;
                }
            }
        });
    }
}

/// Whether all values are 0.
fn is_zero(values: &[f32]) -> bool {
    const TOGETHER: usize = 64;
    values.chunks(TOGETHER).all(|values| values.iter().fold(0, |bits, value| bits | value.to_bits()) == 0)
}

/// Learning rate and weight decay of one update.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    pub rate: f64,
    pub decay: f64,
}

impl Rate {
    /// The factor that decoupled decay applies to a value.
    pub fn keep(self) -> f32 {
        (1.0 - self.rate * self.decay) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn updates_follow_the_published_rule() {
        // Three updates of one value in double precision, written out from the paper.
        let (rate, decay, adam) = (0.01, 0.1, AdamW::default());
        let gradients = [0.5, -0.25, 2.0];
        let (mut expected, mut m, mut v) = (1.0_f64, 0.0_f64, 0.0_f64);
        let (mut values, mut moments) = ([1.0_f32], Moments::new(1));
        for (t, gradient) in (1..).zip(gradients) {
            m = 0.9 * m + 0.1 * gradient;
            v = 0.999 * v + 0.001 * gradient * gradient;
            let (unbiased_m, unbiased_v) = (m / (1.0 - 0.9_f64.powi(t)), v / (1.0 - 0.999_f64.powi(t)));
            expected -= rate * decay * expected + rate * unbiased_m / (unbiased_v.sqrt() + 1e-8);
            adam.update(&mut values, &[gradient as f32 * 4.0], &mut moments, 0.25, Rate { rate, decay }, t as u64);
        }
        approx::assert_abs_diff_eq!(f64::from(values[0]), expected, epsilon = 1e-6);
    }

    #[test]
    fn a_rate_of_zero_changes_only_the_moments() {
        let (mut values, mut moments) = ([0.1_f32, -3.0], Moments::new(2));
        AdamW::default().update(&mut values, &[1.0, 1.0], &mut moments, 1.0, Rate { rate: 0.0, decay: 0.5 }, 1);
        assert_eq!(values, [0.1, -3.0]);
        assert!(moments.first[0] > 0.0);
    }

    #[test]
    fn values_without_gradient_only_decay() {
        let length = 2 * PAGE + 5;
        let mut gradient = vec![0.0_f32; length];
        let (mut values, mut moments) = (vec![2.0_f32; length], Moments::new(length));
        let rate = Rate { rate: 0.5, decay: 0.5 };
        AdamW::default().update(&mut values, &gradient, &mut moments, 1.0, rate, 1);
        assert!(values.iter().all(|value| *value == 1.5));
        // Moments keep moving the values of a page that had a gradient once.
        gradient[PAGE] = 1.0;
        AdamW::default().update(&mut values, &gradient, &mut moments, 1.0, rate, 2);
        let moved = values.clone();
        AdamW::default().update(&mut values, &vec![0.0; length], &mut moments, 1.0, Rate { rate: 0.5, decay: 0.0 }, 3);
        let changed: Vec<usize> = (0..length).filter(|i| values[*i] != moved[*i]).collect();
        assert_eq!(changed, [PAGE]);
    }

    #[test]
    fn many_elements_are_updated_like_one() {
        let length = 3 * TASK + 17;
        let gradient: Vec<f32> = (0..length).map(|i| (i % 13) as f32 - 6.0).collect();
        let (mut values, mut moments) = (vec![0.5_f32; length], Moments::new(length));
        let rate = Rate { rate: 0.1, decay: 0.01 };
        AdamW::default().update(&mut values, &gradient, &mut moments, 1.0, rate, 1);
        let (mut one, mut moment) = ([0.5_f32], Moments::new(1));
        AdamW::default().update(&mut one, &gradient[length - 1..], &mut moment, 1.0, rate, 1);
        assert_eq!(values[length - 1].to_bits(), one[0].to_bits());
    }
}
