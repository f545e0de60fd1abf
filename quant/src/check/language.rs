//! Language models: how keys relate to each other, and the tensors of each architecture.

use super::apply::apply;
use super::keys::{bad_key, divides, equals, number, optional};
use super::rules::Of;
use super::tensors::{Layout, Role};
use super::vocabulary::vocabulary;
use crate::gguf::{GgufArray, GgufError, GgufFile, GgufValue};
use crate::head;

/// Checks a language model: its architecture is one that is let in, and keys, vocabulary and
/// tensors are as llama.cpp expects them.
///
/// # Errors
/// [`GgufError`] with the key or tensor and the expected value.
pub fn language(file: &GgufFile) -> Result<(), GgufError> {
    vocabulary(file)?;
    let arch = file.get_str("general.architecture")?;
    let kinds: &[Of] = if is_qwen(arch) { &[Of::Language, Of::QwenLanguage] } else { &[Of::Language] };
    apply(file, arch, kinds)?;
    let sizes = Sizes::read(file, arch)?;
    head::check(file, sizes.hidden)?;
    layout(arch, &sizes, file).check(file)
}

/// Whether positions have sections of time, height and width.
fn is_qwen(arch: &str) -> bool {
    matches!(arch, "qwen2vl" | "qwen3vl")
}

/// Sizes of a language model.
struct Sizes {
    layers: u64,
    hidden: u64,
    feed_forward: u64,
    /// Width of all query heads together.
    queries: u64,
    /// Width of all key heads together, and of all value heads.
    keys: u64,
    /// Width of a head.
    head: u64,
    tokens: u64,
}

impl Sizes {
    fn read(file: &GgufFile, arch: &str) -> Result<Self, GgufError> {
        let key = |name: &str| format!("{arch}.{name}");
        let hidden = number(file, &key("embedding_length"))?;
        let heads = number(file, &key("attention.head_count"))?;
        divides(file, &key("attention.head_count"), heads, hidden)?;
        let kv_heads = optional(file, &key("attention.head_count_kv")).unwrap_or(heads);
        divides(file, &key("attention.head_count_kv"), kv_heads, heads)?;
        // Only in these the queries may be narrower or wider than the hidden states.
        let own_width =
            optional(file, &key("attention.key_length")).filter(|_| matches!(arch, "llama" | "qwen3" | "qwen3vl"));
        let head = own_width.unwrap_or(hidden / heads);
        for name in ["attention.key_length", "attention.value_length", "rope.dimension_count"] {
            equals(file, &key(name), head, "the width of a head")?;
        }
        if own_width.is_some() && head != hidden / heads && file.get(&key("attention.value_length")).is_none() {
            let expected = format!("the width of a head, {head}, or llama.cpp takes {}", hidden / heads);
            return Err(bad_key(file, &key("attention.value_length"), "missing", expected));
        }
        if !head.is_multiple_of(2) {
            let expected = format!("heads of an even width, for rotary embeddings; {hidden} / {heads} is {head}");
            return Err(bad_key(file, &key("attention.head_count"), heads.to_string(), expected));
        }
        if is_qwen(arch) {
            sections(file, arch, head / 2)?;
        }
        let tokens = file.get_strings("tokenizer.ggml.tokens")?.len() as u64;
        equals(file, &key("vocab_size"), tokens, "the number of tokens")?;
        Ok(Self {
            layers: number(file, &key("block_count"))?,
            hidden,
            feed_forward: number(file, &key("feed_forward_length"))?,
            queries: head * heads,
            keys: head * kv_heads,
            head,
            tokens,
        })
    }
}

/// Checks the sections of positions, by whose sum ggml divides, and the features of the vision tower, which the graph adds after
/// blocks but the last.
fn sections(file: &GgufFile, arch: &str, pairs: u64) -> Result<(), GgufError> {
    let key = format!("{arch}.rope.dimension_sections");
    let expected = format!("four numbers, the last of them 0, whose sum is {pairs}, half the width of a head");
    match file.get(&key) {
        Some(GgufValue::Array(GgufArray::I32(sections))) if sections.len() == 4 && sections[3] == 0 => {
            let sum: i64 = sections.iter().map(|section| i64::from(*section)).sum();
            if sum as u64 != pairs {
                return Err(bad_key(file, &key, format!("{sections:?}"), expected));
            }
        }
        found => {
            let found = found.map_or_else(|| "missing".to_owned(), GgufValue::to_string);
            return Err(bad_key(file, &key, found, expected));
        }
    }
    let (blocks, key) = (number(file, &format!("{arch}.block_count"))?, format!("{arch}.n_deepstack_layers"));
    match optional(file, &key) {
        Some(found) if found >= blocks => {
            Err(bad_key(file, &key, found.to_string(), format!("fewer than the blocks, {blocks}")))
        }
        _ => Ok(()),
    }
}

fn layout(arch: &str, sizes: &Sizes, file: &GgufFile) -> Layout {
    let &Sizes { layers, hidden, feed_forward, queries, keys, head, tokens } = sizes;
    let mut layout = Layout::default();
    layout.must("token_embd.weight", &[hidden, tokens], Role::Matrix);
    for layer in 0..layers {
        let name = |part: &str| format!("blk.{layer}.{part}");
        layout.must(name("attn_norm.weight"), &[hidden], Role::Vector);
        for (part, width) in [("attn_q", queries), ("attn_k", keys), ("attn_v", keys)] {
            layout.must(name(&format!("{part}.weight")), &[hidden, width], Role::Matrix);
            let bias = name(&format!("{part}.bias"));
            if matches!(arch, "qwen2" | "qwen2vl") {
                layout.must(bias, &[width], Role::Vector);
            } else {
                layout.may(bias, &[width], Role::Vector);
            }
        }
        if matches!(arch, "qwen3" | "qwen3vl") {
            layout.must(name("attn_q_norm.weight"), &[head], Role::Vector);
            layout.must(name("attn_k_norm.weight"), &[head], Role::Vector);
        }
        layout.must(name("attn_output.weight"), &[queries, hidden], Role::Matrix);
        layout.must(name("ffn_norm.weight"), &[hidden], Role::Vector);
        for (part, inputs, outputs) in
            [("ffn_gate", hidden, feed_forward), ("ffn_up", hidden, feed_forward), ("ffn_down", feed_forward, hidden)]
        {
            layout.must(name(&format!("{part}.weight")), &[inputs, outputs], Role::Matrix);
            if arch == "llama" {
                layout.may(name(&format!("{part}.bias")), &[outputs], Role::Vector);
            }
        }
        if arch == "llama" {
            layout.may(name("attn_output.bias"), &[hidden], Role::Vector);
        }
    }
    layout.must("output_norm.weight", &[hidden], Role::Vector);
    // Without an output matrix llama.cpp uses the embeddings, except in InternLM2.
    if arch == "internlm2" {
        layout.must("output.weight", &[hidden, tokens], Role::Matrix);
    } else {
        layout.may("output.weight", &[hidden, tokens], Role::Matrix);
    }
    match arch {
        "qwen2" | "qwen2vl" => layout.may("output.bias", &[tokens], Role::Vector),
        "llama" => {
            let factors: &[&str] = match file.get("llama.rope.scaling.type").and_then(GgufValue::as_str) {
                Some("longrope") => &["rope_factors_long.weight", "rope_factors_short.weight"],
                _ => &["rope_freqs.weight"],
            };
            for name in factors {
                layout.may(*name, &[head / 2], Role::Vector);
            }
        }
        _ => {}
    }
    layout
}
