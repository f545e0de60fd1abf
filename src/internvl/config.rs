//! Shapes and constants of a model, read from the `config.json` of a Hugging Face directory.

use serde_json::Value;

use crate::nn::rope::Scaling;

/// Widest dimension that a configuration may name, far above any real one.
const MAX_DIM: u64 = 1 << 20;
/// Most layers of a tower.
const MAX_LAYERS: u64 = 1 << 10;

/// A field of a configuration that is missing or that this model cannot follow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("config.json: {field}: {problem}")]
#[non_exhaustive]
pub struct ConfigError {
    /// The field, as `llm_config.hidden_size`.
    pub field: String,
    /// What is wrong and what was expected.
    pub problem: String,
}

/// The kind of a tower's norms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormKind {
    /// `LayerNorm`, with biases (InternViT-300M).
    Layer,
    /// `RMSNorm`, without (InternViT-6B).
    Rms,
}

impl NormKind {
    /// The name in `config.json` (`norm_type`).
    pub fn name(self) -> &'static str {
        match self {
            Self::Layer => "layer_norm",
            Self::Rms => "rms_norm",
        }
    }
}

/// `InternViT`.
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
    /// Side of a tile in pixels.
    pub image: usize,
    /// Side of a patch in pixels.
    pub patch: usize,
    /// Whether queries, keys and values have biases.
    pub qkv_bias: bool,
    /// Kind of the norms.
    pub norm: NormKind,
    /// Added under the root of the norms.
    pub epsilon: f32,
    /// Whether queries and keys are normalised (`RMSNorm` over all heads together).
    pub qk_norm: bool,
}

impl VisionConfig {
    /// Patches along each side of a tile.
    pub fn side(&self) -> usize {
        self.image / self.patch
    }

    /// Tokens of a tile inside of the tower: the class token and one for each patch.
    pub fn tokens(&self) -> usize {
        self.side().pow(2) + 1
    }

    /// Pixel values of a tile: 3 · image².
    pub fn pixels(&self) -> usize {
        3 * self.image * self.image
    }
}

/// The architecture of the language model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LanguageKind {
    /// `InternLM2`: queries, keys and values from one fused matrix.
    InternLm2,
    /// Qwen2 and Qwen2.5: one matrix each, with biases.
    Qwen2,
}

/// The language model.
#[derive(Debug, Clone, PartialEq)]
pub struct LanguageConfig {
    /// Its architecture.
    pub kind: LanguageKind,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Number of blocks.
    pub layers: usize,
    /// Number of query heads.
    pub heads: usize,
    /// Number of key and value heads, a divisor of `heads`.
    pub kv_heads: usize,
    /// Width of the feed-forward layers.
    pub feed_forward: usize,
    /// Rows of the embedding matrix.
    pub vocabulary: usize,
    /// Base of the rotary embedding (`rope_theta`).
    pub rope_base: f32,
    /// How rotary positions are scaled.
    pub rope_scaling: Scaling,
    /// Added under the root of the norms.
    pub epsilon: f32,
    /// Whether queries, keys and values have biases.
    pub qkv_bias: bool,
    /// Whether the head is the embedding matrix.
    pub tied: bool,
}

impl LanguageConfig {
    /// Dimensions of a head.
    pub fn head(&self) -> usize {
        self.hidden / self.heads
    }
}

/// InternVL2.5: a vision tower, a projector and a language model.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The vision tower.
    pub vision: VisionConfig,
    /// Patches along each side of the blocks that the pixel shuffle makes one token of (1 / `downsample_ratio`).
    pub shuffle: usize,
    /// The language model.
    pub language: LanguageConfig,
}

