//! Values of a model's tensors, their half-precision copies, and the view of both that a pass
//! reads.

use std::ops::Range;
use std::sync::Arc;

use half::{bf16, f16};
use rayon::prelude::*;

use super::counter::Counter;
use super::layout::{Layout, Role, TensorInfo};
use super::lora::Dropout;
use crate::nn::embedding;
use crate::nn::gemm::{Operand, RowSource};
use crate::nn::tensor::{Element, Mat, MatMut};

/// Standard deviation of random matrices (`initializer_range` in MM-PRM).
const INIT_DEVIATION: f32 = 0.02;
/// Initial `LayerScale` (`initializer_factor` of `InternViT`).
const INIT_LAYER_SCALE: f32 = 0.1;

/// Storage of the values of a tensor.
#[derive(Clone)]
#[non_exhaustive]
pub enum Store {
    /// `f32` master weights: trained tensors, and every vector.
    F32(Vec<f32>),
    /// A frozen matrix in f16.
    F16(Vec<f16>),
    /// A frozen matrix in bf16.
    Bf16(Vec<bf16>),
    /// A frozen matrix whose rows are generated on demand, such as quantised weights.
    Rows(Arc<dyn RowSource + Send + Sync>),
}

impl Store {
    /// Returns the number of elements.
    fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F16(values) => values.len(),
            Self::Bf16(values) => values.len(),
            Self::Rows(source) => source.rows() * source.cols(),
        }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let format = match self {
            Self::F32(_) => "f32",
            Self::F16(_) => "f16",
            Self::Bf16(_) => "bf16",
            Self::Rows(_) => "rows generated on demand",
        };
        write!(f, "Store({} × {format})", self.len())
    }
}

/// Values of all tensors of a [`Layout`].
#[derive(Debug, Clone)]
pub struct Parameters {
    layout: Arc<Layout>,
    values: Vec<Store>,
}

impl Parameters {
    /// Collects the values that `read` returns for each tensor index, in order. Vectors (biases,
    /// norms, `LayerScale`, and the embeddings of the vision tower) have to be [`Store::F32`].
    ///
    /// # Errors
    /// The error of `read`.
    ///
    /// # Panics
    /// If the number of values does not match a tensor's shape, or a vector is not `f32`.
    pub fn load<E>(layout: &Arc<Layout>, mut read: impl FnMut(usize) -> Result<Store, E>) -> Result<Self, E> {
        let mut values = Vec::with_capacity(layout.tensors().len());
        for (index, tensor) in layout.tensors().iter().enumerate() {
            let store = read(index)?;
            assert_eq!(store.len(), tensor.len(), "number of values of {}", tensor.name);
            assert!(tensor.is_matrix() || matches!(store, Store::F32(_)), "{}: vectors have to be f32", tensor.name);
            values.push(store);
        }
        Ok(Self { layout: Arc::clone(layout), values })
    }

    /// Initialises randomly, by `seed` and the index of each tensor: normal with standard deviation
    /// 0.02 for matrices and embeddings, 1 for norms, 0 for biases, 0.1 for `LayerScale`; `LoRA`
    /// tensors as in [`Parameters::with_lora`].
    pub fn random(layout: &Arc<Layout>, seed: u64) -> Self {
        let own = &layout.tensors()[..layout.base_len()];
        let values = own.par_iter().enumerate().map(|(index, tensor)| initial(seed, index, tensor)).collect();
        Self { layout: Arc::clone(layout), values }.with_lora(layout, seed)
    }

    /// Adds the `LoRA` tensors of `layout`, initialised so that the model's output does not change:
    /// A uniform within ±1/√inputs as in PEFT, by `seed`; B zero; token rows copied from their
    /// table.
    ///
    /// # Panics
    /// If the layout belongs to another model.
    #[must_use]
    pub fn with_lora(mut self, layout: &Arc<Layout>, seed: u64) -> Self {
        assert_eq!(
            self.layout.tensors()[..self.layout.base_len()],
            layout.tensors()[..layout.base_len()],
            "the layout belongs to another model"
        );
        self.layout = Arc::clone(layout);
        for index in self.values.len()..layout.tensors().len() {
            let tensor = &layout.tensors()[index];
            let mut store = initial(seed, index, tensor);
            if let (Role::TokenRows, Some(rows), Store::F32(values)) = (tensor.role, layout.token_rows(), &mut store) {
                let (count, width) = tensor.matrix();
                Weights::from(&self).gather(layout.base_of(index), &rows.tokens, MatMut::new(values, count, width));
            }
            self.values.push(store);
        }
        self
    }

