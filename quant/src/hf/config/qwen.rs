//! Reads the configurations of `Qwen2-VL`, `Qwen2.5-VL` and `Qwen3-VL`.
//!
//! Their language models are those of `Qwen2` and `Qwen3` but for the positions (M-RoPE): a position is three numbers, of time,
//! height and width, and each rotates its own pairs of a head. So the language model's section is read as that of its family,
//! without the keys of M-RoPE, which are read here.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::error::KeyError;
use super::model::{LanguageArch, QwenTower};
use super::tables_qwen;

/// A model of `Qwen-VL`: a value of `model_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum QwenVl {
    Qwen2,
    Qwen25,
    Qwen3,
}

/// Keys of M-RoPE in a scaling of rotary positions.
pub(super) const SECTION: &str = "mrope_section";
const INTERLEAVED: &str = "mrope_interleaved";

impl QwenVl {
    pub(super) const ALL: [Self; 3] = [Self::Qwen2, Self::Qwen25, Self::Qwen3];

    /// Looks up the model of a configuration.
    pub(super) fn of(root: &Map<String, Value>) -> Option<Self> {
        let name = root.get("model_type")?.as_str()?;
        Self::ALL.into_iter().find(|model| model.name() == name)
    }

    /// Returns its `model_type`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Qwen2 => "qwen2_vl",
            Self::Qwen25 => "qwen2_5_vl",
            Self::Qwen3 => "qwen3_vl",
        }
    }

    /// Returns the class of the model, the only one of `architectures`.
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Qwen2 => "Qwen2VLForConditionalGeneration",
            Self::Qwen25 => "Qwen2_5_VLForConditionalGeneration",
            Self::Qwen3 => "Qwen3VLForConditionalGeneration",
        }
    }

    /// Returns the architecture of the language model.
    pub(super) fn arch(self) -> LanguageArch {
        match self {
            Self::Qwen2 | Self::Qwen25 => LanguageArch::Qwen2Vl,
            Self::Qwen3 => LanguageArch::Qwen3Vl,
        }
    }

    pub(super) fn tower(self) -> QwenTower {
        match self {
            Self::Qwen2 => QwenTower::Qwen2,
            Self::Qwen25 => QwenTower::Qwen25,
            Self::Qwen3 => QwenTower::Qwen3,
        }
    }
}

/// The language model's section, as a model of its family has it, and its path.
#[derive(Debug)]
pub(super) struct LanguageSection {
    pub json: Value,
    pub prefix: &'static str,
    /// Rotated pairs of a head of each section, and their key.
    pub sections: [u32; 3],
    pub sections_key: String,
}

