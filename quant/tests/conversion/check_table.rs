//! Mutations of valid files: every key and every tensor, in every way that a file can be wrong.
//!
//! A mutated file is refused with the key or tensor in the message, or is one of the harmless
//! mutations listed here. Only headers are written; the data are a hole in the file.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use mmprm_quant::blocks::GgmlType;
use mmprm_quant::check;
use mmprm_quant::convert::{ConvertOptions, WeightType, plan};
use mmprm_quant::gguf::{GgufArray, GgufError, GgufFile, GgufValue, Metadata};

/// A tensor description with its own offset, which need not be right.
#[derive(Clone)]
struct Entry {
    name: String,
    dims: Vec<u64>,
    type_id: u32,
    offset: u64,
}

/// A file that can be written wrongly.
#[derive(Clone)]
pub struct Header {
    pub metadata: Metadata,
    tensors: Vec<Entry>,
    /// Bytes of the data section.
    data: u64,
}

impl Header {
    fn of(metadata: &Metadata, tensors: impl Iterator<Item = (String, Vec<u64>, GgmlType)>) -> Self {
        let mut data = 0;
        let tensors = tensors
            .map(|(name, dims, ggml_type)| {
                let offset = data;
                data = (offset + ggml_type.tensor_bytes(&dims).unwrap()).next_multiple_of(32);
                Entry { name, dims, type_id: ggml_type.id(), offset }
            })
            .collect();
        Self { metadata: metadata.clone(), tensors, data }
    }

    /// Writes the header, with data for the given alignment, and opens it.
    pub fn open(&self, path: &Path, alignment: u64) -> Result<GgufFile, GgufError> {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        let string = |bytes: &mut Vec<u8>, text: &str| {
            bytes.extend((text.len() as u64).to_le_bytes());
            bytes.extend(text.as_bytes());
        };
        bytes.extend((self.tensors.len() as u64).to_le_bytes());
        bytes.extend((self.metadata.len() as u64).to_le_bytes());
        for (key, value) in &self.metadata {
            string(&mut bytes, key);
            value.encode(&mut bytes);
        }
        for Entry { name, dims, type_id, offset } in &self.tensors {
            string(&mut bytes, name);
            bytes.extend((dims.len() as u32).to_le_bytes());
            bytes.extend(dims.iter().flat_map(|dim| dim.to_le_bytes()));
            bytes.extend(type_id.to_le_bytes());
            bytes.extend(offset.to_le_bytes());
        }
        std::fs::write(path, &bytes).unwrap();
        let length = (bytes.len() as u64).next_multiple_of(alignment) + self.data;
        File::options().write(true).open(path).unwrap().set_len(length).unwrap();
        GgufFile::open(path)
    }

    pub fn set(&mut self, key: &str, value: GgufValue) {
        self.metadata.retain(|(known, _)| known != key);
        self.metadata.push((key.to_owned(), value));
    }

    /// Lays the tensors out again, after a change of their shapes or types.
    fn pack(&mut self) {
        self.data = 0;
        for tensor in &mut self.tensors {
            tensor.offset = self.data;
            let size = GgmlType::from_id(tensor.type_id).and_then(|of| of.tensor_bytes(&tensor.dims)).unwrap_or(0);
            self.data = self.data.saturating_add(size.min(1 << 40)).next_multiple_of(32);
        }
    }
}

type Check = Box<dyn Fn(&GgufFile) -> Result<(), GgufError>>;

/// A kind of file and the check for it.
pub struct Case {
    pub name: &'static str,
    pub header: Header,
    check: Check,
}

fn convert(directory: &Path, checkpoint: &str) -> Vec<PathBuf> {
    let checkpoint = crate::common::workspace().join("demo/checkpoints").join(checkpoint);
    let plan = plan(&checkpoint, directory, &ConvertOptions::new(WeightType::F16)).unwrap();
    plan.write(&mut mmprm_quant::no_progress).unwrap();
    plan.files.iter().map(|file| file.path.clone()).collect()
}

fn header(file: &GgufFile) -> Header {
    let tensors = file.tensors().iter().map(|tensor| (tensor.name.clone(), tensor.dims.clone(), tensor.ggml_type));
    Header::of(file.metadata(), tensors)
}

