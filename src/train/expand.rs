//! Block expansion: appending identity-initialised layers to a language model (research aid).
//!
//! A model's prediction of the next token forms in its last layers, whose output no later position attends to.
//! Comparing a text with the model's own predictions needs further layers, which small models lack. Each new layer is a
//! copy of the last one with zeros in its two output matrices, so that the expanded model computes the same function
//! until it is trained (compare LLaMA Pro, arXiv 2401.02415). Results are in `benches/records/2026-11-25-prm.md`.
//!
//! ```
//! use mmprm::train::expand::expand;
//! let (base, folder) = (std::path::Path::new("tests/golden/ckpt/internlm2"), tempfile::tempdir().unwrap());
//! expand(base, 2, folder.path()).unwrap();
//! let layout = mmprm::internvl::read_layout(folder.path()).unwrap();
//! assert_eq!(layout.config().language.layers, 6);
//! ```

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use mmprm_quant::atomic::{self, CompleteFile};
use mmprm_quant::read::without_bom;
use mmprm_quant::safetensors::{Checkpoint, SafetensorsError, SafetensorsWriter, Tensor, TensorSpec};
use serde_json::Value;

use super::checkpoint::{CheckpointError, companions, other_weights, read_companion};
use crate::internvl;
use crate::util::io::FileError;

/// Maximum number of new layers.
const MAX_LAYERS: usize = 256;
/// The number of layers in a configuration.
const COUNT: &str = "/llm_config/num_hidden_layers";
/// The matrices whose output a layer adds to the residual stream.
const OUTPUTS: [&str; 4] =
    ["attention.wo.weight", "feed_forward.w2.weight", "self_attn.o_proj.weight", "mlp.down_proj.weight"];

/// An error of expanding a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExpandError {
    /// The base is a text model.
    #[error("{}: a text model, expected an InternVL2.5 checkpoint", path.display())]
    TextModel {
        /// The directory or file.
        path: PathBuf,
    },
    /// The base is not a supported model.
    #[error(transparent)]
    Model(#[from] internvl::WeightsError),
    /// The base's tensors cannot be read.
    #[error(transparent)]
    Tensors(#[from] SafetensorsError),
    /// A companion file cannot be read.
    #[error(transparent)]
    Companion(#[from] CheckpointError),
    /// The configuration has no number of layers.
    #[error("{}: expected a configuration with {COUNT}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
    },
    /// A number of layers out of range.
    #[error("{0} new layers, expected 1 to {MAX_LAYERS}")]
    Layers(usize),
    /// The result cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The target has weights that are not replaced.
    #[error("{}: weights of another checkpoint, expected a directory without them", path.display())]
    OtherWeights {
        /// The file.
        path: PathBuf,
    },
    /// The target is the base.
    #[error("{}: is the model itself, expected another directory", path.display())]
    SameDirectory {
        /// The directory.
        path: PathBuf,
    },
}

/// A tensor of the result: its name, its source in the base, and whether its values are zero instead.
struct ExpandedTensor<'a> {
    name: String,
    tensor: &'a Tensor,
    zero: bool,
}

/// Writes the checkpoint of `base` with `layers` more layers to `target`: one file of weights in the base's types, and the
/// companion files.
///
/// # Errors
/// [`ExpandError`]. The weights are written last and appear whole or not at all.
pub fn expand(base: &Path, layers: usize, target: &Path) -> Result<(), ExpandError> {
    if layers == 0 || layers > MAX_LAYERS {
        return Err(ExpandError::Layers(layers));
    }
    if target.exists() && matches!((base.canonicalize(), target.canonicalize()), (Ok(one), Ok(other)) if one == other) {
        return Err(ExpandError::SameDirectory { path: target.to_owned() });
    }
    let layout = internvl::read_layout(base)?;
    if layout.config().vision.is_none() {
        return Err(ExpandError::TextModel { path: base.to_owned() });
    }
    let count = layout.config().language.layers;
    let checkpoint = Checkpoint::open(base)?;
    if let Some(path) = other_weights(target, &[OsStr::new("model.safetensors")]) {
        return Err(ExpandError::OtherWeights { path });
    }
    let mut files = Vec::new();
    for path in companions(base)? {
        let destination = target.join(path.file_name().unwrap_or_default());
        let mut bytes = read_companion(&path)?;
        if path.file_name().is_some_and(|name| name == "config.json") {
            bytes = config(&bytes, count + layers).ok_or(ExpandError::Config { path })?;
        }
        files.push(atomic::complete(&destination, &bytes).map_err(FileError::writing(&destination))?);
    }
    let destination = target.join("model.safetensors");
    let weights = write(&destination, &checkpoint, &tensors(&checkpoint, count, layers));
    files.push(weights.map_err(FileError::writing(&destination))?);
    Ok(atomic::put_in_place(files).map_err(FileError::writing(target))?)
}

