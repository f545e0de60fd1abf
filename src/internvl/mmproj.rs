//! Reads the vision tower and projector from an `mmproj` file, the second half of a GGUF pair.
//!
//! Floating-point weights keep the format of the file; quantised ones stay in the file and are
//! dequantised where a product reads them. Position embeddings are put in MM-PRM's order, class
//! token first, whatever the converter's order was.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use half::{bf16, f16};
use mmprm_quant::blocks::{BlockError, GgmlType};
use mmprm_quant::check;
use mmprm_quant::gguf::{GgufError, GgufFile, GgufValue, TensorInfo};

use super::config::{Config, LanguageConfig, LanguageKind, NormKind, VisionConfig};
use super::gguf_rows::{GgufRows, RowOrder};
use super::layout::{self, Layout, Role};
use super::parameters::{Parameters, Store};
use crate::nn::rope::RopeScaling;

/// Why an `mmproj` file could not be read as an InternVL2.5 vision tower.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MmprojError {
    /// The file is invalid.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// The file is valid, but holds another kind of tower.
    #[error("{}: {source}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The key or tensor, and what was expected.
        source: UnsupportedTower,
    },
}

/// What makes a tower unsupported.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum UnsupportedTower {
    /// A metadata key has another value than supported.
    #[error("key '{key}': expected {expected}")]
    Key {
        /// The key.
        key: String,
        /// The supported values.
        expected: &'static str,
    },
    /// A tensor that an `InternViT` tower does not have.
    #[error("tensor '{name}': not part of an InternViT tower")]
    UnknownTensor {
        /// The tensor.
        name: String,
    },
    /// A tensor is missing.
    #[error("tensor '{name}': missing")]
    MissingTensor {
        /// The tensor.
        name: String,
    },
    /// A tensor cannot be dequantised.
    #[error("tensor '{name}': {source}")]
    Dequantise {
        /// The tensor.
        name: String,
        /// The cause.
        source: BlockError,
    },
}

/// Reads the tower and the projector. The language model of the returned layout has no tokens and
/// no layers, so that only `vision_features` and `vision_embeddings` of a [`Model`](super::Model)
/// can run.
///
/// ```
/// use mmprm::internvl::read_mmproj;
/// use mmprm_quant::gguf::{GgufFile, GgufWriter};
/// let directory = tempfile::tempdir().unwrap();
/// let path = directory.path().join("mmproj.gguf");
/// GgufWriter::create(&path, &[], &[]).unwrap().finish().unwrap();
/// let error = read_mmproj(&GgufFile::open(&path).unwrap().into()).unwrap_err();
/// assert!(error.to_string().contains("key 'general.architecture': missing"));
/// ```
///
/// # Errors
/// [`MmprojError`] with the key or tensor and what was expected.
pub fn read_mmproj(file: &Arc<GgufFile>) -> Result<Parameters, MmprojError> {
    // Checks shapes against keys, and keys against each other: tensors read below have the expected
    // sizes.
    check::vision(file)?;
    let layout = Layout::new(&config(file)?);
    let known: HashSet<String> = layout.tensors().iter().flat_map(|tensor| names(&tensor.name)).collect();
    if let Some(tensor) = file.tensors().iter().find(|tensor| !known.contains(&tensor.name)) {
        return Err(unsupported(file, UnsupportedTower::UnknownTensor { name: tensor.name.clone() }));
    }
    let class_last = class_last(file)?;
    Parameters::load(&layout, |index| {
        let tensor = &layout.tensors()[index];
        if tensor.name.starts_with("language_model.") {
            return Ok(Store::F32(vec![0.0; tensor.len()]));
        }
        let found: Vec<Option<&TensorInfo>> = names(&tensor.name).iter().map(|name| file.tensor(name)).collect();
        let store = if tensor.is_matrix() { matrix(file, tensor, &found)? } else { vector(file, tensor, &found)? };
        let store =
            if tensor.name.ends_with("position_embedding") && class_last { class_first(store, tensor) } else { store };
        found.into_iter().flatten().for_each(|tensor| file.release(tensor));
        Ok(store)
    })
}

fn unsupported(file: &GgufFile, source: UnsupportedTower) -> MmprojError {
    MmprojError::Unsupported { path: file.path().to_owned(), source }
}

fn unsupported_key(file: &GgufFile, key: &str, expected: &'static str) -> MmprojError {
    unsupported(file, UnsupportedTower::Key { key: key.to_owned(), expected })
}

fn config(file: &GgufFile) -> Result<Config, MmprojError> {
    let key = |name: &str| format!("clip.vision.{name}");
    let size = |name: &str| file.get_u32(&key(name)).map(|value| value as usize);
    // llama.cpp's default is a coarser GELU than InternViT's.
    if file.get("clip.use_gelu").and_then(GgufValue::as_bool) != Some(true) {
        return Err(unsupported_key(file, "clip.use_gelu", "true: a tower with GELU"));
    }
    let (hidden, layers) = (size("embedding_length")?, size("block_count")?);
    let has = |part: &str| (0..layers).any(|layer| file.tensor(&format!("v.blk.{layer}.{part}")).is_some());
    let norm = match file.get("mmprm.vision.norm").map(|value| value.as_str()) {
        Some(Some("rms_norm")) => NormKind::Rms,
        // llama.cpp has the same rule: InternViT-6B is the tower with RMSNorm.
        None if hidden == 3200 && layers == 45 => NormKind::Rms,
        Some(Some("layer_norm")) | None => NormKind::Layer,
        Some(_) => return Err(unsupported_key(file, "mmprm.vision.norm", "layer_norm or rms_norm")),
    };
    let vision = VisionConfig {
        hidden,
        layers,
        heads: size("attention.head_count")?,
        feed_forward: size("feed_forward_length")?,
        image: size("image_size")?,
        patch: size("patch_size")?,
        qkv_bias: ["attn_q.bias", "attn_k.bias", "attn_v.bias"].into_iter().any(has),
        norm,
        epsilon: file.get_f32(&key("attention.layer_norm_epsilon"))?,
        qk_norm: has("attn_q_norm.weight") || has("attn_k_norm.weight"),
        shuffle: size("projector.scale_factor")?,
    };
    let language = LanguageConfig {
        kind: LanguageKind::InternLm2,
        hidden: size("projection_dim")?,
        layers: 0,
        heads: 1,
        kv_heads: 1,
        head: 1,
        feed_forward: 0,
        vocabulary: 0,
        rope_base: 1.0,
        rope_scaling: RopeScaling::None,
        rope_divisors: Vec::new(),
        epsilon: 0.0,
        qkv_bias: false,
        tied: true,
    };
    Ok(Config { vision: Some(vision), language })
}

