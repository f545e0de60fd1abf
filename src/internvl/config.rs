//! Shapes and hyperparameters of a model, parsed from the `config.json` of a Hugging Face
//! directory; of a text model also from GGUF metadata, by what conversion reads ([`Config::text`]).

use mmprm_quant::hf::config::{self as checkpoint, KeyError};
use serde_json::Value;

use crate::nn::rope::RopeScaling;

/// Maximum dimension, far above any real one.
const MAX_DIM: u64 = 1 << 20;
/// Maximum number of layers.
const MAX_LAYERS: u64 = 1 << 10;

/// A field of `config.json` that is missing, invalid or not supported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("config.json: {field}: {}, expected {expected}", found.as_deref().unwrap_or("missing"))]
#[non_exhaustive]
pub struct ConfigError {
    /// The field, such as `llm_config.hidden_size`.
    pub field: String,
    /// Its value, `None` if it is missing.
    pub found: Option<String>,
    /// The supported values.
    pub expected: String,
}

impl From<KeyError> for ConfigError {
    fn from(KeyError { key: field, found, expected, .. }: KeyError) -> Self {
        Self { field, found, expected }
    }
}

/// Kind of norm in a vision tower.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormKind {
    /// `LayerNorm` with biases (InternViT-300M).
    Layer,
    /// `RMSNorm` (InternViT-6B).
    Rms,
}

impl NormKind {
    /// Returns the name in `config.json` (`norm_type`).
    pub fn name(self) -> &'static str {
        match self {
            Self::Layer => "layer_norm",
            Self::Rms => "rms_norm",
        }
    }
}

/// Configuration of the vision tower, `InternViT`.
#[derive(Debug, Clone, PartialEq)]
pub struct VisionConfig {
    /// Width of the residual stream.
    pub hidden: usize,
    /// Number of blocks.
    pub layers: usize,
    /// Number of heads.
    pub heads: usize,
    /// Width of the feed-forward layers.
    pub feed_forward: usize,
    /// Tile side, in pixels.
    pub image: usize,
    /// Patch side, in pixels.
    pub patch: usize,
    /// Whether queries, keys and values have biases.
    pub qkv_bias: bool,
    /// Kind of norm.
    pub norm: NormKind,
    /// Epsilon of the norms.
    pub epsilon: f32,
    /// Whether queries and keys are normalised (`RMSNorm` over all heads jointly).
    pub qk_norm: bool,
    /// Patches along each side of a pixel-shuffle block (1 / `downsample_ratio`).
    pub shuffle: usize,
}

impl VisionConfig {
    /// Returns the patches along each side of a tile.
    pub fn side(&self) -> usize {
        self.image / self.patch
    }

    /// Returns the tokens of a tile inside the tower: a class token and one per patch.
    pub fn tokens(&self) -> usize {
        self.side().pow(2) + 1
    }

    /// Returns the pixel values of a tile: 3 · image².
    pub fn pixels(&self) -> usize {
        3 * self.image * self.image
    }

    /// Returns the language model tokens per tile.
    pub fn tokens_per_tile(&self) -> usize {
        (self.side() / self.shuffle).pow(2)
    }

    /// Returns the channels of a token before the projector.
    pub fn features(&self) -> usize {
        self.hidden * self.shuffle * self.shuffle
    }
}

/// Architecture of the language model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LanguageKind {
    /// `InternLM2`: one fused matrix for queries, keys and values.
    InternLm2,
    /// Qwen2 and Qwen2.5: one matrix for each of them, with biases.
    Qwen2,
    /// Llama and Mistral: one matrix for each of them, without biases.
    Llama,
}

impl LanguageKind {
    /// Returns the architecture's name in llama.cpp.
    pub fn name(self) -> &'static str {
        match self {
            Self::InternLm2 => "internlm2",
            Self::Qwen2 => "qwen2",
            Self::Llama => "llama",
        }
    }
}

