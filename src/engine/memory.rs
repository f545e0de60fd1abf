//! What fits: the memory that a model, its cache and its scratch buffers take, known before anything is loaded.
//!
//! Sizes of weights and cache are exact; scratch is estimated from llama.cpp's largest tensors, a little high rather than low.
//! Which memory there is, and what to do about it, is the caller's business.
//!
//! ```
//! use mmprm::engine::memory::{Needs, Setting};
//! use mmprm_quant::hf::shapes::Shape;
//! use mmprm_quant::quantize::QuantType;
//! let needs = Needs::of_shape(&Shape::InternVl25B8.config(), QuantType::Q4_K_M).unwrap();
//! let setting = Setting::ROLLOUTS;
//! let card = 8_u64 << 30;
//! assert!(needs.total(8192, &setting) < card && 2 * needs.total(8192, &setting) > card);
//! assert!(needs.most_cells(card, &setting).unwrap() > 8192);
//! ```

use mmprm_quant::convert::ConvertError;
use mmprm_quant::gguf::{GgufError, GgufFile, TensorSpec};
use mmprm_quant::hf::config::ModelConfig;
use mmprm_quant::quantize::{QuantType, layout};

use crate::engine::{BATCH, FIXED_BATCH, WIDTH, sequence_ids};

/// Cells come in whole multiples of this.
const CELL_STEP: u32 = 256;

/// What of an engine's setting its scratch memory depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Most tokens in one batch.
    pub batch: u64,
    /// Sequences that run at once, beside which others rest; nothing on the fixed schedule, which has ids of its own. A row
    /// of logits is kept for each id.
    pub running: Option<usize>,
    /// Fused attention, which never has the scores of a whole batch in memory.
    pub fused: bool,
}

impl Setting {
    /// Rollouts, 16 side by side of as many requests, with fused attention.
    pub const ROLLOUTS: Self = Self { batch: BATCH as u64, running: Some(32), fused: true };
    /// Scores, and rollouts in deterministic mode.
    pub const SCORES: Self = Self { batch: FIXED_BATCH as u64, running: None, fused: false };
}

/// What a model needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// Bytes of the language model's weights.
    pub weights: u64,
    /// Bytes of the vision tower's and projector's weights; 0 without them.
    pub vision: u64,
    /// Bytes of scratch memory to encode a tile; 0 without a vision tower.
    pub vision_scratch: u64,
    /// Bytes of keys and values a position takes, at 16 bits a number.
    pub cache_per_position: u64,
    /// Blocks of the language model.
    pub layers: u64,
    language: Dimensions,
}

/// The sizes that scratch memory depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Dimensions {
    hidden: u64,
    feed_forward: u64,
    heads: u64,
    vocabulary: u64,
}

impl Needs {
    /// Of a checkpoint of this configuration, converted and quantised.
    ///
    /// # Errors
    /// [`ConvertError::TooLarge`] for a shape that no file could hold.
    pub fn of_shape(config: &ModelConfig, mix: QuantType) -> Result<Self, ConvertError> {
        let layout = layout(config, mix)?;
        let bytes = |specs: &[TensorSpec]| {
            specs
                .iter()
                .map(|spec| spec.ggml_type.tensor_bytes(&spec.dims).unwrap_or(u64::MAX))
                .fold(0, u64::saturating_add)
        };
        let language = &config.language;
        let vision_scratch = config.vision.as_ref().map_or(0, |vision| {
            let tokens = vision.grid().pow(2) + 1;
            vision_scratch(tokens, vision.heads, vision.hidden, vision.feed_forward)
        });
        Ok(Self {
            weights: bytes(&layout.language),
            vision: bytes(&layout.vision),
            vision_scratch,
            cache_per_position: cache_per_position(language.layers, language.kv_heads, language.head()),
            layers: language.layers,
            language: Dimensions {
                hidden: language.hidden,
                feed_forward: language.feed_forward,
                heads: language.heads,
                vocabulary: language.vocab,
            },
        })
    }

