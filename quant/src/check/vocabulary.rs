//! Vocabularies: what llama.cpp's tokenizers index, assert or look up without a check.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use super::apply::apply;
use super::keys::bad_key;
use super::rules::Of;
use super::table::ARCHITECTURES;
use crate::gguf::{GgufArray, GgufError, GgufFile, GgufValue, Texts};
use crate::hf::vocabulary::{TokenType, byte_text};

const TOKENS: &str = "tokenizer.ggml.tokens";
const MERGES: &str = "tokenizer.ggml.merges";
const PRE: &str = "tokenizer.ggml.pre";

/// Maximum number of tokens; real vocabularies have up to 260 thousand.
const MAX_TOKENS: usize = 1 << 22;

/// Pre-tokenizers of byte-level BPE for which llama.cpp has a splitter of its own, and those that besides only take digits apart
/// (from `smollm` on). For others it uses `std::regex` on whole words, whose recursion overflows the stack on long texts.
const PRE_TOKENIZERS: &[&str] = &[
    "qwen2",
    "deepseek-r1-qwen",
    "llama-bpe",
    "llama3",
    "llama-v3",
    "falcon3",
    "pixtral",
    "gpt-2",
    "phi-2",
    "olmo",
    "mpt",
    "smollm",
    "starcoder",
    "refact",
    "command-r",
    "codeshell",
];

/// Those of [`PRE_TOKENIZERS`] that add a first token unless the file says otherwise.
const LLAMA3: &[&str] = &["llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral"];

/// Checks what llama.cpp reads of a language model when it loads only its vocabulary.
///
/// # Errors
/// [`GgufError`] with the key and the expected value.
pub fn vocabulary(file: &GgufFile) -> Result<(), GgufError> {
    let arch = architecture(file)?;
    apply(file, arch, &[Of::Any, Of::Vocabulary])?;
    let tokens = file.get_strings(TOKENS)?;
    if tokens.len() > MAX_TOKENS {
        return Err(bad_key(file, TOKENS, format!("{} tokens", tokens.len()), format!("at most {MAX_TOKENS}")));
    }
    let ids = distinct(file, tokens)?;
    lengths(file, tokens.len())?;
    byte_tokens(file, tokens)?;
    match file.get_str("tokenizer.ggml.model")? {
        "llama" => sentencepiece(file, &ids),
        _ => byte_level(file),
    }?;
    ends(file, tokens.len())?;
    named_after_phi3(file, &ids)
}

/// Returns the architecture if it is let in.
pub(super) fn architecture(file: &GgufFile) -> Result<&str, GgufError> {
    let arch = file.get_str("general.architecture")?;
    if ARCHITECTURES.contains(&arch) {
        return Ok(arch);
    }
    let expected = format!("one of {}: others are not supported", ARCHITECTURES.join(", "));
    Err(bad_key(file, "general.architecture", format!("'{arch}'"), expected))
}

/// Returns the tokens as llama.cpp stores them; it asserts that they are distinct.
fn distinct<'a>(file: &GgufFile, tokens: &'a Texts) -> Result<HashSet<Cow<'a, str>>, GgufError> {
    let mut ids: HashMap<Cow<'a, str>, usize> = HashMap::with_capacity(tokens.len());
    for (id, token) in tokens.iter().enumerate() {
        // C++ reads up to the first NUL and renames empty texts.
        let text = match token.split('\0').next().unwrap_or_default() {
            "" => Cow::Owned(format!("[EMPTY_{id}]")),
            text => Cow::Borrowed(text),
        };
        if let Some(other) = ids.insert(text.clone(), id) {
            return Err(bad_key(file, TOKENS, format!("tokens {other} and {id} are both '{text}'"), "distinct texts"));
        }
    }
    Ok(ids.into_keys().collect())
}

/// Checks that scores and types have one element per token.
fn lengths(file: &GgufFile, tokens: usize) -> Result<(), GgufError> {
    for key in ["tokenizer.ggml.scores", "tokenizer.ggml.token_type"] {
        if let Some(GgufValue::Array(array)) = file.get(key)
            && array.len() != tokens
        {
            return Err(bad_key(file, key, format!("{} elements", array.len()), format!("one per token, {tokens}")));
        }
    }
    Ok(())
}

