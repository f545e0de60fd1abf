//! Fuzzes `mmprm_fuzz::gguf`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mmprm_fuzz::gguf(bytes));
