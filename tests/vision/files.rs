//! Projector files of other converters, and files that an encoder refuses.

use std::path::{Path, PathBuf};

use mmprm::vision::{EncoderChoice, NativeEncoder, NativeOptions, VisionEncoder, open};
use mmprm_quant::convert::WeightType;
use mmprm_quant::gguf::{GgufArray, GgufFile, GgufValue, GgufWriter, Metadata, TensorSpec};

use crate::support::load;
use crate::{converted, image, native};

/// A tensor's description and bytes.
type Tensor = (TensorSpec, Vec<u8>);

/// A changed copy of a file.
fn rewritten(path: &Path, change: impl FnOnce(&mut Metadata, &mut Vec<Tensor>)) -> PathBuf {
    let file = GgufFile::open(path).unwrap();
    let mut metadata = file.metadata().clone();
    let spec = |tensor: &mmprm_quant::gguf::TensorInfo| TensorSpec {
        name: tensor.name.clone(),
        dims: tensor.dims.clone(),
        ggml_type: tensor.ggml_type,
    };
    let mut tensors: Vec<Tensor> =
        file.tensors().iter().map(|tensor| (spec(tensor), file.tensor_data(tensor).to_vec())).collect();
    change(&mut metadata, &mut tensors);
    let other = path.with_file_name("changed.gguf");
    let specs: Vec<TensorSpec> = tensors.iter().map(|(spec, _)| spec.clone()).collect();
    let mut writer = GgufWriter::create(&other, &metadata, &specs).unwrap();
    for (_, bytes) in &tensors {
        writer.write(bytes).unwrap();
    }
    writer.finish().unwrap();
    other
}

fn set(metadata: &mut Metadata, key: &str, value: GgufValue) {
    metadata.iter_mut().find(|(known, _)| known == key).unwrap().1 = value;
}

/// The native encoder's error for a file.
fn refused(path: &Path) -> String {
    NativeEncoder::load(path, NativeOptions::default()).unwrap_err().to_string()
}

#[test]
fn a_file_in_the_checkpoints_order_of_positions_gives_the_same_embeddings() {
    let pair = converted("internlm2", WeightType::F32);
    let tiles = image("img1");
    let expected = native(&pair.mmproj).encode(&tiles).unwrap();
    let other = rewritten(&pair.mmproj, |metadata, tensors| {
        metadata.retain(|(key, _)| !key.starts_with("mmprm."));
        let (spec, bytes) = tensors.iter_mut().find(|(spec, _)| spec.name == "v.position_embd.weight").unwrap();
        bytes.rotate_right(spec.dims[0] as usize * size_of::<f32>());
    });
    assert!(native(&other).encode(&tiles).unwrap() == expected);
}

#[test]
fn biases_of_zero_and_scales_of_one_may_be_left_out() {
    let pair = converted("qwen2", WeightType::F32);
    let is = |name: &str| name == "v.blk.0.ffn_up.bias" || name == "v.blk.1.ls2.weight";
    let plain = rewritten(&pair.mmproj, |_, tensors| {
        for (spec, bytes) in tensors.iter_mut().filter(|(spec, _)| is(&spec.name)) {
            let value = if spec.name.ends_with("bias") { 0.0_f32 } else { 1.0 };
            *bytes = std::iter::repeat_n(value.to_le_bytes(), bytes.len() / 4).flatten().collect();
        }
    });
    let tiles = image("img1");
    let expected = native(&plain).encode(&tiles).unwrap();
    let other = rewritten(&plain, |_, tensors| tensors.retain(|(spec, _)| !is(&spec.name)));
    assert!(native(&other).encode(&tiles).unwrap() == expected);
}