/// Whether the class token's position embedding comes last instead of first.
fn class_last(file: &GgufFile) -> Result<bool, MmprojError> {
    match file.get("mmprm.vision.class_position").map(|value| value.as_str()) {
        // Other converters keep the order of the checkpoint.
        None => Ok(false),
        Some(Some("last")) => Ok(true),
        Some(_) => Err(unsupported_key(file, "mmprm.vision.class_position", "last")),
    }
}

/// Returns the GGUF tensors that, stacked, make up a tensor of the layout.
fn names(name: &str) -> Vec<String> {
    if let Some(rest) = name.strip_prefix("mlp1.") {
        return vec![format!("mm.model.mlp.{rest}")];
    }
    let Some(rest) = name.strip_prefix("vision_model.encoder.layers.") else {
        return vec![match name.strip_prefix("vision_model.embeddings.").unwrap_or(name) {
            "class_embedding" => "v.class_embd".to_owned(),
            "position_embedding" => "v.position_embd.weight".to_owned(),
            patch => patch.replace("patch_embedding", "v.patch_embd"),
        }];
    };
    let (layer, part) = rest.split_once('.').unwrap_or((rest, ""));
    let (module, kind) = part.rsplit_once('.').unwrap_or((part, "weight"));
    let modules: &[&str] = match (module, part) {
        ("attn.qkv", _) => &["attn_q", "attn_k", "attn_v"],
        ("attn.q_norm", _) => &["attn_q_norm"],
        ("attn.k_norm", _) => &["attn_k_norm"],
        ("attn.proj", _) => &["attn_out"],
        ("mlp.fc1", _) => &["ffn_up"],
        ("mlp.fc2", _) => &["ffn_down"],
        ("norm1", _) => &["ln1"],
        ("norm2", _) => &["ln2"],
        // LayerScale has no module: the tensor is the parameter itself.
        (_, scale) => return vec![format!("v.blk.{layer}.{scale}.weight")],
    };
    modules.iter().map(|module| format!("v.blk.{layer}.{module}.{kind}")).collect()
}

/// Reads a vector, which `check::vision` requires to be F32. Missing biases are 0 and missing
/// scales 1.
fn vector(file: &GgufFile, tensor: &layout::TensorInfo, found: &[Option<&TensorInfo>]) -> Result<Store, MmprojError> {
    let length = tensor.len() / found.len();
    let mut values = Vec::with_capacity(tensor.len());
    for part in found {
        match (part, tensor.role) {
            (Some(part), _) => {
                let bytes = file.tensor_data(part).as_chunks().0;
                values.extend(bytes.iter().map(|bytes| f32::from_le_bytes(*bytes)));
            }
            (None, Role::Bias) => values.extend(std::iter::repeat_n(0.0, length)),
            (None, Role::Scale) => values.extend(std::iter::repeat_n(1.0, length)),
            (None, _) => {
                let name = names(&tensor.name).join("', '");
                return Err(unsupported(file, UnsupportedTower::MissingTensor { name }));
            }
        }
    }
    Ok(Store::F32(values))
}

/// Reads a matrix, whose parts `check::vision` has checked.
fn matrix(
    file: &Arc<GgufFile>,
    tensor: &layout::TensorInfo,
    found: &[Option<&TensorInfo>],
) -> Result<Store, MmprojError> {
    let parts: Vec<&TensorInfo> = found.iter().copied().flatten().collect();
    let bytes = || parts.iter().map(|part| file.tensor_data(part));
    let is = |ggml_type: GgmlType| parts.iter().all(|part| part.ggml_type == ggml_type);
    let halves = || bytes().flat_map(|bytes| bytes.as_chunks().0).map(|bytes| u16::from_le_bytes(*bytes));
    Ok(if is(GgmlType::F32) {
        Store::F32(bytes().flat_map(|bytes| bytes.as_chunks().0).map(|bytes| f32::from_le_bytes(*bytes)).collect())
    } else if is(GgmlType::F16) {
        Store::F16(halves().map(f16::from_bits).collect())
    } else if is(GgmlType::BF16) {
        Store::Bf16(halves().map(bf16::from_bits).collect())
    } else {
        let rows = GgufRows::new(file, &parts, RowOrder::Stacked, tensor.matrix().1);
        let fail = |(name, source)| unsupported(file, UnsupportedTower::Dequantise { name, source });
        Store::Rows(Arc::new(rows.map_err(fail)?))
    })
}

/// Moves the last row of position embeddings to the front.
fn class_first(store: Store, tensor: &layout::TensorInfo) -> Store {
    let Store::F32(mut values) = store else { unreachable!("vectors are f32") };
    values.rotate_right(tensor.shape[2]);
    Store::F32(values)
}
