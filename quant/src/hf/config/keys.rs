//! Which keys of a configuration this program knows, and what it does with an unknown one.
//!
//! A checkpoint of another model has the same tensors more often than not, so a key that changes
//! what is computed may never be passed over. Each key is in one of three lists ([`super::tables`]):
//! read, without influence on what is computed, or supported with certain values only. Any other
//! key is refused if its name contains a word of computations ([`WORDS`]) and it is not off;
//! otherwise it is reported as unknown.

use serde_json::{Map, Value};

use super::error::KeyError;
use super::family::Family;
use super::qwen::{self, QwenVl};
use super::tables::{self, Table};
use super::tables_qwen;

/// Words in the names of keys that change what a model computes: an unknown key with one of them is
/// refused unless it is off.
const WORDS: &[&str] = &[
    "act",
    "activation",
    "alibi",
    "attn",
    "attention",
    "bias",
    "block",
    "chunk",
    "clip",
    "conv",
    "cross",
    "embed",
    "embedding",
    "embeddings",
    "eps",
    "epsilon",
    "expert",
    "experts",
    "factor",
    "ffn",
    "freq",
    "gate",
    "gated",
    "gating",
    "head",
    "heads",
    "kv",
    "layer",
    "layers",
    "lora",
    "mamba",
    "mask",
    "merge",
    "mixture",
    "mlp",
    "moe",
    "mrope",
    "mtp",
    "mup",
    "multiplier",
    "norm",
    "normalization",
    "normalize",
    "ntk",
    "parallel",
    "patch",
    "pool",
    "pooling",
    "position",
    "positions",
    "qk",
    "qkv",
    "quant",
    "quantization",
    "recurrent",
    "residual",
    "rope",
    "rotary",
    "router",
    "scale",
    "scaling",
    "shuffle",
    "sliding",
    "softcap",
    "softcapping",
    "softmax",
    "sparse",
    "ssm",
    "stride",
    "theta",
    "tie",
    "tied",
    "window",
    "yarn",
];

/// Checks every key of a `config.json` and returns the unknown ones, which are ignored.
///
/// A configuration with an `llm_config` or `text_config` is a multimodal model's; anything else is
/// checked as a language model's.
///
/// # Errors
/// [`KeyError`] for the first key whose value is not supported.
pub fn check(config: &Value) -> Result<Vec<String>, KeyError> {
    let mut unknown = Vec::new();
    let Value::Object(root) = config else {
        return Err(KeyError::new("the configuration", Some(config), "an object"));
    };
    if let Some(model) = QwenVl::of(root) {
        qwen_vl(model, root, &mut unknown)?;
    } else if root.contains_key("text_config") {
        section(root, "", &[tables::TRANSFORMERS_MODEL, tables::COMMON], &mut unknown)?;
        if let Some(Value::Object(vision)) = root.get("vision_config") {
            section(vision, "vision_config.", &[tables::TRANSFORMERS_VISION, tables::COMMON], &mut unknown)?;
        }
        if let Some(Value::Object(language)) = root.get("text_config") {
            self::language(language, "text_config.", &mut unknown)?;
        }
    } else if root.contains_key("llm_config") || root.contains_key("vision_config") {
        section(root, "", &[tables::MODEL, tables::COMMON], &mut unknown)?;
        if let Some(Value::Object(vision)) = root.get("vision_config") {
            section(vision, "vision_config.", &[tables::VISION, tables::COMMON], &mut unknown)?;
            head_width(vision, "vision_config.", Family::InternLm2)?;
        }
        if let Some(Value::Object(language)) = root.get("llm_config") {
            self::language(language, "llm_config.", &mut unknown)?;
            tied(root, language)?;
        }
    } else {
        language(root, "", &mut unknown)?;
    }
    Ok(unknown)
}

/// Checks the keys of a model of `Qwen-VL`.
///
/// # Errors
/// [`KeyError`] for the first key whose value is not supported.
fn qwen_vl(model: QwenVl, root: &Map<String, Value>, unknown: &mut Vec<String>) -> Result<(), KeyError> {
    let class = serde_json::json!([model.class()]);
    if let Some(found) = root.get("architectures").filter(|found| !(is_off(found) || **found == class)) {
        return Err(KeyError::new("architectures", Some(found), format!("[\"{}\"]", model.class())));
    }
    if let Some(text) = root.get("text_config").and_then(Value::as_object) {
        section(root, "", &[tables_qwen::MODEL, tables::LANGUAGE, tables::COMMON], unknown)?;
        repeated(root, text)?;
    }
    if let Some(Value::Object(vision)) = root.get("vision_config") {
        section(vision, "vision_config.", &[tables_qwen::VISION, tables::COMMON], unknown)?;
    }
    let qwen::LanguageSection { json, prefix, .. } = qwen::language(model, root)?;
    json.as_object().map_or(Ok(()), |section| self::language(section, prefix, unknown))
}

