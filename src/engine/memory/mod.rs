//! Predicts the memory of a model, its KV cache and its scratch buffers before anything is loaded.
//!
//! Sizes of weights and cache are exact; scratch memory is estimated from llama.cpp's largest
//! tensors, slightly too high rather than too low. How much memory a machine has is left to the
//! caller. The engine's own choice of cells, width and threads is in `planning`.
//!
//! ```
//! use mmprm::engine::memory::{MemoryNeeds, Workload};
//! use mmprm_quant::hf::shapes::Shape;
//! use mmprm_quant::quantize::QuantType;
//! let needs = MemoryNeeds::of_shape(&Shape::InternVl25B8.config(), QuantType::Q4_K_M)?;
//! let gpu = 8_u64 << 30;
//! assert!(needs.total(8192, &Workload::ROLLOUTS) < gpu && 2 * needs.total(8192, &Workload::ROLLOUTS) > gpu);
//! assert!(needs.max_cells(gpu, &Workload::ROLLOUTS).unwrap() > 8192);
//! # Ok::<(), mmprm_quant::convert::ConvertError>(())
//! ```

pub(super) mod planning;

use mmprm_quant::convert::ConvertError;
use mmprm_quant::gguf::{GgufError, GgufFile, TensorSpec};
use mmprm_quant::hf::config::ModelConfig;
use mmprm_quant::quantize::{QuantType, layout};

use super::exec::{FIXED_BATCH, WIDTH};
use super::ffi::{QwenEncoder, is_cache_f32};
use planning::{BATCH, sequence_ids};

/// Contexts have a multiple of this number of cells.
const CELL_STEP: u32 = 256;

/// The options of an engine that its scratch memory depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Workload {
    /// Maximum tokens per batch.
    pub batch: u64,
    /// Sequences that run at once, beside idle ones; `None` for the fixed schedule, whose number of
    /// ids is constant. llama.cpp keeps a row of logits per id.
    pub running: Option<usize>,
    /// Fused attention, which never stores the attention scores of a whole batch.
    pub fused: bool,
}

impl Workload {
    /// Rollouts: 16 in parallel, each of its own request, with fused attention.
    pub const ROLLOUTS: Self = Self { batch: BATCH as u64, running: Some(32), fused: true };
    /// Step scores, and rollouts in deterministic mode.
    pub const SCORES: Self = Self { batch: FIXED_BATCH as u64, running: None, fused: false };
}

/// The memory needs of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryNeeds {
    /// Bytes of the language model's weights.
    pub weights: u64,
    /// Bytes of the weights of vision tower and projector; 0 without them.
    pub vision: u64,
    /// Bytes of scratch memory to encode an image tile, or the largest image that is read whole; 0
    /// without a vision tower.
    pub vision_scratch: u64,
    /// Bytes of keys and values per position, in f16.
    pub cache_per_position: u64,
    /// Transformer blocks of the language model.
    pub layers: u64,
    language: Dimensions,
}

/// The dimensions that scratch memory depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Dimensions {
    hidden: u64,
    feed_forward: u64,
    heads: u64,
    vocabulary: u64,
}

impl MemoryNeeds {
    /// Returns the needs of a checkpoint with this configuration, converted and quantised to `quant_type`.
    ///
    /// # Errors
    /// [`ConvertError::TooLarge`] for a shape that no file can hold.
    pub fn of_shape(config: &ModelConfig, quant_type: QuantType) -> Result<Self, ConvertError> {
        let layout = layout(config, quant_type)?;
        let bytes = |specs: &[TensorSpec]| {
            specs
                .iter()
                .map(|spec| spec.ggml_type.tensor_bytes(&spec.dims).unwrap_or(u64::MAX))
                .fold(0, u64::saturating_add)
        };
        let language = &config.language;
        let is_f32 = matches!(quant_type, QuantType::F32 | QuantType::F16);
        let vision_scratch = match (&config.vision, &config.qwen_vision) {
            (Some(vision), _) => {
                let tokens = vision.grid().pow(2) + 1;
                vision_scratch(tokens, vision.heads, vision.hidden, vision.feed_forward)
            }
            (None, Some(vision)) => {
                let patches = max_patches(vision.patch_size, u64::from(vision.max_pixels));
                // A mask of the windows is as large as the attention of one head.
                vision_scratch(patches, vision.heads + 1, vision.hidden, vision.feed_forward)
            }
            (None, None) => 0,
        };
        Ok(Self {
            weights: bytes(&layout.language),
            vision: bytes(&layout.vision),
            vision_scratch,
            cache_per_position: cache_per_position(language.layers, language.kv_heads, language.head(), is_f32),
            layers: language.layers,
            language: Dimensions {
                hidden: language.hidden.max(language.heads * language.head()),
                feed_forward: language.feed_forward,
                heads: language.heads,
                vocabulary: language.vocab,
            },
        })
    }