/// Returns the language model's section.
///
/// # Errors
/// [`KeyError`] for the first key of M-RoPE that is missing, invalid or not supported.
pub(super) fn language(model: QwenVl, root: &Map<String, Value>) -> Result<LanguageSection, KeyError> {
    let (section, prefix) = match root.get("text_config") {
        None | Some(Value::Null) => (root, ""),
        Some(Value::Object(section)) => (section, "text_config."),
        Some(other) => return Err(KeyError::new("text_config", Some(other), "an object")),
    };
    let kind = format!("{}_text", model.name());
    let found = section.get("model_type");
    if !(prefix.is_empty() || found.is_none_or(|found| *found == *kind || *found == model.name())) {
        return Err(KeyError::new(format!("{prefix}model_type"), found, format!("'{kind}'")));
    }
    let of_model = |key: &str| tables_qwen::MODEL.ignored.contains(&key);
    let mut own: Map<String, Value> =
        section.iter().filter(|(key, _)| !of_model(key)).map(|(key, value)| (key.clone(), value.clone())).collect();
    for key in ["architectures", "text_config", "vision_config"] {
        own.remove(key);
    }
    own.insert("model_type".into(), if model == QwenVl::Qwen3 { "qwen3" } else { "qwen2" }.into());
    let mut sections = None;
    for name in ["rope_scaling", "rope_parameters"] {
        let Some(Value::Object(rope)) = own.get_mut(name) else { continue };
        let Some(found) = rope.remove(SECTION).filter(|found| !found.is_null()) else { continue };
        let key = format!("{prefix}{name}.{SECTION}");
        let parsed = <[u32; 3]>::deserialize(&found);
        let wrong = |expected: &str| KeyError::new(key.clone(), Some(&found), expected);
        let parsed = parsed.map_err(|_| wrong("three numbers, of time, height and width"))?;
        if sections.as_ref().is_some_and(|(other, _)| *other != parsed) {
            return Err(wrong("the same as in rope_scaling"));
        }
        sections = Some((parsed, key.clone()));
        let interleaved = rope.remove(INTERLEAVED).filter(|found| !found.is_null());
        let expected = model == QwenVl::Qwen3;
        if let Some(found) = interleaved.filter(|found| *found != expected) {
            return Err(KeyError::new(format!("{prefix}{name}.{INTERLEAVED}"), Some(&found), expected.to_string()));
        }
        for kind in ["type", "rope_type"] {
            // Earlier versions call M-RoPE itself a kind of scaling.
            if rope.get(kind).is_some_and(|kind| *kind == "mrope") {
                rope.insert(kind.into(), "default".into());
            }
        }
    }
    let key = || format!("{prefix}rope_scaling.{SECTION}");
    let (sections, sections_key) =
        sections.ok_or_else(|| KeyError::new(key(), None, "three numbers, of time, height and width"))?;
    Ok(LanguageSection { json: own.into(), prefix, sections, sections_key })
}

/// `vision_config`.
#[derive(Deserialize)]
pub(super) struct RawTower {
    pub depth: u64,
    pub hidden_size: u64,
    pub embed_dim: Option<u64>,
    pub intermediate_size: Option<u64>,
    pub mlp_ratio: Option<f64>,
    pub num_heads: u64,
    pub hidden_act: Option<String>,
    pub in_channels: Option<u64>,
    pub in_chans: Option<u64>,
    pub patch_size: u64,
    pub spatial_patch_size: Option<u64>,
    pub spatial_merge_size: Option<u64>,
    pub temporal_patch_size: Option<u64>,
    pub out_hidden_size: Option<u64>,
    pub window_size: Option<u64>,
    pub fullatt_block_indexes: Option<Vec<u64>>,
    pub num_position_embeddings: Option<u64>,
    pub deepstack_visual_indexes: Option<Vec<u64>>,
}

/// The image processor.
#[derive(Deserialize, Default)]
pub(super) struct RawProcessor {
    pub image_mean: Option<[f32; 3]>,
    pub image_std: Option<[f32; 3]>,
    pub min_pixels: Option<u32>,
    pub max_pixels: Option<u32>,
    pub size: Option<RawSize>,
    pub patch_size: Option<u64>,
    pub merge_size: Option<u64>,
    pub temporal_patch_size: Option<u64>,
}

/// The pixels of an image, under either pair of names.
#[derive(Deserialize, Default)]
pub(super) struct RawSize {
    pub shortest_edge: Option<u32>,
    pub longest_edge: Option<u32>,
    pub min_pixels: Option<u32>,
    pub max_pixels: Option<u32>,
}

impl RawProcessor {
    /// Returns the minimum and maximum of pixels: those of `size` unless there are keys of their own.
    pub(super) fn pixels(&self) -> (u32, u32) {
        let size = self.size.as_ref();
        let least = self.min_pixels.or(size.and_then(|size| size.shortest_edge.or(size.min_pixels)));
        let most = self.max_pixels.or(size.and_then(|size| size.longest_edge.or(size.max_pixels)));
        // The defaults of Qwen2VLImageProcessor.
        (least.unwrap_or(56 * 56), most.unwrap_or(28 * 28 * 1280))
    }
}
