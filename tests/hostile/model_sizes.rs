//! Model files without a mistake but of unusual sizes: heads of two values, one block, odd widths, single patches. What
//! the checks accept, llama.cpp, its `clip` and the own encoder must be able to run.

use std::path::Path;

use mmprm_quant::gguf::{GgufFile, GgufValue};

use crate::gguf_mutation::{Gguf, Tensor};
use crate::models::{sandbox, score};
use crate::mutate::{Random, cases, is_wanted};
use crate::tally::Tally;

/// Width of the demo's language models, which vision towers of other sizes project to.
const LANGUAGE: u64 = 256;

#[test]
fn unusual_sizes() {
    let sandbox = sandbox();
    let mut tally = Tally::new("model sizes");
    for number in 0..cases(40) {
        let mut random = Random::new("sizes", number);
        let (file, command, what) = if number % 2 == 0 {
            let (file, what) = language_model(&sandbox.path("prm.gguf"), &mut random);
            (file, "score --log error -i text.json -o out.json --force --prm bad.gguf".to_owned(), what)
        } else {
            let (file, what) = vision_tower(&sandbox.path("prm-mmproj.gguf"), &mut random);
            let encoder = *random.of(&["auto", "llama.cpp"]);
            (file, score("prm.gguf", "bad.gguf", encoder), what)
        };
        if !is_wanted(&what) {
            continue;
        }
        sandbox.write("bad.gguf", file.bytes());
        let faults = tally.faults();
        tally.run(&what, &mut sandbox.command(&command));
        if tally.faults() > faults {
            tally.keep(sandbox.path("").as_path());
        }
    }
    tally.finish();
}

/// Collects the tensors of a model, in F32 and now and then F16.
struct Builder<'a> {
    tensors: Vec<Tensor>,
    random: &'a mut Random,
}

impl Builder<'_> {
    fn vector(&mut self, name: &str, dims: &[u64]) {
        self.add(name, dims, false);
    }

    fn matrix(&mut self, name: &str, dims: &[u64]) {
        let is_half = self.random.below(3) == 0;
        self.add(name, dims, is_half);
    }

    fn add(&mut self, name: &str, dims: &[u64], is_half: bool) {
        let elements = dims.iter().product::<u64>() as usize;
        let first = self.random.below(1 << 16);
        // Numbers of about 0.03 of both signs: 0x27.. and 0xa7.. as F16, 0x3c.. and 0xbc.. as F32.
        let number = |at: usize| ((first + at).wrapping_mul(40_503) >> 3) as u8;
        let data = (0..elements).flat_map(|at| {
            let sign = (number(at) & 1) << 7;
            if is_half { vec![number(at + 7), 0x27 | sign] } else { vec![0, 0, number(at + 7) & 0x7f, 0x3c | sign] }
        });
        let data = data.collect();
        self.tensors.push(Tensor { name: name.to_owned(), dims: dims.to_vec(), type_id: u32::from(is_half), data });
    }
}

/// A language model with the vocabulary of the one at `path`.
fn language_model(path: &Path, random: &mut Random) -> (Gguf, String) {
    let arch = *random.of(&["internlm2", "llama", "qwen2", "qwen3"]);
    let kv_heads = *random.of(&[1_u64, 1, 2, 3, 64]);
    let heads = kv_heads * *random.of(&[1, 1, 2, 5, 8]);
    let widths = [2_u64, 4, 6, 8, 10, 16, 18, 32, 64, 80, 128, 192, 256];
    let head = *random.of(if heads < 64 { &widths } else { &widths[..3] });
    let (blocks, feed_forward) = (1 + random.below(3), *random.of(&[1_u64, 2, 31, 32, 33, 100, 256]));
    // Queries of these may have another width than the hidden states.
    let is_wide = matches!(arch, "llama" | "qwen3") && random.below(3) == 0;
    let hidden = if is_wide { heads * *random.of(&[2, 32]) } else { heads * head };
    let context = *random.of(&[512_u32, 8192, 1 << 24]);
    let what = format!("{arch}: {heads}/{kv_heads} heads of {head}, {hidden}, {feed_forward}, {blocks}, {context}");

    let source = GgufFile::open(path).unwrap();
    let kept = |key: &String| !key.starts_with("internlm2.") && key != "general.architecture";
    let mut metadata: Vec<_> = source.metadata().iter().filter(|(key, _)| kept(key)).cloned().collect();
    metadata.push(("general.architecture".to_owned(), arch.into()));
    let mut number = |key: &str, value: u64| metadata.push((format!("{arch}.{key}"), GgufValue::U32(value as u32)));
    number("block_count", blocks as u64);
    number("context_length", context.into());
    number("embedding_length", hidden);
    number("feed_forward_length", feed_forward);
    number("attention.head_count", heads);
    number("attention.head_count_kv", kv_heads);
    if is_wide {
        for key in ["attention.key_length", "attention.value_length", "rope.dimension_count"] {
            number(key, head);
        }
    }
    metadata
        .push((format!("{arch}.attention.layer_norm_rms_epsilon"), GgufValue::F32(*random.of(&[1e-38, 1e-5, 1.0]))));
    if random.below(3) == 0 {
        let scaling = *random.of(&["none", "linear", "yarn", "longrope"]);
        metadata.push((format!("{arch}.rope.scaling.type"), scaling.into()));
        metadata
            .push((format!("{arch}.rope.scaling.factor"), GgufValue::F32(*random.of(&[1e-5, 0.5, 1.0, 40.0, 1e6]))));
        metadata.push((format!("{arch}.rope.freq_base"), GgufValue::F32(*random.of(&[1.001, 1e4, 1e15]))));
    }

    let tokens = source.get_strings("tokenizer.ggml.tokens").unwrap().len() as u64;
    let mut builder = Builder { tensors: Vec::new(), random };
    builder.matrix("token_embd.weight", &[hidden, tokens]);
    for block in 0..blocks {
        let name = |part: &str| format!("blk.{block}.{part}");
        builder.vector(&name("attn_norm.weight"), &[hidden]);
        for (part, width) in [("attn_q", heads * head), ("attn_k", kv_heads * head), ("attn_v", kv_heads * head)] {
            builder.matrix(&name(&format!("{part}.weight")), &[hidden, width]);
            if arch == "qwen2" {
                builder.vector(&name(&format!("{part}.bias")), &[width]);
            }
        }
        if arch == "qwen3" {
            builder.vector(&name("attn_q_norm.weight"), &[head]);
            builder.vector(&name("attn_k_norm.weight"), &[head]);
        }
        builder.matrix(&name("attn_output.weight"), &[heads * head, hidden]);
        builder.vector(&name("ffn_norm.weight"), &[hidden]);
        builder.matrix(&name("ffn_gate.weight"), &[hidden, feed_forward]);
        builder.matrix(&name("ffn_up.weight"), &[hidden, feed_forward]);
        builder.matrix(&name("ffn_down.weight"), &[feed_forward, hidden]);
    }
    builder.vector("output_norm.weight", &[hidden]);
    if arch == "internlm2" || builder.random.below(2) == 0 {
        builder.matrix("output.weight", &[hidden, tokens]);
    }
    (Gguf::new(metadata, builder.tensors), what)
}

