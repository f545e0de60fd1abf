//! Fuzzes `mmprm_fuzz::journal`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mmprm_fuzz::journal(bytes));
