//! Which tensors are trained, and the gradients of those.

use std::sync::Arc;

use rayon::prelude::*;

use super::layout::{Layout, TensorInfo};

/// Values of a task.
const PART: usize = 1 << 15;
/// Values that are cleared together: a page of memory.
const PAGE: usize = 1 << 10;

/// The tensors that get gradients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trainable(Vec<bool>);

impl Trainable {
    /// Language model and projector, as the reference trains: the vision tower is frozen.
    pub fn without_vision(layout: &Layout) -> Self {
        Self::only(layout, |index| !layout.is_vision(index))
    }

    /// Every tensor.
    pub fn all(layout: &Layout) -> Self {
        Self::only(layout, |_| true)
    }

    /// The tensors whose numbers are wanted.
    pub fn only(layout: &Layout, wanted: impl FnMut(usize) -> bool) -> Self {
        Self((0..layout.tensors().len()).map(wanted).collect())
    }

    /// Whether a tensor is trained.
    pub fn contains(&self, index: usize) -> bool {
        self.0[index]
    }

    /// Numbers of the trained tensors.
    pub fn indices(&self) -> impl Iterator<Item = usize> {
        self.0.iter().enumerate().filter(|(_, trained)| **trained).map(|(index, _)| index)
    }
}

/// The gradient of each trained tensor, summed over micro-batches until [`Gradients::clear`].
#[derive(Debug, Clone)]
pub struct Gradients {
    layout: Arc<Layout>,
    trainable: Trainable,
    /// Empty for tensors that are not trained.
    values: Vec<Vec<f32>>,
}

impl Gradients {
    /// Zeros for every trained tensor.
    pub fn new(layout: &Arc<Layout>, trainable: Trainable) -> Self {
        let zeros = |(index, tensor): (usize, &TensorInfo)| {
            if trainable.contains(index) { vec![0.0; tensor.len()] } else { Vec::new() }
        };
        let values = layout.tensors().iter().enumerate().map(zeros).collect();
        Self { layout: Arc::clone(layout), trainable, values }
    }

    /// The model's tensors.
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// Which tensors are trained.
    pub fn trainable(&self) -> &Trainable {
        &self.trainable
    }

    /// Set all to zero.
    pub fn clear(&mut self) {
        let pages = self.values.par_iter_mut().flat_map(|values| values.par_chunks_mut(PAGE));
        // What is zero is not written: pages of memory that no gradient has touched stay without any.
        pages.filter(|page| page.iter().any(|value| value.to_bits() != 0)).for_each(|page| page.fill(0.0));
    }

    /// The gradient of a tensor, in its shape, if it is trained.
    pub fn get(&self, index: usize) -> Option<&[f32]> {
        self.trainable.contains(index).then(|| self.values[index].as_slice())
    }

    /// The gradient of a tensor, to change, if it is trained.
    pub fn get_mut(&mut self, index: usize) -> Option<&mut [f32]> {
        self.trainable.contains(index).then(|| self.values[index].as_mut_slice())
    }

    /// Numbers and gradients of the trained tensors, in order.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &[f32])> {
        self.trainable.indices().map(|index| (index, self.values[index].as_slice()))
    }

    /// Multiply all by a factor.
    pub fn scale(&mut self, factor: f32) {
        let parts = self.values.par_iter_mut().flat_map(|values| values.par_chunks_mut(PART));
        parts.for_each(|part| part.iter_mut().for_each(|value| *value *= factor));
    }

    /// Root of the sum of all squares, whose bits do not depend on the number of threads.
    pub fn norm(&self) -> f64 {
        let squares = |part: &[f32]| part.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>();
        let parts: Vec<&[f32]> = self.values.iter().flat_map(|values| values.chunks(PART)).collect();
        let sums: Vec<f64> = parts.par_iter().map(|part| squares(part)).collect();
        sums.iter().sum::<f64>().sqrt()
    }

    /// The first trained tensor whose gradient has a value that is not finite.
    pub fn not_finite(&self) -> Option<usize> {
        self.iter().find(|(_, values)| !values.iter().all(|value| value.is_finite())).map(|(index, _)| index)
    }

    /// The gradients of a norm's weight and bias at once, if any is trained.
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
