//! Curves in one line of text.

/// Columns of a curve at most.
const COLUMNS: usize = 48;
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A line of blocks whose heights follow `values`, means of neighbouring ones where there are many; empty without finite
/// values.
pub fn sparkline(values: &[f64]) -> String {
    let finite: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    let columns = COLUMNS.min(finite.len());
    let means: Vec<f64> = (0..columns)
        .map(|column| {
            let part = &finite[column * finite.len() / columns..(column + 1) * finite.len() / columns];
            part.iter().sum::<f64>() / part.len() as f64
        })
        .collect();
    let low = means.iter().copied().fold(f64::INFINITY, f64::min);
    let range = means.iter().copied().fold(f64::NEG_INFINITY, f64::max) - low;
    let level = |mean: &f64| if range > 0.0 { ((mean - low) / range * 7.0).round() as usize } else { 0 };
    means.iter().map(|mean| LEVELS[level(mean).min(7)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_spans_its_values_and_has_a_column_for_each_up_to_the_maximum() {
        assert_eq!(sparkline(&[0.0, 7.0, f64::NAN, 3.0]), "▁█▄");
        assert_eq!(sparkline(&[2.0, 2.0]), "▁▁");
        assert_eq!(sparkline(&[]), "");
        let rising: Vec<f64> = (0..1000).map(f64::from).collect();
        let drawn: Vec<char> = sparkline(&rising).chars().collect();
        assert!(drawn.len() == COLUMNS && drawn.is_sorted() && drawn[0] == '▁' && drawn[COLUMNS - 1] == '█');
    }
}