    /// Of a language model and its vision projector as files.
    ///
    /// # Errors
    /// [`GgufError`] if one lacks a key that says how large it is.
    pub fn of_files(model: &GgufFile, mmproj: Option<&GgufFile>) -> Result<Self, GgufError> {
        let arch = model.get_str("general.architecture")?.to_owned();
        let read = |key: &str| model.get_u32(&format!("{arch}.{key}")).map(u64::from);
        let (hidden, layers, heads) =
            (read("embedding_length")?, read("block_count")?, read("attention.head_count")?.max(1));
        let kv_heads = read("attention.head_count_kv").unwrap_or(heads);
        let bytes = |file: &GgufFile| file.tensors().iter().map(|tensor| tensor.size).sum();
        let (vision, vision_scratch) = match mmproj {
            None => (0, 0),
            Some(file) => {
                let read = |key: &str| file.get_u32(&format!("clip.vision.{key}")).map(u64::from);
                let tokens = (read("image_size")? / read("patch_size")?.max(1)).pow(2) + 1;
                let (heads, hidden) = (read("attention.head_count")?, read("embedding_length")?);
                (bytes(file), vision_scratch(tokens, heads, hidden, read("feed_forward_length")?))
            }
        };
        Ok(Self {
            weights: bytes(model),
            vision,
            vision_scratch,
            cache_per_position: cache_per_position(layers, kv_heads, hidden / heads),
            layers,
            language: Dimensions {
                hidden,
                feed_forward: read("feed_forward_length")?,
                heads,
                vocabulary: model.get_strings("tokenizer.ggml.tokens")?.len() as u64,
            },
        })
    }

    /// Bytes of a cache of so many cells.
    pub fn cache(&self, cells: u32) -> u64 {
        self.cache_per_position * u64::from(cells)
    }

    /// Bytes of scratch memory to decode a batch with a cache of so many cells, and of the logits that come out.
    pub fn scratch(&self, cells: u32, setting: &Setting) -> u64 {
        let Dimensions { hidden, feed_forward, heads, vocabulary } = self.language;
        let (cells, batch) = (u64::from(cells), setting.batch.min(u64::from(cells)));
        let ids = setting.running.map_or(WIDTH + 1, |running| sequence_ids(running, vocabulary as usize));
        let logits = 4 * ids as u64 * vocabulary;
        let feed_forward = 4 * batch * 2 * feed_forward;
        let scores = if setting.fused { 0 } else { 4 * batch * cells * heads };
        // What passes by the largest of these, and the mask, which fused attention takes at 16 bits.
        let beside = 4 * batch * 5 * hidden + batch * cells * if setting.fused { 2 } else { 4 };
        // A fifth for what is small.
        let graph = (logits.max(feed_forward).max(scores) + beside) / 5 * 6;
        graph + logits
    }

    /// Bytes of all: weights, cache, scratch.
    pub fn total(&self, cells: u32, setting: &Setting) -> u64 {
        // Images are encoded while the language model decodes.
        self.weights + self.vision + self.vision_scratch + self.cache(cells) + self.scratch(cells, setting)
    }

    /// The most cells with which all of it fits into `memory`; nothing if it does not fit with any.
    pub fn most_cells(&self, memory: u64, setting: &Setting) -> Option<u32> {
        let steps = |count: u32| count * CELL_STEP;
        let (mut fits, mut too_many) = (0, (1 << 24) / CELL_STEP + 1);
        while fits + 1 < too_many {
            let middle = fits.midpoint(too_many);
            if self.total(steps(middle), setting) <= memory { fits = middle } else { too_many = middle }
        }
        (fits > 0).then(|| steps(fits))
    }

    /// The most layers of the language model (its blocks and the output) that fit into the memory of a device, together with
    /// the vision tower, all scratch memory, and their share of a cache of so many cells.
    pub fn layers_on_device(&self, memory: u64, cells: u32, setting: &Setting) -> u64 {
        let always = self.vision + self.vision_scratch + self.scratch(cells, setting);
        let layers = self.layers + 1;
        let each = (self.weights + self.cache(cells)).div_ceil(layers).max(1);
        (memory.saturating_sub(always) / each).min(layers)
    }
}

fn cache_per_position(layers: u64, kv_heads: u64, head: u64) -> u64 {
    2 * 2 * layers * kv_heads * head
}

/// Bytes of scratch memory to encode a tile of so many tokens.
fn vision_scratch(tokens: u64, heads: u64, hidden: u64, feed_forward: u64) -> u64 {
    4 * tokens * (heads * tokens + 6 * hidden).max(2 * feed_forward + 3 * hidden)
}
