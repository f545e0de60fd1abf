//! Conversion of checkpoints and adapters, generated models, and the checks of their files.

mod adapter;
mod check;
mod check_table;
mod check_vocabulary;
mod checkpoint;
mod checkpoint_files;
#[path = "../common/mod.rs"]
mod common;
mod configuration;
mod convert;
mod convert_refuses;
mod families;
mod golden_converter;
mod golden_vocabulary;
mod heads;
mod pytorch;
mod pytorch_refuses;
mod qwen_vl;
mod synth;
