//! Vocabularies that llama.cpp would abort or throw on are refused.

use mmprm_quant::check;
use mmprm_quant::gguf::{GgufArray, GgufValue};

use crate::check_table::cases;

#[test]
fn vocabularies_that_abort_llama_cpp_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mutant.gguf");
    let mut cases = cases(directory.path()).into_iter();
    let case = cases.find(|case| case.name == "internlm2").unwrap();
    let value = |key: &str| case.header.metadata.iter().find(|(known, _)| known == key).unwrap().1.clone();
    let refused = |key: &str, value: GgufValue, expected: &str| {
        let mut mutant = case.header.clone();
        mutant.set(key, value);
        for check in [check::vocabulary, check::language] {
            let message = check(&mutant.open(&path, 32).unwrap()).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}, expected {expected}");
        }
    };
    let tokens = value("tokenizer.ggml.tokens").as_strings().unwrap().iter().map(str::to_owned).collect::<Vec<_>>();
    for byte in 0..=255_u8 {
        let text = format!("<0x{byte:02X}>");
        let lacking = tokens.iter().map(|token| if *token == text { format!("{token}?") } else { token.clone() });
        // Byte tokens without the text of a byte are found first, by their type.
        refused("tokenizer.ggml.tokens", lacking.collect::<Vec<_>>().into(), &format!("<0x{byte:02X}>"));
    }
    let with = |id: usize, text: &str| {
        let mut tokens = tokens.clone();
        text.clone_into(&mut tokens[id]);
        GgufValue::from(tokens)
    };
    let mut empty = tokens.clone();
    (empty[600], empty[700]) = (String::new(), "[EMPTY_600]".to_owned());
    refused("tokenizer.ggml.tokens", empty.into(), "tokens 600 and 700 are both '[EMPTY_600]'");
    refused("tokenizer.ggml.tokens", with(700, &tokens[600]), "tokens 600 and 700 are both");
    for model in ["bert", "t5", "rwkv", "none", "no_vocab", "plamo2", "gemma4", "test", "hybriddna", "whitespace", ""] {
        refused("tokenizer.ggml.model", model.into(), "key 'tokenizer.ggml.model'");
    }
    refused("tokenizer.ggml.model", "gpt2".into(), "key 'tokenizer.ggml.pre': 'default', expected one of");
    refused("tokenizer.ggml.pre", "gpt-4o".into(), "key 'tokenizer.ggml.pre'");
    let GgufValue::Array(GgufArray::I32(types)) = value("tokenizer.ggml.token_type") else { panic!("not i32[]") };
    for (id, wrong) in [(500, 7), (500, -1), (700, 6)] {
        let mut types = types.clone();
        types[id] = wrong;
        refused("tokenizer.ggml.token_type", types.into(), "key 'tokenizer.ggml.token_type'");
    }
    for length in [types.len() - 1, types.len() + 1, 0] {
        refused("tokenizer.ggml.scores", vec![0.0_f32; length].into(), "expected one per token");
    }
    refused("general.name", "my-Phi-3-model".into(), "key 'general.name'");
    refused("split.count", GgufValue::U16(2), "key 'split.count': 2, expected 0 to 1");
    let last = tokens.len() as u32;
    refused("tokenizer.ggml.eos_token_id", GgufValue::U32(last), &format!("key 'tokenizer.ggml.eos_token_id': {last}"));
}

/// By default the first token is number 11, which llama.cpp asserts to exist where it adds one.
#[test]
fn byte_level_vocabularies_have_the_token_that_they_add() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mutant.gguf");
    let case = cases(directory.path()).into_iter().find(|case| case.name == "llama").unwrap();
    let first = "key 'tokenizer.ggml.bos_token_id': missing";
    for (pre, adds) in [
        ("llama-bpe", true),
        ("llama3", true),
        ("falcon3", true),
        ("pixtral", true),
        ("gpt-2", false),
        ("qwen2", false),
    ] {
        for tokens in [11, 12] {
            let mut mutant = case.header.clone();
            mutant.metadata.retain(|(key, _)| !key.starts_with("tokenizer."));
            mutant.set("tokenizer.ggml.model", "gpt2".into());
            mutant.set("tokenizer.ggml.pre", pre.into());
            mutant.set("tokenizer.ggml.tokens", (0..tokens).map(|id| id.to_string()).collect::<Vec<_>>().into());
            mutant.set("tokenizer.ggml.merges", Vec::<String>::new().into());
            let refused = check::vocabulary(&mutant.open(&path, 32).unwrap()).err().map(|error| error.to_string());
            let expected = adds && tokens == 11;
            assert_eq!(refused.as_ref().is_some_and(|error| error.contains(first)), expected, "{pre}: {refused:?}");
            assert_eq!(refused.is_some(), expected, "{pre}: {refused:?}");
        }
    }
}

#[test]
fn merges_are_pairs_of_tokens() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mutant.gguf");
    let Some(case) = cases(directory.path()).into_iter().find(|case| case.name == "qwen2") else { return };
    for merge in ["", " ", "ab", "a ", " b", "a b c", "a  b", "a\0 b"] {
        let mut mutant = case.header.clone();
        mutant.set("tokenizer.ggml.merges", vec!["a b".to_owned(), merge.to_owned()].into());
        let message = check::language(&mutant.open(&path, 32).unwrap()).unwrap_err().to_string();
        assert!(message.contains("key 'tokenizer.ggml.merges': element 1 is"), "{message}");
    }
    for pre in ["default", "falcon", "gpt-4o", "kimi-k2", ""] {
        let mut mutant = case.header.clone();
        mutant.set("tokenizer.ggml.pre", pre.into());
        let message = check::language(&mutant.open(&path, 32).unwrap()).unwrap_err().to_string();
        assert!(message.contains("key 'tokenizer.ggml.pre'"), "{message}");
    }
}
