//! Heads that score positions become metadata, and those that are not as their class has them are refused.

use crate::checkpoint::Checkpoint;
use mmprm_quant::convert::{Facts, WeightType, facts};
use mmprm_quant::gguf::GgufFile;
use mmprm_quant::head::{Activation, Head};
use mmprm_quant::hf::config::ScoringHead;
use mmprm_quant::progress::no_progress;
use mmprm_quant::quantize::{self, QuantType, QuantizeOptions};
use serde_json::json;

/// A checkpoint of a class with these tensors of a head in the place of the vocabulary's.
fn scoring(class: &str, head: &[(&str, &[usize])]) -> Checkpoint {
    let mut checkpoint = Checkpoint::qwen2();
    checkpoint.config["architectures"] = json!([class]);
    checkpoint.remove("lm_head");
    checkpoint.tensors.extend(head.iter().map(|(name, shape)| ((*name).to_owned(), shape.to_vec())));
    checkpoint
}

fn tokens() -> Checkpoint {
    scoring("Qwen2ForTokenClassification", &[("score.weight", &[2, 8]), ("score.bias", &[2])])
}

fn mlp() -> Checkpoint {
    scoring(
        "Qwen2ForProcessRewardModel",
        &[("score.0.weight", &[8, 8]), ("score.0.bias", &[8]), ("score.2.weight", &[2, 8]), ("score.2.bias", &[2])],
    )
}

fn value() -> Checkpoint {
    let mut checkpoint =
        scoring("Qwen2ForPrmModel", &[("v_head.summary.weight", &[1, 8]), ("v_head.summary.bias", &[1])]);
    checkpoint.tensors.push(("lm_head.weight".into(), vec![12, 8]));
    checkpoint
}

fn head(checkpoint: &Checkpoint) -> (GgufFile, Option<Head>) {
    let file = checkpoint.converted(WeightType::F16).remove(0);
    let head = Head::read(&file).unwrap();
    (file, head)
}

#[test]
fn a_head_is_written_as_metadata_with_all_its_numbers() {
    let (file, found) = head(&tokens());
    let found = found.unwrap();
    assert_eq!((found.layers.len(), found.activation), (1, None));
    assert_eq!((found.layers[0].outputs, found.layers[0].inputs), (2, 8));
    assert_eq!(found.layers[0].weight, (0..16).map(|index| index as f32).collect::<Vec<_>>());
    assert_eq!(found.layers[0].bias, Some(vec![0.0, 1.0]));
    // llama.cpp takes the embeddings where there is no head of the vocabulary.
    assert!(file.tensor("output.weight").is_none());
    let (_, found) = head(&mlp());
    let found = found.unwrap();
    assert_eq!((found.layers.len(), found.activation), (2, Some(Activation::Relu)));
    assert_eq!(found.layers[1].weight.len(), 16);
    let (file, found) = head(&value());
    assert_eq!(found.unwrap().layers[0].outputs, 1);
    assert!(file.tensor("output.weight").is_some());
    assert_eq!(head(&Checkpoint::qwen2()).1, None);
}

#[test]
fn quantisation_keeps_the_head() {
    let checkpoint = mlp();
    let (file, whole) = head(&checkpoint);
    let path = checkpoint.directory.path().join("quantised.gguf");
    let options = QuantizeOptions::new(QuantType::F32);
    quantize::plan(&file, &options).unwrap().write(&path, &mut no_progress).unwrap();
    assert_eq!(Head::read(&GgufFile::open(&path).unwrap()).unwrap(), whole);
}

#[test]
fn a_value_head_is_recognised_beside_any_class() {
    let mut checkpoint = value();
    checkpoint.config["architectures"] = json!(["Qwen2ForCausalLM"]);
    assert!(head(&checkpoint).1.is_some());
    assert_eq!(facts(&checkpoint.path()).unwrap().head, Some(ScoringHead::Value));
}

