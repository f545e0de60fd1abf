//! Converts a checkpoint directory to a pair of GGUF files that llama.cpp loads:
//! `cargo run --release --example convert [HF_DIR] [OUTPUT_DIR]`. Without `OUTPUT_DIR` the files are removed at the end.

use std::path::PathBuf;

use mmprm_quant::convert::plan;
use mmprm_quant::{ConvertOptions, WeightType, no_progress};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let demo = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/demo/checkpoints/mini-mm-policy"));
    let checkpoint = arguments.next().unwrap_or(demo);
    let temporary = tempfile::tempdir()?;
    let output = arguments.next().unwrap_or_else(|| temporary.path().to_path_buf());
    let plan = plan(&checkpoint, &output, &ConvertOptions::new(WeightType::F16))?;
    plan.write(&mut no_progress)?;
    for file in &plan.files {
        println!("{}: {} tensors, {} bytes of data", file.path.display(), file.tensors.len(), file.data_size());
    }
    Ok(())
}