/// Checks the texts of byte tokens: llama.cpp reads the byte from the fourth and fifth character.
fn byte_tokens(file: &GgufFile, tokens: &Texts) -> Result<(), GgufError> {
    let key = "tokenizer.ggml.token_type";
    let Some(GgufValue::Array(GgufArray::I32(types))) = file.get(key) else { return Ok(()) };
    let known: HashSet<String> = (0..=u8::MAX).map(byte_text).collect();
    let mut bytes = tokens.iter().zip(types).enumerate().filter(|(_, (_, of))| **of == TokenType::Byte.id());
    match bytes.find(|(_, (text, _))| !known.contains(*text)) {
        Some((id, (text, _))) => {
            Err(bad_key(file, key, format!("token {id} is a byte, but its text is '{text}'"), "'<0x00>' to '<0xFF>'"))
        }
        None => Ok(()),
    }
}

/// Checks that every byte has a token: llama.cpp throws in the middle of a text otherwise.
fn sentencepiece(file: &GgufFile, ids: &HashSet<Cow<'_, str>>) -> Result<(), GgufError> {
    if let Some(missing) = (0..=u8::MAX).map(byte_text).find(|text| !ids.contains(text.as_str())) {
        return Err(bad_key(file, TOKENS, format!("no token '{missing}'"), "a token for each of the 256 bytes"));
    }
    if file.get("tokenizer.ggml.scores").is_none() {
        let path = file.path().to_owned();
        return Err(GgufError::MissingKey { path, key: "tokenizer.ggml.scores".to_owned(), expected: "f32[]" });
    }
    match file.get(PRE).and_then(GgufValue::as_str) {
        None | Some("default") => Ok(()),
        Some(pre) => Err(bad_key(file, PRE, format!("'{pre}'"), "'default' for the tokenizer 'llama'")),
    }
}

/// Checks the pre-tokenizer and the merges of a byte-level BPE.
fn byte_level(file: &GgufFile) -> Result<(), GgufError> {
    let pre = file.get_str(PRE)?;
    if !PRE_TOKENIZERS.contains(&pre) {
        let expected = format!("one of {} for the tokenizer 'gpt2'", PRE_TOKENIZERS.join(", "));
        return Err(bad_key(file, PRE, format!("'{pre}'"), expected));
    }
    let is_pair = |merge: &str| {
        merge.split_once(' ').is_some_and(|(left, right)| {
            !left.is_empty() && !right.is_empty() && !right.contains(' ') && !merge.contains('\0')
        })
    };
    match file.get_strings(MERGES)?.iter().enumerate().find(|(_, merge)| !is_pair(merge)) {
        Some((at, merge)) => {
            Err(bad_key(file, MERGES, format!("element {at} is '{merge}'"), "two tokens separated by one space"))
        }
        None => Ok(()),
    }
}

/// Checks that tokens to be added at the ends of a text exist: llama.cpp asserts it.
fn ends(file: &GgufFile, tokens: usize) -> Result<(), GgufError> {
    let spm = file.get_str("tokenizer.ggml.model")? == "llama";
    // llama.cpp's defaults, by tokenizer. A BPE adds a token for Llama's pre-tokenizers, by all of
    // their names.
    let llama3 = file.get_str(PRE).is_ok_and(|pre| LLAMA3.contains(&pre));
    let (bos, eos) = if spm { (1, 2) } else { (11, 11) };
    for (flag, id, by_default, default) in [
        ("tokenizer.ggml.add_bos_token", "tokenizer.ggml.bos_token_id", spm || llama3, Some(bos)),
        ("tokenizer.ggml.add_eos_token", "tokenizer.ggml.eos_token_id", false, Some(eos)),
        ("tokenizer.ggml.add_sep_token", "tokenizer.ggml.seperator_token_id", false, None),
    ] {
        let adds = file.get(flag).and_then(GgufValue::as_bool).unwrap_or(by_default);
        let exists = file.get(id).is_some() || default.is_some_and(|default| default < tokens);
        if adds && !exists {
            return Err(bad_key(file, id, "missing", format!("the token that {flag} adds")));
        }
    }
    Ok(())
}

/// Checks the tokens that llama.cpp looks up in models named after Phi-3, whatever they are.
fn named_after_phi3(file: &GgufFile, ids: &HashSet<Cow<'_, str>>) -> Result<(), GgufError> {
    let Ok(name) = file.get_str("general.name") else { return Ok(()) };
    let name = name.to_ascii_lowercase();
    let needed = ["</s>", "<unk>", "<s>", "<|endoftext|>"];
    match needed.iter().find(|token| !ids.contains(**token)) {
        Some(token) if name.contains("phi-3") || name.contains("phi3") => {
            let expected = format!("another name: llama.cpp looks up '{token}' in models of this name");
            Err(bad_key(file, "general.name", format!("'{name}'"), expected))
        }
        _ => Ok(()),
    }
}
