//! A Hugging Face checkpoint directory becomes GGUF: the language model, and its vision tower as an `mmproj` file.
//!
//! [`plan`] reads the configuration, tokenizer and tensor headers and says exactly what would be written: names, shapes,
//! types, bytes, metadata. [`ConversionPlan::write`] then streams the tensors, a few megabytes at a time. Files follow
//! what llama.cpp's own converter writes (tests compare); block formats beyond `Q8_0` are left to [`crate::quantize`].
//!
//! ```no_run
//! use std::path::Path;
//! use mmprm_quant::convert::{ConvertOptions, WeightType, plan};
//! use mmprm_quant::progress::unwatched;
//! let options = ConvertOptions::new(WeightType::F16);
//! let plan = plan(Path::new("InternVL2_5-8B"), Path::new("models"), &options)?;
//! for file in &plan.files {
//!     println!("{}: {} tensors, {} bytes", file.path.display(), file.tensors.len(), file.data_size());
//! }
//! plan.write(&mut unwatched)?;
//! # Ok::<(), mmprm_quant::convert::ConvertError>(())
//! ```

pub mod adapter;
mod error;
mod language;
mod mapper;
mod metadata;
mod rows;
mod stream;
mod vision;

pub use error::ConvertError;
pub use mapper::PlannedTensor;
pub(crate) use metadata::{About, QUANTIZATION_VERSION, language as language_metadata, vision as vision_metadata};

use std::path::{Path, PathBuf};

use crate::blocks::GgmlType;
use crate::gguf::{GgufValue, Metadata, TensorSpec};
use crate::hf::config::{ModelConfig, VisionNorm};
use crate::hf::vocabulary::{Tokenizer, Vocabulary};
use crate::progress::Watch;
use crate::safetensors::Checkpoint;

/// Types that weights are converted to without a recipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightType {
    /// 32-bit floats.
    F32,
    /// 16-bit IEEE floats.
    F16,
    /// bfloat16, which most checkpoints are stored in.
    Bf16,
    /// 8-bit blocks of 32.
    Q8_0,
}

impl WeightType {
    /// The name in file names and on command lines.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Q8_0 => "q8_0",
        }
    }

    pub(crate) fn ggml_type(self) -> GgmlType {
        match self {
            Self::F32 => GgmlType::F32,
            Self::F16 => GgmlType::F16,
            Self::Bf16 => GgmlType::BF16,
            Self::Q8_0 => GgmlType::Q8_0,
        }
    }

    /// The value of `general.file_type` (llama.cpp's `llama_ftype`).
    pub(crate) fn file_type(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q8_0 => 7,
            Self::Bf16 => 32,
        }
    }
}

/// What to convert to.
#[derive(Debug, Clone, PartialEq)]
pub struct ConvertOptions {
    /// Type of the language model's matrices.
    pub weight_type: WeightType,
    /// Type of the vision tower's matrices.
    pub vision_type: WeightType,
    /// Further metadata for the language model's file (`mmprm.*`).
    pub metadata: Metadata,
}

impl ConvertOptions {
    /// Options for a type, without further metadata. The vision tower is small and sensitive, so `Q8_0` leaves it at
    /// `F16`.
    pub fn new(weight_type: WeightType) -> Self {
        let vision_type = if weight_type == WeightType::Q8_0 { WeightType::F16 } else { weight_type };
        Self { weight_type, vision_type, metadata: Vec::new() }
    }
}

/// A GGUF file that is going to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedFile {
    /// Where.
    pub path: PathBuf,
    /// Its metadata.
    pub metadata: Metadata,
    /// Its tensors, in file order.
    pub tensors: Vec<PlannedTensor>,
}

impl PlannedFile {
    /// Bytes of all tensors, without padding.
    pub fn data_size(&self) -> u64 {
        self.tensors.iter().map(PlannedTensor::size).sum()
    }
}

/// What a conversion would write, and the open checkpoint to write it from.
#[derive(Debug)]
pub struct ConversionPlan {
    /// The files: the language model, then the vision tower if there is one.
    pub files: Vec<PlannedFile>,
    /// What the user should know: where llama.cpp will compute something else than the checkpoint's own code.
    pub notes: Vec<String>,
    checkpoint: Checkpoint,
}

