//! What a problem's record says about the expected answer besides its text.

use serde_json::{Map, Value};

use super::options;

/// How an answer is expected: options, tolerance, unit and type.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AnswerSpec {
    /// The options of a multiple-choice problem, A first; empty for a free answer.
    pub choices: Vec<String>,
    /// The tolerance for numbers; `None` requires exact equality.
    pub precision: Option<Precision>,
    /// The unit of a number without one.
    pub unit: Option<String>,
    /// Whether an inequality differs from the set that it describes (Math-Verify's
    /// `allow_set_relation_comp: false`).
    pub strict_sets: bool,
    /// The type of the expected answer, as `MathVista` names it.
    pub answer_type: Option<AnswerType>,
}

/// The tolerance of an expected number.
#[derive(Debug, Clone, PartialEq)]
pub enum Precision {
    /// Round both numbers to this many decimals (`MathVista`, Math-Verify).
    Decimals(u32),
    /// Maximum absolute difference (`OlympiadBench`), one for each part of the answer; the last one
    /// holds for all further parts.
    Within(Vec<f64>),
}

/// `MathVista`'s answer types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerType {
    /// A word, a phrase, or the text of an option.
    Text,
    /// A whole number.
    Integer,
    /// A number with [`Precision::Decimals`].
    Float,
    /// A list as Python prints it.
    List,
}

impl AnswerSpec {
    /// Reads `choices` (or `options`; without either, the options in the text of `question`), `precision`, `unit`, `answer_type` and
    /// `allow_set_relation_comp` from a problem's record or from the options of an answer triple.
    /// Missing and malformed fields are ignored.
    ///
    /// ```
    /// use mmprm::answer::{AnswerSpec, Precision};
    /// let record = serde_json::json!({"choices": ["3 cm", "4 cm"], "precision": 2});
    /// let spec = AnswerSpec::from_record(record.as_object().unwrap());
    /// assert_eq!(spec.choices, ["3 cm", "4 cm"]);
    /// assert_eq!(spec.precision, Some(Precision::Decimals(2)));
    /// ```
    pub fn from_record(record: &Map<String, Value>) -> Self {
        let choices = ["choices", "options"].iter().find_map(|key| record.get(*key)?.as_array());
        let text = |key: &str| record.get(key).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty());
        Self {
            choices: choices.map_or_else(
                || text("question").map(options::in_question).unwrap_or_default(),
                |choices| choices.iter().map(as_text).collect(),
            ),
            precision: record.get("precision").and_then(precision),
            unit: text("unit").map(str::to_owned),
            strict_sets: record.get("allow_set_relation_comp").and_then(Value::as_bool) == Some(false),
            answer_type: text("answer_type").and_then(|name| match name {
                "text" => Some(AnswerType::Text),
                "integer" => Some(AnswerType::Integer),
                "float" => Some(AnswerType::Float),
                "list" => Some(AnswerType::List),
                _ => None,
            }),
        }
    }
}

fn as_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Reads a whole number from 0 to 15 as decimals, any other number or list of numbers as distances.
fn precision(value: &Value) -> Option<Precision> {
    if let Some(list) = value.as_array() {
        let distances: Vec<f64> = list.iter().map(number).collect::<Option<_>>()?;
        return (!distances.is_empty()).then_some(Precision::Within(distances));
    }
    let number = number(value)?;
    let counts = number.fract() == 0.0 && (0.0..=15.0).contains(&number);
    Some(if counts { Precision::Decimals(number as u32) } else { Precision::Within(vec![number]) })
}

fn number(value: &Value) -> Option<f64> {
    let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())?;
    (number.is_finite() && number >= 0.0).then_some(number)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(value: &Value) -> AnswerSpec {
        AnswerSpec::from_record(value.as_object().unwrap())
    }

    #[test]
    fn a_record_gives_choices_unit_and_type() {
        let found = spec(&json!({"choices": ["1", 2], "unit": " cm ", "answer_type": "float"}));
        assert_eq!(found.choices, ["1", "2"]);
        assert_eq!(found.unit.as_deref(), Some("cm"));
        assert_eq!(found.answer_type, Some(AnswerType::Float));
        assert_eq!(spec(&json!({"choices": null, "options": ["a"], "unit": ""})).choices, ["a"]);
        assert_eq!(spec(&json!({})), AnswerSpec::default());
    }

    #[test]
    fn precision_counts_decimals_or_is_a_distance() {
        for (value, expected) in [
            (json!(2), Some(Precision::Decimals(2))),
            (json!("1.0"), Some(Precision::Decimals(1))),
            (json!("1e-4"), Some(Precision::Within(vec![1e-4]))),
            (json!(0.001), Some(Precision::Within(vec![0.001]))),
            (json!([1e34, 0.001]), Some(Precision::Within(vec![1e34, 0.001]))),
            (json!(-1), None),
            (json!("many"), None),
            (json!(null), None),
        ] {
            assert_eq!(spec(&json!({"precision": value})).precision, expected, "{value}");
        }
    }
}
