//! Reads and validates what configurations of `Qwen-VL` have of their own: positions of three sections, and the vision tower.
//!
//! llama.cpp takes some numbers of the vision tower as given: patches are joined 2 × 2, a frame counts twice, windows are 112
//! pixels wide, and blocks with full attention are evenly spaced. Other values are refused here.

use serde_json::Value;

use super::model::{LanguageConfig, ModelConfig, QwenTower, QwenVisionConfig, RopeScaling, TensorNames};
use super::qwen::{self, LanguageSection, QwenVl, RawProcessor, RawTower};
use super::read::Check;
use crate::hf::error::HfError;

/// Patches per side that are one token, and frames that are one patch.
const MERGE: u64 = 2;
/// Side of an attention window in pixels.
const WINDOW: u64 = 112;

impl Check<'_> {
    /// Reads a configuration whose keys are known.
    pub(super) fn qwen(&self, model: QwenVl, json: &Value, processor: &RawProcessor) -> Result<ModelConfig, HfError> {
        let Some(root) = json.as_object() else { return Err(self.missing("model_type")) };
        let section = self.keys(qwen::language(model, root))?;
        let mut language = self.qwen_language(model, &section)?;
        language.tied |= root.get("tie_word_embeddings").is_some_and(|tied| *tied == true);
        let Some(vision) = root.get("vision_config").filter(|vision| !vision.is_null()) else {
            return Err(self.missing("vision_config"));
        };
        let raw: RawTower =
            serde_json::from_value(vision.clone()).map_err(|error| self.invalid("vision_config", error.to_string()))?;
        let vision = self.qwen_tower(model.tower(), &raw, processor, language.hidden)?;
        language.deepstack = vision.deepstack.len() as u64;
        if language.deepstack >= language.layers {
            let problem = format!("{} features, expected fewer than blocks of the language model", language.deepstack);
            return Err(self.invalid("vision_config.deepstack_visual_indexes", problem));
        }
        Ok(ModelConfig { names: TensorNames::QwenVl, language, vision: None, qwen_vision: Some(vision) })
    }

    fn qwen_language(&self, model: QwenVl, section: &LanguageSection) -> Result<LanguageConfig, HfError> {
        let LanguageSection { json, prefix, sections, sections_key } = section;
        let raw = serde_json::from_value(json.clone()).map_err(|error| {
            let place = if prefix.is_empty() { "the configuration" } else { prefix.trim_end_matches('.') };
            self.invalid(place, error.to_string())
        })?;
        let language = self.language(&raw, json, prefix)?;
        if language.rope_scaling != RopeScaling::None {
            let problem = "scaling of positions, which is not supported with positions of three sections";
            return Err(self.invalid(&format!("{prefix}rope_scaling.rope_type"), problem));
        }
        let pairs = language.head() / 2;
        if sections.iter().map(|section| u64::from(*section)).sum::<u64>() != pairs {
            let problem = format!("{sections:?}, expected sections of {pairs} pairs, half the width of a head");
            return Err(self.invalid(sections_key, problem));
        }
        Ok(LanguageConfig { arch: model.arch(), position_sections: Some(*sections), ..language })
    }

    fn qwen_tower(
        &self,
        tower: QwenTower,
        raw: &RawTower,
        processor: &RawProcessor,
        language: u64,
    ) -> Result<QwenVisionConfig, HfError> {
        let key = |name: &str| format!("vision_config.{name}");
        let only = |name: &str, found: Option<u64>, expected: u64| match found.filter(|found| *found != expected) {
            None => Ok(()),
            Some(found) => Err(self.invalid(&key(name), format!("{found}, expected {expected}"))),
        };
        let patch = self.dim(&key("patch_size"), raw.patch_size)?;
        only("in_channels", raw.in_channels, 3)?;
        only("in_chans", raw.in_chans, 3)?;
        only("spatial_patch_size", raw.spatial_patch_size, patch)?;
        only("spatial_merge_size", raw.spatial_merge_size, MERGE)?;
        only("temporal_patch_size", raw.temporal_patch_size, MERGE)?;
        let (activation, hidden) = match tower {
            QwenTower::Qwen2 => {
                only("hidden_size", Some(raw.hidden_size), language)?;
                ("quick_gelu", raw.embed_dim.ok_or_else(|| self.missing(&key("embed_dim")))?)
            }
            QwenTower::Qwen25 => ("silu", raw.hidden_size),
            QwenTower::Qwen3 => ("gelu_pytorch_tanh", raw.hidden_size),
        };
        if tower != QwenTower::Qwen2 {
            only("embed_dim", raw.embed_dim, hidden)?;
            let width = raw.out_hidden_size.ok_or_else(|| self.missing(&key("out_hidden_size")))?;
            only("out_hidden_size", Some(width), language)?;
        }
        if let Some(other) = raw.hidden_act.as_deref().filter(|act| *act != activation) {
            return Err(self.invalid(&key("hidden_act"), format!("'{other}', expected {activation}")));
        }
        let feed_forward = match (tower, raw.intermediate_size, raw.mlp_ratio) {
            (QwenTower::Qwen2, None, ratio) => (hidden as f64 * ratio.unwrap_or(4.0)) as u64,
            (_, Some(width), None) => width,
            (_, None, _) => return Err(self.missing(&key("intermediate_size"))),
            (_, Some(width), Some(_)) => {
                let problem = format!("{width} beside mlp_ratio, expected one of them");
                return Err(self.invalid(&key("intermediate_size"), problem));
            }
        };
        self.processor(raw, processor)?;
        let (min_pixels, max_pixels) = processor.pixels();
        let config = QwenVisionConfig {
            tower,
            hidden: self.dim(&key("hidden_size"), hidden)?,
            feed_forward: self.dim(&key("intermediate_size"), feed_forward)?,
            layers: self.dim(&key("depth"), raw.depth)?,
            heads: self.dim(&key("num_heads"), raw.num_heads)?,
            patch_size: patch,
            grid: self.learnt_grid(tower, raw)?,
            full_attention_every: self.full_attention_every(tower, raw)?,
            deepstack: self.deepstack(tower, raw)?,
            min_pixels,
            max_pixels,
            mean: processor.image_mean.unwrap_or([0.481_454_66, 0.457_827_5, 0.408_210_73]),
            std: processor.image_std.unwrap_or([0.268_629_54, 0.261_302_6, 0.275_777_1]),
        };
        self.divides(&key("num_heads"), config.heads, config.hidden)?;
        if !(config.hidden / config.heads).is_multiple_of(4) {
            let problem = format!("heads {} wide, expected a multiple of 4", config.hidden / config.heads);
            return Err(self.invalid(&key("num_heads"), problem));
        }
        Ok(config)
    }

    /// Checks the image processor against the tower.
    fn processor(&self, raw: &RawTower, processor: &RawProcessor) -> Result<(), HfError> {
        let pairs = [
            ("patch_size", processor.patch_size, raw.patch_size),
            ("merge_size", processor.merge_size, MERGE),
            ("temporal_patch_size", processor.temporal_patch_size, MERGE),
        ];
        for (name, found, expected) in pairs {
            if let Some(found) = found.filter(|found| *found != expected) {
                let problem = format!("{found} in the image processor, expected {expected}");
                return Err(self.invalid(name, problem));
            }
        }
        for deviation in processor.image_std.into_iter().flatten() {
            self.positive("image_std", deviation)?;
        }
        let (least, most) = processor.pixels();
        // A token is a square of two patches.
        let token = (MERGE * raw.patch_size).pow(2);
        if least == 0 || u64::from(most) < token || most > i32::MAX as u32 || least > most {
            let problem = format!("images of {least} to {most} pixels, expected at least one token of {token} pixels");
            return Err(self.invalid("max_pixels", problem));
        }
        Ok(())
    }

    /// Returns the learnt positions per side.
    fn learnt_grid(&self, tower: QwenTower, raw: &RawTower) -> Result<u64, HfError> {
        let key = "vision_config.num_position_embeddings";
        match (tower, raw.num_position_embeddings) {
            (QwenTower::Qwen3, Some(positions)) => {
                let side = self.dim(key, positions)?.isqrt();
                if side * side == positions {
                    return Ok(side);
                }
                Err(self.invalid(key, format!("{positions}, expected a square number")))
            }
            (QwenTower::Qwen3, None) => Err(self.missing(key)),
            (_, None) => Ok(0),
            (_, Some(found)) => Err(self.invalid(key, format!("{found}, expected none in this model"))),
        }
    }

    /// Returns the distance of blocks with full attention.
    fn full_attention_every(&self, tower: QwenTower, raw: &RawTower) -> Result<u64, HfError> {
        let key = "vision_config.fullatt_block_indexes";
        let (blocks, window) = (raw.fullatt_block_indexes.as_deref(), raw.window_size);
        if tower != QwenTower::Qwen25 {
            return match (blocks, window) {
                (None | Some([]), None) => Ok(0),
                _ => Err(self.invalid(key, "attention within windows, expected none in this model")),
            };
        }
        if let Some(window) = window.filter(|window| *window != WINDOW) {
            return Err(self.invalid("vision_config.window_size", format!("{window}, expected {WINDOW}")));
        }
        let blocks = blocks.ok_or_else(|| self.missing(key))?;
        // Without a block of full attention, the first one is after the last block.
        let every = blocks.first().map_or(raw.depth.saturating_add(1), |first| first.saturating_add(1));
        let even: Vec<u64> = (0..raw.depth.min(1 << 16)).filter(|block| (block + 1).is_multiple_of(every)).collect();
        if blocks != even {
            return Err(self.invalid(key, format!("{blocks:?}, expected every {every}th block")));
        }
        Ok(every)
    }

    /// Returns the blocks with features for the language model.
    fn deepstack(&self, tower: QwenTower, raw: &RawTower) -> Result<Vec<u64>, HfError> {
        let key = "vision_config.deepstack_visual_indexes";
        let blocks = raw.deepstack_visual_indexes.clone().unwrap_or_default();
        let is_ascending = blocks.is_sorted_by(|one, next| one < next);
        if !is_ascending || blocks.last().is_some_and(|last| *last >= raw.depth) {
            return Err(self.invalid(key, format!("{blocks:?}, expected ascending numbers of blocks")));
        }
        if tower != QwenTower::Qwen3 && !blocks.is_empty() {
            return Err(self.invalid(key, format!("{blocks:?}, expected none in this model")));
        }
        Ok(blocks)
    }
}
