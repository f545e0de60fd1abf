//! Pillow's bicubic resize of 8-bit images, bit for bit.
//!
//! Keys' kernel with a = −0.5, widened by the scale when shrinking (so that it averages), weights
//! in fixed point with 22 fractional bits, and two passes with 8-bit values between them, so that
//! the order of the passes affects the last bit. The order is that of Pillow 13, which the golden
//! values were made with: horizontal first, unless the height shrinks by more than twice as many
//! pixels as the width.

use rayon::prelude::*;

use super::Rgb8;

/// Fractional bits of a weight: 32, minus the 8 of a pixel, minus 2 for overshoot.
const PRECISION_BITS: u32 = 32 - 8 - 2;
const HALF: i32 = 1 << (PRECISION_BITS - 1);

/// Resizes to `width` × `height` (neither 0) as Pillow's `Image.resize((width, height), BICUBIC)`
/// does, without keeping the aspect ratio.
pub fn resize(image: &Rgb8, width: usize, height: usize) -> Rgb8 {
    let columns = Taps::new(image.width, width);
    let rows = Taps::new(image.height, height);
    // A pass between equal sizes has weights 1 and 0 only.
    match (image.width == width, image.height == height) {
        (true, true) => image.clone(),
        (true, false) => vertical(image, &rows),
        (false, true) => horizontal(image, &columns),
        (false, false) if is_vertical_first(image, width, height) => horizontal(&vertical(image, &rows), &columns),
        (false, false) => vertical(&horizontal(image, &columns), &rows),
    }
}

fn is_vertical_first(image: &Rgb8, width: usize, height: usize) -> bool {
    let shrunk_by = |from: usize, to: usize| from as i64 - to as i64;
    shrunk_by(image.height, height) > 2 * shrunk_by(image.width, width).max(0)
}

/// The input positions and weights of each output position.
struct Taps {
    /// For each output position, the first input position and the end of its weights in `weights`.
    windows: Vec<(usize, usize)>,
    weights: Vec<i32>,
}

impl Taps {
    fn new(input: usize, output: usize) -> Self {
        const SUPPORT: f64 = 2.0;
        let scale = input as f64 / output as f64;
        let widening = scale.max(1.0);
        let support = SUPPORT * widening;
        let mut taps = Self { windows: Vec::with_capacity(output), weights: Vec::new() };
        for position in 0..output {
            let centre = (position as f64 + 0.5) * scale;
            // Negative values become 0 in the conversion.
            let first = (centre - support + 0.5) as usize;
            let end = ((centre + support + 0.5) as usize).min(input);
            let weights: Vec<f64> =
                (first..end).map(|at| cubic((at as f64 - centre + 0.5) * (1.0 / widening))).collect();
            let total: f64 = weights.iter().sum();
            taps.weights.extend(weights.iter().map(|weight| fixed_point(weight / total)));
            taps.windows.push((first, taps.weights.len()));
        }
        taps
    }

    fn len(&self) -> usize {
        self.windows.len()
    }

    /// Returns the first input position and the weights of the output position `at`.
    fn window(&self, at: usize) -> (usize, &[i32]) {
        let begin = if at == 0 { 0 } else { self.windows[at - 1].1 };
        let (first, end) = self.windows[at];
        (first, &self.weights[begin..end])
    }
}

