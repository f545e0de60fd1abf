//! llama.cpp's log: forwarded to `tracing`, and its errors kept to explain failed calls.
//!
//! llama.cpp has one log callback per process, which it calls on the thread that logs. Errors
//! logged on a thread that is [collecting](collect) belong to that thread's call; threads of
//! llama.cpp's own share one buffer. So the failures of engines that run at the same time keep
//! their own causes.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ffi::{CStr, c_char, c_void};
use std::marker::PhantomData;
use std::sync::{Mutex, Once, PoisonError};

use llama_cpp_sys_2 as sys;

/// Maximum errors kept per buffer.
const MAX_KEPT: usize = 8;

thread_local! {
    /// Errors of the current call on this thread, the oldest first; `None` outside [`Collector`]s.
    static CALL: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Errors logged outside any [`Collector`], newest last, and the number of the next one.
static OTHERS: Mutex<(VecDeque<String>, u64)> = Mutex::new((VecDeque::new(), 0));

/// Redirects the log of ggml, llama.cpp and mtmd. Later calls have no effect.
pub(super) fn redirect() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: `receive` has the required signature and lives as long as the program; no user
        // data is passed.
        unsafe {
            sys::llama_log_set(Some(receive), std::ptr::null_mut());
            sys::ggml_log_set(Some(receive), std::ptr::null_mut());
            sys::mtmd_log_set(Some(receive), std::ptr::null_mut());
        }
    });
}

/// Collects the errors of one call into llama.cpp; made on the calling thread right before the
/// call.
pub(super) struct Collector {
    /// The number of the first error of other threads that may belong to the call.
    since: u64,
    /// Bound to its thread.
    _not_send: PhantomData<*const ()>,
}

/// Starts to collect the errors that this thread logs.
pub(super) fn collect() -> Collector {
    CALL.with_borrow_mut(|call| *call = Some(Vec::new()));
    let since = OTHERS.lock().unwrap_or_else(PoisonError::into_inner).1;
    Collector { since, _not_send: PhantomData }
}

impl Collector {
    /// Returns the first error of this thread, which is usually the most specific; else the first
    /// one logged since then by llama.cpp's own threads; else `fallback`.
    pub fn error_or(&self, fallback: &str) -> String {
        let own = CALL.with_borrow(|call| call.as_ref().and_then(|errors| errors.first().cloned()));
        own.or_else(|| {
            let others = OTHERS.lock().unwrap_or_else(PoisonError::into_inner);
            let (errors, next) = &*others;
            let oldest = next - errors.len() as u64;
            errors.get(self.since.saturating_sub(oldest) as usize).cloned()
        })
        .unwrap_or_else(|| fallback.to_owned())
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        CALL.with_borrow_mut(|call| *call = None);
    }
}

unsafe extern "C" fn receive(level: sys::ggml_log_level, text: *const c_char, _user: *mut c_void) {
    if text.is_null() {
        return;
    }
    // SAFETY: llama.cpp passes a NUL-terminated string that is valid for this call.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    let text = text.trim_end();
    if text.is_empty() {
        return;
    }
    match level {
        sys::GGML_LOG_LEVEL_ERROR => {
            tracing::debug!(target: "llama.cpp", "{text}");
            keep(strip_function_name(text));
        }
        sys::GGML_LOG_LEVEL_WARN => tracing::debug!(target: "llama.cpp", "{text}"),
        _ => tracing::trace!(target: "llama.cpp", "{text}"),
    }
}

fn keep(error: &str) {
    // A thread that is ending has no storage of its own any more.
    let is_own = CALL.try_with(|call| match &mut *call.borrow_mut() {
        Some(errors) => {
            if errors.len() < MAX_KEPT {
                errors.push(error.to_owned());
            }
            true
        }
        None => false,
    });
    if !is_own.unwrap_or(false) {
        let mut others = OTHERS.lock().unwrap_or_else(PoisonError::into_inner);
        let (errors, next) = &mut *others;
        if errors.len() == MAX_KEPT {
            errors.pop_front();
        }
        errors.push_back(error.to_owned());
        *next += 1;
    }
}

/// `llama_model_load: error loading model: X` is clearer as `error loading model: X`.
fn strip_function_name(text: &str) -> &str {
    match text.split_once(": ") {
        Some((name, rest)) if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') => rest,
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;
    use std::sync::Barrier;

    use super::*;

    fn log(text: &str) {
        let text = CString::new(text).unwrap();
        // SAFETY: the text is NUL-terminated and valid for the call.
        unsafe { receive(sys::GGML_LOG_LEVEL_ERROR, text.as_ptr(), std::ptr::null_mut()) };
    }

    #[test]
    fn calls_that_fail_at_once_keep_their_own_errors() {
        let barrier = Barrier::new(2);
        std::thread::scope(|scope| {
            for name in ["one", "two"] {
                let barrier = &barrier;
                scope.spawn(move || {
                    for _ in 0..100 {
                        let errors = collect();
                        barrier.wait();
                        log(&format!("llama_decode: {name} failed\n"));
                        log("llama_decode: no more details");
                        barrier.wait();
                        assert_eq!(errors.error_or("none"), format!("{name} failed"));
                    }
                });
            }
        });
    }

    #[test]
    fn a_call_clears_its_own_errors_and_no_others() {
        let failed = collect();
        log("decode: first");
        std::thread::spawn(|| assert_eq!(collect().error_or("none of mine"), "none of mine")).join().unwrap();
        assert_eq!(failed.error_or("none"), "first");
        drop(failed);
        let next = collect();
        assert_eq!(next.error_or("none"), "none");
        // Threads of llama.cpp's own never collect.
        std::thread::spawn(|| log("worker: out of memory")).join().unwrap();
        assert_eq!(next.error_or("none"), "out of memory");
    }
}
