//! Mutations of GGUF files: every key and tensor in every way that they can be wrong, and random bytes of the header.
//!
//! Files are encoded here, byte by byte, because the project's own writer refuses what is wrong. Which program reads
//! them is left to [`models`](super::models).

use std::path::Path;

use mmprm_quant::blocks::GgmlType;
use mmprm_quant::gguf::{GgufFile, GgufValue};

use crate::mutate::Random;

/// Bytes that data and tensors are aligned to.
const ALIGNMENT: usize = 32;

/// A tensor, whose description need not fit its data.
#[derive(Clone)]
pub struct Tensor {
    pub name: String,
    pub dims: Vec<u64>,
    pub type_id: u32,
    pub data: Vec<u8>,
}

/// A GGUF file that can be written wrongly.
#[derive(Clone)]
pub struct Gguf {
    /// Keys with their encoded types and values.
    pub metadata: Vec<(String, Vec<u8>)>,
    pub tensors: Vec<Tensor>,
    /// Added to the offsets of these tensors.
    shifts: Vec<(usize, u64)>,
}

impl Gguf {
    pub fn new(metadata: Vec<(String, GgufValue)>, tensors: Vec<Tensor>) -> Self {
        let metadata = metadata.into_iter().map(|(key, value)| (key, encoded(&value))).collect();
        Self { metadata, tensors, shifts: Vec::new() }
    }

    pub fn read(path: &Path) -> Self {
        let file = GgufFile::open(path).unwrap();
        let tensors = file.tensors().iter().map(|tensor| Tensor {
            name: tensor.name.clone(),
            dims: tensor.dims.clone(),
            type_id: tensor.ggml_type.id(),
            data: file.tensor_data(tensor).to_vec(),
        });
        Self::new(file.metadata().clone(), tensors.collect())
    }

    /// Replaces the value of a key, or adds it.
    pub fn set(&mut self, key: &str, value: &GgufValue) {
        self.set_bytes(key, encoded(value));
    }

    fn set_bytes(&mut self, key: &str, bytes: Vec<u8>) {
        match self.metadata.iter_mut().find(|(known, _)| known == key) {
            Some((_, value)) => *value = bytes,
            None => self.metadata.push((key.to_owned(), bytes)),
        }
    }

    /// Encodes the file; also returns the length of its header.
    fn encode(&self) -> (Vec<u8>, usize) {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend((self.tensors.len() as u64).to_le_bytes());
        bytes.extend((self.metadata.len() as u64).to_le_bytes());
        for (key, value) in &self.metadata {
            text(&mut bytes, key);
            bytes.extend(value);
        }
        let mut offset = 0;
        for (index, tensor) in self.tensors.iter().enumerate() {
            text(&mut bytes, &tensor.name);
            bytes.extend((tensor.dims.len() as u32).to_le_bytes());
            bytes.extend(tensor.dims.iter().flat_map(|dim| dim.to_le_bytes()));
            bytes.extend(tensor.type_id.to_le_bytes());
            let shift = self.shifts.iter().find(|(of, _)| *of == index).map_or(0, |(_, shift)| *shift);
            bytes.extend((offset as u64).wrapping_add(shift).to_le_bytes());
            offset += tensor.data.len().next_multiple_of(ALIGNMENT);
        }
        let header = bytes.len();
        for tensor in &self.tensors {
            bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
            bytes.extend(&tensor.data);
        }
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
        (bytes, header)
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.encode().0
    }
}

