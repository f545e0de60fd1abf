//! The set of trained tensors, and their gradients.

use std::sync::Arc;

use rayon::prelude::*;

use super::layout::{Layout, TensorInfo};

/// Values per task.
const PART: usize = 1 << 15;
/// Values per page of memory.
const PAGE: usize = 1 << 10;

/// The set of tensors that are trained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trainable(Vec<bool>);

impl Trainable {
    /// Selects language model and projector, as MM-PRM does: the vision tower is frozen.
    pub fn without_vision(layout: &Layout) -> Self {
        Self::only(layout, |index| !layout.is_vision(index))
    }

    /// Selects all tensors.
    pub fn all(layout: &Layout) -> Self {
        Self::only(layout, |_| true)
    }

    /// Selects the tensors for whose indices `wanted` is true.
    pub fn only(layout: &Layout, wanted: impl FnMut(usize) -> bool) -> Self {
        Self((0..layout.tensors().len()).map(wanted).collect())
    }

    /// Whether a tensor is trained.
    pub fn contains(&self, index: usize) -> bool {
        self.0[index]
    }

    /// Iterates over the indices of trained tensors, in order.
    pub fn indices(&self) -> impl Iterator<Item = usize> {
        self.0.iter().enumerate().filter(|(_, trained)| **trained).map(|(index, _)| index)
    }
}

/// Gradients of the trained tensors, summed over micro-batches until [`Gradients::clear`].
#[derive(Debug, Clone)]
pub struct Gradients {
    layout: Arc<Layout>,
    trainable: Trainable,
    /// Empty for tensors that are not trained.
    values: Vec<Vec<f32>>,
}

impl Gradients {
    /// Allocates zeros for every trained tensor.
    pub fn new(layout: &Arc<Layout>, trainable: Trainable) -> Self {
        let zeros = |(index, tensor): (usize, &TensorInfo)| {
            if trainable.contains(index) { vec![0.0; tensor.len()] } else { Vec::new() }
        };
        let values = layout.tensors().iter().enumerate().map(zeros).collect();
        Self { layout: Arc::clone(layout), trainable, values }
    }

    /// Returns the layout.
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// Returns the set of trained tensors.
    pub fn trainable(&self) -> &Trainable {
        &self.trainable
    }

    /// Sets all gradients to zero.
    pub fn clear(&mut self) {
        let pages = self.values.par_iter_mut().flat_map(|values| values.par_chunks_mut(PAGE));
        // Zeros are not overwritten, so that the system does not allocate pages that no gradient
        // has touched.
        pages.filter(|page| page.iter().any(|value| value.to_bits() != 0)).for_each(|page| page.fill(0.0));
    }

    /// Returns the gradient of a tensor in its shape, if it is trained.
    pub fn get(&self, index: usize) -> Option<&[f32]> {
        self.trainable.contains(index).then(|| self.values[index].as_slice())
    }

    /// Returns the gradient of a tensor for writing, if it is trained.
    pub fn get_mut(&mut self, index: usize) -> Option<&mut [f32]> {
        self.trainable.contains(index).then(|| self.values[index].as_mut_slice())
    }

    /// Iterates over indices and gradients of trained tensors, in order.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &[f32])> {
        self.trainable.indices().map(|index| (index, self.values[index].as_slice()))
    }

    /// Multiplies all gradients by a factor.
    pub fn scale(&mut self, factor: f32) {
        let parts = self.values.par_iter_mut().flat_map(|values| values.par_chunks_mut(PART));
        parts.for_each(|part| part.iter_mut().for_each(|value| *value *= factor));
    }

    /// Returns the L2 norm over all gradients, bit-identical for any number of threads.
    pub fn norm(&self) -> f64 {
        let squares = |part: &[f32]| part.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>();
        let parts: Vec<&[f32]> = self.values.iter().flat_map(|values| values.chunks(PART)).collect();
        let sums: Vec<f64> = parts.par_iter().map(|part| squares(part)).collect();
        sums.iter().sum::<f64>().sqrt()
    }

    /// Returns the first trained tensor whose gradient has a NaN or infinite value.
    pub fn not_finite(&self) -> Option<usize> {
        self.iter().find(|(_, values)| !values.iter().all(|value| value.is_finite())).map(|(index, _)| index)
    }

    /// Runs `work` with the gradients of a norm's weight and bias, if any of them is trained.
    pub(super) fn with_pair(
        &mut self,
        weight: usize,
        bias: usize,
        work: impl FnOnce(Option<(&mut [f32], &mut [f32])>),
    ) {
        let trained = [weight, bias].map(|index| self.trainable.contains(index));
        if trained == [false, false] {
            return work(None);
        }
        let mut pair = [weight, bias].map(|index| {
            let mut values = std::mem::take(&mut self.values[index]);
            values.resize(self.layout.tensors()[index].len(), 0.0);
            values
        });
        let [first, second] = &mut pair;
        work(Some((first, second)));
        for ((index, values), trained) in [weight, bias].into_iter().zip(pair).zip(trained) {
            if trained {
                self.values[index] = values;
            }
        }
    }
}
