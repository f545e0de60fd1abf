//! The families of language models: their names in configurations, and what they have by default.

use serde_json::{Map, Value};

use super::error::KeyError;
use super::model::{LanguageArch, ScoringHead};

/// A family of language models: a value of `model_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    InternLm2,
    Qwen2,
    Qwen3,
    Llama,
    Mistral,
}

/// What a class of model computes from hidden states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Head {
    Vocabulary,
    Classes,
    Mlp,
    Value,
}

impl Family {
    pub(super) const ALL: [Self; 5] = [Self::InternLm2, Self::Qwen2, Self::Qwen3, Self::Llama, Self::Mistral];

    /// Looks up a family by its `model_type`.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.name() == name)
    }

    /// Returns its `model_type`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::InternLm2 => "internlm2",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Llama => "llama",
            Self::Mistral => "mistral",
        }
    }

    /// Returns the architecture, as llama.cpp computes it.
    pub(super) fn arch(self) -> LanguageArch {
        match self {
            Self::InternLm2 => LanguageArch::InternLm2,
            Self::Qwen2 => LanguageArch::Qwen2,
            Self::Qwen3 => LanguageArch::Qwen3,
            Self::Llama | Self::Mistral => LanguageArch::Llama,
        }
    }

    /// Returns the trained context of a configuration that does not give it.
    pub(super) fn default_context(self) -> u64 {
        match self {
            Self::InternLm2 | Self::Llama => 2048,
            Self::Qwen2 | Self::Qwen3 => 32_768,
            Self::Mistral => 131_072,
        }
    }

    /// Returns the number of key and value heads of a configuration that does not have the key;
    /// where it is null they are as many as the query heads.
    pub(super) fn default_kv_heads(self, heads: u64) -> u64 {
        if self == Self::Mistral { 8 } else { heads }
    }

    /// Returns the width of a head if it is a setting of its own.
    pub(super) fn own_head_width(self, keys: &Map<String, Value>) -> Option<u64> {
        let given = keys.get("head_dim").and_then(Value::as_u64);
        match self {
            Self::InternLm2 | Self::Qwen2 => None,
            Self::Qwen3 => Some(given.unwrap_or(128)),
            Self::Llama | Self::Mistral => given,
        }
    }

    /// Returns the number of positions that a token attends to, itself included; `None` for all.
    /// Other families switch a window on with a key that is refused.
    pub(super) fn window(self, keys: &Map<String, Value>, prefix: &str) -> Result<Option<u64>, KeyError> {
        let key = "sliding_window";
        match keys.get(key) {
            _ if self != Self::Mistral => Ok(None),
            None => Ok(Some(4096)),
            Some(Value::Null) => Ok(None),
            Some(value) => match value.as_u64().filter(|window| *window > 0) {
                Some(window) => Ok(Some(window)),
                None => Err(KeyError::new(format!("{prefix}{key}"), Some(value), "a number of positions or null")),
            },
        }
    }

    /// The classes that are supported; the first is the one without a head that scores.
    fn classes(self) -> &'static [(&'static str, Head)] {
        match self {
            Self::InternLm2 => &[("InternLM2ForCausalLM", Head::Vocabulary)],
            Self::Qwen2 => &[
                ("Qwen2ForCausalLM", Head::Vocabulary),
                ("Qwen2ForTokenClassification", Head::Classes),
                ("Qwen2ForProcessRewardModel", Head::Mlp),
                ("Qwen2ForPrmModel", Head::Value),
            ],
            Self::Qwen3 => &[("Qwen3ForCausalLM", Head::Vocabulary), ("Qwen3ForTokenClassification", Head::Classes)],
            Self::Llama => &[("LlamaForCausalLM", Head::Vocabulary), ("LlamaForTokenClassification", Head::Classes)],
            Self::Mistral => {
                &[("MistralForCausalLM", Head::Vocabulary), ("MistralForTokenClassification", Head::Classes)]
            }
        }
    }

    /// Reads the class of a model, and the number of classes where it has some. The language model
    /// of a multimodal model, whose path is `prefix`, has none.
    pub(super) fn scoring_head(self, keys: &Map<String, Value>, prefix: &str) -> Result<Option<ScoringHead>, KeyError> {
        let classes = self.classes();
        let classes = if prefix.is_empty() { classes } else { &classes[..1] };
        let head = match keys.get("architectures") {
            None | Some(Value::Null) => Head::Vocabulary,
            Some(Value::Array(names)) if names.is_empty() => Head::Vocabulary,
            Some(value) => {
                let name = value.as_array().filter(|names| names.len() == 1).and_then(|names| names[0].as_str());
                let Some((_, head)) = classes.iter().find(|(class, _)| Some(*class) == name) else {
                    let names: Vec<&str> = classes.iter().map(|(class, _)| *class).collect();
                    let expected = format!("one of {}", names.join(", "));
                    return Err(KeyError::new(format!("{prefix}architectures"), Some(value), expected));
                };
                *head
            }
        };
        Ok(match head {
            Head::Vocabulary => None,
            Head::Classes => Some(ScoringHead::Classes { classes: n_classes(keys)?, bias: has_bias(keys)? }),
            Head::Mlp => Some(ScoringHead::Mlp),
            Head::Value => Some(ScoringHead::Value),
        })
    }
}