/// Checks that keys of the language model that some versions repeat at the top level have the same values there.
fn repeated(root: &Map<String, Value>, text: &Map<String, Value>) -> Result<(), KeyError> {
    for (name, value) in root.iter().filter(|(name, _)| tables::LANGUAGE.read.contains(&name.as_str())) {
        let path = match name.as_str() {
            "architectures" | "tie_word_embeddings" => continue,
            // Versions name the kind of scaling in different ways.
            "rope_scaling" | "rope_parameters" => format!("/{}", qwen::SECTION),
            _ => String::new(),
        };
        let Some(own) = text.get(name).and_then(|own| own.pointer(&path)) else { continue };
        if value.pointer(&path).is_some_and(|value| value != own) {
            return Err(KeyError::new(name, Some(value), format!("the value of text_config.{name}, {own}")));
        }
    }
    Ok(())
}

/// Checks the keys of a `preprocessor_config.json` against a table, and returns the unknown ones.
///
/// # Errors
/// As [`check`].
pub(super) fn check_pixels(config: &Value, table: Table) -> Result<Vec<String>, KeyError> {
    let mut unknown = Vec::new();
    match config {
        Value::Object(root) => section(root, "", &[table], &mut unknown)?,
        other => return Err(KeyError::new("the configuration", Some(other), "an object")),
    }
    Ok(unknown)
}

fn language(keys: &Map<String, Value>, prefix: &str, unknown: &mut Vec<String>) -> Result<(), KeyError> {
    // Others are refused by the reader, with the model types that are supported.
    let Some(family) = keys.get("model_type").and_then(Value::as_str).and_then(Family::from_name) else {
        return Ok(());
    };
    let own = match family {
        Family::InternLm2 => tables::INTERNLM2,
        Family::Qwen2 => tables::QWEN2,
        Family::Qwen3 | Family::Llama | Family::Mistral => tables::WITHOUT_BIAS,
    };
    section(keys, prefix, &[own, tables::LANGUAGE, tables::COMMON], unknown)?;
    family.scoring_head(keys, prefix)?;
    family.window(keys, prefix)?;
    head_width(keys, prefix, family)?;
    window(keys, prefix)
}

fn section(
    keys: &Map<String, Value>,
    prefix: &str,
    known: &[Table],
    unknown: &mut Vec<String>,
) -> Result<(), KeyError> {
    let has_no_experts = keys.get("use_moe").is_some_and(|on| *on == false);
    for (name, value) in keys {
        if has_no_experts && tables::EXPERTS.contains(&name.as_str()) {
            continue;
        }
        let key = || format!("{prefix}{name}");
        let supported = known.iter().find_map(|table| table.only.iter().find(|(key, _)| key == name));
        let is_known =
            known.iter().any(|table| table.read.contains(&name.as_str()) || table.ignored.contains(&name.as_str()));
        match supported {
            Some((_, values)) => {
                if !(value.is_null() || values.iter().any(|text| equal(value, text))) {
                    return Err(KeyError::new(key(), Some(value), expected(values)));
                }
            }
            None if is_known || is_off(value) => {}
            None if changes_results(name) => {
                return Err(KeyError::new(key(), Some(value), "it to be off: this setting is not supported"));
            }
            None => unknown.push(key()),
        }
    }
    Ok(())
}

fn expected(values: &[&str]) -> String {
    if values.is_empty() {
        return "null: this setting is not supported".into();
    }
    values.join(" or ").replace('"', "'")
}

/// Whether a value equals a JSON text; numbers are compared by value, so that 1 equals 1.0.
fn equal(value: &Value, text: &str) -> bool {
    let Ok(other) = serde_json::from_str::<Value>(text) else { return false };
    match (value.as_f64(), other.as_f64()) {
        (Some(value), Some(other)) => value.to_bits() == other.to_bits() || (value - other).abs() < 1e-9,
        _ => *value == other,
    }
}