/// Configuration of the language model.
#[derive(Debug, Clone, PartialEq)]
pub struct LanguageConfig {
    /// Architecture.
    pub kind: LanguageKind,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Number of blocks.
    pub layers: usize,
    /// Number of query heads.
    pub heads: usize,
    /// Number of key and value heads, a divisor of `heads`.
    pub kv_heads: usize,
    /// Head dimension.
    pub head: usize,
    /// Width of the feed-forward layers.
    pub feed_forward: usize,
    /// Rows of the embedding matrix.
    pub vocabulary: usize,
    /// Base of the rotary embedding (`rope_theta`).
    pub rope_base: f32,
    /// How rotary positions are scaled.
    pub rope_scaling: RopeScaling,
    /// What each rotary frequency is divided by (Llama 3's scaling); empty for 1.
    pub rope_divisors: Vec<f32>,
    /// Epsilon of the norms.
    pub epsilon: f32,
    /// Whether queries, keys and values have biases.
    pub qkv_bias: bool,
    /// Whether the head shares the embedding matrix.
    pub tied: bool,
}

/// Configuration of an InternVL2.5 model (vision tower, projector and language model) or of a text
/// model.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The vision tower; `None` for a text model.
    pub vision: Option<VisionConfig>,
    /// The language model.
    pub language: LanguageConfig,
}

impl Config {
    /// Reads a parsed `config.json` of `model_type` `internvl_chat`, with the defaults of
    /// `InternVL`'s configuration classes. Keys are known or refused as in conversion
    /// ([`mmprm_quant::hf::config::check_keys`]).
    ///
    /// ```
    /// use mmprm::internvl::Config;
    /// let error = Config::from_json(&serde_json::json!({"vision_config": {}})).unwrap_err();
    /// assert_eq!(error.to_string(), "config.json: vision_config.hidden_size: missing, expected a whole number");
    /// ```
    ///
    /// # Errors
    /// [`ConfigError`] with the first field that is missing, out of bounds or not supported.
    pub fn from_json(json: &Value) -> Result<Self, ConfigError> {
        let root = Section { json, prefix: "" };
        if root.text("model_type", "internvl_chat")? != "internvl_chat" {
            return Err(root.unexpected("model_type", "internvl_chat, or internlm2, llama, mistral or qwen2"));
        }
        checkpoint::check_keys(json)?;
        let mut vision = vision(&root.section("vision_config")?)?;
        let language = language(&root.section("llm_config")?)?;
        root.only("ps_version", "v1", &["v2"])?;
        root.only_number("select_layer", -1)?;
        if root.json.get("force_image_size").is_some_and(|size| !size.is_null()) {
            root.only_number("force_image_size", vision.image as i64)?;
        }
        let ratio = root.float("downsample_ratio", 0.5)?;
        let shuffle = (1.0 / ratio).round();
        if !((shuffle * ratio - 1.0).abs() < 1e-6 && (1.0..=64.0).contains(&shuffle)) {
            return Err(root.wrong("downsample_ratio", ratio, "one over a whole number up to 64"));
        }
        vision.shuffle = shuffle as usize;
        root.divides("downsample_ratio", vision.shuffle, vision.side())?;
        Ok(Self { vision: Some(vision), language })
    }

    /// Returns the configuration of a text model, from what conversion reads of one.
    ///
    /// # Errors
    /// [`ConfigError`] with the key of the first setting that cannot be trained.
    pub fn text(config: &checkpoint::LanguageConfig) -> Result<Self, ConfigError> {
        use checkpoint::LanguageArch;
        let refuse = |field: &str, found: String, expected: &str| {
            Err(ConfigError { field: field.to_owned(), found: Some(found), expected: expected.to_owned() })
        };
        let kind = match config.arch {
            LanguageArch::InternLm2 => LanguageKind::InternLm2,
            LanguageArch::Qwen2 => LanguageKind::Qwen2,
            LanguageArch::Llama => LanguageKind::Llama,
            other => {
                return refuse("model_type", quoted(other.name()), "internlm2, qwen2, llama or mistral for training");
            }
        };
        if let Some(window) = config.window {
            return refuse(
                "sliding_window",
                window.to_string(),
                "none for training: every token attends to all before it",
            );
        }
        if config.scoring_head.is_some() {
            return refuse(
                "architectures",
                "a model with a head that scores".into(),
                "a causal language model for training",
            );
        }
        if config.layers > MAX_LAYERS {
            return refuse("num_hidden_layers", config.layers.to_string(), &format!("1 to {MAX_LAYERS}"));
        }
        let sizes = [
            ("hidden_size", config.hidden),
            ("num_attention_heads", config.heads),
            ("head_dim", config.head()),
            ("intermediate_size", config.feed_forward),
            ("vocab_size", config.vocab),
        ];
        if let Some((key, size)) = sizes.into_iter().find(|(_, size)| !(1..=MAX_DIM).contains(size)) {
            return refuse(key, size.to_string(), &format!("1 to {MAX_DIM}"));
        }
        let language = LanguageConfig {
            kind,
            hidden: config.hidden as usize,
            layers: config.layers as usize,
            heads: config.heads as usize,
            kv_heads: config.kv_heads as usize,
            head: config.head() as usize,
            feed_forward: config.feed_forward as usize,
            vocabulary: config.vocab as usize,
            rope_base: config.rope_base,
            rope_scaling: scaling(config.rope_scaling, config.context as usize, "")?,
            rope_divisors: config.frequency_factors().unwrap_or_default(),
            epsilon: config.norm_eps,
            qkv_bias: kind == LanguageKind::Qwen2,
            tied: config.tied,
        };
        Ok(Self { vision: None, language })
    }

