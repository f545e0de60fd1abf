use super::{Aim, Compute, Demand};
use crate::internvl::LanguageKind;

/// Bytes of activations, by the sizes of what a layer makes of a token. What is counted here is what
/// `internvl::language` and `internvl::vision` take; buffers of one size are used again by every layer.
pub(super) struct Layers<'a> {
    demand: &'a Demand<'a>,
    width: usize,
    /// Keys, or values.
    keys: usize,
    inner: usize,
    heads: usize,
    count: usize,
    /// Bytes of a value that waits for the backward.
    half: usize,
}

impl<'a> Layers<'a> {
    pub fn of(demand: &'a Demand<'a>) -> Self {
        let config = &demand.layout.config().language;
        Self {
            demand,
            width: config.hidden,
            keys: config.kv_heads * config.head(),
            inner: config.feed_forward,
            heads: config.heads,
            count: config.layers,
            half: if demand.precision == Compute::Bf16 { 2 } else { 4 },
        }
    }

    /// What a block keeps of a token: the stream, queries, keys, values, the attention's output and its log-sum-exps; and of
    /// one that goes through the feed-forward layer, the stream, gate and up; with the norms' scales.
    fn block(&self) -> (usize, usize) {
        let attention = self.half * (3 * self.width + 2 * self.keys) + 4 * (self.heads + 1);
        (attention, self.half * (self.width + 2 * self.inner) + 4)
    }

    /// What waits for the backward. Of the last block only the rows with targets go through the feed-forward layer.
    pub fn kept(&self) -> u64 {
        let (attention, feed_forward) = self.block();
        let (tokens, rows) = (self.demand.tokens, self.demand.targets.min(self.demand.tokens));
        let last = tokens * attention + rows * feed_forward;
        let whole = tokens * (attention + feed_forward);
        let bytes = if self.demand.checkpointing {
            self.count * tokens * 4 * self.width + if self.count > 1 { whole } else { last }
        } else {
            (self.count - 1) * whole + last
        };
        bytes as u64
    }

    /// Buffers that are there at once while a block is computed, forward or backward.
    pub fn at_work(&self) -> u64 {
        let config = &self.demand.layout.config().language;
        let fused = if config.kind == LanguageKind::InternLm2 { self.width + 2 * self.keys } else { 0 };
        let inner = if self.count > 1 { self.demand.tokens } else { self.demand.targets } * 3 * self.inner;
        4 * (self.demand.tokens * (5 * self.width + 2 * self.keys + fused) + inner) as u64
    }

    /// The projector with its gradients on a sequence's images, and the frozen tower on one image.
    pub fn images(&self) -> u64 {
        let config = self.demand.layout.config();
        if self.demand.image_tokens == 0 || self.demand.tiles == 0 {
            return 0;
        }
        // The sequence's features, normed ones and their gradient; the projector's inner values, active, out, and theirs.
        let projector = 4 * self.demand.image_tokens * (3 * config.features() + 5 * self.width);
        let tower = &config.vision;
        let tokens = self.demand.tiles * tower.tokens();
        let forward = 4 * (tokens * (9 * tower.hidden + 2 * tower.feed_forward) + self.demand.tiles * tower.pixels());
        let trains = (0..self.demand.layout.tensors().len())
            .any(|number| self.demand.layout.is_vision(number) && self.demand.trained.contains(number));
        if trains {
            let tokens = self.demand.image_tokens / config.tokens_per_tile() * tower.tokens();
            let block = 4 * (8 * tower.hidden + tower.feed_forward);
            let kept =
                if self.demand.checkpointing { 4 * tower.hidden * tower.layers + block } else { block * tower.layers };
            return (projector + tokens * (kept + 4 * (5 * tower.hidden + 3 * tower.feed_forward))) as u64;
        }
        projector.max(forward) as u64
    }

    /// Streams at the targets, and where whole vocabularies are predicted a few rows of logits.
    pub fn head(&self) -> u64 {
        const LOGITS: usize = 128;
        let config = &self.demand.layout.config().language;
        let logits =
            if self.demand.task == Aim::Policy { LOGITS.min(self.demand.targets) * config.vocabulary } else { 0 };
        4 * (5 * self.demand.targets * self.width + logits) as u64
    }

    /// Packed blocks of a product's two operands, and what threads keep for theirs.
    pub fn workspace(&self) -> u64 {
        const LINES: usize = 3072;
        const UNITS: usize = 512;
        const THREAD: usize = 1 << 20;
        let longest = self.width.max(self.inner);
        let pair = if self.demand.precision == Compute::Bf16 { 2 } else { 1 };
        let units = UNITS.min(longest.max(self.demand.tokens).div_ceil(pair));
        let side = |lines: usize| 4 * units * lines.min(LINES);
        (side(longest) + side(longest.max(self.demand.tokens)) + self.demand.threads * THREAD) as u64
    }
}
