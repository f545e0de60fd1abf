//! A budget of memory that threads share: who needs more than is left waits.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Bytes that may be held at once; see the [module](self).
#[derive(Debug)]
pub(super) struct Budget {
    bytes: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    held: u64,
    /// The number that the next caller draws, and the one whose turn it is: callers are served in
    /// order, so that a large request is not overtaken for ever by small ones.
    next: u64,
    turn: u64,
}

/// A part of a budget, returned when it is dropped.
#[derive(Debug)]
pub(super) struct Share<'a> {
    budget: &'a Budget,
    bytes: u64,
}

impl Budget {
    /// A budget of `bytes`.
    pub(super) fn new(bytes: u64) -> Self {
        Self { bytes, state: Mutex::default(), changed: Condvar::new() }
    }

    /// Waits until `bytes` are left and takes them. More than the whole budget is given to a caller
    /// that is then the only one.
    pub(super) fn take(&self, bytes: u64) -> Share<'_> {
        let mut state = self.state();
        let own = state.next;
        state.next += 1;
        while state.turn != own || (state.held > 0 && state.held.saturating_add(bytes) > self.bytes) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.turn += 1;
        state.held = state.held.saturating_add(bytes);
        drop(state);
        self.changed.notify_all();
        Share { budget: self, bytes }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock can fail halfway.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        let mut state = self.budget.state();
        state.held = state.held.saturating_sub(self.bytes);
        drop(state);
        self.budget.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn no_more_than_the_budget_is_held_and_a_larger_share_is_held_alone() {
        let (budget, held, max) = (Budget::new(100), AtomicU64::new(0), AtomicU64::new(0));
        let shares = [60, 50, 100, 250, 10, 40, 1, 99];
        std::thread::scope(|scope| {
            for bytes in shares {
                let (budget, held, max) = (&budget, &held, &max);
                scope.spawn(move || {
                    for _ in 0..20 {
                        let share = budget.take(bytes);
                        let now = held.fetch_add(bytes, Ordering::SeqCst) + bytes;
                        assert!(now <= 100 || now == bytes, "{now} held");
                        max.fetch_max(now, Ordering::SeqCst);
                        std::thread::yield_now();
                        held.fetch_sub(bytes, Ordering::SeqCst);
                        drop(share);
                    }
                });
            }
        });
        assert_eq!((held.load(Ordering::SeqCst), max.load(Ordering::SeqCst)), (0, 250));
        assert_eq!(budget.state().held, 0);
    }
}
