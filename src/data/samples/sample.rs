//! One training sample and its line in the training file.

use serde_json::{Value, json};

use crate::compat;

/// A solution, or the beginning of one, with a soft label after each marked step.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The text: parts of the solution separated by blank lines, each ended by `<prm>`.
    pub process: String,
    /// The label at each `<prm>`, 0 to 1.
    pub labels: Vec<f64>,
    /// The weight of each label in the loss; `None` where all weigh 1.
    pub weights: Option<Vec<f64>>,
}

/// Returns one line of the training file as `json.dumps(…, ensure_ascii=False)` writes it, without
/// the newline. `image` is the tree's: a string, an array of several, or null for none; then the
/// key is left out.
pub fn sample_line(id: usize, question: &str, image: &Value, sample: &Sample) -> String {
    let image = match image {
        Value::Null => String::new(),
        Value::Array(several) => {
            let several: Vec<String> = several.iter().map(Value::to_string).collect();
            format!("\"image\": [{}], ", several.join(", "))
        }
        one => format!("\"image\": {one}, "),
    };
    // serde_json and Python write the same text for a string, but not for a number.
    let human = json!(format!("Question: {question}\nProcess: {}", sample.process));
    let labels = compat::json::dumps(&json!(sample.labels));
    let weights =
        sample.weights.as_ref().map(|weights| format!(", \"weights\": {}", compat::json::dumps(&json!(weights))));
    let weights = weights.unwrap_or_default();
    format!(
        r#"{{"id": {id}, {image}"conversations": [{{"from": "human", "value": {human}}}, {{"from": "gpt", "value": {labels}}}]{weights}}}"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_without_image_has_no_image_key() {
        let sample = Sample { process: "a \"b\"\n\u{1}é<prm>".into(), labels: vec![1.0, 0.0625], weights: None };
        assert_eq!(
            sample_line(0, "Q", &Value::Null, &sample),
            r#"{"id": 0, "conversations": [{"from": "human", "value": "Question: Q\nProcess: a \"b\"\n\u0001é<prm>"}, {"from": "gpt", "value": [1.0, 0.0625]}]}"#
        );
        let weighted = Sample { weights: Some(vec![0.5, 1.0]), ..sample.clone() };
        assert!(
            sample_line(0, "Q", &Value::Null, &weighted)
                .ends_with(r#""value": [1.0, 0.0625]}], "weights": [0.5, 1.0]}"#)
        );
        let several = sample_line(0, "Q", &json!(["a.png", "b.png"]), &sample);
        assert!(several.starts_with(r#"{"id": 0, "image": ["a.png", "b.png"], "conversations""#));
    }
}
