//! Speculative probes: rollouts requested before it is known whether the bisection needs them.
//!
//! While a bisection waits for one probe, the next one can only be one of two. Requested early,
//! under the node number that it would have, it returns the rollouts that it would return, so that
//! the tree does not depend on speculation. A probe that turns out not to be needed is cancelled
//! and its rollouts are discarded: keeping them would change the tree.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::thread::{Scope, ScopedJoinHandle};

use crate::policy::{PolicyError, SampledRollout, Speculation};

type Sampled = Result<Vec<SampledRollout>, PolicyError>;

/// A speculative probe in flight. Dropping it cancels it.
pub(super) struct SpeculativeProbe<'scope> {
    /// The last step of the prefix that it probes, which identifies it within a bisection.
    pub(super) middle: usize,
    speculation: Arc<Speculation>,
    thread: Option<ScopedJoinHandle<'scope, Result<Sampled, Box<dyn Any + Send>>>>,
}

impl<'scope> SpeculativeProbe<'scope> {
    /// Runs `sample` on a new thread.
    pub(super) fn start(
        scope: &'scope Scope<'scope, '_>,
        middle: usize,
        sample: impl FnOnce(&Speculation) -> Sampled + Send + 'scope,
    ) -> Self {
        let speculation = Arc::<Speculation>::default();
        let shared = Arc::clone(&speculation);
        // A panic in a probe that is not needed must not reach the search.
        let thread = scope.spawn(move || catch_unwind(AssertUnwindSafe(|| sample(&shared))));
        Self { middle, speculation, thread: Some(thread) }
    }

    /// Commits the probe and waits for its rollouts.
    pub(super) fn commit(mut self) -> Sampled {
        self.speculation.commit();
        let thread = self.thread.take().expect("only this method takes it, and it consumes the probe");
        match thread.join().unwrap_or_else(Err) {
            Ok(sampled) => sampled,
            Err(panic) => resume_unwind(panic),
        }
    }
}

impl Drop for SpeculativeProbe<'_> {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.speculation.cancel();
        }
    }
}