fn encoded(value: &GgufValue) -> Vec<u8> {
    let mut bytes = Vec::new();
    value.encode(&mut bytes);
    bytes
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

/// A mutation and what it is.
pub struct Case {
    pub what: String,
    change: Box<dyn Fn(&mut Gguf)>,
}

impl Case {
    fn new(what: String, change: impl Fn(&mut Gguf) + 'static) -> Self {
        Self { what, change: Box::new(change) }
    }

    fn of_tensor(index: usize, name: &str, what: &str, change: impl Fn(&mut Tensor) + 'static) -> Self {
        Self::new(format!("{name} {what}"), move |file| change(&mut file.tensors[index]))
    }

    /// Returns the bytes of the mutated file.
    pub fn apply(&self, file: &Gguf) -> Vec<u8> {
        let mut file = file.clone();
        (self.change)(&mut file);
        file.bytes()
    }
}

/// Values of every type, with those at the ends of the ranges, and encodings that have no value.
fn values() -> Vec<(String, Vec<u8>)> {
    let values: [GgufValue; 36] = [
        GgufValue::U32(0),
        GgufValue::U32(1),
        GgufValue::U32(2),
        GgufValue::U32(7),
        GgufValue::U32(64),
        GgufValue::U32(65536),
        GgufValue::U32(i32::MAX as u32),
        GgufValue::U32(u32::MAX),
        GgufValue::I32(-1),
        GgufValue::I32(1),
        GgufValue::U8(1),
        GgufValue::I8(-1),
        GgufValue::U16(1),
        GgufValue::U64(u64::MAX),
        GgufValue::I64(-1),
        GgufValue::F32(0.0),
        GgufValue::F32(-1.0),
        GgufValue::F32(1.0),
        GgufValue::F32(1e-40),
        GgufValue::F32(f32::MAX),
        GgufValue::F32(f32::INFINITY),
        GgufValue::F32(f32::NAN),
        GgufValue::F64(1e-6),
        GgufValue::Bool(false),
        GgufValue::Bool(true),
        "".into(),
        "bert".into(),
        "{{ x".repeat(5000).into(),
        Vec::<String>::new().into(),
        vec![String::new(); 768].into(),
        vec!["a b".to_owned(), "a  b".to_owned()].into(),
        vec![0_i32; 768].into(),
        vec![i32::MIN; 4].into(),
        vec![f32::NAN; 768].into(),
        vec![0.5_f32; 3].into(),
        vec![1_u8].into(),
    ];
    let mut all: Vec<_> = values.iter().map(|value| (shortened(value), encoded(value))).collect();
    let number = |number: u32| number.to_le_bytes().to_vec();
    let length = u64::MAX.to_le_bytes();
    all.push(("of an unknown type".to_owned(), number(13)));
    all.push(("a string of 2^64 bytes".to_owned(), [&number(8)[..], &length].concat()));
    all.push(("an array of 2^64 numbers".to_owned(), [&number(9)[..], &number(4), &length].concat()));
    all.push(("an array of arrays".to_owned(), [&number(9)[..], &number(9), &1_u64.to_le_bytes()].concat()));
    all.push(("a boolean of 2".to_owned(), [&number(7)[..], &[2]].concat()));
    all
}

fn shortened(value: &GgufValue) -> String {
    format!("{value:?}").chars().take(40).collect()
}

/// Every key of the file, and each of `others`, missing and with every value.
pub fn keys(file: &Gguf, others: &[String]) -> Vec<Case> {
    let mut cases = Vec::new();
    let own: Vec<String> = file.metadata.iter().map(|(key, _)| key.clone()).collect();
    for key in own.iter().chain(others.iter().filter(|key| !own.contains(key))) {
        let name = key.clone();
        cases.push(Case::new(format!("{key} missing"), move |file| file.metadata.retain(|(known, _)| *known != name)));
        for (what, bytes) in values() {
            let name = key.clone();
            cases.push(Case::new(format!("{key} = {what}"), move |file| file.set_bytes(&name, bytes.clone())));
        }
    }
    // C ends names at NUL, and would read another key than is written.
    for key in own.iter().chain(others) {
        let name = format!("{key}\0x");
        for (what, bytes) in
            [("5", GgufValue::U32(5)), ("a text", "x".into())].map(|(what, value)| (what, encoded(&value)))
        {
            let name = name.clone();
            let change = move |file: &mut Gguf| file.metadata.insert(0, (name.clone(), bytes.clone()));
            cases.push(Case::new(format!("{key} with a NUL = {what}"), change));
        }
    }
    for key in own {
        cases.push(Case::new(format!("{key} twice"), move |file| {
            let pair = file.metadata.iter().find(|(known, _)| *known == key).unwrap().clone();
            file.metadata.push(pair);
        }));
    }
    cases
}

/// Every tensor with other types, dimensions, offsets and data. Blocks after the first, which differ by their numbers only,
/// get fewer.
pub fn tensors(file: &Gguf) -> Vec<Case> {
    let mut cases = Vec::new();
    for (index, tensor) in file.tensors.iter().enumerate() {
        let name = tensor.name.clone();
        let mut add = |what: &str, change: Box<dyn Fn(&mut Tensor)>| {
            cases.push(Case::of_tensor(index, &name, what, change));
        };
        let is_first = !name.contains("blk.") || name.contains("blk.0.");
        // With data of the type's size, so that the type is all that is wrong. Those of later blocks have no kernels.
        for id in (0..46).filter(|id| is_first || matches!(id, 9 | 24..=28)) {
            add(&format!("as type {id}"), Box::new(move |tensor| retype(tensor, id)));
        }
        for at in 0..tensor.dims.len() {
            let dim = tensor.dims[at];
            let all = [dim + 1, 0, 1, dim - 1, dim * 2, 1 << 31, 1 << 62, u64::MAX];
            for &to in if is_first { &all[..] } else { &all[..1] } {
                add(&format!("dims[{at}] = {to}"), Box::new(move |tensor| reshape(tensor, |dims| dims[at] = to)));
            }
        }
        add("with data of NaN", Box::new(|tensor| tensor.data.fill(0xff)));
        add("with data of huge numbers", Box::new(|tensor| tensor.data.fill(0x7b)));
        cases.push(Case::new(format!("{name} missing"), move |file| drop(file.tensors.remove(index))));
        if is_first {
            cases.extend(descriptions(index, tensor));
        }
    }
    cases
}

/// A tensor's description in the ways that do not depend on its block.
fn descriptions(index: usize, tensor: &Tensor) -> Vec<Case> {
    let name = tensor.name.clone();
    let mut cases = Vec::new();
    let mut add = |what: &str, change: fn(&mut Tensor)| cases.push(Case::of_tensor(index, &name, what, change));
    add("with a type of another size", |tensor| tensor.type_id = if tensor.type_id == 8 { 1 } else { 8 });
    add("as type 46", |tensor| tensor.type_id = 46);
    add("as type 2^32 - 1", |tensor| tensor.type_id = u32::MAX);
    add("with dimensions in reverse", |tensor| tensor.dims.reverse());
    add("as a vector", |tensor| tensor.dims = vec![tensor.dims.iter().product()]);
    add("without dimensions", |tensor| tensor.dims.clear());
    add("with five dimensions", |tensor| tensor.dims.resize(5, 1));
    add("with 2^32 - 1 of a fourth dimension", |tensor| tensor.dims.resize(4, u64::from(u32::MAX)));
    add("under a name that C ends earlier", |tensor| tensor.name.push_str("\0x"));
    add("under no name", |tensor| tensor.name.clear());
    add("under a long name", |tensor| tensor.name = "blk.0.".repeat(20));
    add("with data of 0", |tensor| tensor.data.fill(0));
    for offset in [1, 8, ALIGNMENT as u64, 1 << 40, u64::MAX, u64::MAX - 31] {
        let change = move |file: &mut Gguf| file.shifts.push((index, offset));
        cases.push(Case::new(format!("{name} at {offset} beyond its offset"), change));
    }
    cases.push(Case::new(format!("{name} twice"), move |file| file.tensors.push(file.tensors[index].clone())));
    cases
}

fn retype(tensor: &mut Tensor, id: u32) {
    tensor.type_id = id;
    let size = GgmlType::from_id(id).and_then(|of| of.tensor_bytes(&tensor.dims));
    resize(tensor, size);
}

fn reshape(tensor: &mut Tensor, change: impl FnOnce(&mut [u64])) {
    change(&mut tensor.dims);
    let size = GgmlType::from_id(tensor.type_id).and_then(|of| of.tensor_bytes(&tensor.dims));
    resize(tensor, size);
}

/// Repeats or cuts off the data, so that they have this size, if it is one.
fn resize(tensor: &mut Tensor, size: Option<u64>) {
    if let Some(size) = size.filter(|size| *size <= 1 << 24) {
        let data = std::mem::take(&mut tensor.data);
        tensor.data = data.iter().copied().cycle().take(size as usize).collect();
    }
}

/// Changes up to eight places of the header: bits, random bytes, or numbers at the ends of ranges.
pub fn header(file: &Gguf, random: &mut Random) -> (Vec<u8>, String) {
    let (mut bytes, header) = file.encode();
    let mut what = Vec::new();
    for _ in 0..=random.below(8) {
        // Half of the changes are at the tensors' descriptions, which are shorter than the vocabulary.
        let reach = if random.below(2) == 0 { header.min(4096) } else { header };
        let at = header - 1 - random.below(reach);
        match random.below(4) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.next() as u8,
            2 => bytes[at] = *random.of(&[0, 1, 0x7f, 0x80, 0xff]),
            _ => {
                let number = *random.of(&[0, 1, 0x7fff_ffff, 0xffff_ffff, u64::MAX, 1 << 63]);
                let end = (at + 8).min(header);
                bytes[at..end].copy_from_slice(&number.to_le_bytes()[..end - at]);
            }
        }
        what.push(at.to_string());
    }
    (bytes, format!("bytes at {}", what.join(", ")))
}
