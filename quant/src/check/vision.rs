//! Vision towers: llama.cpp's `clip` asserts the types of its keys and does not check shapes.

use super::keys::{divides, positive, unsound, unsound_key};
use crate::blocks::GgmlType;
use crate::gguf::{GgufArray, GgufError, GgufFile, GgufValue};

/// Checks an `mmproj` file with an `InternVL` projector.
///
/// # Errors
/// [`GgufError`] with the key or tensor and the expected value.
pub fn vision(file: &GgufFile) -> Result<(), GgufError> {
    for (key, expected) in [("general.architecture", "clip"), ("clip.projector_type", "internvl")] {
        let found = file.get_str(key)?;
        if found != expected {
            return Err(unsound_key(file, key, format!("'{found}', expected '{expected}'")));
        }
    }
    if !file.get_bool("clip.has_vision_encoder")? {
        return Err(unsound_key(file, "clip.has_vision_encoder", "false, expected true".to_owned()));
    }
    activation(file)?;
    pixels(file)?;
    tensors(file, &Sizes::read(file)?)
}

fn activation(file: &GgufFile) -> Result<(), GgufError> {
    let keys = ["clip.use_gelu", "clip.use_silu"];
    let mut chosen = 0;
    for key in keys.into_iter().filter(|key| file.get(key).is_some()) {
        chosen += u32::from(file.get_bool(key)?);
    }
    if chosen > 1 { Err(unsound_key(file, keys[1], "true, as is clip.use_gelu".to_owned())) } else { Ok(()) }
}

fn pixels(file: &GgufFile) -> Result<(), GgufError> {
    for key in ["clip.vision.image_mean", "clip.vision.image_std"] {
        match file.get(key) {
            Some(GgufValue::Array(GgufArray::F32(values))) if values.len() >= 3 => {}
            found => {
                let found = found.map_or("missing", GgufValue::type_name);
                return Err(unsound_key(file, key, format!("{found}, expected f32[] of 3 channels")));
            }
        }
    }
    Ok(())
}

/// Sizes of the tower, each stored as `u32`: `clip` aborts on any other type.
struct Sizes {
    hidden: u64,
    feed_forward: u64,
    layers: u64,
    patch: u64,
    positions: u64,
    /// Width of a token at the projector's input.
    joined: u64,
    language: u64,
}

impl Sizes {
    fn read(file: &GgufFile) -> Result<Self, GgufError> {
        let key = |name: &str| format!("clip.vision.{name}");
        let number = |name: &str| match file.get(&key(name)) {
            Some(GgufValue::U32(_)) | None => positive(file, &key(name)),
            Some(other) => Err(unsound_key(file, &key(name), format!("is {}, expected u32", other.type_name()))),
        };
        match file.get(&key("attention.layer_norm_epsilon")) {
            Some(GgufValue::F32(eps)) if *eps >= 0.0 => {}
            other => {
                let found = other.map_or_else(|| "missing".to_owned(), ToString::to_string);
                let problem = format!("{found}, expected f32, at least 0");
                return Err(unsound_key(file, &key("attention.layer_norm_epsilon"), problem));
            }
        }
        let (hidden, heads) = (number("embedding_length")?, number("attention.head_count")?);
        let (image, patch) = (number("image_size")?, number("patch_size")?);
        let shuffle = number("projector.scale_factor")?;
        divides(file, &key("attention.head_count"), heads, hidden)?;
        divides(file, &key("patch_size"), patch, image)?;
        divides(file, &key("projector.scale_factor"), shuffle, image / patch)?;
        let optional = |name: &str, default| if file.get(&key(name)).is_some() { number(name) } else { Ok(default) };
        let (min_tiles, max_tiles) = (optional("preproc_min_tiles", 1)?, optional("preproc_max_tiles", 12)?);
        // clip enumerates every grid of up to this many tiles, so the number is bounded.
        if min_tiles > max_tiles || max_tiles > 1024 {
            let problem = format!("{max_tiles}, expected {min_tiles} (preproc_min_tiles) to 1024");
            return Err(unsound_key(file, &key("preproc_max_tiles"), problem));
        }
        let grid = u64::from(image / patch);
        let product = |factors: [u64; 3]| factors.into_iter().try_fold(1_u64, u64::checked_mul).unwrap_or(u64::MAX);
        Ok(Self {
            hidden: hidden.into(),
            feed_forward: number("feed_forward_length")?.into(),
            layers: number("block_count")?.into(),
            patch: patch.into(),
            positions: product([grid, grid, 1]).saturating_add(1),
            joined: product([hidden.into(), shuffle.into(), shuffle.into()]),
            language: number("projection_dim")?.into(),
        })
    }
}

