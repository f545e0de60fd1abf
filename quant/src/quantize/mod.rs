//! Quantises a GGUF file.
//!
//! [`plan`] chooses the new type of each tensor; [`QuantizePlan::write`] streams the tensors
//! through ggml's own quantisers ([`crate::blocks`]), parallel over rows. Metadata is copied except
//! for the file type. A vision tower (`mmproj`) stays at 16 bits unless [`QuantizeOptions::vision`]
//! is set. Block formats need the feature `ggml`.
//!
//! ```
//! # #[cfg(feature = "ggml")] {
//! # use mmprm_quant::{ConvertOptions, WeightType, convert};
//! # let checkpoint = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo/checkpoints/mini-mm-policy");
//! # let folder = tempfile::tempdir()?;
//! # let converted = convert::plan(&checkpoint, folder.path(), &ConvertOptions::new(WeightType::F16))?;
//! # converted.write(&mut no_progress)?;
//! # let (model, output) = (&converted.files[0].path, folder.path().join("q4_k_m.gguf"));
//! use mmprm_quant::gguf::GgufFile;
//! use mmprm_quant::progress::no_progress;
//! use mmprm_quant::quantize::{QuantType, QuantizeOptions, plan};
//! let input = GgufFile::open(model)?;
//! let plan = plan(&input, &QuantizeOptions::new(QuantType::Q4_K_M))?;
//! for tensor in &plan.tensors {
//!     println!("{} {} -> {} ({})", tensor.spec.name, tensor.from, tensor.spec.ggml_type, tensor.reason);
//! }
//! plan.write(&output, &mut no_progress)?;
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # How to add a quantisation type
//!
//! 1. `src/quantize/types.rs`: add the variant to [`QuantType`] and its row to `TYPES` (name, base
//!    type, llama.cpp's file type, description). `mmprm quantize --help`, `mmprm bench synth` and
//!    the tests take the types from that table.
//! 2. `src/quantize/tensor_types.rs`: add its rules, as in llama.cpp's `llama_tensor_get_type`, if
//!    some tensors get another type than the base type, and a fallback for rows that are not whole
//!    blocks.
//! 3. `src/blocks/convert.rs`: if the base type was not written before, add it to `check_writable`.
//!    Only formats that need no importance matrix can be added. `src/blocks/types.rs`: add the
//!    element type if ggml itself has a new one.
//! 4. `tests/quantize.rs` compares every type with llama.cpp's quantiser tensor by tensor; add the
//!    type's error bound to `every_writable_type_comes_back_close`.

mod error;
mod layout;
mod tensor_types;
mod types;

pub use error::QuantizeError;
pub use layout::layout;
pub(crate) use layout::vision_type;
pub use types::QuantType;

use std::path::Path;

use rayon::prelude::*;

use crate::blocks::{BlockError, GgmlType, dequantize_row, quantize_rows};
use crate::convert::QUANTIZATION_VERSION;
use crate::gguf::{GgufError, GgufFile, GgufValue, GgufWriter, Metadata, TensorInfo, TensorSpec};
use crate::progress::{Progress, ProgressFn};
use tensor_types::{ModelShape, TensorShape, choose};

/// Values converted at a time: 16 MiB as floats.
const CHUNK: usize = 1 << 22;

/// Options of quantisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuantizeOptions {
    /// The type.
    pub quant_type: QuantType,
    /// Whether quantised tensors may be dequantised and quantised again.
    pub requantize: bool,
    /// Whether a vision tower is quantised too instead of staying at 16 bits.
    pub vision: bool,
}

impl QuantizeOptions {
    /// Options that refuse quantised input and keep a vision tower at 16 bits.
    pub fn new(quant_type: QuantType) -> Self {
        Self { quant_type, requantize: false, vision: false }
    }
}

/// A tensor to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedTensor {
    /// Name, dimensions and new type.
    pub spec: TensorSpec,
    /// Current type.
    pub from: GgmlType,
    /// The rule that chose the new type, in a few words.
    pub reason: &'static str,
    size: u64,
}

impl PlannedTensor {
    /// Returns the size of the new data in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }
}

/// A quantisation before anything is written.
#[derive(Debug)]
pub struct QuantizePlan<'a> {
    /// The type; for a vision tower it may differ from the one in the options.
    pub quant_type: QuantType,
    /// Metadata.
    pub metadata: Metadata,
    /// Tensors, in the input's order.
    pub tensors: Vec<PlannedTensor>,
    input: &'a GgufFile,
}

/// Plans the quantisation of a file. Nothing is written.
///
/// # Errors
/// [`QuantizeError`] with the file and the key or tensor.
pub fn plan<'a>(input: &'a GgufFile, options: &QuantizeOptions) -> Result<QuantizePlan<'a>, QuantizeError> {
    if let Some(count) = input.get("split.count").and_then(GgufValue::as_u32).filter(|count| *count > 1) {
        return Err(QuantizeError::Split { path: input.path().to_owned(), count });
    }
    let model = model_shape(input)?;
    let keep_vision = model.vision && !options.vision && options.quant_type.base_type().is_quantized();
    let quant_type = if keep_vision { QuantType::F16 } else { options.quant_type };
    let mut tensors = Vec::with_capacity(input.tensors().len());
    for tensor in input.tensors() {
        let from = tensor.ggml_type;
        let shape = TensorShape { name: &tensor.name, dims: &tensor.dims, ggml_type: from };
        let choice = choose(quant_type, &model, &shape);
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
    Ok(QuantizePlan { quant_type, metadata: metadata(input, quant_type), tensors, input })
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

fn metadata(input: &GgufFile, quant_type: QuantType) -> Metadata {
    let replaced = ["general.file_type", "general.quantization_version", "general.alignment"];
    let copied = input.metadata().iter().filter(|(key, _)| !replaced.contains(&key.as_str())).cloned();
    let types = [
        (replaced[0].to_owned(), GgufValue::U32(quant_type.file_type())),
        (replaced[1].to_owned(), GgufValue::U32(QUANTIZATION_VERSION)),
    ];
    copied.chain(types).collect()
}

impl QuantizePlan<'_> {
    /// Returns the size of all new data in bytes, without padding.
    pub fn data_size(&self) -> u64 {
        self.tensors.iter().map(PlannedTensor::size).sum()
    }

    /// Writes the file; it appears at its path when it is complete. Uses rayon's current pool.
    ///
    /// # Errors
    /// [`QuantizeError`] with the file and tensor; [`QuantizeError::Cancelled`] if `on_progress`
    /// breaks. The unfinished file is removed.
    pub fn write(&self, output: &Path, on_progress: &mut ProgressFn<'_>) -> Result<(), QuantizeError> {
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
                if on_progress(Progress { done, total, item: &tensor.name }).is_break() {
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

/// Buffers reused between chunks.
#[derive(Default)]
struct Buffers {
    values: Vec<f32>,
    packed: Vec<u8>,
}

impl Buffers {
    /// Converts whole rows between types; rows that keep their type are returned unchanged.
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
