//! Clipping by the global norm of the gradients.

use rayon::prelude::*;

/// Elements summed by one task; fixed, so that the sum does not depend on the number of threads.
const TASK: usize = 1 << 16;

/// Euclidean norm over all gradients together; NaN or infinite if any value is.
pub fn global_norm<'a>(gradients: impl IntoIterator<Item = &'a [f32]>) -> f64 {
    gradients.into_iter().map(sum_of_squares).sum::<f64>().sqrt()
}

fn sum_of_squares(values: &[f32]) -> f64 {
    let parts: Vec<f64> = values.par_chunks(TASK).map(task_sum).collect();
    parts.iter().sum()
}

/// Sum of squares of a task, in independent lanes.
fn task_sum(values: &[f32]) -> f64 {
    const LANES: usize = 16;
    let square = |value: f32| f64::from(value) * f64::from(value);
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += square(*value);
        }
    }
    lanes.iter().sum::<f64>() + rest.iter().map(|value| square(*value)).sum::<f64>()
}

/// Factor that clips gradients of global norm `norm` to `max_norm`, as torch's `clip_grad_norm_`.
pub fn clip_factor(norm: f64, max_norm: f64) -> f64 {
    (max_norm / (norm + 1e-6)).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_norm_is_taken_over_all_tensors() {
        let (a, b) = ([3.0_f32, 0.0], [4.0_f32]);
        approx::assert_relative_eq!(global_norm([a.as_slice(), &b]), 5.0);
        assert!(global_norm([[f32::NAN].as_slice(), &b]).is_nan());
        let many = vec![1.0_f32; 3 * TASK + 1];
        approx::assert_relative_eq!(global_norm([many.as_slice()]), (many.len() as f64).sqrt());
    }

    #[test]
    fn only_norms_above_the_maximum_are_clipped() {
        approx::assert_relative_eq!(clip_factor(25.0, 1.0), 1.0 / 25.000001);
        assert_eq!(clip_factor(0.5, 1.0), 1.0);
    }
}
