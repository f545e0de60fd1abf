//! Cancellation of long work: the one token that all rooms use.
//!
//! ```
//! use mmprm::util::cancel::CancelToken;
//! let run = CancelToken::new();
//! let request = run.child();
//! request.cancel();
//! assert!(request.is_cancelled() && !run.is_cancelled());
//! run.cancel();
//! assert!(run.child().is_cancelled());
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A shared flag that can be set once. Clones share the flag; workers poll it wherever they can
/// stop.
#[derive(Debug, Clone, Default)]
pub struct CancelToken(Arc<Flag>);

#[derive(Debug, Default)]
struct Flag {
    set: AtomicBool,
    parents: Vec<CancelToken>,
}

impl CancelToken {
    /// Returns a token that is not cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns a token that is cancelled when this one is, or on its own.
    #[must_use]
    pub fn child(&self) -> Self {
        Self(Arc::new(Flag { set: AtomicBool::new(false), parents: vec![self.clone()] }))
    }

    /// Returns a token that is cancelled when either of the two is.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        Self(Arc::new(Flag { set: AtomicBool::new(false), parents: vec![self.clone(), other.clone()] }))
    }

    /// Cancels this token and its children.
    pub fn cancel(&self) {
        self.0.set.store(true, Ordering::Relaxed);
    }

    /// Returns whether this token or one of its parents is cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.0.set.load(Ordering::Relaxed) || self.0.parents.iter().any(Self::is_cancelled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_of_two_cancels_what_depends_on_both() {
        let (run, request) = (CancelToken::new(), CancelToken::new());
        let both = run.or(&request);
        assert!(!both.is_cancelled());
        request.cancel();
        assert!(both.is_cancelled() && !run.is_cancelled());
    }

    #[test]
    fn clones_share_the_flag_and_children_do_not_cancel_their_parent() {
        let token = CancelToken::new();
        let (clone, child) = (token.clone(), token.child());
        child.cancel();
        assert!(!token.is_cancelled());
        clone.cancel();
        assert!(token.is_cancelled());
    }
}
