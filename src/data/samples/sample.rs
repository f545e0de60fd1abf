//! One training sample and its line in the training file.

use serde_json::{Value, json};

use crate::compat;

/// Ends a step in the text that a PRM reads; its scores are read there.
pub const STEP_TOKEN: &str = "<prm>";

/// Separates question and steps in that text.
pub(crate) const PROCESS: &str = "\nProcess: ";

/// A solution, or the beginning of one, with a soft label after each marked step.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The parts of the solution, each one step or several separated by blank lines.
    pub parts: Vec<String>,
    /// The label at the end of each part, 0 to 1.
    pub labels: Vec<f64>,
    /// The weight of each label in the loss; `None` where all weigh 1.
    pub weights: Option<Vec<f64>>,
}

impl Sample {
    /// Returns the parts as one text: separated by blank lines, each ended by `<prm>`.
    pub fn process(&self) -> String {
        let parts: Vec<String> = self.parts.iter().map(|part| format!("{part}{STEP_TOKEN}")).collect();
        parts.join("\n\n")
    }
}

/// Returns one line of the training file as `json.dumps(…, ensure_ascii=False)` writes it, without
/// the newline. `image` is the tree's: a string, an array of several, or null for none; then the
/// key is left out.
///
/// Where the question or a part has text that would be taken for a step token or for the beginning
/// of the process, the line also has them by themselves, as `question` and `steps`, which MM-PRM
/// does not read.
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
    let human = json!(format!("Question: {question}{PROCESS}{}", sample.process()));
    let labels = compat::json::dumps(&json!(sample.labels));
    let weights =
        sample.weights.as_ref().map(|weights| format!(", \"weights\": {}", compat::json::dumps(&json!(weights))));
    let weights = weights.unwrap_or_default();
    let is_ambiguous = |text: &str| text.contains(STEP_TOKEN) || text.contains(PROCESS);
    let parts = if is_ambiguous(question) || sample.parts.iter().any(|part| is_ambiguous(part)) {
        let texts: Vec<String> = sample.parts.iter().map(|part| json!(part).to_string()).collect();
        format!("\"question\": {}, \"steps\": [{}], ", json!(question), texts.join(", "))
    } else {
        String::new()
    };
    format!(
        r#"{{"id": {id}, {image}{parts}"conversations": [{{"from": "human", "value": {human}}}, {{"from": "gpt", "value": {labels}}}]{weights}}}"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_without_image_has_no_image_key() {
        let sample = Sample { parts: vec!["a \"b\"\n\u{1}é".into()], labels: vec![1.0, 0.0625], weights: None };
        assert_eq!(
            sample_line(0, "Q", &Value::Null, &sample),
            r#"{"id": 0, "conversations": [{"from": "human", "value": "Question: Q\nProcess: a \"b\"\n\u0001é<prm>"}, {"from": "gpt", "value": [1.0, 0.0625]}]}"#
        );
        let weighted = Sample { weights: Some(vec![0.5, 1.0]), ..sample.clone() };
        assert!(
            sample_line(0, "Q", &Value::Null, &weighted)
                .ends_with(r#""value": [1.0, 0.0625]}], "weights": [0.5, 1.0]}"#)
        );
        let token = sample_line(0, "is <prm> a token?", &Value::Null, &sample);
        assert!(token.starts_with(r#"{"id": 0, "question": "is <prm> a token?", "steps": ["a \"b\"\n\u0001é"], "con"#));
        let several = sample_line(0, "Q", &json!(["a.png", "b.png"]), &sample);
        assert!(several.starts_with(r#"{"id": 0, "image": ["a.png", "b.png"], "conversations""#));
    }
}
