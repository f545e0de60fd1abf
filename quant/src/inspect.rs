//! Summarises a GGUF file: sizes by element type, and a hash of the weights.
//!
//! Metadata and tensors are read from [`GgufFile`] itself; formatting is left to the caller.
//!
//! ```
//! use mmprm_quant::blocks::GgmlType;
//! use mmprm_quant::gguf::{GgufFile, GgufWriter, TensorSpec};
//! use mmprm_quant::inspect::{content_hash, summary};
//! use mmprm_quant::progress::no_progress;
//! let dir = tempfile::tempdir().unwrap();
//! let path = dir.path().join("tiny.gguf");
//! let tensors = [TensorSpec { name: "x".into(), dims: vec![4], ggml_type: GgmlType::F16 }];
//! let mut writer = GgufWriter::create(&path, &[], &tensors).unwrap();
//! writer.write(&[0; 8]).unwrap();
//! writer.finish().unwrap();
//! let file = GgufFile::open(&path).unwrap();
//! assert_eq!(summary(&file).parameters, 4);
//! assert_eq!(content_hash(&file, &mut no_progress).unwrap().len(), 64);
//! ```

use sha2::{Digest, Sha256};

use crate::blocks::GgmlType;
use crate::gguf::GgufFile;
use crate::progress::{Progress, ProgressFn};

/// Bytes hashed between two progress reports.
const CHUNK: usize = 16 << 20;

/// The tensors of one element type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TypeSize {
    /// Element type.
    pub ggml_type: GgmlType,
    /// Number of tensors.
    pub tensors: u64,
    /// Number of elements.
    pub parameters: u64,
    /// Size of the data in bytes.
    pub bytes: u64,
}

/// The sizes of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Size of the file in bytes.
    pub file_size: u64,
    /// Number of elements of all tensors.
    pub parameters: u64,
    /// Size of all tensors in bytes, without padding.
    pub bytes: u64,
    /// The same by element type, largest first.
    pub types: Vec<TypeSize>,
}

impl Summary {
    /// Returns the mean number of bits per element.
    pub fn bits_per_parameter(&self) -> f64 {
        self.bytes as f64 * 8.0 / self.parameters.max(1) as f64
    }
}

/// Sums up a file's tensors.
pub fn summary(file: &GgufFile) -> Summary {
    let mut types: Vec<TypeSize> = Vec::new();
    for tensor in file.tensors() {
        let index = types.iter().position(|size| size.ggml_type == tensor.ggml_type).unwrap_or_else(|| {
            types.push(TypeSize { ggml_type: tensor.ggml_type, tensors: 0, parameters: 0, bytes: 0 });
            types.len() - 1
        });
        types[index].tensors += 1;
        types[index].parameters += tensor.elements();
        types[index].bytes += tensor.size;
    }
    types.sort_by_key(|size| std::cmp::Reverse(size.bytes));
    Summary {
        file_size: file.file_size(),
        parameters: types.iter().map(|size| size.parameters).sum(),
        bytes: types.iter().map(|size| size.bytes).sum(),
        types,
    }
}

/// Returns the SHA-256, in hexadecimal, of the tensors alone, or `None` if `on_progress` breaks.
///
/// The hash depends neither on metadata nor on the order of tensors, so files with the same weights
/// have the same hash. Hashed are, for each tensor in order of names: length of the name (u64),
/// name, type number (u32), number of dimensions (u32), dimensions (u64 each), length of the data
/// (u64), data; integers little-endian.
pub fn content_hash(file: &GgufFile, on_progress: &mut ProgressFn<'_>) -> Option<String> {
    let mut tensors: Vec<_> = file.tensors().iter().collect();
    tensors.sort_unstable_by_key(|tensor| &tensor.name);
    let total = tensors.iter().map(|tensor| tensor.size).sum();
    let mut done = 0;
    let mut hash = Sha256::new();
    for tensor in tensors {
        hash.update((tensor.name.len() as u64).to_le_bytes());
        hash.update(&tensor.name);
        hash.update(tensor.ggml_type.id().to_le_bytes());
        hash.update((tensor.dims.len() as u32).to_le_bytes());
        tensor.dims.iter().for_each(|dim| hash.update(dim.to_le_bytes()));
        hash.update(tensor.size.to_le_bytes());
        for bytes in file.tensor_data(tensor).chunks(CHUNK) {
            hash.update(bytes);
            done += bytes.len() as u64;
            if on_progress(Progress { done, total, item: &tensor.name }).is_break() {
                return None;
            }
        }
        file.release(tensor);
    }
    Some(format!("{:x}", hash.finalize()))
}
