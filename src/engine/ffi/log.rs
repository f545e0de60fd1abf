//! What llama.cpp prints goes to `tracing`, and its last complaints are kept to explain a failed call.

use std::collections::VecDeque;
use std::ffi::{CStr, c_char, c_void};
use std::sync::{Mutex, Once, PoisonError};

use llama_cpp_sys_2 as sys;

const KEPT: usize = 8;

static COMPLAINTS: Mutex<VecDeque<String>> = Mutex::new(VecDeque::new());

/// Routes all log output of ggml, llama.cpp and mtmd here. Safe to call often.
pub(super) fn redirect() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: `receive` has the required signature and lives as long as the program; no user data is passed.
        unsafe {
            sys::llama_log_set(Some(receive), std::ptr::null_mut());
            sys::ggml_log_set(Some(receive), std::ptr::null_mut());
            sys::mtmd_log_set(Some(receive), std::ptr::null_mut());
        }
    });
}

/// Forgets earlier complaints, so that [`complaint`] speaks of the call that follows.
pub(super) fn clear() {
    COMPLAINTS.lock().unwrap_or_else(PoisonError::into_inner).clear();
}

/// What llama.cpp complained about since the last [`clear`], most telling first, or `fallback`.
pub(super) fn complaint(fallback: &str) -> String {
    let complaints = COMPLAINTS.lock().unwrap_or_else(PoisonError::into_inner);
    complaints.front().cloned().unwrap_or_else(|| fallback.to_owned())
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
            let mut complaints = COMPLAINTS.lock().unwrap_or_else(PoisonError::into_inner);
            if complaints.len() < KEPT {
                complaints.push_back(strip_function_name(text).to_owned());
            }
        }
        sys::GGML_LOG_LEVEL_WARN => tracing::debug!(target: "llama.cpp", "{text}"),
        _ => tracing::trace!(target: "llama.cpp", "{text}"),
    }
}

/// `llama_model_load: error loading model: X` says more as `error loading model: X`.
fn strip_function_name(text: &str) -> &str {
    match text.split_once(": ") {
        Some((name, rest)) if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') => rest,
        _ => text,
    }
}
