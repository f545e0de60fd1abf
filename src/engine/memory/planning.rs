//! What an engine chooses from its model and machine: cells, width, threads, and what stays cached.
//!
//! The measurements behind the numbers are in `benches/records`.

use crate::engine::cache::Budget;
use crate::engine::exec::{FIXED_BATCH, Limits};
use crate::engine::{EngineError, EngineOptions, Model};
use crate::util::machine;

/// Maximum tokens per decoded batch.
pub(in crate::engine) const BATCH: u32 = 512;
/// llama.cpp's limit on threads.
const MAX_THREADS: u32 = 512;
/// Maximum bytes of a cache whose size is chosen here.
const CACHE_BUDGET: u64 = 2 << 30;
/// File size in bytes below which a model is small. One thread is then fastest, since a layer takes
/// microseconds, as long as threads need to synchronise; and attention costs more than the weights.
const SMALL_MODEL: u64 = 64 << 20;
/// Maximum rollouts in parallel: half of llama.cpp's sequence ids.
const MAX_PARALLEL: u32 = 128;
/// Maximum requests whose prompts are in the cache at the same time.
const MAX_JOBS: usize = 16;
/// llama.cpp's limit on sequence ids.
const MAX_SEQUENCES: usize = 256;
/// Maximum bytes for the rows of logits of a batch beyond those of the sequences that run.
const LOGITS_BUDGET: usize = 64 << 20;
/// Idle positions that may always stay in the cache: one or two problems. (With 2048, the mini
/// policy took 1.4 times as long.)
const MIN_IDLE: usize = 512;

/// Chooses cells for long prompts and for `parallel` rollouts of usual length within the budget;
/// llama.cpp zeroes all of them at the start.
pub(in crate::engine) fn cells(model: &Model, parallel: u32) -> u32 {
    let wanted = 16384 + 1024 * u64::from(parallel);
    let fitting = CACHE_BUDGET / model.cache_bytes_per_token().max(1);
    (fitting.min(wanted).clamp(4096, 65536) / 256 * 256) as u32
}

/// How many rollouts run in parallel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) struct Width {
    pub rollouts: u32,
    /// See [`Limits::whole_requests`].
    pub whole_requests: bool,
}

/// Chooses the width of the batch, unless the options give one.
///
/// A GPU reads the weights once for 64 rollouts as for one. A CPU is busy with 16; more only
/// lengthen the cache that every token attends to. For a small model on a CPU, attention over all
/// cells in use dominates, so fewer rollouts, of as few prompts as possible, are fastest: 8 of one
/// request.
pub(in crate::engine) fn width(model: &Model, options: &EngineOptions) -> Result<Width, EngineError> {
    let small = !model.is_offloaded() && model.file().file_size() < SMALL_MODEL;
    match options.parallel {
        Some(rollouts) if (1..=MAX_PARALLEL).contains(&rollouts) => Ok(Width { rollouts, whole_requests: false }),
        Some(rollouts) => Err(EngineError::out_of_range("parallel", rollouts.into(), 1, MAX_PARALLEL.into())),
        None if model.is_wholly_offloaded() => Ok(Width { rollouts: 64, whole_requests: false }),
        // The fixed schedule has its own width.
        None if small && !options.deterministic => Ok(Width { rollouts: 8, whole_requests: true }),
        None => Ok(Width { rollouts: 16, whole_requests: false }),
    }
}

/// Returns whether llama.cpp's fused attention is faster. On a CPU it processes one row at a time;
/// narrow heads are faster as matrix products over the whole cache (measured: width 32 is 2–3 times
/// faster that way, width 64 slower).
pub(in crate::engine) fn fused_attention_pays(model: &Model) -> bool {
    model.head_width() >= 64 || model.is_offloaded()
}

/// Returns the requested number of threads, else one per core, or one for a file of few `bytes`.
pub(in crate::engine) fn threads(requested: Option<u32>, bytes: u64) -> Result<u32, EngineError> {
    match requested {
        Some(threads) if (1..=MAX_THREADS).contains(&threads) => Ok(threads),
        Some(threads) => Err(EngineError::out_of_range("threads", threads.into(), 1, MAX_THREADS.into())),
        None if bytes < SMALL_MODEL => Ok(1),
        None => Ok((machine::cores() as u32).min(MAX_THREADS)),
    }
}

/// Returns the limits of the batched executor for rollouts of this width in `cells`.
pub(in crate::engine) fn limits(model: &Model, width: Width, cells: usize) -> Limits {
    let rollouts = width.rollouts as usize;
    let jobs = rollouts.min(MAX_JOBS);
    Limits { rollouts, jobs, whole_requests: width.whole_requests, idle: idle(model, rollouts + jobs, cells) }
}

/// Returns what may stay in the cache for later requests, beside `running` sequences. Every token
/// attends to every cell of a unified cache, idle ones included, so on a CPU idle cells may cost at
/// most half as much as the weights.
fn idle(model: &Model, running: usize, cells: usize) -> Budget {
    let affordable = (model.parameters() / (2 * model.attention_cost().max(1))) as usize;
    let affordable = if model.is_wholly_offloaded() { cells } else { affordable.max(MIN_IDLE) };
    Budget { cells: affordable.min(cells / 2), sequences: sequence_ids(running, model.vocabulary_size()) - running }
}

/// Returns the sequence ids of a context in which `running` sequences run at once; memory limits
/// the idle ones beside them by the size of the vocabulary.
pub(super) fn sequence_ids(running: usize, vocabulary: usize) -> usize {
    (LOGITS_BUDGET / (4 * vocabulary.max(1))).max(running + 16).min(MAX_SEQUENCES)
}

/// Returns the rows of logits in a batch of a context with `sequences` sequences: one for each, and as many as memory allows up
/// to a whole batch of the fixed schedule, since log-probabilities are read at every row.
pub(in crate::engine) fn outputs(sequences: usize, vocabulary: usize) -> usize {
    (LOGITS_BUDGET / (4 * vocabulary.max(1))).min(FIXED_BATCH).max(sequences)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::model;

    #[test]
    fn sequence_ids_suffice_and_stay_within_llama_cpps_limit() {
        for rollouts in [1, 16, 128] {
            let limits = limits(&model(), Width { rollouts: rollouts as u32, whole_requests: false }, 4096);
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
    fn a_small_model_runs_few_rollouts_of_whole_requests_unless_options_say_otherwise() {
        let width = |parallel, deterministic| {
            width(&model(), &EngineOptions { parallel, deterministic, ..EngineOptions::default() }).unwrap()
        };
        assert_eq!(width(None, false), Width { rollouts: 8, whole_requests: true });
        assert_eq!(width(None, true), Width { rollouts: 16, whole_requests: false });
        assert_eq!(width(Some(40), false), Width { rollouts: 40, whole_requests: false });
    }

    #[test]
    fn threads_are_as_requested_or_one_for_a_small_file() {
        assert_eq!(threads(Some(3), 1).unwrap(), 3);
        assert_eq!(threads(None, SMALL_MODEL - 1).unwrap(), 1);
        assert!(threads(None, SMALL_MODEL).unwrap() >= 1);
        assert!(threads(Some(0), 1).is_err() && threads(Some(513), 1).is_err());
    }
}
