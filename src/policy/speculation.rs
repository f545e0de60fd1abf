//! The state of a speculative request.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::Waker;

use crate::util::cancel::CancelToken;

/// The state of a request that was made before it is known whether its rollouts are needed. It is
/// committed or cancelled once.
///
/// ```
/// use mmprm::policy::Speculation;
/// let speculation = Speculation::default();
/// assert!(!speculation.is_committed() && !speculation.is_cancelled());
/// speculation.commit();
/// assert!(speculation.is_committed());
/// ```
#[derive(Debug, Default)]
pub struct Speculation {
    committed: AtomicBool,
    cancelled: CancelToken,
    waiter: Mutex<Option<Waker>>,
}

impl Speculation {
    /// Marks the rollouts as needed: a search waits for them.
    pub fn commit(&self) {
        self.committed.store(true, Ordering::Relaxed);
        self.wake();
    }

    /// Marks the rollouts as not needed: the request may end with
    /// [`PolicyError::Cancelled`](super::PolicyError::Cancelled).
    pub fn cancel(&self) {
        self.cancelled.cancel();
        self.wake();
    }

    /// Whether [`commit`](Self::commit) was called.
    pub fn is_committed(&self) -> bool {
        self.committed.load(Ordering::Relaxed)
    }

    /// Whether [`cancel`](Self::cancel) was called.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.is_cancelled()
    }

    /// Sets who is woken when the state changes. The waker must take the lock under which the
    /// waiter reads the state, so that a change between reading and sleeping is not missed.
    pub(crate) fn wake_on_change(&self, waiter: Waker) {
        *self.waiter.lock().unwrap_or_else(PoisonError::into_inner) = Some(waiter);
    }

    fn wake(&self) {
        let waiter = self.waiter.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(waiter) = waiter {
            waiter.wake();
        }
    }

    /// The token behind [`is_cancelled`](Self::is_cancelled).
    #[cfg(feature = "engine")]
    pub(super) fn token(&self) -> &CancelToken {
        &self.cancelled
    }
}
