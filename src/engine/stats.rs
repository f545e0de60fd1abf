//! What an engine has done so far, for progress lines and the processed / unique ratio.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use super::sampling::mix;

/// Counters that the engine's thread writes and anyone reads.
#[derive(Debug, Default)]
pub(super) struct Stats {
    requested: AtomicU64,
    processed: AtomicU64,
    unique: AtomicU64,
    generated: AtomicU64,
    finished: AtomicU64,
    cells: AtomicU64,
    seen: Mutex<HashSet<u64>>,
}

/// A reading of an engine's counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Snapshot {
    /// Prompt positions asked for: what running every rollout or candidate from scratch would decode.
    pub requested: u64,
    /// Prompt positions decoded.
    pub processed: u64,
    /// Distinct prompt positions (same input, same prefix): the least that could have been decoded.
    pub unique: u64,
    /// Tokens generated.
    pub generated: u64,
    /// Rollouts finished.
    pub finished: u64,
    /// Cache cells of the context.
    pub cells: u64,
}

impl Snapshot {
    /// Decoded over unique prompt positions; 1 is perfect reuse.
    pub fn processed_per_unique(&self) -> f64 {
        self.processed as f64 / self.unique.max(1) as f64
    }
}

impl Stats {
    pub fn new(cells: u32) -> Self {
        Self { cells: u64::from(cells).into(), ..Self::default() }
    }

    /// A prompt of these keys was asked for, `decoded` positions of which had to be decoded.
    pub fn prompt(&self, keys: &[u64], decoded: usize) {
        self.requested.fetch_add(keys.len() as u64, Relaxed);
        self.processed.fetch_add(decoded as u64, Relaxed);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut prefix = 0;
        let fresh = keys
            .iter()
            .filter(|&&key| {
                prefix = mix(prefix ^ key);
                seen.insert(prefix)
            })
            .count();
        self.unique.fetch_add(fresh as u64, Relaxed);
    }

    /// The same prompt was asked for `more` times more, at no cost.
    pub fn shared(&self, length: usize, more: usize) {
        self.requested.fetch_add((length * more) as u64, Relaxed);
    }

    /// Positions decoded a second time because the cache had to drop them.
    pub fn repeated(&self, positions: usize) {
        self.processed.fetch_add(positions as u64, Relaxed);
    }

    pub fn generated(&self, tokens: usize) {
        self.generated.fetch_add(tokens as u64, Relaxed);
    }

    pub fn finished(&self) {
        self.finished.fetch_add(1, Relaxed);
    }

    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            requested: self.requested.load(Relaxed),
            processed: self.processed.load(Relaxed),
            unique: self.unique.load(Relaxed),
            generated: self.generated.load(Relaxed),
            finished: self.finished.load(Relaxed),
            cells: self.cells.load(Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unique_counts_positions_by_their_whole_prefix() {
        let stats = Stats::new(10);
        stats.prompt(&[1, 2, 3], 3);
        stats.prompt(&[1, 2, 4], 1);
        stats.prompt(&[2, 3], 2);
        let snapshot = stats.snapshot();
        assert_eq!((snapshot.requested, snapshot.processed, snapshot.unique), (8, 6, 6));
    }
}
