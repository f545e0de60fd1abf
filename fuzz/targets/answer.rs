//! Fuzzes `mmprm_fuzz::answer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mmprm_fuzz::answer(bytes));