impl Config {
    /// Read a parsed `config.json` of `model_type` `internvl_chat`. Defaults are those of the reference's configuration
    /// classes.
    ///
    /// ```
    /// use mmprm::internvl::Config;
    /// let error = Config::from_json(&serde_json::json!({"vision_config": {}})).unwrap_err();
    /// assert_eq!(error.to_string(), "config.json: vision_config.hidden_size: missing, expected a whole number");
    /// ```
    ///
    /// # Errors
    /// [`ConfigError`] with the first field that is missing, out of its bounds or not supported.
    pub fn from_json(json: &Value) -> Result<Self, ConfigError> {
        let root = Section { json, prefix: "" };
        let vision = vision(&root.section("vision_config")?)?;
        let language = language(&root.section("llm_config")?)?;
        root.only("ps_version", "v1", &["v2"])?;
        root.only_number("select_layer", -1)?;
        if root.json.get("force_image_size").is_some_and(|size| !size.is_null()) {
            root.only_number("force_image_size", vision.image as i64)?;
        }
        let ratio = root.float("downsample_ratio", 0.5)?;
        let shuffle = (1.0 / ratio).round();
        if !((shuffle * ratio - 1.0).abs() < 1e-6 && (1.0..=64.0).contains(&shuffle)) {
            return Err(root.error("downsample_ratio", format!("{ratio}, expected one over a whole number up to 64")));
        }
        let shuffle = shuffle as usize;
        root.divides("downsample_ratio", shuffle, vision.side())?;
        Ok(Self { vision, shuffle, language })
    }

    /// Tokens of the language model that a tile becomes.
    pub fn tokens_per_tile(&self) -> usize {
        (self.vision.side() / self.shuffle).pow(2)
    }

    /// Channels of a tile's token before the projector.
    pub fn features(&self) -> usize {
        self.vision.hidden * self.shuffle * self.shuffle
    }
}

fn vision(section: &Section<'_>) -> Result<VisionConfig, ConfigError> {
    let norm = match section.text("norm_type", "rms_norm")? {
        "layer_norm" => NormKind::Layer,
        "rms_norm" => NormKind::Rms,
        other => return Err(section.error("norm_type", format!("'{other}', expected layer_norm or rms_norm"))),
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
    };
    section.divides("num_attention_heads", config.heads, config.hidden)?;
    section.divides("patch_size", config.patch, config.image)?;
    Ok(config)
}

fn language(section: &Section<'_>) -> Result<LanguageConfig, ConfigError> {
    let kind = match section.text("model_type", "")? {
        "internlm2" => LanguageKind::InternLm2,
        "qwen2" => LanguageKind::Qwen2,
        other => return Err(section.error("model_type", format!("'{other}', expected internlm2 or qwen2"))),
    };
    section.only("hidden_act", "silu", &["silu"])?;
    for field in ["bias", "use_sliding_window"] {
        if section.flag(field, false)? {
            return Err(section.error(field, "true, expected false".into()));
        }
    }
    let heads = section.size("num_attention_heads", None)?;
    let config = LanguageConfig {
        kind,
        hidden: section.size("hidden_size", None)?,
        layers: section.layers()?,
        heads,
        kv_heads: section.size("num_key_value_heads", Some(heads))?,
        feed_forward: section.size("intermediate_size", None)?,
        vocabulary: section.size("vocab_size", None)?,
        rope_base: section.positive("rope_theta", 10_000.0)?,
        rope_scaling: scaling(section)?,
        epsilon: section.positive("rms_norm_eps", 1e-6)?,
        qkv_bias: kind == LanguageKind::Qwen2,
        tied: section.flag("tie_word_embeddings", false)?,
    };
    section.divides("num_attention_heads", config.heads, config.hidden)?;
    section.divides("num_key_value_heads", config.kv_heads, config.heads)?;
    if !config.head().is_multiple_of(2) {
        let problem = format!("heads of {} dimensions, expected an even number", config.head());
        return Err(section.error("num_attention_heads", problem));
    }
    Ok(config)
}

fn scaling(section: &Section<'_>) -> Result<Scaling, ConfigError> {
    if section.json.get("rope_scaling").is_none_or(Value::is_null) {
        return Ok(Scaling::None);
    }
    let rope = section.section("rope_scaling")?;
    let kind = if rope.json.get("rope_type").is_some() { "rope_type" } else { "type" };
    let factor = || rope.positive("factor", f64::NAN);
    match rope.text(kind, "default")? {
        "default" => Ok(Scaling::None),
        "linear" => Ok(Scaling::Linear { factor: factor()? }),
        "dynamic" => {
            let trained = section.size("max_position_embeddings", Some(2048))?;
            Ok(Scaling::Dynamic { factor: factor()?, trained })
        }
        other => Err(rope.error(kind, format!("'{other}', expected dynamic or linear"))),
    }
}

/// An object of the configuration and where it is in it.
struct Section<'a> {
    json: &'a Value,
    prefix: &'a str,
}

