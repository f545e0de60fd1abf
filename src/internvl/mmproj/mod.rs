//! Reading the vision tower and projector from an `mmproj` file, the second half of a GGUF pair.
//!
//! Floats stay in the file's own format, and blocks of quantised weights as they are in the file, to be unpacked where a
//! product reads them. Position embeddings are put into the reference's order, class token first, whichever converter
//! wrote them.

mod rows;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use half::{bf16, f16};
use mmprm_quant::blocks::GgmlType;
use mmprm_quant::check;
use mmprm_quant::gguf::{GgufError, GgufFile, GgufValue, TensorInfo};

use super::config::{Config, LanguageConfig, LanguageKind, NormKind, VisionConfig};
use super::layout::{self, Layout, Role};
use super::parameters::{Parameters, Store};
use crate::nn::rope::Scaling;
use rows::QuantisedRows;

/// Why a projector file cannot be read as an InternVL2.5 vision tower.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MmprojError {
    /// The file is not sound.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// A sound file with a tower of another kind.
    #[error("{}: {place}: {problem}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// A key, or a tensor.
        place: String,
        /// What is wrong and what was expected.
        problem: String,
    },
}

/// Reads the tower and the projector. The layout is that of a model whose language model has no words and no layers: of
/// [`Model`](super::Model), only `vision_features` and `vision_embeddings` can be run on it.
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
    // Shapes against the keys, and keys against each other: whatever is read below is there and as large as it should be.
    check::vision(file)?;
    let layout = Layout::new(&config(file)?);
    let known: HashSet<String> = layout.tensors().iter().flat_map(|tensor| names(&tensor.name)).collect();
    if let Some(tensor) = file.tensors().iter().find(|tensor| !known.contains(&tensor.name)) {
        return Err(unsupported(
            file,
            format!("tensor '{}'", tensor.name),
            "has no place in an InternViT tower".into(),
        ));
    }
    let class_last = class_last(file)?;
    Parameters::load(&layout, |number| {
        let tensor = &layout.tensors()[number];
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

fn unsupported(file: &GgufFile, place: String, problem: String) -> MmprojError {
    MmprojError::Unsupported { path: file.path().to_owned(), place, problem }
}

fn config(file: &GgufFile) -> Result<Config, MmprojError> {
    let key = |name: &str| format!("clip.vision.{name}");
    let number = |name: &str| file.get_u32(&key(name)).map(|number| number as usize);
    // llama.cpp's default is a cruder GELU than InternViT's.
    if file.get("clip.use_gelu").and_then(GgufValue::as_bool) != Some(true) {
        return Err(unsupported(file, "key 'clip.use_gelu'".into(), "not true, expected a tower with GELU".into()));
    }
    let (hidden, layers) = (number("embedding_length")?, number("block_count")?);
    let has = |part: &str| (0..layers).any(|layer| file.tensor(&format!("v.blk.{layer}.{part}")).is_some());
    let norm = match file.get("mmprm.vision.norm").map(|value| value.as_str()) {
        Some(Some("rms_norm")) => NormKind::Rms,
        // As llama.cpp tells them apart: InternViT-6B is the one with RMSNorm.
        None if hidden == 3200 && layers == 45 => NormKind::Rms,
        Some(Some("layer_norm")) | None => NormKind::Layer,
        Some(_) => {
            let problem = "unknown, expected layer_norm or rms_norm".into();
            return Err(unsupported(file, "key 'mmprm.vision.norm'".into(), problem));
        }
    };
    let vision = VisionConfig {
        hidden,
        layers,
        heads: number("attention.head_count")?,
        feed_forward: number("feed_forward_length")?,
        image: number("image_size")?,
        patch: number("patch_size")?,
        qkv_bias: ["attn_q.bias", "attn_k.bias", "attn_v.bias"].into_iter().any(has),
        norm,
        epsilon: file.get_f32(&key("attention.layer_norm_epsilon"))?,
        qk_norm: has("attn_q_norm.weight") || has("attn_k_norm.weight"),
    };
    let language = LanguageConfig {
        kind: LanguageKind::InternLm2,
        hidden: number("projection_dim")?,
        layers: 0,
        heads: 1,
        kv_heads: 1,
        feed_forward: 0,
        vocabulary: 0,
        rope_base: 1.0,
        rope_scaling: Scaling::None,
        epsilon: 0.0,
        qkv_bias: false,
        tied: true,
    };
    Ok(Config { vision, shuffle: number("projector.scale_factor")?, language })
}

/// Whether the class token's position comes after those of the patches.
fn class_last(file: &GgufFile) -> Result<bool, MmprojError> {
    match file.get("mmprm.vision.class_position").map(|value| value.as_str()) {
        // Other converters keep the checkpoint's order.
        None => Ok(false),
        Some(Some("last")) => Ok(true),
        Some(_) => {
            let place = "key 'mmprm.vision.class_position'".into();
            Err(unsupported(file, place, "unknown, expected last".into()))
        }
    }
}

/// The GGUF tensors that make up a tensor of the layout, one above the other.
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
        // LayerScale: no module, the tensor itself.
        (_, scale) => return vec![format!("v.blk.{layer}.{scale}.weight")],
    };
    modules.iter().map(|module| format!("v.blk.{layer}.{module}.{kind}")).collect()
}

/// A vector, in 32 bits as the check asks for. One that the file leaves out is what changes nothing.
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
                let place = format!("tensor '{}'", names(&tensor.name).join("', '"));
                return Err(unsupported(file, place, "missing".into()));
            }
        }
    }
    Ok(Store::F32(values))
}

/// A matrix, whose parts the check has seen.
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
        let rows = QuantisedRows::new(file, &parts, tensor.matrix().1);
        Store::Rows(Arc::new(
            rows.map_err(|(name, error)| unsupported(file, format!("tensor '{name}'"), error.to_string()))?,
        ))
    })
}

/// Position embeddings with the last row first.
fn class_first(store: Store, tensor: &layout::TensorInfo) -> Store {
    let Store::F32(mut values) = store else { unreachable!("vectors are f32") };
    values.rotate_right(tensor.shape[2]);
    Store::F32(values)
}
