//! How much memory a run will take at its peak, before anything of it is allocated.
//!
//! A [`Demand`] is made of plain numbers: a model's shapes, what of it is trained, and what goes through it at once. The
//! [`Plan`] follows what the trainer allocates, part by part, so that it tells where memory goes. What it leaves out is small:
//! the allocator's own, and files that are read or written meanwhile.
//!
//! ```
//! use mmprm::internvl::{Config, Layout, Trainable};
//! use mmprm::train::plan::{Adapters, Demand, Plan};
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
//! // InternVL2.5-8B over a Q4_K base: adapters of rank 16 beside every matrix of the language model.
//! let mut demand = Demand::new(&layout, &Trainable::only(&layout, |_| false), 4096);
//! demand.base_bytes = 144.0 / 256.0;
//! demand.adapters = Some(Adapters { rank: 16, targets: Vec::new(), projector: false, token_rows: 2 });
//! let gib = |plan: &Plan| plan.total() as f64 / (1 << 30) as f64;
//! let plain = gib(&Plan::of(&demand));
//! demand.checkpointing = true;
//! let checkpointed = gib(&Plan::of(&demand));
//! assert!((15.0..25.0).contains(&plain) && (7.0..12.0).contains(&checkpointed), "{plain} {checkpointed}");
//! ```

mod layers;
pub mod machine;

use serde::Serialize;

use super::optim::Kind;
use super::pack::Packing;
use super::recipe::{Aim, Compute, Lora, Recipe};
use super::run::Data;
use crate::internvl::{Layout, TensorInfo, Trainable};
use layers::Layers;

/// What a run asks of the memory.
#[derive(Debug, Clone)]
pub struct Demand<'a> {
    /// The model's tensors.
    pub layout: &'a Layout,
    /// Those that are trained.
    pub trained: Trainable,
    /// Adapters beside matrices that are not.
    pub adapters: Option<Adapters>,
    /// Bytes for each weight of the language model's frozen matrices.
    pub base_bytes: f64,
    /// Bytes for each weight of the vision tower's and the projector's frozen matrices.
    pub tower_bytes: f64,
    /// How products are computed.
    pub precision: Compute,
    /// Whether layers are computed again in the backward.
    pub checkpointing: bool,
    /// Which rule updates.
    pub optimizer: Kind,
    /// What is learnt.
    pub task: Aim,
    /// Most tokens that go through the model at once.
    pub tokens: usize,
    /// How many of those are images'.
    pub image_tokens: usize,
    /// How many have something to learn.
    pub targets: usize,
    /// Most tiles of one image.
    pub tiles: usize,
    /// Bytes of the samples, and of images' features that stay in memory.
    pub data_bytes: u64,
    /// Distinct tokens in all samples: only their rows of the embedding ever have a gradient.
    pub distinct_tokens: usize,
    /// Threads that compute.
    pub threads: usize,
    /// Bytes that the process holds already.
    pub program_bytes: u64,
}

/// Low-rank adapters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adapters {
    /// Their inner width.
    pub rank: usize,
    /// Ends of the names of the matrices that get one; all of the language model's blocks' if empty.
    pub targets: Vec<String>,
    /// Whether the projector is trained with them.
    pub projector: bool,
    /// Rows of embedding and head that are trained.
    pub token_rows: usize,
}

/// Bytes of a process before it trains, where it cannot be asked.
const PROGRAM: u64 = 32 << 20;
/// Tokens to a target where no samples are known.
const TOKENS_TO_TARGET: usize = 32;

impl<'a> Demand<'a> {
    /// The demand of a run of which no samples are known yet: sequences of `tokens` tokens with any tokens in them, bf16
    /// products and stored weights.
    pub fn new(layout: &'a Layout, trained: &Trainable, tokens: usize) -> Self {
        Self {
            layout,
            trained: trained.clone(),
            adapters: None,
            base_bytes: 2.0,
            tower_bytes: 2.0,
            precision: Compute::Bf16,
            checkpointing: false,
            optimizer: Kind::AdamW,
            task: Aim::Prm,
            tokens,
            image_tokens: 0,
            targets: tokens.div_ceil(TOKENS_TO_TARGET),
            tiles: 1,
            data_bytes: 0,
            distinct_tokens: layout.config().language.vocabulary,
            threads: rayon::current_num_threads(),
            program_bytes: machine::resident().unwrap_or(PROGRAM),
        }
    }

