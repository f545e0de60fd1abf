//! Writing one safetensors file: the header first, then the tensors' bytes in the announced order.
//!
//! The file appears whole or not at all. Converting values to the stored type is left to the caller.

use std::io::{self, Write};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::Dtype;
use crate::atomic::AtomicFile;

/// The header and the data begin at a multiple of this many bytes.
const ALIGNMENT: usize = 8;

/// A tensor to write: its name, type and shape (row-major).
#[derive(Debug, Clone, Copy)]
pub struct TensorSpec<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its element type.
    pub dtype: Dtype,
    /// Its shape, row-major, the contiguous dimension last.
    pub shape: &'a [usize],
}

impl TensorSpec<'_> {
    /// Bytes of its values.
    fn bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.bitsize() / 8
    }
}

/// A safetensors file under construction; dropping it leaves nothing behind.
///
/// ```
/// use std::io::Write;
/// use mmprm_quant::safetensors::{Checkpoint, Dtype, SafetensorsWriter, TensorSpec};
/// let folder = tempfile::tempdir()?;
/// let spec = TensorSpec { name: "w", dtype: Dtype::F32, shape: &[1] };
/// let mut file = SafetensorsWriter::create(&folder.path().join("model.safetensors"), &[spec])?;
/// file.write_all(&0.5_f32.to_le_bytes())?;
/// file.commit()?;
/// let checkpoint = Checkpoint::open(folder.path()).unwrap();
/// assert_eq!(checkpoint.data(checkpoint.get("w").unwrap()), 0.5_f32.to_le_bytes());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct SafetensorsWriter {
    file: AtomicFile,
    missing: usize,
}

impl SafetensorsWriter {
    /// Opens a temporary file beside `path` and writes the header.
    ///
    /// # Errors
    /// Any input/output error, with the path in its message.
    pub fn create(path: &Path, tensors: &[TensorSpec<'_>]) -> io::Result<Self> {
        let mut header = Map::new();
        // transformers refuses files that do not name a framework.
        header.insert("__metadata__".into(), json!({"format": "pt"}));
        let mut end = 0;
        for spec in tensors {
            let start = end;
            end += spec.bytes();
            let entry = json!({"dtype": spec.dtype, "shape": spec.shape, "data_offsets": [start, end]});
            header.insert(spec.name.to_owned(), entry);
        }
        let mut header = Value::Object(header).to_string();
        header.push_str(&" ".repeat(header.len().next_multiple_of(ALIGNMENT) - header.len()));
        let mut file = AtomicFile::create(path)?;
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(header.as_bytes())?;
        Ok(Self { file, missing: end })
    }

    /// Puts the file in place, as [`AtomicFile::commit`] does.
    ///
    /// # Errors
    /// Any input/output error, with the path in its message.
    ///
    /// # Panics
    /// If fewer bytes were written than the header announces.
    pub fn commit(self) -> io::Result<()> {
        assert_eq!(self.missing, 0, "bytes announced but not written");
        self.file.commit()
    }
}

impl Write for SafetensorsWriter {
    /// # Panics
    /// If more bytes are written than the header announces.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.missing = self.missing.checked_sub(written).expect("no more bytes than announced");
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
