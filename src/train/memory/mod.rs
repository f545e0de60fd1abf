//! The peak memory of a run, predicted before anything is allocated.
//!
//! A [`Workload`] describes a run by numbers: the model's shapes, what is trained, and what passes through it at once. A
//! [`MemoryPlan`] follows the trainer's allocations part by part. It leaves out small ones: the allocator's overhead, and
//! files being read or written.
//!
//! ```
//! use mmprm::internvl::{Config, Layout, Trainable};
//! use mmprm::train::memory::{Adapters, MemoryPlan, Workload};
//! let config = serde_json::json!({
//!     "ps_version": "v2",
//!     "vision_config": {
//!         "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096,
//!         "image_size": 448, "patch_size": 14, "norm_type": "layer_norm", "qk_normalization": false, "qkv_bias": true
//!     },
//!     "llm_config": {
//!         "model_type": "internlm2", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
//!         "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 92553
//!     }
//! });
//! let layout = Layout::new(&Config::from_json(&config).unwrap());
//! // InternVL2.5-8B over a Q4_K base: adapters of rank 16 for every matrix of the language model.
//! let mut workload = Workload::new(&layout, &Trainable::only(&layout, |_| false), 4096);
//! workload.base_bytes = 144.0 / 256.0;
//! workload.adapters = Some(Adapters { rank: 16, targets: Vec::new(), projector: false, token_rows: 2 });
//! let gib = |plan: &MemoryPlan| plan.total() as f64 / (1 << 30) as f64;
//! let plain = gib(&MemoryPlan::of(&workload));
//! workload.checkpointing = true;
//! let checkpointed = gib(&MemoryPlan::of(&workload));
//! assert!((15.0..25.0).contains(&plain) && (7.0..12.0).contains(&checkpointed), "{plain} {checkpointed}");
//! ```

mod layers;
mod workload;

use serde::Serialize;

use super::optim::OptimizerKind;
use super::recipe::{Compute, Task};
use crate::internvl::Trainable;
use crate::util::machine;
use layers::Layers;

pub use workload::{Adapters, Workload};

/// One part of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    /// What uses the memory.
    pub name: &'static str,
    /// Bytes.
    pub bytes: u64,
}

/// The memory of a run at its peak.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemoryPlan {
    /// Parts that are allocated at the same time.
    pub parts: Vec<Part>,
}

impl MemoryPlan {
    /// The plan of a workload.
    pub fn of(workload: &Workload<'_>) -> Self {
        let weights = Weights::of(workload);
        let layers = Layers::of(workload);
        let parts = [
            ("frozen weights", weights.frozen),
            ("trained weights", weights.trained),
            ("half-precision copies", weights.copies),
            ("gradients", weights.gradients),
            ("optimiser state", weights.state),
            ("activations", layers.activations()),
            ("working layer", layers.working_layer()),
            ("working images", layers.images()),
            ("head and loss", layers.head()),
            ("samples and features", workload.data_bytes),
            ("workspace", layers.workspace()),
            ("program", workload.program_bytes),
        ];
        let parts = parts.into_iter().filter(|(_, bytes)| *bytes > 0).map(|(name, bytes)| Part { name, bytes });
        Self { parts: parts.collect() }
    }

    /// Total bytes.
    pub fn total(&self) -> u64 {
        self.parts.iter().map(|part| part.bytes).sum()
    }
}

/// Bytes of weights, their gradients and optimiser state.
#[derive(Debug, Default)]
struct Weights {
    frozen: u64,
    trained: u64,
    copies: u64,
    gradients: u64,
    state: u64,
}

impl Weights {
    fn of(workload: &Workload<'_>) -> Self {
        let (mut weights, layout) = (Self::default(), workload.layout);
        // A match, so that a new optimiser has to say what it keeps.
        let is_muon = match workload.optimizer {
            OptimizerKind::Muon => true,
            OptimizerKind::AdamW => false,
        };
        for (number, tensor) in layout.tensors().iter().enumerate() {
            let values = tensor.len() as u64;
            let adapter = workload.adapter_values(number) as u64;
            weights.add_trained(adapter, adapter, is_muon);
            if workload.is_trained(number) {
                let inner = tensor.is_matrix() && number != layout.embedding() && number != layout.head();
                weights.add_trained(values, touched(workload, number), inner && is_muon);
                if tensor.is_matrix() && workload.precision == Compute::F16 {
                    weights.copies += 2 * values;
                }
            } else if tensor.is_matrix() {
                let bytes = if layout.is_language(number) { workload.base_bytes } else { workload.tower_bytes };
                weights.frozen += (values as f64 * bytes) as u64;
            } else {
                weights.frozen += 4 * values;
            }
        }
        if let Some(adapters) = &workload.adapters {
            let rows = (2 * adapters.token_rows * layout.config().language.hidden) as u64;
            weights.add_trained(rows, rows, false);
        }
        weights
    }

