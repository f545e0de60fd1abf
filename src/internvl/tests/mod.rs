//! Whole passes against a naive implementation in `f64`, and against each other.

mod exact;
mod files;
mod lora;
mod naive;
mod passes;
mod trees;

use std::convert::Infallible;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{Config, ImageSpan, Layout, Model, Packed, Parameters, Role, Store, Tiles};
use crate::nn::attention::{Mask, Segments};
use crate::nn::testing::Random;

/// Tokens of a tile in the test models.
const TILE: usize = 4;
/// Vocabulary size.
const VOCABULARY: usize = 13;

/// Layout of a small model.
fn config(language: &str, vision: &Value, tied: bool) -> Arc<Layout> {
    let mut config = json!({
        "ps_version": "v2",
        "vision_config": {
            "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12, "image_size": 28,
            "patch_size": 7, "layer_norm_eps": 1e-6
        },
        "llm_config": {
            "model_type": language, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "intermediate_size": 20, "vocab_size": VOCABULARY, "rope_theta": 100.0,
            "tie_word_embeddings": tied, "max_position_embeddings": 16,
            "rope_scaling": {"type": "dynamic", "factor": 2.0}
        }
    });
    for (field, value) in vision.as_object().unwrap() {
        config["vision_config"][field] = value.clone();
    }
    Layout::new(&Config::from_json(&config).unwrap())
}

/// The vision tower of InternViT-300M, and that of InternViT-6B.
fn towers() -> [Value; 2] {
    [
        json!({"norm_type": "layer_norm", "qk_normalization": false, "qkv_bias": true}),
        json!({"norm_type": "rms_norm", "qk_normalization": true, "qkv_bias": false}),
    ]
}

/// Random values, large enough for every nonlinearity to matter.
fn parameters(layout: &Arc<Layout>, seed: u64) -> Parameters {
    let mut random = Random::new(seed);
    let load = |index: usize| {
        let tensor = &layout.tensors()[index];
        let (centre, spread) = match tensor.role {
            Role::Matrix => (0.0, 1.0 / (tensor.matrix().1 as f32).sqrt()),
            Role::Embedding => (0.0, 0.7),
            Role::Norm => (1.0, 0.2),
            Role::Scale => (0.5, 0.2),
            Role::Bias | Role::LoraA | Role::LoraB | Role::TokenRows => (0.0, 0.2),
        };
        let values = (0..tensor.len()).map(|_| centre + spread * random.normal());
        Ok::<_, Infallible>(Store::F32(values.collect()))
    };
    Parameters::load(layout, load).unwrap()
}

fn model(layout: &Arc<Layout>, seed: u64) -> (Model, Parameters) {
    (Model::new(layout), parameters(layout, seed))
}

/// A random sequence with one image of two tiles.
fn sequence(random: &mut Random, length: usize) -> Packed {
    let tokens = (0..length).map(|_| random.below(VOCABULARY) as u32).collect();
    Packed {
        tokens,
        segments: Segments::plain(&[length], Mask::Causal),
        images: vec![ImageSpan { first: 2, tiles: 0..2 }],
        tiles: Tiles::Pixels(random.normals(2 * 3 * 28 * 28)),
    }
}

/// ‖a − b‖ / ‖b‖
fn relative(a: &[f32], b: &[f32]) -> f64 {
    let square = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>();
    let off = square(&mut a.iter().zip(b).map(|(a, b)| f64::from(*a) - f64::from(*b)));
    (off / square(&mut b.iter().map(|b| f64::from(*b))).max(1e-30)).sqrt()
}
