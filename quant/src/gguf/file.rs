//! An open GGUF file: typed access to metadata and to tensor data. The header is parsed in
//! [`super::parse`].

use std::collections::HashMap;
use std::path::Path;

use super::error::GgufError;
use super::format::{DEFAULT_ALIGNMENT, TensorInfo, TensorSpec, VERSION};
use super::outline::Keep;
use super::parse::{Header, parse};
use super::texts::Texts;
use super::value::{GgufValue, Metadata};
use crate::map::MappedFile;

/// A GGUF file, memory-mapped and validated: see the [module](super).
#[derive(Debug)]
pub struct GgufFile {
    map: MappedFile,
    version: u32,
    alignment: u32,
    metadata: Metadata,
    tensors: Vec<TensorInfo>,
    keys: HashMap<String, usize>,
    names: HashMap<String, usize>,
    cut: HashMap<String, usize>,
}

impl GgufFile {
    /// Maps the file and validates its header against its size.
    ///
    /// # Errors
    /// [`GgufError::Read`] if it cannot be opened, [`GgufError::Malformed`] with the place if it
    /// violates the format.
    pub fn open(path: &Path) -> Result<Self, GgufError> {
        Self::read(path, Keep::everything())
    }

    /// Opens a file to list its content, in memory that does not grow with it: long arrays and
    /// strings are validated, but only their beginnings are kept. [`GgufFile::full_length`] tells
    /// which.
    ///
    /// # Errors
    /// As [`GgufFile::open`].
    pub fn open_outline(path: &Path) -> Result<Self, GgufError> {
        Self::read(path, Keep::outline())
    }

    fn read(path: &Path, keep: Keep) -> Result<Self, GgufError> {
        let map = MappedFile::open(path).map_err(|source| GgufError::Read { path: path.to_owned(), source })?;
        let Header { version, alignment, metadata, tensors, cut } = parse(map.bytes(), path, keep)?;
        Ok(Self::of(map, Header { version, alignment, metadata, tensors, cut }))
    }

    /// Returns a file with this header as it would be written to `path`. It has no data, so only
    /// metadata and tensor descriptions may be asked for.
    pub(crate) fn unwritten(path: &Path, metadata: &Metadata, tensors: &[&TensorSpec]) -> Self {
        let info = |spec: &&TensorSpec| TensorInfo {
            name: spec.name.clone(),
            dims: spec.dims.clone(),
            ggml_type: spec.ggml_type,
            offset: 0,
            size: 0,
        };
        let header = Header {
            version: VERSION,
            alignment: DEFAULT_ALIGNMENT,
            metadata: metadata.clone(),
            tensors: tensors.iter().map(info).collect(),
            cut: HashMap::new(),
        };
        Self::of(MappedFile::without_content(path), header)
    }

    fn of(map: MappedFile, header: Header) -> Self {
        let Header { version, alignment, metadata, tensors, cut } = header;
        let keys = metadata.iter().enumerate().map(|(index, (key, _))| (key.clone(), index)).collect();
        let names = tensors.iter().enumerate().map(|(index, tensor)| (tensor.name.clone(), index)).collect();
        Self { map, version, alignment, metadata, tensors, keys, names, cut }
    }

    /// Returns the number of elements, or of bytes of a string, in the file of a value that
    /// [`GgufFile::open_outline`] cut; `None` for values that are complete.
    pub fn full_length(&self, key: &str) -> Option<usize> {
        self.cut.get(key).copied()
    }

    /// Returns the path that was opened.
    pub fn path(&self) -> &Path {
        self.map.path()
    }

    /// Returns the format version, 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Returns the alignment of tensor data in bytes.
    pub fn alignment(&self) -> u32 {
        self.alignment
    }

    /// Returns the size of the file in bytes.
    pub fn file_size(&self) -> u64 {
        self.map.bytes().len() as u64
    }

    /// Returns all metadata in file order.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Returns all tensors in file order.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// Looks up a tensor by name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.names.get(name).map(|&index| &self.tensors[index])
    }

    /// Returns the data of one of this file's tensors.
    ///
    /// # Panics
    /// If `tensor` belongs to another file and exceeds this one.
    pub fn tensor_data(&self, tensor: &TensorInfo) -> &[u8] {
        let start = tensor.offset as usize;
        &self.map.bytes()[start..start + tensor.size as usize]
    }

    /// Returns the content of the file.
    pub fn bytes(&self) -> &[u8] {
        self.map.bytes()
    }

    /// Returns the resident pages of a tensor to the system after a pass over it.
    pub fn release(&self, tensor: &TensorInfo) {
        let start = tensor.offset as usize;
        self.map.release(start..start + tensor.size as usize);
    }

    /// Looks up a metadata value.
    pub fn get(&self, key: &str) -> Option<&GgufValue> {
        self.keys.get(key).map(|&index| &self.metadata[index].1)
    }

    /// Returns the string of a key.
    ///
    /// # Errors
    /// [`GgufError::MissingKey`] or [`GgufError::WrongType`].
    pub fn get_str(&self, key: &str) -> Result<&str, GgufError> {
        self.require(key, "string", GgufValue::as_str)
    }

    /// Returns the non-negative integer of a key, stored in any width.
    ///
    /// # Errors
    /// [`GgufError::MissingKey`] or [`GgufError::WrongType`].
    pub fn get_u32(&self, key: &str) -> Result<u32, GgufError> {
        self.require(key, "u32", GgufValue::as_u32)
    }

    /// Returns the float of a key.
    ///
    /// # Errors
    /// [`GgufError::MissingKey`] or [`GgufError::WrongType`].
    pub fn get_f32(&self, key: &str) -> Result<f32, GgufError> {
        self.require(key, "f32", GgufValue::as_f32)
    }

    /// Returns the boolean of a key.
    ///
    /// # Errors
    /// [`GgufError::MissingKey`] or [`GgufError::WrongType`].
    pub fn get_bool(&self, key: &str) -> Result<bool, GgufError> {
        self.require(key, "bool", GgufValue::as_bool)
    }

    /// Returns the strings of a key.
    ///
    /// # Errors
    /// [`GgufError::MissingKey`] or [`GgufError::WrongType`].
    pub fn get_strings(&self, key: &str) -> Result<&Texts, GgufError> {
        self.require(key, "string[]", GgufValue::as_strings)
    }

    fn require<'a, T>(
        &'a self,
        key: &str,
        expected: &'static str,
        read: impl FnOnce(&'a GgufValue) -> Option<T>,
    ) -> Result<T, GgufError> {
        let path = || self.path().to_owned();
        let Some(value) = self.get(key) else {
            return Err(GgufError::MissingKey { path: path(), key: key.to_owned(), expected });
        };
        let found = value.type_name();
        read(value).ok_or_else(|| GgufError::WrongType { path: path(), key: key.to_owned(), found, expected })
    }
}
