//! The vision towers of GGUF pairs in llama.cpp: of `InternVL`, which reads tiles, and of `Qwen-VL`, which reads images whole.

use std::path::Path;
use std::sync::Arc;

use mmprm_quant::gguf::{GgufArray, GgufFile, GgufValue};

use super::clip::{Clip, ClipOptions, Pixels};
use super::{Model, start_backend};
use crate::engine::{EngineError, Grid};

/// Encodes image tiles of `InternVL` with llama.cpp's multimodal library.
#[derive(Debug)]
pub struct LlamaEncoder {
    clip: Clip,
    size: usize,
    tokens: usize,
}

impl LlamaEncoder {
    /// Loads the mmproj file of `model`; `threads` as in
    /// [`EngineOptions`](crate::engine::EngineOptions).
    ///
    /// # Errors
    /// [`EngineError::Gguf`] for an invalid file, [`EngineError::Load`] or
    /// [`EngineError::NotAPair`] for one that llama.cpp or the model cannot use.
    pub fn load(path: &Path, model: &Arc<Model>, threads: Option<u32>, gpu: bool) -> Result<Self, EngineError> {
        start_backend()?;
        let refuse = |cause: String| EngineError::Load { path: path.to_owned(), cause };
        let file = GgufFile::open(path)?;
        mmprm_quant::check::vision(&file)?;
        if file.get_str("clip.projector_type")? != "internvl" {
            return Err(refuse("expected an InternVL vision projector (clip.projector_type = internvl)".into()));
        }
        if file.get("mmprm.vision.class_position").is_none() {
            tracing::warn!(
                "{}: written by another converter, whose position embeddings are one patch off in llama.cpp; image \
                 embeddings will differ from MM-PRM's (files of `mmprm convert` are correct)",
                path.display()
            );
        }
        let size = file.get_u32("clip.vision.image_size")? as usize;
        let patch = file.get_u32("clip.vision.patch_size")? as usize;
        let scale = file.get_u32("clip.vision.projector.scale_factor").unwrap_or(2) as usize;
        let width = file.get_u32("clip.vision.projection_dim")? as usize;
        if patch == 0 || scale == 0 || size == 0 || size > 4096 || !size.is_multiple_of(patch * scale) {
            return Err(refuse(format!("image size {size} is not a multiple of patch size {patch} × {scale}")));
        }
        model.check_projector(path, width)?;
        let clip = Clip::load(file, model, ClipOptions { threads, gpu, max_tokens: None })?;
        Ok(Self { clip, size, tokens: (size / patch / scale).pow(2) })
    }

    /// Returns the side of a tile in pixels.
    pub fn tile_size(&self) -> usize {
        self.size
    }

    /// Returns the number of embeddings per tile.
    pub fn tokens_per_tile(&self) -> usize {
        self.tokens
    }

    /// Returns the width of an embedding, that of the language model.
    pub fn width(&self) -> usize {
        self.clip.width()
    }

    /// Returns the projector's file.
    pub fn file(&self) -> &GgufFile {
        self.clip.file()
    }

    /// Returns whether a GPU encodes.
    pub fn on_gpu(&self) -> bool {
        self.clip.on_gpu()
    }

    /// Returns the number of compute threads.
    pub fn threads(&self) -> u32 {
        self.clip.threads()
    }

    /// Returns the embeddings `[tokens_per_tile, embedding_width]` of one tile of `size × size` RGB
    /// pixels.
    ///
    /// # Errors
    /// [`EngineError::Vision`] if the tile has another size, or llama.cpp fails.
    pub fn encode(&self, tile: &[u8]) -> Result<Vec<f32>, EngineError> {
        let (width, height) = (self.size, self.size);
        self.clip.encode(Pixels { width, height, rgb: tile, tokens: self.tokens, approximate_rows: 0 })
    }
}

/// Patches per side that are one token.
const MERGE: usize = 2;

/// Encodes whole images of `Qwen-VL` with llama.cpp's multimodal library.
#[derive(Debug)]
pub struct QwenEncoder {
    clip: Clip,
    patch: usize,
    max_tokens: usize,
    /// Whether the feed-forward layers of the tower have the approximate GELU, as `Qwen3-VL` has, while the projectors have the
    /// exact one.
    is_approximate: bool,
}