fn config(bytes: &[u8], layers: usize) -> Option<Vec<u8>> {
    let mut config: Value = serde_json::from_slice(without_bom(bytes)).ok()?;
    *config.pointer_mut(COUNT)? = layers.into();
    if let Some(Value::Array(kinds)) = config.pointer_mut("/llm_config/layer_types")
        && let Some(last) = kinds.last().cloned()
    {
        kinds.resize(layers, last);
    }
    let mut text = serde_json::to_string_pretty(&config).ok()?;
    text.push('\n');
    Some(text.into_bytes())
}

fn tensors(checkpoint: &Checkpoint, count: usize, layers: usize) -> Vec<ExpandedTensor<'_>> {
    let mut expanded = Vec::new();
    for name in checkpoint.names() {
        let Some(tensor) = checkpoint.get(name) else { continue };
        expanded.push(ExpandedTensor { name: name.to_owned(), tensor, zero: false });
        let top = format!("language_model.model.layers.{}.", count - 1);
        if let Some(part) = name.strip_prefix(&top) {
            let copy = |layer| ExpandedTensor {
                name: format!("language_model.model.layers.{layer}.{part}"),
                tensor,
                zero: OUTPUTS.contains(&part),
            };
            expanded.extend((count..count + layers).map(copy));
        }
    }
    expanded
}

fn write(path: &Path, checkpoint: &Checkpoint, tensors: &[ExpandedTensor<'_>]) -> io::Result<CompleteFile> {
    let mut specs = Vec::with_capacity(tensors.len());
    for ExpandedTensor { name, tensor, .. } in tensors {
        specs.push(TensorSpec { name, dtype: tensor.dtype, shape: &tensor.shape });
    }
    let mut file = SafetensorsWriter::create(path, &specs)?;
    for ExpandedTensor { tensor, zero, .. } in tensors {
        let bytes = checkpoint.data(tensor);
        if *zero {
            io::copy(&mut io::Read::take(io::repeat(0), bytes.len() as u64), &mut file).map(drop)?;
        } else {
            file.write_all(bytes)?;
        }
    }
    file.complete()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expanded_model_computes_what_its_base_does() {
        use crate::internvl::{ComputeOptions, Model, Packed, Targets, Tiles};
        use crate::nn::attention::{Mask, Segments};
        for architecture in ["internlm2", "qwen2"] {
            let base = Path::new("tests/golden/ckpt").join(architecture);
            let folder = tempfile::tempdir().unwrap();
            expand(&base, 3, folder.path()).unwrap();
            let loss = |directory: &Path| {
                let layout = internvl::read_layout(directory).unwrap();
                let parameters = internvl::read_parameters(directory, &layout, |_| true).unwrap();
                let packed = Packed {
                    tokens: vec![5, 9, 300, 17, 4],
                    segments: Segments::plain(&[5], Mask::Causal),
                    images: Vec::new(),
                    tiles: Tiles::none(),
                };
                let targets = Targets::Tokens { rows: vec![1, 4], ids: vec![300, 8], weights: vec![1.0, 1.0] };
                Model::new(&layout).loss(&parameters, &packed, &targets, ComputeOptions::default()).unwrap().loss
            };
            assert_eq!(loss(&base).to_bits(), loss(folder.path()).to_bits(), "{architecture}");
        }
    }

    #[test]
    fn weights_that_cannot_be_written_leave_no_configuration() {
        let base = Path::new("tests/golden/ckpt/internlm2");
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("x");
        std::fs::create_dir_all(target.join("model.safetensors/in the way")).unwrap();
        assert!(matches!(expand(base, 1, &target), Err(ExpandError::File(FileError::Write { .. }))));
        assert_eq!(std::fs::read_dir(&target).unwrap().count(), 1, "only what was there");
    }

    #[test]
    fn invalid_requests_are_refused() {
        let base = Path::new("tests/golden/ckpt/internlm2");
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(expand(base, 0, folder.path()), Err(ExpandError::Layers(0))));
        assert!(matches!(expand(base, 1, base), Err(ExpandError::SameDirectory { .. })));
        assert!(matches!(expand(folder.path(), 1, &folder.path().join("x")), Err(ExpandError::Model(_))));
    }
}
