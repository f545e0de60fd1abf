//! Code of other libraries that may panic on malicious input: a panic becomes an error.
//!
//! ```
//! use mmprm::util::guard::guarded;
//! assert_eq!(guarded(|| 1 + 1), Ok(2));
//! assert_eq!(guarded(|| -> u8 { panic!("offset {} is negative", -1) }), Err("offset -1 is negative".to_owned()));
//! ```

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    /// Whether this thread runs guarded code.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work`; a panic is not printed but returned as its message. What `work` has changed is as the panic left it.
///
/// # Errors
/// The message of the panic.
pub fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let others = take_hook();
        set_hook(Box::new(move |panic| {
            if !GUARDED.get() {
                others(panic);
            }
        }));
    });
    let before = GUARDED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    GUARDED.set(before);
    result.map_err(|panic| message(panic.as_ref()))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it panicked").to_owned()
}