impl QwenEncoder {
    /// Maximum tokens of an image unless more are asked for: a square of 1000 pixels. Its attention takes about 2 GB.
    pub const DEFAULT_MAX_TOKENS: usize = 1280;

    /// Returns whether a projector is one of `Qwen-VL`.
    pub fn is_for(file: &GgufFile) -> bool {
        file.get_str("clip.projector_type").is_ok_and(|projector| projector.ends_with("vl_merger"))
    }

    /// Loads the mmproj file of `model` for images of up to `max_tokens` tokens; `threads` as in
    /// [`EngineOptions`](crate::engine::EngineOptions).
    ///
    /// # Errors
    /// As [`LlamaEncoder::load`].
    pub fn load(
        path: &Path,
        model: &Arc<Model>,
        max_tokens: usize,
        threads: Option<u32>,
        gpu: bool,
    ) -> Result<Self, EngineError> {
        start_backend()?;
        let file = GgufFile::open(path)?;
        mmprm_quant::check::vision(&file)?;
        let projector = file.get_str("clip.projector_type")?;
        if !Self::is_for(&file) {
            let cause = format!("its projector is '{projector}', expected one of Qwen-VL");
            return Err(EngineError::Load { path: path.to_owned(), cause });
        }
        if !model.has_sections() {
            let cause = format!(
                "it is a projector of Qwen-VL, whose images have positions of their own, which {} does not have",
                model.path().display()
            );
            return Err(EngineError::Load { path: path.to_owned(), cause });
        }
        // Each embedding is followed by the features for the first blocks of the language model.
        let features = match file.get("clip.vision.is_deepstack_layers") {
            Some(GgufValue::Array(GgufArray::Bool(flags))) => flags.iter().filter(|flag| **flag).count(),
            _ => 0,
        };
        model.check_projector(path, file.get_u32("clip.vision.projection_dim")? as usize * (1 + features))?;
        let (patch, is_approximate) = (file.get_u32("clip.vision.patch_size")? as usize, projector == "qwen3vl_merger");
        let clip = Clip::load(file, model, ClipOptions { threads, gpu, max_tokens: Some(max_tokens) })?;
        Ok(Self { clip, patch, max_tokens, is_approximate })
    }

    /// Returns the side in pixels of the square that is one token.
    pub fn token_size(&self) -> usize {
        MERGE * self.patch
    }

    /// Returns the maximum tokens of an image.
    pub fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// Returns the width of an embedding: that of the language model, and as much for each of its
    /// blocks that features are added after.
    pub fn width(&self) -> usize {
        self.clip.width()
    }

    /// Returns the projector's file.
    pub fn file(&self) -> &GgufFile {
        self.clip.file()
    }

    /// Returns whether a GPU encodes.
    pub fn on_gpu(&self) -> bool {
        self.clip.on_gpu()
    }

    /// Returns the embeddings of an image of `width` × `height` RGB pixels, which are multiples of the
    /// token size, and their grid.
    ///
    /// # Errors
    /// [`EngineError::Vision`] for an image of another size or with too many tokens, or if llama.cpp
    /// fails.
    pub fn encode(&self, rgb: &[u8], width: usize, height: usize) -> Result<(Vec<f32>, Grid), EngineError> {
        let side = self.token_size();
        let grid = Grid { columns: width / side, rows: height / side };
        let tokens = grid.columns.saturating_mul(grid.rows);
        let fits = width.is_multiple_of(side) && height.is_multiple_of(side) && (1..=self.max_tokens).contains(&tokens);
        if !fits {
            let cause = format!(
                "an image of {width}×{height} pixels, expected multiples of {side} and at most {} tokens",
                self.max_tokens
            );
            return Err(EngineError::Vision { path: self.clip.path().to_owned(), cause });
        }
        let approximate_rows = if self.is_approximate { tokens * MERGE * MERGE } else { 0 };
        let values = self.clip.encode(Pixels { width, height, rgb, tokens, approximate_rows })?;
        Ok((values, grid))
    }
}