    /// Returns the needs of a language model and its vision projector from their files.
    ///
    /// # Errors
    /// [`GgufError`] if a file lacks a key that determines its size.
    pub fn of_files(model: &GgufFile, mmproj: Option<&GgufFile>) -> Result<Self, GgufError> {
        let arch = model.get_str("general.architecture")?.to_owned();
        let read = |key: &str| model.get_u32(&format!("{arch}.{key}")).map(u64::from);
        let (hidden, layers, heads) =
            (read("embedding_length")?, read("block_count")?, read("attention.head_count")?.max(1));
        let kv_heads = read("attention.head_count_kv").unwrap_or(heads);
        let head = read("attention.key_length").unwrap_or(hidden / heads);
        let bytes = |file: &GgufFile| file.tensors().iter().map(|tensor| tensor.size).sum();
        let (vision, vision_scratch) = match mmproj {
            None => (0, 0),
            Some(file) => {
                let read = |key: &str| file.get_u32(&format!("clip.vision.{key}")).map(u64::from);
                let patch = read("patch_size")?.max(1);
                let (mut heads, hidden) = (read("attention.head_count")?, read("embedding_length")?);
                let tokens = if QwenEncoder::is_for(file) {
                    heads += 1;
                    let pixels = model.get_u32("mmprm.image.max_pixels").map_or(u64::MAX, u64::from);
                    max_patches(patch, pixels)
                } else {
                    (read("image_size")? / patch).pow(2) + 1
                };
                (bytes(file), vision_scratch(tokens, heads, hidden, read("feed_forward_length")?))
            }
        };
        Ok(Self {
            weights: bytes(model),
            vision,
            vision_scratch,
            cache_per_position: cache_per_position(layers, kv_heads, head, is_cache_f32(model)),
            layers,
            language: Dimensions {
                hidden: hidden.max(heads * head),
                feed_forward: read("feed_forward_length")?,
                heads,
                vocabulary: model.get_strings("tokenizer.ggml.tokens")?.len() as u64,
            },
        })
    }

    /// Returns the bytes of a cache of `cells` cells.
    pub fn cache(&self, cells: u32) -> u64 {
        self.cache_per_position * u64::from(cells)
    }

    /// Returns the bytes of scratch memory to decode a batch with a cache of `cells` cells, logits
    /// included.
    pub fn scratch(&self, cells: u32, workload: &Workload) -> u64 {
        let Dimensions { hidden, feed_forward, heads, vocabulary } = self.language;
        let (cells, batch) = (u64::from(cells), workload.batch.min(u64::from(cells)));
        let ids = workload.running.map_or(WIDTH + 1, |running| sequence_ids(running, vocabulary as usize));
        let logits = 4 * planning::outputs(ids, vocabulary as usize) as u64 * vocabulary;
        let feed_forward = 4 * batch * 2 * feed_forward;
        let scores = if workload.fused { 0 } else { 4 * batch * cells * heads };
        // What exists beside the largest of these, and the mask, which is f16 for fused attention.
        let beside = 4 * batch * 5 * hidden + batch * cells * if workload.fused { 2 } else { 4 };
        // A fifth more for small tensors.
        let graph = (logits.max(feed_forward).max(scores) + beside) / 5 * 6;
        graph + logits
    }

    /// Returns the bytes of weights, cache and scratch memory together.
    pub fn total(&self, cells: u32, workload: &Workload) -> u64 {
        // Images are encoded while the language model decodes, so both scratch buffers exist at
        // once.
        self.weights + self.vision + self.vision_scratch + self.cache(cells) + self.scratch(cells, workload)
    }

    /// Returns the maximum cells with which everything fits into `memory` bytes; `None` if it never
    /// fits.
    pub fn max_cells(&self, memory: u64, workload: &Workload) -> Option<u32> {
        let steps = |count: u32| count * CELL_STEP;
        let (mut fits, mut too_many) = (0, (1 << 24) / CELL_STEP + 1);
        while fits + 1 < too_many {
            let middle = fits.midpoint(too_many);
            if self.total(steps(middle), workload) <= memory { fits = middle } else { too_many = middle }
        }
        (fits > 0).then(|| steps(fits))
    }

    /// Returns the maximum layers of the language model (its blocks and the output) that fit into
    /// `memory` bytes of a GPU, together with the vision tower, all scratch memory and their part
    /// of a cache of `cells` cells.
    pub fn layers_on_device(&self, memory: u64, cells: u32, workload: &Workload) -> u64 {
        let always = self.vision + self.vision_scratch + self.scratch(cells, workload);
        let layers = self.layers + 1;
        let each = (self.weights + self.cache(cells)).div_ceil(layers).max(1);
        (memory.saturating_sub(always) / each).min(layers)
    }
}

/// Returns the bytes of keys and values per position.
fn cache_per_position(layers: u64, kv_heads: u64, head: u64, is_f32: bool) -> u64 {
    2 * layers * kv_heads * head * if is_f32 { 4 } else { 2 }
}

/// Returns the maximum patches of an image that is read whole.
fn max_patches(patch: u64, pixels: u64) -> u64 {
    (pixels / patch.saturating_mul(patch).max(1)).min(4 * QwenEncoder::DEFAULT_MAX_TOKENS as u64)
}

/// Returns the bytes of scratch memory to encode an image tile of `tokens` tokens.
fn vision_scratch(tokens: u64, heads: u64, hidden: u64, feed_forward: u64) -> u64 {
    4 * tokens * (heads * tokens + 6 * hidden).max(2 * feed_forward + 3 * hidden)
}
