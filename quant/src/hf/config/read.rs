//! Reads and validates `config.json`.

use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::KeyError;
use super::family::Family;
use super::keys::{check as check_keys, check_pixels};
use super::model::{
    Activation, LanguageArch, LanguageConfig, ModelConfig, RopeScaling, TensorNames, VisionConfig, VisionNorm,
};
use super::qwen::QwenVl;
use super::rope;
use super::tables::{self, Table};
use super::tables_qwen;
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
        check.model_type(&json)?;
        let mut unknown = check.keys(check_keys(&json))?;
        if let Some(model) = json.as_object().and_then(QwenVl::of) {
            let (processor, more) = processor(path, tables_qwen::PIXELS)?;
            unknown.extend(more);
            return Ok((check.qwen(model, &json, &processor)?, unknown));
        }
        // Parsed from the bytes, so that errors have a line.
        let raw: RawModel = parse_json(&bytes, path)?;
        let (names, config) = match raw.model_type.as_str() {
            "internvl_chat" => (TensorNames::Chat, raw.llm_config.as_ref().map(|config| ("llm_config", config))),
            "internvl" => (TensorNames::Transformers, raw.text_config.as_ref().map(|config| ("text_config", config))),
            other if Family::from_name(other).is_some() => {
                let text: RawLanguage = parse_json(&bytes, path)?;
                let language = check.language(&text, &json, "")?;
                let (vision, qwen_vision) = (None, None);
                return Ok((ModelConfig { names: TensorNames::Text, language, vision, qwen_vision }, unknown));
            }
            _ => return Err(check.unsupported(&raw.model_type, &json)),
        };
        let missing = if names == TensorNames::Chat { "llm_config" } else { "text_config" };
        let (section, language) = config.ok_or_else(|| check.missing(missing))?;
        let mut language = check.language(language, &json[section], &format!("{section}."))?;
        let (pixels, more) = if names == TensorNames::Chat {
            pixels(&path.with_file_name("preprocessor_config.json"), tables::PIXELS)?
        } else {
            language.tied |= raw.tie_word_embeddings.unwrap_or(false);
            processor(path, tables::PIXELS)?
        };
        let pixels: RawPixels = pixels;
        for deviation in pixels.image_std.into_iter().flatten() {
            check.positive("image_std", deviation)?;
        }
        unknown.extend(more);
        let vision = raw.vision_config.as_ref().ok_or_else(|| check.missing("vision_config"))?;
        let vision = if names == TensorNames::Chat {
            check.chat(&raw, vision, &pixels)?
        } else {
            check.transformers(&raw, vision, &pixels)?
        };
        Ok((ModelConfig { names, language, vision: Some(vision), qwen_vision: None }, unknown))
    }
}

/// Returns the supported values of `model_type`.
fn supported() -> String {
    let vision = ["internvl_chat", "internvl"].into_iter().chain(QwenVl::ALL.into_iter().map(QwenVl::name));
    let names: Vec<&str> = vision.chain(Family::ALL.into_iter().map(Family::name)).collect();
    names.join(", ")
}

/// Reads a `preprocessor_config.json`, if it exists, and returns the keys that are unknown.
fn pixels<T: DeserializeOwned + Default>(path: &Path, table: Table) -> Result<(T, Vec<String>), HfError> {
    if !present(path) {
        return Ok((T::default(), Vec::new()));
    }
    let bytes = read_file(path)?;
    let unknown = Check { path }.keys(check_pixels(&parse_json(&bytes, path)?, table))?;
    Ok((parse_json(&bytes, path)?, unknown))
}

/// Reads the image processor beside a configuration: of `preprocessor_config.json`, or as transformers 5 has it, the member
/// `image_processor` of `processor_config.json`.
fn processor<T: DeserializeOwned + Default>(config: &Path, table: Table) -> Result<(T, Vec<String>), HfError> {
    let (own, outer) = ("preprocessor_config.json", "processor_config.json");
    let (own, outer) = (config.with_file_name(own), config.with_file_name(outer));
    if present(&own) || !present(&outer) {
        return pixels(&own, table);
    }
    let json: Value = parse_json(&read_file(&outer)?, &outer)?;
    let Some(section) = json.get("image_processor").filter(|section| !section.is_null()) else {
        return Ok((T::default(), Vec::new()));
    };
    let unknown = Check { path: &outer }.keys(check_pixels(section, table))?;
    Ok((parse_json(section.to_string().as_bytes(), &outer)?, unknown))
}

