//! Rotary positions: `rope_theta`, `rope_scaling`, and `rope_parameters` of transformers 5.
//!
//! One reading for conversion and training. transformers 4 has the base in `rope_theta` and the
//! scaling in `rope_scaling` (its kind in `type`, later `rope_type`); transformers 5 has both in
//! `rope_parameters`, possibly per kind of layer. Two places must agree. Every key of a scaling is
//! read, or refused with its name.

use serde_json::{Map, Value};

use super::error::KeyError;
use super::keys::is_off;
use super::model::RopeScaling;

/// Base and scaling of the rotary positions of a language model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RopeConfig {
    /// Base of the frequencies.
    pub base: f32,
    /// Scaling of positions.
    pub scaling: RopeScaling,
}

/// Keys of a scaling beside its kind: those of each kind that is supported.
const KINDS: &[(&str, &[&str])] = &[
    ("default", &[]),
    ("linear", &["factor"]),
    ("dynamic", &["factor", "original_max_position_embeddings"]),
    ("llama3", &["factor", "high_freq_factor", "low_freq_factor", "original_max_position_embeddings"]),
    (
        "yarn",
        &[
            "attention_factor",
            "beta_fast",
            "beta_slow",
            "factor",
            "mscale",
            "mscale_all_dim",
            "original_max_position_embeddings",
            "truncate",
        ],
    ),
];

/// Reads the rotary positions of a language model's section; `prefix` is its path and a dot.
///
/// ```
/// use mmprm_quant::hf::config::{RopeScaling, read_rope};
/// let config = serde_json::json!({"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e6}});
/// let rope = read_rope(&config, "").unwrap();
/// assert_eq!((rope.base, rope.scaling), (1e6, RopeScaling::Linear { factor: 2.0 }));
/// ```
///
/// # Errors
/// [`KeyError`] for the first key that is invalid, not supported or contradicts another.
pub fn read(section: &Value, prefix: &str) -> Result<RopeConfig, KeyError> {
    let reader = Reader { section, prefix };
    let (scaling, parameters) = (reader.object("rope_scaling")?, reader.object("rope_parameters")?);
    for path in ["partial_rotary_factor", "rope_scaling.partial_rotary_factor", "rope_parameters.partial_rotary_factor"]
    {
        if let Some(value) = reader.find(path).filter(|value| value.as_f64() != Some(1.0)) {
            return Err(reader.wrong(path, Some(value), "1"));
        }
    }
    let mut read = None;
    for (name, object) in [("rope_scaling", scaling), ("rope_parameters", parameters)] {
        let Some(object) = object else { continue };
        let found = reader.scaling(name, object)?;
        if read.is_some_and(|other| other != found) {
            return Err(reader.wrong(name, section.get(name), &format!("the same as {prefix}rope_scaling")));
        }
        read = Some(found);
    }
    Ok(RopeConfig { base: reader.base()?, scaling: read.unwrap_or(RopeScaling::None) })
}

struct Reader<'a> {
    section: &'a Value,
    prefix: &'a str,
}

impl<'a> Reader<'a> {
    fn wrong(&self, key: &str, found: Option<&Value>, expected: &str) -> KeyError {
        KeyError::new(format!("{}{key}", self.prefix), found, expected)
    }

