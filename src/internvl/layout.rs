//! The tensors of a model: their Hugging Face names, shapes and roles, in order.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::added::{Adapter, NewRows};
use super::config::{Config, LanguageKind, NormKind, VisionConfig};

/// What a tensor is, which initialisation and weight decay depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A matrix that multiplies activations.
    Matrix,
    /// A table of which tokens take rows.
    Embedding,
    /// A norm's weight.
    Norm,
    /// `LayerScale`.
    Scale,
    /// Added to activations.
    Bias,
    /// The first matrix of an adapter.
    Down,
    /// Its second one.
    Up,
    /// Rows in the place of some tokens' rows of a table.
    Rows,
}

/// One tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its Hugging Face name.
    pub name: String,
    /// Its shape there.
    pub shape: Vec<usize>,
    /// What it is.
    pub role: Role,
}

impl TensorInfo {
    /// Number of its elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it multiplies activations or gives rows to tokens, and so may be held in other formats than `f32`.
    pub fn is_matrix(&self) -> bool {
        match self.role {
            Role::Matrix | Role::Down | Role::Up | Role::Rows => true,
            Role::Embedding => self.shape.len() == 2,
            Role::Norm | Role::Scale | Role::Bias => false,
        }
    }

    /// Rows, and elements of one: what the tensor is as an operand of a product.
    pub fn matrix(&self) -> (usize, usize) {
        let rows = self.shape.first().copied().unwrap_or(1);
        (rows, self.len() / rows.max(1))
    }
}

/// The tensors of a model by their number, and where they belong in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    pub(super) config: Config,
    pub(super) tensors: Vec<TensorInfo>,
    pub(super) numbers: HashMap<String, usize>,
    /// For each tensor after the model's own the one it belongs to.
    pub(super) owners: Vec<usize>,
    pub(super) vision: Vision,
    pub(super) projector: Projector,
    pub(super) language: Language,
}

/// A matrix `[outputs, inputs]` and its bias, as numbers of tensors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Linear {
    pub weight: usize,
    pub bias: Option<usize>,
    pub outputs: usize,
    pub adapter: Option<Adapter>,
}