/// A Llama model made from the `InternLM2` one: the same tensors under another name.
fn llama(internlm2: &Header) -> Header {
    let mut header = internlm2.clone();
    for (key, value) in &mut header.metadata {
        if let Some(name) = key.strip_prefix("internlm2.") {
            *key = format!("llama.{name}");
        }
        if key == "general.architecture" {
            *value = "llama".into();
        }
    }
    header
}

/// An adapter of two matrices of `base`.
fn adapter(base: &GgufFile) -> Header {
    let text = |key: &str, value: &str| (key.to_owned(), GgufValue::from(value));
    let metadata = vec![
        text("general.architecture", "internlm2"),
        text("general.type", "adapter"),
        text("adapter.type", "lora"),
        ("adapter.lora.alpha".to_owned(), GgufValue::F32(2.0)),
        text("adapter.lora.task_name", "scores"),
    ];
    let pairs = ["blk.0.attn_q.weight", "blk.1.ffn_down.weight"].into_iter().flat_map(|name| {
        let [inputs, outputs] = base.tensor(name).unwrap().dims[..] else { panic!("not a matrix") };
        [(format!("{name}.lora_a"), vec![inputs, 4]), (format!("{name}.lora_b"), vec![4, outputs])]
    });
    Header::of(&metadata, pairs.map(|(name, dims)| (name, dims, GgmlType::F32)))
}

pub fn cases(directory: &Path) -> Vec<Case> {
    let open = |path: &PathBuf| header(&GgufFile::open(path).unwrap());
    let internlm2 = convert(directory, "mini-mm-policy");
    let golden = crate::common::golden_path("ckpt");
    let mut cases = vec![
        Case { name: "internlm2", header: open(&internlm2[0]), check: Box::new(check::language) },
        Case { name: "llama", header: llama(&open(&internlm2[0])), check: Box::new(check::language) },
        Case { name: "clip", header: open(&internlm2[1]), check: Box::new(check::vision) },
    ];
    let base = GgufFile::open(&internlm2[0]).unwrap();
    cases.push(Case {
        name: "adapter",
        header: adapter(&base),
        check: Box::new(move |file| check::adapter(file, &base)),
    });
    for checkpoint in golden.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap()) {
        let folder = tempfile::tempdir_in(directory).unwrap();
        let plan = plan(&checkpoint.unwrap().path(), folder.path(), &ConvertOptions::new(WeightType::F32)).unwrap();
        plan.write(&mut mmprm_quant::no_progress).unwrap();
        let header = open(&plan.files[0].path);
        if header.metadata.iter().any(|(_, value)| value.as_str() == Some("qwen2")) {
            cases.push(Case { name: "qwen2", header, check: Box::new(check::language) });
            break;
        }
    }
    if let Some(checkpoint) = crate::common::golden_path("families/qwen3") {
        let plan = plan(&checkpoint, directory, &ConvertOptions::new(WeightType::F32)).unwrap();
        plan.write(&mut mmprm_quant::no_progress).unwrap();
        cases.push(Case { name: "qwen3", header: open(&plan.files[0].path), check: Box::new(check::language) });
    }
    cases
}

/// Values of every type, with those at the ends of the ranges.
fn values() -> Vec<GgufValue> {
    vec![
        GgufValue::U32(0),
        GgufValue::U32(1),
        GgufValue::U32(3),
        GgufValue::U32(u32::MAX),
        GgufValue::U32(i32::MAX as u32),
        GgufValue::I32(-1),
        GgufValue::I32(1),
        GgufValue::U8(1),
        GgufValue::U16(u16::MAX),
        GgufValue::U64(u64::MAX),
        GgufValue::I64(-1),
        GgufValue::F32(0.0),
        GgufValue::F32(1.0),
        GgufValue::F32(-1.0),
        GgufValue::F32(f32::MAX),
        GgufValue::F32(f32::INFINITY),
        GgufValue::F32(f32::NAN),
        GgufValue::F64(1e-6),
        GgufValue::Bool(false),
        GgufValue::Bool(true),
        "".into(),
        "bert".into(),
        "\u{7}long ".repeat(100).into(),
        Vec::<String>::new().into(),
        vec!["a".to_owned(), "a".to_owned()].into(),
        vec![0_i32; 3].into(),
        vec![f32::NAN; 3].into(),
        vec![0.5_f32; 3].into(),
        vec![1_u8].into(),
    ]
}

