//! How to annotate.

use std::num::NonZeroUsize;

use serde_json::Value;

use crate::search::SearchParams;

/// How to annotate a data set.
#[derive(Debug, Clone, PartialEq)]
pub struct AnnotateOptions {
    /// Parameters of every search.
    pub params: SearchParams,
    /// Number of problems searched in parallel; each has a thread that mostly waits for the policy.
    pub parallel: NonZeroUsize,
    /// Whether to retry problems that failed in an earlier run.
    pub retry_failed: bool,
    /// Number of rollouts that the policy samples in parallel:
    /// [speculative](SearchParams::speculative) probes use only what needed requests leave free of
    /// it.
    pub slots: usize,
    /// What else the trees depend on (policy, sampling, judge): an object that is stored in the
    /// directory and compared by later runs.
    pub settings: Value,
    /// Whether the directory may contain trees of other settings.
    pub mixed: bool,
}

impl Default for AnnotateOptions {
    fn default() -> Self {
        Self {
            params: SearchParams::default(),
            parallel: NonZeroUsize::MIN,
            retry_failed: false,
            slots: usize::MAX,
            settings: Value::Null,
            mixed: false,
        }
    }
}
