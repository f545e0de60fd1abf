//! One file per subcommand: its flags, and what it calls in the library.

pub mod annotate;
pub mod bench;
pub mod completions;
pub mod choose;
pub mod config;
pub mod convert;
pub mod data;
pub mod doctor;
pub mod eval;
pub mod expand;
pub mod generate;
pub mod inspect;
pub mod judge;
pub mod man;
pub mod merge;
pub mod quantize;
pub mod reference;
pub mod report;
pub mod samples;
pub mod score;
pub mod search;
pub mod show;
pub mod solve;
pub mod train;
pub mod verify;
pub mod version;
