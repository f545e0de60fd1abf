//! Chat templates: llama.cpp knows the common ones by their text, without running Jinja programs of files.

use std::ffi::CString;

use llama_cpp_sys_2 as sys;

use super::model::c_string;
use super::shim::{self, caught};

/// Returns a conversation of one user message in a Jinja template, up to where the assistant begins; `None` if llama.cpp does not
/// know the template.
///
/// # Errors
/// The text of a C++ exception.
pub(crate) fn apply_chat_template(template: &str, user: &str) -> Result<Option<String>, String> {
    let (template, role, content): (CString, CString, CString) = (c_string(template), c_string("user"), c_string(user));
    let message = sys::llama_chat_message { role: role.as_ptr(), content: content.as_ptr() };
    // Templates put less than this around a message.
    let mut buffer = vec![0_u8; 2 * user.len() + 4096];
    let capacity = buffer.len() as i32;
    // SAFETY: the strings outlive the call, there is one message, and the buffer has `capacity` bytes.
    let length = caught(|cause| unsafe {
        let output = buffer.as_mut_ptr().cast();
        shim::mmprm_llama_chat_apply_template(template.as_ptr(), &raw const message, 1, true, output, capacity, cause)
    })?;
    let written = usize::try_from(length).ok().filter(|length| (1..=buffer.len()).contains(length));
    Ok(written.map(|length| String::from_utf8_lossy(&buffer[..length]).into_owned()))
}
