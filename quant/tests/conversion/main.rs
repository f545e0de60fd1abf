//! Conversion of checkpoints and adapters, generated models, and the checks of their files.

mod adapter;
mod check;
mod checkpoint;
#[path = "../common/mod.rs"]
mod common;
mod convert;
mod convert_refuses;
mod golden_converter;
mod golden_vocabulary;
mod synth;
