//! GGUF pairs of real shapes with random weights, to benchmark speed and memory without downloading
//! a model.
//!
//! [`plan`] lists what would be written; [`SynthPlan::write`] streams it. The files have the names,
//! shapes, types and metadata of a converted and quantised checkpoint of that shape, so that
//! llama.cpp does the same work with them; their output is meaningless. The vocabulary is that of
//! another GGUF file, padded with unused tokens to the vocabulary size of the shape, so that texts
//! become as many tokens as there.
//!
//! Drawing and quantising billions of weights would take minutes, so only a panel of rows of each
//! matrix is drawn (uniform, scaled by its width so that activations neither vanish nor overflow),
//! quantised by ggml, and repeated in shuffled order. Norms are 1, biases 0. The same seed gives
//! the same bytes with any number of threads.
//!
//! ```no_run
//! use std::path::Path;
//! use mmprm_quant::gguf::GgufFile;
//! use mmprm_quant::hf::shapes::Shape;
//! use mmprm_quant::progress::no_progress;
//! use mmprm_quant::quantize::QuantType;
//! use mmprm_quant::synth::{SynthOptions, plan};
//! let donor = GgufFile::open(Path::new("prm-q8_0.gguf"))?;
//! let config = Shape::InternVl25B8.config();
//! let quant_type = QuantType::Q4_K_M;
//! let options = SynthOptions { name: "synth-8b", config: &config, quant_type, vocabulary: &donor, seed: 0 };
//! plan(&options, Path::new("models"))?.write(&mut no_progress)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod error;
mod values;
mod vocabulary;

pub use error::SynthError;

use std::path::{Path, PathBuf};

use crate::atomic::put_in_place;
use crate::convert::{GeneralInfo, language_metadata, vision_metadata};
use crate::gguf::{GgufError, GgufFile, GgufWriter, Metadata, TensorSpec};
use crate::hf::config::ModelConfig;
use crate::progress::{Progress, ProgressFn};
use crate::quantize::{QuantType, layout, vision_type};
use error::MAX_LAYERS;
use values::Weights;

/// Options of a synthetic model.
#[derive(Debug, Clone, Copy)]
pub struct SynthOptions<'a> {
    /// Name of the model, which the files are named after.
    pub name: &'a str,
    /// The configuration.
    pub config: &'a ModelConfig,
    /// The language model's type; the vision tower stays at 16 bits in block formats.
    pub quant_type: QuantType,
    /// The language model whose vocabulary is used.
    pub vocabulary: &'a GgufFile,
    /// Random seed.
    pub seed: u64,
}

/// A file to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct SynthFile {
    /// Path.
    pub path: PathBuf,
    /// Metadata.
    pub metadata: Metadata,
    /// Tensors.
    pub tensors: Vec<TensorSpec>,
}

impl SynthFile {
    /// Returns the size of all tensors in bytes, without padding.
    pub fn data_size(&self) -> u64 {
        self.tensors.iter().map(size).sum()
    }
}

/// A synthetic model before anything is written.
#[derive(Debug, Clone, PartialEq)]
pub struct SynthPlan {
    /// The language model, then the vision tower if the configuration has one.
    pub files: Vec<SynthFile>,
    seed: u64,
}

/// Plans `<name>-<type>.gguf` and `mmproj-<name>-<type>.gguf` in `output`. Nothing is written.
///
/// # Errors
/// [`SynthError`] for a shape that llama.cpp cannot run, or a vocabulary larger than the embedding
/// matrix.
pub fn plan(options: &SynthOptions<'_>, output: &Path) -> Result<SynthPlan, SynthError> {
    let &SynthOptions { name, config, quant_type, vocabulary, seed } = options;
    let layers = config.language.layers.max(config.vision.as_ref().map_or(0, |vision| vision.layers));
    if layers > MAX_LAYERS {
        return Err(SynthError::Layers { layers });
    }
    let tokenizer = vocabulary::padded(vocabulary, config.language.vocab)?;
    let layout = layout(config, quant_type)?;
    let info = |quant_type: QuantType, tensors: &[TensorSpec]| GeneralInfo {
        name,
        file_type: quant_type.file_type(),
        parameters: tensors.iter().map(|spec| spec.dims.iter().product::<u64>()).sum(),
    };
    let mut files = vec![SynthFile {
        path: output.join(format!("{name}-{quant_type}.gguf")),
        metadata: language_metadata(info(quant_type, &layout.language), config, tokenizer),
        tensors: layout.language,
    }];
    if let Some(vision) = &config.vision {
        let quant_type = vision_type(quant_type);
        files.push(SynthFile {
            path: output.join(format!("mmproj-{name}-{quant_type}.gguf")),
            metadata: vision_metadata(info(quant_type, &layout.vision), vision, config.language.hidden),
            tensors: layout.vision,
        });
    }
    Ok(SynthPlan { files, seed })
}

impl SynthPlan {
    /// Writes the files; they appear at their paths when all are complete. Uses rayon's current pool
    /// and tens of megabytes of memory.
    ///
    /// # Errors
    /// [`SynthError`]; [`SynthError::Cancelled`] if `on_progress` breaks. Unfinished files are
    /// removed.
    pub fn write(&self, on_progress: &mut ProgressFn<'_>) -> Result<(), SynthError> {
        let total = self.files.iter().map(SynthFile::data_size).sum();
        let mut done = 0;
        let mut weights = Weights::default();
        let mut complete = Vec::new();
        for file in &self.files {
            let mut writer = GgufWriter::create(&file.path, &file.metadata, &file.tensors)?;
            for spec in &file.tensors {
                let tensor_error = |source| SynthError::Tensor { tensor: spec.name.clone(), source };
                weights.draw(spec, self.seed).map_err(tensor_error)?;
                while let Some(bytes) = weights.next_rows() {
                    writer.write(bytes)?;
                    done += bytes.len() as u64;
                    if on_progress(Progress { done, total, item: &spec.name }).is_break() {
                        return Err(SynthError::Cancelled);
                    }
                }
            }
            complete.push(writer.complete()?);
        }
        complete.reverse();
        Ok(put_in_place(complete).map_err(|source| GgufError::Write { source })?)
    }
}

/// Returns the size of a tensor in bytes.
fn size(spec: &TensorSpec) -> u64 {
    spec.ggml_type.tensor_bytes(&spec.dims).expect("a layout has only whole blocks")
}
