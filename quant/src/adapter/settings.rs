//! `adapter_config.json`: which settings are reproduced, and which are refused by name.
//!
//! PEFT's `LoraConfig` (up to 0.21) has variants that compute something else with the same tensors,
//! and initialisations that change the base, so that the adapter fits only a changed copy of it.
//! Each setting is reproduced, without influence on the result, or supported with one value; any
//! other setting must be off.

use std::path::Path;

use serde_json::{Map, Value};

use crate::hf::{HfError, is_off};

/// Settings that do not change what an adapter computes, or that its tensors repeat.
const IGNORED: &[&str] = &[
    "auto_mapping",
    "base_model_class",
    "base_model_name_or_path",
    "inference_mode",
    "layers_pattern",
    "lora_dropout",
    "megatron_core",
    "parent_library",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "task_type",
];

/// Settings that are read.
const READ: &[&str] = &[
    "alpha_pattern",
    "exclude_modules",
    "init_lora_weights",
    "layers_to_transform",
    "lora_alpha",
    "modules_to_save",
    "peft_type",
    "r",
    "rank_pattern",
    "target_modules",
    "trainable_token_indices",
    "use_rslora",
];

/// Initialisations that leave the base as it is.
const INITIALISATIONS: &[&str] = &["gaussian", "orthogonal"];

/// The settings of an adapter that its tensors do not have.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Settings {
    /// α.
    pub alpha: f64,
    /// Whether the scale is α over the square root of the rank (rank-stabilised `LoRA`, arXiv
    /// 2312.03732).
    pub rank_stabilised: bool,
    rank: Option<u64>,
    ranks: Patterns,
    alphas: Patterns,
    targets: Option<Vec<String>>,
    excluded: Vec<String>,
    layers: Option<Vec<u64>>,
    saved: Vec<String>,
    tokens: Value,
}

/// Values by module name, or the end of one.
type Patterns = Vec<(String, f64)>;

impl Settings {
    /// Reads a configuration.
    ///
    /// # Errors
    /// [`HfError`] with the file and the first setting that is not supported.
    pub(super) fn read(config: &Value, path: &Path) -> Result<Self, HfError> {
        let reader = Reader { config, path };
        if config["peft_type"] != "LORA" {
            return Err(reader.invalid("peft_type", "\"LORA\""));
        }
        for (key, value) in config.as_object().unwrap_or(&Map::new()) {
            let known = READ.contains(&key.as_str()) || IGNORED.contains(&key.as_str());
            if key == "bias" {
                if !(value.is_null() || value == "none") {
                    return Err(reader.invalid(key, "\"none\""));
                }
            } else if !(known || is_off(value)) {
                let problem = format!("{value}, which is not supported; expected it to be off");
                return Err(HfError::invalid(path, key.as_str(), problem));
            }
        }
        reader.initialisation()?;
        let positive = |value: &Value| value.as_f64().filter(|number| number.is_finite() && *number > 0.0);
        let alpha = positive(&config["lora_alpha"]).ok_or_else(|| reader.invalid("lora_alpha", "a positive number"))?;
        let rank = match &config["r"] {
            Value::Null => None,
            value => Some(value.as_u64().filter(|rank| *rank > 0).ok_or_else(|| reader.invalid("r", "a rank"))?),
        };
        let rank_stabilised = match &config["use_rslora"] {
            Value::Null => false,
            value => value.as_bool().ok_or_else(|| reader.invalid("use_rslora", "true or false"))?,
        };
        Ok(Self {
            alpha,
            rank_stabilised,
            rank,
            ranks: reader.patterns("rank_pattern")?,
            alphas: reader.patterns("alpha_pattern")?,
            targets: reader.names("target_modules")?,
            excluded: reader.excluded()?,
            layers: reader.layers()?,
            saved: reader.names("modules_to_save")?.unwrap_or_default(),
            tokens: config["trainable_token_indices"].clone(),
        })
    }

    /// Returns the α of a module.
    pub(super) fn alpha(&self, module: &str) -> f64 {
        find(&self.alphas, module).unwrap_or(self.alpha)
    }

