//! The tensors of a model, in order: Hugging Face names, shapes, roles, and where each belongs.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::config::{Config, LanguageConfig, LanguageKind, NormKind, VisionConfig};

/// Role of a tensor, on which its initialisation and weight decay depend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A matrix that multiplies activations.
    Matrix,
    /// An embedding table, with one row per token or position.
    Embedding,
    /// A norm's weight.
    Norm,
    /// `LayerScale`.
    Scale,
    /// A bias.
    Bias,
    /// Matrix A of a `LoRA` adapter.
    LoraA,
    /// Matrix B of a `LoRA` adapter.
    LoraB,
    /// Trained rows that replace those of some tokens in an embedding or head.
    TokenRows,
}

/// Description of a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Hugging Face name.
    pub name: String,
    /// Shape.
    pub shape: Vec<usize>,
    /// Role.
    pub role: Role,
}

impl TensorInfo {
    /// Returns the number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it is used as a matrix or token table, and so may be stored in other formats than
    /// `f32`.
    pub fn is_matrix(&self) -> bool {
        match self.role {
            Role::Matrix | Role::LoraA | Role::LoraB | Role::TokenRows => true,
            Role::Embedding => self.shape.len() == 2,
            Role::Norm | Role::Scale | Role::Bias => false,
        }
    }

    /// Returns rows and columns of the tensor as an operand of a product.
    pub fn matrix(&self) -> (usize, usize) {
        let rows = self.shape.first().copied().unwrap_or(1);
        (rows, self.len() / rows.max(1))
    }
}

/// The tensors of a model, and where each belongs. A tensor is identified by its index in
/// [`Layout::tensors`].
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    pub(super) config: Config,
    pub(super) tensors: Vec<TensorInfo>,
    pub(super) by_name: HashMap<String, usize>,
    /// For each `LoRA` tensor, the tensor of the base model that it belongs to.
    pub(super) bases: Vec<usize>,
    /// `None` for a text model, as the projector.
    pub(super) vision: Option<Vision>,
    pub(super) projector: Option<Projector>,
    pub(super) language: Language,
}

/// `LoRA` adapter of a matrix, which adds `scale · B · A` to it. A and B are indices of tensors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adapter {
    /// A, `[rank, inputs]`.
    pub down: usize,
    /// B, `[outputs, rank]`.
    pub up: usize,
    /// Rank.
    pub rank: usize,
    /// Scale.
    pub scale: f32,
}

/// Trained rows that replace those of some tokens in embedding and head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRows {
    /// The tokens, ascending.
    pub tokens: Vec<u32>,
    /// Index of the tensor with the embedding's rows, `[tokens, width]`.
    pub embedding: usize,
    /// Index of the tensor with the head's rows; that of the embedding's if the two are tied.
    pub head: usize,
}

/// A linear layer: indices of its weight `[outputs, inputs]` and bias.
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

/// Tensors of the vision tower.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Vision {
    pub class: usize,
    pub position: usize,
    pub patch: Linear,
    pub blocks: Vec<VisionBlock>,
}

/// Tensors of a block of the vision tower.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct VisionBlock {
    pub norms: [Norm; 2],
    pub scales: [usize; 2],
    pub qkv: Linear,
    /// Norms of queries and keys.
    pub qk_norms: Option<[Norm; 2]>,
    pub out: Linear,
    pub up: Linear,
    pub down: Linear,
}

/// Tensors of the projector, a two-layer MLP.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Projector {
    pub norm: Norm,
    pub first: Linear,
    pub second: Linear,
}

/// Tensors of the language model.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Language {
    pub embedding: usize,
    pub blocks: Vec<LanguageBlock>,
    pub norm: Norm,
    /// The matrix of the head: the embedding if they are tied.
    pub head: usize,
    /// Trained rows that replace some of both.
    pub rows: Option<TokenRows>,
}

/// Tensors of a block of the language model.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LanguageBlock {
    /// Indices of all its tensors.
    pub indices: Range<usize>,
    pub attention_norm: Norm,
    pub qkv: QkvTensors,
    pub out: Linear,
    pub norm: Norm,
    pub gate: Linear,
    pub up: Linear,
    pub down: Linear,
}

/// Projections to queries, keys and values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum QkvTensors {
    /// One matrix: for each key head the rows of its query heads, then its key, then its value.
    Fused(Linear),
    /// A matrix for each of them.
    Separate([Linear; 3]),
}

impl LanguageBlock {
    pub fn linears(&self) -> Vec<Linear> {
        self.clone().linears_mut().into_iter().map(|linear| *linear).collect()
    }

    pub fn linears_mut(&mut self) -> Vec<&mut Linear> {
        let mut all: Vec<&mut Linear> = match &mut self.qkv {
            QkvTensors::Fused(linear) => vec![linear],
            QkvTensors::Separate(linears) => linears.iter_mut().collect(),
        };
        all.extend([&mut self.out, &mut self.gate, &mut self.up, &mut self.down]);
        all
    }
}

impl Layout {
    /// Lists the tensors of a model with this configuration: vision tower, language model,
    /// projector; the language model alone for a text model.
    pub fn new(config: &Config) -> Arc<Self> {
        let mut list = TensorList::default();
        let vision = config.vision.as_ref().map(|vision| list.vision(vision));
        let language = list.language(config);
        let projector = config.vision.as_ref().map(|vision| list.projector(vision, config.language.hidden));
        let by_name = list.0.iter().enumerate().map(|(index, tensor)| (tensor.name.clone(), index)).collect();
        let bases = Vec::new();
        Arc::new(Self { config: config.clone(), tensors: list.0, by_name, bases, vision, projector, language })
    }

