//! An open GGUF file.

use std::collections::HashMap;
use std::path::Path;

use super::parse::{Header, parse};
use super::{GgufError, GgufValue, Metadata};
use crate::blocks::GgmlType;
use crate::map::MappedFile;

/// Where a tensor is and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// Its dimensions, the contiguous one first (ggml's order).
    pub dims: Vec<u64>,
    /// The type of its elements.
    pub ggml_type: GgmlType,
    /// Byte offset of its data from the start of the file.
    pub offset: u64,
    /// Bytes of its data, without padding.
    pub size: u64,
}

impl TensorInfo {
    /// Elements per row, the contiguous dimension.
    pub fn row_len(&self) -> u64 {
        self.dims[0]
    }

    /// Rows of all other dimensions together.
    pub fn rows(&self) -> u64 {
        self.dims[1..].iter().product()
    }

    /// Elements in all.
    pub fn elements(&self) -> u64 {
        self.dims.iter().product()
    }
}

/// A GGUF file, memory-mapped and checked: see the [module](super).
#[derive(Debug)]
pub struct GgufFile {
    map: MappedFile,
    version: u32,
    alignment: u32,
    metadata: Metadata,
    tensors: Vec<TensorInfo>,
    keys: HashMap<String, usize>,
    names: HashMap<String, usize>,
}

impl GgufFile {
    /// Maps the file and checks its whole header against its size.
    ///
    /// # Errors
    /// [`GgufError::Read`] if it cannot be opened, [`GgufError::Malformed`] with the place if it breaks the format.
    pub fn open(path: &Path) -> Result<Self, GgufError> {
        let map = MappedFile::open(path).map_err(|source| GgufError::Read { path: path.to_owned(), source })?;
        let Header { version, alignment, metadata, tensors } = parse(map.bytes(), path)?;
        let keys = metadata.iter().enumerate().map(|(index, (key, _))| (key.clone(), index)).collect();
        let names = tensors.iter().enumerate().map(|(index, tensor)| (tensor.name.clone(), index)).collect();
        Ok(Self { map, version, alignment, metadata, tensors, keys, names })
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        self.map.path()
    }

    /// The format's version, 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Alignment of tensor data in bytes.
    pub fn alignment(&self) -> u32 {
        self.alignment
    }

    /// Size of the file in bytes.
    pub fn file_size(&self) -> u64 {
        self.map.bytes().len() as u64
    }

    /// All metadata in file order.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// All tensors in file order.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The tensor of a name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.names.get(name).map(|&index| &self.tensors[index])
    }

    /// The data of one of this file's tensors.
    ///
    /// # Panics
    /// If the info is not from this file and reaches beyond it.
    pub fn tensor_data(&self, tensor: &TensorInfo) -> &[u8] {
        let start = tensor.offset as usize;
        &self.map.bytes()[start..start + tensor.size as usize]
    }

    /// The whole file.
    pub fn bytes(&self) -> &[u8] {
        self.map.bytes()
    }

    /// Gives a tensor's resident pages back to the system after a pass over it.
    pub fn release(&self, tensor: &TensorInfo) {
        let start = tensor.offset as usize;
        self.map.release(start..start + tensor.size as usize);
    }

    /// The value of a key, if it is there.
    pub fn get(&self, key: &str) -> Option<&GgufValue> {
        self.keys.get(key).map(|&index| &self.metadata[index].1)
    }

    /// The text of a key.
    ///
    /// # Errors
    /// [`GgufError::MissingKey`] or [`GgufError::WrongType`].
    pub fn get_str(&self, key: &str) -> Result<&str, GgufError> {
        self.require(key, "string", GgufValue::as_str)
    }

    /// The non-negative integer of a key, stored in any width.
    ///
    /// # Errors
    /// [`GgufError::MissingKey`] or [`GgufError::WrongType`].
    pub fn get_u32(&self, key: &str) -> Result<u32, GgufError> {
        self.require(key, "u32", GgufValue::as_u32)
    }

    /// The float of a key.
    ///
    /// # Errors
    /// [`GgufError::MissingKey`] or [`GgufError::WrongType`].
    pub fn get_f32(&self, key: &str) -> Result<f32, GgufError> {
        self.require(key, "f32", GgufValue::as_f32)
    }

    /// The truth value of a key.
    ///
    /// # Errors
    /// [`GgufError::MissingKey`] or [`GgufError::WrongType`].
    pub fn get_bool(&self, key: &str) -> Result<bool, GgufError> {
        self.require(key, "bool", GgufValue::as_bool)
    }

    /// The texts of a key.
    ///
    /// # Errors
    /// [`GgufError::MissingKey`] or [`GgufError::WrongType`].
    pub fn get_strings(&self, key: &str) -> Result<&[String], GgufError> {
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
