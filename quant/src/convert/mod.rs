//! Converts a Hugging Face checkpoint directory to GGUF: the language model, and the vision tower
//! as an `mmproj` file.
//!
//! [`plan`] reads the configuration, tokenizer and tensor headers and lists exactly what would be
//! written: names, shapes, types, bytes, metadata. [`ConversionPlan::write`] then streams the
//! tensors, a few megabytes at a time. The files equal those of llama.cpp's own converter except
//! for documented differences (tests compare); block formats other than `Q8_0` are written by
//! [`crate::quantize`].
//!
//! ```
//! # let folder = tempfile::tempdir()?;
//! # let checkpoint = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo/checkpoints/mini-mm-policy");
//! # let output = folder.path();
//! use mmprm_quant::convert::{ConvertOptions, WeightType, plan};
//! use mmprm_quant::progress::no_progress;
//! let plan = plan(&checkpoint, output, &ConvertOptions::new(WeightType::F16))?;
//! for file in &plan.files {
//!     println!("{}: {} tensors, {} bytes", file.path.display(), file.tensors.len(), file.data_size());
//! }
//! plan.write(&mut no_progress)?;
//! assert!(output.join("mini-mm-policy-f16.gguf").exists() && output.join("mmproj-mini-mm-policy-f16.gguf").exists());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod adapter;
mod base;
mod error;
mod head;
mod language;
mod loadable;
mod mapper;
mod metadata;
mod names;
mod options;
mod pair;
mod planned;
mod qwen;
mod rows;
mod stream;
mod vision;

pub use crate::hf::config::{DYNAMIC_ROPE, WINDOW};
pub use error::ConvertError;
pub(crate) use metadata::{
    GeneralInfo, QUANTIZATION_VERSION, language as language_metadata, vision as vision_metadata,
};
pub use options::{ConvertOptions, WeightType};
pub use pair::PAIR_KEY;
pub use planned::{PlannedFile, PlannedTensor};

use std::path::Path;

use names::Names;

use crate::atomic::put_in_place;
use crate::gguf::{GgufError, GgufValue, Metadata, TensorSpec};
use crate::hf::config::{ModelConfig, ScoringHead, VisionNorm};
use crate::hf::origin::{self, FORM_KEY, Origin, TEMPLATE_KEY, Task};
use crate::hf::source::Source;
use crate::hf::vocabulary::{Tokenizer, Vocabulary};
use crate::progress::ProgressFn;
use crate::safetensors::Checkpoint;

/// A conversion before anything is written, with the open checkpoint.
#[derive(Debug)]
pub struct ConversionPlan {
    /// The files: the language model, then the vision tower if the checkpoint has one.
    pub files: Vec<PlannedFile>,
    /// Notes for the user: where llama.cpp computes something else than the checkpoint's own code.
    pub notes: Vec<String>,
    checkpoint: Checkpoint,
}

/// Plans the conversion of a checkpoint directory into `<name>-<type>.gguf` and
/// `mmproj-<name>-<type>.gguf` in `output`, where `<name>` is the directory's name. Nothing is
/// written.
///
/// # Errors
/// [`ConvertError`] with the file and the key, token or tensor that is missing, invalid or not
/// supported.
pub fn plan(checkpoint: &Path, output: &Path, options: &ConvertOptions) -> Result<ConversionPlan, ConvertError> {
    let (config, unknown) = ModelConfig::read_noting(&checkpoint.join("config.json"))?;
    let name = planned::model_name(checkpoint)?;
    let tensors = Checkpoint::open(checkpoint)?;
    let names = Names::of(config.names, Some(&tensors));
    // Shapes before the tokenizer: a wrong vocabulary size is found before anything is allocated
    // for it.
    let language_tensors = language::map(Some(&tensors), checkpoint, names, &config.language, options.weight_type)?;
    let vocabulary = Vocabulary::read(checkpoint, &config.language)?;
    let mut files = Vec::new();
    let info = |weight_type: WeightType, tensors: &[PlannedTensor]| GeneralInfo {
        name: &name,
        file_type: weight_type.file_type(),
        parameters: tensors.iter().map(PlannedTensor::elements).sum(),
    };
    let mut metadata =
        metadata::language(info(options.weight_type, &language_tensors), &config, metadata::tokenizer(&vocabulary));
    let source = Source::read(checkpoint)?;
    metadata.extend(source.metadata());
    let mut notes = notes(&config, &vocabulary, &unknown);
    let head = match head::kind(&config, &tensors) {
        None => None,
        Some(kind) => Some(head::read(&tensors, checkpoint, kind, config.language.hidden)?),
    };
    metadata.extend(head.iter().flat_map(|read| read.head.metadata()));
    if let Some(origin) = Origin::read(checkpoint)? {
        add_origin(&mut metadata, &origin, options, checkpoint, &mut notes)?;
    }
    let id = || (PAIR_KEY.to_owned(), GgufValue::String(pair::id(&tensors, names)));
    let pair = config.is_multimodal().then(id);
    metadata.extend(pair.clone());
    metadata.extend(options.metadata.iter().cloned());
    let path = output.join(format!("{name}-{}.gguf", options.weight_type.name()));
    files.push(PlannedFile { path, metadata, tensors: language_tensors });
    let width = config.language.hidden;
    let mmproj = match (&config.vision, &config.qwen_vision) {
        (Some(vision), _) => {
            let tensors = vision::map(Some(&tensors), checkpoint, names, vision, width, options.vision_type)?;
            Some((metadata::vision(info(options.vision_type, &tensors), vision, width), tensors))
        }
        (None, Some(vision)) => {
            let tensors = qwen::map(Some(&tensors), checkpoint, names, vision, width, options.vision_type)?;
            Some((metadata::qwen_vision(info(options.vision_type, &tensors), vision, width), tensors))
        }
        (None, None) => None,
    };
    if let Some((mut metadata, tensors)) = mmproj {
        metadata.extend(pair);
        let path = output.join(format!("mmproj-{name}-{}.gguf", options.vision_type.name()));
        files.push(PlannedFile { path, metadata, tensors });
    }
    mapper::check_all_used(&tensors, &files, names, head.as_ref().map_or(&[], |read| &read.tensors))?;
    loadable::check(&files, checkpoint)?;
    Ok(ConversionPlan { files, notes, checkpoint: tensors })
}

