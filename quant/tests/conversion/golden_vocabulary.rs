//! Vocabularies against MM-PRM's tokenizers: every id has the same text.

use mmprm_quant::hf::config::ModelConfig;
use mmprm_quant::hf::vocabulary::{Tokenizer, Vocabulary};
use serde_json::Value;

#[test]
fn golden_tokens_have_their_texts() {
    let Some(directory) = crate::common::golden_path("tokenizer") else { return };
    let text = std::fs::read_to_string(directory.join("cases.json")).unwrap();
    let cases: Value = serde_json::from_str(&text).unwrap();
    let mut compared = 0;
    for (name, strings) in cases["ids"].as_object().unwrap() {
        // The tokenizers are those of the tiny checkpoints, which know how many rows there are.
        let checkpoint = crate::common::golden().join("ckpt").join(name.split('_').next().unwrap());
        let tokenizer = directory.join(name);
        if !checkpoint.exists() || !tokenizer.exists() {
            continue;
        }
        let config = ModelConfig::read(&checkpoint).unwrap().language;
        let vocabulary = Vocabulary::read(&tokenizer, &config).unwrap();
        for (ids, texts) in strings.as_array().unwrap().iter().zip(cases["tokens"][name].as_array().unwrap()) {
            for (id, text) in ids.as_array().unwrap().iter().zip(texts.as_array().unwrap()) {
                let id = id.as_u64().unwrap() as usize;
                assert_eq!(vocabulary.tokens[id].text, text.as_str().unwrap(), "{name}: token {id}");
                compared += 1;
            }
        }
        if let Tokenizer::SentencePiece { add_space_prefix, .. } = vocabulary.tokenizer {
            assert_eq!(add_space_prefix, name.contains("dummy_prefix"), "{name}");
        }
    }
    assert!(compared > 0, "no golden case was found");
}
