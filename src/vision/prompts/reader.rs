//! How the images of a model become embeddings: as tiles (`InternVL`), or whole (`Qwen-VL`).

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mmprm_quant::gguf::GgufFile;
use sha2::{Digest, Sha256};

use super::{EncodeError, PromptEncoderOptions};
use crate::engine::{EngineError, Grid, Model, QwenEncoder};
use crate::image::{self, ImageError, Limits, Rgb8, Sizing, Tile, Tiling};
use crate::vision::encoder::fingerprint;
use crate::vision::{EncoderChoice, VisionEncoder, VisionError, open};

/// Maximum tiles per image for models whose metadata has none: InternVL2.5's default.
const DEFAULT_MAX_TILES: usize = 12;
/// Side in pixels of the tiles that limit images which are read whole: `InternVL`'s.
const TILE_SIZE: usize = 448;
/// Minimum and maximum tokens of an image of `Qwen-VL` for models whose metadata has none: llama.cpp's.
const TOKENS: [usize; 2] = [8, 4096];

/// See the module documentation.
#[derive(Debug)]
pub(super) enum ImageReader {
    Tiles { encoder: Box<dyn VisionEncoder>, tiling: Tiling },
    Whole(Box<WholeReader>),
}

/// Reads images whole.
#[derive(Debug)]
pub(super) struct WholeReader {
    encoder: QwenEncoder,
    sizing: Sizing,
    /// The maximum of the model's own code.
    model_max_pixels: usize,
    /// Whether it was said that an image is smaller than in the model's own code.
    warned: AtomicBool,
}

/// The input of a vision tower.
#[derive(Debug)]
pub(super) enum Input {
    Tiles(Vec<Tile>),
    Whole(Rgb8),
}

impl ImageReader {
    /// Loads the projector at `path` for `model`.
    pub fn open(path: &Path, model: &Arc<Model>, options: &PromptEncoderOptions) -> Result<Self, VisionError> {
        let file = GgufFile::open_outline(path).map_err(EngineError::from)?;
        // Only llama.cpp runs these towers; with the native encoder asked for, its own refusal says so.
        if QwenEncoder::is_for(&file) && options.vision != EncoderChoice::Native {
            model.check_pair(path)?;
            return Ok(Self::Whole(Box::new(WholeReader::open(path, model, options)?)));
        }
        let encoder = open(path, model, options.vision, options.threads, options.gpu)?;
        let number = |key: &str| model.file().get_u32(&format!("mmprm.image.{key}")).ok().map(|number| number as usize);
        let tiling = Tiling::new(
            encoder.tile_size(),
            number("min_tiles").unwrap_or(1),
            options.max_tiles.or_else(|| number("max_tiles")).unwrap_or(DEFAULT_MAX_TILES),
            model.file().get_bool("mmprm.image.use_thumbnail").unwrap_or(true),
        );
        let tiling =
            tiling.map_err(|error| EngineError::Load { path: model.path().to_owned(), cause: error.to_string() })?;
        Ok(Self::Tiles { encoder, tiling })
    }

    /// Returns how images are tiled; `None` if they are read whole.
    pub fn tiling(&self) -> Option<&Tiling> {
        match self {
            Self::Tiles { tiling, .. } => Some(tiling),
            Self::Whole(_) => None,
        }
    }

    /// Returns what stands before and after an image in a prompt.
    pub fn marks(&self) -> [&'static str; 2] {
        match self {
            Self::Tiles { .. } => ["<img>", "</img>"],
            Self::Whole(_) => ["<|vision_start|>", "<|vision_end|>"],
        }
    }

    /// Returns the number of values per embedding.
    pub fn width(&self) -> usize {
        match self {
            Self::Tiles { encoder, .. } => encoder.width(),
            Self::Whole(reader) => reader.encoder.width(),
        }
    }

    /// Returns a hash of everything that the embeddings of an input depend on.
    pub fn fingerprint(&self) -> [u8; 32] {
        match self {
            Self::Tiles { encoder, .. } => encoder.fingerprint(),
            Self::Whole(reader) => {
                let device = if reader.encoder.on_gpu() { "device" } else { "cpu" };
                fingerprint(reader.encoder.file(), &format!("llama.cpp whole {device}"))
            }
        }
    }