/// Whether a changed key is harmless: C++ reads it, if at all, as a value that it accepts. `name` is
/// the key without the architecture.
#[expect(clippy::match_same_arms, clippy::float_cmp, reason = "a list with a line per key, and exact values")]
fn is_harmless(case: &Case, key: &str, value: Option<&GgufValue>) -> bool {
    let name = ["internlm2.", "llama.", "qwen2.", "qwen3.", "clip."].iter().find_map(|arch| key.strip_prefix(arch));
    let name = name.unwrap_or(key);
    let sentencepiece = !case.name.starts_with("qwen");
    let Some(value) = value else {
        // Optional: the default is as good, or does not change what is accepted.
        return key.starts_with("mmprm.")
            || key.starts_with("general.") && key != "general.architecture" && case.name != "adapter"
            || name.ends_with("_token_id")
            || name.starts_with("tokenizer.ggml.add_")
            || name.starts_with("use_")
            || name.starts_with("vision.preproc_")
            || name == "tokenizer.ggml.pre" && sentencepiece
            || name == "adapter.lora.task_name"
            || matches!(name, "tokenizer.ggml.token_type" | "tokenizer.chat_template" | "rope.freq_base");
    };
    match (name, value) {
        _ if name.starts_with("mmprm.") || name == "general.size_label" => true,
        ("general.type", _) if case.name == "adapter" => false,
        ("adapter.lora.alpha", GgufValue::F32(alpha)) => alpha.is_finite(),
        ("adapter.lora.task_name", GgufValue::String(_)) => true,
        ("general.name" | "general.type" | "general.description" | "tokenizer.chat_template", GgufValue::String(_)) => {
            true
        }
        ("general.file_type" | "general.quantization_version" | "tokenizer.ggml.token_type_count", value) => {
            matches!(value, GgufValue::U32(0..=3))
        }
        (_, GgufValue::U32(id)) if name.ends_with("_token_id") => *id <= 3,
        ("tokenizer.ggml.add_sep_token", GgufValue::Bool(adds)) => !adds,
        (_, GgufValue::Bool(_)) if name.starts_with("tokenizer.ggml.add_") => true,
        (_, GgufValue::Bool(_)) if name.starts_with("tokenizer.ggml.normalizer.") => true,
        ("tokenizer.ggml.remove_extra_whitespaces", GgufValue::Bool(_)) => true,
        // Without merges, every byte is a token.
        ("tokenizer.ggml.merges", GgufValue::Array(GgufArray::String(merges))) => sentencepiece || merges.is_empty(),
        ("vision.attention.head_count", GgufValue::U32(1)) => true,
        ("rope.scaling.finetuned", GgufValue::Bool(_)) => true,
        ("use_gelu", GgufValue::Bool(_)) | ("use_silu", GgufValue::Bool(false)) => true,
        ("attention.causal" | "vision.has_vision_encoder", GgufValue::Bool(true)) => true,
        ("has_audio_encoder" | "has_gen_audio_encoder", GgufValue::Bool(false)) => true,
        ("tokenizer.ggml.suppress_tokens", value) => *value == vec![0_i32; 3].into(),
        ("expert_count" | "expert_used_count" | "expert_group_count", GgufValue::U32(0)) => true,
        ("expert_group_used_count" | "nextn_predict_layers" | "pooling_type", GgufValue::U32(0)) => true,
        ("context_length" | "rope.scaling.original_context_length", GgufValue::U32(1 | 3)) => true,
        ("vision.preproc_min_tiles", GgufValue::U32(1)) | ("vision.preproc_max_tiles", GgufValue::U32(1 | 3)) => true,
        ("attention.layer_norm_rms_epsilon" | "vision.attention.layer_norm_epsilon", GgufValue::F32(epsilon)) => {
            *epsilon == 1.0
        }
        ("rope.scaling.factor" | "rope.scale_linear", GgufValue::F32(factor)) => *factor == 1.0,
        ("rope.scaling.attn_factor" | "rope.scaling.alpha", GgufValue::F32(factor)) => *factor == 1.0,
        ("vision.image_mean" | "vision.image_std", value) => *value == vec![0.5_f32; 3].into(),
        _ => false,
    }
}