/// Returns the number of classes, by default 2 as in transformers.
fn n_classes(keys: &Map<String, Value>) -> Result<u64, KeyError> {
    let present = |key: &str| keys.get(key).filter(|value| !value.is_null());
    let labels = match present("id2label") {
        None => None,
        Some(Value::Object(labels)) => Some(labels.len() as u64),
        Some(other) => return Err(KeyError::new("id2label", Some(other), "an object with a name for each class")),
    };
    let Some(value) = present("num_labels") else { return Ok(labels.unwrap_or(2)) };
    let expected = match labels {
        Some(labels) if value.as_u64() != Some(labels) => format!("{labels}, the number of names in id2label"),
        _ if value.as_u64().is_none_or(|count| count == 0) => "a number of classes".to_owned(),
        _ => return Ok(value.as_u64().unwrap_or(2)),
    };
    Err(KeyError::new("num_labels", Some(value), expected))
}

fn has_bias(keys: &Map<String, Value>) -> Result<bool, KeyError> {
    let key = "token_classification_bias";
    match keys.get(key) {
        None | Some(Value::Null) => Ok(true),
        Some(Value::Bool(bias)) => Ok(*bias),
        Some(other) => Err(KeyError::new(key, Some(other), "true or false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn head(family: Family, config: &Value, prefix: &str) -> Result<Option<ScoringHead>, String> {
        family.scoring_head(config.as_object().unwrap(), prefix).map_err(|error| error.to_string())
    }

    #[test]
    fn the_class_of_a_model_gives_its_head() {
        let classes = |classes, bias| Ok(Some(ScoringHead::Classes { classes, bias }));
        for (family, config, expected) in [
            (Family::Llama, json!({}), Ok(None)),
            (Family::Qwen3, json!({"architectures": ["Qwen3ForCausalLM"], "num_labels": 3}), Ok(None)),
            (Family::Qwen2, json!({"architectures": ["Qwen2ForProcessRewardModel"]}), Ok(Some(ScoringHead::Mlp))),
            (Family::Qwen2, json!({"architectures": ["Qwen2ForPrmModel"]}), Ok(Some(ScoringHead::Value))),
            (Family::Mistral, json!({"architectures": ["MistralForTokenClassification"]}), classes(2, true)),
            (
                Family::Qwen2,
                json!({"architectures": ["Qwen2ForTokenClassification"], "id2label": {"0": "a", "1": "b", "2": "c"},
                    "token_classification_bias": false}),
                classes(3, false),
            ),
        ] {
            assert_eq!(head(family, &config, ""), expected, "{config}");
        }
    }

    #[test]
    fn heads_that_are_not_supported_are_refused_by_name() {
        let tokens = json!(["Qwen2ForTokenClassification"]);
        for (config, prefix, expected) in [
            (json!({"architectures": ["Qwen2ForSequenceClassification"]}), "", "architectures: [\"Qwen2ForSequence"),
            (
                json!({"architectures": ["A", "B"]}),
                "",
                "expected one of Qwen2ForCausalLM, Qwen2ForTokenClassification,",
            ),
            (json!({"architectures": "Qwen2ForCausalLM"}), "", "architectures: 'Qwen2ForCausalLM'"),
            (json!({"architectures": tokens}), "llm_config.", "expected one of Qwen2ForCausalLM"),
            (json!({"architectures": tokens, "num_labels": 0}), "", "num_labels: 0, expected a number of classes"),
            (
                json!({"architectures": tokens, "num_labels": 3, "id2label": {"0": "bad"}}),
                "",
                "num_labels: 3, expected 1, the number of names in id2label",
            ),
            (json!({"architectures": tokens, "id2label": 2}), "", "id2label: 2, expected an object"),
            (json!({"architectures": tokens, "token_classification_bias": 1}), "", "token_classification_bias: 1"),
        ] {
            let error = head(Family::Qwen2, &config, prefix).unwrap_err();
            assert!(error.contains(expected), "{error}, expected {expected}");
        }
    }

    #[test]
    fn only_mistral_has_a_window_by_default() {
        let window = |family: Family, config: Value| family.window(config.as_object().unwrap(), "");
        assert_eq!(window(Family::Mistral, json!({})), Ok(Some(4096)));
        assert_eq!(window(Family::Mistral, json!({"sliding_window": null})), Ok(None));
        assert_eq!(window(Family::Llama, json!({"sliding_window": 8})), Ok(None));
        assert!(window(Family::Mistral, json!({"sliding_window": 0})).is_err());
    }
}
