//! Reads one file, or the shards listed in `model.safetensors.index.json`, memory-mapped; where a directory has none, the files of
//! `PyTorch` in their place ([`super::pytorch`]).

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::dtype::Dtype;
use super::pytorch::{self, is_pytorch};
use crate::hf::{HfError, present, read_json};
use crate::map::MappedFile;

/// Maximum length of a header in bytes (the limit of the reference implementation).
const MAX_HEADER: u64 = 100_000_000;

/// Maximum number of shards of a checkpoint; real ones have dozens.
const MAX_SHARDS: usize = 4096;

/// Size of the header's length field in bytes.
const PREFIX: usize = 8;

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// `PyTorch`'s names.
const PYTORCH: [&str; 2] = ["pytorch_model.bin", "pytorch_model.bin.index.json"];

/// An error of reading a checkpoint's tensors. Every message names the file and the tensor.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SafetensorsError {
    /// The file cannot be opened or mapped.
    #[error("{}: cannot read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The header is not a JSON object.
    #[error("{}: header: not a JSON object: {source}", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// The position and the cause.
        source: serde_json::Error,
    },
    /// A tensor's entry in the header is not of the expected form.
    #[error("{}: tensor '{tensor}': {source}", path.display())]
    Entry {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// What is missing or wrong.
        source: serde_json::Error,
    },
    /// The content violates the format.
    #[error("{}: {place}: {problem}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// `header` or `tensor 'x'`.
        place: String,
        /// What was found and what was expected.
        problem: String,
    },
    /// The index of the shards cannot be read.
    #[error(transparent)]
    Index(#[from] HfError),
    /// A single file beside shards: two checkpoints in one directory.
    #[error("{}: beside {}, expected one checkpoint: remove the one that is not meant", path.display(), other.display())]
    TwoCheckpoints {
        /// The single file.
        path: PathBuf,
        /// The index, or a shard without an index.
        other: PathBuf,
    },
    /// A shard without an index.
    #[error("{}: a shard without {INDEX}, expected the index beside it", path.display())]
    NoIndex {
        /// The shard.
        path: PathBuf,
    },
    /// The directory contains neither a single file nor an index.
    #[error("{}: no weights, expected {SINGLE}, {INDEX}, or {} or {}", path.display(), PYTORCH[0], PYTORCH[1])]
    NoWeights {
        /// The directory.
        path: PathBuf,
    },
}

/// A tensor of a [`Checkpoint`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// Element type.
    pub dtype: Dtype,
    /// Shape, row-major, the contiguous dimension last.
    pub shape: Vec<usize>,
    shard: usize,
    range: Range<usize>,
}

/// All tensors of a checkpoint directory.
#[derive(Debug)]
pub struct Checkpoint {
    shards: Vec<MappedFile>,
    tensors: BTreeMap<String, Tensor>,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// A tensor's entry in the header.
#[derive(Deserialize)]
struct Entry {
    dtype: Dtype,
    shape: Vec<usize>,
    /// Relative to the end of the header.
    data_offsets: (usize, usize),
}

impl Checkpoint {
    /// Opens `model.safetensors`, or the shards listed in `model.safetensors.index.json`, which
    /// must be plain file names in the same directory and contain exactly the tensors that the
    /// index lists. A directory with both is refused, because other programs differ in which one
    /// they use, unless the index lists the single file. A directory with neither is one of `PyTorch`:
    /// `pytorch_model.bin`, or `pytorch_model.bin.index.json` and its shards.
    ///
    /// # Errors
    /// [`SafetensorsError`] with the file and the tensor.
    pub fn open(directory: &Path) -> Result<Self, SafetensorsError> {
        let (single, index) = (directory.join(SINGLE), directory.join(INDEX));
        let two = |other: PathBuf| SafetensorsError::TwoCheckpoints { path: single.clone(), other };
        match (present(&index), present(&single)) {
            (true, true) => {
                let Index { weight_map } = read_json(&index)?;
                if !weight_map.values().any(|shard| is_same(&directory.join(shard), &single)) {
                    return Err(two(index));
                }
                Self::open_shards(directory, &index)
            }
            (true, false) => Self::open_shards(directory, &index),
            (false, true) => match first_shard(directory).filter(|shard| !is_same(shard, &single)) {
                Some(shard) => Err(two(shard)),
                None => Self::open_file(&single),
            },
            (false, false) => match first_shard(directory) {
                Some(path) => Err(SafetensorsError::NoIndex { path }),
                None => Self::open_pytorch(directory),
            },
        }
    }

