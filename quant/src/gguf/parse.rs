//! Parses and validates the header: metadata and tensor descriptions.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::cursor::Cursor;
use super::error::GgufError;
use super::format::{
    ALIGNMENT_KEY, DEFAULT_ALIGNMENT, MAGIC, MAX_DIMS, MAX_HEADER, MAX_KEY, MAX_TENSOR_NAME, TensorInfo,
};
use super::outline::Keep;
use super::texts::Texts;
use super::value::{GgufArray, GgufValue, Metadata};
use crate::blocks::GgmlType;

/// A parsed header; tensor offsets are relative to the start of the file.
pub(super) struct Header {
    pub version: u32,
    pub alignment: u32,
    pub metadata: Metadata,
    pub tensors: Vec<TensorInfo>,
    /// True lengths of the arrays and strings that were cut, by key.
    pub cut: HashMap<String, usize>,
}

/// Maximum number of keys, and of tensors. Real files have up to some hundred and some thousand.
const MAX_ENTRIES: usize = 1 << 13;

/// Maximum size of all keys in bytes.
const MAX_KEY_BYTES: usize = 1 << 20;

pub(super) fn parse(bytes: &[u8], path: &Path, mut keep: Keep) -> Result<Header, GgufError> {
    let mut cursor = Cursor::new(&bytes[..bytes.len().min(MAX_HEADER)], path);
    let magic = cursor.take(MAGIC.len(), "header")?;
    if magic != MAGIC {
        return Err(
            cursor.error("header", format!("starts with {:?}, expected \"GGUF\"", magic.escape_ascii().to_string()))
        );
    }
    let version = cursor.u32("header")?;
    if !matches!(version, 2 | 3) {
        return Err(cursor.error("header", format!("version {version}, expected 2 or 3, little-endian")));
    }
    // A tensor takes at least an 8-byte name length, a dimension count, one dimension, a type and
    // an offset; a metadata entry at least a key length, a type and one byte.
    let tensor_count = cursor.count(32, "header: tensor count")?;
    let pair_count = cursor.count(13, "header: metadata count")?;
    for (count, place) in [(tensor_count, "header: tensor count"), (pair_count, "header: metadata count")] {
        if count > MAX_ENTRIES {
            return Err(cursor.error(place, format!("{count}, expected at most {MAX_ENTRIES}")));
        }
    }
    let (metadata, cut) = pairs(&mut cursor, pair_count, &mut keep)?;
    let alignment = alignment(&cursor, &metadata)?;
    let mut tensors = infos(&mut cursor, tensor_count)?;
    place(&cursor, &mut tensors, alignment, bytes.len())?;
    Ok(Header { version, alignment, metadata, tensors, cut })
}

fn pairs(
    cursor: &mut Cursor<'_>,
    count: usize,
    keep: &mut Keep,
) -> Result<(Metadata, HashMap<String, usize>), GgufError> {
    let mut metadata = Vec::with_capacity(count);
    let mut seen = HashSet::with_capacity(count);
    let mut cut = HashMap::new();
    let mut key_bytes = 0;
    for index in 0..count {
        let key = cursor.name(MAX_KEY, &format!("metadata key {index}"))?;
        key_bytes += key.len();
        if key_bytes > MAX_KEY_BYTES {
            let problem = format!("keys of more than {MAX_KEY_BYTES} bytes in total");
            return Err(cursor.error(&format!("metadata key {index}"), problem));
        }
        let place = format!("key '{key}'");
        if !seen.insert(key) {
            return Err(cursor.error(&place, "occurs twice, expected unique keys".into()));
        }
        let (value, length) = value(cursor, &place, keep)?;
        cut.extend(length.map(|length| (key.to_owned(), length)));
        metadata.push((key.to_owned(), value));
    }
    Ok((metadata, cut))
}

/// Reads a value; also returns its true length if it was cut.
fn value(cursor: &mut Cursor<'_>, place: &str, keep: &mut Keep) -> Result<(GgufValue, Option<usize>), GgufError> {
    let value = match cursor.u32(place)? {
        0 => GgufValue::U8(cursor.u8(place)?),
        1 => GgufValue::I8(cursor.i8(place)?),
        2 => GgufValue::U16(cursor.u16(place)?),
        3 => GgufValue::I16(cursor.i16(place)?),
        4 => GgufValue::U32(cursor.u32(place)?),
        5 => GgufValue::I32(cursor.i32(place)?),
        6 => GgufValue::F32(cursor.f32(place)?),
        7 => GgufValue::Bool(cursor.bool(place)?),
        8 => {
            let text = cursor.string(usize::MAX, place)?;
            let kept = keep.text(text);
            let cut = (kept.len() < text.len()).then_some(text.len());
            return Ok((GgufValue::String(kept.to_owned()), cut));
        }
        9 => {
            let cuts = keep.cuts();
            let (array, length) = array(cursor, place, keep)?;
            let cut = (array.len() < length || keep.cuts() > cuts).then_some(length);
            return Ok((GgufValue::Array(array), cut));
        }
        10 => GgufValue::U64(cursor.u64(place)?),
        11 => GgufValue::I64(cursor.i64(place)?),
        12 => GgufValue::F64(cursor.f64(place)?),
        other => return Err(cursor.error(place, format!("value type {other}, expected 0 to 12"))),
    };
    Ok((value, None))
}

