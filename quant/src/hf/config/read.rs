//! Reads and validates `config.json`.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::keys::{KeyError, check as check_keys, check_pixels};
use super::model::{Activation, LanguageArch, LanguageConfig, ModelConfig, VisionConfig, VisionNorm};
use super::rope;
use crate::hf::error::HfError;
use crate::hf::files::{parse_json, present, read_file};

/// Maximum of any dimension or count: far above real ones, and low enough that products of a few of
/// them cannot overflow 64 bits.
const MAX_DIM: u64 = 1 << 22;

impl ModelConfig {
    /// Reads `config.json` of a checkpoint directory, and the pixel mean and deviation from
    /// `preprocessor_config.json` if it exists.
    ///
    /// # Errors
    /// [`HfError`] with the file and key, for a missing file, invalid JSON, or an unsupported
    /// architecture or value.
    pub fn read(directory: &Path) -> Result<Self, HfError> {
        Self::read_file(&directory.join("config.json"))
    }

    /// Reads a configuration file of any name, and `preprocessor_config.json` in its directory.
    ///
    /// # Errors
    /// As [`ModelConfig::read`].
    pub fn read_file(path: &Path) -> Result<Self, HfError> {
        Ok(Self::read_noting(path)?.0)
    }

    /// Reads a configuration file as [`ModelConfig::read_file`] does, and returns the keys that are
    /// unknown and ignored.
    ///
    /// # Errors
    /// As [`ModelConfig::read`].
    pub(crate) fn read_noting(path: &Path) -> Result<(Self, Vec<String>), HfError> {
        let bytes = read_file(path)?;
        let json: Value = parse_json(&bytes, path)?;
        let check = Check { path };
        let mut unknown = check.keys(check_keys(&json))?;
        // Parsed from the bytes, so that errors have a line.
        let raw: RawModel = parse_json(&bytes, path)?;
        let config = match raw.model_type.as_str() {
            "internvl_chat" => {
                let language = raw.llm_config.as_ref().ok_or_else(|| check.missing("llm_config"))?;
                let language = check.language(language, &json["llm_config"], "llm_config.")?;
                let (pixels, more) = pixels(&path.with_file_name("preprocessor_config.json"))?;
                unknown.extend(more);
                let vision = Some(check.vision(&raw, &pixels)?);
                ModelConfig { language, vision }
            }
            "internlm2" | "qwen2" => {
                let text: RawLanguage = parse_json(&bytes, path)?;
                ModelConfig { language: check.language(&text, &json, "")?, vision: None }
            }
            other => {
                return Err(
                    check.invalid("model_type", format!("'{other}', expected internvl_chat, internlm2 or qwen2"))
                );
            }
        };
        Ok((config, unknown))
    }
}

/// Reads the pixel mean and deviation of a `preprocessor_config.json`, if it exists, and returns
/// the keys that are unknown.
fn pixels(path: &Path) -> Result<(RawPixels, Vec<String>), HfError> {
    if !present(path) {
        return Ok((RawPixels::default(), Vec::new()));
    }
    let bytes = read_file(path)?;
    let check = Check { path };
    let unknown = check.keys(check_pixels(&parse_json(&bytes, path)?))?;
    let pixels: RawPixels = parse_json(&bytes, path)?;
    for deviation in pixels.image_std.into_iter().flatten() {
        check.positive("image_std", deviation)?;
    }
    Ok((pixels, unknown))
}

#[derive(Deserialize)]
struct RawModel {
    model_type: String,
    llm_config: Option<RawLanguage>,
    vision_config: Option<RawVision>,
    downsample_ratio: Option<f64>,
    ps_version: Option<String>,
    select_layer: Option<i64>,
    force_image_size: Option<u64>,
    min_dynamic_patch: Option<u32>,
    max_dynamic_patch: Option<u32>,
    use_thumbnail: Option<bool>,
    dynamic_image_size: Option<bool>,
}

#[derive(Deserialize)]
struct RawLanguage {
    model_type: String,
    hidden_size: u64,
    intermediate_size: u64,
    num_hidden_layers: u64,
    num_attention_heads: u64,
    num_key_value_heads: Option<u64>,
    vocab_size: u64,
    max_position_embeddings: Option<u64>,
    rms_norm_eps: Option<f32>,
    hidden_act: Option<String>,
    tie_word_embeddings: Option<bool>,
    bos_token_id: Option<TokenIds>,
    eos_token_id: Option<TokenIds>,
    pad_token_id: Option<TokenIds>,
}

