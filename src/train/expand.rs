//! More layers on top of a language model, which change nothing until they are trained.
//!
//! What a model would write next takes shape in its last layers, where no later position can look at it; but to notice that a
//! text is not what it would have written, it must look. A model of few layers has no room for that. New layers on top give
//! it room: each is a copy of the last one whose two output matrices are zero, so that it hands on what it gets.
//!
//! ```
//! use mmprm::train::expand::grow;
//! let (base, folder) = (std::path::Path::new("tests/golden/ckpt/internlm2"), tempfile::tempdir().unwrap());
//! grow(base, 2, folder.path()).unwrap();
//! let layout = mmprm::internvl::read_layout(folder.path()).unwrap();
//! assert_eq!(layout.config().language.layers, 6);
//! ```

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use mmprm_quant::atomic::{self, AtomicFile};
use mmprm_quant::safetensors::{Checkpoint, SafetensorsError, Tensor};
use serde_json::{Map, Value, json};

use super::checkpoint::{CheckpointError, companions};
use crate::internvl;

/// Most layers that a model may be given.
const MOST: usize = 256;
/// What layers are counted by in a configuration.
const COUNT: &str = "/llm_config/num_hidden_layers";
/// The matrices by which a layer adds to what it gets.
const OUTPUTS: [&str; 4] =
    ["attention.wo.weight", "feed_forward.w2.weight", "self_attn.o_proj.weight", "mlp.down_proj.weight"];

/// Why a model did not get more layers.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GrowError {
    /// The base is not a model that can be trained.
    #[error(transparent)]
    Model(#[from] internvl::WeightsError),
    /// Its tensors cannot be read.
    #[error(transparent)]
    Tensors(#[from] SafetensorsError),
    /// What stands beside them cannot.
    #[error(transparent)]
    Companion(#[from] CheckpointError),
    /// Its configuration cannot be read as what it was a moment ago.
    #[error("{}: expected a configuration with {COUNT}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
    },
    /// Too few or too many layers.
    #[error("{0} new layers, expected 1 to {MOST}")]
    Layers(usize),
    /// The result cannot be written.
    #[error("{}: cannot write: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The base would be overwritten.
    #[error("{}: is the model itself, expected another directory", path.display())]
    SameDirectory {
        /// The directory.
        path: PathBuf,
    },
}

/// A tensor of the result: its name, where its values come from, and whether they are zero instead.
struct Grown<'a> {
    name: String,
    tensor: &'a Tensor,
    zero: bool,
}

/// Writes the checkpoint of `base` with `layers` more layers to `target`: one file of weights, its own name and form for each
/// tensor, and what stands beside them.
///
/// # Errors
/// [`GrowError`]; weights appear whole or not at all, and last.
pub fn grow(base: &Path, layers: usize, target: &Path) -> Result<(), GrowError> {
    if layers == 0 || layers > MOST {
        return Err(GrowError::Layers(layers));
    }
    if target.exists() && matches!((base.canonicalize(), target.canonicalize()), (Ok(one), Ok(other)) if one == other) {
        return Err(GrowError::SameDirectory { path: target.to_owned() });
    }
    let count = internvl::read_layout(base)?.config().language.layers;
    let checkpoint = Checkpoint::open(base)?;
    for path in companions(base)? {
        let destination = target.join(path.file_name().unwrap_or_default());
        let fail = |source| GrowError::Write { path: destination.clone(), source };
        let mut bytes = fs::read(&path).map_err(|source| CheckpointError::Read { path: path.clone(), source })?;
        if path.file_name().is_some_and(|name| name == "config.json") {
            bytes = config(&bytes, count + layers).ok_or(GrowError::Config { path })?;
        }
        atomic::write(&destination, &bytes).map_err(fail)?;
    }
    let destination = target.join("model.safetensors");
    write(&destination, &checkpoint, &tensors(&checkpoint, count, layers))
        .map_err(|source| GrowError::Write { path: destination, source })
}

fn config(bytes: &[u8], layers: usize) -> Option<Vec<u8>> {
    let mut config: Value = serde_json::from_slice(bytes).ok()?;
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

fn tensors(checkpoint: &Checkpoint, count: usize, layers: usize) -> Vec<Grown<'_>> {
    let mut grown = Vec::new();
    for name in checkpoint.names() {
        let Some(tensor) = checkpoint.get(name) else { continue };
        grown.push(Grown { name: name.to_owned(), tensor, zero: false });
        let top = format!("language_model.model.layers.{}.", count - 1);
        if let Some(part) = name.strip_prefix(&top) {
            let copy = |layer| Grown {
                name: format!("language_model.model.layers.{layer}.{part}"),
                tensor,
                zero: OUTPUTS.contains(&part),
            };
            grown.extend((count..count + layers).map(copy));
        }
    }
    grown
}

fn write(path: &Path, checkpoint: &Checkpoint, tensors: &[Grown<'_>]) -> io::Result<()> {
    let mut header = Map::new();
    header.insert("__metadata__".into(), json!({"format": "pt"}));
    let mut end = 0;
    for Grown { name, tensor, .. } in tensors {
        let start = end;
        end += checkpoint.data(tensor).len();
        let place = json!({"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [start, end]});
        header.insert(name.clone(), place);
    }
    let mut header = Value::Object(header).to_string();
    // Values begin at a multiple of 8 bytes.
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    let mut file = AtomicFile::create(path)?;
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    for Grown { tensor, zero, .. } in tensors {
        let bytes = checkpoint.data(tensor);
        if *zero {
            io::copy(&mut io::Read::take(io::repeat(0), bytes.len() as u64), &mut file).map(drop)?;
        } else {
            file.write_all(bytes)?;
        }
    }
    file.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grown_model_computes_what_its_base_does() {
        use crate::internvl::{ComputeOptions, Model, Packed, Targets, Tiles};
        use crate::nn::attention::{Mask, Segments};
        for architecture in ["internlm2", "qwen2"] {
            let base = Path::new("tests/golden/ckpt").join(architecture);
            let folder = tempfile::tempdir().unwrap();
            grow(&base, 3, folder.path()).unwrap();
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
    fn what_makes_no_sense_is_refused() {
        let base = Path::new("tests/golden/ckpt/internlm2");
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(grow(base, 0, folder.path()), Err(GrowError::Layers(0))));
        assert!(matches!(grow(base, 1, base), Err(GrowError::SameDirectory { .. })));
        assert!(matches!(grow(folder.path(), 1, &folder.path().join("x")), Err(GrowError::Model(_))));
    }
}
