//! Vision towers of `Qwen-VL`, which read images of any size: how large one may be is the encoder's to limit.

use super::keys::{bad_key, divides, equals, number, optional};
use super::tensors::{Layout, Role};
use crate::gguf::{GgufArray, GgufError, GgufFile, GgufValue};

/// Maximum number of learnt positions per side. `Qwen3-VL` has 48.
const MAX_GRID: u64 = 256;

/// Checks an `mmproj` file with this projector, whose keys are in the table.
pub(super) fn check(file: &GgufFile, projector: &str) -> Result<(), GgufError> {
    let flag = |key: &str| file.get(key).and_then(GgufValue::as_bool) == Some(true);
    let expected = match projector {
        "qwen2vl_merger" => [false, false],
        "qwen2.5vl_merger" => [false, true],
        _ => [true, false],
    };
    for (key, expected) in ["clip.use_gelu", "clip.use_silu"].into_iter().zip(expected) {
        if flag(key) != expected {
            let text = format!("{expected}, the activation of this projector");
            return Err(bad_key(file, key, flag(key).to_string(), text));
        }
    }
    layout(&Sizes::read(file, projector)?).check(file)
}

/// Sizes of the tower.
struct Sizes<'a> {
    projector: &'a str,
    hidden: u64,
    feed_forward: u64,
    layers: u64,
    patch: u64,
    /// Learnt positions.
    positions: u64,
    /// Blocks with a feature for the language model.
    features: Vec<u64>,
    language: u64,
}

impl<'a> Sizes<'a> {
    fn read(file: &GgufFile, projector: &'a str) -> Result<Self, GgufError> {
        let key = |name: &str| format!("clip.vision.{name}");
        let number = |name: &str| number(file, &key(name));
        let (hidden, heads) = (number("embedding_length")?, number("attention.head_count")?);
        divides(file, &key("attention.head_count"), heads, hidden)?;
        equals(file, &key("attention.head_count_kv"), heads, "the number of heads")?;
        equals(file, &key("attention.head_dim"), hidden / heads, "the width of a head")?;
        if !(hidden / heads).is_multiple_of(4) {
            let expected = format!("heads whose width, {hidden} / {heads}, is a multiple of 4");
            return Err(bad_key(file, &key("attention.head_count"), heads.to_string(), expected));
        }
        let (mut feed_forward, layers) = (number("feed_forward_length")?, number("block_count")?);
        if projector == "qwen2vl_merger" {
            // llama.cpp's converter writes the language model's width here, and clip does not use it.
            let bias = file.tensor("v.blk.0.ffn_up.bias").and_then(|bias| bias.dims.first());
            feed_forward = bias.copied().unwrap_or(feed_forward);
        }
        if projector != "qwen3vl_merger" && feed_forward == hidden {
            // clip takes the file for one of an old converter, which swapped two names.
            let expected = format!("another width than that of the tower, {hidden}");
            return Err(bad_key(file, &key("feed_forward_length"), feed_forward.to_string(), expected));
        }
        let pattern = key("n_wa_pattern");
        match (projector, optional(file, &pattern)) {
            ("qwen2.5vl_merger", None | Some(0)) => {
                return Err(bad_key(file, &pattern, "missing or 0", "the distance of blocks with full attention"));
            }
            // The other graphs have no windows, and clip would not set their inputs.
            (other, Some(found)) if other != "qwen2.5vl_merger" && found > 0 => {
                return Err(bad_key(file, &pattern, found.to_string(), "0: this projector has no windows"));
            }
            _ => {}
        }
        let patch = number("patch_size")?;
        let (positions, features) = if projector == "qwen3vl_merger" {
            (grid(file, patch)?.pow(2), features(file, layers)?)
        } else {
            (0, Vec::new())
        };
        let language = number("projection_dim")?;
        Ok(Self { projector, hidden, feed_forward, layers, patch, positions, features, language })
    }
}

/// Returns the learnt positions per side.
fn grid(file: &GgufFile, patch: u64) -> Result<u64, GgufError> {
    let key = "clip.vision.image_size";
    let image = number(file, key)?;
    divides(file, "clip.vision.patch_size", patch, image)?;
    if image / patch <= MAX_GRID {
        return Ok(image / patch);
    }
    Err(bad_key(file, key, image.to_string(), format!("at most {MAX_GRID} patches of {patch} pixels per side")))
}

/// Returns the blocks with a feature for the language model.
fn features(file: &GgufFile, layers: u64) -> Result<Vec<u64>, GgufError> {
    let key = "clip.vision.is_deepstack_layers";
    match file.get(key) {
        None => Ok(Vec::new()),
        Some(GgufValue::Array(GgufArray::Bool(flags))) if flags.len() as u64 == layers => {
            Ok((0..).zip(flags).filter(|(_, flag)| **flag).map(|(block, _)| block).collect())
        }
        Some(found) => Err(bad_key(file, key, found.to_string(), format!("a value for each of {layers} blocks"))),
    }
}

fn layout(sizes: &Sizes<'_>) -> Layout {
    let &Sizes { projector, hidden, feed_forward, layers, patch, positions, ref features, language } = sizes;
    let (is_25, is_3, joined) = (projector == "qwen2.5vl_merger", projector == "qwen3vl_merger", 4 * hidden);
    let mut layout = Layout::default();
    let linear = |layout: &mut Layout, name: &str, inputs: u64, outputs: u64| {
        layout.must(format!("{name}.weight"), &[inputs, outputs], Role::Matrix);
        layout.must(format!("{name}.bias"), &[outputs], Role::Vector);
    };
    let norm = |layout: &mut Layout, name: &str, width: u64| {
        layout.must(format!("{name}.weight"), &[width], Role::Vector);
        if !is_25 {
            layout.must(format!("{name}.bias"), &[width], Role::Vector);
        }
    };
    for name in ["v.patch_embd.weight", "v.patch_embd.weight.1"] {
        layout.must(name, &[patch, patch, 3, hidden], Role::Kernel);
    }
    if is_3 {
        layout.must("v.patch_embd.bias", &[hidden], Role::Vector);
        layout.must("v.position_embd.weight", &[hidden, positions], Role::Vector);
    }
    for layer in 0..layers {
        let name = |part: &str| format!("v.blk.{layer}.{part}");
        norm(&mut layout, &name("ln1"), hidden);
        norm(&mut layout, &name("ln2"), hidden);
        if is_3 {
            linear(&mut layout, &name("attn_qkv"), hidden, 3 * hidden);
        } else {
            for part in ["attn_q", "attn_k", "attn_v"] {
                linear(&mut layout, &name(part), hidden, hidden);
            }
        }
        linear(&mut layout, &name("attn_out"), hidden, hidden);
        if is_25 {
            linear(&mut layout, &name("ffn_gate"), hidden, feed_forward);
        }
        linear(&mut layout, &name("ffn_up"), hidden, feed_forward);
        linear(&mut layout, &name("ffn_down"), feed_forward, hidden);
    }
    norm(&mut layout, "v.post_ln", hidden);
    linear(&mut layout, "mm.0", joined, joined);
    linear(&mut layout, "mm.2", joined, language);
    for block in features {
        let name = |part: &str| format!("v.deepstack.{block}.{part}");
        norm(&mut layout, &name("norm"), joined);
        linear(&mut layout, &name("fc1"), joined, joined);
        linear(&mut layout, &name("fc2"), joined, language);
    }
    layout
}
