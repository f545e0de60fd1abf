//! What an engine has done so far and where its time went, for progress lines, the processed / unique ratio and the overhead.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::sampling::mix;

/// Counters that the engine's thread writes and anyone reads.
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
    /// Distinct positions before everything was last forgotten.
    forgotten: AtomicU64,
}

/// What the engine's thread may be doing.
#[derive(Debug, Clone, Copy)]
pub(super) enum Phase {
    /// Anything: the time in which there was something to do, the other phases included.
    Busy,
    /// Inside llama.cpp, decoding.
    Decode,
    /// Drawing tokens.
    Sample,
}

/// Distinct prefixes counted in bounded memory: exactly up to [`Seen::MOST`], and from there on by the share of them whose
/// hashes end in `level` zeros (Wegman's adaptive sampling; with errors of one or two thousandths).
#[derive(Debug, Default)]
struct Seen {
    prefixes: HashSet<u64>,
    level: u32,
}

impl Seen {
    const MOST: usize = 1 << 20;

    fn insert(&mut self, prefix: u64) {
        let level = self.level;
        if prefix.trailing_zeros() >= level && self.prefixes.insert(prefix) && self.prefixes.len() > Self::MOST {
            self.level += 1;
            self.prefixes.retain(|kept| kept.trailing_zeros() > level);
        }
    }

    fn count(&self) -> u64 {
        (self.prefixes.len() as u64) << self.level
    }
}

/// A reading of an engine's counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Snapshot {
    /// Prompt positions asked for: what running every rollout or candidate from scratch would decode.
    pub requested: u64,
    /// Prompt positions decoded.
    pub processed: u64,
    /// Distinct prompt positions (same input, same prefix): the least that could have been decoded. Counted anew when the engine
    /// [forgets](super::Engine::forget).
    pub unique: u64,
    /// Tokens drawn, end tokens included.
    pub generated: u64,
    /// Rollouts finished.
    pub finished: u64,
    /// Cache cells of the context.
    pub cells: u64,
    /// Cells in use at the last step, shared ones counted once.
    pub used: u64,
    /// Compute threads of the context.
    pub threads: u64,
    /// Time in which the engine had something to do; in seconds where serialised, as the next two.
    #[serde(serialize_with = "seconds")]
    pub busy: Duration,
    /// Of that, time that llama.cpp took to decode.
    #[serde(serialize_with = "seconds")]
    pub decode: Duration,
    /// Of that, time that drawing tokens took.
    #[serde(serialize_with = "seconds")]
    pub sample: Duration,
}

fn seconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

impl Snapshot {
    /// Decoded over unique prompt positions; 1 is perfect reuse.
    pub fn processed_per_unique(&self) -> f64 {
        self.processed as f64 / self.unique.max(1) as f64
    }

    /// The share of its busy time that the engine did not spend decoding: scheduling and sampling. 0 before it did anything.
    pub fn overhead(&self) -> f64 {
        let other = self.busy.saturating_sub(self.decode);
        if self.busy.is_zero() { 0.0 } else { other.as_secs_f64() / self.busy.as_secs_f64() }
    }
}

impl Stats {
    /// Counters of a context of so many cells and threads, which adds up its decoding in `decoding`.
    pub fn new(cells: u32, threads: u32) -> Self {
        Self { cells: u64::from(cells).into(), threads: threads.into(), ..Self::default() }
    }

    /// `times` rollouts or candidates asked for a prompt of these keys.
    pub fn prompt(&self, keys: &[u64], times: usize) {
        self.requested.fetch_add((keys.len() * times) as u64, Relaxed);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut prefix = 0;
        for &key in keys {
            prefix = mix(prefix ^ key);
            seen.insert(prefix);
        }
    }

    /// What comes next has to be decoded again, whether or not it was before.
    pub fn forget(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        self.forgotten.fetch_add(std::mem::take(&mut *seen).count(), Relaxed);
    }

    /// Prompt positions were decoded, for the first time or again.
    pub fn decoded(&self, positions: usize) {
        self.processed.fetch_add(positions as u64, Relaxed);
    }

    pub fn generated(&self, tokens: usize) {
        self.generated.fetch_add(tokens as u64, Relaxed);
    }

    /// So many cells hold something now.
    pub fn in_use(&self, cells: usize) {
        self.used.store(cells as u64, Relaxed);
    }

    pub fn finished(&self) {
        self.finished.fetch_add(1, Relaxed);
    }

    /// Does `work` and counts its time as `phase`.
    pub fn timed<T>(&self, phase: Phase, work: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        let result = work();
        self.spent[phase as usize].fetch_add(started.elapsed().as_nanos() as u64, Relaxed);
        result
    }

    fn spent(&self, phase: Phase) -> Duration {
        Duration::from_nanos(self.spent[phase as usize].load(Relaxed))
    }

    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            requested: self.requested.load(Relaxed),
            processed: self.processed.load(Relaxed),
            unique: self.forgotten.load(Relaxed) + self.seen.lock().unwrap_or_else(PoisonError::into_inner).count(),
            generated: self.generated.load(Relaxed),
            finished: self.finished.load(Relaxed),
            cells: self.cells.load(Relaxed),
            used: self.used.load(Relaxed),
            threads: self.threads,
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
        let spent = |busy, decode| Snapshot {
            busy: Duration::from_secs(busy),
            decode: Duration::from_secs(decode),
            ..Snapshot::default()
        };
        assert_eq!(spent(0, 0).overhead().to_bits(), 0.0_f64.to_bits());
        assert!((spent(8, 6).overhead() - 0.25).abs() < 1e-12);
    }

    #[test]
    fn a_count_beyond_what_is_remembered_is_close() {
        let mut seen = Seen::default();
        let count = 2 * Seen::MOST as u64;
        (0..count).for_each(|value| seen.insert(mix(value)));
        assert!(seen.prefixes.len() <= Seen::MOST);
        assert!((seen.count() as f64 / count as f64 - 1.0).abs() < 0.004, "{} of {count}", seen.count());
    }
}