    /// What a recipe asks for: `data` makes it exact, if it is known.
    pub fn of(recipe: &Recipe, layout: &'a Layout, data: Option<&Data>) -> Self {
        let begins = |name: &str| recipe.freeze.iter().any(|prefix| name.starts_with(prefix.as_str()));
        let trained = Trainable::only(layout, |number| !begins(&layout.tensors()[number].name));
        let mut demand = Self::new(layout, &trained, recipe.sequence_tokens);
        (demand.precision, demand.checkpointing) = (recipe.precision, recipe.checkpointing);
        (demand.optimizer, demand.task) = (recipe.optimizer, recipe.task);
        let tile = layout.config().tokens_per_tile();
        if let Some(lora) = &recipe.lora {
            demand.adapt(lora);
        }
        // The thumbnail is one more.
        demand.tiles = recipe.max_tiles + 1;
        demand.image_tokens = (demand.tiles * tile).min(demand.tokens);
        if let Some(data) = data {
            demand.learn_from(data, recipe);
        }
        demand
    }

    /// Train adapters beside weights that stay as they are.
    fn adapt(&mut self, lora: &Lora) {
        self.trained = Trainable::only(self.layout, |_| false);
        self.adapters = Some(Adapters {
            rank: lora.rank,
            targets: lora.targets.clone().unwrap_or_default(),
            projector: lora.projector,
            token_rows: lora.tokens.as_ref().map_or(usize::from(self.task == Aim::Prm), Vec::len),
        });
        // A base that is not there is named when it is opened.
        if let Some(size) = lora.base.as_ref().and_then(|path| std::fs::metadata(path).ok()) {
            let language = self.layout.tensors().iter().filter(|tensor| tensor.name.starts_with("language_model."));
            self.base_bytes = size.len() as f64 / language.map(TensorInfo::len).sum::<usize>().max(1) as f64;
        }
    }

    /// Take the sizes of what samples become.
    fn learn_from(&mut self, data: &Data, recipe: &Recipe) {
        let samples = &data.train.samples;
        let packing = Packing::new(samples, data.train.words.context, &recipe.limits(), recipe.seed);
        let tile = self.layout.config().tokens_per_tile();
        (self.tokens, self.targets, self.image_tokens) = (1, 1, 0);
        for batch in packing.epoch(0) {
            for sequence in packing.sequences(samples, &batch) {
                let images: usize = sequence.images.iter().map(|at| data.train.images[at.image].tiles).sum();
                self.tokens = self.tokens.max(sequence.tokens.len());
                self.targets = self.targets.max(sequence.rows.len());
                self.image_tokens = self.image_tokens.max(images * tile);
            }
        }
        let mut seen = vec![false; self.layout.config().language.vocabulary];
        for token in samples.iter().flat_map(|sample| &sample.tokens) {
            if let Some(seen) = seen.get_mut(*token as usize) {
                *seen = true;
            }
        }
        self.distinct_tokens = seen.iter().filter(|seen| **seen).count();
        self.tiles = data.train.images.iter().map(|image| image.tiles).max().unwrap_or(0);
        let features: usize = data.train.images.iter().map(|image| image.tiles).sum();
        let features = (4 * features * tile * self.layout.config().features()) as u64;
        let all = samples.iter().chain(&data.held_out);
        let bytes = all.map(|sample| 4 * sample.tokens.len() + size_of_val(sample.targets.as_slice()));
        self.data_bytes = bytes.sum::<usize>() as u64 + features.min(super::features::MEMORY as u64);
    }

    /// Values of an adapter for a matrix, if it gets one.
    fn adapter(&self, tensor: &TensorInfo) -> usize {
        let Some(adapters) = &self.adapters else { return 0 };
        let (rows, cols) = tensor.matrix();
        let name = tensor.name.trim_end_matches(".weight");
        let in_block = name.contains("language_model.model.layers.") && tensor.is_matrix();
        let named = adapters.targets.is_empty() || adapters.targets.iter().any(|end| name.ends_with(end.as_str()));
        if in_block && named { adapters.rank * (rows + cols) } else { 0 }
    }

    fn is_trained(&self, number: usize) -> bool {
        let projector = self.adapters.as_ref().is_some_and(|adapters| adapters.projector);
        self.trained.contains(number) || (projector && self.layout.tensors()[number].name.starts_with("mlp1."))
    }
}

/// A part of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    /// What takes the memory.
    pub name: &'static str,
    /// Bytes.
    pub bytes: u64,
}

/// The memory that a run takes at its peak.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Its parts, which are there at once.
    pub parts: Vec<Part>,
}

