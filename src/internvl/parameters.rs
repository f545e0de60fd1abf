//! The values of a model's tensors, and copies of them in half precision.

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

/// Spread of random matrices (`initializer_range` of the reference).
const SPREAD: f32 = 0.02;
/// `LayerScale` of a new tower (`initializer_factor` of `InternViT`).
const SCALE: f32 = 0.1;

/// How the values of a tensor are held.
#[derive(Clone)]
#[non_exhaustive]
pub enum Store {
    /// Master values: what is trained, and every vector.
    F32(Vec<f32>),
    /// A frozen matrix in f16.
    F16(Vec<f16>),
    /// A frozen matrix in bf16.
    Bf16(Vec<bf16>),
    /// A frozen matrix whose rows are made on demand, such as quantised weights.
    Rows(Arc<dyn RowSource + Send + Sync>),
}

impl Store {
    /// Elements.
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
            Self::Rows(_) => "rows on demand",
        };
        write!(f, "Store({} × {format})", self.len())
    }
}

/// The values of all tensors of a [`Layout`].
#[derive(Debug, Clone)]
pub struct Parameters {
    layout: Arc<Layout>,
    values: Vec<Store>,
}

impl Parameters {
    /// Values that `read` gives for each tensor's number, in order. Vectors (biases, norms, `LayerScale`, and the embeddings
    /// of the vision tower) have to be [`Store::F32`].
    ///
    /// # Errors
    /// What `read` fails with.
    ///
    /// # Panics
    /// If a tensor is not given as many values as its shape has, or a vector in another format.
    pub fn load<E>(layout: &Arc<Layout>, mut read: impl FnMut(usize) -> Result<Store, E>) -> Result<Self, E> {
        let mut values = Vec::with_capacity(layout.tensors().len());
        for (index, tensor) in layout.tensors().iter().enumerate() {
            let store = read(index)?;
            assert_eq!(store.len(), tensor.len(), "values of {}", tensor.name);
            assert!(tensor.is_matrix() || matches!(store, Store::F32(_)), "{} has to be f32", tensor.name);
            values.push(store);
        }
        Ok(Self { layout: Arc::clone(layout), values })
    }

    /// Random values that depend only on `seed` and the tensors' numbers: normal with a deviation of 0.02 for matrices and
    /// embeddings, 1 for norms, 0 for biases, 0.1 for `LayerScale`; added tensors as [`Parameters::with_lora`] has them.
    pub fn random(layout: &Arc<Layout>, seed: u64) -> Self {
        let own = &layout.tensors()[..layout.base_len()];
        let values = own.par_iter().enumerate().map(|(index, tensor)| initial(seed, index, tensor)).collect();
        Self { layout: Arc::clone(layout), values }.with_lora(layout, seed)
    }

    /// The same values for the model's own tensors, and for those that `layout` adds to them values that change nothing yet: A
    /// uniform within ±1/√inputs (as PEFT has it), by `seed`; B zero; rows those of their table.
    ///
    /// # Panics
    /// If the layout is not that of the same model.
    #[must_use]
    pub fn with_lora(mut self, layout: &Arc<Layout>, seed: u64) -> Self {
        assert_eq!(
            self.layout.tensors()[..self.layout.base_len()],
            layout.tensors()[..layout.base_len()],
            "another model"
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

    /// The tensors.
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// The name of a tensor.
    pub fn name(&self, index: usize) -> &str {
        &self.layout.tensors()[index].name
    }

    /// The number of a name.
    pub fn index(&self, name: &str) -> Option<usize> {
        self.layout.index(name)
    }

    /// How a tensor's values are held.
    pub fn store(&self, index: usize) -> &Store {
        &self.values[index]
    }

    /// Master values of a tensor, row-major in its shape; none if it is held in another format.
    pub fn get(&self, index: usize) -> Option<&[f32]> {
        if let Store::F32(values) = &self.values[index] { Some(values) } else { None }
    }

    /// Master values of a tensor, to change.
    pub fn get_mut(&mut self, index: usize) -> Option<&mut [f32]> {
        if let Store::F32(values) = &mut self.values[index] { Some(values) } else { None }
    }

    /// Numbers and master values, in order, of the tensors that have such.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &[f32])> {
        (0..self.values.len()).filter_map(|index| self.get(index).map(|values| (index, values)))
    }
}

/// Values of a new tensor.
fn initial(seed: u64, index: usize, tensor: &TensorInfo) -> Store {
    Store::F32(match tensor.role {
        Role::Matrix | Role::Embedding => normals(seed, index as u64, tensor.len()),
        Role::Norm => vec![1.0; tensor.len()],
        Role::Scale => vec![SCALE; tensor.len()],
        Role::Bias | Role::LoraB | Role::TokenRows => vec![0.0; tensor.len()],
        Role::LoraA => {
            let (counter, bound) = (Counter::new(seed, index as u64), 1.0 / (tensor.matrix().1 as f64).sqrt());
            let value = |place| ((2.0 * counter.uniform(place as u64) - 1.0) * bound) as f32;
            (0..tensor.len()).into_par_iter().map(value).collect()
        }
    })
}

/// Standard normal numbers times the spread, by their places.
fn normals(seed: u64, stream: u64, count: usize) -> Vec<f32> {
    let counter = Counter::new(seed, stream);
    (0..count).into_par_iter().map(|place| counter.normal(place as u64) as f32 * SPREAD).collect()
}

/// A format for copies of master values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HalfFormat {
    /// 8 bits of exponent, 8 of precision.
    Bf16,
    /// 5 bits of exponent, 11 of precision.
    F16,
}