/// Whether a changed tensor is harmless: a matrix may have any type of weights.
fn is_harmless_type(case: &Case, tensor: &Entry, to: GgmlType) -> bool {
    if case.name == "adapter" {
        return matches!(to, GgmlType::F32 | GgmlType::F16 | GgmlType::BF16 | GgmlType::Q8_0);
    }
    let weights = "F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ2_XXS IQ2_XS IQ2_S IQ3_XXS IQ3_S \
                   IQ1_S IQ1_M IQ4_NL IQ4_XS TQ1_0 TQ2_0 MXFP4 NVFP4 Q1_0 Q2_0";
    let is_matrix = tensor.dims.iter().filter(|dim| **dim > 1).count() == 2 && !tensor.name.contains("position");
    let is_kernel = tensor.name == "v.patch_embd.weight";
    (is_matrix && weights.split_whitespace().any(|name| name == to.to_string()))
        || (is_kernel && matches!(to, GgmlType::F32 | GgmlType::F16))
}

/// Opens and checks mutants, and collects those that do not go as they should.
struct Report {
    path: PathBuf,
    cases: usize,
    failures: Vec<String>,
}

impl Report {
    fn new(directory: &Path) -> Self {
        Self { path: directory.join("mutant.gguf"), cases: 0, failures: Vec::new() }
    }

    /// Opens and checks a mutant; `part` is the key or tensor, `what` the mutation.
    fn add(&mut self, case: &Case, mutant: &Header, part: &str, what: &str, harmless: bool) {
        self.cases += 1;
        let result =
            catch_unwind(AssertUnwindSafe(|| mutant.open(&self.path, 32).and_then(|file| (case.check)(&file))));
        let failure = match result {
            Err(_) => "panicked".to_owned(),
            Ok(Ok(())) if harmless => return,
            Ok(Ok(())) => "accepted".to_owned(),
            Ok(Err(error)) if harmless => format!("refused, but listed as harmless: {error}"),
            Ok(Err(error)) => {
                let message = error.to_string();
                let names = message.contains("key '") || message.contains("tensor '");
                if names && message.contains("mutant.gguf") {
                    return;
                }
                format!("refused without file or place: {message}")
            }
        };
        self.failures.push(format!("{}: {part} = {what}: {failure}", case.name));
    }

    fn finish(self, min_cases: usize) {
        let shown: Vec<&str> = self.failures.iter().map(String::as_str).take(60).collect();
        assert!(shown.is_empty(), "{} of {}:\n{}", self.failures.len(), self.cases, shown.join("\n"));
        assert!(self.cases >= min_cases, "{} cases, expected at least {min_cases}", self.cases);
    }
}

#[test]
#[cfg_attr(not(feature = "ggml"), ignore = "slow without optimisation: see CONTRIBUTING.md")]
fn every_mutation_of_a_key_is_refused_or_known_to_be_harmless() {
    let directory = tempfile::tempdir().unwrap();
    let mut report = Report::new(directory.path());
    for case in cases(directory.path()) {
        report.add(&case, &case.header, "nothing", "changed", true);
        let mut keys: Vec<String> = case.header.metadata.iter().map(|(key, _)| key.clone()).collect();
        let own = keys.len();
        keys.extend(check::table_keys(case.name).into_iter().filter(|key| !keys.contains(key)).collect::<Vec<_>>());
        for (index, key) in keys.iter().enumerate() {
            let original = case.header.metadata.iter().find(|(known, _)| known == key).map(|(_, value)| value);
            if index < own {
                let mut mutant = case.header.clone();
                mutant.metadata.retain(|(known, _)| known != key);
                report.add(&case, &mutant, key, "missing", is_harmless(&case, key, None));
            }
            for value in values() {
                let mut mutant = case.header.clone();
                mutant.set(key, value.clone());
                let harmless = original == Some(&value) || is_harmless(&case, key, Some(&value));
                report.add(&case, &mutant, key, &format!("{value:?}"), harmless);
            }
        }
    }
    report.finish(8000);
}