fn cubic(distance: f64) -> f64 {
    const A: f64 = -0.5;
    let x = distance.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

fn fixed_point(weight: f64) -> i32 {
    let scaled = weight * f64::from(1 << PRECISION_BITS);
    // The conversion truncates towards zero, so this rounds halves away from it.
    (scaled + 0.5_f64.copysign(scaled)) as i32
}

fn to_byte(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

/// Returns the number of rows of one task: enough work to be worth another thread.
fn rows_per_task(row_bytes: usize) -> usize {
    (64 * 1024 / row_bytes.max(1)).max(1)
}

fn horizontal(image: &Rgb8, columns: &Taps) -> Rgb8 {
    let row_bytes = columns.len() * 3;
    let mut data = vec![0; row_bytes * image.height];
    data.par_chunks_exact_mut(row_bytes)
        .zip(image.data.par_chunks_exact(image.width * 3))
        .with_min_len(rows_per_task(image.width * 3))
        .for_each(|(output_row, input_row)| {
            let (pixels, _) = input_row.as_chunks::<3>();
            for (at, pixel) in output_row.as_chunks_mut::<3>().0.iter_mut().enumerate() {
                let (first, weights) = columns.window(at);
                let mut sums = [HALF; 3];
                for (weight, input) in weights.iter().zip(&pixels[first..]) {
                    for channel in 0..3 {
                        sums[channel] += weight * i32::from(input[channel]);
                    }
                }
                *pixel = sums.map(to_byte);
            }
        });
    Rgb8 { width: columns.len(), height: image.height, data }
}

fn vertical(image: &Rgb8, rows: &Taps) -> Rgb8 {
    let row_bytes = image.width * 3;
    let mut data = vec![0; row_bytes * rows.len()];
    data.par_chunks_exact_mut(row_bytes).with_min_len(rows_per_task(row_bytes)).enumerate().for_each_init(
        || vec![HALF; row_bytes],
        |sums, (at, output_row)| {
            sums.fill(HALF);
            let (first, weights) = rows.window(at);
            for (weight, input_row) in weights.iter().zip(image.data[first * row_bytes..].chunks_exact(row_bytes)) {
                for (sum, &value) in sums.iter_mut().zip(input_row) {
                    *sum += weight * i32::from(value);
                }
            }
            for (byte, &sum) in output_row.iter_mut().zip(sums.iter()) {
                *byte = to_byte(sum);
            }
        },
    );
    Rgb8 { width: image.width, height: rows.len(), data }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(width: usize, height: usize) -> Rgb8 {
        let data = (0..width * height * 3).map(|i| (i * 37 % 251) as u8).collect();
        Rgb8 { width, height, data }
    }

    #[test]
    fn weights_of_every_position_sum_to_one() {
        for (input, output) in [(1, 448), (448, 1), (5, 112), (1300, 448), (7, 7)] {
            let taps = Taps::new(input, output);
            for at in 0..output {
                let (first, weights) = taps.window(at);
                assert!(first + weights.len() <= input);
                let total: i32 = weights.iter().sum();
                assert!(
                    (total - (1 << PRECISION_BITS)).unsigned_abs() as usize <= weights.len(),
                    "{input} to {output}"
                );
            }
        }
    }

    #[test]
    fn resizing_to_the_same_size_changes_nothing() {
        let image = ramp(13, 9);
        assert_eq!(resize(&image, 13, 9), image);
        let all_passes = vertical(&horizontal(&image, &Taps::new(13, 13)), &Taps::new(9, 9));
        assert_eq!(all_passes, image);
    }

    #[test]
    fn the_vertical_pass_comes_first_only_if_the_height_shrinks_more_than_twice_as_much_as_the_width() {
        let square = ramp(100, 100);
        for (width, height, vertical_first) in
            [(95, 90, false), (95, 89, true), (95, 200, false), (101, 99, true), (101, 101, false), (200, 101, false)]
        {
            assert_eq!(is_vertical_first(&square, width, height), vertical_first, "{width}×{height}");
        }
    }

    #[test]
    fn one_pixel_fills_any_size() {
        let pixel = Rgb8 { width: 1, height: 1, data: vec![1, 2, 3] };
        let resized = resize(&pixel, 4, 5);
        assert_eq!((resized.width, resized.height), (4, 5));
        assert_eq!(resized.data, [1, 2, 3].repeat(20));
    }

    #[test]
    fn overshoot_at_an_edge_is_clipped() {
        let edge = Rgb8 { width: 4, height: 1, data: [[0; 6], [255; 6]].concat() };
        let resized = resize(&edge, 16, 1);
        assert_eq!(resized.data[0], 0);
        assert_eq!(resized.data[45], 255);
        assert!(resized.data[21] > 0 && resized.data[24] < 255);
    }
}
