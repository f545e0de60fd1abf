//! Reading safetensors: one file, or the shards of a `model.safetensors.index.json`, memory-mapped.
//!
//! Format: <https://huggingface.co/docs/safetensors>. Everything the header says is checked against the file: its own
//! length, each tensor's range, that type and shape take as many bytes as the range has, and that the ranges cover the
//! data without overlap or gap. Which tensors a model needs is left to [`crate::convert`].
//!
//! ```
//! use mmprm_quant::safetensors::{Checkpoint, Dtype};
//! let dir = tempfile::tempdir().unwrap();
//! let header = br#"{"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}"#;
//! let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
//! bytes.extend(header);
//! bytes.extend([0; 8]);
//! std::fs::write(dir.path().join("model.safetensors"), bytes).unwrap();
//! let checkpoint = Checkpoint::open(dir.path()).unwrap();
//! let tensor = checkpoint.get("w").unwrap();
//! assert_eq!((tensor.dtype, tensor.shape.as_slice()), (Dtype::F32, [2].as_slice()));
//! assert_eq!(checkpoint.data(tensor), [0; 8]);
//! ```

mod write;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

pub use write::{SafetensorsWriter, TensorSpec};

pub use ::safetensors::Dtype;
use ::safetensors::tensor::TensorInfo;
use serde::Deserialize;

use crate::hf::{HfError, read_json};
use crate::map::MappedFile;

/// Longest header that is read, in bytes (the limit of the reference implementation).
const MAX_HEADER: u64 = 100_000_000;

/// Most shards of a checkpoint; real ones have dozens.
const MAX_SHARDS: usize = 4096;

/// Bytes of the length before the header.
const PREFIX: usize = 8;

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// An error of reading a checkpoint's tensors; every message names the file and the place in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SafetensorsError {
    /// The file cannot be opened or mapped.
    #[error("{}: cannot read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The bytes do not follow the format.
    #[error("{}: {place}: {problem}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// `header` or `tensor 'x'`.
        place: String,
        /// What is wrong and what was expected.
        problem: String,
    },
    /// The index of the shards cannot be read.
    #[error(transparent)]
    Index(#[from] HfError),
    /// The directory has neither a single file nor an index.
    #[error("{}: no weights, expected {SINGLE} or {INDEX}", path.display())]
    NoWeights {
        /// The directory.
        path: PathBuf,
    },
}

/// A tensor of a [`Checkpoint`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// Its element type.
    pub dtype: Dtype,
    /// Its shape, row-major, the contiguous dimension last.
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

impl Checkpoint {
    /// Opens `model.safetensors`, or the shards that `model.safetensors.index.json` lists, which must be plain file names
    /// in the same directory and hold exactly the tensors that the index says.
    ///
    /// # Errors
    /// [`SafetensorsError`], with the file and the tensor.
    pub fn open(directory: &Path) -> Result<Self, SafetensorsError> {
        let (single, index) = (directory.join(SINGLE), directory.join(INDEX));
        if index.exists() {
            Self::open_shards(directory, &index)
        } else if single.exists() {
            Self::open_file(&single)
        } else {
            Err(SafetensorsError::NoWeights { path: directory.to_owned() })
        }
    }