    /// Returns the language model tokens per tile; 0 for a text model.
    pub fn tokens_per_tile(&self) -> usize {
        self.vision.as_ref().map_or(0, VisionConfig::tokens_per_tile)
    }
}

fn vision(section: &Section<'_>) -> Result<VisionConfig, ConfigError> {
    let norm = match section.text("norm_type", "rms_norm")? {
        "layer_norm" => NormKind::Layer,
        "rms_norm" => NormKind::Rms,
        other => return Err(section.wrong("norm_type", quoted(other), "layer_norm or rms_norm")),
    };
    section.only("hidden_act", "gelu", &["gelu"])?;
    if section.json.get("num_channels").is_some() {
        section.only_number("num_channels", 3)?;
    }
    let config = VisionConfig {
        hidden: section.size("hidden_size", None)?,
        layers: section.layers()?,
        heads: section.size("num_attention_heads", None)?,
        feed_forward: section.size("intermediate_size", None)?,
        image: section.size("image_size", None)?,
        patch: section.size("patch_size", None)?,
        qkv_bias: section.flag("qkv_bias", false)?,
        norm,
        epsilon: section.positive("layer_norm_eps", 1e-6)?,
        qk_norm: section.flag("qk_normalization", true)?,
        // Part of another section.
        shuffle: 1,
    };
    section.divides("num_attention_heads", config.heads, config.hidden)?;
    section.divides("patch_size", config.patch, config.image)?;
    Ok(config)
}

fn language(section: &Section<'_>) -> Result<LanguageConfig, ConfigError> {
    let kind = match section.text("model_type", "")? {
        "internlm2" => LanguageKind::InternLm2,
        "qwen2" => LanguageKind::Qwen2,
        other => return Err(section.wrong("model_type", quoted(other), "internlm2 or qwen2")),
    };
    section.only("hidden_act", "silu", &["silu"])?;
    let (rope_base, rope_scaling) = rope(section)?;
    let heads = section.size("num_attention_heads", None)?;
    let hidden = section.size("hidden_size", None)?;
    let config = LanguageConfig {
        kind,
        hidden,
        layers: section.layers()?,
        heads,
        kv_heads: section.size("num_key_value_heads", Some(heads))?,
        head: hidden / heads,
        feed_forward: section.size("intermediate_size", None)?,
        vocabulary: section.size("vocab_size", None)?,
        rope_base,
        rope_scaling,
        rope_divisors: Vec::new(),
        epsilon: section.positive("rms_norm_eps", 1e-6)?,
        qkv_bias: kind == LanguageKind::Qwen2,
        tied: section.flag("tie_word_embeddings", false)?,
    };
    section.divides("num_attention_heads", config.heads, config.hidden)?;
    section.divides("num_key_value_heads", config.kv_heads, config.heads)?;
    if !config.head.is_multiple_of(2) {
        let found = format!("heads of {} dimensions", config.head);
        return Err(section.wrong("num_attention_heads", found, "an even number"));
    }
    Ok(config)
}

/// Returns base and scaling of the rotary positions.
fn rope(section: &Section<'_>) -> Result<(f32, RopeScaling), ConfigError> {
    let rope = checkpoint::read_rope(section.json, "llm_config.")?;
    if matches!(rope.scaling, checkpoint::RopeScaling::Llama3 { .. }) {
        return Err(section.wrong("rope_scaling.type", quoted("llama3"), "dynamic or linear for training"));
    }
    let trained = match rope.scaling {
        checkpoint::RopeScaling::Dynamic { .. } => section.size("max_position_embeddings", Some(2048))?,
        _ => 0,
    };
    Ok((rope.base, scaling(rope.scaling, trained, "llm_config.")?))
}

