//! `PyTorch`'s checkpoint files (`torch.save`): a zip archive with a pickle of the tensors' descriptions and their data.
//!
//! Nothing of the pickle is run: [`pickle`] knows the operations and names that dictionaries of tensors consist of, and refuses all
//! others by name. Each tensor's data are a range of the file, so that they are mapped, not read.

mod pickle;

use std::collections::{BTreeMap, HashMap};
use std::io::Cursor;
use std::ops::Range;

use zip::{CompressionMethod, ZipArchive};

use crate::safetensors::dtype::Dtype;

/// Maximum size of a pickle in bytes: one of a large model takes some 100 bytes for each tensor.
const MAX_PICKLE: u64 = 64 << 20;

/// Maximum number of entries of an archive, one for each tensor.
const MAX_ENTRIES: usize = 1 << 20;

/// What is wrong with a file, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    /// `archive`, `pickle` or `tensor 'x'`.
    pub place: String,
    /// What was found and what was expected.
    pub problem: String,
}

impl Problem {
    fn new(place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { place: place.into(), problem: problem.into() }
    }
}

/// A tensor of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tensor {
    /// Element type.
    pub dtype: Dtype,
    /// Shape.
    pub shape: Vec<usize>,
    /// The bytes of the file that hold the elements, row-major.
    pub range: Range<usize>,
}

/// Finds the tensors of a file.
pub(super) fn parse(bytes: &[u8]) -> Result<BTreeMap<String, Tensor>, Problem> {
    let archive = |problem: String| Problem::new("archive", problem);
    if !bytes.starts_with(b"PK") {
        let expected = "expected a zip archive, as `torch.save` of PyTorch 1.6 and later writes it";
        return Err(archive(format!("begins with {:?}, {expected}", &bytes[..bytes.len().min(4)])));
    }
    let mut zip = ZipArchive::new(Cursor::new(bytes)).map_err(|error| archive(error.to_string()))?;
    if zip.len() > MAX_ENTRIES {
        return Err(archive(format!("{} entries, expected at most {MAX_ENTRIES}", zip.len())));
    }
    // Readers differ in which of them they take; this one lists one.
    if zip.has_duplicate_names() {
        return Err(archive("two entries of one name, expected each once".to_owned()));
    }
    let mut entries = HashMap::new();
    let mut root = None;
    for index in 0..zip.len() {
        let entry = zip.by_index_raw(index).map_err(|error| archive(error.to_string()))?;
        let name = entry.name().map_err(|error| archive(error.to_string()))?.into_owned();
        let fail = |problem: &str| archive(format!("entry {name:?}: {problem}"));
        let is_stored = entry.compression() == CompressionMethod::Stored && entry.compressed_size() == entry.size();
        if entry.encrypted() || !is_stored {
            return Err(fail("compressed or encrypted, expected it stored"));
        }
        let start = entry.data_start().and_then(|start| usize::try_from(start).ok());
        let end = start.zip(usize::try_from(entry.size()).ok()).and_then(|(start, size)| start.checked_add(size));
        let range = start.zip(end).map(|(start, end)| start..end).filter(|range| range.end <= bytes.len());
        let range = range.ok_or_else(|| fail("reaches beyond the file"))?;
        let (folder, inner) = name.split_once('/').ok_or_else(|| fail("expected entries in one folder"))?;
        if root.get_or_insert_with(|| folder.to_owned()) != folder {
            return Err(fail("expected entries in one folder"));
        }
        entries.insert(inner.to_owned(), range);
    }
    if let Some(order) = entries.get("byteorder").map(|range| &bytes[range.clone()])
        && order != b"little"
    {
        let found = String::from_utf8_lossy(&order[..order.len().min(16)]).into_owned();
        return Err(archive(format!("byte order {found:?}, expected little")));
    }
    let pickle = entries.get("data.pkl").ok_or_else(|| archive("no entry data.pkl, expected one".to_owned()))?;
    if pickle.len() as u64 > MAX_PICKLE {
        return Err(Problem::new("pickle", format!("{} bytes, expected at most {MAX_PICKLE}", pickle.len())));
    }
    let described = pickle::read(&bytes[pickle.clone()]).map_err(|problem| Problem::new("pickle", problem))?;
    described.into_iter().map(|(name, tensor)| Ok((name.clone(), place(&name, &tensor, &entries)?))).collect()
}

/// Finds the data of a tensor.
fn place(name: &str, tensor: &pickle::Tensor, entries: &HashMap<String, Range<usize>>) -> Result<Tensor, Problem> {
    let storage = &tensor.storage;
    let fail = |problem: String| Problem::new(format!("tensor '{name}'"), problem);
    let number = |what: &str, value: i64| {
        usize::try_from(value).map_err(|_| fail(format!("{what} {value}, expected 0 or more")))
    };
    let numbers = |what: &str, values: &[i64]| -> Result<Vec<usize>, Problem> {
        values.iter().map(|value| number(what, *value)).collect()
    };
    let (shape, strides) = (numbers("size", &tensor.shape)?, numbers("stride", &tensor.strides)?);
    let (offset, stored) = (number("offset", tensor.offset)?, number("storage size", storage.elements)?);
    let count = |dims: &[usize]| dims.iter().try_fold(1_usize, |product, dim| product.checked_mul(*dim));
    let elements = count(&shape).ok_or_else(|| fail(format!("shape {shape:?}, expected a smaller one")))?;
    let mut stride = 1_usize;
    for (dim, found) in shape.iter().zip(&strides).rev() {
        if *dim > 1 && elements > 0 && *found != stride {
            return Err(fail(format!("strides {strides:?} of shape {shape:?}, expected them contiguous")));
        }
        stride = stride.saturating_mul(*dim);
    }
    let entry = entries.get(&format!("data/{}", storage.key));
    let entry = entry.ok_or_else(|| fail(format!("no entry data/{} in the archive", storage.key)))?;
    let width = storage.dtype.bits() / 8;
    if stored.checked_mul(width) != Some(entry.len()) {
        let (found, key) = (entry.len(), &storage.key);
        return Err(fail(format!("data/{key} has {found} bytes, expected {stored} × {width}")));
    }
    let end = offset.checked_add(elements).filter(|end| *end <= stored);
    let end = end.ok_or_else(|| {
        fail(format!("{elements} elements from {offset}, expected them within the {stored} of its storage"))
    })?;
    let range = entry.start + offset * width..entry.start + end * width;
    Ok(Tensor { dtype: storage.dtype, shape, range })
}

/// Whether a file is one of `PyTorch`'s, by its name.
pub(super) fn is_pytorch(path: &std::path::Path) -> bool {
    path.extension().is_some_and(|extension| extension == "bin")
}

#[cfg(test)]
mod tests;