impl Plan {
    /// The plan for a demand.
    pub fn of(demand: &Demand<'_>) -> Self {
        let weights = Weights::of(demand);
        let layers = Layers::of(demand);
        let parts = [
            ("frozen weights", weights.frozen),
            ("trained weights", weights.trained),
            ("half-precision copies", weights.copies),
            ("gradients", weights.gradients),
            ("optimiser state", weights.state),
            ("activations", layers.kept()),
            ("the layer at work", layers.at_work()),
            ("images at work", layers.images()),
            ("head and loss", layers.head()),
            ("samples and features", demand.data_bytes),
            ("workspace", layers.workspace()),
            ("program", demand.program_bytes),
        ];
        let parts = parts.into_iter().filter(|(_, bytes)| *bytes > 0).map(|(name, bytes)| Part { name, bytes });
        Self { parts: parts.collect() }
    }

    /// Bytes in all.
    pub fn total(&self) -> u64 {
        self.parts.iter().map(|part| part.bytes).sum()
    }
}

/// Bytes of weights and what goes with them.
#[derive(Debug, Default)]
struct Weights {
    frozen: u64,
    trained: u64,
    copies: u64,
    gradients: u64,
    state: u64,
}

impl Weights {
    fn of(demand: &Demand<'_>) -> Self {
        let (mut weights, layout) = (Self::default(), demand.layout);
        for (number, tensor) in layout.tensors().iter().enumerate() {
            let values = tensor.len() as u64;
            let adapter = demand.adapter(tensor) as u64;
            weights.add_trained(adapter, adapter, demand.optimizer == Kind::Muon);
            if demand.is_trained(number) {
                let inner = tensor.is_matrix() && number != layout.embedding() && number != layout.head();
                weights.add_trained(values, touched(demand, number), inner && demand.optimizer == Kind::Muon);
                if tensor.is_matrix() && demand.precision == Compute::F16 {
                    weights.copies += 2 * values;
                }
            } else if tensor.is_matrix() {
                let language = tensor.name.starts_with("language_model.");
                let bytes = if language { demand.base_bytes } else { demand.tower_bytes };
                weights.frozen += (values as f64 * bytes) as u64;
            } else {
                weights.frozen += 4 * values;
            }
        }
        if let Some(adapters) = &demand.adapters {
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

/// Values of a trained tensor whose gradients and moments are ever written: of tables with a row for each token, those of the
/// rows that are used, by pages of memory.
fn touched(demand: &Demand<'_>, number: usize) -> u64 {
    const PAGE: u64 = 1 << 10;
    let (layout, all) = (demand.layout, demand.layout.tensors()[number].len() as u64);
    let labels = 2;
    let rows = match (number == layout.embedding(), number == layout.head(), demand.task) {
        (true, true, Aim::Prm) => demand.distinct_tokens + labels,
        (true, false, _) => demand.distinct_tokens,
        (false, true, Aim::Prm) => labels,
        _ => return all,
    };
    all.min(rows as u64 * (layout.config().language.hidden as u64 + PAGE))
}

/// A change of a recipe that needs less memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Advice {
    /// What to change, to be put after "with".
    pub change: String,
    /// Bytes that the run would need then.
    pub total: u64,
}

/// Changes that would make a run smaller, each with those before it, up to the first that fits `available`, or all.
pub fn advice(demand: &Demand<'_>, available: u64) -> Vec<Advice> {
    const RANK: usize = 16;
    const SHORTEST: usize = 256;
    let mut demand = demand.clone();
    let mut all: Vec<Advice> = Vec::new();
    let mut try_change = |change: &str, demand: &Demand<'_>| {
        all.push(Advice { change: change.to_owned(), total: Plan::of(demand).total() });
        all.last().is_some_and(|advice| advice.total <= available)
    };
    if !demand.checkpointing {
        demand.checkpointing = true;
        if try_change("`checkpointing = true`", &demand) {
            return all;
        }
    }
    while demand.tokens >= 2 * SHORTEST && demand.adapters.is_some() {
        demand.tokens /= 2;
        demand.image_tokens = demand.image_tokens.min(demand.tokens);
        if try_change(&format!("`sequence_tokens = {}`", demand.tokens), &demand) {
            return all;
        }
    }
    if demand.adapters.is_none() {
        demand.trained = Trainable::only(demand.layout, |_| false);
        demand.adapters = Some(Adapters { rank: RANK, targets: Vec::new(), projector: false, token_rows: 1 });
        if try_change("adapters (LoRA) in place of the weights", &demand) {
            return all;
        }
    }
    if demand.base_bytes > 1.0 {
        demand.base_bytes = 144.0 / 256.0;
        try_change("a base quantised to Q4_K", &demand);
    }
    all
}

#[cfg(test)]
mod tests;