#[test]
#[cfg_attr(not(feature = "ggml"), ignore = "slow without optimisation: see CONTRIBUTING.md")]
fn every_mutation_of_a_tensor_is_refused_or_known_to_be_harmless() {
    let directory = tempfile::tempdir().unwrap();
    let mut report = Report::new(directory.path());
    for case in cases(directory.path()) {
        for (index, tensor) in case.header.tensors.iter().enumerate() {
            let mut mutate = |what: &str, harmless: bool, change: &dyn Fn(&mut Entry)| {
                let mut mutant = case.header.clone();
                change(&mut mutant.tensors[index]);
                mutant.pack();
                report.add(&case, &mutant, &tensor.name, what, harmless);
            };
            // All types for the first block and what is outside of blocks, those without kernels for all.
            let is_first = !tensor.name.contains("blk.") || tensor.name.contains("blk.0.");
            let types = (0..45).filter(|id| is_first || matches!(id, 9 | 15 | 24..=28));
            for id in types.filter(|id| *id != tensor.type_id) {
                let harmless = GgmlType::from_id(id).is_some_and(|to| {
                    tensor.dims[0].is_multiple_of(to.block_len()) && is_harmless_type(&case, tensor, to)
                });
                mutate(&format!("type {id}"), harmless, &|tensor| tensor.type_id = id);
            }
            for (at, dim) in tensor.dims.iter().enumerate() {
                for to in [0, 1, dim - 1, dim + 1, dim * 2, 1 << 31, u64::MAX] {
                    mutate(&format!("dims[{at}] = {to}"), to == *dim, &|tensor| tensor.dims[at] = to);
                }
            }
            mutate("without its last dimension", tensor.dims.last() == Some(&1), &|tensor| {
                tensor.dims.truncate(tensor.dims.len() - 1);
            });
            mutate("with another dimension of 1", tensor.dims.len() < 4 && case.name != "adapter", &|tensor| {
                tensor.dims.push(1);
            });
            mutate("with another dimension of 2", false, &|tensor| tensor.dims.push(2));
            mutate("under another name", false, &|tensor| tensor.name = "other".into());
            for offset in [1, 8, 32, 1 << 40, u64::MAX, u64::MAX - 31] {
                let mut mutant = case.header.clone();
                mutant.tensors[index].offset ^= offset;
                report.add(&case, &mutant, &tensor.name, "another offset", false);
            }
            let mut mutant = case.header.clone();
            mutant.tensors.remove(index);
            mutant.pack();
            report.add(&case, &mutant, &tensor.name, "missing", is_optional(&case, &tensor.name));
        }
    }
    report.finish(8000);
}

/// Whether a tensor may be missing.
fn is_optional(case: &Case, name: &str) -> bool {
    let is = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
    match case.name {
        "clip" => !name.starts_with("mm.") && is(&[".bias", "ls1.weight", "ls2.weight", "_norm.weight"]),
        "llama" | "qwen2" | "qwen3" => name == "output.weight",
        _ => false,
    }
}

#[test]
fn alignments_that_ggml_asserts_against_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mutant.gguf");
    for case in cases(directory.path()) {
        // The offsets of the tensors are multiples of 32, so they are the same for all of these.
        let sizes_are_multiples = |alignment: u64| {
            let mut mutant = case.header.clone();
            mutant.set("general.alignment", GgufValue::U32(alignment as u32));
            mutant.tensors.iter_mut().for_each(|tensor| tensor.offset = 0);
            mutant.tensors.truncate(1);
            mutant.open(&path, alignment.clamp(1, 1 << 20))
        };
        for alignment in [0, 1, 2, 4, 8, 16, 24, 31, 33, u64::from(u32::MAX)] {
            let result = sizes_are_multiples(alignment).and_then(|file| (case.check)(&file));
            let message = result.unwrap_err().to_string();
            assert!(message.contains("key 'general.alignment'"), "{alignment}: {message}");
        }
        for alignment in [32, 64, 4096] {
            let message = sizes_are_multiples(alignment).and_then(|file| (case.check)(&file)).unwrap_err().to_string();
            assert!(message.contains("tensor '") && message.contains("missing"), "{alignment}: {message}");
        }
    }
}

