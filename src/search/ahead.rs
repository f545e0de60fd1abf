//! Probes asked for before it is known which of them will be needed.
//!
//! While a bisection waits for one probe, the next one can only be one of two. Asked for ahead, under the number that it
//! would have, it brings the rollouts that it would bring: the tree does not depend on it. The probe that turns out not to be
//! needed is dropped, its rollouts with it: kept, they would show in the tree that the search had guessed.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::thread::{Scope, ScopedJoinHandle};

use crate::policy::{PolicyError, Speculation, Traced};

type Caught = Result<Result<Vec<Traced>, PolicyError>, Box<dyn Any + Send>>;

/// A probe under way that nobody waits for yet. Dropping it cancels it.
pub(super) struct Ahead<'scope> {
    /// The last step of the rollout that its state has: its name within a bisection.
    pub(super) middle: usize,
    guess: Arc<Speculation>,
    thread: Option<ScopedJoinHandle<'scope, Caught>>,
}

impl<'scope> Ahead<'scope> {
    /// Starts `draw` on a thread of its own.
    pub(super) fn start(
        scope: &'scope Scope<'scope, '_>,
        middle: usize,
        draw: impl FnOnce(&Speculation) -> Result<Vec<Traced>, PolicyError> + Send + 'scope,
    ) -> Self {
        let guess = Arc::<Speculation>::default();
        let shared = Arc::clone(&guess);
        // A panic in a probe that is not needed must not reach the search.
        let thread = scope.spawn(move || catch_unwind(AssertUnwindSafe(|| draw(&shared))));
        Self { middle, guess, thread: Some(thread) }
    }

    /// Waits for the rollouts.
    pub(super) fn commit(mut self) -> Result<Vec<Traced>, PolicyError> {
        self.guess.commit();
        let thread = self.thread.take().expect("it is taken here only, and self ends here");
        match thread.join().unwrap_or_else(Err) {
            Ok(drawn) => drawn,
            Err(panic) => resume_unwind(panic),
        }
    }
}

impl Drop for Ahead<'_> {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.guess.cancel();
        }
    }
}