fn tensors(file: &GgufFile, sizes: &Sizes) -> Result<(), GgufError> {
    let (hidden, ff) = (sizes.hidden, sizes.feed_forward);
    let required = |name: &str, dims: &[u64]| shape(file, name, dims, true);
    let optional = |name: &str, dims: &[u64]| shape(file, name, dims, false);
    let linear = |name: &str, input: u64, output: u64| {
        required(&format!("{name}.weight"), &[input, output])?;
        optional(&format!("{name}.bias"), &[output])
    };
    required("v.class_embd", &[hidden])?;
    required("v.patch_embd.weight", &[sizes.patch, sizes.patch, 3, hidden])?;
    optional("v.patch_embd.bias", &[hidden])?;
    required("v.position_embd.weight", &[hidden, sizes.positions])?;
    // Each block needs its tensors, so a wrong number of blocks fails at the first that is missing.
    for layer in 0..sizes.layers {
        let name = |part: &str| format!("v.blk.{layer}.{part}");
        for norm in ["ln1", "ln2"] {
            required(&name(&format!("{norm}.weight")), &[hidden])?;
            optional(&name(&format!("{norm}.bias")), &[hidden])?;
        }
        for matrix in ["attn_q", "attn_k", "attn_v", "attn_out"] {
            linear(&name(matrix), hidden, hidden)?;
        }
        for vector in ["attn_q_norm.weight", "attn_k_norm.weight", "ls1.weight", "ls2.weight"] {
            optional(&name(vector), &[hidden])?;
        }
        linear(&name("ffn_up"), hidden, ff)?;
        linear(&name("ffn_down"), ff, hidden)?;
    }
    required("mm.model.mlp.0.weight", &[sizes.joined])?;
    required("mm.model.mlp.0.bias", &[sizes.joined])?;
    for (name, input) in [("mm.model.mlp.1", sizes.joined), ("mm.model.mlp.3", sizes.language)] {
        linear(name, input, sizes.language)?;
        required(&format!("{name}.bias"), &[sizes.language])?;
    }
    Ok(())
}

/// Checks a tensor's dimensions, ignoring trailing ones, and that tensors other than matrices are
/// in 32 bits.
fn shape(file: &GgufFile, name: &str, dims: &[u64], required: bool) -> Result<(), GgufError> {
    let place = || format!("tensor '{name}'");
    let Some(tensor) = file.tensor(name) else {
        return if required {
            Err(unsound(file, place(), format!("missing, expected dimensions {dims:?}")))
        } else {
            Ok(())
        };
    };
    let significant = tensor.dims.iter().rposition(|dim| *dim > 1).map_or(1, |last| last + 1);
    let expected = dims.iter().rposition(|dim| *dim > 1).map_or(1, |last| last + 1);
    if tensor.dims[..significant] != dims[..expected] {
        return Err(unsound(file, place(), format!("dimensions {:?}, expected {dims:?}", tensor.dims)));
    }
    let exact = dims.len() == 1 || name.contains("position_embd");
    let float = matches!(tensor.ggml_type, GgmlType::F32 | GgmlType::F16);
    if (exact && tensor.ggml_type != GgmlType::F32) || (name.contains("patch_embd") && !float) {
        return Err(unsound(file, place(), format!("is {}, expected F32", tensor.ggml_type)));
    }
    Ok(())
}
