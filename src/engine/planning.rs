//! What an engine decides for itself from its model and machine: cells, width, threads, what to keep.
//!
//! Measurements behind the numbers are in `benches/records`.

use super::batching::Limits;
use super::cache::Budget;
use super::{EngineError, Model};

/// llama.cpp's own limit on threads.
const MOST_THREADS: u32 = 512;
/// Memory that a cache of unstated size may take, in bytes.
const CACHE_BUDGET: u64 = 2 << 30;
/// Weights below which one thread is fastest: a layer then takes microseconds, as long as threads need to meet.
const SMALL_MODEL: u64 = 64 << 20;
/// Requests whose prompts are in the cache at the same time.
const MOST_JOBS: usize = 16;
/// llama.cpp's own limit on sequence ids.
const MOST_SEQUENCES: usize = 256;
/// Memory that room for the logits of all sequences may take, in bytes: llama.cpp sets it aside for as many as there are ids.
const LOGITS_BUDGET: usize = 64 << 20;
/// Positions that may always stay in the cache: a problem or two. (2048 took 1.4 times as long with the mini policy.)
const LEAST_IDLE: usize = 512;

/// Cells for long prompts and for `parallel` rollouts of usual length, as far as they fit the budget: llama.cpp fills all
/// of them with zeros at the start.
pub(super) fn cells(model: &Model, parallel: u32) -> u32 {
    let wanted = 16384 + 1024 * u64::from(parallel);
    let fitting = CACHE_BUDGET / model.cache_bytes_per_token().max(1);
    (fitting.min(wanted).clamp(4096, 65536) / 256 * 256) as u32
}

/// Rollouts side by side. A processor is busy with 16: more only lengthen the cache that every token looks over. A graphics
/// device waits for the weights as long for 64 rollouts as for one.
pub(super) fn parallel(model: &Model) -> u32 {
    if model.is_wholly_offloaded() { 64 } else { 16 }
}

/// On a CPU, llama.cpp's fused attention takes one row at a time; narrow heads are faster as matrix products over the whole
/// cache (measured: 32 wide 2–3 times; 64 wide the other way round).
pub(super) fn fused_attention_pays(model: &Model) -> bool {
    model.head_width() >= 64 || model.is_offloaded()
}

/// As many threads as were asked for, or one a core, or one for a file of few `bytes`.
pub(super) fn threads(asked: Option<u32>, bytes: u64) -> Result<u32, EngineError> {
    match asked {
        Some(asked) if (1..=MOST_THREADS).contains(&asked) => Ok(asked),
        Some(asked) => Err(EngineError::Limit(format!("--threads {asked}: expected 1 to {MOST_THREADS}"))),
        None if bytes < SMALL_MODEL => Ok(1),
        None => Ok(std::thread::available_parallelism().map_or(1, |count| count.get() as u32).min(MOST_THREADS)),
    }
}

/// Limits for `rollouts` side by side in `cells`.
pub(super) fn limits(model: &Model, rollouts: usize, cells: usize) -> Limits {
    let jobs = rollouts.min(MOST_JOBS);
    Limits { rollouts, jobs, idle: idle(model, rollouts + jobs, cells) }
}

/// What may stay in the cache for requests to come, beside `running` sequences. In a unified cache every token looks over
/// every cell, idle ones included, so on a processor idle cells may cost half as much as the weights at most.
fn idle(model: &Model, running: usize, cells: usize) -> Budget {
    let affordable = (model.parameters() / (2 * model.attention_cost().max(1))) as usize;
    let affordable = if model.is_wholly_offloaded() { cells } else { affordable.max(LEAST_IDLE) };
    Budget { cells: affordable.min(cells / 2), sequences: sequence_ids(running, model.vocabulary_size()) - running }
}

/// Sequence ids of a context in which `running` run at once: those that rest beside them cost memory by the size of the
/// vocabulary.
pub fn sequence_ids(running: usize, vocabulary: usize) -> usize {
    (LOGITS_BUDGET / (4 * vocabulary.max(1))).max(running + 16).min(MOST_SEQUENCES)
}

#[cfg(test)]
mod tests {
    use super::super::testing::model;
    use super::*;

    #[test]
    fn sequence_ids_are_enough_and_no_more_than_llama_cpp_has() {
        for rollouts in [1, 16, 128] {
            let limits = limits(&model(), rollouts, 4096);
            assert_eq!((limits.rollouts, limits.jobs), (rollouts, rollouts.min(16)));
            assert!(limits.idle.sequences >= 16 && limits.sequences() <= 256, "{limits:?}");
            assert!(limits.idle.cells <= 2048);
        }
    }

    #[test]
    fn cells_grow_with_the_width() {
        assert_eq!(cells(&model(), 1) % 256, 0);
        assert!(cells(&model(), 1) < cells(&model(), 16) && cells(&model(), 128) <= 65536);
    }

    #[test]
    fn threads_are_as_asked_or_one_for_a_small_file() {
        assert_eq!(threads(Some(3), 1).unwrap(), 3);
        assert_eq!(threads(None, SMALL_MODEL - 1).unwrap(), 1);
        assert!(threads(None, SMALL_MODEL).unwrap() >= 1);
        assert!(threads(Some(0), 1).is_err() && threads(Some(513), 1).is_err());
    }
}