/// Plans the conversion of a checkpoint directory into `<name>-<type>.gguf` and `mmproj-<name>-<type>.gguf` in
/// `output`, where `<name>` is the directory's name. Nothing is written.
///
/// # Errors
/// [`ConvertError`] with the file and the key, token or tensor: what is missing, broken, or not supported.
pub fn plan(checkpoint: &Path, output: &Path, options: &ConvertOptions) -> Result<ConversionPlan, ConvertError> {
    let config = ModelConfig::read(checkpoint)?;
    let name = model_name(checkpoint)?;
    let tensors = Checkpoint::open(checkpoint)?;
    let multimodal = config.vision.is_some();
    let prefix = if multimodal { "language_model." } else { "" };
    // Shapes before the tokenizer: a lying vocabulary size is found before anything is allocated for it.
    let language_tensors = language::map(Some(&tensors), checkpoint, prefix, &config.language, options.weight_type)?;
    let vocabulary = Vocabulary::read(checkpoint, &config.language)?;
    let mut files = Vec::new();
    let about = |weight_type: WeightType, tensors: &[PlannedTensor]| About {
        name: &name,
        file_type: weight_type.file_type(),
        parameters: tensors.iter().map(PlannedTensor::elements).sum(),
    };
    let mut metadata =
        metadata::language(about(options.weight_type, &language_tensors), &config, metadata::tokenizer(&vocabulary));
    metadata.extend(options.metadata.iter().cloned());
    let path = output.join(format!("{name}-{}.gguf", options.weight_type.name()));
    files.push(PlannedFile { path, metadata, tensors: language_tensors });
    if let Some(vision) = &config.vision {
        let tensors = vision::map(Some(&tensors), checkpoint, vision, config.language.hidden, options.vision_type)?;
        let metadata = metadata::vision(about(options.vision_type, &tensors), vision, config.language.hidden);
        let path = output.join(format!("mmproj-{name}-{}.gguf", options.vision_type.name()));
        files.push(PlannedFile { path, metadata, tensors });
    }
    mapper::check_all_used(&tensors, &files, multimodal)?;
    Ok(ConversionPlan { files, notes: notes(&config, &vocabulary), checkpoint: tensors })
}

/// The tensors that a checkpoint of some configuration becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Those of the language model.
    pub language: Vec<TensorSpec>,
    /// Those of the vision tower and projector; empty without them.
    pub vision: Vec<TensorSpec>,
}

/// What [`plan`] would plan for a checkpoint of this configuration, without one at hand.
///
/// # Errors
/// [`ConvertError::TooLarge`] for a tensor that no file could hold.
pub fn layout(config: &ModelConfig, weight_type: WeightType) -> Result<Layout, ConvertError> {
    let specs = |tensors: Vec<PlannedTensor>| tensors.into_iter().map(|tensor| tensor.spec).collect();
    let nowhere = Path::new("the configuration");
    let language = specs(language::map(None, nowhere, "", &config.language, weight_type)?);
    let vision = match &config.vision {
        Some(vision) => specs(vision::map(None, nowhere, vision, config.language.hidden, weight_type)?),
        None => Vec::new(),
    };
    Ok(Layout { language, vision })
}

impl ConversionPlan {
    /// Writes the files, each appearing under its name when it is complete.
    ///
    /// Uses rayon's current pool; beyond the pages of the tensor being read, memory use is a few tens of megabytes.
    ///
    /// # Errors
    /// [`ConvertError`] with the file and tensor; [`ConvertError::Cancelled`] if `watch` says so. A file that is not
    /// complete leaves nothing behind.
    pub fn write(&self, watch: &mut Watch<'_>) -> Result<(), ConvertError> {
        let total = self.files.iter().map(PlannedFile::data_size).sum();
        let mut stream = stream::Stream::new(&self.checkpoint, total, watch);
        self.files.iter().try_for_each(|file| stream.write(file))
    }
}

fn model_name(checkpoint: &Path) -> Result<String, ConvertError> {
    let absolute =
        checkpoint.canonicalize().map_err(|source| crate::hf::HfError::Read { path: checkpoint.to_owned(), source })?;
    match absolute.file_name() {
        Some(name) => Ok(name.to_string_lossy().into_owned()),
        None => Err(ConvertError::NoName { path: checkpoint.to_owned() }),
    }
}

fn notes(config: &ModelConfig, vocabulary: &Vocabulary) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(vision) = &config.vision {
        // clip.cpp has no key for the kind of norm: it knows the 6B tower by its size.
        let is_6b = (vision.hidden, vision.layers) == (3200, 45);
        if (vision.norm == VisionNorm::RmsNorm) != is_6b {
            notes.push(format!(
                "llama.cpp computes {} in a vision tower {} wide with {} layers, but this one has {}: its image \
                 embeddings will differ",
                if is_6b { "RMSNorm" } else { "LayerNorm" },
                vision.hidden,
                vision.layers,
                if is_6b { "LayerNorm" } else { "RMSNorm" },
            ));
        }
    }
    if config.language.sliding_window {
        notes.push("llama.cpp ignores this model's sliding attention window: texts beyond it will differ".to_owned());
    }
    if let Tokenizer::SentencePiece { remove_extra_whitespaces: true, .. } = vocabulary.tokenizer {
        notes.push(
            "llama.cpp does not shorten runs of spaces as this tokenizer does: such texts will differ".to_owned(),
        );
    }
    notes
}

/// A metadata entry.
fn entry(key: impl Into<String>, value: impl Into<GgufValue>) -> (String, GgufValue) {
    (key.into(), value.into())
}
