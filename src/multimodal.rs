//! From text pieces and picture files to a prompt the engine can run.
//!
//! Decodes and tiles pictures, encodes tiles, keeps the embeddings of recent pictures, tokenises the text around them. What
//! the text says is `prompt`'s business; what to do with the prompt is that of `policy` and `reward`.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::engine::{Chunk, Embeddings, EngineError, Model, Prompt, Token, Vision};
use crate::image::{self, ImageError, Limits, Tiling, TilingError};
use crate::prompt::Piece;

/// Memory that embeddings of pictures may take before the oldest go, in bytes.
const CACHE_BYTES: usize = 512 << 20;
/// Tiling of a model whose files do not say: InternVL2.5's own defaults.
const DEFAULT_MAX_TILES: usize = 12;

/// Why a prompt could not be made.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// A picture is missing, broken, too large, or outside the data root.
    #[error(transparent)]
    Image(Arc<ImageError>),
    /// There is a picture but no vision projector.
    #[error("the problem has a picture but the model is text-only here; give its vision projector with --mmproj")]
    NoVision,
    /// The text asks for a picture that the problem does not have.
    #[error("the text refers to picture {number} but there are {count}")]
    NoPicture {
        /// Which, from 1.
        number: usize,
        /// How many there are.
        count: usize,
    },
    /// The engine refused.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl From<ImageError> for EncodeError {
    fn from(error: ImageError) -> Self {
        Self::Image(Arc::new(error))
    }
}

/// How to load an [`Encoder`].
#[derive(Debug, Clone, Copy, Default)]
pub struct EncoderOptions {
    /// Compute threads; `None` takes one a core.
    pub threads: Option<u32>,
    /// Whether the vision tower may use a graphics device.
    pub gpu: bool,
    /// Most tiles a picture is cut into, instead of the model's own number.
    pub max_tiles: Option<usize>,
}

/// Makes prompts for one model.
#[derive(Debug)]
pub struct Encoder {
    model: Arc<Model>,
    vision: Option<(Vision, Tiling)>,
    pictures: Mutex<Pictures>,
}

/// A picture that is being encoded, or was: whoever asks second waits for the first.
type Slot = Arc<OnceLock<Result<Arc<Embeddings>, EncodeError>>>;

/// Recent pictures, oldest first.
#[derive(Debug, Default)]
struct Pictures {
    recent: VecDeque<(PathBuf, Slot)>,
}

impl Encoder {
    /// Loads the vision projector for `model`, if there is one.
    ///
    /// # Errors
    /// [`EngineError`] for a file that cannot be used.
    pub fn load(model: Arc<Model>, mmproj: Option<&Path>, options: EncoderOptions) -> Result<Self, EngineError> {
        let vision = match mmproj {
            None => None,
            Some(path) => {
                let vision = Vision::load(path, &model, options.threads, options.gpu)?;
                let tiling = tiling(&model, &vision, options.max_tiles)
                    .map_err(|error| EngineError::Load { path: model.path().to_owned(), cause: error.to_string() })?;
                Some((vision, tiling))
            }
        };
        Ok(Self { model, vision, pictures: Mutex::default() })
    }

    /// The model it makes prompts for.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// How pictures are tiled; `None` without a vision projector.
    pub fn tiling(&self) -> Option<&Tiling> {
        self.vision.as_ref().map(|(_, tiling)| tiling)
    }

    /// The prompt of `pieces`, whose images are numbered into `pictures`. Each image stands between `<img>` and `</img>`,
    /// and the model's own first token (`<s>`) is added where it wants one.
    ///
    /// # Errors
    /// [`EncodeError`].
    pub fn prompt(&self, pieces: &[Piece], pictures: &[PathBuf]) -> Result<Prompt, EncodeError> {
        self.prompt_then(pieces, pictures, &[])
    }

    /// The prompt of `pieces`, and behind it tokens as they are.
    ///
    /// # Errors
    /// [`EncodeError`].
    pub fn prompt_then(&self, pieces: &[Piece], pictures: &[PathBuf], then: &[Token]) -> Result<Prompt, EncodeError> {
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
                    let missing = EncodeError::NoPicture { number: index + 1, count: pictures.len() };
                    let picture = pictures.get(*index).ok_or(missing)?;
                    text.push_str("<img>");
                    flush(&mut text, &mut chunks)?;
                    chunks.push(Chunk::Image(self.picture(picture)?));
                    text.push_str("</img>");
                }
            }
        }
        flush(&mut text, &mut chunks)?;
        chunks.push(Chunk::Tokens(then.to_vec()));
        Ok(Prompt::new(chunks)?)
    }

    /// The embeddings of a picture file, `[tiles × tokens_per_tile, width]`, from memory if it was seen recently.
    ///
    /// # Errors
    /// [`EncodeError`]; the same error again while the failure is remembered.
    pub fn picture(&self, path: &Path) -> Result<Arc<Embeddings>, EncodeError> {
        let (vision, tiling) = self.vision.as_ref().ok_or(EncodeError::NoVision)?;
        let slot = self.pictures.lock().unwrap_or_else(PoisonError::into_inner).slot(path);
        slot.get_or_init(|| encode(path, vision, tiling, self.model.embedding_width()).map(Arc::new)).clone()
    }
}

impl Pictures {
    fn slot(&mut self, path: &Path) -> Slot {
        if let Some((_, slot)) = self.recent.iter().find(|(known, _)| known == path) {
            return Arc::clone(slot);
        }
        while self.bytes() > CACHE_BYTES {
            self.recent.pop_front();
        }
        let slot = Slot::default();
        self.recent.push_back((path.to_owned(), Arc::clone(&slot)));
        slot
    }

    fn bytes(&self) -> usize {
        let of = |slot: &Slot| match slot.get() {
            Some(Ok(embeddings)) => embeddings.values.len() * size_of::<f32>(),
            _ => 0,
        };
        self.recent.iter().map(|(_, slot)| of(slot)).sum()
    }
}

fn encode(path: &Path, vision: &Vision, tiling: &Tiling, width: usize) -> Result<Embeddings, EncodeError> {
    let tiles = image::tiles(&image::load(path, &Limits::default())?, tiling);
    let digest = image::content_hash(&tiles);
    let mut values = Vec::with_capacity(tiles.len() * vision.tokens_per_tile() * width);
    for tile in &tiles {
        values.extend(vision.encode(&tile.rgb)?);
    }
    let digest = u64::from_le_bytes(digest[..8].try_into().expect("a digest has 32 bytes"));
    Ok(Embeddings { values, width, digest })
}

/// The model's own tiling, from the metadata that `mmprm convert` writes.
fn tiling(model: &Model, vision: &Vision, max_tiles: Option<usize>) -> Result<Tiling, TilingError> {
    let number = |key: &str| model.file().get_u32(&format!("mmprm.image.{key}")).ok().map(|number| number as usize);
    Tiling::new(
        vision.tile_size(),
        number("min_tiles").unwrap_or(1),
        max_tiles.or_else(|| number("max_tiles")).unwrap_or(DEFAULT_MAX_TILES),
        model.file().get_bool("mmprm.image.use_thumbnail").unwrap_or(true),
    )
}
