//! The log of a training run as curves.

use std::path::Path;

use mmprm::util::io;
use serde_json::{Value, json};

use super::Shown;
use super::kind::MAX_BYTES;
use crate::draw::chart::sparkline;
use crate::draw::pen::Pen;
use crate::exit::BadInput;

/// Values that are drawn, where a log has them, with what they are called.
const CURVES: [(&str, &str); 6] = [
    ("loss", "loss"),
    ("validation_loss", "validation loss"),
    ("validation_auc", "validation AUC"),
    ("validation_best_of_n", "validation Best-of-N"),
    ("lr", "learning rate"),
    ("grad_norm", "gradient norm"),
];

/// Draws a log: a curve for each value, from its first to its last.
pub fn draw(path: &Path, pen: Pen) -> anyhow::Result<Shown> {
    let bytes = io::read_text(path, MAX_BYTES)?;
    // A run that goes on may be writing its last line.
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(&[][..], |end| &bytes[..end]);
    let mut records: Vec<Value> = Vec::new();
    for (index, line) in
        whole.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.trim_ascii().is_empty())
    {
        let broken = |error| BadInput(format!("{}: line {}: {error}", path.display(), index + 1));
        records.push(serde_json::from_slice(line).map_err(broken)?);
    }
    let steps = records.iter().filter_map(|record| record["step"].as_u64()).max();
    let Some(steps) = steps else {
        return Err(BadInput(format!("{}: expected lines with a step", path.display())).into());
    };
    let mut text = format!("{steps} steps\n\n");
    for (field, name) in CURVES {
        let values: Vec<f64> = records.iter().filter_map(|record| record[field].as_f64()).collect();
        if let (Some(first), Some(last)) = (values.first(), values.last()) {
            text += &format!("{name:<22}{:>9} {} {}\n", number(*first), sparkline(&values), pen.bold(&number(*last)));
        }
    }
    let speeds: Vec<f64> = records.iter().filter_map(|record| record["tokens_per_second"].as_f64()).collect();
    if !speeds.is_empty() {
        let mean = speeds.iter().sum::<f64>() / speeds.len() as f64;
        text += &format!("\n{mean:.0} tokens/s on average\n");
    }
    Ok((text, json!({"kind": "training", "steps": steps, "last": records.last()})))
}

fn number(value: f64) -> String {
    if value != 0.0 && value.abs() < 0.01 { format!("{value:.2e}") } else { format!("{value:.4}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_drawn_from_first_to_last_and_a_broken_last_line_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        let log = "{\"step\":1,\"loss\":0.5,\"lr\":0.001}\n{\"step\":2,\"loss\":0.25,\"lr\":0.001}\n{\"step\":2,\"validation_loss\":0.3}\n{\"st";
        std::fs::write(&path, log).unwrap();
        let (text, result) = draw(&path, Pen::plain(None)).unwrap();
        assert_eq!(result["steps"], 2);
        assert!(text.starts_with("2 steps\n\nloss                     0.5000 █▁ 0.2500\n"), "{text}");
        assert!(
            text.contains("validation loss          0.3000 ▁ 0.3000") && text.contains("1.00e-3 ▁▁ 1.00e-3"),
            "{text}"
        );
        std::fs::write(&path, "{\"loss\": 1}\n").unwrap();
        assert!(draw(&path, Pen::plain(None)).is_err());
    }
}
