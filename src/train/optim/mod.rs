//! Optimisers: `AdamW`, Muon, gradient clipping, learning-rate schedules, loss scaling.
//!
//! An [`Optimizer`] keeps a state for each tensor and updates tensors in place. Results do not depend on the number of
//! threads. [`super::state`] stores the state.
//!
//! ```
//! use mmprm::train::optim::{Decay, Optimizer, OptimizerKind, OptimizerOptions, Parameter};
//! let options = OptimizerOptions { lr: 0.1, weight_decay: 0.0, ..OptimizerOptions::default() };
//! let mut optimizer = Optimizer::new(options, [("w", [2].as_slice())]);
//! let mut values = [1.0_f32, 1.0];
//! optimizer.step(1.0, 1.0).update(0, Parameter { values: &mut values, gradient: &[3.0, -5.0] });
//! // The first step of Adam has the size of the learning rate, whatever the gradient's.
//! assert!((values[0] - 0.9).abs() < 1e-6 && (values[1] - 1.1).abs() < 1e-6);
//! assert_eq!((options.kind, options.decay), (OptimizerKind::AdamW, Decay::All));
//! ```

mod adamw;
mod clip;
mod muon;
mod scale;
mod schedule;

use serde::{Deserialize, Serialize};

pub use adamw::AdamW;
pub use clip::{clip_factor, global_norm};
pub use muon::Muon;
pub use scale::LossScale;
pub use schedule::{Schedule, warmup_steps};

use adamw::{Moments, Rate};

/// The optimiser.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerKind {
    /// [`AdamW`] for all tensors.
    #[default]
    AdamW,
    /// [`Muon`] for matrices inside the layers, [`AdamW`] for embeddings, the head and vectors.
    Muon,
}

/// Tensors that weight decay applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decay {
    /// Every tensor, norms and biases too, as MM-PRM.
    #[default]
    All,
    /// Tensors of two dimensions or more.
    Matrices,
}

impl Decay {
    /// Whether a tensor of this shape decays.
    pub fn applies(self, shape: &[usize]) -> bool {
        match self {
            Self::All => true,
            Self::Matrices => shape.len() >= 2,
        }
    }
}

/// Hyper-parameters of an [`Optimizer`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OptimizerOptions {
    /// The optimiser.
    pub kind: OptimizerKind,
    /// Peak learning rate of [`AdamW`].
    pub lr: f64,
    /// Peak learning rate of [`Muon`].
    pub muon_lr: f64,
    /// Decoupled weight decay: a step subtracts `lr · weight_decay` of each value.
    pub weight_decay: f64,
    /// Tensors that decay.
    pub decay: Decay,
    /// Hyper-parameters of [`AdamW`].
    pub adamw: AdamW,
    /// Hyper-parameters of [`Muon`].
    pub muon: Muon,
}

impl Default for OptimizerOptions {
    /// MM-PRM's training script; Muon with its authors' learning rate.
    fn default() -> Self {
        Self {
            kind: OptimizerKind::AdamW,
            lr: 2e-6,
            muon_lr: 0.02,
            weight_decay: 0.05,
            decay: Decay::All,
            adamw: AdamW::default(),
            muon: Muon::default(),
        }
    }
}

/// A tensor to update.
#[derive(Debug)]
pub struct Parameter<'a> {
    /// Its values.
    pub values: &'a mut [f32],
    /// The gradient of the loss, one number for each value.
    pub gradient: &'a [f32],
}

/// The state of one tensor.
#[derive(Debug, Clone, PartialEq)]
enum TensorState {
    AdamW(Moments),
    Muon { momentum: Vec<f32>, shape: [usize; 2] },
}

#[derive(Debug, Clone)]
struct Slot {
    name: String,
    shape: Vec<usize>,
    decays: bool,
    state: TensorState,
}

/// Updates a fixed list of tensors step by step; see the [module](self).
#[derive(Debug, Clone)]
pub struct Optimizer {
    options: OptimizerOptions,
    slots: Vec<Slot>,
    steps: u64,
}

