//! Running requests on a context.
//!
//! | module | does |
//! |---|---|
//! | `scheduler` | the engine's thread: takes requests and gives them to one of the executors |
//! | `batched` | many requests at once, one batch per step; `admission` decides which of them run |
//! | `serial` | one prompt at a time on the fixed schedule of `schedule`; results depend on nothing else |
//! | `trie` | all prompts of a probe at once, as a trie |
//! | `job` | the state of a request in `batched` |
//! | `governor` | the number of compute threads while other programs use the cores |
//!
//! Prefixes in the KV cache are left to `cache`, sampling to `sampling`.

mod admission;
mod batched;
mod governor;
mod job;
mod schedule;
mod scheduler;
mod serial;
mod trie;

pub(super) use batched::Limits;
pub(super) use governor::{ThreadGovernor, processor_time};
pub(super) use schedule::FIXED_BATCH;
pub(super) use scheduler::{Command, ExecutionMode, run};
pub(super) use serial::WIDTH;
