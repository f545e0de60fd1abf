//! The KV cache of the batched executor: free sequence ids and cached prefixes.
//!
//! Keeps llama.cpp's cells and the radix tree in step, so that the number of free cells is always
//! exact and no batch is tried that does not fit. Prefixes of finished requests stay cached within
//! two budgets, cells and sequence ids; beyond them, or when running requests need the room, the
//! least recently used are evicted. Which requests run is left to `exec`.

mod radix;

use super::ffi::Context;
use super::prompt::rotary;
use radix::{Cut, Radix};

/// Limits on cached prefixes that no request needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    /// Maximum cells.
    pub cells: usize,
    /// Maximum sequences.
    pub sequences: usize,
}

/// See the module documentation.
#[derive(Debug)]
pub(super) struct Cache {
    tree: Radix,
    unused: Vec<i32>,
    ids: i32,
    budget: Budget,
}

impl Cache {
    /// Returns the cache of an empty context with `ids` sequence ids.
    pub fn new(ids: u32, budget: Budget) -> Self {
        let ids = ids as i32;
        Self { tree: Radix::default(), unused: (0..ids).rev().collect(), ids, budget }
    }

    /// Clears the context and all prefixes.
    pub fn clear(&mut self, context: &mut Context) {
        context.clear();
        self.tree = Radix::default();
        self.unused = (0..self.ids).rev().collect();
    }

    /// Takes a free sequence id.
    pub fn sequence(&mut self) -> i32 {
        self.unused.pop().expect("Limits::sequences counts rollouts, prompts and idle prefixes")
    }

    /// Returns the length of the longest cached prefix of `keys`, and a sequence that holds it.
    pub fn longest(&mut self, keys: &[u64]) -> (usize, Option<i32>) {
        self.tree.longest(keys)
    }

    /// Records that `sequence` holds `keys`, with cells of its own from position `own` on. Where
    /// another sequence already holds the same positions, its cells are shared and the own ones
    /// freed. The keys end where an image with a grid does, or outside of one.
    pub fn hold(&mut self, context: &mut Context, sequence: i32, keys: &[u64], own: usize) {
        let (known, holder) = self.tree.longest(keys);
        if let Some(holder) = holder.filter(|&holder| known > own && holder != sequence) {
            let [own, known] = [own, known].map(|position| rotary(&keys[..position]));
            context.forget(sequence, own..known);
            context.share(holder, sequence, own..known);
        }
        self.tree.hold(sequence, keys);
    }

    /// Ends the use of `sequence` by a request; its positions stay cached.
    pub fn keep(&mut self, context: &mut Context, sequence: i32) {
        for redundant in self.tree.set_idle(sequence) {
            self.free(context, redundant);
        }
        while self.tree.idle_sequences() > self.budget.sequences {
            let Some(sequence) = self.tree.evict_sequence() else { break };
            self.free(context, sequence);
        }
        while self.tree.idle_cells() > self.budget.cells && self.evict(context) {}
    }

    /// Ends the use of `sequence` by a request and frees its positions.
    pub fn release(&mut self, context: &mut Context, sequence: i32) {
        self.tree.remove(sequence);
        self.free(context, sequence);
    }

    /// Evicts idle prefixes until at most `max_cells` cells are held, or no idle prefix is left.
    pub fn shrink(&mut self, context: &mut Context, max_cells: usize) {
        while self.tree.cells() > max_cells && self.evict(context) {}
    }

    /// Returns the cells held; a shared cell counts once.
    pub fn cells(&self) -> usize {
        self.tree.cells()
    }

    /// Returns the cells that running requests hold.
    pub fn running_cells(&self) -> usize {
        self.tree.cells() - self.tree.idle_cells()
    }

    fn evict(&mut self, context: &mut Context) -> bool {
        match self.tree.evict() {
            None => false,
            Some(Cut { sequence, keep: 0 }) => {
                self.free(context, sequence);
                true
            }
            Some(Cut { sequence, keep }) => {
                context.truncate(sequence, keep);
                true
            }
        }
    }

    fn free(&mut self, context: &mut Context, sequence: i32) {
        context.truncate(sequence, 0);
        self.unused.push(sequence);
    }
}
