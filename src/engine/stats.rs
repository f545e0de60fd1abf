//! Counters of an engine's work and time, for progress lines, the processed/unique ratio and the
//! overhead.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::util::random::mix;

/// Counters that the engine's thread writes and any thread reads.
#[derive(Debug, Default)]
pub(super) struct Stats {
    requested: AtomicU64,
    processed: AtomicU64,
    generated: AtomicU64,
    finished: AtomicU64,
    cells: AtomicU64,
    threads: u64,
    used: AtomicU64,
    /// Nanoseconds, by [`Phase`].
    spent: [AtomicU64; 3],
    seen: Mutex<Seen>,
    /// Distinct positions counted before the cache was last cleared.
    forgotten: AtomicU64,
    beyond_trained: AtomicU64,
}

/// What the engine's thread spends time on.
#[derive(Debug, Clone, Copy)]
pub(super) enum Phase {
    /// All work, including the other phases.
    Busy,
    /// Inside llama.cpp, decoding.
    Decode,
    /// Sampling tokens.
    Sample,
}

/// Counts distinct prefixes in bounded memory: exactly up to [`Seen::MAX`], beyond that from the
/// fraction whose hashes end in `level` zeros (Wegman's adaptive sampling, within about 0.2 %).
#[derive(Debug, Default)]
struct Seen {
    prefixes: HashSet<u64>,
    level: u32,
}

impl Seen {
    const MAX: usize = 1 << 20;

    fn insert(&mut self, prefix: u64) {
        let level = self.level;
        if prefix.trailing_zeros() >= level && self.prefixes.insert(prefix) && self.prefixes.len() > Self::MAX {
            self.level += 1;
            self.prefixes.retain(|kept| kept.trailing_zeros() > level);
        }
    }

    fn count(&self) -> u64 {
        (self.prefixes.len() as u64) << self.level
    }
}

/// A snapshot of an engine's counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct EngineStats {
    /// Prompt positions requested: what decoding every rollout or candidate from scratch would
    /// take.
    pub requested: u64,
    /// Prompt positions decoded.
    pub processed: u64,
    /// Distinct prompt positions (same input, same prefix): the minimum that had to be decoded.
    /// Positions requested again after [`Engine::forget`](super::Engine::forget) count again.
    pub unique: u64,
    /// Tokens drawn, end tokens included.
    pub generated: u64,
    /// Rollouts finished.
    pub finished: u64,
    /// Cache cells of the context.
    pub cells: u64,
    /// Cells in use at the last step; a shared cell counts once.
    pub used: u64,
    /// Compute threads of the context.
    pub threads: u64,
    /// Prompts longer than the context that the model was trained with; their results may be poor.
    pub beyond_trained: u64,
    /// Time in which the engine had work; serialised in seconds, like `decode` and `sample`.
    #[serde(serialize_with = "seconds")]
    pub busy: Duration,
    /// The part of `busy` that llama.cpp spent decoding.
    #[serde(serialize_with = "seconds")]
    pub decode: Duration,
    /// The part of `busy` spent sampling.
    #[serde(serialize_with = "seconds")]
    pub sample: Duration,
}

fn seconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

impl EngineStats {
    /// Returns decoded over distinct prompt positions; 1 is perfect reuse.
    pub fn processed_per_unique(&self) -> f64 {
        self.processed as f64 / self.unique.max(1) as f64
    }

    /// Returns the fraction of busy time spent outside llama.cpp, on scheduling and sampling; 0
    /// before the first request.
    pub fn overhead(&self) -> f64 {
        let other = self.busy.saturating_sub(self.decode);
        if self.busy.is_zero() { 0.0 } else { other.as_secs_f64() / self.busy.as_secs_f64() }
    }
}

impl Stats {
    /// Counters of a context with these numbers of cells and threads.
    pub fn new(cells: u32, threads: u32) -> Self {
        Self { cells: u64::from(cells).into(), threads: threads.into(), ..Self::default() }
    }