    /// Returns the value at a path, unless it is null.
    fn find(&self, path: &str) -> Option<&'a Value> {
        path.split('.').try_fold(self.section, |value, key| value.get(key)).filter(|value| !value.is_null())
    }

    /// Returns the object of a scaling that has keys; one that is nested by kind of layer must have
    /// the same for each.
    fn object(&self, name: &str) -> Result<Option<&'a Map<String, Value>>, KeyError> {
        let Some(value) = self.find(name) else { return Ok(None) };
        let Some(object) = value.as_object() else { return Err(self.wrong(name, Some(value), "an object or null")) };
        let mut nested = object.iter().filter(|(_, value)| value.is_object());
        let Some((first, one)) = nested.next() else { return Ok(Some(object).filter(|object| !object.is_empty())) };
        let key = format!("{name}.{first}");
        if first != "full_attention" || object.len() > 1 {
            return Err(self.wrong(
                &key,
                Some(one),
                "the same rotary positions in every layer, of full_attention alone",
            ));
        }
        Ok(one.as_object())
    }

    fn base(&self) -> Result<f32, KeyError> {
        let paths = [
            "rope_theta",
            "rope_scaling.rope_theta",
            "rope_parameters.rope_theta",
            "rope_parameters.full_attention.rope_theta",
        ];
        let mut base = None;
        for path in paths {
            let Some(value) = self.find(path) else { continue };
            let number = value.as_f64().filter(|number| number.is_finite() && *number > 0.0);
            let Some(number) = number else { return Err(self.wrong(path, Some(value), "a positive number")) };
            if let Some((other, _)) = base.filter(|(_, known)| !same(*known, number)) {
                return Err(self.wrong(path, Some(value), &format!("the value of {}{other}", self.prefix)));
            }
            base = Some((path, number));
        }
        Ok(base.map_or(10_000.0, |(_, number)| number as f32))
    }

    fn scaling(&self, name: &str, object: &Map<String, Value>) -> Result<RopeScaling, KeyError> {
        let kind = self.kind(name, object)?;
        let allowed = KINDS.iter().find(|(known, _)| *known == kind).map_or(&[][..], |(_, keys)| *keys);
        for (key, value) in object {
            let base = ["type", "rope_type", "rope_theta", "partial_rotary_factor"].contains(&key.as_str());
            let neutral = is_off(value) || (key == "factor" && value.as_f64() == Some(1.0));
            if !(base || allowed.contains(&key.as_str()) || neutral) {
                let expected = if allowed.is_empty() {
                    format!("no such key with '{kind}'")
                } else {
                    format!("with '{kind}' one of {}", allowed.join(", "))
                };
                return Err(self.wrong(&format!("{name}.{key}"), Some(value), &expected));
            }
        }
        let number = |key: &str| self.number(name, object, key);
        let factor = |minimum: f64| {
            let key = format!("{name}.factor");
            let found = object.get("factor");
            let factor = number("factor")?.filter(|factor| *factor >= minimum && *factor > 0.0);
            factor
                .ok_or_else(|| self.wrong(&key, found, if minimum > 0.0 { "at least 1" } else { "a positive number" }))
        };
        match kind {
            "linear" => Ok(RopeScaling::Linear { factor: factor(0.0)? as f32 }),
            "dynamic" => {
                let (original, trained) = (number("original_max_position_embeddings")?, self.trained());
                if original.is_some_and(|original| Some(original) != trained) {
                    let key = format!("{name}.original_max_position_embeddings");
                    let found = object.get("original_max_position_embeddings");
                    return Err(self.wrong(
                        &key,
                        found,
                        "max_position_embeddings, the length that dynamic scaling uses",
                    ));
                }
                Ok(RopeScaling::Dynamic { factor: factor(1.0)? as f32 })
            }
            "llama3" => self.llama3(name, object, factor(1.0)?),
            "yarn" => self.yarn(name, object, factor(1.0)?),
            _ => Ok(RopeScaling::None),
        }
    }

    /// Returns the kind of a scaling, from `rope_type` or `type`.
    fn kind<'o>(&self, name: &str, object: &'o Map<String, Value>) -> Result<&'o str, KeyError> {
        let mut kind: Option<(&str, &'o str)> = None;
        for key in ["rope_type", "type"] {
            let Some(value) = object.get(key).filter(|value| !value.is_null()) else { continue };
            let path = format!("{name}.{key}");
            let known = value.as_str().filter(|text| KINDS.iter().any(|(known, _)| known == text));
            let Some(text) = known else {
                return Err(self.wrong(&path, Some(value), "dynamic, linear, llama3 or yarn"));
            };
            if let Some((other, _)) = kind.filter(|(_, known)| *known != text) {
                return Err(self.wrong(&path, Some(value), &format!("the value of {}{name}.{other}", self.prefix)));
            }
            kind = Some((key, text));
        }
        match kind {
            Some((_, kind)) => Ok(kind),
            None if object.iter().all(|(key, value)| key == "rope_theta" || value.is_null()) => Ok("default"),
            None => Err(self.wrong(&format!("{name}.rope_type"), None, "the kind of scaling")),
        }
    }

    /// Reads a number of a scaling, `None` if it is missing or null.
    fn number(&self, name: &str, object: &Map<String, Value>, key: &str) -> Result<Option<f64>, KeyError> {
        match object.get(key).filter(|value| !value.is_null()) {
            None => Ok(None),
            Some(value) => match value.as_f64().filter(|number| number.is_finite()) {
                Some(number) => Ok(Some(number)),
                None => Err(self.wrong(&format!("{name}.{key}"), Some(value), "a number")),
            },
        }
    }

    /// Returns `max_position_embeddings`.
    fn trained(&self) -> Option<f64> {
        self.find("max_position_embeddings").and_then(Value::as_f64)
    }

    /// Returns the context length before the extension.
    fn original(&self, name: &str, object: &Map<String, Value>) -> Result<u32, KeyError> {
        let original = "original_max_position_embeddings";
        let outer = self.find(original).and_then(Value::as_f64);
        let inner = self.number(name, object, original)?;
        if let (Some(inner), Some(outer)) = (inner, outer)
            && !same(inner, outer)
        {
            let expected = format!("the value of {}{original}", self.prefix);
            return Err(self.wrong(&format!("{name}.{original}"), object.get(original), &expected));
        }
        // transformers has a default here that changed its meaning between versions.
        let context = inner.or(outer);
        match context.filter(|context| context.fract() == 0.0 && (1.0..4_294_967_296.0).contains(context)) {
            Some(context) => Ok(context as u32),
            None => Err(self.wrong(&format!("{name}.{original}"), object.get(original), "a whole number of tokens")),
        }
    }

    fn llama3(&self, name: &str, object: &Map<String, Value>, factor: f64) -> Result<RopeScaling, KeyError> {
        let above = |key: &str, minimum: f64| match self.number(name, object, key)?.filter(|number| *number > minimum) {
            Some(number) => Ok(number),
            None => Err(self.wrong(&format!("{name}.{key}"), object.get(key), &format!("a number above {minimum}"))),
        };
        let low = above("low_freq_factor", 0.0)?;
        let high = above("high_freq_factor", low)?;
        Ok(RopeScaling::Llama3 { factor, low, high, original_context: self.original(name, object)? })
    }

    fn yarn(&self, name: &str, object: &Map<String, Value>, factor: f64) -> Result<RopeScaling, KeyError> {
        let number = |key: &str| self.number(name, object, key);
        // llama.cpp reads neither of these for the supported architectures.
        for (key, supported) in [("beta_fast", 32.0), ("beta_slow", 1.0)] {
            if number(key)?.is_some_and(|found| !same(found, supported) && !same(found, 0.0)) {
                return Err(self.wrong(&format!("{name}.{key}"), object.get(key), &supported.to_string()));
            }
        }
        if object.get("truncate").is_some_and(|value| !(value.is_null() || *value == true)) {
            return Err(self.wrong(&format!("{name}.truncate"), object.get("truncate"), "true"));
        }
        let original_context = self.original(name, object)?;
        let (mscale, all) = (number("mscale")?, number("mscale_all_dim")?);
        let attention = match number("attention_factor")? {
            Some(attention) if attention > 0.0 => attention,
            Some(_) => {
                let key = format!("{name}.attention_factor");
                return Err(self.wrong(&key, object.get("attention_factor"), "a positive number"));
            }
            None => match (mscale.filter(|value| *value != 0.0), all.filter(|value| *value != 0.0)) {
                (Some(mscale), Some(all)) => magnitude(factor, mscale) / magnitude(factor, all),
                _ => magnitude(factor, 1.0),
            },
        };
        Ok(RopeScaling::Yarn {
            factor: factor as f32,
            original_context,
            attention: (attention / magnitude(factor, 1.0)) as f32,
        })
    }
}