    /// Checks that the settings would adapt a module with this rank, as PEFT loads it.
    ///
    /// # Errors
    /// What is wrong.
    pub(super) fn check(&self, module: &str, rank: usize) -> Result<(), String> {
        let expected = find(&self.ranks, module).or(self.rank.map(|rank| rank as f64));
        if let Some(expected) = expected.filter(|expected| expected.total_cmp(&(rank as f64)).is_ne()) {
            return Err(format!("rank {rank}, expected {expected} by `r` and `rank_pattern`"));
        }
        if let Some(name) = self.excluded.iter().find(|name| is_end(name, module)) {
            return Err(format!("excluded by '{name}' in `exclude_modules`, expected no tensors"));
        }
        let targets = self.targets.as_ref();
        if targets.is_some_and(|names| !names.iter().any(|name| is_end(name, module))) {
            return Err("not one of `target_modules`, expected no tensors".into());
        }
        let Some(layers) = &self.layers else { return Ok(()) };
        let layer = module.split('.').skip_while(|part| *part != "layers").nth(1).and_then(|part| part.parse().ok());
        match layer {
            Some(layer) if !layers.contains(&layer) => {
                Err(format!("of layer {layer}, which is not one of `layers_to_transform`; expected no tensors"))
            }
            _ => Ok(()),
        }
    }

    /// Returns a setting that announces tensors which the adapter does not have, given the names of
    /// its fully trained tensors and the number of its tables with retrained rows.
    pub(super) fn without_tensors(&self, full: &[&str], tables: usize) -> Option<(&'static str, String)> {
        // PEFT lists the heads of classifiers whether the model has them or not.
        let optional = |name: &&String| matches!(name.as_str(), "classifier" | "score");
        let is_in = |name: &str, module: &str| format!(".{name}").contains(&format!(".{module}."));
        let missing = |module: &&String| !full.iter().any(|name| is_in(name, module));
        if let Some(module) = self.saved.iter().filter(|name| !optional(name)).find(missing) {
            return Some(("modules_to_save", format!("'{module}', but the adapter has no tensor of it")));
        }
        let has_tokens = !crate::hf::is_off(&self.tokens);
        (has_tokens && tables == 0)
            .then(|| ("trainable_token_indices", format!("{}, but the adapter has no rows of tokens", self.tokens)))
    }

    /// Returns the tokens with rows in a table: one list for all tables, or lists keyed by the end
    /// of the module's name.
    pub(super) fn tokens(&self, module: &str) -> Option<Vec<u32>> {
        let list = match &self.tokens {
            Value::Object(tables) => tables.iter().find(|(name, _)| is_end(name, module))?.1,
            list => list,
        };
        list.as_array()?.iter().map(|id| u32::try_from(id.as_u64()?).ok()).collect()
    }
}

/// Whether `name` is the module, or the end of its name after a dot.
fn is_end(name: &str, module: &str) -> bool {
    module == name || module.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'))
}

fn find(patterns: &Patterns, module: &str) -> Option<f64> {
    patterns.iter().find(|(name, _)| is_end(name, module)).map(|(_, value)| *value)
}

struct Reader<'a> {
    config: &'a Value,
    path: &'a Path,
}

impl Reader<'_> {
    fn invalid(&self, key: &str, expected: &str) -> HfError {
        HfError::invalid(self.path, key, format!("{}, expected {expected}", self.config[key]))
    }

    /// Refuses the initialisations that subtract the adapter's initial value from the base.
    fn initialisation(&self) -> Result<(), HfError> {
        let key = "init_lora_weights";
        let known = match &self.config[key] {
            Value::Null | Value::Bool(_) => true,
            Value::String(name) => INITIALISATIONS.contains(&name.as_str()),
            _ => false,
        };
        let expected = "true, false, \"gaussian\" or \"orthogonal\": other initialisations change the base, so that the \
                        adapter does not fit the base it names";
        if known { Ok(()) } else { Err(self.invalid(key, expected)) }
    }

    /// Reads a map from module names to positive numbers. PEFT takes the names for regular
    /// expressions; only plain names are supported.
    fn patterns(&self, key: &str) -> Result<Patterns, HfError> {
        let map = match &self.config[key] {
            Value::Null => return Ok(Vec::new()),
            Value::Object(map) => map,
            _ => return Err(self.invalid(key, "an object of module names")),
        };
        let mut patterns = Patterns::new();
        for (name, value) in map {
            if !is_plain(name) {
                return Err(self.invalid(key, &format!("plain module names instead of '{name}'")));
            }
            let number = value.as_f64().filter(|number| number.is_finite() && *number > 0.0);
            patterns.push((name.clone(), number.ok_or_else(|| self.invalid(key, "positive numbers"))?));
        }
        Ok(patterns)
    }

    /// Reads a list of module names; `None` for a regular expression or all linear layers.
    fn names(&self, key: &str) -> Result<Option<Vec<String>>, HfError> {
        let Some(list) = self.config[key].as_array() else { return Ok(None) };
        let names: Option<Vec<String>> = list.iter().map(|name| name.as_str().map(str::to_owned)).collect();
        names.map(Some).ok_or_else(|| self.invalid(key, "a list of module names"))
    }

    /// Reads `exclude_modules`, which has no influence on the tensors of the other modules.
    fn excluded(&self) -> Result<Vec<String>, HfError> {
        let key = "exclude_modules";
        match &self.config[key] {
            Value::String(name) if is_plain(name) => Ok(vec![name.clone()]),
            Value::String(_) => Err(self.invalid(key, "a list of module names")),
            _ => Ok(self.names(key)?.unwrap_or_default()),
        }
    }

    fn layers(&self) -> Result<Option<Vec<u64>>, HfError> {
        let key = "layers_to_transform";
        let list = match &self.config[key] {
            Value::Null => return Ok(None),
            Value::Array(list) if list.is_empty() => return Ok(None),
            Value::Array(list) => list.clone(),
            value => vec![value.clone()],
        };
        let layers: Option<Vec<u64>> = list.iter().map(Value::as_u64).collect();
        layers.map(Some).ok_or_else(|| self.invalid(key, "layer numbers"))
    }
}