#[derive(Deserialize)]
struct RawModel {
    model_type: String,
    llm_config: Option<RawLanguage>,
    text_config: Option<RawLanguage>,
    tie_word_embeddings: Option<bool>,
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
pub(super) struct RawLanguage {
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

/// One number, or the same for height and width.
#[derive(Deserialize)]
#[serde(untagged)]
enum Side {
    One(u64),
    Both([u64; 2]),
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
    image_size: Side,
    patch_size: Side,
    num_channels: Option<u64>,
    layer_norm_eps: Option<f32>,
    norm_type: Option<VisionNorm>,
    qk_normalization: Option<bool>,
    qkv_bias: Option<bool>,
    use_qk_norm: Option<bool>,
    attention_bias: Option<bool>,
    hidden_act: Option<String>,
}

#[derive(Deserialize, Default)]
struct RawPixels {
    image_mean: Option<[f32; 3]>,
    image_std: Option<[f32; 3]>,
    min_patches: Option<u32>,
    max_patches: Option<u32>,
}

/// Validates values; its errors name the configuration file.
pub(super) struct Check<'a> {
    pub(super) path: &'a Path,
}

impl Check<'_> {
    pub(super) fn invalid(&self, key: &str, problem: impl Into<String>) -> HfError {
        HfError::invalid(self.path, format!("key '{key}'"), problem)
    }

    /// Refuses a model of a kind that is not read, before any of its keys.
    fn model_type(&self, json: &Value) -> Result<(), HfError> {
        let Some(name) = json.get("model_type").and_then(Value::as_str) else { return Ok(()) };
        let is_known = ["internvl_chat", "internvl"].contains(&name)
            || Family::from_name(name).is_some()
            || json.as_object().and_then(QwenVl::of).is_some();
        if is_known { Ok(()) } else { Err(self.unsupported(name, json)) }
    }

    fn unsupported(&self, name: &str, json: &Value) -> HfError {
        let class = json["architectures"][0].as_str().map_or_else(String::new, |class| format!(" ({class})"));
        self.invalid("model_type", format!("'{name}'{class}, expected {}", supported()))
    }

    /// Names the file in an error of a key.
    pub(super) fn keys<T>(&self, result: Result<T, KeyError>) -> Result<T, HfError> {
        result.map_err(|KeyError { key, found, expected }| {
            self.invalid(&key, format!("{}, expected {expected}", found.as_deref().unwrap_or("missing")))
        })
    }

    pub(super) fn missing(&self, key: &str) -> HfError {
        self.invalid(key, "missing")
    }

    pub(super) fn dim(&self, key: &str, value: u64) -> Result<u64, HfError> {
        if (1..=MAX_DIM).contains(&value) {
            Ok(value)
        } else {
            Err(self.invalid(key, format!("{value}, expected 1 to {MAX_DIM}")))
        }
    }

    pub(super) fn positive(&self, key: &str, value: f32) -> Result<f32, HfError> {
        if value.is_finite() && value > 0.0 {
            Ok(value)
        } else {
            Err(self.invalid(key, format!("{value}, expected a positive number")))
        }
    }

    pub(super) fn divides(&self, key: &str, part: u64, whole: u64) -> Result<(), HfError> {
        if whole.is_multiple_of(part) {
            Ok(())
        } else {
            Err(self.invalid(key, format!("{part}, expected a divisor of {whole}")))
        }
    }