/// The shape of a tensor that Muon updates: a matrix that maps activations to activations. Embeddings and the head have a
/// row for each token, and rows are not directions of one space.
fn muon_shape(name: &str, shape: &[usize]) -> Option<[usize; 2]> {
    let token_rows = ["tok_embeddings", "embed_tokens", "output.weight", "lm_head", "token_adapter"];
    match *shape {
        [rows, cols] if !token_rows.iter().any(|part| name.contains(part)) => Some([rows, cols]),
        _ => None,
    }
}

impl Optimizer {
    /// An optimiser for tensors of these names and shapes, in this order.
    pub fn new<'a>(options: OptimizerOptions, tensors: impl IntoIterator<Item = (&'a str, &'a [usize])>) -> Self {
        let slot = |(name, shape): (&str, &[usize])| {
            let length = shape.iter().product();
            let state = match muon_shape(name, shape).filter(|_| options.kind == OptimizerKind::Muon) {
                Some(shape) => TensorState::Muon { momentum: vec![0.0; length], shape },
                None => TensorState::AdamW(Moments::new(length)),
            };
            Slot { name: name.to_owned(), shape: shape.to_vec(), decays: options.decay.applies(shape), state }
        };
        Self { options, slots: tensors.into_iter().map(slot).collect(), steps: 0 }
    }

    /// Number of steps taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Begins a step, in which each tensor must be [updated](Step::update) once. `factor` multiplies the learning rates (see
    /// [`Schedule::factor`]), `scale` the gradients (see [`clip_factor`]).
    pub fn step(&mut self, factor: f64, scale: f32) -> Step<'_> {
        self.steps += 1;
        Step { optimizer: self, factor, scale }
    }

    /// The state of all tensors: a name (the tensor's after `first.`, `second.` or `momentum.`), a shape, and values.
    pub fn state(&self) -> impl Iterator<Item = (String, &[usize], &[f32])> {
        self.slots.iter().flat_map(|slot| {
            let parts: Vec<(&str, &Vec<f32>)> = match &slot.state {
                TensorState::AdamW(moments) => vec![("first", &moments.first), ("second", &moments.second)],
                TensorState::Muon { momentum, .. } => vec![("momentum", momentum)],
            };
            parts
                .into_iter()
                .map(|(part, values)| (format!("{part}.{}", slot.name), slot.shape.as_slice(), values.as_slice()))
        })
    }

    /// The values of [`Optimizer::state`] to fill in, for a run that resumes after `steps` steps.
    pub fn restore(&mut self, steps: u64) -> impl Iterator<Item = (String, &mut [f32])> {
        self.steps = steps;
        self.slots.iter_mut().flat_map(|slot| {
            let parts: Vec<(&str, &mut Vec<f32>)> = match &mut slot.state {
                TensorState::AdamW(moments) => vec![("first", &mut moments.first), ("second", &mut moments.second)],
                TensorState::Muon { momentum, .. } => vec![("momentum", momentum)],
            };
            let name = &slot.name;
            parts.into_iter().map(move |(part, values)| (format!("{part}.{name}"), values.as_mut_slice()))
        })
    }
}

/// A step in progress.
#[derive(Debug)]
#[must_use]
pub struct Step<'a> {
    optimizer: &'a mut Optimizer,
    factor: f64,
    scale: f32,
}

