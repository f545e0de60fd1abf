//! GGUF to GGUF with fewer bits.
//!
//! [`plan`] says what each tensor would become ([`choose`] is the recipe); [`QuantizePlan::write`] streams the tensors
//! through ggml's own quantisers ([`crate::blocks`]), parallel over rows. Metadata is copied, but for the file type. A
//! vision tower (`mmproj`) stays at 16 bits unless asked otherwise.
//!
//! ```no_run
//! use std::path::Path;
//! use mmprm_quant::gguf::GgufFile;
//! use mmprm_quant::progress::unwatched;
//! use mmprm_quant::quantize::{QuantType, QuantizeOptions, plan};
//! let input = GgufFile::open(Path::new("model-f16.gguf"))?;
//! let plan = plan(&input, &QuantizeOptions::new(QuantType::Q4_K_M))?;
//! for tensor in &plan.tensors {
//!     println!("{} {} -> {} ({})", tensor.spec.name, tensor.from, tensor.spec.ggml_type, tensor.reason);
//! }
//! plan.write(Path::new("model-q4_k_m.gguf"), &mut unwatched)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod layout;
mod recipe;

pub use layout::layout;
pub(crate) use layout::vision_mix;
pub use recipe::{Choice, ModelShape, QuantType, TensorShape, choose};

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::blocks::{BlockError, GgmlType, dequantize_row, quantize_rows};
use crate::convert::QUANTIZATION_VERSION;
use crate::gguf::{GgufError, GgufFile, GgufValue, GgufWriter, Metadata, TensorInfo, TensorSpec};
use crate::progress::{Progress, Watch};

/// Values converted at a time: 16 MiB as floats.
const CHUNK: usize = 1 << 22;

/// Why a file cannot be quantised; every message names the file and the place in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QuantizeError {
    /// The file that is read or written.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// The input has block formats already, and the caller did not say that losing precision twice is fine.
    #[error(
        "{}: tensor '{tensor}': is {found}, expected F32, F16 or BF16: requantising loses precision twice and must be \
         asked for",
        path.display()
    )]
    Requantize {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its type.
        found: GgmlType,
    },
    /// A tensor cannot be converted.
    #[error("{}: tensor '{tensor}': {source}", path.display())]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Why.
        source: BlockError,
    },
    /// The tensor would become larger than a file can be.
    #[error("{}: tensor '{tensor}': its new data would exceed 2^63 bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
    },
    /// The file is one of several shards, which would have to be joined first.
    #[error("{}: key 'split.count': {count} shards, expected a file of one", path.display())]
    Split {
        /// The file.
        path: PathBuf,
        /// Number of shards.
        count: u32,
    },
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
}

/// What to quantise to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuantizeOptions {
    /// The mix.
    pub mix: QuantType,
    /// Whether block formats may be unpacked and packed again.
    pub requantize: bool,
    /// Whether a vision tower is quantised too, instead of staying at 16 bits.
    pub vision: bool,
}

impl QuantizeOptions {
    /// Options for a mix that refuse block formats as input and keep a vision tower at 16 bits.
    pub fn new(mix: QuantType) -> Self {
        Self { mix, requantize: false, vision: false }
    }
}

/// What a tensor would become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedTensor {
    /// Name, dimensions and new type.
    pub spec: TensorSpec,
    /// Its present type.
    pub from: GgmlType,
    /// Why it gets the new type.
    pub reason: &'static str,
    size: u64,
}

impl PlannedTensor {
    /// Bytes of its new data.
    pub fn size(&self) -> u64 {
        self.size
    }
}

/// What quantising a file would write.
#[derive(Debug)]
pub struct QuantizePlan<'a> {
    /// The mix, which for a vision tower may be another than was asked for.
    pub mix: QuantType,
    /// The metadata.
    pub metadata: Metadata,
    /// The tensors, in the input's order.
    pub tensors: Vec<PlannedTensor>,
    input: &'a GgufFile,
}

/// Plans to quantise a file. Nothing is written.
///
/// # Errors
/// [`QuantizeError`] with the file and the key or tensor.
pub fn plan<'a>(input: &'a GgufFile, options: &QuantizeOptions) -> Result<QuantizePlan<'a>, QuantizeError> {
    if let Some(count) = input.get("split.count").and_then(GgufValue::as_u32).filter(|count| *count > 1) {
        return Err(QuantizeError::Split { path: input.path().to_owned(), count });
    }
    let model = model_shape(input)?;
    let keep_vision = model.vision && !options.vision && options.mix.base_type().is_quantized();
    let mix = if keep_vision { QuantType::F16 } else { options.mix };
    let mut tensors = Vec::with_capacity(input.tensors().len());
    for tensor in input.tensors() {
        let from = tensor.ggml_type;
        let shape = TensorShape { name: &tensor.name, dims: &tensor.dims, ggml_type: from };
        let choice = choose(mix, &model, &shape);
        if from.is_quantized() && choice.ggml_type != from && !options.requantize {
            let (path, tensor) = (input.path().to_owned(), tensor.name.clone());
            return Err(QuantizeError::Requantize { path, tensor, found: from });
        }
        let size = choice
            .ggml_type
            .tensor_bytes(&tensor.dims)
            .ok_or_else(|| QuantizeError::TooLarge { path: input.path().to_owned(), tensor: tensor.name.clone() })?;
        let spec = TensorSpec { name: tensor.name.clone(), dims: tensor.dims.clone(), ggml_type: choice.ggml_type };
        tensors.push(PlannedTensor { spec, from, size, reason: choice.reason });
    }
    Ok(QuantizePlan { mix, metadata: metadata(input, mix), tensors, input })
}

