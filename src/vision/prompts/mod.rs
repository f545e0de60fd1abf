//! From text pieces and image files to a prompt the engine can run.
//!
//! Decodes and tiles images, has tiles encoded (`vision`), keeps the embeddings of recent images, tokenises the text
//! around them. What the text says is `prompt`'s business; what to do with the prompt is that of `policy` and `reward`.

mod images;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::engine::{Chunk, Embeddings, EngineError, Model, Prompt, Token};
use crate::image::{ImageError, Tiling, TilingError};
use crate::prompt::Piece;
use crate::vision::{self, DiskCache, EncoderChoice, VisionEncoder, VisionError};
use images::Images;

/// Tiling of a model whose files do not say: InternVL2.5's own defaults.
const DEFAULT_MAX_TILES: usize = 12;

/// Why a prompt could not be made.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// An image is missing, broken, too large, or outside the data root.
    #[error(transparent)]
    Image(Arc<ImageError>),
    /// There is an image but no vision projector.
    #[error("the problem has an image but the model is text-only here; give its vision projector with --mmproj")]
    NoVision,
    /// The text asks for an image that the problem does not have.
    #[error("the text refers to image {number} but there are {count}")]
    NoImage {
        /// Which, from 1.
        number: usize,
        /// How many there are.
        count: usize,
    },
    /// The engine refused.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The vision encoder failed.
    #[error(transparent)]
    Vision(#[from] VisionError),
}

impl From<ImageError> for EncodeError {
    fn from(error: ImageError) -> Self {
        Self::Image(Arc::new(error))
    }
}

/// How to load an [`Encoder`].
#[derive(Debug, Clone, Default)]
pub struct EncoderOptions {
    /// Compute threads; `None` takes one a core.
    pub threads: Option<u32>,
    /// Whether the vision tower may use a GPU.
    pub gpu: bool,
    /// Most tiles an image is cut into, instead of the model's own number.
    pub max_tiles: Option<usize>,
    /// Which encoder runs the vision tower.
    pub vision: EncoderChoice,
    /// A folder to keep embeddings in from run to run ([`DiskCache`]).
    pub vision_cache: Option<PathBuf>,
}

/// Makes prompts for one model.
#[derive(Debug)]
pub struct Encoder {
    model: Arc<Model>,
    images: Option<Images>,
}

impl Encoder {
    /// Loads the vision projector for `model`, if there is one.
    ///
    /// # Errors
    /// [`VisionError`] for a file that cannot be used, or a folder that nothing can be kept in.
    pub fn load(model: Arc<Model>, mmproj: Option<&Path>, options: EncoderOptions) -> Result<Self, VisionError> {
        let Some(path) = mmproj else { return Ok(Self { model, images: None }) };
        let encoder = vision::open(path, &model, options.vision, options.threads, options.gpu)?;
        let tiling = tiling(&model, encoder.as_ref(), options.max_tiles)
            .map_err(|error| EngineError::Load { path: model.path().to_owned(), cause: error.to_string() })?;
        let cache = options.vision_cache.map(|path| {
            let cache = DiskCache::new(path.clone(), encoder.fingerprint());
            let ready = cache.prepare().map(|()| cache);
            ready.map_err(|source| VisionError::Cache { path, source: Arc::new(source) })
        });
        Ok(Self { model, images: Some(Images::new(encoder, tiling, cache.transpose()?)) })
    }

    /// The model it makes prompts for.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// How images are tiled; `None` without a vision projector.
    pub fn tiling(&self) -> Option<&Tiling> {
        self.images.as_ref().map(Images::tiling)
    }

    /// The prompt of `pieces`, whose images are numbered into `images`. Each image stands between `<img>` and `</img>`,
    /// and the model's own first token (`<s>`) is added where it wants one.
    ///
    /// # Errors
    /// [`EncodeError`].
    pub fn prompt(&self, pieces: &[Piece], images: &[PathBuf]) -> Result<Prompt, EncodeError> {
        self.prompt_then(pieces, images, &[])
    }

    /// The prompt of `pieces`, and behind it tokens as they are.
    ///
    /// # Errors
    /// [`EncodeError`].
    pub fn prompt_then(&self, pieces: &[Piece], images: &[PathBuf], then: &[Token]) -> Result<Prompt, EncodeError> {
        let mut chunks = Vec::new();
        let mut text = String::new();
        let mut first = true;
        let mut flush = |text: &mut String, chunks: &mut Vec<Chunk>| -> Result<(), EngineError> {
            if !text.is_empty() {
                chunks.push(Chunk::Tokens(self.model.tokenize(text, std::mem::take(&mut first))?));
                text.clear();
            }
            Ok(())
        };
        for piece in pieces {
            match piece {
                Piece::Text(more) => text.push_str(more),
                Piece::Image(index) => {
                    let missing = EncodeError::NoImage { number: index + 1, count: images.len() };
                    let image = images.get(*index).ok_or(missing)?;
                    text.push_str("<img>");
                    flush(&mut text, &mut chunks)?;
                    chunks.push(Chunk::Image(self.image(image)?));
                    text.push_str("</img>");
                }
            }
        }
        flush(&mut text, &mut chunks)?;
        chunks.push(Chunk::Tokens(then.to_vec()));
        Ok(Prompt::new(chunks)?)
    }

    /// The embeddings of an image file, `[tiles × tokens_per_tile, width]`, from memory if it was seen recently.
    ///
    /// # Errors
    /// [`EncodeError`]; the same error again while the failure is remembered.
    pub fn image(&self, path: &Path) -> Result<Arc<Embeddings>, EncodeError> {
        self.images.as_ref().ok_or(EncodeError::NoVision)?.get(path)
    }
}

/// The model's own tiling, from the metadata that `mmprm convert` writes.
fn tiling(model: &Model, encoder: &dyn VisionEncoder, max_tiles: Option<usize>) -> Result<Tiling, TilingError> {
    let number = |key: &str| model.file().get_u32(&format!("mmprm.image.{key}")).ok().map(|number| number as usize);
    Tiling::new(
        encoder.tile_size(),
        number("min_tiles").unwrap_or(1),
        max_tiles.or_else(|| number("max_tiles")).unwrap_or(DEFAULT_MAX_TILES),
        model.file().get_bool("mmprm.image.use_thumbnail").unwrap_or(true),
    )
}