    fn open_pytorch(directory: &Path) -> Result<Self, SafetensorsError> {
        let [single, index] = PYTORCH.map(|name| directory.join(name));
        match (present(&index), present(&single)) {
            (true, true) => Err(SafetensorsError::TwoCheckpoints { path: single, other: index }),
            (true, false) => Self::open_shards(directory, &index),
            (false, true) => Self::open_file(&single),
            (false, false) => Err(SafetensorsError::NoWeights { path: directory.to_owned() }),
        }
    }

    /// Returns a file of `PyTorch` among those of the checkpoint.
    pub fn pytorch_file(&self) -> Option<&Path> {
        self.shards.iter().map(MappedFile::path).find(|path| is_pytorch(path))
    }

    /// Opens one file.
    ///
    /// # Errors
    /// [`SafetensorsError`] with the file and the tensor.
    pub fn open_file(path: &Path) -> Result<Self, SafetensorsError> {
        let mut checkpoint = Self { shards: Vec::new(), tensors: BTreeMap::new() };
        checkpoint.add(path)?;
        Ok(checkpoint)
    }

    fn open_shards(directory: &Path, path: &Path) -> Result<Self, SafetensorsError> {
        let index: Index = read_json(path)?;
        let wrong =
            |place: String, problem: String| SafetensorsError::Malformed { path: path.to_owned(), place, problem };
        let mut shards: Vec<&str> = index.weight_map.values().map(String::as_str).collect();
        shards.sort_unstable();
        shards.dedup();
        if shards.len() > MAX_SHARDS {
            let problem = format!("{} shards, expected at most {MAX_SHARDS}", shards.len());
            return Err(wrong("weight_map".into(), problem));
        }
        let mut checkpoint = Self { shards: Vec::new(), tensors: BTreeMap::new() };
        for shard in &shards {
            if Path::new(shard).file_name() != Some(shard.as_ref()) || shard.contains(['/', '\\']) {
                return Err(wrong(
                    format!("shard '{shard}'"),
                    "expected a plain file name in the same directory".into(),
                ));
            }
            checkpoint.add(&directory.join(shard))?;
        }
        for (name, shard) in &index.weight_map {
            let found = checkpoint.tensors.get(name).map(|tensor| shards[tensor.shard]);
            if found != Some(shard) {
                let problem = format!(
                    "listed in '{shard}', but {}",
                    found.map_or("in no shard".into(), |other| format!("found in '{other}'"))
                );
                return Err(wrong(format!("tensor '{name}'"), problem));
            }
        }
        match checkpoint.tensors.iter().find(|(name, _)| !index.weight_map.contains_key(*name)) {
            Some((name, tensor)) => {
                Err(wrong(format!("tensor '{name}'"), format!("not listed, but found in '{}'", shards[tensor.shard])))
            }
            None => Ok(checkpoint),
        }
    }

    fn add(&mut self, path: &Path) -> Result<(), SafetensorsError> {
        let map = MappedFile::open(path).map_err(|source| SafetensorsError::Read { path: path.to_owned(), source })?;
        let tensors = if is_pytorch(path) { parse_pytorch(map.bytes(), path)? } else { parse(map.bytes(), path)? };
        for (name, mut tensor) in tensors {
            tensor.shard = self.shards.len();
            if let Some(other) = self.tensors.insert(name.clone(), tensor) {
                let problem = format!("also in {}, expected once", self.shards[other.shard].path().display());
                return Err(malformed(path, format!("tensor '{name}'"), problem));
            }
        }
        self.shards.push(map);
        Ok(())
    }

    /// Looks up a tensor by name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    /// Returns the names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Returns a tensor's bytes, little-endian, row-major.
    pub fn data(&self, tensor: &Tensor) -> &[u8] {
        &self.shards[tensor.shard].bytes()[tensor.range.clone()]
    }

    /// Returns the file that contains a tensor.
    pub fn file(&self, tensor: &Tensor) -> &Path {
        self.shards[tensor.shard].path()
    }

    /// Returns the files, each with the bytes before its data and its tensors in the order of their
    /// data: what a copy of the same form needs.
    #[doc(hidden)]
    pub fn files(&self) -> impl Iterator<Item = (&Path, &[u8], Vec<(&str, &Tensor)>)> {
        self.shards.iter().enumerate().map(|(shard, map)| {
            let own = self.tensors.iter().filter(|(_, tensor)| tensor.shard == shard);
            let mut tensors: Vec<_> = own.map(|(name, tensor)| (name.as_str(), tensor)).collect();
            // An empty tensor begins where the next one does.
            tensors.sort_by_key(|(_, tensor)| (tensor.range.start, tensor.range.end));
            let header = tensors.first().map_or(map.bytes().len(), |(_, tensor)| tensor.range.start);
            (map.path(), &map.bytes()[..header], tensors)
        })
    }