    /// Returns the layout.
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// Returns the name of a tensor.
    pub fn name(&self, index: usize) -> &str {
        &self.layout.tensors()[index].name
    }

    /// Returns the index of the tensor with this name.
    pub fn index(&self, name: &str) -> Option<usize> {
        self.layout.index(name)
    }

    /// Returns the storage of a tensor.
    pub fn store(&self, index: usize) -> &Store {
        &self.values[index]
    }

    /// Returns the `f32` values of a tensor in row-major order, `None` for other formats.
    pub fn get(&self, index: usize) -> Option<&[f32]> {
        if let Store::F32(values) = &self.values[index] { Some(values) } else { None }
    }

    /// Returns the `f32` values of a tensor for writing, `None` for other formats.
    pub fn get_mut(&mut self, index: usize) -> Option<&mut [f32]> {
        if let Store::F32(values) = &mut self.values[index] { Some(values) } else { None }
    }

    /// Iterates over indices and values of all `f32` tensors, in order.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &[f32])> {
        (0..self.values.len()).filter_map(|index| self.get(index).map(|values| (index, values)))
    }
}

/// Initialises a tensor.
fn initial(seed: u64, index: usize, tensor: &TensorInfo) -> Store {
    Store::F32(match tensor.role {
        Role::Matrix | Role::Embedding => normals(seed, index as u64, tensor.len()),
        Role::Norm => vec![1.0; tensor.len()],
        Role::Scale => vec![INIT_LAYER_SCALE; tensor.len()],
        Role::Bias | Role::LoraB | Role::TokenRows => vec![0.0; tensor.len()],
        Role::LoraA => {
            let (counter, bound) = (Counter::new(seed, index as u64), 1.0 / (tensor.matrix().1 as f64).sqrt());
            let value = |place| ((2.0 * counter.uniform(place as u64) - 1.0) * bound) as f32;
            (0..tensor.len()).into_par_iter().map(value).collect()
        }
    })
}

/// Draws `count` normal numbers with standard deviation [`INIT_DEVIATION`].
fn normals(seed: u64, stream: u64, count: usize) -> Vec<f32> {
    let counter = Counter::new(seed, stream);
    (0..count).into_par_iter().map(|place| counter.normal(place as u64) as f32 * INIT_DEVIATION).collect()
}

/// Format of half-precision copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HalfFormat {
    /// 8 exponent bits, 8 significant bits.
    Bf16,
    /// 5 exponent bits, 11 significant bits.
    F16,
}

/// Half-precision copies of matrices, which products read with half the memory traffic; refreshed
/// after each optimiser step.
#[derive(Debug, Clone)]
pub struct HalfCopies {
    format: HalfFormat,
    copies: Vec<Option<Store>>,
}

impl HalfCopies {
    /// Copies every matrix with `f32` values.
    pub fn new(parameters: &Parameters, format: HalfFormat) -> Self {
        let copy = |(index, tensor): (usize, &TensorInfo)| {
            let wanted = tensor.is_matrix() && parameters.get(index).is_some();
            wanted.then(|| match format {
                HalfFormat::Bf16 => Store::Bf16(vec![bf16::ZERO; tensor.len()]),
                HalfFormat::F16 => Store::F16(vec![f16::ZERO; tensor.len()]),
            })
        };
        let copies = parameters.layout.tensors().iter().enumerate().map(copy).collect();
        let mut half_copies = Self { format, copies };
        half_copies.refresh(parameters, |_| true);
        half_copies
    }

    /// Returns the format.
    pub fn format(&self) -> HalfFormat {
        self.format
    }

    /// Copies the tensors for which `changed` is true again.
    ///
    /// # Panics
    /// If the parameters belong to another model or have other formats than before.
    pub fn refresh(&mut self, parameters: &Parameters, changed: impl Fn(usize) -> bool + Sync) {
        self.copies.par_iter_mut().enumerate().filter(|(index, _)| changed(*index)).for_each(|(index, copy)| {
            match (copy, parameters.get(index)) {
                (Some(Store::Bf16(copy)), Some(values)) => narrow(values, copy),
                (Some(Store::F16(copy)), Some(values)) => narrow(values, copy),
                (copy, _) => assert!(copy.is_none(), "{} is no longer f32", parameters.name(index)),
            }
        });
    }
}

