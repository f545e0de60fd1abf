//! Fuzzes `mmprm_fuzz::problem`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mmprm_fuzz::problem(bytes));