impl Step<'_> {
    /// Updates a tensor on the threads of rayon's current pool.
    ///
    /// # Panics
    /// If there is no tensor `index`, or its length is another.
    pub fn update(&mut self, index: usize, parameter: Parameter<'_>) {
        let Parameter { values, gradient } = parameter;
        let Optimizer { options, slots, steps } = &mut *self.optimizer;
        let slot = &mut slots[index];
        let length = slot.shape.iter().product::<usize>();
        assert!(values.len() == length && gradient.len() == length, "{}: {:?}", slot.name, slot.shape);
        let decay = if slot.decays { options.weight_decay } else { 0.0 };
        match &mut slot.state {
            TensorState::AdamW(moments) => {
                let rate = Rate { rate: options.lr * self.factor, decay };
                options.adamw.update(values, gradient, moments, self.scale, rate, *steps);
            }
            TensorState::Muon { momentum, shape } => {
                let rate = Rate { rate: options.muon_lr * self.factor, decay };
                options.muon.update(values, gradient, *shape, momentum, self.scale, rate);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stepped(options: OptimizerOptions, threads: usize) -> Vec<Vec<f32>> {
        let shapes: [(&str, &[usize]); 4] =
            [("tok_embeddings.weight", &[30, 8]), ("layers.0.wo.weight", &[40, 8]), ("norm", &[8]), ("w", &[300, 300])];
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut optimizer = Optimizer::new(options, shapes);
            let mut tensors: Vec<Vec<f32>> =
                shapes.iter().map(|(_, shape)| (0..shape.iter().product()).map(|i| (i % 7) as f32).collect()).collect();
            for step in 0..3 {
                let gradients: Vec<Vec<f32>> = tensors
                    .iter()
                    .map(|tensor| (0..tensor.len()).map(|i| ((i * 31 + step) % 11) as f32 - 4.0).collect())
                    .collect();
                let mut step = optimizer.step(1.0, 0.5);
                for (index, (values, gradient)) in tensors.iter_mut().zip(&gradients).enumerate() {
                    step.update(index, Parameter { values, gradient });
                }
            }
            tensors
        })
    }

    #[test]
    fn the_number_of_threads_does_not_change_results() {
        for kind in [OptimizerKind::AdamW, OptimizerKind::Muon] {
            let options = OptimizerOptions { kind, lr: 1e-2, ..OptimizerOptions::default() };
            assert_eq!(stepped(options, 1), stepped(options, 3), "{kind:?}");
        }
    }

    #[test]
    fn muon_leaves_embeddings_and_vectors_to_adamw() {
        let options = OptimizerOptions { lr: 1e-2, ..OptimizerOptions::default() };
        let (adamw, muon) =
            (stepped(options, 1), stepped(OptimizerOptions { kind: OptimizerKind::Muon, ..options }, 1));
        assert_eq!((&adamw[0], &adamw[2]), (&muon[0], &muon[2]));
        assert_ne!(adamw[1], muon[1]);
    }

    #[test]
    fn vectors_do_not_decay_where_only_matrices_do() {
        let options =
            OptimizerOptions { lr: 0.1, weight_decay: 0.5, decay: Decay::Matrices, ..OptimizerOptions::default() };
        let mut optimizer = Optimizer::new(options, [("w", [1, 1].as_slice()), ("b", [1].as_slice())]);
        let (mut matrix, mut vector) = ([1.0_f32], [1.0_f32]);
        let mut step = optimizer.step(1.0, 1.0);
        step.update(0, Parameter { values: &mut matrix, gradient: &[0.0] });
        step.update(1, Parameter { values: &mut vector, gradient: &[0.0] });
        approx::assert_relative_eq!(matrix[0], 0.95);
        assert_eq!(vector, [1.0]);
    }

    #[test]
    fn a_restored_optimiser_resumes_bit_exactly() {
        let options = OptimizerOptions { kind: OptimizerKind::Muon, lr: 1e-2, ..OptimizerOptions::default() };
        let shapes = [("layers.w", [3, 2].as_slice()), ("b", [2].as_slice())];
        let step = |optimizer: &mut Optimizer, tensors: &mut [Vec<f32>; 2]| {
            let [w, b] = tensors;
            let mut step = optimizer.step(0.7, 1.0);
            step.update(0, Parameter { values: w, gradient: &[1.0, -2.0, 0.5, 3.0, 0.1, 0.2] });
            step.update(1, Parameter { values: b, gradient: &[0.3, -0.4] });
        };
        let mut tensors = [vec![0.5; 6], vec![0.5; 2]];
        let mut optimizer = Optimizer::new(options, shapes);
        step(&mut optimizer, &mut tensors);
        let mut other = Optimizer::new(options, shapes);
        let saved: Vec<(String, Vec<f32>)> =
            optimizer.state().map(|(name, _, values)| (name, values.to_vec())).collect();
        assert_eq!(saved[0].0, "momentum.layers.w");
        for ((name, slot), (saved_name, values)) in other.restore(1).zip(&saved) {
            assert_eq!(name, *saved_name);
            slot.copy_from_slice(values);
        }
        let mut again = tensors.clone();
        step(&mut optimizer, &mut tensors);
        step(&mut other, &mut again);
        assert_eq!(tensors, again);
    }
}
