//! Fuzzes `mmprm_fuzz::image`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mmprm_fuzz::image(bytes));
