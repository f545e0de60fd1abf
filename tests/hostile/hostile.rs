//! Hostile input, servers, disks and moments: whatever is done to its files, the program ends with a result or with one
//! sentence, and finished work is kept.
//!
//! Each kind prints one line of figures. The environment variable `MMPRM_HOSTILE` is a factor on the number of cases, 1 by
//! default; `MMPRM_HOSTILE_SEED` draws other cases; `MMPRM_HOSTILE_CASE` keeps only the cases whose names contain it. The
//! files of a failed case are kept under `hostile/` in the target's directory for temporary files.
#![cfg(target_os = "linux")]

mod full_disk;
mod gguf_mutation;
#[path = "../support/http.rs"]
#[allow(dead_code, reason = "each test binary uses its part")]
mod http;
mod images;
mod inputs;
mod kills;
mod model_sizes;
mod models;
mod mutate;
mod servers;
#[path = "../support/skips.rs"]
mod skips;
#[path = "../../tools/tests/support/mod.rs"]
mod support;
mod tally;