fn narrow<T: Element>(values: &[f32], out: &mut [T]) {
    /// Values per task.
    const TASK: usize = 1 << 15;
    let parts = values.par_chunks(TASK).zip(out.par_chunks_mut(TASK));
    parts.for_each(|(values, out)| T::narrow(values, out));
}

/// Weights of a pass: parameters, half-precision copies if there are any, and dropout of adapter
/// inputs.
#[derive(Debug, Clone, Copy)]
pub struct Weights<'a> {
    parameters: &'a Parameters,
    half_copies: Option<&'a HalfCopies>,
    dropout: Option<Dropout>,
}

impl<'a> From<&'a Parameters> for Weights<'a> {
    fn from(parameters: &'a Parameters) -> Self {
        Self { parameters, half_copies: None, dropout: None }
    }
}

impl<'a> Weights<'a> {
    /// Reads vectors from the parameters and matrices from their copies.
    pub fn with_half_copies(parameters: &'a Parameters, half_copies: &'a HalfCopies) -> Self {
        Self { parameters, half_copies: Some(half_copies), dropout: None }
    }

    /// Adds dropout of adapter inputs.
    #[must_use]
    pub fn with_dropout(self, dropout: Dropout) -> Self {
        Self { dropout: Some(dropout), ..self }
    }

    /// Returns the dropout of adapter inputs.
    pub(super) fn dropout(&self) -> Option<Dropout> {
        self.dropout
    }

    /// Returns the layout.
    pub fn layout(&self) -> &'a Layout {
        &self.parameters.layout
    }

    /// Returns the values of a vector.
    pub(super) fn vector(&self, index: usize) -> &'a [f32] {
        self.parameters.get(index).expect("`Parameters::load` checks that vectors are f32")
    }

    /// Returns a matrix as an operand.
    pub(super) fn operand(&self, index: usize) -> Operand<'a> {
        let (rows, cols) = self.layout().tensors()[index].matrix();
        match self.operand_store(index) {
            Store::F32(values) => Mat::new(values.as_slice(), rows, cols).into(),
            Store::F16(values) => Mat::new(values.as_slice(), rows, cols).into(),
            Store::Bf16(values) => Mat::new(values.as_slice(), rows, cols).into(),
            Store::Rows(source) => Operand::from_rows(source.as_ref()),
        }
    }

    /// Whether a matrix is stored, so that [`Weights::columns`] can select columns.
    pub(super) fn is_stored(&self, index: usize) -> bool {
        !matches!(self.operand_store(index), Store::Rows(_))
    }

    /// Returns some columns of a matrix as an operand; all columns if rows are generated on demand.
    pub(super) fn columns(&self, index: usize, columns: Range<usize>) -> Operand<'a> {
        let (rows, cols) = self.layout().tensors()[index].matrix();
        match self.operand_store(index) {
            Store::F32(values) => Mat::new(values.as_slice(), rows, cols).sub(0..rows, columns).into(),
            Store::F16(values) => Mat::new(values.as_slice(), rows, cols).sub(0..rows, columns).into(),
            Store::Bf16(values) => Mat::new(values.as_slice(), rows, cols).sub(0..rows, columns).into(),
            Store::Rows(source) => Operand::from_rows(source.as_ref()),
        }
    }

    /// Copies rows of a matrix to `out` `[rows.len(), columns]`, from the parameters and not the
    /// half-precision copies.
    pub(super) fn gather(&self, index: usize, rows: &[u32], mut out: MatMut<'_, f32>) {
        let (height, cols) = self.layout().tensors()[index].matrix();
        match self.parameters.store(index) {
            Store::F32(values) => embedding::gather(Mat::new(values, height, cols), rows, out),
            Store::F16(values) => embedding::gather(Mat::new(values, height, cols), rows, out),
            Store::Bf16(values) => embedding::gather(Mat::new(values, height, cols), rows, out),
            Store::Rows(source) => {
                for (i, row) in rows.iter().enumerate() {
                    source.write_row(*row as usize, 0..cols, out.row_mut(i));
                }
            }
        }
    }

    /// Returns the half-precision copy of a matrix if there is one, else its parameters.
    fn operand_store(&self, index: usize) -> &'a Store {
        let copy = self.half_copies.and_then(|half_copies| half_copies.copies[index].as_ref());
        copy.unwrap_or(&self.parameters.values[index])
    }
}