/// One id, or a list of which the first is used.
#[derive(Deserialize)]
#[serde(untagged)]
enum TokenIds {
    One(u32),
    Many(Vec<u32>),
}

impl TokenIds {
    fn first(ids: Option<&Self>) -> Option<u32> {
        match ids? {
            Self::One(id) => Some(*id),
            Self::Many(ids) => ids.first().copied(),
        }
    }
}

#[derive(Deserialize)]
struct RawVision {
    hidden_size: u64,
    intermediate_size: u64,
    num_hidden_layers: u64,
    num_attention_heads: u64,
    image_size: u64,
    patch_size: u64,
    num_channels: Option<u64>,
    layer_norm_eps: Option<f32>,
    norm_type: Option<VisionNorm>,
    qk_normalization: Option<bool>,
    qkv_bias: Option<bool>,
    hidden_act: Option<String>,
}

#[derive(Deserialize, Default)]
struct RawPixels {
    image_mean: Option<[f32; 3]>,
    image_std: Option<[f32; 3]>,
}

/// Validates values; its errors name the configuration file.
struct Check<'a> {
    path: &'a Path,
}

impl Check<'_> {
    fn invalid(&self, key: &str, problem: impl Into<String>) -> HfError {
        HfError::invalid(self.path, format!("key '{key}'"), problem)
    }

    /// Names the file in an error of a key.
    fn keys<T>(&self, result: Result<T, KeyError>) -> Result<T, HfError> {
        result.map_err(|KeyError { key, found, expected }| {
            self.invalid(&key, format!("{}, expected {expected}", found.as_deref().unwrap_or("missing")))
        })
    }

    fn missing(&self, key: &str) -> HfError {
        self.invalid(key, "missing")
    }

    fn dim(&self, key: &str, value: u64) -> Result<u64, HfError> {
        if (1..=MAX_DIM).contains(&value) {
            Ok(value)
        } else {
            Err(self.invalid(key, format!("{value}, expected 1 to {MAX_DIM}")))
        }
    }

    fn positive(&self, key: &str, value: f32) -> Result<f32, HfError> {
        if value.is_finite() && value > 0.0 {
            Ok(value)
        } else {
            Err(self.invalid(key, format!("{value}, expected a positive number")))
        }
    }

    fn divides(&self, key: &str, part: u64, whole: u64) -> Result<(), HfError> {
        if whole.is_multiple_of(part) {
            Ok(())
        } else {
            Err(self.invalid(key, format!("{part}, expected a divisor of {whole}")))
        }
    }

    fn language(&self, raw: &RawLanguage, json: &Value, prefix: &str) -> Result<LanguageConfig, HfError> {
        let key = |name: &str| format!("{prefix}{name}");
        let arch = match raw.model_type.as_str() {
            "internlm2" => LanguageArch::InternLm2,
            "qwen2" => LanguageArch::Qwen2,
            other => return Err(self.invalid(&key("model_type"), format!("'{other}', expected internlm2 or qwen2"))),
        };
        if let Some(act) = raw.hidden_act.as_deref().filter(|act| *act != "silu") {
            return Err(self.invalid(&key("hidden_act"), format!("'{act}', expected silu")));
        }
        let rope = self.keys(rope::read(json, prefix))?;
        let config = LanguageConfig {
            arch,
            hidden: self.dim(&key("hidden_size"), raw.hidden_size)?,
            feed_forward: self.dim(&key("intermediate_size"), raw.intermediate_size)?,
            layers: self.dim(&key("num_hidden_layers"), raw.num_hidden_layers)?,
            heads: self.dim(&key("num_attention_heads"), raw.num_attention_heads)?,
            kv_heads: self
                .dim(&key("num_key_value_heads"), raw.num_key_value_heads.unwrap_or(raw.num_attention_heads))?,
            vocab: self.dim(&key("vocab_size"), raw.vocab_size)?,
            context: self.dim(&key("max_position_embeddings"), raw.max_position_embeddings.unwrap_or(2048))?,
            norm_eps: self.positive(&key("rms_norm_eps"), raw.rms_norm_eps.unwrap_or(1e-6))?,
            rope_base: self.positive(&key("rope_theta"), rope.base)?,
            rope_scaling: rope.scaling,
            tied: raw.tie_word_embeddings.unwrap_or(false),
            token_ids: [&raw.bos_token_id, &raw.eos_token_id, &raw.pad_token_id]
                .map(|ids| TokenIds::first(ids.as_ref())),
        };
        self.divides(&key("num_attention_heads"), config.heads, config.hidden)?;
        self.divides(&key("num_key_value_heads"), config.kv_heads, config.heads)?;
        if !config.head().is_multiple_of(2) {
            return Err(self.invalid(
                &key("num_attention_heads"),
                format!("heads {} wide, expected an even width", config.head()),
            ));
        }
        Ok(config)
    }

    fn vision(&self, model: &RawModel, pixels: &RawPixels) -> Result<VisionConfig, HfError> {
        let raw = model.vision_config.as_ref().ok_or_else(|| self.missing("vision_config"))?;
        let key = |name: &str| format!("vision_config.{name}");
        let activation = match raw.hidden_act.as_deref() {
            None | Some("gelu") => Activation::Gelu,
            Some("silu") => Activation::Silu,
            Some(other) => return Err(self.invalid(&key("hidden_act"), format!("'{other}', expected gelu or silu"))),
        };
        let only = |name: &str, found: String, expected: &str| {
            if found == expected { Ok(()) } else { Err(self.invalid(name, format!("{found}, expected {expected}"))) }
        };
        only("ps_version", model.ps_version.clone().unwrap_or_else(|| "v1".into()), "v2")?;
        only("select_layer", model.select_layer.unwrap_or(-1).to_string(), "-1")?;
        only("vision_config.num_channels", raw.num_channels.unwrap_or(3).to_string(), "3")?;
        if let Some(size) = model.force_image_size.filter(|size| *size != raw.image_size) {
            return Err(self.invalid(
                "force_image_size",
                format!("{size}, expected vision_config.image_size, {}", raw.image_size),
            ));
        }
        let ratio = model.downsample_ratio.unwrap_or(0.5);
        let shuffle = (1.0 / ratio).round();
        if !((shuffle * ratio - 1.0).abs() < 1e-6 && (1.0..=64.0).contains(&shuffle)) {
            return Err(self.invalid("downsample_ratio", format!("{ratio}, expected 1 divided by an integer")));
        }
        let (min_tiles, max_tiles) = match model.dynamic_image_size {
            Some(false) => (1, 1),
            _ => (model.min_dynamic_patch.unwrap_or(1), model.max_dynamic_patch.unwrap_or(6)),
        };
        let config = VisionConfig {
            hidden: self.dim(&key("hidden_size"), raw.hidden_size)?,
            feed_forward: self.dim(&key("intermediate_size"), raw.intermediate_size)?,
            layers: self.dim(&key("num_hidden_layers"), raw.num_hidden_layers)?,
            heads: self.dim(&key("num_attention_heads"), raw.num_attention_heads)?,
            image_size: self.dim(&key("image_size"), raw.image_size)?,
            patch_size: self.dim(&key("patch_size"), raw.patch_size)?,
            norm_eps: self.positive(&key("layer_norm_eps"), raw.layer_norm_eps.unwrap_or(1e-6))?,
            norm: raw.norm_type.unwrap_or(VisionNorm::RmsNorm),
            qk_norm: raw.qk_normalization.unwrap_or(true),
            qkv_bias: raw.qkv_bias.unwrap_or(false),
            activation,
            shuffle: shuffle as u64,
            min_tiles,
            max_tiles,
            thumbnail: model.use_thumbnail.unwrap_or(false),
            mean: pixels.image_mean.unwrap_or([0.485, 0.456, 0.406]),
            std: pixels.image_std.unwrap_or([0.229, 0.224, 0.225]),
        };
        self.divides(&key("num_attention_heads"), config.heads, config.hidden)?;
        self.divides(&key("patch_size"), config.patch_size, config.image_size)?;
        self.divides("downsample_ratio", config.shuffle, config.grid())?;
        if config.min_tiles == 0 || config.min_tiles > config.max_tiles {
            let problem = format!("{} to {} tiles, expected 1 ≤ minimum ≤ maximum", config.min_tiles, config.max_tiles);
            return Err(self.invalid("min_dynamic_patch", problem));
        }
        Ok(config)
    }
}