    /// Opens one file.
    ///
    /// # Errors
    /// [`SafetensorsError`], with the file and the tensor.
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
                    "said to be in '{shard}', but {}",
                    found.map_or("is nowhere".into(), |f| format!("is in '{f}'"))
                );
                return Err(wrong(format!("tensor '{name}'"), problem));
            }
        }
        match checkpoint.tensors.iter().find(|(name, _)| !index.weight_map.contains_key(*name)) {
            Some((name, tensor)) => {
                Err(wrong(format!("tensor '{name}'"), format!("not listed, but is in '{}'", shards[tensor.shard])))
            }
            None => Ok(checkpoint),
        }
    }

    fn add(&mut self, path: &Path) -> Result<(), SafetensorsError> {
        let map = MappedFile::open(path).map_err(|source| SafetensorsError::Read { path: path.to_owned(), source })?;
        for (name, mut tensor) in parse(map.bytes(), path)? {
            tensor.shard = self.shards.len();
            if let Some(other) = self.tensors.insert(name.clone(), tensor) {
                let problem = format!("also in {}, expected it once", self.shards[other.shard].path().display());
                return Err(malformed(path, format!("tensor '{name}'"), problem));
            }
        }
        self.shards.push(map);
        Ok(())
    }

    /// The tensor of a name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    /// Names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// A tensor's bytes, little-endian, row-major.
    pub fn data(&self, tensor: &Tensor) -> &[u8] {
        &self.shards[tensor.shard].bytes()[tensor.range.clone()]
    }

    /// The file a tensor is in.
    pub fn file(&self, tensor: &Tensor) -> &Path {
        self.shards[tensor.shard].path()
    }

    /// The files, each with the bytes before its data and its tensors in the order of that: all that it takes to write
    /// others of the same form.
    pub fn files(&self) -> impl Iterator<Item = (&Path, &[u8], Vec<(&str, &Tensor)>)> {
        self.shards.iter().enumerate().map(|(shard, map)| {
            let own = self.tensors.iter().filter(|(_, tensor)| tensor.shard == shard);
            let mut tensors: Vec<_> = own.map(|(name, tensor)| (name.as_str(), tensor)).collect();
            // Empty tensors begin where others do.
            tensors.sort_by_key(|(_, tensor)| (tensor.range.start, tensor.range.end));
            let header = tensors.first().map_or(map.bytes().len(), |(_, tensor)| tensor.range.start);
            (map.path(), &map.bytes()[..header], tensors)
        })
    }

    /// Gives the resident pages of a tensor back to the system after a pass over it.
    pub fn release(&self, tensor: &Tensor) {
        self.shards[tensor.shard].release(tensor.range.clone());
    }
}

fn malformed(path: &Path, place: impl Into<String>, problem: impl Into<String>) -> SafetensorsError {
    SafetensorsError::Malformed { path: path.to_owned(), place: place.into(), problem: problem.into() }
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
        serde_json::from_slice(json).map_err(|error| header(format!("not a JSON object: {error}")))?;
    let mut tensors = Vec::with_capacity(entries.len());
    for (name, entry) in entries.into_iter().filter(|(name, _)| name != "__metadata__") {
        let place = || format!("tensor '{name}'");
        let info = TensorInfo::deserialize(entry).map_err(|error| malformed(path, place(), error.to_string()))?;
        let size = size(&info);
        let (start, end) = info.data_offsets;
        if start > end || end > data.len() || size != Some(end - start) {
            let problem = format!(
                "{} {:?} at data offsets {start}..{end}, expected its own size within the {} bytes of data",
                info.dtype,
                info.shape,
                data.len()
            );
            return Err(malformed(path, place(), problem));
        }
        let offset = PREFIX + length as usize;
        let range = offset + start..offset + end;
        tensors.push((name, Tensor { dtype: info.dtype, shape: info.shape, shard: 0, range }));
    }
    let mut ranges: Vec<_> = tensors.iter().map(|(name, tensor)| (tensor.range.clone(), name)).collect();
    ranges.sort_unstable_by_key(|(range, _)| (range.start, range.end));
    let mut expected = PREFIX + length as usize;
    for (range, name) in ranges {
        if range.start != expected {
            let problem = format!("begins at byte {}, expected {expected}: no overlap and no gap", range.start);
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

fn size(info: &TensorInfo) -> Option<usize> {
    let elements = info.shape.iter().try_fold(1_usize, |product, dim| product.checked_mul(*dim))?;
    let bits = elements.checked_mul(info.dtype.bitsize())?;
    bits.is_multiple_of(8).then_some(bits / 8)
}
