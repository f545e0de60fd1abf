//! Requests made ahead of their need.

use crate::util::cancel::CancelToken;
use std::sync::atomic::{AtomicBool, Ordering};

/// What has become of a request that was made before it was known whether its rollouts are needed.
///
/// ```
/// use mmprm::policy::Speculation;
/// let guess = Speculation::default();
/// assert!(!guess.is_needed() && !guess.is_dropped());
/// guess.commit();
/// assert!(guess.is_needed());
/// ```
#[derive(Debug, Default)]
pub struct Speculation {
    needed: AtomicBool,
    dropped: CancelToken,
}

impl Speculation {
    /// The rollouts are needed: somebody waits for them.
    pub fn commit(&self) {
        self.needed.store(true, Ordering::Relaxed);
    }

    /// The rollouts are not needed: the request may end with [`PolicyError::Cancelled`](super::PolicyError::Cancelled).
    pub fn cancel(&self) {
        self.dropped.cancel();
    }

    /// Whether they are needed.
    pub fn is_needed(&self) -> bool {
        self.needed.load(Ordering::Relaxed)
    }

    /// Whether they are not.
    pub fn is_dropped(&self) -> bool {
        self.dropped.is_cancelled()
    }

    /// The token of [`is_dropped`](Self::is_dropped).
    #[cfg(feature = "engine")]
    pub(super) fn dropped(&self) -> &CancelToken {
        &self.dropped
    }
}