/// A norm: `LayerNorm` if it has a bias, else `RMSNorm`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Norm {
    pub weight: usize,
    pub bias: Option<usize>,
    pub epsilon: f32,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Vision {
    pub class: usize,
    pub position: usize,
    pub patch: Linear,
    pub blocks: Vec<VisionBlock>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct VisionBlock {
    pub norms: [Norm; 2],
    pub scales: [usize; 2],
    pub qkv: Linear,
    /// Norms of queries and of keys.
    pub qk_norms: Option<[Norm; 2]>,
    pub out: Linear,
    pub up: Linear,
    pub down: Linear,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Projector {
    pub norm: Norm,
    pub first: Linear,
    pub second: Linear,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Language {
    pub embedding: usize,
    pub blocks: Vec<LanguageBlock>,
    pub norm: Norm,
    /// The matrix of the head, which may be the embedding.
    pub head: usize,
    /// Rows in the place of some of both.
    pub rows: Option<NewRows>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct LanguageBlock {
    /// The numbers of all its tensors.
    pub numbers: Range<usize>,
    pub attention_norm: Norm,
    pub qkv: Qkv,
    pub out: Linear,
    pub norm: Norm,
    pub gate: Linear,
    pub up: Linear,
    pub down: Linear,
}

/// How queries, keys and values are stored.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Qkv {
    /// One matrix: for each key head the rows of its query heads, then of the key, then of the value.
    Fused(Linear),
    /// One matrix each.
    Separate([Linear; 3]),
}

impl Layout {
    /// The tensors that a model of this configuration has: vision tower, language model, projector.
    pub fn new(config: &Config) -> Arc<Self> {
        let mut list = List::default();
        let vision = list.vision(&config.vision);
        let language = list.language(config);
        let projector = list.projector(config);
        let numbers = list.0.iter().enumerate().map(|(number, tensor)| (tensor.name.clone(), number)).collect();
        let owners = Vec::new();
        Arc::new(Self { config: config.clone(), tensors: list.0, numbers, owners, vision, projector, language })
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The tensors, whose places are their numbers.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The number of a name.
    pub fn index(&self, name: &str) -> Option<usize> {
        self.numbers.get(name).copied()
    }

    /// Whether a tensor belongs to the vision tower.
    pub fn is_vision(&self, number: usize) -> bool {
        self.tensors[number].name.starts_with("vision_model.")
    }

    /// The matrix of the language model's head, `[vocabulary, width]`: that of the embedding if they are tied.
    pub fn head(&self) -> usize {
        self.language.head
    }

    /// The embedding matrix of the language model, `[vocabulary, width]`.
    pub fn embedding(&self) -> usize {
        self.language.embedding
    }
}

/// The tensors so far.
#[derive(Default)]
struct List(Vec<TensorInfo>);

impl List {
    fn add(&mut self, name: String, shape: &[usize], role: Role) -> usize {
        self.0.push(TensorInfo { name, shape: shape.to_vec(), role });
        self.0.len() - 1
    }

    fn linear(&mut self, name: &str, inputs: usize, outputs: usize, bias: bool) -> Linear {
        let weight = self.add(format!("{name}.weight"), &[outputs, inputs], Role::Matrix);
        let bias = bias.then(|| self.add(format!("{name}.bias"), &[outputs], Role::Bias));
        Linear { weight, bias, outputs, adapter: None }
    }

    fn norm(&mut self, name: &str, width: usize, kind: NormKind, epsilon: f32) -> Norm {
        let weight = self.add(format!("{name}.weight"), &[width], Role::Norm);
        let bias = (kind == NormKind::Layer).then(|| self.add(format!("{name}.bias"), &[width], Role::Bias));
        Norm { weight, bias, epsilon }
    }

    fn vision(&mut self, config: &VisionConfig) -> Vision {
        let VisionConfig { hidden, patch, .. } = *config;
        let name = "vision_model.embeddings";
        let class = self.add(format!("{name}.class_embedding"), &[1, 1, hidden], Role::Embedding);
        let position = &[1, config.tokens(), hidden];
        let position = self.add(format!("{name}.position_embedding"), position, Role::Embedding);
        let weight = &[hidden, 3, patch, patch];
        let weight = self.add(format!("{name}.patch_embedding.weight"), weight, Role::Matrix);
        let bias = Some(self.add(format!("{name}.patch_embedding.bias"), &[hidden], Role::Bias));
        let patch = Linear { weight, bias, outputs: hidden, adapter: None };
        let blocks = (0..config.layers).map(|block| self.vision_block(block, config)).collect();
        Vision { class, position, patch, blocks }
    }

    fn vision_block(&mut self, block: usize, config: &VisionConfig) -> VisionBlock {
        let name = format!("vision_model.encoder.layers.{block}");
        let VisionConfig { hidden, feed_forward, norm, epsilon, .. } = *config;
        let scales = [1, 2].map(|i| self.add(format!("{name}.ls{i}"), &[hidden], Role::Scale));
        let qkv = self.linear(&format!("{name}.attn.qkv"), hidden, 3 * hidden, config.qkv_bias);
        let qk_norms = config.qk_norm.then(|| {
            ["q_norm", "k_norm"].map(|norm| self.norm(&format!("{name}.attn.{norm}"), hidden, NormKind::Rms, epsilon))
        });
        VisionBlock {
            scales,
            qkv,
            qk_norms,
            out: self.linear(&format!("{name}.attn.proj"), hidden, hidden, true),
            up: self.linear(&format!("{name}.mlp.fc1"), hidden, feed_forward, true),
            down: self.linear(&format!("{name}.mlp.fc2"), feed_forward, hidden, true),
            norms: [1, 2].map(|i| self.norm(&format!("{name}.norm{i}"), hidden, norm, epsilon)),
        }
    }

    fn projector(&mut self, config: &Config) -> Projector {
        // torch's default for `nn.LayerNorm`.
        const EPSILON: f32 = 1e-5;
        let (inputs, width) = (config.features(), config.language.hidden);
        Projector {
            norm: self.norm("mlp1.0", inputs, NormKind::Layer, EPSILON),
            first: self.linear("mlp1.1", inputs, width, true),
            second: self.linear("mlp1.3", width, width, true),
        }
    }

    fn language(&mut self, config: &Config) -> Language {
        let config = &config.language;
        let internlm = config.kind == LanguageKind::InternLm2;
        let model = "language_model.model";
        let table = &[config.vocabulary, config.hidden];
        let name = if internlm { "tok_embeddings" } else { "embed_tokens" };
        let embedding = self.add(format!("{model}.{name}.weight"), table, Role::Embedding);
        let blocks = (0..config.layers).map(|block| self.language_block(block, config)).collect();
        let norm = self.norm(&format!("{model}.norm"), config.hidden, NormKind::Rms, config.epsilon);
        let name = if internlm { "output" } else { "lm_head" };
        let mut head = || self.add(format!("language_model.{name}.weight"), table, Role::Matrix);
        let head = if config.tied { embedding } else { head() };
        Language { embedding, blocks, norm, head, rows: None }
    }

    fn language_block(&mut self, block: usize, config: &super::config::LanguageConfig) -> LanguageBlock {
        let name = |part: &str| format!("language_model.model.layers.{block}.{part}");
        let (hidden, feed_forward, epsilon) = (config.hidden, config.feed_forward, config.epsilon);
        let (queries, keys) = (config.heads * config.head(), config.kv_heads * config.head());
        let internlm = config.kind == LanguageKind::InternLm2;
        let first = self.0.len();
        let pick = |of_internlm, of_qwen| name(if internlm { of_internlm } else { of_qwen });
        let qkv = if internlm {
            Qkv::Fused(self.linear(&name("attention.wqkv"), hidden, queries + 2 * keys, config.qkv_bias))
        } else {
            let parts = [("q_proj", queries), ("k_proj", keys), ("v_proj", keys)];
            Qkv::Separate(parts.map(|(part, outputs)| {
                self.linear(&name(&format!("self_attn.{part}")), hidden, outputs, config.qkv_bias)
            }))
        };
        let norm = |list: &mut Self, name: String| list.norm(&name, hidden, NormKind::Rms, epsilon);
        let mut tensors = LanguageBlock {
            numbers: first..first,
            qkv,
            out: self.linear(&pick("attention.wo", "self_attn.o_proj"), queries, hidden, false),
            gate: self.linear(&pick("feed_forward.w1", "mlp.gate_proj"), hidden, feed_forward, false),
            up: self.linear(&pick("feed_forward.w3", "mlp.up_proj"), hidden, feed_forward, false),
            down: self.linear(&pick("feed_forward.w2", "mlp.down_proj"), feed_forward, hidden, false),
            attention_norm: norm(self, pick("attention_norm", "input_layernorm")),
            norm: norm(self, pick("ffn_norm", "post_attention_layernorm")),
        };
        tensors.numbers.end = self.0.len();
        tensors
    }
}