fn model_shape(input: &GgufFile) -> Result<ModelShape, GgufError> {
    let arch = input.get_str("general.architecture")?;
    if arch == "clip" {
        return Ok(ModelShape { layers: 0, kv_group: 1, is_70b: false, vision: true, tied: false });
    }
    let layers = u64::from(input.get_u32(&format!("{arch}.block_count"))?);
    let heads = input.get_u32(&format!("{arch}.attention.head_count"))?;
    let kv_heads = input.get(&format!("{arch}.attention.head_count_kv")).and_then(GgufValue::as_u32).unwrap_or(heads);
    Ok(ModelShape {
        layers,
        kv_group: u64::from(heads.checked_div(kv_heads).unwrap_or(1)),
        is_70b: layers == 80 && matches!(arch, "llama" | "qwen2"),
        vision: false,
        tied: input.tensor("output.weight").is_none(),
    })
}

fn metadata(input: &GgufFile, mix: QuantType) -> Metadata {
    let own = ["general.file_type", "general.quantization_version", "general.alignment"];
    let copied = input.metadata().iter().filter(|(key, _)| !own.contains(&key.as_str())).cloned();
    let types = [
        (own[0].to_owned(), GgufValue::U32(mix.file_type())),
        (own[1].to_owned(), GgufValue::U32(QUANTIZATION_VERSION)),
    ];
    copied.chain(types).collect()
}

impl QuantizePlan<'_> {
    /// Bytes of all tensors' new data, without padding.
    pub fn data_size(&self) -> u64 {
        self.tensors.iter().map(PlannedTensor::size).sum()
    }

    /// Writes the file, which appears under its name when it is complete. Uses rayon's current pool.
    ///
    /// # Errors
    /// [`QuantizeError`] with the file and tensor; [`QuantizeError::Cancelled`] if `watch` says so. Nothing is left behind
    /// then.
    pub fn write(&self, output: &Path, watch: &mut Watch<'_>) -> Result<(), QuantizeError> {
        let specs: Vec<TensorSpec> = self.tensors.iter().map(|tensor| tensor.spec.clone()).collect();
        let mut writer = GgufWriter::create(output, &self.metadata, &specs)?;
        let (mut done, total) = (0, self.data_size());
        let mut buffers = Buffers::default();
        for (planned, tensor) in self.tensors.iter().zip(self.input.tensors()) {
            let row = tensor.row_len() as usize;
            let rows_per_chunk = (CHUNK / row).max(1);
            for chunk in self.row_chunks(tensor, rows_per_chunk) {
                let packed = buffers.convert(tensor.ggml_type, planned.spec.ggml_type, row, chunk);
                let packed = packed.map_err(|source| QuantizeError::Tensor {
                    path: self.input.path().to_owned(),
                    tensor: tensor.name.clone(),
                    source,
                })?;
                writer.write(packed)?;
                done += packed.len() as u64;
                if watch(Progress { done, total, item: &tensor.name }).is_break() {
                    return Err(QuantizeError::Cancelled);
                }
            }
            self.input.release(tensor);
        }
        Ok(writer.finish()?)
    }

    fn row_chunks(&self, tensor: &TensorInfo, rows: usize) -> std::slice::Chunks<'_, u8> {
        let row_bytes = tensor.size / tensor.rows();
        self.input.tensor_data(tensor).chunks(rows * row_bytes as usize)
    }
}

/// Buffers reused from chunk to chunk.
#[derive(Default)]
struct Buffers {
    values: Vec<f32>,
    packed: Vec<u8>,
}

impl Buffers {
    /// Converts whole rows from one type to another; rows of one type pass unchanged.
    fn convert<'a>(
        &'a mut self,
        from: GgmlType,
        to: GgmlType,
        row: usize,
        bytes: &'a [u8],
    ) -> Result<&'a [u8], BlockError> {
        if from == to {
            return Ok(bytes);
        }
        let row_bytes = from.row_bytes(row).expect("the reader checked that rows are whole blocks");
        let rows = bytes.len() / row_bytes;
        self.values.resize(rows * row, 0.0);
        self.values
            .par_chunks_mut(row)
            .zip(bytes.par_chunks(row_bytes))
            .try_for_each(|(values, bytes)| dequantize_row(from, bytes, values))?;
        let size = to.row_bytes(row).expect("the recipe chooses formats that fit the rows") * rows;
        self.packed.resize(size, 0);
        quantize_rows(to, &self.values, row, &mut self.packed)?;
        Ok(&self.packed)
    }
}