    /// Returns the resident pages of a tensor to the system after a pass over it.
    pub fn release(&self, tensor: &Tensor) {
        self.shards[tensor.shard].release(tensor.range.clone());
    }
}

/// Returns the first file in a directory whose name is that of a shard, such as
/// `model-00001-of-00003.safetensors`.
fn first_shard(directory: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| is_shard(path)).min()
}

/// Whether two paths are one file, possibly through links.
fn is_same(one: &Path, other: &Path) -> bool {
    one == other || matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

fn is_shard(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let numbers = name.strip_prefix("model-").and_then(|name| name.strip_suffix(".safetensors"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    numbers.and_then(|numbers| numbers.split_once("-of-")).is_some_and(|(one, all)| digits(one) && digits(all))
}

fn malformed(path: &Path, place: impl Into<String>, problem: impl Into<String>) -> SafetensorsError {
    SafetensorsError::Malformed { path: path.to_owned(), place: place.into(), problem: problem.into() }
}

/// The tensors of a file of `PyTorch`.
fn parse_pytorch(bytes: &[u8], path: &Path) -> Result<Vec<(String, Tensor)>, SafetensorsError> {
    let found = pytorch::parse(bytes).map_err(|problem| malformed(path, problem.place, problem.problem))?;
    let tensor = |(name, tensor): (String, pytorch::Tensor)| {
        (name, Tensor { dtype: tensor.dtype, shape: tensor.shape, shard: 0, range: tensor.range })
    };
    Ok(found.into_iter().map(tensor).collect())
}

fn parse(bytes: &[u8], path: &Path) -> Result<Vec<(String, Tensor)>, SafetensorsError> {
    let header = |problem: String| malformed(path, "header", problem);
    let (prefix, rest) = bytes
        .split_at_checked(PREFIX)
        .ok_or_else(|| header(format!("{} bytes, expected at least {PREFIX}", bytes.len())))?;
    let length = u64::from_le_bytes(prefix.try_into().expect("split at 8 bytes"));
    let limit = MAX_HEADER.min(rest.len() as u64);
    if length > limit {
        return Err(header(format!("a length of {length} bytes, expected at most {limit}")));
    }
    let (json, data) = rest.split_at(length as usize);
    let entries: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(json).map_err(|source| SafetensorsError::Header { path: path.to_owned(), source })?;
    let mut tensors = Vec::with_capacity(entries.len());
    for (name, entry) in entries.into_iter().filter(|(name, _)| name != "__metadata__") {
        let place = || format!("tensor '{name}'");
        let entry = Entry::deserialize(entry).map_err(|source| SafetensorsError::Entry {
            path: path.to_owned(),
            tensor: name.clone(),
            source,
        })?;
        let size = size(&entry);
        let (start, end) = entry.data_offsets;
        if start > end || end > data.len() || size != Some(end - start) {
            let problem = format!(
                "{} {:?} at data offsets {start}..{end}, expected a range of its size within the {} bytes of data",
                entry.dtype,
                entry.shape,
                data.len()
            );
            return Err(malformed(path, place(), problem));
        }
        let offset = PREFIX + length as usize;
        let range = offset + start..offset + end;
        tensors.push((name, Tensor { dtype: entry.dtype, shape: entry.shape, shard: 0, range }));
    }
    let mut ranges: Vec<_> = tensors.iter().map(|(name, tensor)| (tensor.range.clone(), name)).collect();
    ranges.sort_unstable_by_key(|(range, _)| (range.start, range.end));
    let mut expected = PREFIX + length as usize;
    for (range, name) in ranges {
        if range.start != expected {
            let problem = format!("begins at byte {}, expected {expected}: no overlap or gap", range.start);
            return Err(malformed(path, format!("tensor '{name}'"), problem));
        }
        expected = range.end;
    }
    if expected != bytes.len() {
        let problem = format!("the tensors end at byte {expected} of {}, expected the end of the file", bytes.len());
        return Err(header(problem));
    }
    Ok(tensors)
}

/// Returns the size in bytes that type and shape take; `None` if it overflows or is not whole
/// bytes.
fn size(entry: &Entry) -> Option<usize> {
    let elements = entry.shape.iter().try_fold(1_usize, |product, dim| product.checked_mul(*dim))?;
    let bits = elements.checked_mul(entry.dtype.bits())?;
    bits.is_multiple_of(8).then_some(bits / 8)
}