    pub(super) fn language(&self, raw: &RawLanguage, json: &Value, prefix: &str) -> Result<LanguageConfig, HfError> {
        let key = |name: &str| format!("{prefix}{name}");
        let Some(family) = Family::from_name(&raw.model_type) else {
            let names: Vec<&str> = Family::ALL.into_iter().map(Family::name).collect();
            let problem = format!("'{}', expected one of {}", raw.model_type, names.join(", "));
            return Err(self.invalid(&key("model_type"), problem));
        };
        let Value::Object(keys) = json else { return Err(self.missing(prefix)) };
        if let Some(act) = raw.hidden_act.as_deref().filter(|act| *act != "silu") {
            return Err(self.invalid(&key("hidden_act"), format!("'{act}', expected silu")));
        }
        let rope = self.keys(rope::read(json, prefix))?;
        let kv_heads = match raw.num_key_value_heads {
            Some(given) => given,
            None if keys.contains_key("num_key_value_heads") => raw.num_attention_heads,
            None => family.default_kv_heads(raw.num_attention_heads),
        };
        let config = LanguageConfig {
            arch: family.arch(),
            hidden: self.dim(&key("hidden_size"), raw.hidden_size)?,
            feed_forward: self.dim(&key("intermediate_size"), raw.intermediate_size)?,
            layers: self.dim(&key("num_hidden_layers"), raw.num_hidden_layers)?,
            heads: self.dim(&key("num_attention_heads"), raw.num_attention_heads)?,
            kv_heads: self.dim(&key("num_key_value_heads"), kv_heads)?,
            vocab: self.dim(&key("vocab_size"), raw.vocab_size)?,
            context: self.dim(
                &key("max_position_embeddings"),
                raw.max_position_embeddings.unwrap_or(family.default_context()),
            )?,
            norm_eps: self.positive(&key("rms_norm_eps"), raw.rms_norm_eps.unwrap_or(1e-6))?,
            rope_base: self.positive(&key("rope_theta"), rope.base)?,
            rope_scaling: rope.scaling,
            own_head_width: match family.own_head_width(keys) {
                Some(width) => Some(self.dim(&key("head_dim"), width)?),
                None => None,
            },
            window: self.keys(family.window(keys, prefix))?,
            scoring_head: self.keys(family.scoring_head(keys, prefix))?,
            position_sections: None,
            deepstack: 0,
            tied: raw.tie_word_embeddings.unwrap_or(false),
            token_ids: [&raw.bos_token_id, &raw.eos_token_id, &raw.pad_token_id]
                .map(|ids| TokenIds::first(ids.as_ref())),
        };
        self.divides(&key("num_attention_heads"), config.heads, config.hidden)?;
        self.divides(&key("num_key_value_heads"), config.kv_heads, config.heads)?;
        if !config.head().is_multiple_of(2) {
            let of = if config.own_head_width.is_some() { "head_dim" } else { "num_attention_heads" };
            return Err(self.invalid(&key(of), format!("heads {} wide, expected an even width", config.head())));
        }
        if matches!(config.rope_scaling, RopeScaling::Llama3 { .. }) && config.arch != LanguageArch::Llama {
            let problem = format!("'llama3' in a model of type {}, expected it with llama or mistral", family.name());
            return Err(self.invalid(&key("rope_scaling.rope_type"), problem));
        }
        // A window as wide as the context changes nothing.
        Ok(LanguageConfig { window: config.window.filter(|window| *window < config.context), ..config })
    }

    /// The vision tower of `internvl_chat`.
    fn chat(&self, model: &RawModel, raw: &RawVision, pixels: &RawPixels) -> Result<VisionConfig, HfError> {
        let only = |name: &str, found: String, expected: &str| {
            if found == expected { Ok(()) } else { Err(self.invalid(name, format!("{found}, expected {expected}"))) }
        };
        only("ps_version", model.ps_version.clone().unwrap_or_else(|| "v1".into()), "v2")?;
        only("select_layer", model.select_layer.unwrap_or(-1).to_string(), "-1")?;
        let image = self.side("vision_config.image_size", &raw.image_size)?;
        if let Some(size) = model.force_image_size.filter(|size| *size != image) {
            let problem = format!("{size}, expected vision_config.image_size, {image}");
            return Err(self.invalid("force_image_size", problem));
        }
        let tiles = match model.dynamic_image_size {
            Some(false) => (1, 1),
            _ => (model.min_dynamic_patch.unwrap_or(1), model.max_dynamic_patch.unwrap_or(6)),
        };
        let config = VisionConfig {
            norm: raw.norm_type.unwrap_or(VisionNorm::RmsNorm),
            qk_norm: raw.qk_normalization.unwrap_or(true),
            qkv_bias: raw.qkv_bias.unwrap_or(false),
            thumbnail: model.use_thumbnail.unwrap_or(false),
            ..self.vision(model, raw, pixels, tiles, "min_dynamic_patch")?
        };
        Ok(config)
    }