impl<'a> Section<'a> {
    fn section(&self, field: &'a str) -> Result<Self, ConfigError> {
        let json = self.json.get(field).filter(|json| json.is_object());
        let json = json.ok_or_else(|| self.error(field, "missing, expected an object".into()))?;
        Ok(Self { json, prefix: field })
    }

    fn error(&self, field: &str, problem: String) -> ConfigError {
        let dot = if self.prefix.is_empty() { "" } else { "." };
        ConfigError { field: format!("{}{dot}{field}", self.prefix), problem }
    }

    fn given(&self, field: &str) -> Option<&'a Value> {
        self.json.get(field).filter(|value| !value.is_null())
    }

    fn wrong(&self, field: &str, expected: &str) -> ConfigError {
        let found = self.given(field).map_or("missing".into(), ToString::to_string);
        self.error(field, format!("{found}, expected {expected}"))
    }

    fn bounded(&self, field: &str, default: Option<usize>, most: u64) -> Result<usize, ConfigError> {
        match (self.given(field), default) {
            (None, Some(default)) => Ok(default),
            (None, None) => Err(self.wrong(field, "a whole number")),
            (Some(value), _) => {
                let value = value.as_u64().filter(|value| (1..=most).contains(value));
                value.map(|value| value as usize).ok_or_else(|| self.wrong(field, &format!("1 to {most}")))
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
        self.given(field).map_or(Ok(default), |value| value.as_f64().ok_or_else(|| self.wrong(field, "a number")))
    }

    fn positive(&self, field: &str, default: f64) -> Result<f32, ConfigError> {
        let value = self.float(field, default)? as f32;
        if value.is_finite() && value > 0.0 { Ok(value) } else { Err(self.wrong(field, "a positive number")) }
    }

    fn flag(&self, field: &str, default: bool) -> Result<bool, ConfigError> {
        self.given(field).map_or(Ok(default), |value| value.as_bool().ok_or_else(|| self.wrong(field, "true or false")))
    }

    fn text(&self, field: &str, default: &'static str) -> Result<&'a str, ConfigError> {
        self.given(field).map_or(Ok(default), |value| value.as_str().ok_or_else(|| self.wrong(field, "a text")))
    }

    fn only(&self, field: &str, default: &'static str, supported: &[&str]) -> Result<(), ConfigError> {
        let found = self.text(field, default)?;
        if supported.contains(&found) { Ok(()) } else { Err(self.wrong(field, &supported.join(" or "))) }
    }

    fn only_number(&self, field: &str, supported: i64) -> Result<(), ConfigError> {
        let found = self.given(field).map_or(Some(supported), Value::as_i64);
        if found == Some(supported) { Ok(()) } else { Err(self.wrong(field, &supported.to_string())) }
    }

    fn divides(&self, field: &str, part: usize, whole: usize) -> Result<(), ConfigError> {
        if whole.is_multiple_of(part) {
            Ok(())
        } else {
            Err(self.error(field, format!("{part}, expected a divisor of {whole}")))
        }
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
    fn a_configuration_is_read_with_the_reference_s_defaults() {
        let config = Config::from_json(&sample()).unwrap();
        assert_eq!((config.tokens_per_tile(), config.features(), config.language.head()), (4, 32, 4));
        assert_eq!(config.language.rope_scaling, Scaling::Dynamic { factor: 2.0, trained: 64 });
        assert!(!config.language.tied && !config.language.qkv_bias && config.vision.norm == NormKind::Layer);
    }

    #[test]
    fn what_cannot_be_followed_is_named_with_its_field() {
        let cases = [
            ("/llm_config/model_type", json!("llama"), "llm_config.model_type"),
            ("/llm_config/hidden_size", json!(0), "llm_config.hidden_size"),
            ("/llm_config/hidden_size", json!(1u64 << 40), "llm_config.hidden_size"),
            ("/llm_config/num_key_value_heads", json!(3), "llm_config.num_key_value_heads"),
            ("/llm_config/rope_scaling/type", json!("yarn"), "rope_scaling.type"),
            ("/llm_config/rope_scaling/factor", json!("2"), "rope_scaling.factor"),
            ("/llm_config/bias", json!(true), "llm_config.bias"),
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
            *json.pointer_mut(place).unwrap() = value;
            let error = Config::from_json(&json).unwrap_err();
            assert_eq!(error.field, field, "{error}");
        }
    }
}
