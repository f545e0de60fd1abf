//! Calls into C++ that can throw, through `shim.cpp`, which catches exceptions.
//!
//! What is called without it (getters, destructors, changes of the cache's bookkeeping) throws at
//! most when memory for a few bytes is missing.

use std::ffi::{CStr, c_char};

use llama_cpp_sys_2 as sys;

/// Bytes for the text of an exception; equal to that of `shim.cpp`.
const CAUSE_SIZE: usize = 512;

/// Receives the text of an exception.
pub(super) type Cause = *mut c_char;

/// Makes a call that gets a buffer for the text of an exception.
///
/// # Errors
/// The text of the exception that the call threw.
pub(super) fn caught<T>(call: impl FnOnce(Cause) -> T) -> Result<T, String> {
    let mut buffer = [0_u8; CAUSE_SIZE];
    let result = call(buffer.as_mut_ptr().cast());
    match CStr::from_bytes_until_nul(&buffer) {
        Ok(text) if text.is_empty() => Ok(result),
        Ok(text) => Err(text.to_string_lossy().into_owned()),
        Err(_) => Err("an exception".to_owned()),
    }
}

// Each has the safety contract of the function in `llama_cpp_sys_2` that its name ends in; `cause` is
// the buffer that `caught` passes.
unsafe extern "C" {
    pub(super) fn mmprm_llama_model_load_from_file(
        path: *const c_char,
        params: sys::llama_model_params,
        cause: Cause,
    ) -> *mut sys::llama_model;
    pub(super) fn mmprm_llama_init_from_model(
        model: *mut sys::llama_model,
        params: sys::llama_context_params,
        cause: Cause,
    ) -> *mut sys::llama_context;
    pub(super) fn mmprm_llama_adapter_lora_init(
        model: *mut sys::llama_model,
        path: *const c_char,
        cause: Cause,
    ) -> *mut sys::llama_adapter_lora;
    pub(super) fn mmprm_llama_set_adapters_lora(
        context: *mut sys::llama_context,
        adapters: *mut *mut sys::llama_adapter_lora,
        count: usize,
        scales: *mut f32,
        cause: Cause,
    ) -> i32;
    pub(super) fn mmprm_llama_tokenize(
        vocab: *const sys::llama_vocab,
        text: *const c_char,
        length: i32,
        tokens: *mut sys::llama_token,
        capacity: i32,
        add_special: bool,
        parse_special: bool,
        cause: Cause,
    ) -> i32;
    pub(super) fn mmprm_llama_chat_apply_template(
        template: *const c_char,
        chat: *const sys::llama_chat_message,
        count: usize,
        add_assistant: bool,
        buffer: *mut c_char,
        length: i32,
        cause: Cause,
    ) -> i32;
    pub(super) fn mmprm_llama_decode(context: *mut sys::llama_context, batch: sys::llama_batch, cause: Cause) -> i32;
    pub(super) fn mmprm_llama_synchronize(context: *mut sys::llama_context, cause: Cause);
    pub(super) fn mmprm_mtmd_init_from_file(
        path: *const c_char,
        model: *const sys::llama_model,
        params: sys::mtmd_context_params,
        cause: Cause,
    ) -> *mut sys::mtmd_context;
    pub(super) fn mmprm_mtmd_bitmap_init(
        width: u32,
        height: u32,
        data: *const u8,
        cause: Cause,
    ) -> *mut sys::mtmd_bitmap;
    pub(super) fn mmprm_mtmd_input_chunks_init(cause: Cause) -> *mut sys::mtmd_input_chunks;
    pub(super) fn mmprm_mtmd_tokenize(
        context: *const sys::mtmd_context,
        output: *mut sys::mtmd_input_chunks,
        text: *const sys::mtmd_input_text,
        bitmaps: *const *const sys::mtmd_bitmap,
        count: usize,
        cause: Cause,
    ) -> i32;
    pub(super) fn mmprm_mtmd_encode_chunk(
        context: *mut sys::mtmd_context,
        chunk: *const sys::mtmd_input_chunk,
        cause: Cause,
    ) -> i32;
}