    /// Reads an image file.
    pub fn read(&self, path: &Path) -> Result<Input, EncodeError> {
        let image = image::load(path, &Limits::default())?;
        match self {
            Self::Tiles { tiling, .. } => Ok(Input::Tiles(image::tiles(&image, tiling))),
            Self::Whole(reader) => reader.resize(&image, path).map(Input::Whole),
        }
    }

    /// Returns the grid of an input's tokens; `None` for tiles.
    pub fn grid(&self, input: &Input) -> Option<Grid> {
        match (self, input) {
            (Self::Whole(reader), Input::Whole(image)) => {
                let side = reader.encoder.token_size();
                Some(Grid { columns: image.width / side, rows: image.height / side })
            }
            _ => None,
        }
    }

    /// Returns the number of values of an input's embeddings.
    pub fn values(&self, input: &Input) -> usize {
        let tokens = match (self, input) {
            (Self::Tiles { encoder, .. }, Input::Tiles(tiles)) => tiles.len() * encoder.tokens_per_tile(),
            _ => self.grid(input).map_or(0, |grid| grid.columns * grid.rows),
        };
        tokens * self.width()
    }

    /// Returns the embeddings of an input that this reader made.
    pub fn encode(&self, input: &Input) -> Result<Vec<f32>, VisionError> {
        match (self, input) {
            (Self::Tiles { encoder, .. }, Input::Tiles(tiles)) => encoder.encode(tiles),
            (Self::Whole(reader), Input::Whole(image)) => {
                Ok(reader.encoder.encode(&image.data, image.width, image.height)?.0)
            }
            _ => unreachable!("inputs are those of the same reader"),
        }
    }
}

impl Input {
    /// Returns a hash of the pixels and their arrangement.
    pub fn content_hash(&self) -> [u8; 32] {
        match self {
            Self::Tiles(tiles) => image::content_hash(tiles),
            Self::Whole(image) => whole_hash(image),
        }
    }
}

impl WholeReader {
    /// Attention to all patches takes memory for each pair of them, so that images have fewer tokens here than the model's own code
    /// permits, unless the options ask for more.
    fn open(path: &Path, model: &Arc<Model>, options: &PromptEncoderOptions) -> Result<Self, EngineError> {
        let file = GgufFile::open_outline(path)?;
        let token_size = 2 * file.get_u32("clip.vision.patch_size")?.min(4096) as usize;
        let token = token_size * token_size;
        let number = |key: &str| model.file().get_u32(&format!("mmprm.image.{key}")).ok().map(|number| number as usize);
        let [least, most] = TOKENS.map(|tokens| tokens * token);
        let model_max_pixels = number("max_pixels").unwrap_or(most).max(token);
        let limit = match options.max_tiles {
            None => QwenEncoder::DEFAULT_MAX_TOKENS * token,
            Some(tiles) => {
                let max = TOKENS[1] * token / (TILE_SIZE * TILE_SIZE);
                if !(1..=max).contains(&tiles) {
                    return Err(EngineError::out_of_range("max_tiles", tiles as i64, 1, max as i64));
                }
                (tiles * TILE_SIZE * TILE_SIZE).max(token)
            }
        };
        let max_pixels = model_max_pixels.min(limit);
        let min_pixels = number("min_pixels").unwrap_or(least).min(max_pixels);
        let sizing = Sizing { token_size, min_pixels, max_pixels };
        let encoder = QwenEncoder::load(path, model, sizing.max_tokens(), options.threads, options.gpu)?;
        Ok(Self { encoder, sizing, model_max_pixels, warned: AtomicBool::new(false) })
    }

    fn resize(&self, image: &Rgb8, path: &Path) -> Result<Rgb8, EncodeError> {
        let narrow = |source| ImageError::TooNarrow { path: path.to_owned(), source };
        let resized = self.sizing.apply(image).map_err(narrow)?;
        let own = Sizing { max_pixels: self.model_max_pixels, ..self.sizing };
        let (width, height) = own.size(image.width, image.height).map_err(narrow)?;
        if (width, height) != (resized.width, resized.height) && !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "{}: resized to {}×{} pixels, which the model's own code would read at {width}×{height}, as may other images: \
                 larger ones are only read with a larger maximum number of tiles",
                path.display(),
                resized.width,
                resized.height,
            );
        }
        Ok(resized)
    }
}

/// Returns the SHA-256 of an image that is read whole, and of its size.
fn whole_hash(image: &Rgb8) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for side in [image.width, image.height] {
        hasher.update((side as u64).to_le_bytes());
    }
    hasher.update(&image.data);
    hasher.finalize().into()
}