#[test]
fn facts_are_known_before_conversion() {
    let mut checkpoint = tokens();
    checkpoint.config["_name_or_path"] = json!("trl/prm");
    checkpoint.save(|_, _| 0.0);
    let Facts { source, head, is_multimodal } = facts(&checkpoint.path()).unwrap();
    assert_eq!(source.architecture.as_deref(), Some("Qwen2ForTokenClassification"));
    assert_eq!(source.name.as_deref(), Some("trl/prm"));
    assert_eq!((head, is_multimodal), (Some(ScoringHead::Classes { classes: 2, bias: true }), false));
    let images = Checkpoint::internvl();
    images.save(|_, _| 0.0);
    let facts = facts(&images.path()).unwrap();
    assert_eq!((facts.head, facts.is_multimodal), (None, true));
}

#[test]
fn a_head_of_the_wrong_shape_is_refused() {
    let shaped = |mut checkpoint: Checkpoint, name: &str, shape: &[usize]| {
        checkpoint.tensors.iter_mut().find(|(other, _)| other == name).unwrap().1 = shape.to_vec();
        checkpoint
    };
    shaped(tokens(), "score.weight", &[3, 8])
        .refused("tensor 'score.weight': shape [3, 8], expected [2, 8] from config");
    shaped(tokens(), "score.bias", &[1]).refused("tensor 'score.bias': shape [1], expected [2]");
    shaped(mlp(), "score.0.weight", &[4, 8]).refused("tensor 'score.0.weight': shape [4, 8], expected [8, 8]");
    shaped(mlp(), "score.2.weight", &[1, 8]).refused("tensor 'score.2.weight': shape [1, 8], expected [2, 8]");
    shaped(value(), "v_head.summary.weight", &[2, 8]).refused("'v_head.summary.weight': shape [2, 8], expected [1, 8]");
    let mut three = tokens();
    three.config["id2label"] = json!({"0": "bad", "1": "neutral", "2": "good"});
    three.refused("tensor 'score.weight': shape [2, 8], expected [3, 8]");
}

#[test]
fn a_part_of_a_head_that_is_missing_or_unknown_is_named() {
    for (mut checkpoint, part) in [
        (tokens(), "score.bias"),
        (tokens(), "score.weight"),
        (mlp(), "score.0.bias"),
        (mlp(), "score.2.weight"),
        (value(), "v_head.summary.bias"),
    ] {
        checkpoint.remove(part);
        checkpoint.refused(&format!("tensor '{part}': missing, expected shape"));
    }
    let mut without_bias = tokens();
    without_bias.config["token_classification_bias"] = json!(false);
    without_bias.refused("tensor 'score.bias': not part of this architecture");
    without_bias.remove("score.bias");
    assert_eq!(head(&without_bias).1.unwrap().layers[0].bias, None);
    let mut more = mlp();
    more.tensors.push(("score.4.weight".into(), vec![2, 2]));
    more.refused("tensor 'score.4.weight': not part of this architecture");
    // The class of a policy has no such head.
    let mut other = tokens();
    other.config["architectures"] = json!(["Qwen2ForCausalLM"]);
    other.tensors.push(("lm_head.weight".into(), vec![12, 8]));
    other.refused("tensor 'score.bias': not part of this architecture");
    other.config["architectures"] = json!(["Qwen2ForSequenceClassification"]);
    other.refused(
        "key 'architectures': [\"Qwen2ForSequenceClassification\"], expected one of Qwen2ForCausalLM, \
         Qwen2ForTokenClassification, Qwen2ForProcessRewardModel, Qwen2ForPrmModel",
    );
}

#[test]
fn numbers_that_are_not_finite_are_refused() {
    let checkpoint = tokens();
    checkpoint.save(|name, index| if (name, index) == ("score.weight", 5) { f32::NAN } else { 0.0 });
    let error = checkpoint.plan_saved(WeightType::F32).unwrap_err().to_string();
    assert!(error.contains("key 'mmprm.head.0.weight': element 5 is NaN, expected finite numbers"), "{error}");
}
