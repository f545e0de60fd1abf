//! Prompts beyond the context that a model was trained with.

use mmprm::engine::{Engine, EngineError, EngineOptions, LimitError};
use mmprm_quant::convert::WeightType;
use serde_json::Value;

use super::{LOOSE, filler, request, start, support};

/// An engine on the mini policy as if it had been trained with 64 positions, with or without dynamic scaling beyond.
fn trained(is_dynamic: bool) -> Engine {
    let base = support::repository().join("demo/checkpoints/mini-mm-policy");
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(&base).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    let path = folder.path().join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config["llm_config"]["max_position_embeddings"] = 64.into();
    assert_eq!(config["llm_config"]["rope_scaling"]["type"], "dynamic");
    if !is_dynamic {
        config["llm_config"]["rope_scaling"] = Value::Null;
    }
    std::fs::write(&path, config.to_string()).unwrap();
    let model = support::load(&support::convert(folder.path(), WeightType::F32));
    start(&model, EngineOptions { context: Some(512), parallel: Some(4), ..EngineOptions::default() })
}

#[test]
fn dynamic_scaling_beyond_the_trained_context_is_refused_and_rollouts_end_there() {
    let engine = trained(true);
    for completion in engine.generate(request(filler(1, 60), LOOSE, 3, 40)).unwrap() {
        assert!(completion.tokens.len() <= 5, "{completion:?}");
    }
    let refused = |error: EngineError| {
        let expected = LimitError::BeyondTrained { positions: 65, trained: 64 };
        assert!(matches!(&error, EngineError::Limit(found) if *found == expected), "{error}");
    };
    refused(engine.generate(request(filler(1, 65), LOOSE, 1, 1)).unwrap_err());
    refused(engine.probe(vec![filler(1, 65)], 5, &[1]).unwrap_err());
    assert_eq!(engine.probe(vec![filler(1, 64)], 1, &[1]).unwrap()[0].len(), 1);
}

#[test]
fn other_prompts_beyond_the_trained_context_are_counted() {
    let engine = trained(false);
    engine.generate(request(filler(1, 64), LOOSE, 1, 4)).unwrap();
    assert_eq!(engine.stats().beyond_trained, 0);
    assert!(!engine.generate(request(filler(1, 65), LOOSE, 2, 4)).unwrap().is_empty());
    assert_eq!(engine.stats().beyond_trained, 1);
}
