//! The sizes of a run that its memory depends on.

use crate::internvl::{Layout, TensorInfo, Trainable};
use crate::train::features::MAX_MEMORY;
use crate::train::optim::OptimizerKind;
use crate::train::pack::Packing;
use crate::train::prepare::TrainingData;
use crate::train::recipe::{Compute, LoraOptions, Recipe, Task};
use crate::util::machine;

/// The sizes of a run that its memory depends on.
#[derive(Debug, Clone)]
pub struct Workload<'a> {
    /// The model's tensors.
    pub layout: &'a Layout,
    /// The trained ones.
    pub trained: Trainable,
    /// Adapters beside frozen matrices.
    pub adapters: Option<Adapters>,
    /// Bytes for each weight of the language model's frozen matrices.
    pub base_bytes: f64,
    /// Bytes for each weight of the vision tower's and the projector's frozen matrices.
    pub tower_bytes: f64,
    /// Arithmetic of matrix products.
    pub precision: Compute,
    /// Recomputes activations in the backward pass.
    pub checkpointing: bool,
    /// The optimiser.
    pub optimizer: OptimizerKind,
    /// What the model is trained for.
    pub task: Task,
    /// Maximum tokens of a sequence.
    pub tokens: usize,
    /// Those of them that are image tokens.
    pub image_tokens: usize,
    /// Maximum targets of a sequence.
    pub targets: usize,
    /// Maximum tiles of an image.
    pub tiles: usize,
    /// Bytes of the samples, and of image features kept in memory.
    pub data_bytes: u64,
    /// Number of distinct tokens in all samples: only their embedding rows ever have a gradient.
    pub distinct_tokens: usize,
    /// Number of threads.
    pub threads: usize,
    /// Bytes that the process holds already.
    pub program_bytes: u64,
}

/// Sizes of the adapters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adapters {
    /// Their rank.
    pub rank: usize,
    /// Suffixes of the names of adapted matrices; empty for all in the language model's blocks.
    pub targets: Vec<String>,
    /// Trains the projector too.
    pub projector: bool,
    /// Number of trained rows of embedding and head.
    pub token_rows: usize,
}

/// Bytes of a process before it trains, where the system does not report them.
const PROGRAM_BYTES: u64 = 32 << 20;
/// Tokens for each target, where samples are unknown.
const TOKENS_PER_TARGET: usize = 32;

impl<'a> Workload<'a> {
    /// A run with unknown samples: sequences of `tokens` tokens that may use the whole vocabulary, bf16 products and weights.
    pub fn new(layout: &'a Layout, trained: &Trainable, tokens: usize) -> Self {
        Self {
            layout,
            trained: trained.clone(),
            adapters: None,
            base_bytes: 2.0,
            tower_bytes: 2.0,
            precision: Compute::Bf16,
            checkpointing: false,
            optimizer: OptimizerKind::AdamW,
            task: Task::Prm,
            tokens,
            image_tokens: 0,
            targets: tokens.div_ceil(TOKENS_PER_TARGET),
            tiles: 1,
            data_bytes: 0,
            distinct_tokens: layout.config().language.vocabulary,
            threads: rayon::current_num_threads(),
            program_bytes: machine::resident().unwrap_or(PROGRAM_BYTES),
        }
    }

    /// The run of a recipe, exact if its data are known.
    pub fn of(recipe: &Recipe, layout: &'a Layout, data: Option<&TrainingData>) -> Self {
        let is_frozen = |name: &str| recipe.freeze.iter().any(|prefix| name.starts_with(prefix.as_str()));
        let trained = Trainable::only(layout, |number| !is_frozen(&layout.tensors()[number].name));
        let mut workload = Self::new(layout, &trained, recipe.sequence_tokens);
        (workload.precision, workload.checkpointing) = (recipe.precision, recipe.checkpointing);
        (workload.optimizer, workload.task) = (recipe.optimizer, recipe.task);
        let tile = layout.config().tokens_per_tile();
        if let Some(lora) = &recipe.lora {
            workload.set_adapters(lora, recipe);
        }
        // One more for the thumbnail.
        workload.tiles = recipe.max_tiles + 1;
        workload.image_tokens = (workload.tiles * tile).min(workload.tokens);
        if let Some(data) = data {
            workload.set_data(data, recipe);
        }
        workload
    }

    /// Freezes the weights and adds adapters.
    fn set_adapters(&mut self, lora: &LoraOptions, recipe: &Recipe) {
        self.trained = Trainable::only(self.layout, |_| false);
        self.adapters = Some(Adapters {
            rank: lora.rank,
            targets: lora.targets.clone().unwrap_or_default(),
            projector: lora.projector,
            token_rows: lora
                .tokens
                .as_ref()
                .map_or(usize::from(self.task == Task::Prm && recipe.prm_form.is_none()), Vec::len),
        });
        // A missing base is reported when it is opened.
        let base = lora.base.as_deref().or(Some(recipe.model.as_path()).filter(|model| model.is_file()));
        if let Some(size) = base.and_then(|path| std::fs::metadata(path).ok()) {
            let tensors = self.layout.tensors().iter().enumerate();
            let language = tensors.filter(|(index, _)| self.layout.is_language(*index)).map(|(_, tensor)| tensor);
            self.base_bytes = size.len() as f64 / language.map(TensorInfo::len).sum::<usize>().max(1) as f64;
        }
    }

    /// Takes the sizes of the packed samples.
    fn set_data(&mut self, data: &TrainingData, recipe: &Recipe) {
        let samples = &data.train.samples;
        let packing = Packing::new(samples, data.train.special.context, &recipe.packing_limits(), recipe.seed);
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
        let values = self.layout.config().vision.as_ref().map_or(0, |vision| tile * vision.features());
        let features = (4 * features * values) as u64;
        let all = samples.iter().chain(&data.held_out);
        let bytes = all.map(|sample| 4 * sample.tokens.len() + size_of_val(sample.targets.as_slice()));
        self.data_bytes = bytes.sum::<usize>() as u64 + features.min(MAX_MEMORY as u64);
    }

    /// Number of values of a matrix's adapter; 0 without one.
    pub(super) fn adapter_values(&self, number: usize) -> usize {
        let Some(adapters) = &self.adapters else { return 0 };
        let tensor = &self.layout.tensors()[number];
        let (rows, cols) = tensor.matrix();
        let name = tensor.name.trim_end_matches(".weight");
        let in_block = self.layout.is_in_block(number) && tensor.is_matrix();
        let named = adapters.targets.is_empty() || adapters.targets.iter().any(|end| name.ends_with(end.as_str()));
        if in_block && named { adapters.rank * (rows + cols) } else { 0 }
    }

    pub(super) fn is_trained(&self, number: usize) -> bool {
        let projector = self.adapters.as_ref().is_some_and(|adapters| adapters.projector);
        self.trained.contains(number) || (projector && self.layout.tensors()[number].name.starts_with("mlp1."))
    }
}
