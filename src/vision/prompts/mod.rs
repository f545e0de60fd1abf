//! Prompts with images: text pieces and image files become a prompt that the engine can run.
//!
//! Loads and tiles images, encodes the tiles, keeps recent embeddings in memory, and tokenises the
//! text. The wording of the text is left to `prompt`; running prompts is left to `policy`, `prm`
//! and `judge`.
//!
//! ```no_run
//! use mmprm::engine::{Model, ModelOptions};
//! use mmprm::prompt::{Images, rollout};
//! use mmprm::vision::prompts::{PromptEncoder, PromptEncoderOptions};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let model = Model::load("policy.gguf".as_ref(), ModelOptions::default())?;
//! let encoder = PromptEncoder::load(model, Some("mmproj.gguf".as_ref()), PromptEncoderOptions::default())?;
//! let pieces = rollout("What is the area of the figure?", &[], 1, Images::All);
//! let prompt = encoder.prompt(&pieces, &["figure.png".into()])?;
//! println!("{} positions", prompt.len());
//! # Ok(()) }
//! ```

mod error;
mod images;

pub use error::EncodeError;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::engine::{Chunk, Embeddings, EngineError, Model, Prompt, Token};
use crate::image::{Tiling, TilingError};
use crate::prompt::{Piece, Run};
use crate::vision::{self, DiskCache, EncoderChoice, VisionEncoder, VisionError};
use images::ImageEmbeddings;

/// Maximum tiles per image for models whose metadata has none: InternVL2.5's default.
const DEFAULT_MAX_TILES: usize = 12;

/// How to load a [`PromptEncoder`].
#[derive(Debug, Clone, Default)]
pub struct PromptEncoderOptions {
    /// Compute threads of the vision tower; `None` uses one per core.
    pub threads: Option<u32>,
    /// Whether the vision tower may use a GPU.
    pub gpu: bool,
    /// Maximum tiles per image; `None` uses the model's number.
    pub max_tiles: Option<usize>,
    /// Which encoder runs the vision tower.
    pub vision: EncoderChoice,
    /// Directory that caches embeddings between runs ([`DiskCache`]).
    pub vision_cache: Option<PathBuf>,
    /// Recognises special tokens that questions and solutions spell out, as MM-PRM's code does;
    /// otherwise they are text.
    pub reference_special_tokens: bool,
}

/// Makes prompts for a model.
#[derive(Debug)]
pub struct PromptEncoder {
    model: Arc<Model>,
    images: Option<ImageEmbeddings>,
    reference_special_tokens: bool,
}

impl PromptEncoder {
    /// Loads the vision projector of `model`, if one is given.
    ///
    /// # Errors
    /// [`VisionError`] for a projector that cannot be used, or a cache directory that cannot be
    /// written to.
    pub fn load(model: Arc<Model>, mmproj: Option<&Path>, options: PromptEncoderOptions) -> Result<Self, VisionError> {
        let reference_special_tokens = options.reference_special_tokens;
        let Some(path) = mmproj else { return Ok(Self { model, images: None, reference_special_tokens }) };
        let encoder = vision::open(path, &model, options.vision, options.threads, options.gpu)?;
        let tiling = tiling(&model, encoder.as_ref(), options.max_tiles)
            .map_err(|error| EngineError::Load { path: model.path().to_owned(), cause: error.to_string() })?;
        let cache = options.vision_cache.map(|path| {
            let cache = DiskCache::new(path.clone(), encoder.fingerprint());
            let ready = cache.prepare().map(|()| cache);
            ready.map_err(|source| VisionError::Cache { path, source: Arc::new(source) })
        });
        let images = Some(ImageEmbeddings::new(encoder, tiling, cache.transpose()?));
        Ok(Self { model, images, reference_special_tokens })
    }

    /// Returns whether special tokens that questions and solutions spell out are recognised.
    pub fn has_reference_special_tokens(&self) -> bool {
        self.reference_special_tokens
    }

    /// Returns an empty run of text for the model.
    pub(crate) fn run(&self) -> Run {
        Run::new(self.reference_special_tokens)
    }

    /// Returns the model.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Returns how images are tiled; `None` without a vision projector.
    pub fn tiling(&self) -> Option<&Tiling> {
        self.images.as_ref().map(ImageEmbeddings::tiling)
    }

    /// Returns the prompt of `pieces`, whose images are indices into `images`. Puts each image
    /// between `<img>` and `</img>`, and the model's first token (`<s>`), if it has one, at the
    /// start.
    ///
    /// # Errors
    /// [`EncodeError`].
    pub fn prompt(&self, pieces: &[Piece], images: &[PathBuf]) -> Result<Prompt, EncodeError> {
        self.prompt_then(pieces, images, &[])
    }

    /// Returns the prompt of `pieces`, followed by the tokens `then`.
    ///
    /// # Errors
    /// [`EncodeError`].
    pub fn prompt_then(&self, pieces: &[Piece], images: &[PathBuf], then: &[Token]) -> Result<Prompt, EncodeError> {
        let mut chunks = Vec::new();
        let mut run = self.run();
        let mut first = true;
        let mut flush = |run: &mut Run, chunks: &mut Vec<Chunk>| -> Result<(), EncodeError> {
            if !run.is_empty() {
                chunks.push(Chunk::Tokens(self.model.tokenize_run(run, std::mem::take(&mut first))?));
                run.clear();
            }
            Ok(())
        };
        for piece in pieces {
            match piece {
                Piece::Text(more) => run.template(more),
                Piece::Plain(more) => run.plain(more),
                Piece::Image(index) => {
                    let missing = EncodeError::NoImage { number: index + 1, count: images.len() };
                    let image = images.get(*index).ok_or(missing)?;
                    run.template("<img>");
                    flush(&mut run, &mut chunks)?;
                    chunks.push(Chunk::Image(self.image(image)?));
                    run.template("</img>");
                }
            }
        }
        flush(&mut run, &mut chunks)?;
        chunks.push(Chunk::Tokens(then.to_vec()));
        Ok(Prompt::new(chunks)?)
    }

    /// Returns the embeddings of an image file, `[tiles · tokens_per_tile, width]`, from memory if
    /// it was used recently.
    ///
    /// # Errors
    /// [`EncodeError`]; a failure is kept too, and returned again.
    pub fn image(&self, path: &Path) -> Result<Arc<Embeddings>, EncodeError> {
        self.images.as_ref().ok_or(EncodeError::NoVision)?.get(path)
    }
}

/// Returns the model's tiling, from the metadata that `mmprm convert` writes.
fn tiling(model: &Model, encoder: &dyn VisionEncoder, max_tiles: Option<usize>) -> Result<Tiling, TilingError> {
    let number = |key: &str| model.file().get_u32(&format!("mmprm.image.{key}")).ok().map(|number| number as usize);
    Tiling::new(
        encoder.tile_size(),
        number("min_tiles").unwrap_or(1),
        max_tiles.or_else(|| number("max_tiles")).unwrap_or(DEFAULT_MAX_TILES),
        model.file().get_bool("mmprm.image.use_thumbnail").unwrap_or(true),
    )
}
