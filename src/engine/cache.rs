//! The KV cache as the continuous-batching executor sees it: sequence ids to run in, and prefixes that stay.
//!
//! Keeps llama.cpp's cells and the [`Radix`] tree in step, so that the number of free cells is always known exactly and no
//! batch is tried that would not fit. Prefixes of finished requests stay within two budgets, cells and sequence ids; beyond
//! them, or when running requests need the room, the least recently used go.

use super::ffi::Context;
use super::radix::{Cut, Radix};

/// What may stay when nothing needs it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    /// Cells that nothing running holds.
    pub cells: usize,
    /// Sequences that are not running.
    pub sequences: usize,
}

/// See the module's description.
#[derive(Debug)]
pub(super) struct Cache {
    tree: Radix,
    free: Vec<i32>,
    ids: i32,
    budget: Budget,
}

impl Cache {
    /// A cache over an empty context with `ids` sequence ids.
    pub fn new(ids: u32, budget: Budget) -> Self {
        let ids = ids as i32;
        Self { tree: Radix::default(), free: (0..ids).rev().collect(), ids, budget }
    }

    /// Forgets everything.
    pub fn clear(&mut self, context: &mut Context) {
        context.clear();
        self.tree = Radix::default();
        self.free = (0..self.ids).rev().collect();
    }

    /// An id that nothing uses.
    pub fn sequence(&mut self) -> i32 {
        self.free.pop().expect("there are as many ids as rollouts, prompts and resting prefixes may use")
    }

    /// Length of the longest start of `keys` that is here, and a sequence that holds it.
    pub fn longest(&mut self, keys: &[u64]) -> (usize, Option<i32>) {
        self.tree.longest(keys)
    }

    /// `sequence` holds `keys` now, the positions from `own` on in cells of its own. Where another sequence came to the same
    /// positions first, its cells are shared and the own ones given up.
    pub fn hold(&mut self, context: &mut Context, sequence: i32, keys: &[u64], own: usize) {
        let (known, holder) = self.tree.longest(keys);
        if let Some(holder) = holder.filter(|&holder| known > own && holder != sequence) {
            context.forget(sequence, own..known);
            context.share(holder, sequence, own..known);
        }
        self.tree.hold(sequence, keys);
    }

    /// A request is done with `sequence`; what it holds stays for others.
    pub fn rest(&mut self, context: &mut Context, sequence: i32) {
        for superfluous in self.tree.rest(sequence) {
            self.give_back(context, superfluous);
        }
        while self.tree.resting_sequences() > self.budget.sequences {
            let Some(sequence) = self.tree.evict_sequence() else { break };
            self.give_back(context, sequence);
        }
        while self.tree.idle_cells() > self.budget.cells && self.evict(context) {}
    }

    /// A request is done with `sequence`, and nothing it holds is worth keeping.
    pub fn release(&mut self, context: &mut Context, sequence: i32) {
        self.tree.remove(sequence);
        self.give_back(context, sequence);
    }

    /// Gives up resting prefixes until at most `most` cells are held.
    pub fn shrink(&mut self, context: &mut Context, most: usize) {
        while self.tree.cells() > most && self.evict(context) {}
    }

    /// Cells held, shared ones counted once.
    pub fn cells(&self) -> usize {
        self.tree.cells()
    }

    /// Cells that running requests hold.
    pub fn running_cells(&self) -> usize {
        self.tree.cells() - self.tree.idle_cells()
    }

    fn evict(&mut self, context: &mut Context) -> bool {
        match self.tree.evict() {
            None => false,
            Some(Cut { sequence, keep: 0 }) => {
                self.give_back(context, sequence);
                true
            }
            Some(Cut { sequence, keep }) => {
                context.truncate(sequence, keep);
                true
            }
        }
    }

    fn give_back(&mut self, context: &mut Context, sequence: i32) {
        context.truncate(sequence, 0);
        self.free.push(sequence);
    }
}