    /// Returns the configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Returns all tensors, in order of their indices.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// Returns the index of the tensor with this name.
    pub fn index(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// Returns tensors and configuration of the vision tower.
    pub(super) fn tower(&self) -> Option<(&Vision, &VisionConfig)> {
        self.vision.as_ref().zip(self.config.vision.as_ref())
    }

    /// Whether a tensor belongs to the vision tower.
    pub fn is_vision(&self, index: usize) -> bool {
        self.tensors[index].name.starts_with("vision_model.")
    }

    /// Whether a tensor belongs to the language model.
    pub fn is_language(&self, index: usize) -> bool {
        self.config.vision.is_none() || self.tensors[index].name.starts_with(LANGUAGE)
    }

    /// Whether a tensor belongs to a block of the language model.
    pub fn is_in_block(&self, index: usize) -> bool {
        self.language.blocks.iter().any(|block| block.indices.contains(&index))
    }

    /// Returns the head of the language model, `[vocabulary, width]`: the embedding if they are
    /// tied.
    pub fn head(&self) -> usize {
        self.language.head
    }

    /// Returns the embedding of the language model, `[vocabulary, width]`.
    pub fn embedding(&self) -> usize {
        self.language.embedding
    }

    /// Returns the number of tensors of the base model; tensors from this index on belong to
    /// `LoRA`.
    pub fn base_len(&self) -> usize {
        self.tensors.len() - self.bases.len()
    }

    /// Returns the base tensor that a `LoRA` tensor belongs to, and a base tensor unchanged.
    pub fn base_of(&self, index: usize) -> usize {
        index.checked_sub(self.base_len()).map_or(index, |added| self.bases[added])
    }

    /// Returns the adapter of a matrix, if it has one.
    pub fn adapter(&self, index: usize) -> Option<Adapter> {
        self.language.blocks.iter().flat_map(LanguageBlock::linears).find(|linear| linear.weight == index)?.adapter
    }

    /// Returns the trained token rows, if there are any.
    pub fn token_rows(&self) -> Option<&TokenRows> {
        self.language.rows.as_ref()
    }
}

/// Name prefix of the language model's tensors in a model with a vision tower.
const LANGUAGE: &str = "language_model.";

/// Builder of the list of tensors.
#[derive(Default)]
struct TensorList(Vec<TensorInfo>);

impl TensorList {
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

    fn projector(&mut self, config: &VisionConfig, width: usize) -> Projector {
        // torch's default for `nn.LayerNorm`.
        const EPSILON: f32 = 1e-5;
        let inputs = config.features();
        Projector {
            norm: self.norm("mlp1.0", inputs, NormKind::Layer, EPSILON),
            first: self.linear("mlp1.1", inputs, width, true),
            second: self.linear("mlp1.3", width, width, true),
        }
    }

    fn language(&mut self, config: &Config) -> Language {
        let prefix = if config.vision.is_some() { LANGUAGE } else { "" };
        let config = &config.language;
        let internlm = config.kind == LanguageKind::InternLm2;
        let model = format!("{prefix}model");
        let table = &[config.vocabulary, config.hidden];
        let name = if internlm { "tok_embeddings" } else { "embed_tokens" };
        let embedding = self.add(format!("{model}.{name}.weight"), table, Role::Embedding);
        let blocks =
            (0..config.layers).map(|block| self.language_block(&format!("{model}.layers.{block}"), config)).collect();
        let norm = self.norm(&format!("{model}.norm"), config.hidden, NormKind::Rms, config.epsilon);
        let name = if internlm { "output" } else { "lm_head" };
        let mut head = || self.add(format!("{prefix}{name}.weight"), table, Role::Matrix);
        let head = if config.tied { embedding } else { head() };
        Language { embedding, blocks, norm, head, rows: None }
    }

    fn language_block(&mut self, block: &str, config: &LanguageConfig) -> LanguageBlock {
        let name = |part: &str| format!("{block}.{part}");
        let (hidden, feed_forward, epsilon) = (config.hidden, config.feed_forward, config.epsilon);
        let (queries, keys) = (config.heads * config.head, config.kv_heads * config.head);
        let internlm = config.kind == LanguageKind::InternLm2;
        let first = self.0.len();
        let pick = |of_internlm, of_qwen| name(if internlm { of_internlm } else { of_qwen });
        let qkv = if internlm {
            QkvTensors::Fused(self.linear(&name("attention.wqkv"), hidden, queries + 2 * keys, config.qkv_bias))
        } else {
            let parts = [("q_proj", queries), ("k_proj", keys), ("v_proj", keys)];
            QkvTensors::Separate(parts.map(|(part, outputs)| {
                self.linear(&name(&format!("self_attn.{part}")), hidden, outputs, config.qkv_bias)
            }))
        };
        let norm = |list: &mut Self, name: String| list.norm(&name, hidden, NormKind::Rms, epsilon);
        let mut tensors = LanguageBlock {
            indices: first..first,
            qkv,
            out: self.linear(&pick("attention.wo", "self_attn.o_proj"), queries, hidden, false),
            gate: self.linear(&pick("feed_forward.w1", "mlp.gate_proj"), hidden, feed_forward, false),
            up: self.linear(&pick("feed_forward.w3", "mlp.up_proj"), hidden, feed_forward, false),
            down: self.linear(&pick("feed_forward.w2", "mlp.down_proj"), feed_forward, hidden, false),
            attention_norm: norm(self, pick("attention_norm", "input_layernorm")),
            norm: norm(self, pick("ffn_norm", "post_attention_layernorm")),
        };
        tensors.indices.end = self.0.len();
        tensors
    }
}