/// Whether two numbers of a configuration are the same.
fn same(one: f64, other: f64) -> bool {
    one.total_cmp(&other).is_eq()
}

/// Returns `YaRN`'s factor of queries and keys for a scaling factor (equation 22 of the paper, with
/// `DeepSeek`'s coefficient).
fn magnitude(factor: f64, coefficient: f64) -> f64 {
    if factor <= 1.0 { 1.0 } else { 0.1 * coefficient * factor.ln() + 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rope(config: &Value) -> Result<RopeConfig, String> {
        read(config, "llm_config.").map_err(|error| error.to_string())
    }

    #[test]
    fn both_generations_of_transformers_are_read_alike() {
        let dynamic = RopeConfig { base: 1e6, scaling: RopeScaling::Dynamic { factor: 2.0 } };
        for config in [
            json!({"rope_theta": 1e6, "rope_scaling": {"type": "dynamic", "factor": 2}}),
            json!({"rope_theta": 1e6, "rope_scaling": {"rope_type": "dynamic", "type": "dynamic", "factor": 2.0}}),
            json!({"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1000000, "factor": 2.0}}),
            json!({"rope_parameters": {"full_attention": {"rope_type": "dynamic", "rope_theta": 1e6, "factor": 2.0}}}),
            json!({"rope_theta": 1e6, "rope_scaling": {"type": "dynamic", "factor": 2.0},
                "rope_parameters": {"rope_theta": 1e6, "rope_type": "dynamic", "factor": 2.0}}),
            json!({"rope_theta": 1e6, "max_position_embeddings": 64, "rope_scaling":
                {"type": "dynamic", "factor": 2.0, "original_max_position_embeddings": 64}}),
        ] {
            assert_eq!(rope(&config).unwrap(), dynamic, "{config}");
        }
        for config in [
            json!({"rope_theta": 5e4, "rope_scaling": null}),
            json!({"rope_theta": 5e4, "rope_scaling": {}}),
            json!({"rope_parameters": {"rope_theta": 5e4}}),
            json!({"rope_parameters": {"rope_theta": 5e4, "rope_type": "default"}, "partial_rotary_factor": 1.0}),
        ] {
            assert_eq!(rope(&config).unwrap(), RopeConfig { base: 5e4, scaling: RopeScaling::None }, "{config}");
        }
    }

    #[test]
    fn scaling_of_llama_3_is_read_from_both_places() {
        let scaling = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192});
        let mut parameters = scaling.clone();
        parameters["rope_theta"] = json!(5e5);
        let llama3 = RopeScaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original_context: 8192 };
        for config in [
            json!({"rope_theta": 5e5, "rope_scaling": scaling}),
            json!({"rope_parameters": parameters, "max_position_embeddings": 131_072}),
        ] {
            assert_eq!(rope(&config).unwrap(), RopeConfig { base: 5e5, scaling: llama3 });
        }
    }

    #[test]
    fn attention_factors_of_yarn_are_relative_to_the_usual_one() {
        let yarn = |more: Value| {
            let mut scaling = json!({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768});
            for (key, value) in more.as_object().unwrap() {
                scaling[key] = value.clone();
            }
            match rope(&json!({"rope_scaling": scaling}))?.scaling {
                RopeScaling::Yarn { factor, original_context, attention } => {
                    assert_eq!((factor, original_context), (4.0, 32768));
                    Ok(attention)
                }
                other => Err(format!("{other:?}")),
            }
        };
        let usual = 0.1 * 4f64.ln() + 1.0;
        let near = |found: Result<f32, String>, wanted: f64| (f64::from(found.unwrap()) * usual - wanted).abs() < 1e-6;
        assert!(near(yarn(json!({})), usual));
        assert!(near(yarn(json!({"attention_factor": 1.0, "beta_fast": 32, "beta_slow": 1.0})), 1.0));
        assert!(near(yarn(json!({"mscale": 0.707, "mscale_all_dim": 0.707})), 1.0));
        assert!(near(yarn(json!({"mscale": 1.0})), usual));
        assert!(yarn(json!({"beta_fast": 16})).unwrap_err().contains("rope_scaling.beta_fast: 16, expected 32"));
        assert!(yarn(json!({"truncate": false})).unwrap_err().contains("rope_scaling.truncate: false"));
        assert!(
            yarn(json!({"attention_factor": -1})).unwrap_err().contains("attention_factor: -1, expected a positive")
        );
        assert!(yarn(json!({"factor": 0.5})).unwrap_err().contains("rope_scaling.factor: 0.5, expected at least 1"));
        assert!(yarn(json!({"low_freq_factor": 1})).unwrap_err().contains("rope_scaling.low_freq_factor: 1"));
    }

    #[test]
    fn what_would_be_another_model_is_refused_by_name() {
        for (config, expected) in [
            (
                json!({"rope_scaling": {"rope_type": "proportional", "factor": 8}}),
                "llm_config.rope_scaling.rope_type: 'proportional'",
            ),
            (json!({"rope_scaling": {"rope_type": "llama3", "factor": 8}}), "rope_scaling.low_freq_factor: missing"),
            (
                json!({"rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4}}),
                "rope_scaling.high_freq_factor: 4, expected a number above 4",
            ),
            (
                json!({"rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4}}),
                "rope_scaling.original_max_position_embeddings: missing",
            ),
            (
                json!({"rope_scaling": {"rope_type": "llama3", "attention_factor": 8}}),
                "rope_scaling.attention_factor: 8",
            ),
            (json!({"rope_scaling": {"type": "longrope"}}), "llm_config.rope_scaling.type: 'longrope'"),
            (
                json!({"rope_scaling": {"type": "linear", "rope_type": "yarn", "factor": 2}}),
                "rope_scaling.type: 'linear'",
            ),
            (json!({"rope_scaling": {"factor": 2}}), "llm_config.rope_scaling.rope_type: missing"),
            (json!({"rope_scaling": {"type": "linear"}}), "llm_config.rope_scaling.factor: missing"),
            (
                json!({"rope_scaling": {"type": "yarn", "factor": 2}}),
                "rope_scaling.original_max_position_embeddings: missing",
            ),
            (json!({"rope_scaling": {"type": "linear", "factor": 0}}), "rope_scaling.factor: 0"),
            (
                json!({"rope_scaling": {"type": "linear", "factor": 2, "attention_factor": 1.5}}),
                "rope_scaling.attention_factor",
            ),
            (json!({"rope_scaling": {"type": "default", "factor": 2}}), "rope_scaling.factor: 2, expected no such key"),
            (json!({"rope_scaling": {"type": "default", "mrope_section": [1, 2]}}), "rope_scaling.mrope_section"),
            (json!({"rope_scaling": {"type": "dynamic", "factor": 2, "alpha": 1000}}), "rope_scaling.alpha: 1000"),
            (
                json!({"max_position_embeddings": 64, "rope_scaling":
                    {"type": "dynamic", "factor": 2, "original_max_position_embeddings": 32}}),
                "rope_scaling.original_max_position_embeddings: 32",
            ),
            (
                json!({"rope_theta": 1e4, "rope_parameters": {"rope_theta": 1e6}}),
                "rope_parameters.rope_theta: 1000000.0",
            ),
            (
                json!({"rope_scaling": {"type": "linear", "factor": 2}, "rope_parameters": {"rope_type": "default"}}),
                "llm_config.rope_parameters: ",
            ),
            (
                json!({"rope_parameters": {"full_attention": {"rope_type": "default"}, "sliding_attention": {}}}),
                "rope_parameters.full_attention: ",
            ),
            (
                json!({"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}}),
                "partial_rotary_factor: 0.5",
            ),
            (json!({"rope_scaling": [2.0]}), "llm_config.rope_scaling: [2.0], expected an object"),
            (json!({"rope_theta": -1}), "llm_config.rope_theta: -1"),
        ] {
            let error = rope(&config).unwrap_err();
            assert!(error.contains(expected), "{error}, expected {expected}");
        }
    }
}