/// What a checkpoint is, before it is converted: by this the form is chosen in which a reward model
/// reads solutions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Its class and name.
    pub source: Source,
    /// The head that scores positions, if it has one.
    pub head: Option<ScoringHead>,
    /// Whether it reads images.
    pub is_multimodal: bool,
}

/// Reads what a checkpoint directory is, from its configuration and the names of its tensors.
///
/// # Errors
/// [`ConvertError`] with the file and key or tensor that is missing, invalid or not supported.
pub fn facts(checkpoint: &Path) -> Result<Facts, ConvertError> {
    let config = ModelConfig::read(checkpoint)?;
    let tensors = Checkpoint::open(checkpoint)?;
    let head = head::kind(&config, &tensors);
    Ok(Facts { source: Source::read(checkpoint)?, head, is_multimodal: config.is_multimodal() })
}

/// The tensors of a converted checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Tensors of the language model.
    pub language: Vec<TensorSpec>,
    /// Tensors of the vision tower and projector; empty for a text model.
    pub vision: Vec<TensorSpec>,
}

/// Lists the tensors that [`plan`] would plan for a checkpoint of this configuration, without a
/// checkpoint.
///
/// # Errors
/// [`ConvertError::TooLarge`] for a tensor of 2^63 bytes or more.
pub fn layout(config: &ModelConfig, weight_type: WeightType) -> Result<Layout, ConvertError> {
    let specs = |tensors: Vec<PlannedTensor>| tensors.into_iter().map(|tensor| tensor.spec).collect();
    let directory = Path::new("the configuration");
    let names = Names::of(config.names, None);
    let language = specs(language::map(None, directory, names, &config.language, weight_type)?);
    let width = config.language.hidden;
    let vision = match (&config.vision, &config.qwen_vision) {
        (Some(vision), _) => specs(vision::map(None, directory, names, vision, width, weight_type)?),
        (None, Some(vision)) => specs(qwen::map(None, directory, names, vision, width, weight_type)?),
        (None, None) => Vec::new(),
    };
    Ok(Layout { language, vision })
}

impl ConversionPlan {
    /// Writes the files; they appear at their paths when all are complete. An earlier language model
    /// is removed before the first new file appears, and the new one comes last: also after a crash
    /// no language model of one conversion is beside the vision tower of another.
    ///
    /// Uses rayon's current pool; besides the pages of the tensor being read, memory use is a few
    /// tens of megabytes.
    ///
    /// # Errors
    /// [`ConvertError`] with the file and tensor; [`ConvertError::Cancelled`] if `on_progress`
    /// breaks. Unfinished files are removed.
    pub fn write(&self, on_progress: &mut ProgressFn<'_>) -> Result<(), ConvertError> {
        let total = self.files.iter().map(PlannedFile::data_size).sum();
        let mut stream = stream::Stream::new(&self.checkpoint, total, on_progress);
        let mut complete: Vec<_> = self.files.iter().map(|file| stream.write(file)).collect::<Result<_, _>>()?;
        complete.reverse();
        put_in_place(complete).map_err(|source| GgufError::Write { source }.into())
    }
}

/// Adds what the checkpoint was trained for, but for what the options say themselves.
fn add_origin(
    metadata: &mut Metadata,
    origin: &Origin,
    options: &ConvertOptions,
    checkpoint: &Path,
    notes: &mut Vec<String>,
) -> Result<(), ConvertError> {
    let is_form = |key: &str| [FORM_KEY, TEMPLATE_KEY].contains(&key);
    let is_given = options.metadata.iter().any(|(key, _)| is_form(key));
    if is_given && origin.task == Task::Policy {
        return Err(ConvertError::Policy { path: checkpoint.join(origin::FILE) });
    }
    for (key, value) in origin.metadata() {
        let given = options.metadata.iter().find(|(other, _)| *other == key);
        if is_given && is_form(&key) {
            if given.is_none_or(|(_, given)| *given != value) {
                notes.push(format!(
                    "the PRM form is the given one, not that of its training ({key} in {})",
                    origin::FILE
                ));
            }
            continue;
        }
        match given {
            None => metadata.push((key, value)),
            Some((_, other)) if *other != value => {
                notes.push(format!("{key} is {other} as given, and the checkpoint was trained with {value}"));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

fn notes(config: &ModelConfig, vocabulary: &Vocabulary, unknown: &[String]) -> Vec<String> {
    let mut notes = Vec::new();
    if !unknown.is_empty() {
        notes.push(format!("keys of the configuration that are unknown and ignored: {}", unknown.join(", ")));
    }
    if let Some(window) = config.language.window {
        notes.push(format!(
            "this model attends to the last {window} tokens, llama.cpp to all: prompts of more tokens are refused"
        ));
    }
    if let Some(vision) = &config.vision {
        // clip.cpp has no key for the kind of norm: it recognises the 6B tower by its size.
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
    if let Tokenizer::SentencePiece { remove_extra_whitespaces: true, .. } = vocabulary.tokenizer {
        notes.push(
            "llama.cpp does not collapse runs of spaces as this tokenizer does: such texts are tokenised differently"
                .to_owned(),
        );
    }
    notes
}