/// C compares names up to their first NUL, so it would read these keys as those of the table.
#[test]
fn names_that_c_reads_as_others_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mutant.gguf");
    for case in cases(directory.path()) {
        for key in check::table_keys(case.name) {
            for end in ["\0", "\0.x"] {
                let mut mutant = case.header.clone();
                mutant.metadata.insert(0, (format!("{key}{end}"), GgufValue::U32(5)));
                let message = mutant.open(&path, 32).unwrap_err().to_string();
                assert!(message.contains("metadata key 0 ") && message.contains("NUL"), "{key}: {message}");
            }
        }
        let mut mutant = case.header.clone();
        mutant.tensors[1].name.push_str("\0x");
        let message = mutant.open(&path, 32).unwrap_err().to_string();
        assert!(message.contains("name of tensor 1 ") && message.contains("NUL"), "{message}");
    }
}

#[test]
fn only_listed_architectures_are_let_in() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mutant.gguf");
    let case = cases(directory.path()).into_iter().find(|case| case.name == "llama").unwrap();
    for arch in [
        "",
        "mamba",
        "rwkv6",
        "qwen2moe",
        "llama4",
        "dream",
        "llada",
        "t5",
        "bert",
        "grok",
        "clip",
        "Llama",
        "qwen3vlmoe",
    ] {
        let mut mutant = case.header.clone();
        mutant.metadata = mutant
            .metadata
            .into_iter()
            .map(|(key, value)| (key.replace("llama.", &format!("{arch}.")), value))
            .filter(|(key, _)| key != "general.architecture")
            .collect();
        mutant.set("general.architecture", arch.into());
        let file = mutant.open(&path, 32).unwrap();
        for check in [check::language, check::vocabulary] {
            let message = check(&file).unwrap_err().to_string();
            let expected = format!("key 'general.architecture': '{arch}', expected one of internlm2, llama, qwen2");
            assert!(message.contains(&expected), "{message}");
        }
    }
}

#[test]
fn keys_and_tensors_that_clip_would_read_unchecked_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mutant.gguf");
    let case = cases(directory.path()).into_iter().find(|case| case.name == "clip").unwrap();
    for key in
        ["clip.vision.image_grid_pinpoints", "clip.vision.feature_layer", "clip.minicpmv_version", "clip.audio.x"]
    {
        let mut mutant = case.header.clone();
        mutant.set(key, GgufValue::U32(1));
        let message = check::vision(&mutant.open(&path, 32).unwrap()).unwrap_err().to_string();
        assert!(message.contains(&format!("key '{key}'")), "{message}");
    }
    for (min, max, accepted) in [(1, 1, true), (2, 4, true), (3, 9, true), (2, 3, false), (3, 3, false), (4, 12, false)]
    {
        let mut mutant = case.header.clone();
        mutant.set("clip.vision.preproc_min_tiles", GgufValue::U32(min));
        mutant.set("clip.vision.preproc_max_tiles", GgufValue::U32(max));
        let result = check::vision(&mutant.open(&path, 32).unwrap());
        assert_eq!(result.is_ok(), accepted, "{min} to {max} tiles: {result:?}");
    }
    let mut mutant = case.header.clone();
    mutant.set("clip.vision.image_size", GgufValue::U32(14 * 65));
    let message = check::vision(&mutant.open(&path, 32).unwrap()).unwrap_err().to_string();
    assert!(message.contains("key 'clip.vision.image_size': 910, expected at most 64 patches"), "{message}");
    let mut mutant = case.header.clone();
    // 4,097 positions: 67 MB per head.
    let hidden = mutant.tensors.iter().find(|tensor| tensor.name == "v.class_embd").unwrap().dims[0] as u32;
    mutant.set("clip.vision.image_size", GgufValue::U32(14 * 64));
    mutant.set("clip.vision.attention.head_count", GgufValue::U32(hidden.min(64)));
    let message = check::vision(&mutant.open(&path, 32).unwrap()).unwrap_err().to_string();
    assert!(message.contains("key 'clip.vision.attention.head_count': 64, expected at most 3 for 64×64"), "{message}");
    for name in ["v.pre_ln.weight", "v.post_ln.bias", "v.blk.0.attn_qkv.weight", "v.blk.0.ffn_gate.weight", "a.conv"] {
        let mut mutant = case.header.clone();
        mutant.tensors.push(Entry { name: name.into(), dims: vec![1], type_id: 0, offset: 0 });
        mutant.pack();
        let message = check::vision(&mutant.open(&path, 32).unwrap()).unwrap_err().to_string();
        assert!(message.contains(&format!("tensor '{name}'")), "{message}");
    }
}
