//! What low-rank adaptation adds to a model: two thin matrices beside a frozen one (arXiv 2106.09685), and rows of the token
//! tables that are trained while the tables are not.
//!
//! Added tensors are tensors of the [`Layout`] like all others, numbered after the model's own; so values, copies, gradients
//! and optimisers need to know nothing of adapters. How they enter a product is [`super::linear`]'s business, how the rows
//! enter the tables' that of [`super::tables`].

use std::sync::Arc;

use super::layout::{LanguageBlock, Layout, Linear, Qkv, Role, TensorInfo};

/// What is added to a model.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Additions {
    /// Inner width of the adapters.
    pub rank: usize,
    /// Factor of what they add.
    pub scale: f32,
    /// The language model's matrices that get one, by the last part of their module's name, such as `wqkv` or `q_proj`.
    pub targets: Vec<String>,
    /// Tokens whose rows of embedding and head are trained.
    pub tokens: Vec<u32>,
}

/// Why it cannot be added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AdditionError {
    /// No matrix has this name.
    #[error("no matrix of the language model is called `{target}`, expected some of {known:?}")]
    Target {
        /// The name.
        target: String,
        /// Names that there are.
        known: Vec<String>,
    },
    /// An adapter needs a width.
    #[error("adapters of rank 0, expected at least 1")]
    Rank,
    /// A token that the vocabulary does not have.
    #[error("token {token}, expected one below {vocabulary}")]
    Token {
        /// The token.
        token: u32,
        /// Rows of the tables.
        vocabulary: usize,
    },
}

/// The adapter of a matrix: `scale · B · A` is added to it. Numbers of tensors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adapter {
    /// A, `[rank, inputs]`.
    pub down: usize,
    /// B, `[outputs, rank]`.
    pub up: usize,
    /// The rank.
    pub rank: usize,
    /// The factor.
    pub scale: f32,
}

/// Rows that stand in the place of some tokens' rows of the tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRows {
    /// The tokens, ascending.
    pub tokens: Vec<u32>,
    /// The embedding's rows for them, `[tokens, width]`: the number of the tensor.
    pub embedding: usize,
    /// The head's rows for them; the embedding's where the two are one table.
    pub head: usize,
}

impl Layout {
    /// The layout with tensors added to it. Adapters are called `<module>.lora_A.weight` and `<module>.lora_B.weight`, rows
    /// `<table>.token_adapter.trainable_tokens_delta`, as PEFT calls them.
    ///
    /// # Errors
    /// [`AdditionError`].
    pub fn with_additions(&self, additions: &Additions) -> Result<Arc<Self>, AdditionError> {
        let Additions { rank, scale, targets, tokens } = additions;
        if *rank == 0 && !targets.is_empty() {
            return Err(AdditionError::Rank);
        }
        let vocabulary = self.config.language.vocabulary;
        if let Some(token) = tokens.iter().find(|token| **token as usize >= vocabulary) {
            return Err(AdditionError::Token { token: *token, vocabulary });
        }
        let mut layout = self.clone();
        let known = layout.target_names();
        if let Some(target) = targets.iter().find(|target| !known.contains(target)) {
            return Err(AdditionError::Target { target: target.clone(), known });
        }
        let mut blocks = std::mem::take(&mut layout.language.blocks);
        for linear in blocks.iter_mut().flat_map(LanguageBlock::linears_mut) {
            let name = module(&self.tensors[linear.weight].name).to_owned();
            if !targets.iter().any(|target| last(&name) == target) {
                continue;
            }
            let inputs = self.tensors[linear.weight].matrix().1;
            let down = layout.add(linear.weight, format!("{name}.lora_A.weight"), [*rank, inputs], Role::Down);
            let up = layout.add(linear.weight, format!("{name}.lora_B.weight"), [linear.outputs, *rank], Role::Up);
            linear.adapter = Some(Adapter { down, up, rank: *rank, scale: *scale });
        }
        layout.language.blocks = blocks;
        if !tokens.is_empty() {
            let mut tokens = tokens.clone();
            tokens.sort_unstable();
            tokens.dedup();
            let shape = [tokens.len(), self.config.language.hidden];
            let mut rows = |table: usize| {
                let name = format!("{}.token_adapter.trainable_tokens_delta", module(&self.tensors[table].name));
                layout.add(table, name, shape, Role::Rows)
            };
            let (table, head) = (self.embedding(), self.head());
            let embedding = rows(table);
            let head = if head == table { embedding } else { rows(head) };
            layout.language.rows = Some(NewRows { tokens, embedding, head });
        }
        Ok(Arc::new(layout))
    }

    fn add(&mut self, owner: usize, name: String, shape: [usize; 2], role: Role) -> usize {
        let number = self.tensors.len();
        self.numbers.insert(name.clone(), number);
        self.tensors.push(TensorInfo { name, shape: shape.to_vec(), role });
        self.owners.push(owner);
        number
    }

    /// How many tensors the model itself has; those from this number on are added to it.
    pub fn own(&self) -> usize {
        self.tensors.len() - self.owners.len()
    }

    /// The tensor of the model that an added one belongs to; the tensor itself if it is the model's own.
    pub fn owner(&self, number: usize) -> usize {
        number.checked_sub(self.own()).map_or(number, |added| self.owners[added])
    }

    /// The adapter of a matrix, if it has one.
    pub fn adapter(&self, number: usize) -> Option<Adapter> {
        self.language.blocks.iter().flat_map(LanguageBlock::linears).find(|linear| linear.weight == number)?.adapter
    }

    /// The rows in the place of some tokens' rows, if there are such.
    pub fn new_rows(&self) -> Option<&NewRows> {
        self.language.rows.as_ref()
    }

    /// The names that [`Additions::targets`] may have: those of all matrices in the language model's blocks.
    pub fn target_names(&self) -> Vec<String> {
        let first = self.language.blocks.first().into_iter().flat_map(LanguageBlock::linears);
        first.map(|linear| last(module(&self.tensors[linear.weight].name)).to_owned()).collect()
    }
}

/// The name of the module that has a weight.
fn module(name: &str) -> &str {
    name.strip_suffix(".weight").unwrap_or(name)
}

fn last(module: &str) -> &str {
    module.rsplit('.').next().unwrap_or(module)
}

impl LanguageBlock {
    fn linears(&self) -> Vec<Linear> {
        self.clone().linears_mut().into_iter().map(|linear| *linear).collect()
    }

    fn linears_mut(&mut self) -> Vec<&mut Linear> {
        let mut all: Vec<&mut Linear> = match &mut self.qkv {
            Qkv::Fused(linear) => vec![linear],
            Qkv::Separate(linears) => linears.iter_mut().collect(),
        };
        all.extend([&mut self.out, &mut self.gate, &mut self.up, &mut self.down]);
        all
    }
}