/// Reads an array; also returns its true length.
fn array(cursor: &mut Cursor<'_>, place: &str, keep: &mut Keep) -> Result<(GgufArray, usize), GgufError> {
    /// Reads the elements to be kept, of at least `size` bytes each, and validates the others.
    fn items<'a, T>(
        cursor: &mut Cursor<'a>,
        keep: &mut Keep,
        (size, place): (usize, &str),
        mut read: impl FnMut(&mut Cursor<'a>) -> Result<T, GgufError>,
    ) -> Result<(Vec<T>, usize), GgufError> {
        let length = cursor.count(size, place)?;
        let kept = keep.items(length, size_of::<T>());
        let items = (0..kept).map(|_| read(cursor)).collect::<Result<_, _>>()?;
        for _ in kept..length {
            read(cursor)?;
        }
        Ok((items, length))
    }
    macro_rules! read {
        ($variant:ident, $size:literal, $method:ident) => {{
            let (items, length) = items(cursor, keep, ($size, place), |cursor| cursor.$method(place))?;
            Ok((GgufArray::$variant(items), length))
        }};
    }
    match cursor.u32(place)? {
        0 => read!(U8, 1, u8),
        1 => read!(I8, 1, i8),
        2 => read!(U16, 2, u16),
        3 => read!(I16, 2, i16),
        4 => read!(U32, 4, u32),
        5 => read!(I32, 4, i32),
        6 => read!(F32, 4, f32),
        7 => read!(Bool, 1, bool),
        8 => {
            let length = cursor.count(8, place)?;
            let kept = keep.items(length, Texts::overhead());
            let mut texts = Texts::default();
            texts.reserve(kept);
            for index in 0..length {
                let text = cursor.string(usize::MAX, place)?;
                if index < kept {
                    texts.push(keep.text(text));
                }
            }
            Ok((GgufArray::String(texts), length))
        }
        10 => read!(U64, 8, u64),
        11 => read!(I64, 8, i64),
        12 => read!(F64, 8, f64),
        9 => Err(cursor.error(place, "an array of arrays, which llama.cpp does not support".into())),
        other => Err(cursor.error(place, format!("array element type {other}, expected 0 to 12"))),
    }
}

fn alignment(cursor: &Cursor<'_>, metadata: &Metadata) -> Result<u32, GgufError> {
    let Some((_, value)) = metadata.iter().find(|(key, _)| key == ALIGNMENT_KEY) else { return Ok(DEFAULT_ALIGNMENT) };
    match value {
        GgufValue::U32(alignment) if alignment.is_power_of_two() => Ok(*alignment),
        other => {
            let problem = format!("{other} ({}), expected a u32 power of two", other.type_name());
            Err(cursor.error(&format!("key '{ALIGNMENT_KEY}'"), problem))
        }
    }
}

fn infos(cursor: &mut Cursor<'_>, count: usize) -> Result<Vec<TensorInfo>, GgufError> {
    let mut tensors = Vec::with_capacity(count);
    let mut seen = HashSet::with_capacity(count);
    for index in 0..count {
        let info = info(cursor, index)?;
        if !seen.insert(info.name.clone()) {
            return Err(cursor.error(&format!("tensor '{}'", info.name), "occurs twice, expected unique names".into()));
        }
        tensors.push(info);
    }
    Ok(tensors)
}

fn info(cursor: &mut Cursor<'_>, index: usize) -> Result<TensorInfo, GgufError> {
    let name = cursor.name(MAX_TENSOR_NAME, &format!("name of tensor {index}"))?.to_owned();
    let place = format!("tensor '{name}'");
    let dim_count = cursor.u32(&place)? as usize;
    if !(1..=MAX_DIMS).contains(&dim_count) {
        return Err(cursor.error(&place, format!("{dim_count} dimensions, expected 1 to {MAX_DIMS}")));
    }
    let mut dims = Vec::with_capacity(dim_count);
    for _ in 0..dim_count {
        let dim = cursor.u64(&place)?;
        if dim == 0 {
            return Err(cursor.error(&place, "a dimension of 0, expected at least 1".into()));
        }
        dims.push(dim);
    }
    let number = cursor.u32(&place)?;
    let Some(ggml_type) = GgmlType::from_id(number) else {
        return Err(cursor.error(&place, format!("type {number}, expected one of ggml's types")));
    };
    let Some(size) = ggml_type.tensor_bytes(&dims) else {
        let problem = format!(
            "dimensions {dims:?} as {ggml_type}, expected rows of a multiple of {} elements and a size below 2^63 bytes",
            ggml_type.block_len()
        );
        return Err(cursor.error(&place, problem));
    };
    let offset = cursor.u64(&place)?;
    Ok(TensorInfo { name, dims, ggml_type, offset, size })
}

/// Checks that tensor data is contiguous, each tensor padded to the alignment, and inside the file
/// (which excludes overlaps and gaps), and makes the offsets absolute.
fn place(cursor: &Cursor<'_>, tensors: &mut [TensorInfo], alignment: u32, length: usize) -> Result<(), GgufError> {
    let alignment = u64::from(alignment);
    let too_large = |name: &str| cursor.error(&format!("tensor '{name}'"), "ends beyond 2^64 bytes".into());
    let start = (cursor.position() as u64).next_multiple_of(alignment);
    let mut expected = 0_u64;
    for tensor in tensors {
        let place = format!("tensor '{}'", tensor.name);
        if tensor.offset != expected {
            let problem = format!(
                "data at offset {} of the data section, expected {expected}: tensors are contiguous, aligned to \
                 {alignment} bytes, without overlap or gap",
                tensor.offset
            );
            return Err(cursor.error(&place, problem));
        }
        let end = expected.checked_add(tensor.size).ok_or_else(|| too_large(&tensor.name))?;
        if start.checked_add(end).is_none_or(|end| end > length as u64) {
            let problem = format!(
                "{} bytes of data from byte {start} + {expected}, but the file has {length} bytes",
                tensor.size
            );
            return Err(cursor.error(&place, problem));
        }
        tensor.offset = start + expected;
        expected = end.checked_next_multiple_of(alignment).ok_or_else(|| too_large(&tensor.name))?;
    }
    Ok(())
}
