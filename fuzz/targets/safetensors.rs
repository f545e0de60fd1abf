//! Fuzzes `mmprm_fuzz::safetensors`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mmprm_fuzz::safetensors(bytes));