/// A vision tower with the other keys of the one at `path`.
fn vision_tower(path: &Path, random: &mut Random) -> (Gguf, String) {
    let shuffle = *random.of(&[1_u64, 2, 2, 3, 4]);
    let grid = shuffle * *random.of(&[1_u64, 2, 3, 4, 16]);
    let patch = *random.of(&[1_u64, 2, 7, 14, 16, 64]);
    let (heads, head) = (*random.of(&[1_u64, 2, 3, 5, 64]), *random.of(&[1_u64, 2, 7, 8, 16, 40]));
    let (hidden, feed_forward) = (heads * head, *random.of(&[1_u64, 3, 32, 65]));
    let blocks = 1 + random.below(3);
    let what =
        format!("clip: {grid}² patches of {patch}, {shuffle}, {heads} heads of {head}, {feed_forward}, {blocks}");

    let source = GgufFile::open(path).unwrap();
    let mut file = Gguf::new(source.metadata().clone(), Vec::new());
    for (key, value) in [
        ("image_size", grid * patch),
        ("patch_size", patch),
        ("embedding_length", hidden),
        ("feed_forward_length", feed_forward),
        ("block_count", blocks as u64),
        ("attention.head_count", heads),
        ("projector.scale_factor", shuffle),
        ("preproc_max_tiles", *random.of(&[1, 6, 1024])),
    ] {
        file.set(&format!("clip.vision.{key}"), &GgufValue::U32(value as u32));
    }
    let mut builder = Builder { tensors: Vec::new(), random };
    builder.vector("v.class_embd", &[hidden]);
    builder.matrix("v.patch_embd.weight", &[patch, patch, 3, hidden]);
    builder.vector("v.patch_embd.bias", &[hidden]);
    builder.vector("v.position_embd.weight", &[hidden, grid * grid + 1]);
    let joined = hidden * shuffle * shuffle;
    let linear = |builder: &mut Builder<'_>, name: &str, inputs: u64, outputs: u64| {
        builder.matrix(&format!("{name}.weight"), &[inputs, outputs]);
        builder.vector(&format!("{name}.bias"), &[outputs]);
    };
    for block in 0..blocks {
        let name = |part: &str| format!("v.blk.{block}.{part}");
        for norm in ["ln1", "ln2"] {
            builder.vector(&name(&format!("{norm}.weight")), &[hidden]);
            builder.vector(&name(&format!("{norm}.bias")), &[hidden]);
        }
        for matrix in ["attn_q", "attn_k", "attn_v", "attn_out"] {
            linear(&mut builder, &name(matrix), hidden, hidden);
        }
        for scale in ["ls1.weight", "ls2.weight"] {
            builder.vector(&name(scale), &[hidden]);
        }
        linear(&mut builder, &name("ffn_up"), hidden, feed_forward);
        linear(&mut builder, &name("ffn_down"), feed_forward, hidden);
    }
    builder.vector("mm.model.mlp.0.weight", &[joined]);
    builder.vector("mm.model.mlp.0.bias", &[joined]);
    linear(&mut builder, "mm.model.mlp.1", joined, LANGUAGE);
    linear(&mut builder, "mm.model.mlp.3", LANGUAGE, LANGUAGE);
    file.tensors = builder.tensors;
    (file, what)
}