/// Copies of the matrices in half precision, which products read at half the cost; renewed after each optimiser step.
#[derive(Debug, Clone)]
pub struct HalfCopies {
    format: HalfFormat,
    copies: Vec<Option<Store>>,
}

impl HalfCopies {
    /// Copies of every matrix that has master values.
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

    /// The format.
    pub fn format(&self) -> HalfFormat {
        self.format
    }

    /// Take over the values of the tensors whose numbers are `changed`.
    ///
    /// # Panics
    /// If the parameters are not those of the same model, in the same stores.
    pub fn refresh(&mut self, parameters: &Parameters, changed: impl Fn(usize) -> bool + Sync) {
        self.copies.par_iter_mut().enumerate().filter(|(index, _)| changed(*index)).for_each(|(index, copy)| {
            match (copy, parameters.get(index)) {
                (Some(Store::Bf16(copy)), Some(values)) => narrow(values, copy),
                (Some(Store::F16(copy)), Some(values)) => narrow(values, copy),
                (copy, _) => assert!(copy.is_none(), "{} has no master values any more", parameters.name(index)),
            }
        });
    }
}

fn narrow<T: Element>(values: &[f32], out: &mut [T]) {
    /// Values of a task.
    const TASK: usize = 1 << 15;
    let parts = values.par_chunks(TASK).zip(out.par_chunks_mut(TASK));
    parts.for_each(|(values, out)| T::narrow(values, out));
}

/// What a pass through the model reads: master values, and half-precision copies where there are such.
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
    /// Vectors from the parameters, matrices from their copies.
    pub fn with_half_copies(parameters: &'a Parameters, half_copies: &'a HalfCopies) -> Self {
        Self { parameters, half_copies: Some(half_copies), dropout: None }
    }

    /// The same, with some of the values that go into adapters dropped.
    #[must_use]
    pub fn with_dropout(self, dropout: Dropout) -> Self {
        Self { dropout: Some(dropout), ..self }
    }

    /// What is dropped.
    pub(super) fn dropout(&self) -> Option<Dropout> {
        self.dropout
    }

    /// The tensors.
    pub fn layout(&self) -> &'a Layout {
        &self.parameters.layout
    }

    /// A vector's values.
    pub(super) fn vector(&self, index: usize) -> &'a [f32] {
        self.parameters.get(index).expect("vectors are f32 from the loading on")
    }

    /// A matrix as an operand.
    pub(super) fn operand(&self, index: usize) -> Operand<'a> {
        let (rows, cols) = self.layout().tensors()[index].matrix();
        match self.best(index) {
            Store::F32(values) => Mat::new(values.as_slice(), rows, cols).into(),
            Store::F16(values) => Mat::new(values.as_slice(), rows, cols).into(),
            Store::Bf16(values) => Mat::new(values.as_slice(), rows, cols).into(),
            Store::Rows(source) => Operand::from_rows(source.as_ref()),
        }
    }

    /// Whether a matrix is stored, so that there are [`Weights::columns`] of it.
    pub(super) fn is_stored(&self, index: usize) -> bool {
        !matches!(self.best(index), Store::Rows(_))
    }

    /// Some columns of a matrix as an operand, if it is stored; else all.
    pub(super) fn columns(&self, index: usize, columns: Range<usize>) -> Operand<'a> {
        let (rows, cols) = self.layout().tensors()[index].matrix();
        match self.best(index) {
            Store::F32(values) => Mat::new(values.as_slice(), rows, cols).sub(0..rows, columns).into(),
            Store::F16(values) => Mat::new(values.as_slice(), rows, cols).sub(0..rows, columns).into(),
            Store::Bf16(values) => Mat::new(values.as_slice(), rows, cols).sub(0..rows, columns).into(),
            Store::Rows(source) => Operand::from_rows(source.as_ref()),
        }
    }

    /// Rows of a matrix: `out` `[indices.len(), columns]`. From master values where there are such.
    pub(super) fn gather(&self, index: usize, indices: &[u32], mut out: MatMut<'_, f32>) {
        let (rows, cols) = self.layout().tensors()[index].matrix();
        match self.parameters.store(index) {
            Store::F32(values) => embedding::gather(Mat::new(values, rows, cols), indices, out),
            Store::F16(values) => embedding::gather(Mat::new(values, rows, cols), indices, out),
            Store::Bf16(values) => embedding::gather(Mat::new(values, rows, cols), indices, out),
            Store::Rows(source) => {
                for (row, index) in indices.iter().enumerate() {
                    source.write_row(*index as usize, 0..cols, out.row_mut(row));
                }
            }
        }
    }

    fn best(&self, index: usize) -> &'a Store {
        let shadow = self.half_copies.and_then(|half_copies| half_copies.copies[index].as_ref());
        shadow.unwrap_or(&self.parameters.values[index])
    }
}
