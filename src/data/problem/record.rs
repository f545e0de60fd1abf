//! The fields that this project reads from a record, validated.

use serde_json::{Map, Value};

use super::Problem;
use super::error::RecordError;
use crate::data::images::{check_markers, image_paths};
use crate::data::question::with_options;

impl Problem {
    /// Reads a record; without an `id`, `index` becomes the id.
    pub(super) fn from_record(record: Map<String, Value>, index: usize) -> Result<Self, RecordError> {
        let id = optional(&record, "id", "a string or a number", text)?.unwrap_or_else(|| index.to_string());
        let question = optional(&record, "question", "a string", string)?
            .ok_or_else(|| RecordError::Expected("a field `question`".into()))?;
        let answer = match optional(&record, "correct_answer", "a string or a number", text)? {
            Some(answer) => answer,
            None => optional(&record, "answer", "a string or a number", text)?.unwrap_or_default(),
        };
        let images = image_paths(&record)?;
        check_markers(&question, images.len())?;
        // `answer::AnswerSpec` reads these from the record; only their types are checked here.
        optional(&record, "choices", "a list of strings or numbers", texts)?;
        optional(&record, "options", "a list of strings or numbers", texts)?;
        optional(&record, "answer_type", "a string", string)?;
        optional(&record, "unit", "a string", string)?;
        optional(&record, "precision", "a number, or a list of numbers, also as strings", numbers)?;
        let question = with_options(&question, &record);
        Ok(Self { record, id, question, answer, images })
    }
}

/// The field's value through `read`; `None` for a missing field and for `null`.
fn optional<T>(
    record: &Map<String, Value>,
    field: &str,
    kind: &str,
    read: impl Fn(&Value) -> Option<T>,
) -> Result<Option<T>, RecordError> {
    match record.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            read(value).map(Some).ok_or_else(|| RecordError::Expected(format!("{kind} in the field `{field}`")))
        }
    }
}

fn string(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// A string, or a number as written in the file.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A number or a list of numbers, each possibly as a string.
fn numbers(value: &Value) -> Option<Vec<f64>> {
    let number = |value: &Value| value.as_f64().or_else(|| value.as_str()?.trim().parse().ok());
    match value {
        Value::Array(values) => values.iter().map(number).collect(),
        value => Some(vec![number(value)?]),
    }
}

fn texts(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn problem(record: &Value) -> Result<Problem, String> {
        Problem::from_record(record.as_object().unwrap().clone(), 4).map_err(|error| error.to_string())
    }

    #[test]
    fn ids_and_answers_may_be_numbers_and_a_missing_id_becomes_the_index() {
        let with_id = problem(&json!({"id": 12, "question": "q", "answer": 0.5})).unwrap();
        assert_eq!((with_id.id.as_str(), with_id.answer.as_str()), ("12", "0.5"));
        assert_eq!(problem(&json!({"question": "q", "answer": "a", "id": null})).unwrap().id, "4");
    }

    #[test]
    fn correct_answer_takes_precedence_over_answer() {
        let both = problem(&json!({"question": "q", "answer": "a", "correct_answer": "b"})).unwrap();
        assert_eq!(both.answer, "b");
    }

    #[test]
    fn a_problem_may_have_no_answer() {
        for record in [json!({"question": "q"}), json!({"question": "q", "answer": null})] {
            assert_eq!(problem(&record).unwrap().answer, "");
        }
    }

    #[test]
    fn a_problem_may_have_no_image_or_one_or_many() {
        let images = |paths: Value| {
            let mut record = json!({"question": "q", "answer": "a"});
            record.as_object_mut().unwrap().extend(paths.as_object().unwrap().clone());
            problem(&record).unwrap().images
        };
        assert!(images(json!({})).is_empty());
        assert!(images(json!({"image_path": null})).is_empty());
        assert_eq!(images(json!({"image_path": "a.png"})), ["a.png"]);
        assert_eq!(images(json!({"image_path": "a.png", "image_paths": ["a.png", "b.png"]})), ["a.png", "b.png"]);
    }

    #[test]
    fn values_of_another_type_are_named() {
        for (record, expected) in [
            (json!({"answer": "a"}), "expected a field `question`"),
            (json!({"question": 1, "answer": "a"}), "expected a string in the field `question`"),
            (json!({"question": "q", "answer": []}), "expected a string or a number in the field `answer`"),
            (json!({"question": "q", "answer": "a", "id": true}), "expected a string or a number in the field `id`"),
            (
                json!({"question": "q", "answer": "a", "image_path": 3}),
                "the field `image_path` is 3, expected the path of an image, a list of paths, or null",
            ),
            (
                json!({"question": "see <image1>", "answer": "a"}),
                "the question has the marker `<image1>`, but the record has no image",
            ),
            (
                json!({"question": "q", "answer": "a", "precision": "high"}),
                "expected a number, or a list of numbers, also as strings in the field `precision`",
            ),
        ] {
            assert_eq!(problem(&record).unwrap_err(), expected);
        }
    }

    #[test]
    fn precision_comes_in_several_forms() {
        for precision in [json!(2), json!("1e-4"), json!([1e-3, "0.1"]), json!(null)] {
            assert!(problem(&json!({"question": "q", "answer": "a", "precision": precision})).is_ok(), "{precision}");
        }
        for precision in [json!({}), json!([[1]]), json!([true]), json!(true)] {
            assert!(problem(&json!({"question": "q", "answer": "a", "precision": precision})).is_err(), "{precision}");
        }
    }

    #[test]
    fn all_fields_are_carried_along_in_order() {
        let record = json!({"zebra": {"x": [1]}, "question": "q", "choices": ["1", 2], "answer": "a", "unit": "cm",
            "precision": 2.0, "answer_type": "float", "aardvark": null});
        let problem = problem(&record).unwrap();
        assert_eq!(Value::Object(problem.record).to_string(), record.to_string());
    }
}