/// Whether a pattern is a name and not a regular expression.
fn is_plain(name: &str) -> bool {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.' | '-');
    !name.is_empty() && name.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(change: &Value) -> Result<Settings, String> {
        let mut config = json!({"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["wqkv", "wo"]});
        for (key, value) in change.as_object().unwrap() {
            config[key] = value.clone();
        }
        Settings::read(&config, Path::new("adapter_config.json")).map_err(|error| error.to_string())
    }

    #[test]
    fn variants_and_initialisations_that_change_the_base_are_refused_by_name() {
        for name in ["pissa", "pissa_niter_16", "olora", "corda", "eva", "loftq", "lora_ga", "mica", "of tomorrow"] {
            let error = read(&json!({"init_lora_weights": name})).unwrap_err();
            assert!(error.contains(&format!("init_lora_weights: \"{name}\", expected true, false")), "{error}");
        }
        for (key, value) in [
            ("use_dora", json!(true)),
            ("use_qalora", json!(true)),
            ("alora_invocation_tokens", json!([1, 2])),
            ("lora_bias", json!(true)),
            ("fan_in_fan_out", json!(true)),
            ("layer_replication", json!([[0, 4]])),
            ("megatron_config", json!({"x": 1})),
            ("target_parameters", json!(["experts.gate"])),
            ("arrow_config", json!({"top_k": 3})),
            ("loftq_config", json!({"loftq_bits": 4})),
            ("eva_config", json!({"rho": 2.0})),
            ("corda_config", json!({"x": 1})),
            ("kasa_config", json!({"x": 1})),
            ("monteclora_config", json!({"x": 1})),
            ("velora_config", json!({"x": 1})),
            ("use_bdlora", json!({"nblocks": 2})),
            ("ensure_weight_tying", json!(true)),
            ("use_something_of_tomorrow", json!(true)),
            ("strength_of_tomorrow", json!(2.5)),
            ("bias", json!("lora_only")),
        ] {
            let error = read(&json!({key: value})).unwrap_err();
            assert!(error.starts_with(&format!("adapter_config.json: {key}: {value}, ")), "{error}");
            assert!(read(&json!({key: null})).is_ok());
        }
    }

    #[test]
    fn ranks_and_scales_of_modules_are_reproduced() {
        let settings = read(&json!({"rank_pattern": {"wo": 2}, "alpha_pattern": {"layers.1.attention.wo": 3},
            "exclude_modules": ["layers.2.attention.wo"], "layers_to_transform": [0, 1, 2], "init_lora_weights": "gaussian"}))
        .unwrap();
        let module = |layer: usize, name: &str| format!("language_model.model.layers.{layer}.attention.{name}");
        assert_eq!(settings.check(&module(0, "wqkv"), 4), Ok(()));
        assert_eq!(settings.check(&module(0, "wo"), 2), Ok(()));
        assert!(settings.check(&module(0, "wo"), 4).unwrap_err().contains("rank 4, expected 2"));
        assert!(settings.check(&module(2, "wo"), 2).unwrap_err().contains("`exclude_modules`"));
        assert!(settings.check(&module(3, "wqkv"), 4).unwrap_err().contains("of layer 3"));
        assert!(settings.check(&module(0, "w1"), 4).unwrap_err().contains("`target_modules`"));
        assert_eq!((settings.alpha(&module(0, "wo")), settings.alpha(&module(1, "wo"))), (8.0, 3.0));
        for key in ["rank_pattern", "alpha_pattern"] {
            assert!(read(&json!({key: {r".*\.wo": 2}})).unwrap_err().contains("plain module names"));
            assert!(read(&json!({key: {"wo": 0}})).unwrap_err().contains("positive numbers"));
        }
    }
}