/// Returns the scaling of the rotary positions of a model with this trained context. Llama 3's divides
/// frequencies, not positions.
fn scaling(scaling: checkpoint::RopeScaling, trained: usize, prefix: &str) -> Result<RopeScaling, ConfigError> {
    Ok(match scaling {
        checkpoint::RopeScaling::None | checkpoint::RopeScaling::Llama3 { .. } => RopeScaling::None,
        checkpoint::RopeScaling::Linear { factor } => RopeScaling::Linear { factor },
        checkpoint::RopeScaling::Dynamic { factor } => RopeScaling::Dynamic { factor, trained },
        _ => {
            let (field, found) = (format!("{prefix}rope_scaling.type"), Some(quoted("yarn")));
            return Err(ConfigError { field, found, expected: "dynamic, linear or llama3 for training".to_owned() });
        }
    })
}

fn quoted(text: &str) -> String {
    format!("'{text}'")
}

/// An object of the configuration, and its path.
struct Section<'a> {
    json: &'a Value,
    prefix: &'a str,
}

impl<'a> Section<'a> {
    fn section(&self, field: &'a str) -> Result<Self, ConfigError> {
        let json = self.json.get(field).filter(|json| json.is_object());
        let json = json.ok_or_else(|| self.error(field, None, "an object"))?;
        Ok(Self { json, prefix: field })
    }

    fn error(&self, field: &str, found: Option<String>, expected: &str) -> ConfigError {
        let dot = if self.prefix.is_empty() { "" } else { "." };
        ConfigError { field: format!("{}{dot}{field}", self.prefix), found, expected: expected.to_owned() }
    }

    fn wrong(&self, field: &str, found: impl std::fmt::Display, expected: &str) -> ConfigError {
        self.error(field, Some(found.to_string()), expected)
    }

