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
mod reader;
mod writer;

pub use error::EncodeError;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::engine::{Embeddings, Model, Prompt, Specials, Token, TokenizeError};
use crate::image::Tiling;
use crate::prompt::{Layout, Piece, Run};
use crate::vision::{DiskCache, EncoderChoice, VisionError};
use images::ImageEmbeddings;
use reader::ImageReader;
use writer::Writer;

/// How to load a [`PromptEncoder`].
#[derive(Debug, Clone, Default)]
pub struct PromptEncoderOptions {
    /// Compute threads of the vision tower; `None` uses one per core.
    pub threads: Option<u32>,
    /// Whether the vision tower may use a GPU.
    pub gpu: bool,
    /// Maximum tiles per image; `None` uses the model's number. Models that read images whole (`Qwen-VL`) read no more pixels than
    /// as many tiles of 448 × 448 have; `None` permits 1280 tokens.
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
    /// Special tokens beside the model's own that plain text must not forge.
    specials: Option<Specials>,
}

impl PromptEncoder {
    /// Loads the vision projector of `model`, if one is given.
    ///
    /// # Errors
    /// [`VisionError`] for a projector that cannot be used, or a cache directory that cannot be
    /// written to.
    pub fn load(model: Arc<Model>, mmproj: Option<&Path>, options: PromptEncoderOptions) -> Result<Self, VisionError> {
        let reference_special_tokens = options.reference_special_tokens;
        let specials = None;
        let Some(path) = mmproj else { return Ok(Self { model, images: None, reference_special_tokens, specials }) };
        let reader = ImageReader::open(path, &model, &options)?;
        let cache = options.vision_cache.map(|path| {
            let cache = DiskCache::new(path.clone(), reader.fingerprint());
            let ready = cache.prepare().map(|()| cache);
            ready.map_err(|source| VisionError::Cache { path, source: Arc::new(source) })
        });
        let images = Some(ImageEmbeddings::new(reader, cache.transpose()?));
        Ok(Self { model, images, reference_special_tokens, specials })
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

    /// Returns how images are tiled; `None` without a vision projector, or if images are read whole.
    pub fn tiling(&self) -> Option<&Tiling> {
        self.images.as_ref().and_then(|images| images.reader().tiling())
    }

    /// Returns what stands before and after an image in a prompt.
    pub(crate) fn image_marks(&self) -> Result<[&'static str; 2], EncodeError> {
        Ok(self.images.as_ref().ok_or(EncodeError::NoVision)?.reader().marks())
    }

    /// Returns the prompt of `pieces`, whose images are indices into `images`. Puts each image
    /// between the model's marks (`<img>` and `</img>`, of Qwen-VL `<|vision_start|>` and `<|vision_end|>`), and the model's first token (`<s>`), if it has one, at the
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
        let mut writer = Writer::new(self, images);
        pieces.iter().try_for_each(|piece| writer.piece(piece))?;
        writer.finish(then).map(|(prompt, _)| prompt)
    }

    /// Returns the prompt of a text in a PRM's form, followed by the tokens `then`, and the position at which each of its scores is
    /// read; the prompt is marked there.
    ///
    /// # Errors
    /// [`EncodeError`]; [`EncodeError::Spanned`] where a token reaches across such a place.
    pub(crate) fn layout(
        &self,
        layout: &Layout,
        images: &[PathBuf],
        then: &[Token],
    ) -> Result<(Prompt, Vec<usize>), EncodeError> {
        let mut writer = Writer::new(self, images);
        if layout.bos {
            writer.bos()?;
        }
        let (mut reads, mut cuts) = (layout.reads.iter().peekable(), layout.cuts.iter().peekable());
        for index in 0..=layout.pieces.len() {
            while reads.next_if_eq(&&index).is_some() {
                writer.read();
            }
            while cuts.next_if_eq(&&index).is_some() {
                writer.flush()?;
            }
            if let Some(piece) = layout.pieces.get(index) {
                writer.piece(piece)?;
            }
        }
        let (prompt, positions) = writer.finish(then)?;
        Ok((prompt.marked(positions.clone())?, positions))
    }

    /// Keeps plain text from forging `marks`, where the vocabulary has them as tokens that are always found.
    pub(crate) fn guard(&mut self, marks: &[String]) {
        self.specials = Some(self.model.specials_with(marks));
    }

    /// Splits a run into tokens.
    pub(crate) fn tokenize(&self, run: &Run, first: bool) -> Result<Vec<Token>, TokenizeError> {
        match &self.specials {
            Some(specials) => self.model.tokenize_guarded(run, first, specials),
            None => self.model.tokenize_run(run, first),
        }
    }

    /// Returns the embeddings of an image file, `[tokens, width]`, from memory if
    /// it was used recently.
    ///
    /// # Errors
    /// [`EncodeError`]; a failure is kept too, and returned again.
    pub fn image(&self, path: &Path) -> Result<Arc<Embeddings>, EncodeError> {
        self.images.as_ref().ok_or(EncodeError::NoVision)?.get(path)
    }
}
