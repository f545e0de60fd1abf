//! Bytes of activations and buffers, from the sizes of the model's layers.

use super::workload::Workload;
use crate::internvl::LanguageKind;
use crate::train::recipe::{Compute, Task};

/// Sizes of the language model's layers. The counts follow the allocations of `internvl::language` and
/// `internvl::vision`; buffers of one size are reused by every layer.
pub(super) struct Layers<'a> {
    workload: &'a Workload<'a>,
    width: usize,
    /// Width of all keys, or all values.
    keys: usize,
    inner: usize,
    heads: usize,
    count: usize,
    /// Bytes of a value kept for the backward pass.
    kept_bytes: usize,
}

impl<'a> Layers<'a> {
    pub fn of(workload: &'a Workload<'a>) -> Self {
        let config = &workload.layout.config().language;
        Self {
            workload,
            width: config.hidden,
            keys: config.kv_heads * config.head,
            inner: config.feed_forward,
            heads: config.heads,
            count: config.layers,
            kept_bytes: if workload.precision == Compute::Bf16 { 2 } else { 4 },
        }
    }

    /// Bytes a block keeps for each token: in attention the residual stream, queries, keys, values, output and log-sum-exps;
    /// in the feed-forward layer the stream, gate and up; in each the norm's scale.
    fn block(&self) -> (usize, usize) {
        let attention = self.kept_bytes * (3 * self.width + 2 * self.keys) + 4 * (self.heads + 1);
        (attention, self.kept_bytes * (self.width + 2 * self.inner) + 4)
    }

    /// Activations kept for the backward pass. In the last block only rows with targets pass the feed-forward layer.
    pub fn activations(&self) -> u64 {
        let (attention, feed_forward) = self.block();
        let (tokens, rows) = (self.workload.tokens, self.workload.targets.min(self.workload.tokens));
        let last = tokens * attention + rows * feed_forward;
        let whole = tokens * (attention + feed_forward);
        let bytes = if self.workload.checkpointing {
            self.count * tokens * 4 * self.width + if self.count > 1 { whole } else { last }
        } else {
            (self.count - 1) * whole + last
        };
        bytes as u64
    }

    /// Buffers in use while a block is computed, forward or backward.
    pub fn working_layer(&self) -> u64 {
        let config = &self.workload.layout.config().language;
        let fused = if config.kind == LanguageKind::InternLm2 { self.width + 2 * self.keys } else { 0 };
        let inner = if self.count > 1 { self.workload.tokens } else { self.workload.targets } * 3 * self.inner;
        4 * (self.workload.tokens * (5 * self.width + 2 * self.keys + fused) + inner) as u64
    }

    /// The projector with its gradients on a sequence's images, and the frozen tower on one image.
    pub fn images(&self) -> u64 {
        let Some(tower) = &self.workload.layout.config().vision else { return 0 };
        if self.workload.image_tokens == 0 || self.workload.tiles == 0 {
            return 0;
        }
        // Features, normed features and their gradient; the projector's hidden values, activations and output, and their
        // gradients.
        let projector = 4 * self.workload.image_tokens * (3 * tower.features() + 5 * self.width);
        let tokens = self.workload.tiles * tower.tokens();
        let forward = 4 * (tokens * (9 * tower.hidden + 2 * tower.feed_forward) + self.workload.tiles * tower.pixels());
        let trains = (0..self.workload.layout.tensors().len())
            .any(|number| self.workload.layout.is_vision(number) && self.workload.trained.contains(number));
        if trains {
            let tokens = self.workload.image_tokens / tower.tokens_per_tile() * tower.tokens();
            let block = 4 * (8 * tower.hidden + tower.feed_forward);
            let kept = if self.workload.checkpointing {
                4 * tower.hidden * tower.layers + block
            } else {
                block * tower.layers
            };
            return (projector + tokens * (kept + 4 * (5 * tower.hidden + 3 * tower.feed_forward))) as u64;
        }
        projector.max(forward) as u64
    }

    /// Residual streams at the targets and, where the whole vocabulary is predicted, a few rows of logits.
    pub fn head(&self) -> u64 {
        const LOGIT_ROWS: usize = 128;
        let config = &self.workload.layout.config().language;
        let logits =
            if self.workload.task == Task::Prm { 0 } else { LOGIT_ROWS.min(self.workload.targets) * config.vocabulary };
        4 * (5 * self.workload.targets * self.width + logits) as u64
    }

    /// Packed blocks of a product's two operands, and the threads' own.
    pub fn workspace(&self) -> u64 {
        const LINES: usize = 3072;
        const UNITS: usize = 512;
        const THREAD: usize = 1 << 20;
        let longest = self.width.max(self.inner);
        let pair = if self.workload.precision == Compute::Bf16 { 2 } else { 1 };
        let units = UNITS.min(longest.max(self.workload.tokens).div_ceil(pair));
        let side = |lines: usize| 4 * units * lines.min(LINES);
        (side(longest) + side(longest.max(self.workload.tokens)) + self.workload.threads * THREAD) as u64
    }
}