    fn given(&self, field: &str) -> Option<&'a Value> {
        self.json.get(field).filter(|value| !value.is_null())
    }

    /// The error for the value that the field has.
    fn unexpected(&self, field: &str, expected: &str) -> ConfigError {
        self.error(field, self.given(field).map(ToString::to_string), expected)
    }

    fn bounded(&self, field: &str, default: Option<usize>, max: u64) -> Result<usize, ConfigError> {
        match (self.given(field), default) {
            (None, Some(default)) => Ok(default),
            (None, None) => Err(self.unexpected(field, "a whole number")),
            (Some(value), _) => {
                let value = value.as_u64().filter(|value| (1..=max).contains(value));
                value.map(|value| value as usize).ok_or_else(|| self.unexpected(field, &format!("1 to {max}")))
            }
        }
    }

    fn size(&self, field: &str, default: Option<usize>) -> Result<usize, ConfigError> {
        self.bounded(field, default, MAX_DIM)
    }

    fn layers(&self) -> Result<usize, ConfigError> {
        self.bounded("num_hidden_layers", None, MAX_LAYERS)
    }

    fn float(&self, field: &str, default: f64) -> Result<f64, ConfigError> {
        self.given(field).map_or(Ok(default), |value| value.as_f64().ok_or_else(|| self.unexpected(field, "a number")))
    }

    fn positive(&self, field: &str, default: f64) -> Result<f32, ConfigError> {
        let value = self.float(field, default)? as f32;
        if value.is_finite() && value > 0.0 { Ok(value) } else { Err(self.unexpected(field, "a positive number")) }
    }

    fn flag(&self, field: &str, default: bool) -> Result<bool, ConfigError> {
        self.given(field)
            .map_or(Ok(default), |value| value.as_bool().ok_or_else(|| self.unexpected(field, "true or false")))
    }

    fn text(&self, field: &str, default: &'static str) -> Result<&'a str, ConfigError> {
        self.given(field).map_or(Ok(default), |value| value.as_str().ok_or_else(|| self.unexpected(field, "a string")))
    }

    fn only(&self, field: &str, default: &'static str, supported: &[&str]) -> Result<(), ConfigError> {
        let found = self.text(field, default)?;
        if supported.contains(&found) { Ok(()) } else { Err(self.unexpected(field, &supported.join(" or "))) }
    }

    fn only_number(&self, field: &str, supported: i64) -> Result<(), ConfigError> {
        let found = self.given(field).map_or(Some(supported), Value::as_i64);
        if found == Some(supported) { Ok(()) } else { Err(self.unexpected(field, &supported.to_string())) }
    }

    fn divides(&self, field: &str, part: usize, whole: usize) -> Result<(), ConfigError> {
        if whole.is_multiple_of(part) { Ok(()) } else { Err(self.wrong(field, part, &format!("a divisor of {whole}"))) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sample() -> Value {
        json!({
            "downsample_ratio": 0.5, "ps_version": "v2", "select_layer": -1, "force_image_size": 28,
            "vision_config": {
                "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16,
                "image_size": 28, "patch_size": 7, "norm_type": "layer_norm", "qk_normalization": false,
                "qkv_bias": true, "hidden_act": "gelu"
            },
            "llm_config": {
                "model_type": "internlm2", "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4,
                "num_key_value_heads": 2, "intermediate_size": 24, "vocab_size": 11, "rms_norm_eps": 1e-5,
                "max_position_embeddings": 64, "rope_scaling": {"type": "dynamic", "factor": 2.0}, "bias": false
            }
        })
    }

    #[test]
    fn defaults_are_those_of_the_reference() {
        let config = Config::from_json(&sample()).unwrap();
        let vision = config.vision.as_ref().unwrap();
        assert_eq!((config.tokens_per_tile(), vision.features(), config.language.head), (4, 32, 4));
        assert_eq!(config.language.rope_scaling, RopeScaling::Dynamic { factor: 2.0, trained: 64 });
        assert!(!config.language.tied && !config.language.qkv_bias && vision.norm == NormKind::Layer);
    }

    #[test]
    fn rotary_positions_of_transformers_5_are_read() {
        let mut json = sample();
        let language = json["llm_config"].as_object_mut().unwrap();
        language.remove("rope_scaling");
        language.insert("rope_parameters".into(), json!({"rope_type": "linear", "factor": 4, "rope_theta": 5e5}));
        let language = Config::from_json(&json).unwrap().language;
        assert_eq!((language.rope_base, language.rope_scaling), (5e5, RopeScaling::Linear { factor: 4.0 }));
    }

    #[test]
    fn unsupported_values_are_reported_with_their_field() {
        let cases = [
            ("/llm_config/model_type", json!("llama"), "llm_config.model_type"),
            ("/llm_config/hidden_size", json!(0), "llm_config.hidden_size"),
            ("/llm_config/hidden_size", json!(1u64 << 40), "llm_config.hidden_size"),
            ("/llm_config/num_key_value_heads", json!(3), "llm_config.num_key_value_heads"),
            ("/llm_config/rope_scaling/type", json!("longrope"), "llm_config.rope_scaling.type"),
            ("/llm_config/rope_scaling/factor", json!("2"), "llm_config.rope_scaling.factor"),
            ("/llm_config/bias", json!(true), "llm_config.bias"),
            (
                "/llm_config/rope_scaling",
                json!({"type": "yarn", "factor": 2, "original_max_position_embeddings": 32}),
                "llm_config.rope_scaling.type",
            ),
            ("/llm_config/rope_scaling/attention_factor", json!(1.5), "llm_config.rope_scaling.attention_factor"),
            ("/llm_config/rope_parameters", json!({"rope_theta": 5}), "llm_config.rope_parameters"),
            ("/llm_config/rope_pos_id_version", json!("v2pe_fix"), "llm_config.rope_pos_id_version"),
            ("/llm_config/qk_norm", json!(true), "llm_config.qk_norm"),
            ("/vision_config/window_size", json!(2), "vision_config.window_size"),
            ("/use_llm_lora", json!(8), "use_llm_lora"),
            ("/model_type", json!("internvl"), "model_type"),
            ("/vision_config/patch_size", json!(5), "vision_config.patch_size"),
            ("/vision_config/hidden_act", json!("silu"), "vision_config.hidden_act"),
            ("/downsample_ratio", json!(0.3), "downsample_ratio"),
            ("/ps_version", json!("v1"), "ps_version"),
            ("/select_layer", json!(-2), "select_layer"),
            ("/force_image_size", json!(56), "force_image_size"),
            ("/vision_config", json!([]), "vision_config"),
        ];
        for (place, value, field) in cases {
            let mut json = sample();
            let (section, key) = place.rsplit_once('/').unwrap();
            json.pointer_mut(section).unwrap()[key] = value;
            let error = Config::from_json(&json).unwrap_err();
            assert_eq!(error.field, field, "{error}");
        }
    }
}
