//! Mutations of valid files: every key and every tensor, in every way that a file can be wrong.
//!
//! A mutated file is refused with the key or tensor in the message, or is one of the harmless
//! mutations listed here. Only headers are written; the data are a hole in the file.

use std::collections::BTreeMap;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use mmprm_quant::blocks::GgmlType;
use mmprm_quant::check;
use mmprm_quant::convert::{ConvertOptions, WeightType, plan};
use mmprm_quant::gguf::{GgufError, GgufFile, GgufValue, Metadata};

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
struct Header {
    metadata: Metadata,
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
    fn open(&self, path: &Path, alignment: u64) -> Result<GgufFile, GgufError> {
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
            dims.iter().for_each(|dim| bytes.extend(dim.to_le_bytes()));
            bytes.extend(type_id.to_le_bytes());
            bytes.extend(offset.to_le_bytes());
        }
        std::fs::write(path, &bytes).unwrap();
        let length = (bytes.len() as u64).next_multiple_of(alignment) + self.data;
        File::options().write(true).open(path).unwrap().set_len(length).unwrap();
        GgufFile::open(path)
    }

    fn set(&mut self, key: &str, value: GgufValue) {
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

/// A kind of file and the check for it.
struct Case {
    name: &'static str,
    header: Header,
    check: fn(&GgufFile) -> Result<(), GgufError>,
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

/// A Llama model made from the InternLM2 one: the same tensors under another name.
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

fn cases(directory: &Path) -> Vec<Case> {
    let open = |path: &PathBuf| header(&GgufFile::open(path).unwrap());
    let internlm2 = convert(directory, "mini-mm-policy");
    let golden = crate::common::golden_path("ckpt");
    let mut cases = vec![
        Case { name: "internlm2", header: open(&internlm2[0]), check: check::language },
        Case { name: "llama", header: llama(&open(&internlm2[0])), check: check::language },
        Case { name: "clip", header: open(&internlm2[1]), check: check::vision },
    ];
    for checkpoint in golden.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap()) {
        let folder = tempfile::tempdir_in(directory).unwrap();
        let plan = plan(&checkpoint.unwrap().path(), folder.path(), &ConvertOptions::new(WeightType::F32)).unwrap();
        plan.write(&mut mmprm_quant::no_progress).unwrap();
        let header = open(&plan.files[0].path);
        if header.metadata.iter().any(|(_, value)| value.as_str() == Some("qwen2")) {
            cases.push(Case { name: "qwen2", header, check: check::language });
            break;
        }
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

/// Whether a changed key is harmless: C++ reads it, if at all, as a value that it accepts.
fn is_harmless(key: &str, value: Option<&GgufValue>) -> bool {
    let name = key.split_once('.').map_or(key, |(_, name)| name);
    let number = value.and_then(GgufValue::as_u64);
    let float = match value {
        Some(GgufValue::F32(number)) => Some(*number),
        _ => None,
    };
    match (key, value) {
        // Not read by C++: this project's own keys and descriptions.
        _ if key.starts_with("mmprm.") => true,
        ("general.size_label", _) => true,
        ("general.name" | "general.type" | "general.description" | "tokenizer.chat_template", value) => {
            value.is_none_or(|value| value.as_str().is_some())
        }
        ("general.file_type" | "general.quantization_version", value) => {
            value.is_none() || number.is_some_and(|number| number <= u64::from(u16::MAX))
        }
        // Optional: llama.cpp has a default, which other rules see.
        (_, None) => {
            key.ends_with("_token_id")
                || key.starts_with("tokenizer.ggml.add_")
                || key == "tokenizer.ggml.token_type"
                || key == "tokenizer.ggml.pre"
                || name == "attention.head_count_kv"
                || name == "rope.freq_base"
                || name.starts_with("use_")
                || name.starts_with("vision.preproc_")
        }
        (_, Some(GgufValue::U32(id))) if key.ends_with("_token_id") => *id < 256,
        (_, Some(GgufValue::Bool(_))) => key.starts_with("tokenizer.ggml.add_") || name.starts_with("use_"),
        (_, Some(GgufValue::U32(1 | 3))) => {
            matches!(name, "context_length" | "vision.preproc_min_tiles" | "vision.preproc_max_tiles")
        }
        (_, Some(GgufValue::F32(_))) => {
            matches!(name, "attention.layer_norm_rms_epsilon" | "vision.attention.layer_norm_epsilon")
                && float == Some(1.0)
        }
        ("clip.vision.image_mean" | "clip.vision.image_std", Some(value)) => *value == vec![0.5_f32; 3].into(),
        _ => false,
    }
}

struct Report {
    name: &'static str,
    cases: usize,
    harmless: BTreeMap<String, usize>,
}

impl Report {
    /// Counts a mutated file; `part` is the key or tensor, `what` the mutation.
    fn add(
        &mut self,
        case: &Case,
        file: impl FnOnce() -> Result<GgufFile, GgufError>,
        part: &str,
        what: &str,
        harmless: bool,
    ) {
        self.cases += 1;
        let place = format!("{}: {part} = {what}", self.name);
        let result = catch_unwind(AssertUnwindSafe(|| file().and_then(|file| (case.check)(&file))));
        match result.unwrap_or_else(|_| panic!("{place}: panicked")) {
            Ok(()) => {
                assert!(harmless, "{place}: accepted");
                *self.harmless.entry(part.to_owned()).or_default() += 1;
            }
            Err(error) => {
                assert!(!harmless, "{place}: refused, but listed as harmless: {error}");
                let message = error.to_string();
                assert!(message.contains("mutant.gguf"), "{place}: {message}");
                assert!(message.contains("key '") || message.contains("tensor '"), "{place}: {message}");
            }
        }
    }
}

#[test]
fn every_mutation_of_a_key_is_refused_or_known_to_be_harmless() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mutant.gguf");
    let mut total = 0;
    for case in cases(directory.path()) {
        let mut report = Report { name: case.name, cases: 0, harmless: BTreeMap::new() };
        (case.check)(&case.header.open(&path, 32).unwrap()).unwrap();
        for (key, original) in &case.header.metadata {
            let mut mutant = case.header.clone();
            mutant.metadata.retain(|(known, _)| known != key);
            report.add(&case, || mutant.open(&path, 32), key, "missing", is_harmless(key, None));
            for value in values() {
                let same = format!("{value:?}") == format!("{original:?}");
                let mut mutant = case.header.clone();
                mutant.set(key, value.clone());
                let harmless = same || is_harmless(key, Some(&value));
                report.add(&case, || mutant.open(&path, 32), key, &value.to_string(), harmless);
            }
        }
        total += report.cases;
    }
    assert!(total > 3000, "{total} cases");
}