    /// The vision tower of transformers' `internvl`. Its processor divides every image into tiles,
    /// whatever `crop_to_patches` says, and adds a thumbnail to several.
    fn transformers(&self, model: &RawModel, raw: &RawVision, pixels: &RawPixels) -> Result<VisionConfig, HfError> {
        let tiles = (pixels.min_patches.unwrap_or(1), pixels.max_patches.unwrap_or(12));
        Ok(VisionConfig {
            norm: raw.norm_type.unwrap_or(VisionNorm::LayerNorm),
            qk_norm: raw.use_qk_norm.unwrap_or(false),
            qkv_bias: raw.attention_bias.unwrap_or(false),
            thumbnail: true,
            ..self.vision(model, raw, pixels, tiles, "vision_config (min_patches of the preprocessor)")?
        })
    }

    /// Returns the side of a square.
    fn side(&self, key: &str, side: &Side) -> Result<u64, HfError> {
        match *side {
            Side::One(side) => self.dim(key, side),
            Side::Both([height, width]) if height == width => self.dim(key, width),
            Side::Both([height, width]) => Err(self.invalid(key, format!("{height} × {width}, expected a square"))),
        }
    }

    /// What both layouts have. The norms, biases and the thumbnail are those of transformers.
    fn vision(
        &self,
        model: &RawModel,
        raw: &RawVision,
        pixels: &RawPixels,
        (min_tiles, max_tiles): (u32, u32),
        tiles_key: &str,
    ) -> Result<VisionConfig, HfError> {
        let key = |name: &str| format!("vision_config.{name}");
        let activation = match raw.hidden_act.as_deref() {
            None | Some("gelu") => Activation::Gelu,
            Some("silu") => Activation::Silu,
            Some(other) => return Err(self.invalid(&key("hidden_act"), format!("'{other}', expected gelu or silu"))),
        };
        if let Some(channels) = raw.num_channels.filter(|channels| *channels != 3) {
            return Err(self.invalid(&key("num_channels"), format!("{channels}, expected 3")));
        }
        let ratio = model.downsample_ratio.unwrap_or(0.5);
        let shuffle = (1.0 / ratio).round();
        if !((shuffle * ratio - 1.0).abs() < 1e-6 && (1.0..=64.0).contains(&shuffle)) {
            return Err(self.invalid("downsample_ratio", format!("{ratio}, expected 1 divided by an integer")));
        }
        let config = VisionConfig {
            hidden: self.dim(&key("hidden_size"), raw.hidden_size)?,
            feed_forward: self.dim(&key("intermediate_size"), raw.intermediate_size)?,
            layers: self.dim(&key("num_hidden_layers"), raw.num_hidden_layers)?,
            heads: self.dim(&key("num_attention_heads"), raw.num_attention_heads)?,
            image_size: self.side(&key("image_size"), &raw.image_size)?,
            patch_size: self.side(&key("patch_size"), &raw.patch_size)?,
            norm_eps: self.positive(&key("layer_norm_eps"), raw.layer_norm_eps.unwrap_or(1e-6))?,
            norm: VisionNorm::LayerNorm,
            qk_norm: false,
            qkv_bias: false,
            activation,
            shuffle: shuffle as u64,
            min_tiles,
            max_tiles,
            thumbnail: true,
            mean: pixels.image_mean.unwrap_or([0.485, 0.456, 0.406]),
            std: pixels.image_std.unwrap_or([0.229, 0.224, 0.225]),
        };
        self.divides(&key("num_attention_heads"), config.heads, config.hidden)?;
        self.divides(&key("patch_size"), config.patch_size, config.image_size)?;
        self.divides("downsample_ratio", config.shuffle, config.grid())?;
        if min_tiles == 0 || min_tiles > max_tiles {
            let problem = format!("{min_tiles} to {max_tiles} tiles, expected 1 ≤ minimum ≤ maximum");
            return Err(self.invalid(tiles_key, problem));
        }
        Ok(config)
    }
}