/// Whether a value switches an optional setting off in every library that is known.
pub(crate) fn is_off(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// Whether the name of an unknown key is one of a computation. Ids of tokens, and dropout, which
/// only training applies, are not.
fn changes_results(name: &str) -> bool {
    let harmless = ["dropout", "pdrop", "drop_path", "_token_id", "_token_index"];
    !harmless.iter().any(|part| name.contains(part)) && has_word(name)
}

fn has_word(name: &str) -> bool {
    name.split(['_', '-', '.']).any(|part| WORDS.contains(&part.to_ascii_lowercase().as_str()))
}

/// Checks that the width of a head, if it is given, is the one computed from the widths; and where a
/// family has a setting for it, that others agree with it.
fn head_width(keys: &Map<String, Value>, prefix: &str, family: Family) -> Result<(), KeyError> {
    let number = |key: &str| keys.get(key).and_then(Value::as_u64);
    let (Some(hidden), Some(heads)) = (number("hidden_size"), number("num_attention_heads")) else { return Ok(()) };
    let own = family.own_head_width(keys);
    for name in ["head_dim", "kv_channels", "v_head_dim"] {
        let Some(value) = keys.get(name).filter(|value| !value.is_null()) else { continue };
        let (fits, expected) = match own {
            // The reader checks the setting itself.
            Some(_) if name == "head_dim" => continue,
            Some(own) => (value.as_u64() == Some(own), "head_dim"),
            None => {
                let whole = value.as_u64().and_then(|width| width.checked_mul(heads));
                (whole == Some(hidden), "hidden_size / num_attention_heads")
            }
        };
        if !fits {
            return Err(KeyError::new(format!("{prefix}{name}"), Some(value), expected));
        }
    }
    Ok(())
}

/// Refuses a sliding attention window, unless it is wider than the context or begins above the last
/// layer.
fn window(keys: &Map<String, Value>, prefix: &str) -> Result<(), KeyError> {
    if let Some(Value::Array(kinds)) = keys.get("layer_types")
        && let Some(kind) = kinds.iter().find(|kind| **kind != "full_attention")
    {
        return Err(KeyError::new(format!("{prefix}layer_types"), Some(kind), "\"full_attention\" in every layer"));
    }
    if keys.get("use_sliding_window").is_none_or(is_off) {
        return Ok(());
    }
    let number = |key: &str| keys.get(key).and_then(Value::as_u64);
    let at_least = |key: &str, other: &str| matches!((number(key), number(other)), (Some(a), Some(b)) if a >= b);
    let inactive = keys.get("sliding_window").is_some_and(Value::is_null)
        || at_least("sliding_window", "max_position_embeddings")
        || at_least("max_window_layers", "num_hidden_layers");
    if inactive {
        return Ok(());
    }
    let found = keys.get("use_sliding_window");
    Err(KeyError::new(
        format!("{prefix}use_sliding_window"),
        found,
        "false: attention within a sliding window is not supported",
    ))
}

/// Refuses a head that is tied for one class of the model and separate for the other.
fn tied(root: &Map<String, Value>, language: &Map<String, Value>) -> Result<(), KeyError> {
    let key = "tie_word_embeddings";
    let is_on = |keys: &Map<String, Value>| keys.get(key).is_some_and(|value| *value == true);
    if is_on(root) && !is_on(language) {
        return Err(KeyError::new(
            key,
            root.get(key),
            "the value of llm_config.tie_word_embeddings, which is not true",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn internvl() -> Value {
        json!({"model_type": "internvl_chat", "ps_version": "v2", "vision_config": {"model_type": "intern_vit_6b"},
            "llm_config": {"model_type": "qwen2", "hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 3,
                "max_position_embeddings": 64}})
    }

    #[test]
    fn keys_that_change_the_model_are_refused_by_name() {
        let cases = [
            ("/llm_config/attention_bias", json!(true), "llm_config.attention_bias: true, expected false"),
            ("/llm_config/final_logit_softcapping", json!(30.0), "llm_config.final_logit_softcapping: 30.0"),
            ("/llm_config/logit_scale", json!(0.5), "llm_config.logit_scale: 0.5"),
            ("/llm_config/num_experts", json!(8), "llm_config.num_experts: 8"),
            ("/llm_config/use_qk_norm", json!(true), "llm_config.use_qk_norm: true"),
            ("/llm_config/head_dim", json!(8), "llm_config.head_dim: 8"),
            ("/llm_config/layer_types", json!(["full_attention", "sliding_attention"]), "llm_config.layer_types"),
            ("/llm_config/use_sliding_window", json!(true), "llm_config.use_sliding_window: true"),
            ("/llm_config/quantization_config", json!({"quant_method": "awq"}), "llm_config.quantization_config"),
            ("/llm_config/architectures", json!(["Qwen2ForSequenceClassification"]), "llm_config.architectures"),
            ("/llm_config/new_rope_thing", json!(3), "llm_config.new_rope_thing: 3, expected it to be off"),
            ("/vision_config/window_size", json!(8), "vision_config.window_size: 8"),
            ("/vision_config/model_type", json!("siglip"), "vision_config.model_type: 'siglip'"),
            ("/use_backbone_lora", json!(16), "use_backbone_lora: 16, expected 0"),
            ("/pad2square", json!(true), "pad2square: true, expected false"),
            ("/rope_scaling", json!({"type": "linear", "factor": 2.0}), "rope_scaling: "),
            ("/tie_word_embeddings", json!(true), "tie_word_embeddings: true, expected the value of llm_config"),
        ];
        for (place, value, expected) in cases {
            let mut config = internvl();
            let (section, key) = place.rsplit_once('/').unwrap();
            config.pointer_mut(section).unwrap()[key] = value;
            let error = check(&config).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}, expected {expected}");
        }
    }

    /// What the configuration of InternVL3-1B has beside sizes, as transformers 4.56 writes it.
    #[test]
    fn a_published_configuration_has_no_unknown_keys() {
        let vision = json!({
            "_name_or_path": "OpenGVLab/InternViT-6B-448px-V1-5", "architectures": ["InternVisionModel"],
            "attention_dropout": 0.0, "auto_map": {"AutoConfig": "x"}, "capacity_factor": 1.2, "drop_path_rate": 0.1,
            "dropout": 0.0, "eval_capacity_factor": 1.4, "hidden_act": "gelu", "hidden_size": 1024,
            "initializer_factor": 0.1, "initializer_range": 1e-10, "laux_allreduce": "all_nodes", "layer_norm_eps": 1e-6,
            "model_type": "intern_vit_6b", "moe_coeff_ratio": 0.5, "moe_intermediate_size": 768, "moe_output_scale": 4.0,
            "noisy_gate_policy": "RSample_before", "norm_type": "layer_norm", "num_attention_heads": 16, "num_experts": 8,
            "num_routed_experts": 4, "num_shared_experts": 4, "qk_normalization": false, "qkv_bias": true,
            "shared_expert_intermediate_size": 3072, "torch_dtype": "bfloat16", "use_bfloat16": true,
            "use_flash_attn": false, "use_moe": false, "use_residual": true, "use_rts": false,
            "use_weighted_residual": false
        });
        let language = json!({
            "_name_or_path": "./pretrained/Qwen2.5-32B-Instruct", "architectures": ["Qwen2ForCausalLM"],
            "attention_dropout": 0.0, "bos_token_id": 151_643, "eos_token_id": 151_643, "hidden_act": "silu",
            "hidden_size": 896, "initializer_range": 0.02, "layer_types": ["full_attention", "full_attention"],
            "max_position_embeddings": 32768, "max_window_layers": 70, "model_type": "qwen2", "moe_config": null,
            "num_attention_heads": 14, "num_hidden_layers": 2, "rms_norm_eps": 1e-6, "sliding_window": null,
            "rope_scaling": {"factor": 2.0, "rope_type": "dynamic", "type": "dynamic"}, "rope_theta": 1e6,
            "use_bfloat16": true, "use_cache": false, "use_sliding_window": false
        });
        let mut config = json!({
            "architectures": ["InternVLChatModel"], "auto_map": {"AutoConfig": "x"}, "downsample_ratio": 0.5,
            "dynamic_image_size": true, "force_image_size": 448, "hidden_size": 896, "image_fold": null,
            "llm_config": language, "max_dynamic_patch": 12, "min_dynamic_patch": 1, "model_type": "internvl_chat",
            "output_attentions": false, "pad2square": false, "ps_version": "v2", "select_layer": -1,
            "system_message": null, "template": "internvl2_5", "tie_word_embeddings": false, "torch_dtype": "bfloat16",
            "transformers_version": null, "use_backbone_lora": 0, "use_llm_lora": 0, "use_thumbnail": true,
            "vision_config": vision
        });
        assert_eq!(check(&config).unwrap(), Vec::<String>::new());
        config["vision_config"]["use_moe"] = json!(true);
        let error = check(&config).unwrap_err();
        assert!(error.key.starts_with("vision_config."), "{error}");
    }

    #[test]
    fn what_changes_nothing_is_accepted_and_unknown_keys_are_listed_once() {
        let mut config = internvl();
        let language = &mut config["llm_config"];
        for (key, value) in [
            ("use_sliding_window", json!(true)),
            ("max_window_layers", json!(3)),
            ("sliding_window", json!(16)),
            ("head_dim", json!(4)),
            ("layer_types", json!(["full_attention"])),
            ("partial_rotary_factor", json!(1)),
            ("num_experts", json!(0)),
            ("temperature", json!(0.2)),
            ("some_norm_of_later", json!(null)),
            ("house_number", json!(7)),
        ] {
            language[key] = value;
        }
        config["tie_word_embeddings"] = json!(false);
        assert_eq!(check(&config).unwrap(), ["llm_config.house_number"]);
        assert!(check_pixels(&json!({"do_normalize": false}), tables::PIXELS).is_err());
        assert!(
            check_pixels(&json!({"rescale_factor": 0.003_921_568_627, "size": 448}), tables::PIXELS)
                .unwrap()
                .is_empty()
        );
    }
}
