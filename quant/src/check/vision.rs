//! Vision towers: `clip` asserts the types of its keys and checks no shape. The same checks hold
//! for both encoders, this project's and llama.cpp's.

use super::apply::{apply, is_known};
use super::keys::{bad_key, divides, equals, number, optional};
use super::qwen;
use super::rules::Of;
use super::table::QWEN_PROJECTORS;
use super::tensors::{Layout, Role};
use crate::gguf::{GgufError, GgufFile, GgufValue};

/// Maximum number of patches per side. `InternVL` has 32.
const MAX_GRID: u64 = 64;
/// Maximum memory of one block's attention, which `clip` allocates for all heads and all pairs of
/// patches, in bytes. `InternVL`'s largest tower takes 105 million.
const MAX_ATTENTION: u64 = 1 << 28;

/// Checks an `mmproj` file with a projector of `InternVL` or `Qwen-VL`.
///
/// # Errors
/// [`GgufError`] with the key or tensor and the expected value.
pub fn vision(file: &GgufFile) -> Result<(), GgufError> {
    let arch = file.get_str("general.architecture")?;
    if arch != "clip" {
        return Err(bad_key(file, "general.architecture", format!("'{arch}'"), "'clip', a vision projector (mmproj)"));
    }
    let projector = file.get("clip.projector_type").and_then(GgufValue::as_str).unwrap_or_default();
    let is_qwen = QWEN_PROJECTORS.contains(&projector);
    let kinds = [Of::Any, Of::Vision, if is_qwen { Of::QwenVision } else { Of::InternVision }];
    apply(file, arch, &kinds)?;
    equal_projectors(file, projector)?;
    let clip = file.metadata().iter().find(|(key, _)| key.starts_with("clip.") && !is_known(key, arch, &kinds));
    if let Some((key, value)) = clip {
        let family = if is_qwen { "Qwen-VL" } else { "InternVL" };
        return Err(bad_key(file, key, value.to_string(), format!("none: this key is not supported for {family}")));
    }
    if is_qwen {
        return qwen::check(file, projector);
    }
    let keys = ["clip.use_gelu", "clip.use_silu"];
    if keys.iter().all(|key| file.get(key).and_then(GgufValue::as_bool) == Some(true)) {
        return Err(bad_key(file, keys[1], "true, as is clip.use_gelu", "one activation"));
    }
    layout(&Sizes::read(file)?).check(file)
}

/// Checks that both keys of a projector, if there are two, have the same value: `clip` reads one of them.
fn equal_projectors(file: &GgufFile, projector: &str) -> Result<(), GgufError> {
    let key = "clip.vision.projector_type";
    match file.get(key).and_then(GgufValue::as_str) {
        Some(other) if other != projector => {
            Err(bad_key(file, key, format!("'{other}'"), format!("'{projector}', as clip.projector_type")))
        }
        _ => Ok(()),
    }
}

/// Sizes of the tower.
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
        let number = |name: &str| number(file, &key(name));
        let (hidden, heads) = (number("embedding_length")?, number("attention.head_count")?);
        divides(file, &key("attention.head_count"), heads, hidden)?;
        equals(file, &key("attention.head_count_kv"), heads, "the number of heads")?;
        equals(file, &key("attention.head_dim"), hidden / heads, "the width of a head")?;
        let (image, patch) = (number("image_size")?, number("patch_size")?);
        let shuffle = number("projector.scale_factor")?;
        divides(file, &key("patch_size"), patch, image)?;
        let grid = image / patch;
        if grid > MAX_GRID {
            let expected = format!("at most {MAX_GRID} patches of {patch} pixels per side");
            return Err(bad_key(file, &key("image_size"), image.to_string(), expected));
        }
        let positions = grid * grid + 1;
        let max_heads = MAX_ATTENTION / (4 * positions * positions);
        if heads > max_heads {
            let expected =
                format!("at most {max_heads} for {grid}×{grid} patches, whose attention takes memory for each");
            return Err(bad_key(file, &key("attention.head_count"), heads.to_string(), expected));
        }
        divides(file, &key("projector.scale_factor"), shuffle, grid)?;
        let min_tiles = optional(file, &key("preproc_min_tiles")).unwrap_or(1);
        let max_tiles = optional(file, &key("preproc_max_tiles")).unwrap_or(12);
        // clip lists the grids of at least min_tiles columns and rows, and asserts that there is one.
        if min_tiles * min_tiles > max_tiles {
            let expected = format!("at least the square of preproc_min_tiles, {min_tiles}");
            return Err(bad_key(file, &key("preproc_max_tiles"), max_tiles.to_string(), expected));
        }
        Ok(Self {
            hidden,
            feed_forward: number("feed_forward_length")?,
            layers: number("block_count")?,
            patch,
            positions,
            joined: hidden * shuffle * shuffle,
            language: number("projection_dim")?,
        })
    }
}

fn layout(sizes: &Sizes) -> Layout {
    let &Sizes { hidden, feed_forward, layers, patch, positions, joined, language } = sizes;
    let mut layout = Layout::default();
    let linear = |layout: &mut Layout, name: &str, inputs: u64, outputs: u64| {
        layout.must(format!("{name}.weight"), &[inputs, outputs], Role::Matrix);
        layout.may(format!("{name}.bias"), &[outputs], Role::Vector);
    };
    layout.must("v.class_embd", &[hidden], Role::Vector);
    layout.must("v.patch_embd.weight", &[patch, patch, 3, hidden], Role::Kernel);
    layout.may("v.patch_embd.bias", &[hidden], Role::Vector);
    layout.must("v.position_embd.weight", &[hidden, positions], Role::Vector);
    for layer in 0..layers {
        let name = |part: &str| format!("v.blk.{layer}.{part}");
        for norm in ["ln1", "ln2"] {
            layout.must(name(&format!("{norm}.weight")), &[hidden], Role::Vector);
            layout.may(name(&format!("{norm}.bias")), &[hidden], Role::Vector);
        }
        for matrix in ["attn_q", "attn_k", "attn_v", "attn_out"] {
            linear(&mut layout, &name(matrix), hidden, hidden);
        }
        for vector in ["attn_q_norm.weight", "attn_k_norm.weight", "ls1.weight", "ls2.weight"] {
            layout.may(name(vector), &[hidden], Role::Vector);
        }
        linear(&mut layout, &name("ffn_up"), hidden, feed_forward);
        linear(&mut layout, &name("ffn_down"), feed_forward, hidden);
    }
    layout.must("mm.model.mlp.0.weight", &[joined], Role::Vector);
    layout.must("mm.model.mlp.0.bias", &[joined], Role::Vector);
    for (name, inputs) in [("mm.model.mlp.1", joined), ("mm.model.mlp.3", language)] {
        layout.must(format!("{name}.weight"), &[inputs, language], Role::Matrix);
        layout.must(format!("{name}.bias"), &[language], Role::Vector);
    }
    layout
}
