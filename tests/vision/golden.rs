//! Embeddings against MM-PRM's, and encoders against each other.

use std::sync::Arc;

use mmprm::engine::LlamaEncoder;
use mmprm::image::Tile;
use mmprm::nn::gemm::Precision;
use mmprm::vision::{EncoderChoice, NativeEncoder, NativeOptions, VisionEncoder, open};
use mmprm_quant::convert::WeightType;

use crate::support::tensors::Tensors;
use crate::support::{cases, name, repository};
use crate::{converted, image, max_difference, mini, native, native_as};

/// MM-PRM's embeddings of each golden image, with the image's name.
fn references(folder: &std::path::Path) -> Vec<(String, Vec<f32>)> {
    let images = (0..4).map(|number| format!("img{number}"));
    images
        .filter_map(|name| {
            // The copy in the repository lacks some images.
            let path = folder.join(format!("{name}.safetensors"));
            path.exists().then(|| (name, Tensors::read(&path).floats("vit_embeds")))
        })
        .collect()
}

#[test]
fn golden_embeddings_of_the_native_encoder_agree_to_1e_4() {
    let mut compared = 0;
    for folder in cases("score") {
        let pair = converted(&name(&folder), WeightType::F32);
        for (precision, limit) in [(None, 2e-5), (Some(Precision::SplitBf16), 1e-4)] {
            let options = NativeOptions { precision, ..NativeOptions::default() };
            let encoder = NativeEncoder::load(&pair.mmproj, options).unwrap();
            for (stem, expected) in references(&folder) {
                let found = encoder.encode(&image(&stem)).unwrap();
                let distance = max_difference(&found, &expected);
                println!("{} {stem} {precision:?}: {distance:.1e}", name(&folder));
                assert!(distance < limit, "{} {stem} {precision:?}: {distance:e}", name(&folder));
                compared += 1;
            }
        }
    }
    assert!(compared > 0, "no golden case was found");
}

/// The difference from MM-PRM, whose weights are bf16, for each type of weights and precision of
/// products.
#[test]
fn golden_embeddings_of_narrow_weights_differ_by_their_rounding() {
    let mut compared = 0;
    for folder in cases("score") {
        for (weights, limit) in [(WeightType::F16, 1e-4_f32), (WeightType::Bf16, 1e-4), (WeightType::Q8_0, 0.2)] {
            let pair = converted(&name(&folder), weights);
            for precision in [Precision::Exact, Precision::SplitBf16, Precision::Bf16] {
                let encoder = native_as(&pair.mmproj, precision);
                for (stem, expected) in references(&folder) {
                    let distance = max_difference(&encoder.encode(&image(&stem)).unwrap(), &expected);
                    let largest = expected.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
                    println!("{} {stem} {weights:?} {precision:?}: {distance:.1e} of {largest:.2}", name(&folder));
                    let limit = if precision == Precision::Bf16 { limit.max(0.1) } else { limit };
                    assert!(distance < limit, "{stem} {weights:?} {precision:?}: {distance:e}");
                    compared += 1;
                }
            }
        }
    }
    assert!(compared > 0, "no golden case was found");
}

#[test]
fn both_encoders_agree_on_the_mini_policy() {
    let (model, mmproj) = mini();
    let ours = open(&mmproj, &model, EncoderChoice::Native, None, false).unwrap();
    let theirs = open(&mmproj, &model, EncoderChoice::LlamaCpp, None, false).unwrap();
    assert_eq!(
        (ours.tile_size(), ours.tokens_per_tile(), ours.width()),
        (theirs.tile_size(), theirs.tokens_per_tile(), theirs.width())
    );
    assert_ne!(ours.fingerprint(), theirs.fingerprint());
    let folder = repository().join("demo/mini-k12/test/images");
    let mut images: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    images.sort();
    let tiling = mmprm::image::Tiling { size: ours.tile_size(), ..crate::SMALL };
    let (mut worst, mut largest) = (0.0_f32, 0.0_f32);
    for path in images.iter().take(8) {
        let tiles = mmprm::image::tiles(&mmprm::image::load(path, &mmprm::image::Limits::default()).unwrap(), &tiling);
        let (ours, theirs) = (ours.encode(&tiles).unwrap(), theirs.encode(&tiles).unwrap());
        worst = worst.max(max_difference(&ours, &theirs));
        largest = theirs.iter().fold(largest, |largest, value| largest.max(value.abs()));
    }
    println!("largest difference {worst:.1e}, of values up to {largest:.1}");
    // llama.cpp rounds pixels and the operands of its products to 16 bits.
    assert!(worst < 5e-3 * largest, "{worst:e} of {largest}");
}

#[test]
fn auto_chooses_the_native_encoder_without_a_gpu() {
    let (model, mmproj) = mini();
    if mmprm::engine::gpu_devices().is_empty() {
        let auto = open(&mmproj, &model, EncoderChoice::Auto, None, true).unwrap();
        assert_eq!(auto.fingerprint(), native(&mmproj).fingerprint());
    }
    let theirs = LlamaEncoder::load(&mmproj, &Arc::clone(&model), None, false).unwrap();
    let chosen = open(&mmproj, &model, EncoderChoice::LlamaCpp, None, false).unwrap();
    assert_eq!(chosen.fingerprint(), VisionEncoder::fingerprint(&theirs));
}

#[test]
fn embeddings_are_bit_identical_beside_any_tiles_and_on_any_number_of_threads() {
    for weights in [WeightType::F32, WeightType::F16, WeightType::Q8_0] {
        let pair = converted("internlm2", weights);
        let encoder = native(&pair.mmproj);
        let tiles: Vec<Tile> = ["img0", "img1", "img0"].into_iter().flat_map(image).collect();
        let together = encoder.encode(&tiles).unwrap();
        let alone: Vec<f32> =
            tiles.iter().flat_map(|tile| encoder.encode(std::slice::from_ref(tile)).unwrap()).collect();
        assert!(together == alone, "{weights:?}: other tiles change bits");
        for threads in [1, 3] {
            let options = NativeOptions { threads: Some(threads), ..NativeOptions::default() };
            let encoder = NativeEncoder::load(&pair.mmproj, options).unwrap();
            assert!(encoder.encode(&tiles).unwrap() == together, "{weights:?}: {threads} threads change bits");
        }
    }
}
