//! Requests made ahead of their need.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What has become of a request that was made before it was known whether its rollouts are needed.
///
/// ```
/// use mmprm::policy::Guess;
/// let guess = Guess::default();
/// assert!(!guess.is_needed() && !guess.is_dropped());
/// guess.need();
/// assert!(guess.is_needed());
/// ```
#[derive(Debug, Default)]
pub struct Guess {
    needed: AtomicBool,
    dropped: Arc<AtomicBool>,
}

impl Guess {
    /// The rollouts are needed: somebody waits for them.
    pub fn need(&self) {
        self.needed.store(true, Ordering::Relaxed);
    }

    /// The rollouts are not needed: the request may end with [`PolicyError::Cancelled`](super::PolicyError::Cancelled).
    pub fn drop_it(&self) {
        self.dropped.store(true, Ordering::Relaxed);
    }

    /// Whether they are needed.
    pub fn is_needed(&self) -> bool {
        self.needed.load(Ordering::Relaxed)
    }

    /// Whether they are not.
    pub fn is_dropped(&self) -> bool {
        self.dropped.load(Ordering::Relaxed)
    }

    /// The flag of [`is_dropped`](Self::is_dropped).
    pub(super) fn dropped(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.dropped)
    }
}