    fn add_trained(&mut self, values: u64, touched: u64, muon: bool) {
        self.trained += 4 * values;
        self.gradients += 4 * touched;
        self.state += if muon { 4 * touched } else { 8 * touched };
    }
}

/// Number of values of a trained tensor whose gradients and moments are ever written. In tables with a row for each token
/// these are the rows of used tokens, in whole pages of memory.
fn touched(workload: &Workload<'_>, number: usize) -> u64 {
    const PAGE: u64 = 1 << 10;
    let (layout, all) = (workload.layout, workload.layout.tensors()[number].len() as u64);
    let labels = 2;
    let rows = match (number == layout.embedding(), number == layout.head(), workload.task) {
        (true, true, Task::Prm) => workload.distinct_tokens + labels,
        (true, false, _) => workload.distinct_tokens,
        (false, true, Task::Prm) => labels,
        _ => return all,
    };
    all.min(rows as u64 * (layout.config().language.hidden as u64 + PAGE))
}

/// A change to a recipe that reduces memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Advice {
    /// The change, as a phrase after "with".
    pub change: String,
    /// Total bytes of the run with it.
    pub total: u64,
}

/// Changes that reduce a run's memory, each on top of those before it, up to the first total that fits `available` bytes.
fn advice_for(workload: &Workload<'_>, available: u64) -> Vec<Advice> {
    const RANK: usize = 16;
    const MIN_TOKENS: usize = 256;
    let mut workload = workload.clone();
    let mut all: Vec<Advice> = Vec::new();
    let mut try_change = |change: &str, workload: &Workload<'_>| {
        all.push(Advice { change: change.to_owned(), total: MemoryPlan::of(workload).total() });
        all.last().is_some_and(|advice| advice.total <= available)
    };
    if !workload.checkpointing {
        workload.checkpointing = true;
        if try_change("`checkpointing = true`", &workload) {
            return all;
        }
    }
    while workload.tokens >= 2 * MIN_TOKENS && workload.adapters.is_some() {
        workload.tokens /= 2;
        workload.image_tokens = workload.image_tokens.min(workload.tokens);
        if try_change(&format!("`sequence_tokens = {}`", workload.tokens), &workload) {
            return all;
        }
    }
    if workload.adapters.is_none() {
        workload.trained = Trainable::only(workload.layout, |_| false);
        workload.adapters = Some(Adapters { rank: RANK, targets: Vec::new(), projector: false, token_rows: 1 });
        if try_change("adapters (LoRA) in place of the weights", &workload) {
            return all;
        }
    }
    if workload.base_bytes > 1.0 {
        workload.base_bytes = 144.0 / 256.0;
        try_change("a base quantised to Q4_K", &workload);
    }
    all
}

/// A memory plan compared with what the machine has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemoryReport {
    /// The parts of the plan.
    pub parts: Vec<Part>,
    /// Total bytes.
    pub total: u64,
    /// Bytes that the process can have in total, if the system reports them.
    pub available: Option<u64>,
    /// Maximum tokens of a sequence.
    pub tokens: usize,
    /// Changes that would make the run fit, if it does not.
    pub advice: Vec<Advice>,
}

impl MemoryReport {
    /// Plans a workload and compares it with the available memory.
    pub fn of(workload: &Workload<'_>) -> Self {
        let plan = MemoryPlan::of(workload);
        let (total, available) = (plan.total(), machine::budget());
        let advice = available.filter(|available| total > *available);
        let advice = advice.map_or_else(Vec::new, |available| advice_for(workload, available));
        Self { parts: plan.parts, total, available, tokens: workload.tokens, advice }
    }

    /// Whether the run fits; true if the system does not report the available memory.
    pub fn fits(&self) -> bool {
        self.available.is_none_or(|available| self.total <= available)
    }
}

#[cfg(test)]
mod tests;