#[test]
fn queries_keys_and_values_may_differ_in_type() {
    let (wide, narrow) = (converted("internlm2", WeightType::F32), converted("internlm2", WeightType::Q8_0));
    let tiles = image("img1");
    let names = ["v.blk.0.attn_q.weight", "v.blk.1.attn_v.weight"];
    let mixed = rewritten(&wide.mmproj, |_, tensors| {
        let file = GgufFile::open(&narrow.mmproj).unwrap();
        for (spec, bytes) in tensors.iter_mut().filter(|(spec, _)| names.contains(&spec.name.as_str())) {
            let tensor = file.tensor(&spec.name).unwrap();
            (spec.ggml_type, *bytes) = (tensor.ggml_type, file.tensor_data(tensor).to_vec());
        }
    });
    let found = native(&mixed).encode(&tiles).unwrap();
    let between = |other: &Path| crate::max_difference(&found, &native(other).encode(&tiles).unwrap());
    // Two of eighteen matrices are rounded: the result equals neither file's and is nearer to the
    // exact one.
    let rounding = crate::max_difference(
        &native(&wide.mmproj).encode(&tiles).unwrap(),
        &native(&narrow.mmproj).encode(&tiles).unwrap(),
    );
    assert!((f32::MIN_POSITIVE..rounding * 1.5).contains(&between(&wide.mmproj)));
    assert!(between(&narrow.mmproj) > 0.0);
}

#[test]
fn the_native_encoder_names_what_it_cannot_run() {
    let pair = converted("internlm2", WeightType::F32);
    let text = |text: &str| GgufValue::String(text.to_owned());
    let sigmoid = rewritten(&pair.mmproj, |metadata, _| set(metadata, "clip.use_gelu", GgufValue::Bool(false)));
    assert!(refused(&sigmoid).contains("key 'clip.use_gelu': expected true"), "{}", refused(&sigmoid));
    let order = |metadata: &mut Metadata| set(metadata, "mmprm.vision.class_position", text("middle"));
    let order = rewritten(&pair.mmproj, |metadata, _| order(metadata));
    assert!(refused(&order).contains("key 'mmprm.vision.class_position'"), "{}", refused(&order));
    let norm = rewritten(&pair.mmproj, |metadata, _| set(metadata, "mmprm.vision.norm", text("batch")));
    assert!(refused(&norm).contains("key 'mmprm.vision.norm'"), "{}", refused(&norm));
    let deviation = GgufValue::Array(GgufArray::F32(vec![0.2, 0.0, 0.2]));
    let deviation = rewritten(&pair.mmproj, |metadata, _| set(metadata, "clip.vision.image_std", deviation));
    assert!(refused(&deviation).contains("key 'clip.vision.image_std'"), "{}", refused(&deviation));
    let more = rewritten(&pair.mmproj, |_, tensors| {
        let norm = tensors.iter().find(|(spec, _)| spec.name == "v.blk.0.ln1.weight").unwrap().clone();
        tensors.push((TensorSpec { name: "v.post_ln.weight".into(), ..norm.0 }, norm.1));
    });
    assert!(refused(&more).contains("tensor 'v.post_ln.weight'"), "{}", refused(&more));
    let missing =
        rewritten(&pair.mmproj, |_, tensors| tensors.retain(|(spec, _)| spec.name != "v.blk.2.ffn_up.weight"));
    assert!(refused(&missing).contains("tensor 'v.blk.2.ffn_up.weight': missing"), "{}", refused(&missing));
}

#[test]
fn auto_falls_back_to_llama_cpp() {
    let pair = converted("internlm2", WeightType::F32);
    let model = load(&pair);
    let sigmoid = rewritten(&pair.mmproj, |metadata, _| set(metadata, "clip.use_gelu", GgufValue::Bool(false)));
    assert!(open(&sigmoid, &model, EncoderChoice::Native, None, false).is_err());
    let auto = open(&sigmoid, &model, EncoderChoice::Auto, None, false).unwrap();
    let theirs = open(&sigmoid, &model, EncoderChoice::LlamaCpp, None, false).unwrap();
    assert_eq!(auto.fingerprint(), theirs.fingerprint());
}

#[test]
fn a_projector_of_another_model_is_refused() {
    let pair = converted("internlm2", WeightType::F32);
    let (mini, _) = crate::mini();
    for choice in [EncoderChoice::Native, EncoderChoice::LlamaCpp] {
        let error = open(&pair.mmproj, &mini, choice, None, false).unwrap_err().to_string();
        assert!(error.contains("the two files are not a pair"), "{error}");
    }
}

#[test]
fn tiles_of_another_size_are_refused() {
    let pair = converted("internlm2", WeightType::F32);
    let mut tiles = image("img1");
    tiles[1] = mmprm::image::Tile { size: 2, rgb: vec![0; 12] };
    let error = native(&pair.mmproj).encode(&tiles).unwrap_err().to_string();
    assert_eq!(error, "the tile has 2 pixels per side, expected 112");
}
