//! GGUF pairs of real shapes with random weights: to measure speed and memory of models that are not at hand.
//!
//! [`plan`] says what would be written; [`SynthPlan::write`] streams it. The files have the names, shapes, types and metadata
//! that conversion and quantisation of a checkpoint of that shape would give, so that llama.cpp does the same work with them.
//! What they say means nothing. The vocabulary is that of another GGUF file, filled up with unused tokens to the size of the
//! shape: texts become as many tokens as they do there.
//!
//! Drawing and quantising billions of weights would take longer than reading them ever does. So of each matrix only a panel of
//! rows is drawn (uniform, scaled for its width so that activations neither vanish nor overflow), quantised by ggml's own
//! quantisers, and repeated in shuffled order. Norms are 1, biases 0. The same seed gives the same bytes on any number of
//! threads.
//!
//! ```no_run
//! use std::path::Path;
//! use mmprm_quant::gguf::GgufFile;
//! use mmprm_quant::hf::shapes::Shape;
//! use mmprm_quant::progress::unwatched;
//! use mmprm_quant::quantize::QuantType;
//! use mmprm_quant::synth::{SynthOptions, plan};
//! let donor = GgufFile::open(Path::new("prm-q8_0.gguf"))?;
//! let config = Shape::InternVl25B8.config();
//! let options = SynthOptions { name: "synth-8b", config: &config, mix: QuantType::Q4_K_M, vocabulary: &donor, seed: 0 };
//! plan(&options, Path::new("models"))?.write(&mut unwatched)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod values;
mod vocabulary;

use std::path::{Path, PathBuf};

use crate::blocks::BlockError;
use crate::convert::{About, ConvertError, language_metadata, vision_metadata};
use crate::gguf::{GgufError, GgufFile, GgufWriter, Metadata, TensorSpec};
use crate::hf::config::ModelConfig;
use crate::progress::{Progress, Watch};
use crate::quantize::{QuantType, layout, vision_mix};
use values::Weights;

/// Most blocks of a language model or vision tower that llama.cpp has room for.
const MAX_LAYERS: u64 = 512;

/// Why a model cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SynthError {
    /// A file that is read or written.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// The shape has a tensor that no file can hold.
    #[error(transparent)]
    Shape(#[from] ConvertError),
    /// The shape has more blocks than llama.cpp has room for.
    #[error("{layers} blocks, expected at most {MAX_LAYERS}")]
    Layers {
        /// How many blocks the shape has.
        layers: u64,
    },
    /// The shape's embedding matrix has fewer rows than the vocabulary has tokens.
    #[error("{}: has {tokens} tokens, but the shape has a vocabulary of {rows}", path.display())]
    Vocabulary {
        /// The file whose vocabulary was to be used.
        path: PathBuf,
        /// Its tokens.
        tokens: usize,
        /// Rows of the shape's embedding matrix.
        rows: u64,
    },
    /// ggml cannot quantise to the type.
    #[error("tensor '{tensor}': {source}")]
    Tensor {
        /// The tensor.
        tensor: String,
        /// Why.
        source: BlockError,
    },
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
}

/// What to make.
#[derive(Debug, Clone, Copy)]
pub struct SynthOptions<'a> {
    /// What the files are called after.
    pub name: &'a str,
    /// The shape.
    pub config: &'a ModelConfig,
    /// The language model's mix; the vision tower stays at 16 bits in quantised mixes.
    pub mix: QuantType,
    /// A language model whose vocabulary is used.
    pub vocabulary: &'a GgufFile,
    /// The same seed gives the same weights.
    pub seed: u64,
}

/// A file that is going to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct SynthFile {
    /// Where.
    pub path: PathBuf,
    /// Its metadata.
    pub metadata: Metadata,
    /// Its tensors.
    pub tensors: Vec<TensorSpec>,
}

impl SynthFile {
    /// Bytes of all tensors, without padding.
    pub fn data_size(&self) -> u64 {
        self.tensors.iter().map(size).sum()
    }
}

/// What would be written.
#[derive(Debug, Clone, PartialEq)]
pub struct SynthPlan {
    /// The language model, then the vision tower if the shape has one.
    pub files: Vec<SynthFile>,
    seed: u64,
}

/// Plans `<name>-<mix>.gguf` and `mmproj-<name>-<type>.gguf` in `output`. Nothing is written.
///
/// # Errors
/// [`SynthError`] for a shape that llama.cpp cannot run or a vocabulary that does not fit it.
pub fn plan(options: &SynthOptions<'_>, output: &Path) -> Result<SynthPlan, SynthError> {
    let &SynthOptions { name, config, mix, vocabulary, seed } = options;
    let layers = config.language.layers.max(config.vision.as_ref().map_or(0, |vision| vision.layers));
    if layers > MAX_LAYERS {
        return Err(SynthError::Layers { layers });
    }
    let tokenizer = vocabulary::padded(vocabulary, config.language.vocab)?;
    let layout = layout(config, mix)?;
    let about = |mix: QuantType, tensors: &[TensorSpec]| About {
        name,
        file_type: mix.file_type(),
        parameters: tensors.iter().map(|spec| spec.dims.iter().product::<u64>()).sum(),
    };
    let mut files = vec![SynthFile {
        path: output.join(format!("{name}-{}.gguf", mix.name())),
        metadata: language_metadata(about(mix, &layout.language), config, tokenizer),
        tensors: layout.language,
    }];
    if let Some(vision) = &config.vision {
        let mix = vision_mix(mix);
        files.push(SynthFile {
            path: output.join(format!("mmproj-{name}-{}.gguf", mix.name())),
            metadata: vision_metadata(about(mix, &layout.vision), vision, config.language.hidden),
            tensors: layout.vision,
        });
    }
    Ok(SynthPlan { files, seed })
}

impl SynthPlan {
    /// Writes the files, each appearing under its name when it is complete. Uses rayon's current pool, and some tens of
    /// megabytes of memory.
    ///
    /// # Errors
    /// [`SynthError`]; [`SynthError::Cancelled`] if `watch` says so. A file that is not complete leaves nothing behind.
    pub fn write(&self, watch: &mut Watch<'_>) -> Result<(), SynthError> {
        let total = self.files.iter().map(SynthFile::data_size).sum();
        let mut done = 0;
        let mut weights = Weights::default();
        for file in &self.files {
            let mut writer = GgufWriter::create(&file.path, &file.metadata, &file.tensors)?;
            for spec in &file.tensors {
                let wrong = |source| SynthError::Tensor { tensor: spec.name.clone(), source };
                weights.draw(spec, self.seed).map_err(wrong)?;
                while let Some(bytes) = weights.next_rows() {
                    writer.write(bytes)?;
                    done += bytes.len() as u64;
                    if watch(Progress { done, total, item: &spec.name }).is_break() {
                        return Err(SynthError::Cancelled);
                    }
                }
            }
            writer.finish()?;
        }
        Ok(())
    }
}

/// Bytes of a tensor's data.
fn size(spec: &TensorSpec) -> u64 {
    spec.ggml_type.tensor_bytes(&spec.dims).expect("a layout has whole rows only")
}