    /// Counts a prompt with these keys, requested for `times` rollouts or candidates.
    pub fn prompt(&self, keys: &[u64], times: usize) {
        self.requested.fetch_add((keys.len() * times) as u64, Relaxed);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut prefix = 0;
        for &key in keys {
            prefix = mix(prefix ^ key);
            seen.insert(prefix);
        }
    }

    /// Counts positions from now on as distinct from those before: the cache was cleared.
    pub fn forget(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        self.forgotten.fetch_add(std::mem::take(&mut *seen).count(), Relaxed);
    }

    /// Counts prompt positions decoded, for the first time or again.
    pub fn decoded(&self, positions: usize) {
        self.processed.fetch_add(positions as u64, Relaxed);
    }

    pub fn generated(&self, tokens: usize) {
        self.generated.fetch_add(tokens as u64, Relaxed);
    }

    /// Sets the number of cells in use.
    pub fn in_use(&self, cells: usize) {
        self.used.store(cells as u64, Relaxed);
    }

    /// Counts a prompt longer than the trained context.
    pub fn beyond_trained(&self) {
        self.beyond_trained.fetch_add(1, Relaxed);
    }

    pub fn finished(&self) {
        self.finished.fetch_add(1, Relaxed);
    }

    /// Runs `work` and adds its time to `phase`.
    pub fn timed<T>(&self, phase: Phase, work: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        let result = work();
        self.spent[phase as usize].fetch_add(started.elapsed().as_nanos() as u64, Relaxed);
        result
    }

    fn spent(&self, phase: Phase) -> Duration {
        Duration::from_nanos(self.spent[phase as usize].load(Relaxed))
    }

    pub fn snapshot(&self) -> EngineStats {
        EngineStats {
            requested: self.requested.load(Relaxed),
            processed: self.processed.load(Relaxed),
            unique: self.forgotten.load(Relaxed) + self.seen.lock().unwrap_or_else(PoisonError::into_inner).count(),
            generated: self.generated.load(Relaxed),
            finished: self.finished.load(Relaxed),
            cells: self.cells.load(Relaxed),
            used: self.used.load(Relaxed),
            threads: self.threads,
            beyond_trained: self.beyond_trained.load(Relaxed),
            busy: self.spent(Phase::Busy),
            decode: self.spent(Phase::Decode),
            sample: self.spent(Phase::Sample),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unique_counts_positions_by_their_whole_prefix() {
        let stats = Stats::new(10, 1);
        stats.prompt(&[1, 2, 3], 1);
        stats.prompt(&[1, 2, 4], 2);
        stats.prompt(&[2, 3], 1);
        stats.decoded(6);
        let snapshot = stats.snapshot();
        assert_eq!((snapshot.requested, snapshot.processed, snapshot.unique), (11, 6, 6));
        stats.forget();
        stats.prompt(&[1, 2], 1);
        assert_eq!(stats.snapshot().unique, 8);
    }

    #[test]
    fn overhead_is_what_decoding_leaves_of_busy_time() {
        let spent = |busy, decode| EngineStats {
            busy: Duration::from_secs(busy),
            decode: Duration::from_secs(decode),
            ..EngineStats::default()
        };
        assert_eq!(spent(0, 0).overhead().to_bits(), 0.0_f64.to_bits());
        assert!((spent(8, 6).overhead() - 0.25).abs() < 1e-12);
    }

    #[test]
    fn a_count_beyond_the_exact_maximum_is_close() {
        let mut seen = Seen::default();
        let count = 2 * Seen::MAX as u64;
        (0..count).for_each(|value| seen.insert(mix(value)));
        assert!(seen.prefixes.len() <= Seen::MAX);
        assert!((seen.count() as f64 / count as f64 - 1.0).abs() < 0.004, "{} of {count}", seen.count());
    }
}
