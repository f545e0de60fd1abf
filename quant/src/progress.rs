//! Watching and stopping long work.
//!
//! Conversion and quantisation call a [`Watch`] now and then; what is drawn from it, and who presses the key that stops
//! the work, is the caller's business.

use std::ops::ControlFlow;

/// How far a pass over a file has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress<'a> {
    /// Bytes written so far.
    pub done: u64,
    /// Bytes to write in all.
    pub total: u64,
    /// The tensor being written.
    pub item: &'a str,
}

/// A callback that sees [`Progress`] and may stop the work by returning [`ControlFlow::Break`]; the work then returns its
/// error for a cancellation and leaves nothing behind.
///
/// ```
/// use std::ops::ControlFlow;
/// use mmprm_quant::progress::{Progress, Watch};
/// let mut last = 0;
/// let watch: &mut Watch = &mut |progress: Progress| {
///     last = progress.done;
///     ControlFlow::Continue(())
/// };
/// assert!(watch(Progress { done: 3, total: 4, item: "output.weight" }).is_continue());
/// assert_eq!(last, 3);
/// ```
pub type Watch<'a> = dyn FnMut(Progress<'_>) -> ControlFlow<()> + 'a;

/// A [`Watch`] that looks at nothing and never stops.
pub fn unwatched(_: Progress<'_>) -> ControlFlow<()> {
    ControlFlow::Continue(())
}
