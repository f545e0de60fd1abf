//! Progress reports and cancellation of long passes over files.
//!
//! Conversion, quantisation and hashing call a [`ProgressFn`] every few megabytes. Drawing a
//! progress bar and deciding to cancel are left to the caller.

use std::ops::ControlFlow;

/// How far a pass over a file has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress<'a> {
    /// Bytes processed so far.
    pub done: u64,
    /// Bytes to process.
    pub total: u64,
    /// Name of the current tensor.
    pub item: &'a str,
}

/// A callback that receives [`Progress`] and cancels the work by returning [`ControlFlow::Break`].
/// Cancelled work returns its `Cancelled` error and leaves no unfinished file.
///
/// ```
/// use std::ops::ControlFlow;
/// use mmprm_quant::progress::{Progress, ProgressFn};
/// let mut last = 0;
/// let on_progress: &mut ProgressFn = &mut |progress: Progress| {
///     last = progress.done;
///     ControlFlow::Continue(())
/// };
/// assert!(on_progress(Progress { done: 3, total: 4, item: "output.weight" }).is_continue());
/// assert_eq!(last, 3);
/// ```
pub type ProgressFn<'a> = dyn FnMut(Progress<'_>) -> ControlFlow<()> + 'a;

/// A [`ProgressFn`] that ignores its argument and never cancels.
pub fn no_progress(_: Progress<'_>) -> ControlFlow<()> {
    ControlFlow::Continue(())
}
